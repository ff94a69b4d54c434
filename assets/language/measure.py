"""Measures the stored pair on prompts.json and heldout/, and writes measured.json beside them. Needs torch, transformers.

usage: measure.py [DIR]        (DIR: this folder by default)

Perplexity: the file's tokens (no <s> added) cut into windows of 1,023 behind one <s> each, the last one shorter; every
token of the file is predicted once. Also with all matrices quantised to q8_0 and q4_0 (GGUF's meaning: blocks of 32
along a row with an f16 scale). Acceptance along the target's own continuations of the prompts, at most 96 tokens each,
by position: at temperature 0 whether the draft's first choice is the target's, at temperature 1 sum(min(p, q)).
All in f32.
"""
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

WINDOW, NEW = 1023, 96


def load(path):
    return LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def quantised(model, bits):
    """`model` with its matrices rounded to blocks of 32: q8_0 for 8 bits, q4_0 for 4."""
    for p in model.parameters():
        if p.ndim == 2:
            x = p.data.view(-1, 32)
            if bits == 8:
                d = x.abs().amax(1, keepdim=True) / 127
                q = (x / d).round()
            else:
                extreme = x.gather(1, x.abs().argmax(1, keepdim=True))
                d = extreme / -8
                q = torch.clamp((x / d + 8.5).floor(), 0, 15) - 8
            q = torch.where(d == 0, torch.zeros_like(q), q)
            p.data = (q * d.half().float()).view_as(p)
    return model


def windows(ids):
    return [torch.tensor([[0] + ids[i:i + WINDOW]]) for i in range(0, len(ids), WINDOW)]


def perplexity(model, ids):
    nll = sum(F.cross_entropy(model(w).logits[0, :-1], w[0, 1:], reduction="sum").item() for w in windows(ids))
    return round(math.exp(nll / len(ids)), 4)


def acceptance(target, draft, ids, first, temperature):
    """Sum over the positions that predict ids[first:], and their count."""
    z, y = target(ids).logits[0, first - 1:-1], draft(ids).logits[0, first - 1:-1]
    if temperature == 0:
        return (z.argmax(-1) == y.argmax(-1)).sum().item(), len(z)
    return torch.minimum(z.softmax(-1), y.softmax(-1)).sum().item(), len(z)


@torch.no_grad()
def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parent
    tokenizer = Tokenizer.from_file(str(root / "target" / "tokenizer.json"))
    models = {"target": load(root / "target"), "draft": load(root / "draft")}
    prompts, result = json.loads((root / "prompts.json").read_text()), {}
    rounded = {f"{n}_q{b}_0": quantised(load(root / n), b) for n in models for b in (8, 4)}
    for domain in prompts:
        text = (root / "heldout" / f"{domain}.txt").read_text(encoding="utf-8")
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        r = result[domain] = {"bytes": len(text.encode()), "tokens": len(ids)}
        r["perplexity"] = {n: perplexity(m, ids) for n, m in {**models, **rounded}.items()}
        for key, temperature in (("agree_greedy", 0), ("overlap_t1", 1)):
            sums = [acceptance(models["target"], models["draft"], w, 1, temperature) for w in windows(ids)]
            r[key] = round(sum(s for s, _ in sums) / sum(n for _, n in sums), 4)
        for temperature in (0, 1):
            torch.manual_seed(7)
            total = count = 0
            for prompt in prompts[domain]:
                start = torch.tensor([tokenizer.encode(prompt).ids])
                how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
                full = models["target"].generate(start, attention_mask=torch.ones_like(start), max_new_tokens=NEW, pad_token_id=1, **how)
                s, n = acceptance(models["target"], models["draft"], full, start.shape[1], temperature)
                total, count = total + s, count + n
            r[f"continuations_t{temperature}"] = {"tokens": count, "acceptance": round(total / count, 4)}
        print(domain, r, flush=True)
    (root / "measured.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
