"""Trains the built-in language models, a target and drafts, on what make_data.py wrote, and measures them.

usage: train.py DATA OUT [--minutes M] [--prompts FILE] [--tiny]

The target learns by cross entropy on an even mix of the four domains. The drafts then learn on the same mix the
target's distributions (forward Kullback-Leibler divergence at temperature 1), all of them on the same batches. The
learning rate follows a cosine over the time given to each, so the script ends on its own clock; metrics.json says how
many steps that were. Writes OUT/{target,draft,draft_two_layers}/, each a checkpoint of transformers' LlamaForCausalLM
(weights rounded to f16), and OUT/metrics.json: perplexities of the rounded weights on held-out text, acceptance, samples.
--tiny: small models and few steps, for a trial without a GPU. Needs torch, numpy, safetensors, tokenizers.
"""
import argparse
import copy
import json
import math
import pathlib
import shutil
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

BEGAN = time.time()
DOMAINS = ("rust", "python", "sql", "math")
CONTEXT = 1024
BOS, EOS = 0, 1
SHAPES = {     # hidden, layers, feed-forward, heads, heads of keys and values; heads are 32 wide
    "target": (192, 12, 576, 6, 3),
    "draft_two_layers": (64, 2, 192, 2, 1),
    "draft": (96, 1, 192, 3, 1),
}
TINY = {"target": (64, 2, 96, 2, 1), "draft_two_layers": (32, 2, 32, 1, 1), "draft": (32, 1, 32, 1, 1)}
HEAD = 32
RATES = {"target": 2.5e-3, "draft_two_layers": 5e-3, "draft": 5e-3}

GENERATION = {"_from_model_config": True, "bos_token_id": BOS, "eos_token_id": EOS}
TOKENIZER = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "model_max_length": CONTEXT,
             "clean_up_tokenization_spaces": False,
             # the notation of the word problems: the only questions that the models have seen answered
             "chat_template": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
                              "{% elif message['role'] == 'assistant' %}Answer: {{ message['content'] }}\n\n{% endif %}{% endfor %}"
                              "{% if add_generation_prompt %}Answer:{% endif %}"}


def config(shape):
    """config.json as transformers writes it for Llama."""
    hidden, layers, ff, heads, kv = shape
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 2048, "hidden_size": hidden,
            "intermediate_size": ff, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
            "head_dim": HEAD, "hidden_act": "silu", "max_position_embeddings": CONTEXT, "initializer_range": 0.02,
            "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
            "attention_dropout": 0.0, "pretraining_tp": 1, "tie_word_embeddings": True, "use_cache": True,
            "bos_token_id": BOS, "eos_token_id": EOS, "torch_dtype": "float16"}


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


def linear(k, n):
    return nn.Linear(k, n, bias=False)


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv):
        super().__init__()
        self.q_proj, self.o_proj = linear(hidden, heads * HEAD), linear(heads * HEAD, hidden)
        self.k_proj, self.v_proj = linear(hidden, kv * HEAD), linear(hidden, kv * HEAD)
        self.groups = heads // kv

    def forward(self, x, rotary):
        b, s, _ = x.shape
        q, k, v = (p(x).view(b, s, -1, HEAD).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotated(q, rotary), rotated(k, rotary)
        k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        y = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, s, -1))


def rotated(x, rotary):
    cos, sin = rotary
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, hidden, ff):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = linear(hidden, ff), linear(hidden, ff), linear(ff, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, hidden, ff, heads, kv):
        super().__init__()
        self.self_attn, self.mlp = Attention(hidden, heads, kv), FeedForward(hidden, ff)
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)

    def forward(self, x, rotary):
        x = x + self.self_attn(self.input_layernorm(x), rotary)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape):
        super().__init__()
        hidden, layers, ff, heads, kv = shape
        self.embed_tokens = nn.Embedding(2048, hidden)
        self.layers = nn.ModuleList(Layer(hidden, ff, heads, kv) for _ in range(layers))
        self.norm = Norm(hidden)


class Llama(nn.Module):
    """Llama with a tied head; its state has the names of transformers' LlamaForCausalLM."""

    def __init__(self, shape):
        super().__init__()
        self.model = Body(shape)
        angles = torch.arange(CONTEXT)[:, None] * 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                scale = 1 / math.sqrt(2 * shape[1]) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(p, std=scale * (0.02 if "embed" in name else 1 / math.sqrt(p.shape[1])))

    def forward(self, ids):
        """Logits [B, S, 2048] of `ids` [B, S]."""
        rotary = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, rotary)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


def next_token_loss(model, ids):
    return F.cross_entropy(model(ids[:, :-1]).float().flatten(0, 1), ids[:, 1:].flatten())


def distill_loss(model, ids, p):
    """Cross entropy against the distributions `p`: the divergence from them, plus a constant."""
    return -(p * model(ids[:, :-1]).float().log_softmax(-1)).sum(-1).mean()


