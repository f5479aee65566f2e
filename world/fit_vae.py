"""Trains the embedded world's VAE: a stock AutoencoderKL, 4x smaller, 8 channels.

`python -m world.fit_vae world/build/base.npy world/build/vae` writes a `save_pretrained` folder whose
latents have mean 0 and variance 1 in each channel: the measured statistics are folded into the 1x1
convolutions around the latent, which changes no picture, and scaling_factor is 1. It goes on from the
folder if there is one; a VAE that a base was trained with keeps its encoder (`--decoder-only`).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from world import vae_fitting
from world.vae_fitting import LATENT_CHANNELS

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


class Fit(vae_fitting.Fit):
    """All draws are from one stream: a run that goes on from a folder is another training of it."""

    def __init__(self, vae: AutoencoderKL, args: argparse.Namespace) -> None:
        learns = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
        self.decoder_only = args.decoder_only
        if args.decoder_only:
            self.noise, self.kl = 0.25, 0.0
        else:
            learns += [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
        super().__init__(vae, learns, args)
        self._draws = np.random.default_rng(args.seed), torch.Generator().manual_seed(args.seed)

    def draws(self) -> tuple[np.random.Generator, torch.Generator]:
        return self._draws

    def posterior(self, x: Tensor) -> Any:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            return self.vae.encode(x).latent_dist

    def pictures(self, z: Tensor) -> Tensor:
        return self.vae.decode(z).sample

    @torch.no_grad()
    def normalise_latents(self, known: np.ndarray) -> None:
        """Give each latent channel mean 0 and variance 1, exactly, without changing a picture."""
        mean, std = self.statistics(known)
        c = LATENT_CHANNELS
        quant, post = self.vae.quant_conv, self.vae.post_quant_conv
        quant.weight[:c] /= std.view(c, 1, 1, 1)
        quant.bias[:c] = (quant.bias[:c] - mean) / std
        quant.bias[c:] -= 2 * std.log()  # the second half is the log-variance
        post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
        post.weight *= std.view(1, c, 1, 1)


def main() -> None:
    parser = vae_fitting.arguments(__doc__, steps=3500, out="folder to write, or to go on from")
    parser.add_argument("--decoder-only", action="store_true", help="keep the latents as they are")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    known = np.load(args.pictures, mmap_mode="r")
    begun = (args.out / "config.json").exists()
    fit = Fit(AutoencoderKL.from_pretrained(args.out).float() if begun else new_vae(), args)
    vae_fitting.run(fit, known, args)
    if not args.decoder_only:
        fit.normalise_latents(known)
    vae_fitting.tell_quality(fit, known)
    fit.vae.half().save_pretrained(args.out)


if __name__ == "__main__":
    main()
