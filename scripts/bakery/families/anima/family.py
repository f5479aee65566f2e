"""Anima: a transformer that follows a flow, with a language model as text encoder. Its model is in
`anima/model.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakery.families import recognise
from bakery.families.anima import beside, lora_names, names, refusals
from bakery.families.family import Family
from bakery.families.recognise import Header
from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    import torch

    from bakery.families.family import Model
    from bakery.families.recognise import Place

_LORA_SIGN = re.compile(
    r"(?:lora_unet_|diffusion_model\.|net\.|base_model\.model\.)?(?:llm_adapter[._]"
    r"|blocks[._]\d+[._](?:(?:self|cross)_attn[._](?:q|k|v|output)_proj|mlp[._]layer\d"
    r"|adaln_modulation_))"
    r"|transformer\.transformer_blocks\.\d+\.(?:attn[12]\.to_|ff\.net\.\d|norm[123]\.linear_)"
)
_STRANGERS = (
    (r"(.*\.)?transformer_blocks\.0\.img_mod\.1\.weight", "a Qwen-Image model"),
    (r"(.*\.)?blocks\.0\.(self|cross)_attn\.norm_q\.weight", "a Wan model"),
    (r"(.*\.)?(cap_embedder\.0|context_refiner\.0\.attention\.qkv)\.weight", "a Lumina model"),
    (
        r"transformer_blocks\.0\.norm1\.linear_1\.weight",
        "a transformer alone, in the format of diffusers",
    ),
    (rf"(.*\.)?{re.escape(names.QWEN3_SIGN)}", "a language model, which is only a text encoder"),
    (rf"{'|'.join(map(re.escape, names.VAE_SIGNS))}", "a VAE alone"),
)
"""Models that have something in common with this one, by a tensor."""


class Anima(Family):
    """Anima."""

    name = "anima"
    code_version = 2
    title = "Anima"
    article = "an"
    resolution = 1024
    hub_words = r"(^|[/_-])anima(?![a-z])"
    parts = ("checkpoint", "text_encoder", "vae", "tokenizer", "t5_tokenizer")
    samplers = ("Euler", "DPM++ 2M", "UniPC")
    webui_version = "Unknown"  # A1111 has no word for it, and loads none
    base_version = "anima"
    training_script = "anima_train_network.py"
    network_module = "networks.lora_anima"
    ignored_by_scripts = {
        "clip_skip": "clip_skip is left out: Anima has no CLIP",
        "max_token_length": "max_token_length is left out: Anima reads 512 tokens, there as here",
    }
    preset = "anima"
    follows_flow = True
    usual_rates = (2e-5, 1e-4)
    usual_pictures = (20, 30)
    webui_loads = False

    def recognises(self, header: Header) -> bool:
        if header.pipeline:
            return header.pipeline.startswith("Anima")
        prefix = names.prefix_of(header.shapes)
        return prefix is not None and prefix + names.ADAPTER_SIGN in header.shapes

    def stranger(self, header: Header) -> str:
        prefix = names.prefix_of(header.shapes)
        if prefix is not None:
            if prefix + names.ADAPTER_SIGN in header.shapes:
                return ""
            return f"a Cosmos-Predict2 model without Anima's text adapter ({names.ADAPTER}*)"
        if any(".lora_A." in name for name in header.shapes):
            return "a LoRA, not a model"
        for sign, what in _STRANGERS:
            if any(re.fullmatch(sign, name) for name in header.shapes):
                return what
        return ""

    def owns_lora(self, keys: Iterable[str]) -> bool:
        return any(_LORA_SIGN.match(key) for key in keys)

    def called_clip_skip(self, chosen: int) -> int | None:
        return None

    def lora_name(self, path: str) -> str | None:
        return lora_names.name_of(path)

    def lora_path(self, name: str) -> str | None:
        return lora_names.path_of(name)

    def check(self, settings: Mapping[str, Any]) -> None:
        refusals.check_settings(settings)

    def parts_beside(self, checkpoint: Path) -> dict[str, str]:
        return beside.parts(checkpoint)

    def check_place(self, place: Place) -> None:
        """`BakeryError` for parts that belong to other models, as far as their files' headers show it.

        A checkpoint of the transformer alone needs the other parts by name.
        """
        pieces = {"checkpoint": place} if isinstance(place, str) else place
        path = pieces["checkpoint"]
        header = recognise.header(path) if Path(path).is_file() else None
        inside = {} if header is None else names.split(header.shapes)
        if header is not None:
            refusals.check_checkpoint(path, header, inside)
            for part, what in (("text_encoder", "Qwen3-0.6B"), ("vae", "the VAE of Qwen-Image")):
                if part not in pieces and part not in inside:
                    raise BakeryError(
                        f"train.base: {path} is Anima's transformer alone: name its other parts, "
                        f"`base: {{checkpoint: ..., text_encoder: ..., vae: ...}}`; {part} is {what}"
                    )
        for part in ("text_encoder", "vae"):
            if part in pieces and Path(pieces[part]).is_file():
                inside[part] = refusals.shapes_of_part(part, pieces[part])
        refusals.check_widths(pieces, inside)

    def outline(
        self,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        from bakery.families.anima.model import AnimaModel  # torch takes seconds

        return AnimaModel.outline(self, place, settings, device, dtype)