class Batches:
    """Windows of CONTEXT + 1 tokens, the first of them <s>, one quarter from each domain."""

    def __init__(self, streams, size, seed, device):
        self.streams, self.size, self.device = streams, size, device
        self.generator = torch.Generator().manual_seed(seed)
        self.window = torch.arange(CONTEXT + 1, device=device)

    def next(self):
        rows = []
        for stream in self.streams:
            starts = torch.randint(len(stream) - CONTEXT - 1, (self.size // len(self.streams),), generator=self.generator)
            rows.append(stream[starts.to(self.device)[:, None] + self.window].long())
        ids = torch.cat(rows)
        ids[:, 0] = BOS
        return ids


def optimizer(model, rate):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                             lr=rate, betas=(0.9, 0.95), eps=1e-10, fused=torch.cuda.is_available())


def set_rate(opt, rate, step, done):
    """Linear warm-up over 200 steps, then a cosine down to a fiftieth; `done` in [0, 1]."""
    for group in opt.param_groups:
        group["lr"] = rate * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, done))))


def rounded(model):
    """A copy with its weights rounded to f16, as they are stored."""
    model = copy.deepcopy(model).float().eval()
    for p in model.parameters():
        p.data = p.data.half().float()
    return model


def store(model, name, shape, a):
    """Writes the model as a checkpoint directory."""
    out = a.out / name
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: t.half().contiguous() for n, t in model.state_dict().items()}, out / "model.safetensors", metadata={"format": "pt"})
    for file, content in (("config.json", config(shape)), ("generation_config.json", GENERATION), ("tokenizer_config.json", TOKENIZER)):
        (out / file).write_text(json.dumps(content, indent=2) + "\n")
    shutil.copyfile(a.data / "tokenizer.json", out / "tokenizer.json")


