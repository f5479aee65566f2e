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
from diffusers import StableDiffusionImg2ImgPipeline
from torch import Tensor

from world import fitting
from world.judge_base import CFG_SCALE, STEPS
from world.vae_fitting import HELD_OUT

BATCH = 16
STRENGTHS = (0.1, 0.15, 0.2, 0.25, 0.3)
"""Shares of the steps that are drawn again: with more of them, a mouth may become another."""


@torch.no_grad()
def redraw(base: Path, latents: Tensor, captions: list[str], seed: int) -> Tensor:
    """(N, C, h, w) of pictures with these captions -> the same, each finished by the base."""
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(base, safety_checker=None)
    pipeline.to(torch.float32).set_progress_bar_config(disable=True)
    made = []
    for number, first in enumerate(range(0, len(latents), BATCH)):
        made += pipeline(
            captions[first : first + BATCH],
            image=latents[first : first + BATCH].float(),
            strength=STRENGTHS[number % len(STRENGTHS)],
            num_inference_steps=STEPS,
            guidance_scale=CFG_SCALE,
            generator=torch.Generator().manual_seed(seed + first),
            output_type="latent",
        ).images
    return torch.stack(made).half()


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
