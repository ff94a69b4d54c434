"""Reference outputs of the built-in language pair in float64, from transformers.

usage: make_language_pair.py OUT_DIR        writes OUT_DIR/language_pair.json

Made with transformers 5.17.0, tokenizers 0.23, torch 2.11.0 and Python 3.11 and 3.12, on CPUs, from assets/language: the
stored f16 weights, widened, run in float64 (transformers computes rotary angles in float32). For the target and the draft:

    prompts, one a domain (the first of prompts.json):
        tokens: its ids, <s> first
        last8, argmax: the first eight logits and the most likely token of the prompt's last position
        greedy48: the greedy continuation, going on past </s>
        margin: the smallest lead of a chosen token's logit over the second one's, over the 48 choices
    heldout: bytes and tokens of each file, and perplexity by the rule of assets/language/measure.py: the tokens without
        <s>, cut into windows of 1,023 (the last one shorter) behind one <s> each, every one predicted once;
        begin: the same of the first 255 tokens alone

tokenization: texts with their ids (no <s> added), for the tokenizer alone.
"""
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

ASSETS = pathlib.Path(__file__).resolve().parents[2] / "assets" / "language"
WINDOW, BEGIN, NEW = 1023, 255, 48
TEXTS = ["", " ", "fn main() {\n    println!(\"{}\", 1234567);\n}\n", "\tx  =  y\r\n\r\n\n  z ", "naïve café — 東京 🦀", "it's <s> and </s>",
         "SELECT COUNT(*) FROM t WHERE a >= 10;", "<<12*3.5=42>>42\n#### 42", "a\u00a0b\u2003c\x00\x7f", "ßÄ﷽ e\u0301"]


def prompt_figures(model, ids):
    first = model(torch.tensor([ids])).logits[0, -1]
    cur, margin = torch.tensor([ids]), math.inf
    for _ in range(NEW):
        top = model(cur).logits[0, -1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        cur = torch.cat([cur, top.indices[:1].view(1, 1)], 1)
    return {"last8": first[:8].tolist(), "argmax": first.argmax().item(), "greedy48": cur[0, len(ids):].tolist(), "margin": margin}


def perplexity(model, ids):
    nll = 0.0
    for i in range(0, len(ids), WINDOW):
        window = torch.tensor([0] + ids[i:i + WINDOW])
        nll += F.cross_entropy(model(window[None]).logits[0, :-1], window[1:], reduction="sum").item()
    return math.exp(nll / len(ids))


def main():
    torch.set_grad_enabled(False)
    tokenizer = Tokenizer.from_file(str(ASSETS / "target" / "tokenizer.json"))
    models = {n: LlamaForCausalLM.from_pretrained(ASSETS / n, dtype=torch.float64).eval() for n in ("target", "draft")}
    prompts = json.loads((ASSETS / "prompts.json").read_text())
    out = {"prompts": {}, "heldout": {}, "tokenization": [{"text": t, "tokens": tokenizer.encode(t, add_special_tokens=False).ids} for t in TEXTS]}
    for domain in prompts:
        ids = tokenizer.encode(prompts[domain][0]).ids
        out["prompts"][domain] = {"tokens": ids, **{n: prompt_figures(m, ids) for n, m in models.items()}}
        text = (ASSETS / "heldout" / f"{domain}.txt").read_bytes().decode()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        out["heldout"][domain] = {"bytes": len(text.encode()), "tokens": len(ids), "perplexity": {n: perplexity(m, ids) for n, m in models.items()},
                                  "begin": {n: perplexity(m, ids[:BEGIN]) for n, m in models.items()}}
        print(domain, out["heldout"][domain], {n: out["prompts"][domain][n]["margin"] for n in models}, flush=True)
    (pathlib.Path(sys.argv[1]) / "language_pair.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
