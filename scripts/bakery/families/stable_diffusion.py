"""What SD 1.x and SDXL have in common as families."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from bakery.families.family import Family
from bakery.families.recognise import Header
from bakery.io.errors import BakeryError

UNET_SIGN = "model.diffusion_model.input_blocks."
"""A UNet in a single file."""
FLOWS = {
    "timestep_sampling": "sigmoid", "discrete_flow_shift": 1.0, "sigmoid_scale": 1.0,
    "logit_mean": 0.0, "logit_std": 1.0, "weighting_scheme": "none",
}  # fmt: skip
"""Settings of models that follow a flow -> the value that asks for nothing."""
_LORA_SIGN = re.compile(r"(lora_unet_(?:input|middle|output|down|mid|up)|lora_te2?(?=_text_))_")


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

    def check(self, settings: Mapping[str, Any]) -> None:
        """It is trained in steps of a noise schedule, and its files have kohya's names alone."""
        for name, usual in FLOWS.items():
            if settings.get(name, usual) != usual:
                raise BakeryError(
                    f"train.{name} is {settings[name]}, but {self.title} is trained in the steps of "
                    f"a noise schedule and follows no flow: leave {name} out"
                )
        form = settings.get("save_format", "kohya")
        if form != "kohya":
            raise BakeryError(
                f"train.save_format is {form}, but LoRAs for {self.title} have kohya's names "
                "everywhere: leave save_format out"
            )
