"""Three distillation steps of small T5 models in float64, with torch and transformers.

usage: make_distill_t5.py OUT_DIR SEED...      writes OUT_DIR/distill_t5_seedS.json of each seed S

Made with transformers 5.17.0, torch 2.15.0, numpy 2.4.6 and Python 3.11, on a CPU. The models are those of make_llama.py,
`flan_t5_gated` with an output projection of its own as FLAN-T5's checkpoints have one; each is the draft of the other,
whose distributions are the softmax of its logits. Two sequences: `lengths` says how many of the prompt's tokens the encoder
reads, `positions` which of the decoder's rows are taught. Losses, their mean, and figures are those of make_distill.py.
"""
import json
import pathlib
import sys

import torch
from transformers import T5ForConditionalGeneration

from make_distill import BETA, OPTIMIZER, loss_of, named
from make_llama import ENCODER_DECODERS, load
from weights import token_ids

LENGTHS = [29, 17]
POSITIONS = [[1, 4, 7, 12], [0, 3, 5, 11]]


def build(name, seed):
    model = T5ForConditionalGeneration(ENCODER_DECODERS[name])
    if name == "flan_t5_gated":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return load(model, seed)[0]


def main():
    out = pathlib.Path(sys.argv[1])
    rows = torch.tensor([[s, p] for s, of in enumerate(POSITIONS) for p in of]).T
    for seed in map(int, sys.argv[2:]):
        ids, answers = torch.from_numpy(token_ids(2, 29, 512, seed)), torch.from_numpy(token_ids(2, 12, 512, seed + 1))
        decoder = torch.cat([torch.zeros(2, 1, dtype=torch.long), answers], 1)
        mask = (torch.arange(29) < torch.tensor(LENGTHS)[:, None]).long()
        logits = lambda net: net(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder).logits[rows[0], rows[1]]
        drafts = {}
        for draft, target in (("t5_relu", "flan_t5_gated"), ("flan_t5_gated", "t5_relu")):
            with torch.no_grad():
                p = torch.softmax(logits(build(target, seed)), -1)
            drafts[draft] = {}
            for kind in ("forward_kl", "reverse_kl", "jsd"):
                net = build(draft, seed)
                adam = torch.optim.AdamW(net.parameters(), **OPTIMIZER)
                losses, grads = [], None
                for step in range(3):
                    adam.zero_grad()
                    loss = loss_of(kind, p, logits(net))
                    loss.backward()
                    if step == 0:
                        grads = named((n, t.grad) for n, t in net.named_parameters())
                    adam.step()
                    losses.append(loss.item())
                drafts[draft][kind] = {"losses": losses, "grads_step0": grads, "params_after_3": named(net.named_parameters())}
        found = {"input": "token_ids(2, 29, 512, seed)", "decoder_input": "[0] + token_ids(2, 12, 512, seed + 1)", "lengths": LENGTHS,
                 "positions": POSITIONS, "optimizer": {"name": "AdamW", **OPTIMIZER}, "jsd_beta": BETA, "drafts": drafts}
        (out / f"distill_t5_seed{seed}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
