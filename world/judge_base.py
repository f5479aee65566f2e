"""Asks the embedded base for held-out captions and lets the tagger say what it drew.

`python -m world.judge_base resources/world/base resources/world/tagger --sheet sheet.png` prints the
recall of the asked tags, over all and in each group, as the table of docs/world.md, and how mottled flat
areas are. 20 steps, CFG 4: by the stock StableDiffusionPipeline, or for a base of another family by the
pipeline that bakes are sampled with (diffusers' own for Anima does not run without torchvision; a
benchmark compares the two).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Sample
from bakery.vision.tagger import Tagger
from world import avatar
from world.render import SIDE

THRESHOLD = 0.35
STEPS, CFG_SCALE = 20, 4.0
HELD_OUT = 7_000_000  # a seed that no training picture uses


def asked_tags(count: int) -> list[list[str]]:
    """Captions of random looks that were never rendered for training."""
    return [
        avatar.tags(avatar.random_look(np.random.default_rng([HELD_OUT, i]))) for i in range(count)
    ]


def draw(folder: Path, prompts: list[str]) -> list[Image.Image]:
    stock = (folder / "model_index.json").exists()
    return _by_diffusers(folder, prompts) if stock else _by_bakery(folder, prompts)


def _by_bakery(folder: Path, prompts: list[str], batch: int = 20) -> list[Image.Image]:
    settings = Sample(sampler="Euler", steps=STEPS, cfg_scale=CFG_SCALE, width=SIDE, height=SIDE)
    pipeline = ImagePipeline.load(settings, base=str(folder), device="cpu")
    pipeline.use([(None, 0.0)])
    asked = [ImageRequest(0, prompt, seed) for seed, prompt in enumerate(prompts)]
    pictures: list[Image.Image] = []
    for first in range(0, len(asked), batch):
        pictures += pipeline.draw(asked[first : first + batch])[0]
        pipeline.forget()
    return pictures


def _by_diffusers(folder: Path, prompts: list[str], batch: int = 20) -> list[Image.Image]:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.to(torch.float32).set_progress_bar_config(disable=True)
    pictures: list[Image.Image] = []
    for first in range(0, len(prompts), batch):
        generator = torch.Generator().manual_seed(first)
        pictures += pipeline(
            prompts[first : first + batch],
            num_inference_steps=STEPS,
            guidance_scale=CFG_SCALE,
            generator=generator,
        ).images
    return pictures


def recall(asked: list[list[str]], seen: list[set[str]]) -> dict[str, tuple[float, int]]:
    """Group -> (share of its asked tags that were seen, number asked); `all` over everything."""
    table = {}
    for group, tags in {"all": None, **avatar.GROUPS}.items():
        hits = [
            tag in found
            for wanted, found in zip(asked, seen, strict=True)
            for tag in wanted
            if tags is None or tag in tags
        ]
        if hits:
            table[group] = (sum(hits) / len(hits), len(hits))
    return table


def mottle(pictures: list[Image.Image], asked: list[list[str]]) -> float:
    """Deviation (of 255) within the upper corners where a plain background was asked, the median.

    A corner is an eighth of the side: no figure reaches it. A render has 0.
    """
    found = []
    for picture, tags in zip(pictures, asked, strict=True):
        if not set(tags).isdisjoint(avatar.GROUPS["background"]):
            size, pixels = picture.width // 8, np.asarray(picture, np.float32)
            corners = np.stack([pixels[:size, :size], pixels[:size, -size:]])
            found.append(corners.std(axis=(1, 2)).mean())
    return float(np.median(found))


def sheet(pictures: list[Image.Image], path: Path, columns: int = 10) -> None:
    side = max(128, pictures[0].width)
    page = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for i, picture in enumerate(pictures):
        large = picture.resize((side, side), Image.Resampling.LANCZOS)
        page.paste(large, (i % columns * side, i // columns * side))
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("tagger", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--sheet", type=Path, help="write the first 50 pictures here")
    args = parser.parse_args()

    asked = asked_tags(args.prompts)
    pictures = draw(args.base, [", ".join(tags) for tags in asked])
    tagger = Tagger.load(args.tagger)
    seen = [
        {name for name, p in zip(tagger.names, row, strict=True) if p >= THRESHOLD}
        for row in tagger.tag(pictures)
    ]
    print("| group | recall | asked |\n| --- | --- | --- |")
    for group, (share, count) in recall(asked, seen).items():
        print(f"| {group} | {share:.2f} | {count} |")
    print(f"\nmottle: {mottle(pictures, asked):.1f} of 255")
    if args.sheet:
        sheet(pictures[:50], args.sheet)


if __name__ == "__main__":
    main()
