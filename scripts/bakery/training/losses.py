"""What a step learns from: noise on latents, what the UNet should say to it, and what counts how much.

Formulas: kohya's custom_train_functions.py and train_util.py. With latents x, noise e and
a_t = alphas_cumprod at timestep t:

    x_t = sqrt(a_t) x + sqrt(1 - a_t) e        v = sqrt(a_t) e - sqrt(1 - a_t) x
    SNR(t) = a_t / (1 - a_t)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from bakery.settings.train import Train


@dataclass
class Diffusion:
    """The noise of one bake, and its loss."""

    scheduler: DDPMScheduler
    weights: torch.Tensor | None
    """(T,) weight of each timestep by min-SNR; None weighs all alike."""
    noise_offset: float

    @property
    def predicts_v(self) -> bool:
        return self.scheduler.config.prediction_type == "v_prediction"

    def draw(
        self, shape: torch.Size | tuple[int, ...], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(noise of `shape` = (B, C, h, w), timesteps (B,), uniform), on the CPU."""
        noise = torch.randn(shape, generator=generator)
        t = torch.randint(
            self.scheduler.config.num_train_timesteps, (shape[0],), generator=generator
        )
        if self.noise_offset:
            shift = torch.randn(*shape[:2], 1, 1, generator=generator)
            noise = noise + self.noise_offset * shift
        return noise, t

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t, the UNet's input."""
        return self.scheduler.add_noise(latents, noise, t)

    def loss(
        self,
        predicted: torch.Tensor,
        latents: torch.Tensor,
        noise: torch.Tensor,
        t: torch.Tensor,
        importance: torch.Tensor,
    ) -> torch.Tensor:
        """Mean over the batch of importance * weight(t) * squared error; importance is (B,)."""
        target = self.scheduler.get_velocity(latents, noise, t) if self.predicts_v else noise
        error = F.mse_loss(predicted.float(), target, reduction="none").mean(dim=(1, 2, 3))  # (B,)
        error = error * importance
        if self.weights is not None:
            self.weights = self.weights.to(t.device)
            error = error * self.weights[t]
        return error.mean()


def diffusion(settings: Train, scheduler: DDPMScheduler) -> Diffusion:
    """The base's noise schedule, which has heard v_parameterization and zero_terminal_snr."""
    made = Diffusion(scheduler, None, settings.noise_offset)
    if settings.min_snr_gamma is not None:
        made.weights = min_snr(snr(scheduler), settings.min_snr_gamma, made.predicts_v)
    return made


def snr(scheduler: DDPMScheduler) -> torch.Tensor:
    """(T,) signal-to-noise ratios of the schedule before any rescaling to zero terminal SNR.

    kohya's scripts take them before they rescale, so that the last one is never 0.
    """
    plain = DDPMScheduler.from_config(scheduler.config, rescale_betas_zero_snr=False)
    return plain.alphas_cumprod / (1 - plain.alphas_cumprod)


def min_snr(ratios: torch.Tensor, gamma: float, predicts_v: bool) -> torch.Tensor:
    """min(SNR, gamma) / SNR for the noise, / (SNR + 1) for v (arXiv:2303.09556)."""
    return ratios.clamp(max=gamma) / (ratios + 1 if predicts_v else ratios)
