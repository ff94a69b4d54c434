"""Trains the embedded demo model: EfficientViT-M0 with ten classes on scikit-learn's handwritten digits.

usage: train.py OUT_DIR [--seed 0] [--epochs 150] [--data DIGITS.npz] [--prepare-only] [--device cuda]

The data are the 1,797 scans of 8 x 8 pixels of sklearn.datasets.load_digits; 360 of them, the same share of each
class, are held out and take no part in training or in any choice. A scan is a grey PNG of 8 x 8 pixels (value
round(v * 255 / 16)); the network sees it as the `classify` command does: RGB, shorter side to 256 with Pillow's
bicubic filter, the middle 224 x 224, / 255, ImageNet's mean and deviation.

OUT_DIR gets
    efficientvit_m0_digits.safetensors   timm's names, floats as f16, the facts of the model in __metadata__
    metrics.json                         the accuracy of those f16 weights on the held-out scans, and how it came about
    samples/scan_0042_label_7.png ...    twelve held-out scans; the number is the scan's index in load_digits
    heldout/LABEL/INDEX.png              all held-out scans, in class folders
    digits.npz                           with --prepare-only: the resized scans and the split, so that training with
                                         --data needs neither scikit-learn nor Pillow

Needs numpy, scikit-learn, Pillow (both only without --data); torch, timm==1.0.31 and safetensors to train.
"""
import argparse
import json
import math
import pathlib
import time

import numpy as np

NAME = "efficientvit_m0"
CLASSES = 10
HELD_OUT = 360
SPLIT_SEED = 0
RESIZED, INPUT = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TARGET = 0.985
SAMPLES = 12

BATCH = 128
PEAK_RATE, FINAL_RATE, WEIGHT_DECAY = 2e-3, 1e-5, 0.05
WARMUP_EPOCHS = 5
SMOOTHING = 0.1
CLIP = 1.0
EMA_DECAY = 0.995


# ---- the data: numpy, scikit-learn and Pillow

def prepare(out):
    """Writes the PNGs under `out`; returns the resized scans, their labels and the held-out indices."""
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    scans = np.rint(digits.images * 255 / 16).astype(np.uint8)
    _, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED)
    held_out = np.sort(held_out)
    images = [Image.fromarray(scan) for scan in scans]  # mode L

    for i in held_out:
        folder = out / "heldout" / str(labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        images[i].save(folder / f"{i:04}.png", optimize=True)
    (out / "samples").mkdir(parents=True, exist_ok=True)
    for i in choose_samples(labels, held_out):
        images[i].save(out / "samples" / f"scan_{i:04}_label_{labels[i]}.png", optimize=True)

    # Grey stays grey through RGB, resize and crop, so one channel is kept.
    resized = np.stack([
        np.asarray(image.convert("RGB").resize((RESIZED, RESIZED), Image.Resampling.BICUBIC))[:, :, 0]
        for image in images])
    return resized, labels, held_out


def choose_samples(labels, held_out):
    """The first held-out scan of each class, then the next ones in order, SAMPLES in all; no model has a say."""
    first = [next(i for i in held_out if labels[i] == label) for label in range(CLASSES)]
    rest = [i for i in held_out if i not in set(first)]
    return first + rest[:SAMPLES - CLASSES]


def load_prepared(path):
    """What `prepare` returned, from the file that --prepare-only wrote."""
    with np.load(path) as data:
        return data["resized"], data["labels"], data["held_out"]


def save_model(path, tensors, facts):
    """Writes numpy tensors and string facts as safetensors."""
    from safetensors.numpy import save_file
    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, path, metadata=facts)


