"""Lets the base finish latents of training pictures that were noised a little, for its VAE's decoder.

`python -m world.redraw BASE FIT/latents.pt RENDERS OUT.pt` writes latents fp16 (count, C, h, w) of the
first pictures that are trained on. They show what the pictures show, with all that the base leaves
unfinished. So a decoder can learn to finish it (`fit_vae --decoder-only --redrawn OUT.pt`): flat areas
are flat again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from world import fitting
from world.judge_base import CFG_SCALE, STEPS
from world.vae_fitting import HELD_OUT

BATCH = 16
REDRAWN = (2, 3, 4, 5, 6)
"""Last steps that are drawn again, of `STEPS`: with more of them, a mouth may become another."""


@torch.no_grad()
def redraw(base: Path, latents: Tensor, captions: list[str], seed: int) -> Tensor:
    """(N, C, h, w) of pictures with these captions -> the same, each finished by the base."""
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None).to(torch.float32)
    pipeline.scheduler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number, first in enumerate(range(0, len(latents), BATCH)):
        z = latents[first : first + BATCH].float()
        times = pipeline.scheduler.timesteps[-REDRAWN[number % len(REDRAWN)] :]
        z = pipeline.scheduler.add_noise(z, torch.randn(z.shape, generator=generator), times[:1])
        asked, nothing = pipeline.encode_prompt(captions[first : first + BATCH], "cpu", 1, True)
        text = torch.cat([nothing, asked])
        for t in times:
            without, having = pipeline.unet(torch.cat([z, z]), t, text).sample.chunk(2)
            guess = without + CFG_SCALE * (having - without)
            z = pipeline.scheduler.step(guess, t, z).prev_sample
        made.append(z.half())
    return torch.cat(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path, help="folder of the base")
    parser.add_argument("latents", type=Path, help="latents.pt of the base's training")
    parser.add_argument("renders", type=Path, help="OUT of render.py")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    chosen = slice(HELD_OUT, HELD_OUT + args.count)
    lines = args.renders.with_suffix(".jsonl").read_text("utf-8").splitlines()[chosen]
    latents = torch.load(args.latents, weights_only=True)[chosen]
    captions = [", ".join(json.loads(line)) for line in lines]
    fitting.write(args.out, redraw(args.base, latents, captions, args.seed))


if __name__ == "__main__":
    main()
