"""A loaded Stable Diffusion 1.x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from bakery.families import clip
from bakery.families.family import Text
from bakery.families.latent_diffusion import LatentDiffusion
from bakery.families.loading import check_width
from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )


class SD1Model(LatentDiffusion):
    """One text encoder; its `clip_skip`-th last layer goes through the final norm."""

    @property
    def mergeable(self) -> bool:
        return self.dtype == torch.float32  # in half precision the sum would lose digits

    def encode_tokens(self, tokens: Sequence[torch.Tensor], n: int) -> Text:
        states = clip.states(self.text_encoders[0], tokens[0].flatten(0, 1), self.clip_skip)
        return {"hidden": clip.joined(states, n)}

    def pipeline(self, scheduler: Any) -> StableDiffusionPipeline:
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
            StableDiffusionPipeline,
        )

        return StableDiffusionPipeline(
            **self.pipeline_parts(),
            scheduler=scheduler,
            safety_checker=None,  # type: ignore[arg-type] # diffusers takes None, and says so in its docs
            requires_safety_checker=False,
        )

    def describe(self) -> dict[str, object]:
        version = self.family.base_version
        return super().describe() | {
            "ss_base_model_version": version
            if self.prediction_type == "epsilon"
            else f"{version}_v",
            "modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.encoder_layer": self.clip_skip,
        }

    @classmethod
    def check_parts(cls, path: str, parts: Mapping[str, Any]) -> None:
        unet = parts["unet"].config
        if unet.addition_embed_type is not None:
            raise BakeryError(
                f"train.base: {path} is a model with {unet.addition_embed_type} embeddings: give a "
                "whole SD 1.x or SDXL model"
            )
        if unet.cross_attention_dim == 1024:
            raise BakeryError(
                f"train.base: {path} is an SD 2 model: give a whole SD 1.x or SDXL model"
            )
        check_width(path, unet, [parts["text_encoder"].config])
