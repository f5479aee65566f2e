"""Stable Diffusion XL: two text encoders, and sizes of the picture. Its model is in `sdxl_model.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bakery.families.recognise import Header
from bakery.families.stable_diffusion import StableDiffusion
from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    import torch

    from bakery.families.family import Model
    from bakery.families.recognise import Place


class SDXL(StableDiffusion):
    """Stable Diffusion XL."""

    name = "sdxl"
    code_version = 2
    preset = "sdxl"
    preset_v = "noobai-vpred"
    hub_words = r"xl|pony|illustrious|noob"
    title = "SDXL"
    article = "an"
    resolution = 1024
    webui_version = "SDXL"
    base_version = "sdxl_base_v1-0"
    training_script = "sdxl_train_network.py"
    takes_clip_skip = False
    ignored_by_scripts = {
        "clip_skip": "clip_skip is left out: SDXL has a layer of its own, there as here"
    }
    pipelines = ("StableDiffusionXL",)
    folders = (
        "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
    )  # fmt: skip
    text_prefixes = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
    lora_signs = frozenset({"lora_te2", "lora_unet_input", "lora_unet_middle", "lora_unet_output"})

    def recognises(self, header: Header) -> bool:
        return super().recognises(header) and (
            bool(header.pipeline) or header.has("conditioner.embedders.")
        )

    def called_clip_skip(self, chosen: int) -> int | None:
        """The last layer but one, whatever is chosen. A1111 counts it as 2, and takes it for SDXL, too,
        unless a setting of its own lets clip skip decide about the smaller text encoder."""
        return 2

    def check(self, settings: Mapping[str, Any]) -> None:
        """Whatever clip_skip is, SDXL uses the second-last layer, which is clip_skip 2
        elsewhere."""
        super().check(settings)
        clip_skip = settings.get("clip_skip", 1)
        if clip_skip > 2:
            raise BakeryError(
                f"train.clip_skip is {clip_skip}, but SDXL always takes the last layer but one: "
                "leave clip_skip out"
            )

    def outline(
        self,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        from bakery.families.sdxl_model import SDXLModel  # torch takes seconds

        return SDXLModel.outline(self, place, settings, device, dtype)
