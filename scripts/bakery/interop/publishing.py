"""Texts for the places where LoRAs are published: Civitai's upload form, and a model card for the
Hugging Face Hub.

Civitai has fields for a version's name, base model, trigger words, epochs, steps, a recommended
strength and a description; `civitai` lists them in the order of its form. A model card is a README.md
whose head, YAML between two lines `---`, holds what the hub reads: base_model, tags, instance_prompt and
the pictures of its gallery (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bakery.interop import infotext, prompt_syntax

CIVITAI_BASES = {"SD1": "SD 1.5", "SD2": "SD 2.1", "SDXL": "SDXL 1.0", "Anima": "Anima"}
"""Family -> Civitai's word for it. Of SDXL, it has more: a base may be Pony, Illustrious, NoobAI."""
HUB_TAGS = {"SD1": "stable-diffusion", "SD2": "stable-diffusion", "SDXL": "stable-diffusion-xl"}
PIPELINES = {"SDXL": "StableDiffusionXLPipeline", "Anima": "ModularPipeline"}
PROGRAMS = {"Anima": "ComfyUI, Forge Neo and SD.Next"}
"""Family -> which programs load its LoRAs, if not those of Stable Diffusion."""
TERMS = {"Anima": "Its makers license the base for non-commercial use."}
"""Family -> what whoever uses its LoRAs has to know."""
MODULAR = "ModularPipeline"
KOHYA = "kohya"
MOST_ARTISTS = 20


@dataclass(frozen=True)
class Pictures:
    """The training pictures: how many, and how many of each site, licence and artist."""

    count: int = 0
    sites: Mapping[str, int] = field(default_factory=dict)
    licences: Mapping[str, int] = field(default_factory=dict)
    artists: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A sample, with its literal prompt and its infotext."""

    path: Path
    prompt: str
    infotext: str


@dataclass(frozen=True)
class Release:
    """What is said of a LoRA. Texts are literal; what is not known is empty."""

    name: str
    trigger: str
    outfits: Mapping[str, Sequence[str]]
    """Sub-trigger -> the tags that it absorbs."""
    weight: float
    negative: str
    base: str
    hub_id: str
    """Of the base, if it is from the Hugging Face Hub."""
    family: str
    """As A1111 calls it: SD1, SD2, SDXL; else by its own name."""
    epoch: int
    epochs: int
    steps: str
    clip_skip: str
    autov3: str
    sha256: str
    settings: Mapping[str, str]
    pictures: Pictures
    examples: Sequence[Example]
    save_format: str = KOHYA

    @property
    def trigger_words(self) -> list[str]:
        """For a prompt in A1111 or ComfyUI: what calls the character, then each outfit's word."""
        return [prompt_syntax.escape(text) for text in (self.trigger, *self.outfits) if text]

    @property
    def prompt_line(self) -> str:
        token = infotext.lora_token(self.name, self.weight)
        return ", ".join(filter(None, [token, *self.trigger_words[:1]]))


def civitai(release: Release) -> str:
    """The fields of Civitai's form and a description, as Markdown."""
    base = CIVITAI_BASES.get(release.family, "")
    fields = {
        "File": f"`{release.name}.safetensors`",
        "Version name": f"`{release.name}`",
        "Base model": f"{base} ({release.base})" if base else release.base,
        "Trigger words": ", ".join(f"`{word}`" for word in release.trigger_words),
        "Training epochs": str(release.epoch),
        "Training steps": release.steps,
        "Recommended strength": f"{release.weight:g}",
        "Clip skip": release.clip_skip,
        "AutoV3": f"`{release.autov3}`" if release.autov3 else "",
        "SHA256": f"`{release.sha256}`" if release.sha256 else "",
    }
    negative = prompt_syntax.escape(release.negative)
    return _text(
        [f"# {release.name}", ""],
        _table("field", fields),
        ["## Description", "", f"Begin the prompt with `{release.prompt_line}`."],
        [f"Negative prompt of the examples: `{negative}`."] if negative else [],
        _terms(release),
        _outfits(release),
        ["", "## Training", ""],
        _table("setting", _training(release)),
        _credits(release.pictures),
        ["## Pictures to upload", ""],
        ["Their prompts and settings are in the files, where Civitai reads them.", ""],
        [f"- `{example.path.as_posix()}`" for example in release.examples],
    )