def facts_of(accuracy, seed):
    """The model's __metadata__: strings only, lists as JSON."""
    return {
        "format": "pt",
        "architecture": NAME,
        "labels": json.dumps([str(label) for label in range(CLASSES)]),
        "input_size": str(INPUT),
        "crop_pct": str(INPUT / RESIZED),
        "interpolation": "bicubic",
        "mean": json.dumps(list(MEAN)),
        "std": json.dumps(list(STD)),
        "accuracy": f"{accuracy:.4f}",
        "held_out": str(HELD_OUT),
        "source": f"trained from scratch on scikit-learn's load_digits (1,797 scans, {HELD_OUT} held out), "
                  f"train.py with seed {seed}",
    }


# ---- training: torch

def train(out, resized, labels, held_out, args):
    """Trains, writes the model and its figures, and returns them."""
    import timm
    import torch
    from torch import nn
    import torch.nn.functional as F

    started = time.perf_counter()
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = torch.device(args.device)
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1)

    is_test = np.zeros(len(labels), bool)
    is_test[held_out] = True
    pictures = torch.from_numpy(resized).to(device)[:, None]
    targets = torch.from_numpy(labels).to(device)
    test_at = torch.from_numpy(np.flatnonzero(is_test)).to(device)
    train_at = torch.from_numpy(np.flatnonzero(~is_test)).to(device)

    def normalised(grey):
        """[B, 1, H, W] in 0..1 to the network's [B, 3, H, W]."""
        return (grey.expand(-1, 3, -1, -1) - mean) / std

    def as_classified(at):
        """The scans as `classify` prepares them: the middle of the resized picture."""
        edge = (RESIZED - INPUT) // 2
        return normalised(pictures[at, :, edge:edge + INPUT, edge:edge + INPUT].float() / 255)

    def augmented(at):
        """The scans turned, sheared, scaled, moved and with another contrast; without those, as_classified."""
        n = len(at)

        def spread(width):
            return (torch.rand(n, device=device) * 2 - 1) * width

        angle, shear = spread(math.radians(15)), spread(0.15)
        size_x, size_y = torch.exp(spread(0.18)), torch.exp(spread(0.18))
        cos, sin = torch.cos(angle), torch.sin(angle)
        theta = torch.stack([
            torch.stack([cos * size_x, (shear * cos - sin) * size_y, spread(0.15)], 1),
            torch.stack([sin * size_x, (shear * sin + cos) * size_y, spread(0.15)], 1),
        ], 1)
        theta[:, :, :2] *= INPUT / RESIZED
        grid = F.affine_grid(theta, [n, 1, INPUT, INPUT], align_corners=False)
        grey = F.grid_sample(pictures[at].float() / 255, grid, padding_mode="zeros", align_corners=False)
        gain = torch.exp(spread(0.2)).view(n, 1, 1, 1)
        return normalised((grey * gain).clamp(0, 1))

    @torch.no_grad()
    def answers(net, dtype=torch.float32):
        """The classes that `net` gives the held-out scans."""
        net.eval()
        return torch.cat([net(as_classified(at).to(dtype)).argmax(1) for at in test_at.split(120)])

    net = timm.create_model(NAME, num_classes=CLASSES).to(device)
    decayed, plain = [], []
    for name, p in net.named_parameters():
        (plain if p.ndim < 2 or "attention_biases" in name else decayed).append(p)
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=PEAK_RATE, fused=device.type == "cuda")
    steps_an_epoch = len(train_at) // BATCH
    steps, warmup = args.epochs * steps_an_epoch, min(WARMUP_EPOCHS, args.epochs) * steps_an_epoch
    if steps == 0:
        raise SystemExit(f"--epochs {args.epochs} leaves nothing to train")

    def rate(step):
        if step < warmup:
            return PEAK_RATE * (step + 1) / warmup
        turn = (step - warmup) / max(1, steps - warmup)
        return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * turn))

    # The average of weights and of batch norm's statistics over the last steps is what is kept.
    live = [t for t in net.state_dict().values() if t.is_floating_point()]
    average = [t.clone() for t in live]

    step, losses = 0, torch.zeros((), device=device)
    for epoch in range(args.epochs):
        net.train()
        losses.zero_()
        order = train_at[torch.randperm(len(train_at), device=device)]
        for at in order[:steps_an_epoch * BATCH].split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            loss = F.cross_entropy(net(augmented(at)), targets[at], label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            step += 1
            with torch.no_grad():
                keep = min(EMA_DECAY, step / (step + 10))
                torch._foreach_lerp_(average, live, 1 - keep)
                losses += loss.detach()
        if epoch % 10 == 9 or epoch == args.epochs - 1:
            print(f"epoch {epoch + 1}/{args.epochs}: loss {losses.item() / steps_an_epoch:.4f}, "
                  f"{time.perf_counter() - started:.0f} s", flush=True)

    with torch.no_grad():
        torch._foreach_copy_(live, average)
    train_seconds = time.perf_counter() - started
    kept = {name: t.half() for name, t in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    broken = [name for name, t in kept.items() if not t.isfinite().all()]
    if broken:
        raise SystemExit(f"expected finite f16 weights, found others in {', '.join(broken)}: train with another --seed")

    # What is measured is what is written: the weights rounded to f16, loaded into a fresh network.
    shipped = timm.create_model(NAME, num_classes=CLASSES).to(device)
    missing, unexpected = shipped.load_state_dict({name: t.float() for name, t in kept.items()}, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise SystemExit(f"the kept tensors are not the model's: missing {missing}, unexpected {unexpected}")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    truth = targets[test_at]
    given = answers(shipped)
    correct = (given == truth).sum().item()
    correct_unrounded = (answers(net) == truth).sum().item()
    accuracy = correct / len(test_at)
    metrics = {
        "model": NAME,
        "classes": CLASSES,
        "train_scans": len(train_at),
        "held_out_scans": len(test_at),
        "correct": correct,
        "accuracy": round(accuracy, 4),
        "correct_with_f32_weights": correct_unrounded,
        "wrong": [
            {"index": int(i), "label": int(t), "given": int(g)}
            for i, t, g in zip(test_at.tolist(), truth.tolist(), given.tolist()) if t != g],
        "seed": args.seed,
        "split_seed": SPLIT_SEED,
        "epochs": args.epochs,
        "steps": steps,
        "batch": BATCH,
        "train_seconds": round(train_seconds, 1),
        "trained_on": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "made_with": f"timm {timm.__version__}, torch {torch.__version__}",
    }
    if device.type == "cuda":
        metrics["correct_computed_in_f16"] = (answers(shipped.half(), torch.float16) == truth).sum().item()
    save_model(
        out / f"{NAME}_digits.safetensors",
        {name: t.cpu().numpy() for name, t in kept.items()}, facts_of(accuracy, args.seed))
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def main():
    parser = argparse.ArgumentParser(description="Trains EfficientViT-M0 on scikit-learn's handwritten digits.")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--data", type=pathlib.Path, help="digits.npz as --prepare-only wrote it")
    parser.add_argument("--prepare-only", action="store_true", help="write PNGs and digits.npz, do not train")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    resized, labels, held_out = load_prepared(args.data) if args.data else prepare(args.out)
    if args.prepare_only:
        np.savez_compressed(args.out / "digits.npz", resized=resized, labels=labels, held_out=held_out)
        print(f"{len(labels)} scans, {len(held_out)} held out")
        return
    metrics = train(args.out, resized, labels, held_out, args)
    print(f"held-out top-1: {metrics['correct']} of {metrics['held_out_scans']} "
          f"({100 * metrics['accuracy']:.2f} %), trained in {metrics['train_seconds']} s")
    if metrics["accuracy"] < TARGET:
        raise SystemExit(f"expected at least {100 * TARGET} % of the held-out scans, found "
                         f"{100 * metrics['accuracy']:.2f} %: train longer (--epochs)")


if __name__ == "__main__":
    main()
