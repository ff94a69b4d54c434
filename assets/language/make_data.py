"""Builds the corpus of the built-in language models: four domains, a tokenizer, token streams, prompts, held-out text.

usage: make_data.py OUT --rust-docs DIR --crates DIR... --python-lib DIR --python-docs DIR [--assets DIR] [--texts DIR] [--joined FILE] [--code DIR]

Sources (README.md says where each is found, and its licence):
  rust    --rust-docs: `share/doc/rust/html` of a toolchain (the component rust-docs): the books, and the source of core,
          alloc and std; --crates: folders that hold NAME-VERSION folders, as cargo's registry and `cargo vendor
          --versioned-dirs` write them; of those only CRATES, each at its version, at most CRATE_BYTES each
  python  --python-lib: the standard library's folder (no tests, no site-packages); --python-docs: the documentation's
          reStructuredText sources
  sql, math   generated (generate_sql.py, generate_problems.py), from a fixed seed

Writes OUT/{domain}.{train,heldout}.npy (uint16 tokens, each text between <s> and </s>), OUT/tokenizer.json and
OUT/corpus.json (texts, bytes, tokens and a sha256 of every part). With --assets it also writes there prompts.json,
heldout/{domain}.txt and sources.json (the files that these quote). For `cascadia train` it writes the training texts as
jsonl, a file for each domain: with --texts all of them, with --code the first CODE_BYTES of rust and of python. For
`cascadia distill` --joined writes the first JOINED_BYTES of each domain's, joined as `cascadia train` joins them, each
text ended by </s>. The same sources give the same bytes. A text is held out when the hash of its name says so
(rust and python: a whole file; sql and math: the text itself); equal texts are kept once, and never in both parts.
Needs numpy and tokenizers.
"""
import argparse
import hashlib
import html
import json
import pathlib
import re

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers, Regex

import generate_problems
import generate_sql
from draws import Draws