def model_card(title: str, releases: Sequence[Release], images: Mapping[Path, str]) -> str:
    """A README.md for the hub, the first of `releases` in front.

    `images` maps the examples' files to their places relative to the README.
    """
    first = releases[0]
    files = {f"`{one.name}.safetensors`": f"`{one.prompt_line}`" for one in releases}
    programs = PROGRAMS.get(first.family, "A1111, its forks and ComfyUI")
    where = "`REPOSITORY` is this repository"
    where += "." if first.hub_id else f", `BASE` the model it was trained on ({first.base})."
    return _text(
        ["---", _head(releases, images).rstrip(), *_base_missing(first), "---", ""],
        [f"# {title}", "", "<Gallery />", "", "## Trigger words", ""],
        [f"`{first.trigger}` calls the character."],
        _outfits(first),
        ["", "## Use", "", f"In {programs}: `{first.prompt_line}`", ""],
        ["In diffusers:", "", *_code(first), "", where, *_terms(first), "", "## Files", ""],
        _table("file", files, "prompt line"),
        ["## Training", ""],
        _table("setting", _training(first)),
        _credits(first.pictures),
    )


def _code(release: Release) -> list[str]:
    """How diffusers draws with it."""
    pipeline = PIPELINES.get(release.family, "StableDiffusionPipeline")
    base = release.hub_id or "BASE"
    lines = ["import torch", f"from diffusers import {pipeline}", ""]
    load = f'pipe.load_lora_weights("REPOSITORY", weight_name="{release.name}.safetensors")'
    if pipeline != MODULAR:
        lines += [
            f'pipe = {pipeline}.from_pretrained("{base}", torch_dtype=torch.float16).to("cuda")',
            load,
            f'pipe({release.trigger!r}, cross_attention_kwargs={{"scale": {release.weight:g}}})'
            ".images[0]",
        ]
    else:
        lines += [
            f'pipe = {pipeline}.from_pretrained("{base}")',
            "pipe.load_components(torch_dtype=torch.bfloat16)",
            'pipe.to("cuda")',
            load,
            f"pipe(prompt={release.trigger!r}).images[0]",
        ]
        if release.save_format == KOHYA:
            lines.insert(
                0, "# It reads the form diffusion_model: scripts/lora.py convert writes it."
            )
    return ["```python", *lines, "```"]


def _terms(release: Release) -> list[str]:
    return ["", TERMS[release.family]] if release.family in TERMS else []


def _head(releases: Sequence[Release], images: Mapping[Path, str]) -> str:
    first = releases[0]
    examples = [(one, example) for one in releases for example in one.examples]
    family = HUB_TAGS.get(first.family)
    bases = list(dict.fromkeys(one.hub_id for one in releases if one.hub_id))
    head: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora", *filter(None, [family])],
        "instance_prompt": first.trigger,
        "widget": [
            {"text": example.prompt, "output": {"url": images[example.path]}}
            | ({"parameters": {"negative_prompt": one.negative}} if one.negative else {})
            for one, example in examples
            if example.path in images
        ],
    }
    if bases:
        head = {"base_model": bases[0] if len(bases) == 1 else bases} | head
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)


def _base_missing(release: Release) -> Iterable[str]:
    """The hub refuses a base_model that is not one of its ids, so a local file is only a comment."""
    if not release.hub_id:
        yield f"# base_model: the hub's id of {release.base}, the file that it was trained on"


def _outfits(release: Release) -> list[str]:
    return [] if not release.outfits else [
        "", "Outfits have their own words:", "",
        *(f"- `{prompt_syntax.escape(word)}`: {', '.join(tags)}"
          for word, tags in release.outfits.items()),
    ]  # fmt: skip


def _training(release: Release) -> dict[str, str]:
    told = {
        "base": release.hub_id or release.base,
        "epoch": f"{release.epoch} of {release.epochs}",
        "steps": release.steps,
    }
    return told | dict(release.settings)


def _credits(pictures: Pictures) -> list[str]:
    """How many pictures were used, and whose they are."""
    if not pictures.count:
        return []
    told = [f"- Trained on {pictures.count} pictures{_counted(pictures.sites)}."]
    if pictures.licences:
        told.append(f"- Licences{_counted(pictures.licences)}.")
    if pictures.artists:
        names = sorted(pictures.artists, key=lambda name: (-pictures.artists[name], name))
        more = len(names) - MOST_ARTISTS
        rest = f" and {more} more" if more > 0 else ""
        told.append(f"- Artists: {', '.join(names[:MOST_ARTISTS])}{rest}.")
    return ["## Pictures used", "", *told, ""]


def _counted(counts: Mapping[str, int]) -> str:
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ": " + ", ".join(f"{name} ({count})" for name, count in listed) if listed else ""


def _table(name: str, values: Mapping[str, str], heading: str = "value") -> list[str]:
    rows = [f"| {key} | {value} |" for key, value in values.items() if value]
    return [f"| {name} | {heading} |", "| --- | --- |", *rows, ""]


def _text(*parts: Iterable[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"