def windows(stream, limit):
    """The stream cut into windows of CONTEXT - 1 tokens behind a <s>: [N, CONTEXT]."""
    n = min(len(stream) // (CONTEXT - 1), limit)
    rows = stream[:n * (CONTEXT - 1)].view(n, -1).long()
    return torch.cat((torch.full_like(rows[:, :1], BOS), rows), 1)


@torch.no_grad()
def measure(target, drafts, heldout, limit):
    """Perplexity of every model and, for every draft, how it agrees with the target on the same held-out text."""
    result = {}
    for domain, stream in heldout.items():
        loss, agree, overlap, count = {n: 0.0 for n in ("target", *drafts)}, dict.fromkeys(drafts, 0.0), dict.fromkeys(drafts, 0.0), 0
        for ids in windows(stream, limit).split(8):
            count += ids[:, 1:].numel()
            z = target(ids[:, :-1])
            p = z.softmax(-1)
            loss["target"] += F.cross_entropy(z.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
            for name, draft in drafts.items():
                y = draft(ids[:, :-1])
                loss[name] += F.cross_entropy(y.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
                agree[name] += (y.argmax(-1) == z.argmax(-1)).sum().item()
                overlap[name] += torch.minimum(p, y.softmax(-1)).sum().item()
        result[domain] = {"tokens": count, "perplexity": {n: round(math.exp(v / count), 4) for n, v in loss.items()},
                          "agree_greedy": {n: round(v / count, 4) for n, v in agree.items()},
                          "overlap_t1": {n: round(v / count, 4) for n, v in overlap.items()}}
    return result


@torch.no_grad()
def continuations(target, drafts, prompts, new, temperature, seed):
    """Continuations of each prompt (ids) by the target, and along them the drafts' mean acceptance.

    Acceptance of a position: at temperature 0 whether the draft's first choice is the target's, else sum(min(p, q)).
    """
    generator = torch.Generator(prompts[0].device).manual_seed(seed)
    texts, accepted, count = [], dict.fromkeys(drafts, 0.0), 0
    for prompt in prompts:
        ids = prompt[None]
        for _ in range(new):
            z = target(ids)[0, -1]
            token = z.argmax() if temperature == 0 else torch.multinomial((z / temperature).softmax(-1), 1, generator=generator)[0]
            ids = torch.cat((ids, token.view(1, 1)), 1)
            if token == EOS:
                break
        first = len(prompt) - 1
        z = target(ids[:, :-1])[0, first:]
        count += len(z)
        for name, draft in drafts.items():
            y = draft(ids[:, :-1])[0, first:]
            if temperature == 0:
                accepted[name] += (y.argmax(-1) == z.argmax(-1)).sum().item()
            else:
                accepted[name] += torch.minimum((z / temperature).softmax(-1), (y / temperature).softmax(-1)).sum().item()
        texts.append(ids[0, len(prompt):].tolist())
    return texts, {n: round(v / count, 4) for n, v in accepted.items()}, count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything, compilation and measuring included")
    parser.add_argument("--prompts", type=pathlib.Path, default=pathlib.Path(__file__).parent / "prompts.json")
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shapes = TINY if a.tiny else SHAPES
    batch = 4 if a.tiny else 64
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    stream = {part: {d: torch.from_numpy(np.load(a.data / f"{d}.{part}.npy").astype(np.int32)).to(device) for d in DOMAINS}
              for part in ("train", "heldout")}
    budget = 60 * a.minutes
    left = lambda: budget - (time.time() - BEGAN)
    autocast = lambda: torch.autocast(device, dtype=torch.bfloat16)
    # torch.compile costs a minute and pays it back within a few; without a GPU there is nothing to gain
    compiled = (lambda f: torch.compile(f)) if device == "cuda" else (lambda f: f)
    models = {n: Llama(s).to(device) for n, s in shapes.items()}
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in models.items()}
    log = lambda *words: print(f"[{time.time() - BEGAN:6.1f} s]", *words, flush=True)
    log("parameters", sizes, "device", device, torch.__version__)
    metrics = {"parameters": sizes, "batch": batch, "context": CONTEXT, "trained_on": torch.cuda.get_device_name() if device == "cuda" else "cpu",
               "made_with": f"torch {torch.__version__}", "rates": RATES, "steps": {}, "seconds": {}}

    # ---- the target
    target, batches = models["target"], Batches(list(stream["train"].values()), batch, 1, device)
    opt, loss_of = optimizer(target, RATES["target"]), compiled(lambda ids: next_token_loss(target, ids))

    def target_step():
        with autocast():
            loss = loss_of(batches.next())
        loss.backward()
        nn.utils.clip_grad_norm_(target.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        return loss

    set_rate(opt, RATES["target"], 0, 0)
    target_step()                                   # compiles
    log("target compiled")
    start, until, step, stored = time.time(), budget * (0.05 if a.tiny else 0.64), 0, time.time()
    until -= start - BEGAN
    while (now := time.time() - start) < until:
        set_rate(opt, RATES["target"], step, now / until)
        loss = target_step()
        step += 1
        if step % 25 == 0:
            loss.item()                             # keeps the clock honest: the GPU runs behind the host
        if step % (2 if a.tiny else 500) == 0:
            log(f"target step {step} loss {loss.item():.4f}", f"{step * batch * CONTEXT / now / 1e6:.2f} Mtok/s")
        if time.time() - stored > 100:
            store(target, "target", shapes["target"], a)
            stored = time.time()
    store(target, "target", shapes["target"], a)
    metrics["steps"]["target"], metrics["seconds"]["target"] = step, round(time.time() - start, 1)
    log("target done", step, "steps")

    # ---- the drafts, all on the same batches
    fixed = rounded(target)
    drafts = {n: m for n, m in models.items() if n != "target"}
    batches = Batches(list(stream["train"].values()), batch, 2, device)
    opts = {n: optimizer(m, RATES[n]) for n, m in drafts.items()}
    teach = compiled(lambda ids: fixed(ids[:, :-1]).float().softmax(-1))
    losses = {n: compiled(lambda ids, p, m=m: distill_loss(m, ids, p)) for n, m in drafts.items()}

    def draft_step():
        ids, last = batches.next(), {}
        with torch.no_grad(), autocast():
            p = teach(ids)
        for n, m in drafts.items():
            with autocast():
                loss = losses[n](ids, p)
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            opts[n].step()
            opts[n].zero_grad(set_to_none=True)
            last[n] = loss
        return last

    for n in drafts:
        set_rate(opts[n], RATES[n], 0, 0)
    draft_step()
    log("drafts compiled")
    start, step = time.time(), 0
    until = 3 if a.tiny else left() - 75
    while (now := time.time() - start) < until:
        for n in drafts:
            set_rate(opts[n], RATES[n], step, now / until)
        last = draft_step()
        step += 1
        if step % 25 == 0:
            [v.item() for v in last.values()]
        if step % (2 if a.tiny else 250) == 0:
            log(f"drafts step {step}", {n: round(v.item(), 4) for n, v in last.items()}, f"{step * batch * CONTEXT / now / 1e6:.2f} Mtok/s")
    for n, m in drafts.items():
        store(m, n, shapes[n], a)
    metrics["steps"]["drafts"], metrics["seconds"]["drafts"] = step, round(time.time() - start, 1)
    log("drafts done", step, "steps")

    # ---- figures, of the rounded weights in f32
    torch.set_float32_matmul_precision("highest")
    drafts = {n: rounded(m) for n, m in drafts.items()}
    metrics["heldout"] = measure(fixed, drafts, stream["heldout"], 2 if a.tiny else 200)
    for domain, m in metrics["heldout"].items():
        log(domain, m)
    (a.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(a.data / "tokenizer.json"))
    prompts, metrics["continuations"] = json.loads(a.prompts.read_text()), {}
    for domain in DOMAINS:
        ids = [torch.tensor(tokenizer.encode(t).ids, device=device) for t in prompts[domain][:1 if a.tiny else 4]]
        metrics["continuations"][domain] = {}
        for temperature in (0, 1):
            if left() < 8:
                log("no time left for", domain, "at temperature", temperature)
                continue
            texts, accepted, count = continuations(fixed, drafts, ids, 8 if a.tiny else 96, temperature, 7)
            metrics["continuations"][domain][f"temperature_{temperature}"] = {"tokens": count, "acceptance": accepted, "sample": tokenizer.decode(texts[0])}
            log(domain, "temperature", temperature, count, accepted)
            for text in texts[:2]:
                print("-----", tokenizer.decode(text), flush=True)
    (a.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    log("done")


if __name__ == "__main__":
    main()
