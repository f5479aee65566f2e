"""The loss of a step: noise on latents, the model's target, and the weights.

The family decides how noise is added to latents and what the model predicts (`NoiseProcess`);
weights and noise offset are the bake's own. Formulas: kohya's custom_train_functions.py and
train_util.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from bakery.families.family import NoiseProcess
from bakery.settings.train import Train


@dataclass
class Loss:
    """The noise and the loss of one bake."""

    noise: NoiseProcess
    min_snr_gamma: float | None
    """Weights pictures by min-SNR; None weights all equally."""
    noise_offset: float

    def draw(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(noise of `shape` = (B, C, h, w), t (B,)), on the CPU."""
        noise, t = self.noise.draw(shape, generator)
        if self.noise_offset:
            shift = torch.randn(*shape[:2], *[1] * (len(shape) - 2), generator=generator)
            noise = noise + self.noise_offset * shift
        return noise, t

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t, the model's input."""
        return self.noise.noisy(latents, noise, t)

    def loss(
        self,
        predicted: torch.Tensor,
        latents: torch.Tensor,
        noise: torch.Tensor,
        t: torch.Tensor,
        importance: torch.Tensor,
    ) -> torch.Tensor:
        """Mean over the batch of importance * weight(t) * squared error; importance is (B,)."""
        target = self.noise.target(latents, noise, t)
        return self._mean(_errors(predicted, target) * importance, t)

    def deviation(
        self, predicted: torch.Tensor, wanted: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The same between two predictions, (B, C, h, w) each."""
        return self._mean(_errors(predicted, wanted.float()), t)

    def _mean(self, error: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Mean of weight(t) * error, both (B,)."""
        if self.min_snr_gamma is not None:
            error = error * self.weights(t)
        weights = self.noise.weights(t)
        return (error if weights is None else error * weights).mean()

    def weights(self, t: torch.Tensor) -> torch.Tensor:
        """(B,) min(SNR, gamma), in terms of what is predicted: / SNR for noise, / (SNR + 1) for v.

        arXiv:2303.09556
        """
        snr = self.noise.snr(t)
        return snr.clamp(max=self.min_snr_gamma) / self.noise.target_scale(snr)


def _errors(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(B,) mean squared errors."""
    error = F.mse_loss(predicted.float(), target, reduction="none")
    return error.mean(dim=tuple(range(1, error.ndim)))


def of(settings: Train, noise: NoiseProcess) -> Loss:
    """The loss of a bake on a base with this noise."""
    noise = noise.set_by(settings.model_dump())
    return Loss(noise, settings.min_snr_gamma, settings.noise_offset)
