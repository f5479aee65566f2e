"""Trains the VAE of the embedded Anima: a stock AutoencoderKLQwenImage, 4x smaller, 8 channels.

`python -m world.fit_anima_vae world/build/base.npy world/build/anima/vae` writes a `save_pretrained`
folder. Mean and deviation of its latents' channels are in its config, as in the VAE that Anima has.
Resumable: the state is saved every few minutes, and the same command goes on from it.

A picture is one frame. A causal convolution over one frame sees nothing but zeros before it, so only
the last slice of its kernel counts: `as_stills` computes just that, at a third of the cost, and the
other slices are saved as zeros.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor

from world import vae_fitting
from world.vae_fitting import LATENT_CHANNELS


def new_vae() -> AutoencoderKLQwenImage:
    vae = AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, False],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )
    # a fresh posterior has variance 1, which drowns the mean: start nearly deterministic
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = -6
        for layer in _convolutions(vae):
            layer.weight[:, :, :-1] = 0
    return vae


def _convolutions(vae: AutoencoderKLQwenImage) -> Iterator[QwenImageCausalConv3d]:
    return (layer for layer in vae.modules() if isinstance(layer, QwenImageCausalConv3d))


@contextmanager
def as_stills(vae: AutoencoderKLQwenImage) -> Iterator[None]:
    """Convolutions over time are those of one frame."""
    layers = list(_convolutions(vae))
    for layer in layers:
        layer.__dict__["forward"] = _still(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def _still(layer: QwenImageCausalConv3d):
    def forward(x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        left, right, top, bottom = layer._padding[:4]
        assert (x.shape[2], right, bottom) == (1, left, top)
        y = F.conv2d(x[:, :, 0], layer.weight[:, :, -1], layer.bias, layer.stride[1:], (top, left))
        return y[:, :, None]

    return forward


def latents(vae: AutoencoderKLQwenImage, x: Tensor) -> Tensor:
    """(B, 3, H, W) -> means (B, C, h, w), not normalised."""
    return vae.encode(x[:, :, None]).latent_dist.mean[:, :, 0]


def pictures(vae: AutoencoderKLQwenImage, z: Tensor) -> Tensor:
    """(B, C, h, w), not normalised -> (B, 3, H, W)."""
    return vae.decode(z[:, :, None]).sample[:, :, 0]


class Fit(vae_fitting.Fit):
    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        vae = new_vae()
        super().__init__(vae, list(vae.parameters()), args)

    def posterior(self, x: Tensor) -> Any:
        return self.vae.encode(x[:, :, None]).latent_dist

    def pictures(self, z: Tensor) -> Tensor:
        return pictures(self.vae, z)

    def export(self, known: np.ndarray, out: Path) -> None:
        """Write the VAE with its latents' measured mean and deviation, fp16."""
        mean, std = self.statistics(known)
        self.vae.register_to_config(
            latents_mean=[round(x, 4) for x in mean.tolist()],
            latents_std=[round(x, 4) for x in std.tolist()],
        )
        self.vae.half().save_pretrained(out)


def main() -> None:
    parser = vae_fitting.arguments(
        __doc__, steps=4500, out="folder to write, with the state beside it"
    )
    args = parser.parse_args()
    known, state = np.load(args.pictures, mmap_mode="r"), args.out.with_suffix(".state.pt")
    state.parent.mkdir(parents=True, exist_ok=True)
    fit = Fit(args)
    with as_stills(fit.vae):
        vae_fitting.run(fit, known, args, state)
        vae_fitting.tell_quality(fit, known)
        fit.export(known, args.out)


if __name__ == "__main__":
    main()
