"""Noise in steps of a schedule (DDPM), as Stable Diffusion learned to remove it.

Formulas: kohya's custom_train_functions.py and train_util.py. With latents x, noise e and
a_t = alphas_cumprod at timestep t:

    x_t = sqrt(a_t) x + sqrt(1 - a_t) e        v = sqrt(a_t) e - sqrt(1 - a_t) x
    SNR(t) = a_t / (1 - a_t)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from bakery.families.family import NoiseProcess


class Diffusion(NoiseProcess):
    """Timesteps are whole numbers; the model predicts the noise, or v."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self.scheduler = scheduler
        self._snr = snr_table(scheduler)

    @property
    def predicts_v(self) -> bool:
        return self.scheduler.config["prediction_type"] == "v_prediction"

    def draw(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Timesteps are uniform."""
        noise = torch.randn(tuple(shape), generator=generator)
        steps = self.scheduler.config["num_train_timesteps"]
        return noise, torch.randint(steps, (shape[0],), generator=generator)

    def at(self, place: float) -> torch.Tensor:
        return torch.tensor([round(place * self.scheduler.config["num_train_timesteps"])])

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.scheduler.add_noise(latents, noise, _steps(t))

    def target(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if not self.predicts_v:
            return noise
        return self.scheduler.get_velocity(latents, noise, _steps(t))

    def snr(self, t: torch.Tensor) -> torch.Tensor:
        self._snr = self._snr.to(t.device)  # once
        return self._snr[t]

    def target_scale(self, snr: torch.Tensor) -> torch.Tensor:
        return snr + 1 if self.predicts_v else snr


def _steps(t: torch.Tensor) -> torch.IntTensor:
    """`t` as diffusers declares it; it takes whole numbers of any width."""
    return cast(torch.IntTensor, t)


def snr_table(scheduler: DDPMScheduler) -> torch.Tensor:
    """(T,) signal-to-noise ratios of the schedule before any rescaling to zero terminal SNR.

    kohya's scripts take them before they rescale, so that the last one is never 0.
    """
    plain = DDPMScheduler.from_config(scheduler.config, rescale_betas_zero_snr=False)
    return plain.alphas_cumprod / (1 - plain.alphas_cumprod)