VOCABULARY = 2048
BOS, EOS = "<s>", "</s>"
DOMAIN_BYTES = 24_000_000       # of training text in a domain
FILE_BYTES = 200_000            # longer files are mostly tables
CRATE_BYTES = 700_000
GENERATED = {"sql": 50_000, "math": 80_000}  # texts
HELD_OUT_IN = 32                # one text in so many is held out
TOKENIZER_BYTES = 5_000_000     # of each domain, to learn the tokenizer
HELDOUT_FILE_BYTES = 36_000
PROMPTS = 8
CODE_BYTES = 4_000_000          # of rust and of python
JOINED_BYTES = 16_000_000       # of each domain
BOOKS = "book reference nomicon rust-by-example error_codes edition-guide embedded-book cargo rustc clippy".split()
EXCERPTS = ("library/", "book/", "reference/", "nomicon/", "Lib/", "Doc/")    # what prompts.json and heldout/ may quote
LIBRARIES = "core alloc std proc_macro".split()
CRATES = """adler2-2.0.1 aho-corasick-1.1.5 anstyle-1.0.14 anyhow-1.0.104 arrayvec-0.7.8 base64-0.22.1 bit-set-0.10.0
bit-vec-0.9.1 bitflags-2.13.2 bstr-1.14.0 bumpalo-3.20.4 bytemuck-1.25.2 bytes-1.12.2 cc-1.11.3 ciborium-0.2.2
clap_builder-4.6.7 criterion-0.8.2 crossbeam-channel-0.5.17 crossbeam-utils-0.8.23 either-1.19.0 errno-0.3.15
fast_image_resize-5.5.0 fastrand-2.5.0 fdeflate-0.3.7 flate2-1.1.11 futures-util-0.3.34 getrandom-0.4.3
globset-0.4.21 gpu-allocator-0.28.0 half-2.7.1 hashbrown-0.17.1 heck-0.5.0 http-1.5.0 httparse-1.10.1 hyper-1.12.0
image-0.25.10 image-webp-0.2.4 indexmap-2.14.2 indicatif-0.18.6 itertools-0.14.0 log-0.4.35 memchr-2.8.3
minijinja-3.1.0 miniz_oxide-0.8.9 mio-1.2.5 naga-30.0.1 num-traits-0.2.19 once_cell-1.21.4 percent-encoding-2.3.2
pkg-config-0.3.34 png-0.18.1 pollster-1.0.1 prettyplease-0.3.0 proc-macro2-1.0.107 rand-0.10.4 rand_core-0.10.1
regex-1.13.2 regex-automata-0.4.19 regex-syntax-0.8.12 reqwest-0.13.5 rustls-0.23.46 safetensors-0.8.0 same-file-1.0.6
serde-1.0.229 serde_core-1.0.229 serde_derive-1.0.229 serde_json-1.0.154 sha2-0.11.1 sharded-slab-0.1.7
slab-0.4.12 smallvec-1.16.6 socket2-0.6.5 strsim-0.11.1 syn-2.0.119 tempfile-3.27.0 thiserror-2.0.21 time-0.3.55
tokio-1.54.1 tokio-util-0.7.20 tower-http-0.6.11 tracing-0.1.44 tracing-core-0.1.36 tracing-subscriber-0.3.23
ureq-3.5.2 url-2.5.8 uuid-1.29.3 walkdir-2.5.0 wgpu-30.0.1 wgpu-core-30.0.1 wgpu-hal-30.0.1 wgpu-types-30.0.1
zerocopy-0.8.63""".split()
# Letters, single digits, punctuation, runs of space: a space goes with the word after it.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def page_text(page, opens, closes):
    """The text of an HTML page between two marks, tags and line numbers removed."""
    start, end = page.find(opens), page.rfind(closes)
    if start < 0 or end < start:
        return ""
    body = re.sub(r"<a [^>]*data-nosnippet>\d+</a>|<(script|style|button|svg)\b.*?</\1>", "", page[start:end], flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", "", body))


def tidy(text):
    """Unix lines, no trailing space, at most one empty line in a row, none at the ends, no line with a mail address."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    text = "\n".join(line for line in lines if not re.search(r"\w@\w+[\w-]*\.\w|^\.\. (section|module)author::", line))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def files(root, pattern):
    return sorted(p for p in root.rglob(pattern) if p.is_file())


def read(path):
    """The file's text, or nothing where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def free(manifest):
    """Whether a crate's licence leaves the choice of MIT or Apache-2.0."""
    found = re.search(r'^license = "([^"]*)"', manifest, re.M)
    return bool(found) and " AND " not in found[1] and bool({"MIT", "Apache-2.0"} & set(re.split(r" OR |/", found[1])))


def rust(docs, crates):
    """(name, text) of Rust's books, the standard library and the crates."""
    for library in LIBRARIES:
        for path in files(docs / "src" / library, "*.rs.html"):
            text = page_text(read(path), '<pre class="rust"><code>', "</code></pre>")
            yield f"library/{path.relative_to(docs / 'src').as_posix()[:-5]}", text
    for book in BOOKS:
        for path in files(docs / book, "*.html"):
            if path.name not in ("print.html", "toc.html", "404.html", "index.html"):
                yield f"{book}/{path.relative_to(docs / book).as_posix()}", page_text(read(path), "<main>", "</main>")
    missing = []
    for crate in CRATES:
        root = next((c / crate for c in crates if (c / crate).is_dir()), None)
        if root is None:
            missing.append(crate)
            continue
        if not free(read(root / "Cargo.toml")):
            raise SystemExit(f"{crate}: its licence is not MIT or Apache-2.0")
        left = CRATE_BYTES
        for path in sorted(files(root, "*.rs") + files(root, "*.md"), key=lambda p: digest(p.relative_to(root).as_posix())):
            name, text = path.relative_to(root).as_posix(), read(path)
            if "CHANGELOG" in name.upper() or "LICENSE" in name.upper() or len(text) > min(left, FILE_BYTES):
                continue
            left -= len(text)
            yield f"crates/{crate}/{name}", text
    if missing:
        print("crates not found, left out:", " ".join(missing))


def python(library, docs):
    """(name, text) of Python's standard library and documentation."""
    for path in files(library, "*.py"):
        name = path.relative_to(library).as_posix()
        if not re.search(r"(^|/)(tests?|site-packages|dist-packages|idle_test|pydoc_data|encodings|ensurepip)/|sysconfigdata", name):
            yield f"Lib/{name}", read(path)
    for path in files(docs, "*.rst.txt"):
        if not re.search(r"whatsnew/changelog|license", path.name):
            yield f"Doc/{path.relative_to(docs).as_posix()}", read(path)


def generated(domain, text_of, seed):
    """(name, text) of distinct generated texts."""
    d, seen = Draws(seed), set()
    while len(seen) < GENERATED[domain]:
        text = text_of(d)
        if text not in seen:
            seen.add(text)
            yield digest(text), text


def plain(text):
    """Whether a text is worth learning: no stub, not too long, almost all ASCII, no table of numbers.

    A worked problem has many digits and is no table.
    """
    if not 60 <= len(text) <= FILE_BYTES:
        return False
    ascii_share = sum(c < "\x7f" for c in text) / len(text)
    digits = sum(c.isdigit() for c in text) / len(text)
    return ascii_share > 0.99 and (digits < 0.12 or text.startswith("Question:")) and max(map(len, text.split("\n"))) < 2000


def parts(sources):
    """(train, heldout): lists of (name, text), in the order of the names' hashes, training text up to DOMAIN_BYTES."""
    train, heldout, seen, size = [], [], set(), 0
    for name, text in sorted(((n, t) for n, t in sources), key=lambda item: digest(item[0])):
        text = tidy(text)
        if text in seen or not plain(text):
            continue
        seen.add(text)
        if int(digest(name)[-8:], 16) % HELD_OUT_IN == 0:
            heldout.append((name, text))
        elif size < DOMAIN_BYTES:
            train.append((name, text))
            size += len(text.encode())
    return train, heldout


def grouped(texts, seed):
    """Generated texts as documents: nine draws in ten alone, the others two to five together with empty lines between."""
    d, documents, rest = Draws(seed), [], list(texts)
    while rest:
        count = 1 if d.chance(0.9) else d.between(2, 5)
        documents.append("\n".join(rest[:count]))
        del rest[:count]
    return documents


def learn_tokenizer(samples):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(samples, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[BOS, EOS], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, 0), (EOS, 1)])
    return tokenizer


