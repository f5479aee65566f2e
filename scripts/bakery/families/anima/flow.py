"""Rectified flow: noise is mixed in along a straight line, and the model predicts its direction.

With latents x, noise e and t in 0 .. 1 (arXiv:2209.03003):

    x_t = (1 - t) x + t e        target = e - x        SNR(t) = ((1 - t) / t)^2

How t is drawn and weighed follows sd-scripts' flux_train_utils.py and anima_train_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from bakery.families.family import NoiseProcess


@dataclass(frozen=True)
class RectifiedFlow(NoiseProcess):
    """Times are numbers in 0 .. 1, where 1 is nothing but noise."""

    timestep_sampling: str = "sigmoid"
    """`uniform`; `sigmoid` of a normal number; `shift`, which moves that towards noise;
    `logit_normal`, the same with a mean and a deviation."""
    discrete_flow_shift: float = 1.0
    """With `shift` and `logit_normal`: above 1, more noise."""
    sigmoid_scale: float = 1.0
    """With `sigmoid` and `shift`: above 1, more of both ends."""
    logit_mean: float = 0.0
    logit_std: float = 1.0
    weighting_scheme: str = "uniform"
    """Weight of the loss at t: 1 with `uniform` and `none`, 1 / t^2 with `sigma_sqrt`, and
    2 / (pi (1 - 2 t + 2 t^2)) with `cosmap`."""

    def set_by(self, settings: Mapping[str, Any]) -> Self:
        names = self.__dataclass_fields__
        given = {k: settings[k] for k in names if settings.get(k) is not None}
        return type(self)(**given)

    def draw(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn(tuple(shape), generator=generator)
        return noise, self.times(shape[0], generator)

    def times(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) times, float32, on the CPU."""
        if self.timestep_sampling == "uniform":
            return torch.rand(count, generator=generator)
        normal = torch.randn(count, generator=generator)
        if self.timestep_sampling == "logit_normal":
            t = torch.sigmoid(self.logit_mean + self.logit_std * normal)
        else:
            t = torch.sigmoid(self.sigmoid_scale * normal)
        return t if self.timestep_sampling == "sigmoid" else shifted(t, self.discrete_flow_shift)

    def at(self, place: float) -> torch.Tensor:
        return torch.tensor([place])

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t = _beside(t, latents)
        return (1 - t) * latents + t * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def snr(self, t: torch.Tensor) -> torch.Tensor:
        return ((1 - t) / t) ** 2

    def target_scale(self, snr: torch.Tensor) -> torch.Tensor:
        """An error d of e - x is one of t d in x, and t = 1 / (1 + sqrt(SNR))."""
        return (1 + snr.sqrt()) ** 2

    def weights(self, t: torch.Tensor) -> torch.Tensor | None:
        if self.weighting_scheme == "sigma_sqrt":
            return t**-2
        if self.weighting_scheme == "cosmap":
            return 2 / (math.pi * (1 - 2 * t + 2 * t**2))
        return None


def shifted(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Times moved towards noise by a shift above 1; 0 and 1 stay."""
    return shift * t / (1 + (shift - 1) * t)


def _beside(t: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """(B,) -> (B, 1, 1, 1), to be multiplied with latents."""
    return t.to(latents.dtype).view(-1, *[1] * (latents.ndim - 1))
