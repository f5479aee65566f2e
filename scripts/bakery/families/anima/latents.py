"""Latents of Qwen-Image's VAE, which is Wan's for videos: a picture is a video of one frame."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage

from bakery.families.anima.shapes import PATCH
from bakery.families.family import LatentSpace


class QwenImageLatents(LatentSpace):
    """Every channel has a mean and a deviation of its own."""

    module: AutoencoderKLQwenImage

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        self.module = vae
        self.channels = vae.config["z_dim"]
        self.pixels = vae.spatial_compression_ratio
        self._mean, self._std = (
            torch.tensor(vae.config[name])[:, None, None]
            for name in ("latents_mean", "latents_std")
        )

    @property
    def grid(self) -> int:
        return self.pixels * PATCH

    @property
    def dtype(self) -> torch.dtype:
        return self.module.dtype

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nothing is drawn: all trainers of models on this VAE take its mean."""
        mean = self.module.encode(pixels[:, :, None]).latent_dist.mean[:, :, 0]
        return mean, torch.zeros_like(mean)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return (latents - self._mean.to(latents)) / self._std.to(latents)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """One by one: at 1024 px a batch would take the most memory."""
        latents = (latents * self._std.to(latents) + self._mean.to(latents)).to(self.dtype)
        rows = latents[:, :, None].split(1)
        return torch.cat([self.module.decode(row).sample[:, :, 0].float() for row in rows])
