"""Stable Diffusion 1.x: one text encoder, at a layer of choice. Its model is in `sd_model.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bakery.families.recognise import Header
from bakery.families.stable_diffusion import StableDiffusion

if TYPE_CHECKING:
    import torch

    from bakery.families.family import Model
    from bakery.families.recognise import Place


class SD1(StableDiffusion):
    """Stable Diffusion 1.x."""

    name = "sd1"
    preset = "sd15"
    title = "SD 1.x"
    article = "an"
    resolution = 512
    webui_version = "SD1"
    base_version = "sd_v1"
    training_script = "train_network.py"
    pipelines = ("StableDiffusion",)
    folders = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    text_prefixes = ("cond_stage_model.transformer.",)
    lora_signs = frozenset({"lora_te", "lora_unet_down", "lora_unet_mid", "lora_unet_up"})

    def recognises(self, header: Header) -> bool:
        others = ("StableDiffusionXL", "StableDiffusion3")
        return (
            super().recognises(header)
            and not header.pipeline.startswith(others)
            and not header.has("conditioner.embedders.")
        )

    def outline(
        self,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        from bakery.families.sd_model import SD1Model  # torch takes seconds

        return SD1Model.outline(self, place, settings, device, dtype)
