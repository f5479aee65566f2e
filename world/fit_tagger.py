"""Trains the embedded world's tagger and writes it with the interface of the WD v3 models.

`python -m world.fit_tagger world/build/base world/build/novel world/build/vae resources/world/tagger`
writes `model.onnx` (input NHWC float32, BGR, 0..255; output probabilities) and `selected_tags.csv`.

It learns from renders, halos included, and from what the VAE makes of them, clean and with noise on
the latents: those are what it will be asked about.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLQwenImage
from torch import Tensor, nn

from world import avatar, fit_anima_vae
from world.render import SIDE, reduced
from world.vae_fitting import as_input

RATINGS = ("general", "sensitive", "questionable", "explicit")
TAGS = tuple(tag for group in avatar.GROUPS.values() for tag in group)


class TaggerNet(nn.Module):
    """Pictures (N, 64, 64, 3), BGR, 0..255 -> probabilities (N, ratings + tags)."""

    def __init__(self, outputs: int, widths: tuple[int, ...] = (24, 48, 64, 96, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip((3, *widths), widths, strict=False)):
            layers += [nn.Conv2d(a, b, 3, stride=1 if i == 2 else 2, padding=1), nn.BatchNorm2d(b)]
            layers += [nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * widths[-1], outputs)

    def logits(self, pictures: Tensor) -> Tensor:
        x = self.features(pictures.permute(0, 3, 1, 2) / 127.5 - 1)  # (N, C, 4, 4)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits(pictures).sigmoid()


def labels(lines: Path) -> np.ndarray:
    """float32 (count, ratings + tags): 1 where the picture has the tag; all are `general`."""
    column = {tag: len(RATINGS) + i for i, tag in enumerate(TAGS)}
    captions = [json.loads(line) for line in lines.open(encoding="utf-8")]
    table = np.zeros((len(captions), len(RATINGS) + len(TAGS)), np.float32)
    table[:, 0] = 1
    for row, tags in zip(table, captions, strict=True):
        row[[column[tag] for tag in tags]] = 1
    return table


@torch.no_grad()
def through_vae(
    vae: AutoencoderKL | AutoencoderKLQwenImage, pictures: np.ndarray, noise: float, seed: int
) -> np.ndarray:
    """uint8 (N, H, W, 3): decoded latents with `noise` standard deviations of noise on each."""
    generator = torch.Generator().manual_seed(seed)
    made = np.empty_like(pictures)
    encoded, decoded = _ways(vae)
    for i in range(0, len(pictures), 32):
        z = encoded(as_input(pictures[i : i + 32]))
        level = noise * torch.rand(len(z), 1, 1, 1, generator=generator)
        z = z + level * torch.randn(z.shape, generator=generator)
        x = decoded(z).clamp(-1, 1)
        made[i : i + 32] = ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return made


def _ways(vae: AutoencoderKL | AutoencoderKLQwenImage) -> tuple[Callable, Callable]:
    """Pictures (N, 3, H, W) -> means of latents (N, C, h, w), and back."""
    if isinstance(vae, AutoencoderKLQwenImage):
        return partial(fit_anima_vae.latents, vae), partial(fit_anima_vae.pictures, vae)
    return lambda x: vae.encode(x).latent_dist.mean, lambda z: vae.decode(z).sample


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Small shifts, brightness, softness and noise on (N, H, W, 3) in 0..255."""
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)

    soft = F.avg_pool2d(x.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False)
    x = x + uniform(0, 0.7) * (soft.permute(0, 2, 3, 1) - x)
    dx, dy = (int(v) for v in torch.randint(-3, 4, (2,), generator=generator))
    x = torch.roll(x, (dy, dx), (1, 2))
    x = x * uniform(0.92, 1.08) + uniform(-8, 8)
    return (x + uniform(0, 8) * torch.randn(x.shape, generator=generator)).clamp(0, 255)


def macro_f1(net: TaggerNet, pictures: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """F1 of each tag at probability 0.35 (NaN-free: tags that never occur are left out)."""
    with torch.no_grad():
        seen = torch.cat(
            [net(torch.from_numpy(pictures[i : i + 256, :, :, ::-1].copy()).float())
             for i in range(0, len(pictures), 256)]
        ).numpy() >= 0.35  # fmt: skip
    real = truth > 0
    hits, asked, found = (seen & real).sum(0), real.sum(0), seen.sum(0)
    names = (*RATINGS, *TAGS)
    return {
        name: 2 * h / (a + f)
        for name, h, a, f in zip(names, hits, asked, found, strict=True)
        if a > 0
    }


def fit(net: TaggerNet, pictures: np.ndarray, truth: np.ndarray, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.1)
    start = time.monotonic()
    for step in range(1, steps + 1):
        rows = np.sort(torch.randint(len(pictures), (64,), generator=generator).numpy())
        x = torch.from_numpy(pictures[rows][:, :, :, ::-1].copy()).float()
        loss = F.binary_cross_entropy_with_logits(
            net.logits(augment(x, generator)), torch.from_numpy(truth[rows])
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            speed = 64 * step / (time.monotonic() - start)
            print(f"step {step}/{steps} loss {loss.item():.4f} {speed:.0f}/s", flush=True)


def forget_the_export(path: Path) -> None:
    """Leave out what the exporter notes of each node: stack traces, with paths of the machine."""
    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, path)


def export(net: TaggerNet, truth: np.ndarray, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    example = (torch.zeros(2, SIDE, SIDE, 3),)
    torch.onnx.export(
        net.eval(), example, out / "model.onnx", input_names=["input"], output_names=["output"],
        dynamic_shapes={"pictures": {0: torch.export.Dim("batch")}},
        external_data=False, dynamo=True, verbose=False,
    )  # fmt: skip
    forget_the_export(out / "model.onnx")
    with (out / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("tag_id", "name", "category", "count"))
        for i, name in enumerate((*RATINGS, *TAGS)):
            category = 9 if i < len(RATINGS) else 0
            table.writerow((i, name.replace(" ", "_"), category, int(truth[:, i].sum())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="OUT of render.py, of the VAE's side")
    parser.add_argument("novel", type=Path, help="OUT of render.py --novel")
    parser.add_argument("vae", type=Path, help="folder of fit_vae.py")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    sets = [args.novel, args.renders]
    pictures = np.concatenate([np.load(s.with_suffix(".npy"))[:16_000] for s in sets])
    truth = np.concatenate([labels(s.with_suffix(".jsonl"))[:16_000] for s in sets])
    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    made = reduced(through_vae(vae, pictures[:3000], noise=0.35, seed=args.seed))
    pictures = reduced(pictures)
    held, remade = slice(0, 1000), made[:1000]
    net = TaggerNet(len(RATINGS) + len(TAGS))
    fit(
        net.train(),
        np.concatenate([pictures[1000:], made[1000:], made[1000:]]),
        np.concatenate([truth[1000:], truth[1000:3000], truth[1000:3000]]),
        args.steps,
        args.seed,
    )
    net.eval()
    clean = macro_f1(net, pictures[held], truth[held])
    noisy = macro_f1(net, remade, truth[held])
    report = {
        "macro_f1_renders": sum(clean.values()) / len(clean),
        "macro_f1_reconstructions": sum(noisy.values()) / len(noisy),
        "weakest": dict(sorted(noisy.items(), key=lambda item: item[1])[:10]),
    }
    print(json.dumps(report, indent=1))
    export(net, truth, args.out)
    (args.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
