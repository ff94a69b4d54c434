"""Reference outputs of EfficientViT-M0...M5 in float64, from timm 1.0.31.

usage: make_efficientvit.py OUT_DIR [NAME_PART...]     (only the cases whose file name contains one of the parts)

Needs torch, timm==1.0.31 and numpy. Writes one JSON a model, size and seed, with every float rounded to nine
significant digits; weights and inputs are those of weights.py, so that nothing but outputs is stored:

    model, num_classes, seed, input [batch, 3, height, width], stages' resolutions and windows as timm chose them
    features: patch_embed, stages.0, stages.1, stages.2, each with its shape, mean, std (divisor n - 1), l2, its first
              eight elements and 64 samples: the elements k * n // 64 of its n elements in row-major order
    logits [batch, num_classes]
    bias_tables: the attention bias tables that were resized (each stage's first block): name, shape, all values

The weights are always those of the model at 224. For another size they pass through timm's own checkpoint filter,
which resizes the attention bias tables whose window differs.
"""
import json
import pathlib
import sys

import numpy as np
import torch
import timm
from timm.models.efficientvit_msra import checkpoint_filter_fn

import weights

TIMM = "1.0.31"
DIGITS = 9
SAMPLES = 64

# (model, height, width, batch, classes, seed)
CASES = [(f"efficientvit_m{m}", 224, 224, 2, 1000, seed) for seed in (0, 1) for m in range(6)] + [
    ("efficientvit_m5", 384, 384, 1, 1000, 0),   # windows 7 7 6: the last table grows from 4x4 to 6x6; padding
    ("efficientvit_m1", 512, 512, 1, 1000, 0),   # windows 7 7 7: it grows to 7x7; padding in every stage
    ("efficientvit_m2", 256, 256, 1, 1000, 0),   # windows 7 7 4, padding in stages 0 and 1
    ("efficientvit_m0", 256, 320, 1, 1000, 0),   # not square, the smaller side sets the windows
    ("efficientvit_m4", 256, 320, 1, 1000, 0),
    ("efficientvit_m3", 192, 160, 1, 1000, 0),   # windows 7 5 3: tables shrink
    ("efficientvit_m0", 100, 132, 1, 1000, 0),   # no multiple of 16: maps are rounded up, windows (6 3 2) down
    ("efficientvit_m0", 224, 224, 2, 10, 0),     # ten classes
]


def rounded(value):
    """A float, or nested lists of floats, at nine significant digits."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.{DIGITS}g}")


def describe(name, t):
    """The figures of one feature map."""
    flat = t.double().flatten()
    n = flat.numel()
    picks = [k * n // SAMPLES for k in range(SAMPLES)]
    return {
        "name": name,
        "shape": list(t.shape),
        "mean": rounded(flat.mean().item()),
        "std": rounded(flat.std().item()),
        "l2": rounded(flat.norm().item()),
        "first8": rounded(flat[:8].tolist()),
        "samples": rounded(flat[picks].tolist()),
    }


def build(model, height, width, classes, seed):
    """The network in float64, and the names of the bias tables that were resized."""
    at_224 = timm.create_model(model, num_classes=classes)
    drawn = {
        name: torch.from_numpy(np.asarray(weights.tensor(name, tuple(t.shape), seed)))
        for name, t in at_224.state_dict().items()
    }
    net = timm.create_model(model, num_classes=classes, img_size=(height, width))
    loaded = checkpoint_filter_fn(drawn, net)
    resized = [name for name, t in loaded.items() if t.shape != drawn[name].shape]
    net.load_state_dict(loaded, strict=True)
    return net.double().eval(), resized


def reference(model, height, width, batch, classes, seed):
    """The JSON value of one case."""
    net, resized = build(model, height, width, classes, seed)
    x = torch.from_numpy(weights.image_batch(batch, height, width, seed)).double()
    h = net.patch_embed(x)
    features = [describe("patch_embed", h)]
    maps = []
    for i, stage in enumerate(net.stages):
        h = stage(h)
        maps.append(h)
        features.append(describe(f"stages.{i}", h))
    logits = net(x)
    last, public = net.forward_intermediates(x)
    same = [torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(maps + [h], public + [last], strict=True)]
    if not all(same):
        raise SystemExit(f"{model}: forward_intermediates gives other maps than its stages one by one")
    if not torch.allclose(net.forward_head(h), logits, rtol=1e-12, atol=1e-12):
        raise SystemExit(f"{model}: the head on the last map gives other logits than the model")
    if not logits.isfinite().all().item():
        raise SystemExit(f"{model} at {height}x{width}: logits are not finite")
    state = net.state_dict()
    return {
        "model": model,
        "num_classes": classes,
        "seed": seed,
        "input": [batch, 3, height, width],
        "resolutions": [stage.resolution for stage in net.stages],
        "windows": [stage.blocks[0].mixer.m.attn.resolution for stage in net.stages],
        "made_with": f"timm {timm.__version__}, torch {torch.__version__}, float64",
        "features": features,
        "logits": rounded(logits.tolist()),
        "bias_tables": [
            {"name": name, "shape": list(state[name].shape), "values": rounded(state[name].flatten().tolist())}
            for name in resized if ".blocks.0." in name
        ],
    }


def file_name(model, height, width, classes, seed):
    """The name of one case's file."""
    head = "" if classes == 1000 else f"_{classes}classes"
    return f"{model}_{height}x{width}{head}_seed{seed}.json"


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: make_efficientvit.py OUT_DIR [NAME_PART...]")
    if timm.__version__ != TIMM:
        raise SystemExit(f"expected timm {TIMM}, found {timm.__version__}: pip install timm=={TIMM}")
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    total = 0
    for model, height, width, batch, classes, seed in CASES:
        name = file_name(model, height, width, classes, seed)
        if len(sys.argv) > 2 and not any(part in name for part in sys.argv[2:]):
            continue
        value = reference(model, height, width, batch, classes, seed)
        text = json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"
        (out / name).write_text(text)
        total += len(text)
        print(f"{name}: windows {value['windows']}, {len(value['bias_tables'])} tables kept, {len(text)} bytes", flush=True)
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
