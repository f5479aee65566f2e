"""What is published of a LoRA names the programs that load it, and whoever may use its base."""

from __future__ import annotations

import dataclasses

import diffusers
import pytest

from bakery.families import registry
from bakery.interop import publishing
from bakery.interop.publishing import Pictures, Release
from bakery.report import release

SDXL = Release(
    name="suzu-lr0.0001-e03", trigger="suzu", outfits={}, weight=0.9, negative="",
    base="base.safetensors",
    hub_id="", family="SDXL", epoch=3, epochs=6, steps="300", clip_skip="2", autov3="", sha256="",
    settings={}, pictures=Pictures(), examples=(),
)  # fmt: skip
FLOWING = dataclasses.replace(SDXL, family="Anima", hub_id="owner/model")


def test_a_flow_model_s_lora_is_not_sent_to_programs_that_cannot_load_it() -> None:
    card = publishing.model_card("suzu", [FLOWING], {})
    assert "In ComfyUI, Forge Neo and SD.Next: `<lora:suzu-lr0.0001-e03:0.9>, suzu`" in card
    assert "A1111" not in card
    assert "from diffusers import ModularPipeline" in card
    assert "scripts/lora.py convert" in card
    assert "non-commercial" in card
    assert "StableDiffusion" not in card
    other = dataclasses.replace(FLOWING, save_format="diffusion_model")
    assert "lora.py convert" not in publishing.model_card("suzu", [other], {})
    text = publishing.civitai(FLOWING)
    assert "| Base model | Anima (base.safetensors) |" in text
    assert "non-commercial" in text


def test_stable_diffusion_s_is() -> None:
    card = publishing.model_card("suzu", [SDXL], {})
    assert "In A1111, its forks and ComfyUI: " in card
    assert "StableDiffusionXLPipeline" in card
    assert "non-commercial" not in card + publishing.civitai(SDXL)


@pytest.mark.parametrize("family", registry.FAMILIES, ids=lambda family: family.name)
def test_every_family_has_a_pipeline_and_a_word(family) -> None:
    called = release._called(family)
    assert called in publishing.CIVITAI_BASES
    assert hasattr(diffusers, publishing.PIPELINES.get(called, "StableDiffusionPipeline"))
