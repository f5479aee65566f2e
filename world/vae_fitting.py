"""What the trainings of the embedded bases' VAEs have in common: loss, steps, measures, command line.

The decoder sees slightly noisy latents, so that it forgives what a small denoiser leaves unfinished. The
first pictures of the array are not trained on: on them quality and latents are measured.
"""

from __future__ import annotations

import argparse
import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world.fitting import Resumable

LATENT_CHANNELS = 8
HELD_OUT = 2048
_AT_ONCE = 64
"""Pictures that are measured together."""
_SAVED = 120  # seconds between two states
_SHOWN = 100  # steps between two lines


def as_input(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def some(pictures: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """`size` of the pictures, as input."""
    return as_input(pictures[np.sort(rng.integers(0, len(pictures), size))])


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


class Fit(Resumable):
    """The training of a VAE."""

    noise = 0.05
    """Of a latent's deviation, at most: what the decoder has to forgive."""
    kl = 1e-4
    """Weight of the divergence of a latent's distribution from the normal one."""

    def __init__(self, vae: Any, learns: list[nn.Parameter], args: argparse.Namespace) -> None:
        self.vae, self.learns, self.seed, self.step = vae, learns, args.seed, 0
        self.optimizer = torch.optim.AdamW(learns, args.lr, betas=(0.9, 0.99), weight_decay=0)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.lr, args.steps, pct_start=0.05
        )

    @abstractmethod
    def posterior(self, x: Tensor) -> Any:
        """(B, 3, H, W) -> the distribution of latents, (B, C, h, w) or of one frame (B, C, 1, h, w)."""

    @abstractmethod
    def pictures(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, H, W)."""

    def draws(self) -> tuple[np.random.Generator, torch.Generator]:
        """What the next step draws its batch and its noise from: it follows from seed and step alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        return np.random.default_rng([self.seed, self.step]), generator

    def asked_of_latents(self, x: Tensor, posterior: Any) -> Tensor:
        """What the loss has besides the pictures: here, how far latents are from normal ones."""
        return self.kl * posterior.kl().mean() / posterior.mean[0].numel()

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One batch (B, 3, H, W) -> loss; noise on the latents is a share of their own deviation."""
        posterior = self.posterior(x)
        z = _without_frames(posterior.sample(generator))
        level = self.noise * torch.rand(len(z), 1, 1, 1, generator=generator)
        z = z + level * torch.randn(z.shape, generator=generator) * z.detach().std()
        return picture_loss(self.pictures(z), x) + self.asked_of_latents(x, posterior)

    def train_step(self, train: np.ndarray, size: int) -> Tensor:
        """One step on `size` of the pictures; its loss."""
        rng, generator = self.draws()
        return self.learn(self.loss(some(train, size, rng), generator))

    def learn(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learns, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return loss.detach()

    def parts(self) -> dict[str, Any]:
        return {"vae": self.vae, "optimizer": self.optimizer, "schedule": self.schedule}

    @torch.no_grad()
    def psnr(self, known: np.ndarray) -> float:
        """Peak signal-to-noise ratio in dB of pictures and their reconstructions."""
        errors = []
        for x in _batches(known):
            z = _without_frames(self.posterior(x).mean)
            errors.append(F.mse_loss(self.pictures(z).clamp(-1, 1), x))
        return 10 * math.log10(4 / torch.stack(errors).mean().item())

    @torch.no_grad()
    def statistics(self, known: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents of held-out pictures, (C,) each."""
        means = (_without_frames(self.posterior(x).mean) for x in _batches(known[:HELD_OUT]))
        z = torch.cat(list(means))
        return z.mean((0, 2, 3)), z.std((0, 2, 3))


def _without_frames(z: Tensor) -> Tensor:
    """(B, C, h, w), also of the one frame of a video."""
    return z.reshape(*z.shape[:2], *z.shape[-2:])


def _batches(known: np.ndarray) -> Iterator[Tensor]:
    return (as_input(known[i : i + _AT_ONCE]) for i in range(0, len(known), _AT_ONCE))


def arguments(doc: str, *, steps: int, out: str) -> argparse.ArgumentParser:
    """The command line of a training, for which `steps` are enough; `out` says what its folder is."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="array of render.py")
    parser.add_argument("out", type=Path, help=out)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def run(fit: Fit, known: np.ndarray, args: argparse.Namespace, state: Path | None = None) -> None:
    """Train until `args.steps` are done; with `state` go on from that file, and keep it."""
    if state is not None and state.exists():
        fit.load(state)
    start, first, saved = time.monotonic(), fit.step, time.monotonic()
    while fit.step < args.steps:
        loss = fit.train_step(known[HELD_OUT:], args.batch)
        if fit.step % _SHOWN == 0 or fit.step == args.steps:
            speed = (fit.step - first) * args.batch / (time.monotonic() - start)
            print(
                f"step {fit.step}/{args.steps} loss {loss.item():.4f} "
                f"psnr {fit.psnr(known[:256]):.2f} dB {speed:.0f} pictures/s",
                flush=True,
            )
        if state is not None and (time.monotonic() - saved > _SAVED or fit.step == args.steps):
            fit.save(state)
            saved = time.monotonic()
    fit.vae.eval()


def tell_quality(fit: Fit, known: np.ndarray) -> None:
    """Print how well held-out pictures come back."""
    print(f"psnr {fit.psnr(known[:512]):.2f} dB on held-out pictures")
