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
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor, nn

from world.fit_vae import as_input, picture_loss
from world.fitting import write

LATENT_CHANNELS = 8
NOISE = 0.05
"""Of a latent's deviation: the decoder forgives what a small transformer leaves unfinished."""


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


@torch.no_grad()
def psnr(vae: AutoencoderKLQwenImage, known: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures and their reconstructions."""
    errors = []
    for first in range(0, len(known), 64):
        x = as_input(known[first : first + 64])
        errors.append(F.mse_loss(pictures(vae, latents(vae, x)).clamp(-1, 1), x))
    return 10 * math.log10(4 / torch.stack(errors).mean().item())


def step_loss(vae: AutoencoderKLQwenImage, x: Tensor, generator: torch.Generator) -> Tensor:
    """One batch (B, 3, H, W) -> loss."""
    posterior = vae.encode(x[:, :, None]).latent_dist
    z = posterior.sample(generator)
    level = NOISE * torch.rand(len(z), 1, 1, 1, 1, generator=generator)
    z = z + level * torch.randn(z.shape, generator=generator) * z.detach().std()
    loss = picture_loss(vae.decode(z).sample[:, :, 0], x)
    return loss + 1e-4 * posterior.kl().mean() / posterior.mean[0].numel()


class Fit:
    """The training state: everything that a resumed run needs to go on alike."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.seed, self.step = args.seed, 0
        self.vae = new_vae()
        self.optimizer = torch.optim.AdamW(
            self.vae.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=0
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.lr, args.steps, pct_start=0.05
        )

    def train_step(self, train: np.ndarray, size: int) -> Tensor:
        rng = np.random.default_rng([self.seed, self.step])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        x = as_input(train[np.sort(rng.integers(0, len(train), size))])
        loss = step_loss(self.vae, x, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return loss.detach()

    def save(self, path: Path) -> None:
        state = {
            "vae": self.vae.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
        }
        write(path, state)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.vae.load_state_dict(state["vae"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]

    def export(self, known: np.ndarray, out: Path) -> None:
        """Write the VAE with its latents' measured mean and deviation, fp16."""
        with torch.no_grad():
            z = torch.cat(
                [latents(self.vae, as_input(known[i : i + 64])) for i in range(0, 2048, 64)]
            )
        self.vae.register_to_config(
            latents_mean=[round(x, 4) for x in z.mean((0, 2, 3)).tolist()],
            latents_std=[round(x, 4) for x in z.std((0, 2, 3)).tolist()],
        )
        self.vae.half().save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="array of render.py")
    parser.add_argument("out", type=Path, help="folder to write, with the state beside it")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    known, state = np.load(args.pictures, mmap_mode="r"), args.out.with_suffix(".state.pt")
    state.parent.mkdir(parents=True, exist_ok=True)
    fit = Fit(args)
    if state.exists():
        fit.load(state)
    start, first, saved = time.monotonic(), fit.step, time.monotonic()
    with as_stills(fit.vae):
        while fit.step < args.steps:
            loss = fit.train_step(known[2048:], args.batch)
            if fit.step % 100 == 0:
                speed = (fit.step - first) * args.batch / (time.monotonic() - start)
                print(
                    f"step {fit.step}/{args.steps} loss {loss.item():.4f} "
                    f"psnr {psnr(fit.vae, known[:256]):.2f} dB {speed:.0f} pictures/s",
                    flush=True,
                )
            if time.monotonic() - saved > 120 or fit.step == args.steps:
                fit.save(state)
                saved = time.monotonic()
        print(f"psnr {psnr(fit.vae.eval(), known[:512]):.2f} dB on held-out pictures")
        fit.export(known, args.out)


if __name__ == "__main__":
    main()
