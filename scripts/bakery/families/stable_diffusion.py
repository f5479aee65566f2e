"""What SD 1.x and SDXL have in common as families."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from bakery.families.family import Family
from bakery.families.recognise import Header

UNET_SIGN = "model.diffusion_model.input_blocks."
"""A UNet in a single file."""
_LORA_SIGN = re.compile(r"(lora_unet_(?:input|middle|output|down|mid|up)|lora_te2?)_")


class StableDiffusion(Family):
    """A UNet on the latents of a VAE, with CLIP's text encoders."""

    parts = ("checkpoint", "vae")
    pipelines: ClassVar[tuple[str, ...]]
    """How the names of its diffusers pipelines begin."""
    folders: ClassVar[tuple[str, ...]]
    """Of a diffusers model, one a part."""
    text_prefixes: ClassVar[tuple[str, ...]]
    """Of the text encoders' weights in a single file."""
    lora_signs: ClassVar[frozenset[str]]
    """How keys begin that only this family's LoRAs have."""
    takes_clip_skip: ClassVar[bool] = True
    """Whether the layer of the text encoder can be chosen."""

    def recognises(self, header: Header) -> bool:
        if header.pipeline:
            return header.pipeline.startswith(self.pipelines)
        return header.has(UNET_SIGN)

    def owns_lora(self, keys: Iterable[str]) -> bool:
        signs = {sign[1] for key in keys if (sign := _LORA_SIGN.match(key))}
        return bool(signs & self.lora_signs)
