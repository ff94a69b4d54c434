"""Reference outputs of Llama, Qwen2 and T5 models in float64, from transformers.

usage: make_llama.py OUT_DIR SEED...        writes OUT_DIR/llama_seedS.json of each seed S

Made with transformers 5.17.0, torch 2.11.0, numpy 2.4.6 and Python 3.11, on a CPU. Weights and inputs are those of
weights.py, so nothing but outputs is stored; a tied tensor is drawn under the name that a checkpoint stores it by. The
models run in float64, but transformers computes rotary angles in float32. Each model of a file:

    config: its whole config.json; tensors: the names and shapes of the checkpoint
    input, decoder_input: the call of weights.py that draws the token ids
    last_logits: the last position's; all_logits: mean, std (divisor n - 1), l2 and the first eight of all positions'
    argmax: the most likely token of each position (not for T5)
    greedy24, greedy16: the greedy continuation, recomputed from the start for every token
"""
import json
import pathlib
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, T5Config, T5ForConditionalGeneration

from weights import tensor, token_ids

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}


def llama(hidden, ff, layers, heads, context, kind=LlamaConfig, **more):
    return kind(vocab_size=512, hidden_size=hidden, intermediate_size=ff, num_hidden_layers=layers, num_attention_heads=heads,
                max_position_embeddings=context, **more)


def t5(ff, tied):
    return T5Config(vocab_size=512, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4, feed_forward_proj=ff,
                    tie_word_embeddings=tied, decoder_start_token_id=0)


DECODERS = {
    "llama_mha": (LlamaForCausalLM, llama(128, 344, 3, 4, 512)),
    "llama_gqa_tied": (LlamaForCausalLM, llama(128, 344, 2, 8, 512, num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5)),
    "llama3_rope": (LlamaForCausalLM, llama(128, 256, 2, 4, 131072, num_key_value_heads=2, head_dim=32, rope_parameters=LLAMA3)),
    "llama_linear_rope": (LlamaForCausalLM, llama(96, 256, 2, 3, 256, rope_parameters=LINEAR)),
    "qwen2": (Qwen2ForCausalLM, llama(128, 256, 2, 4, 512, Qwen2Config, num_key_value_heads=2, tie_word_embeddings=True)),
}
ENCODER_DECODERS = {"t5_relu": t5("relu", True), "flan_t5_gated": t5("gated-gelu", False)}


def load(model, seed):
    """The model in float64 with the weights of `seed`, and its tensors as a checkpoint names them."""
    stored, seen = {}, set()
    for name, t in model.state_dict().items():
        if t.numel() < 2 or t.data_ptr() not in seen:
            stored[name] = tuple(t.shape)
            seen.add(t.data_ptr())
    model.load_state_dict({n: torch.from_numpy(tensor(n, s, seed)) for n, s in stored.items()}, strict=False)
    return model.double().eval(), {n: list(s) for n, s in stored.items()}


def described(config, tensors):
    return {"config": json.loads(config.to_json_string(use_diff=False)), "tensors": tensors}


def figures(logits):
    flat = logits.flatten()
    return {"last_logits": logits[-1].tolist(),
            "all_logits": {"mean": flat.mean().item(), "std": flat.std().item(), "first8": flat[:8].tolist(), "l2": flat.norm().item()}}


def continued(ids, new, logits_of):
    """`ids` with `new` more, each the first maximum of the last position's logits."""
    for _ in range(new):
        ids = torch.cat([ids, logits_of(ids)[:, -1].argmax(-1, keepdim=True)], 1)
    return ids


def main():
    torch.set_grad_enabled(False)
    out = pathlib.Path(sys.argv[1])
    for seed in map(int, sys.argv[2:]):
        models = {}
        for name, (kind, config) in DECODERS.items():
            net, tensors = load(kind(config), seed)
            ids = torch.from_numpy(token_ids(1, 33, 512, seed))
            logits = net(ids).logits[0]
            models[name] = {**described(config, tensors), "input": "token_ids(1, 33, 512, seed)", **figures(logits), "argmax": logits.argmax(-1).tolist(),
                            "greedy24": continued(ids, 24, lambda i: net(i).logits)[0, 33:].tolist()}
        for name, config in ENCODER_DECODERS.items():
            net, tensors = load(T5ForConditionalGeneration(config), seed)
            net.tie_weights()
            ids, start = torch.from_numpy(token_ids(1, 29, 512, seed)), torch.zeros(1, 1, dtype=torch.long)
            decoder = torch.cat([start, torch.from_numpy(token_ids(1, 12, 512, seed + 1))], 1)
            logits_of = lambda d: net(input_ids=ids, decoder_input_ids=d).logits
            models[name] = {**described(config, tensors), "input": "token_ids(1, 29, 512, seed)", "decoder_input": "[0] + token_ids(1, 12, 512, seed + 1)",
                            **figures(logits_of(decoder)[0]), "greedy16": continued(start, 16, logits_of)[0, 1:].tolist()}
        (out / f"llama_seed{seed}.json").write_text(json.dumps(models) + "\n")


if __name__ == "__main__":
    main()
