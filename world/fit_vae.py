"""Trains the embedded world's VAE: a stock AutoencoderKL, 4x smaller, 8 channels.

`python -m world.fit_vae world/build/base.npy world/build/vae` writes a `save_pretrained` folder whose
latents have mean 0 and variance 1 in each channel: the measured statistics are folded into the 1x1
convolutions around the latent, which changes no picture, and scaling_factor is 1. It goes on from the
folder if there is one; a VAE that a base was trained with keeps its encoder (`--decoder-only`).

The decoder sees slightly noisy latents, so that it forgives what a small UNet leaves unfinished.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

LATENT_CHANNELS = 8
SIDE = 64


def new_vae() -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=1.0,
    )
    # a fresh posterior has variance 1, which drowns the mean: start nearly deterministic
    nn.init.zeros_(vae.quant_conv.weight[LATENT_CHANNELS:])
    nn.init.constant_(vae.quant_conv.bias[LATENT_CHANNELS:], -6.0)
    return vae


def as_input(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def face_first(side: int) -> Tensor:
    """(side, side) weights of mean 1: eyes and mouth are small, and what people look at."""
    weights = torch.ones(side, side)
    weights[int(0.35 * side) : int(0.8 * side), int(0.25 * side) : int(0.75 * side)] = 4
    return weights / weights.mean()


def picture_loss(got: Tensor, want: Tensor) -> Tensor:
    """L1 on pixels and on their differences (crisp edges), squares (no colour badly wrong)."""
    error = got - want
    edges = sum(error.diff(dim=dim).abs().mean() for dim in (2, 3))
    return ((error.abs() + 2 * error.square()) * face_first(want.shape[-1])).mean() + 0.5 * edges


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: np.ndarray) -> None:
    """Give each latent channel mean 0 and variance 1, exactly, without changing a picture."""
    z = torch.cat(
        [vae.encode(as_input(pictures[i : i + 64])).latent_dist.mean for i in range(0, 2048, 64)]
    )
    mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
    c = LATENT_CHANNELS
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:c] /= std.view(c, 1, 1, 1)
    quant.bias[:c] = (quant.bias[:c] - mean) / std
    quant.bias[c:] -= 2 * std.log()  # the second half is the log-variance
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight *= std.view(1, c, 1, 1)


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures and their reconstructions."""
    x = as_input(pictures)
    y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    return 10 * math.log10(4 / F.mse_loss(y, x).item())


def step_loss(
    vae: AutoencoderKL, x: Tensor, decoder_only: bool, generator: torch.Generator
) -> Tensor:
    """One batch (B, 3, H, W) -> loss; noise on the latents is a share of their own deviation."""
    with torch.set_grad_enabled(not decoder_only):
        posterior = vae.encode(x).latent_dist
        z = posterior.sample(generator)
    level = (0.25 if decoder_only else 0.05) * torch.rand(len(z), 1, 1, 1, generator=generator)
    z = z + level * torch.randn(z.shape, generator=generator) * z.detach().std()
    loss = picture_loss(vae.decode(z).sample, x)
    if decoder_only:
        return loss
    return loss + 1e-4 * posterior.kl().mean() / posterior.mean[0].numel()


def fit(vae: AutoencoderKL, pictures: np.ndarray, args: argparse.Namespace) -> None:
    rng, generator = np.random.default_rng(args.seed), torch.Generator().manual_seed(args.seed)
    parts = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    if not args.decoder_only:
        parts += [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
    optimizer = torch.optim.AdamW(parts, args.lr, betas=(0.9, 0.99), weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps, pct_start=0.05)
    held_out, train = pictures[:256], pictures[2048:]
    start = time.monotonic()
    for step in range(1, args.steps + 1):
        x = as_input(train[np.sort(rng.integers(0, len(train), args.batch))])
        loss = step_loss(vae, x, args.decoder_only, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == args.steps:
            speed = step * args.batch / (time.monotonic() - start)
            quality = psnr(vae, held_out)
            print(
                f"step {step}/{args.steps} loss {loss.item():.4f} psnr {quality:.2f} dB "
                f"{speed:.0f} pictures/s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="array of render.py")
    parser.add_argument("out", type=Path, help="folder to write, or to go on from")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--decoder-only", action="store_true", help="keep the latents as they are")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pictures = np.load(args.pictures)
    known = (args.out / "config.json").exists()
    vae = AutoencoderKL.from_pretrained(args.out).float() if known else new_vae()
    fit(vae, pictures, args)
    if not args.decoder_only:
        normalise_latents(vae.eval(), pictures)
    print(f"psnr {psnr(vae.eval(), pictures[:512]):.2f} dB on held-out pictures")
    vae.half().save_pretrained(args.out)


if __name__ == "__main__":
    main()
