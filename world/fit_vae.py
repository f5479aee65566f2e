"""Trains an embedded world's VAE: a stock AutoencoderKL for pictures of 64 or 128 pixels.

`python -m world.fit_vae world/build/base.npy world/build/vae` writes a `save_pretrained` folder whose
latents have mean 0 and variance 1 in each channel: the measured statistics are folded into the 1x1
convolutions around the latent, which changes no picture, and scaling_factor is 1. It goes on from the
folder if there is one; a VAE that a base was trained with keeps its encoder (`--decoder-only`). The
state is saved beside the folder every few minutes, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from world import vae_fitting

WIDTHS = {64: (16, 32, 64), 128: (16, 16, 32, 64)}
"""Side of the pictures -> channels of the levels, from the outside in; both make 16 x 16 latents."""
LATENT_CHANNELS = {64: 8, 128: 12}


def new_vae(side: int) -> AutoencoderKL:
    widths, channels = WIDTHS[side], LATENT_CHANNELS[side]
    vae = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=side,
        scaling_factor=1.0,
    )
    # a fresh posterior has variance 1, which drowns the mean: start nearly deterministic
    nn.init.zeros_(vae.quant_conv.weight[channels:])
    nn.init.constant_(vae.quant_conv.bias[channels:], -6.0)
    return vae


class Fit(vae_fitting.Fit):
    def __init__(self, vae: AutoencoderKL, args: argparse.Namespace) -> None:
        learns = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
        self.decoder_only = args.decoder_only
        if args.decoder_only:
            self.noise, self.kl = 0.25, 0.0
        else:
            learns += [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
            self.noise = 0.15 if args.anchor else self.noise
        super().__init__(vae, learns, args)
        self.anchor = args.anchor and AutoencoderKL.from_pretrained(args.anchor).float().eval()
        self.redrawn = args.redrawn and torch.load(args.redrawn, weights_only=True)

    def train_step(self, train: np.ndarray, size: int) -> Tensor:
        if self.redrawn is None:
            return super().train_step(train, size)
        rng, generator = self.draws()
        rows = np.sort(rng.integers(0, len(self.redrawn), size // 2))
        made = self.pictures(self.redrawn[torch.from_numpy(rows)].float())
        finished = vae_fitting.picture_loss(made, vae_fitting.as_input(train[rows]))
        plain = self.loss(vae_fitting.some(train, size - len(rows), rng), generator)
        return self.learn((finished + plain) / 2)

    def asked_of_latents(self, x: Tensor, posterior: Any) -> Tensor:
        asked = super().asked_of_latents(x, posterior)
        return asked + 0.5 * self.distance(x, posterior.mean) if self.anchor else asked

    def distance(self, x: Tensor, mean: Tensor) -> Tensor:
        """Mean square of how far the first latent channels are from the anchor's, at half the side."""
        with torch.no_grad():
            small = F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True)
            known = self.anchor.encode(small.clamp(-1, 1)).latent_dist.mean
        return F.mse_loss(mean[:, : known.shape[1]], known)

    def posterior(self, x: Tensor) -> Any:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            return self.vae.encode(x).latent_dist

    def pictures(self, z: Tensor) -> Tensor:
        return self.vae.decode(z).sample

    @torch.no_grad()
    def normalise_latents(self, known: np.ndarray) -> None:
        """Give each latent channel mean 0 and variance 1, exactly, without changing a picture."""
        mean, std = self.statistics(known)
        c = len(mean)
        quant, post = self.vae.quant_conv, self.vae.post_quant_conv
        quant.weight[:c] /= std.view(c, 1, 1, 1)
        quant.bias[:c] = (quant.bias[:c] - mean) / std
        quant.bias[c:] -= 2 * std.log()  # the second half is the log-variance
        post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
        post.weight *= std.view(1, c, 1, 1)


def main() -> None:
    parser = vae_fitting.arguments(__doc__, steps=3500, out="folder to write, or to go on from")
    parser.add_argument(
        "--anchor", type=Path, help="folder of a VAE whose latents of the half side stay"
    )
    parser.add_argument("--decoder-only", action="store_true", help="keep the latents as they are")
    parser.add_argument(
        "--redrawn", type=Path, help="OUT of redraw.py: half of what the decoder alone learns from"
    )
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    known = np.load(args.pictures, mmap_mode="r")
    begun = (args.out / "config.json").exists()
    vae = AutoencoderKL.from_pretrained(args.out) if begun else new_vae(known.shape[1])
    fit = Fit(vae.float(), args)
    fit.vae.to(memory_format=torch.channels_last)  # a seventh faster on two cores
    state = args.out.with_suffix(".decoder.pt" if args.decoder_only else ".state.pt")
    vae_fitting.run(fit, known, args, state)
    fit.vae.to(memory_format=torch.contiguous_format)
    if not args.decoder_only:
        fit.normalise_latents(known)
    vae_fitting.tell_quality(fit, known)
    fit.vae.half().save_pretrained(args.out)


if __name__ == "__main__":
    main()