def prompt(domain, text):
    """The beginning of a held-out text."""
    if domain == "sql":
        return text[:text.index("\nSELECT") + 1]
    if domain == "math":
        return text[:text.index("Answer:") + len("Answer:")]
    lines = text[:600].split("\n")[:-1]
    return "\n".join(lines) + "\n"


def write_texts(out, domains, limit=None):
    """The texts of each domain, as many as `limit` bytes hold, one JSON object a line."""
    out.mkdir(parents=True, exist_ok=True)
    for domain, texts in domains.items():
        size, lines = 0, []
        for text in texts:
            if limit is None or size + len(text) <= limit:
                size += len(text)
                lines.append(json.dumps({"text": text}))
        (out / f"{domain}.jsonl").write_text("\n".join(lines) + "\n")


def write_joined(out, domains):
    """The first JOINED_BYTES of each domain's texts, one after the other as `cascadia train` puts them, in lines of about
    a megabyte, each of one domain: a window of them is what the target was trained on."""
    lines = []
    for texts in domains.values():
        size, line = 0, ""
        for text in texts:
            size += len(text)
            if size > JOINED_BYTES:
                break
            line += text + EOS
            if len(line) > 1_000_000:
                lines.append(line)
                line = ""
        lines.append(line)
    out.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines if line))


def documents(domain, texts):
    return grouped(texts, 3) if domain in ("sql", "math") else texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rust-docs", type=pathlib.Path, required=True)
    parser.add_argument("--crates", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--python-lib", type=pathlib.Path, required=True)
    parser.add_argument("--python-docs", type=pathlib.Path, required=True)
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--texts", type=pathlib.Path)
    parser.add_argument("--joined", type=pathlib.Path)
    parser.add_argument("--code", type=pathlib.Path)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    domains = {
        "rust": parts(rust(a.rust_docs, a.crates)),
        "python": parts(python(a.python_lib, a.python_docs)),
        "sql": parts(generated("sql", generate_sql.text, 1)),
        "math": parts(generated("math", generate_problems.text, 2)),
    }

    def sample():
        for train, _ in domains.values():
            size = 0
            for _, text in train:
                size += len(text.encode())
                if size > TOKENIZER_BYTES:
                    break
                yield text

    train = {domain: documents(domain, [t for _, t in train]) for domain, (train, _) in domains.items()}
    if a.texts:
        write_texts(a.texts, train)
    if a.joined:
        write_joined(a.joined, train)
    if a.code:
        write_texts(a.code, {domain: train[domain] for domain in ("rust", "python")}, CODE_BYTES)
    tokenizer = learn_tokenizer(sample())
    tokenizer.save(str(a.out / "tokenizer.json"), pretty=False)
    corpus = {}
    for domain, split in domains.items():
        for part, texts in zip(("train", "heldout"), split):
            texts = [t for _, t in texts]
            ids = [e.ids + [1] for e in tokenizer.encode_batch(documents(domain, texts))]
            stream = np.concatenate([np.array(i, np.uint16) for i in ids])
            np.save(a.out / f"{domain}.{part}.npy", stream)
            corpus[f"{domain}.{part}"] = {"texts": len(texts), "bytes": sum(len(t.encode()) for t in texts), "tokens": len(stream),
                                          "sha256": hashlib.sha256(stream.tobytes()).hexdigest()}
            print(domain, part, corpus[f"{domain}.{part}"])
    (a.out / "corpus.json").write_text(json.dumps(corpus, indent=1) + "\n")
    if a.assets is None:
        return
    (a.assets / "heldout").mkdir(parents=True, exist_ok=True)
    prompts, names = {}, {}
    for domain, (_, heldout) in domains.items():
        usable = [(n, t) for n, t in heldout if domain in ("sql", "math") or (len(t) > 1500 and n.startswith(EXCERPTS))]
        prompts[domain] = [prompt(domain, t) for _, t in usable[:PROMPTS]]
        kept, size = [], 0
        for name, text in usable[PROMPTS:]:
            text = text[:6000].rsplit("\n", 1)[0] + "\n"     # the start of a long file: more files fit
            if size + len(text) <= HELDOUT_FILE_BYTES:
                kept.append((name, text))
                size += len(text) + 1
        (a.assets / "heldout" / f"{domain}.txt").write_text("\n".join(t for _, t in kept), encoding="utf-8")
        if domain in ("rust", "python"):
            names[domain] = {"prompts": [n for n, _ in usable[:PROMPTS]], "heldout": [n for n, _ in kept]}
    (a.assets / "prompts.json").write_text(json.dumps(prompts, indent=1) + "\n")
    (a.assets / "sources.json").write_text(json.dumps(names, indent=1) + "\n")


if __name__ == "__main__":
    main()
