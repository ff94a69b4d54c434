"""Deterministic weights and inputs, so that references are stored as outputs and no checkpoint is.

A tensor is drawn from numpy's legacy stream RandomState(crc32(name) ^ seed), which numpy keeps frozen, and rounded to
float32. The rule is chosen by the tensor's name:

    *.num_batches_tracked                                  0
    *.running_var, weights of norms (.bn. or norm)         uniform [0.5, 1.5), a quarter of it for the batch norm that
                                                           closes a residual branch: activations stay in f16's range
    *.running_mean, *.bias, *.attention_biases             0.2 * standard normal
    embedding tables, T5's relative attention bias         0.05 * standard normal
    every other weight                                     standard normal / sqrt(product of all dims but the first)

No batch norm is zero, so every branch contributes to the output. src/weights.rs of this crate draws the same bits.
"""
import zlib

import numpy as np

CLOSES_RESIDUAL = (".m.bn.weight", ".pw2.bn.weight", ".proj.1.bn.weight")


def tensor(name, shape, seed=0):
    """The parameter called `name`: float32 of `shape` (int64 zeros for a counter)."""
    random = np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF)
    leaf = name.rsplit(".", 1)[-1]
    is_norm = leaf == "weight" and (".bn." in name or "norm" in name or name.endswith("bn.weight"))
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var" or is_norm:
        values = random.uniform(0.5, 1.5, shape) * (0.25 if name.endswith(CLOSES_RESIDUAL) else 1.0)
    elif leaf in ("running_mean", "bias", "attention_biases"):
        values = 0.2 * random.standard_normal(shape)
    elif "embed_tokens" in name or name == "shared.weight" or "relative_attention_bias" in name:
        values = 0.05 * random.standard_normal(shape)
    else:
        values = random.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[1:]))))
    return np.asarray(values, np.float32)


def image_batch(batch, height, width, seed=0):
    """float32 [batch, 3, height, width], standard normal: a network's input, already normalised."""
    return np.random.RandomState(1000 + seed).standard_normal((batch, 3, height, width)).astype(np.float32)


def token_ids(batch, length, vocab, seed=0):
    """int64 [batch, length], each in [3, vocab)."""
    return np.random.RandomState(2000 + seed).randint(3, vocab, (batch, length)).astype(np.int64)
