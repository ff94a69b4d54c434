"""Three distillation steps of a small Llama in float64, with torch and transformers.

usage: make_distill.py OUT_DIR SEED...      writes OUT_DIR/distill_seedS.json of each seed S

Made with transformers 5.17.0, torch 2.11.0, numpy 2.4.6 and Python 3.11, on a CPU. The draft is `llama_gqa_tied` of
make_llama.py, the target's distributions are the softmax of the logits of its `llama_mha` on the same 33 tokens. For
each loss (forward_kl, reverse_kl, and jsd with beta 0.5: section 1.3 of "Online Speculative Decoding", arXiv 2310.07177),
the mean over `positions`, the rows of logits that predict a corrected token:

    losses: before each of three steps of AdamW, by `optimizer`
    grads_step0: of each parameter the l2 norm and the first four elements of its first gradient
    params_after_3: the same of the parameters after the three steps
"""
import json
import pathlib
import sys

import torch

from make_llama import DECODERS, load
from weights import token_ids

POSITIONS = [4, 9, 10, 17, 25, 32]
OPTIMIZER = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
BETA = 0.5


def loss_of(kind, p, z):
    q, lq, lp = torch.softmax(z, -1), torch.log_softmax(z, -1), p.log()
    if kind == "forward_kl":
        return (p * (lp - lq)).sum(-1).mean()
    if kind == "reverse_kl":
        return (q * (lq - lp)).sum(-1).mean()
    lm = (BETA * p + (1 - BETA) * q).log()
    return (BETA * (p * (lp - lm)).sum(-1) + (1 - BETA) * (q * (lq - lm)).sum(-1)).mean()


def named(pairs):
    return {n: {"l2": t.norm().item(), "first4": t.flatten()[:4].tolist()} for n, t in pairs}


def main():
    out = pathlib.Path(sys.argv[1])
    for seed in map(int, sys.argv[2:]):
        ids = torch.from_numpy(token_ids(1, 33, 512, seed))
        kind, config = DECODERS["llama_mha"]
        with torch.no_grad():
            p = torch.softmax(load(kind(config), seed)[0](ids).logits[0], -1)[POSITIONS]
        steps = {}
        for loss_kind in ("forward_kl", "reverse_kl", "jsd"):
            kind, config = DECODERS["llama_gqa_tied"]
            net = load(kind(config), seed)[0].train()
            adam = torch.optim.AdamW(net.parameters(), **OPTIMIZER)
            losses, grads = [], None
            for step in range(3):
                adam.zero_grad()
                loss = loss_of(loss_kind, p, net(ids).logits[0][POSITIONS])
                loss.backward()
                if step == 0:
                    grads = named((n, t.grad) for n, t in net.named_parameters())
                adam.step()
                losses.append(loss.item())
            steps[loss_kind] = {"losses": losses, "grads_step0": grads, "params_after_3": named(net.named_parameters())}
        found = {"target": "llama_mha", "draft": "llama_gqa_tied", "input": "token_ids(1, 33, 512, seed)", "positions": POSITIONS,
                 "optimizer": {"name": "AdamW", **OPTIMIZER}, "jsd_beta": BETA, "steps": steps}
        (out / f"distill_seed{seed}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
