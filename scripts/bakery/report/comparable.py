"""What differs between bakes: their settings, their labels, and which of their numbers are
comparable.

Scores are absolute, but each is a share of something. If these differ between two bakes (other
traits, other prompts, another tagger), the page has to point it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bakery.report.results import Bake, BakeResult
from bakery.scoring.metrics import METRICS, listed
from bakery.settings.config import STAGES, Config

WITHOUT_EFFECT = frozenset(
    f"{stage}.{name}" for stage in STAGES for name in Config.model_fields[stage].default.not_in_key
)
"""Settings that affect speed, never results."""
_MOST_NAMED = 3
"""Most differing settings to put into a label."""

_DRAWING = tuple(
    f"sample.{name}"
    for name in ("steps", "cfg_scale", "width", "height", "negative_prompt", "sampler",
                 "clip_skip", "lora_weight")
)  # fmt: skip
"""Settings by which a prompt and a seed become a picture."""


def differences(bakes: Sequence[Bake]) -> list[str]:
    """Dotted names of the settings that are not the same in every bake, in order of appearance."""
    names = dict.fromkeys(name for bake in bakes for name in bake.settings)
    return [
        name
        for name in names
        if name not in WITHOUT_EFFECT and len({_as_json(bake, name) for bake in bakes}) > 1
    ]


def shown(value: Any) -> str:
    """A setting as people write it: no quotes around text, no trailing zeros."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def labelled(bakes: Sequence[Bake]) -> list[Bake]:
    """`bakes` with unique labels: equal ones get the settings that distinguish them.

    If settings do not distinguish them, they get their key.
    """
    twice = _repeated(bakes)
    bakes = [
        replace(bake, label=_with_differences(bake, [b for b in bakes if b.label == bake.label]))
        if bake.label in twice
        else bake
        for bake in bakes
    ]
    twice = _repeated(bakes)
    return [
        replace(bake, label=f"{bake.label} ({bake.folders['score'].name.rpartition('-')[2]})")
        if bake.label in twice
        else bake
        for bake in bakes
    ]


def notes(baked: Sequence[BakeResult]) -> list[str]:
    """A sentence for each reason why some numbers of `baked` must not be compared; [] for none."""
    bakes = [one.bake for one in baked]

    def differ(*names: str) -> bool:
        return any(len({_as_json(bake, name) for bake in bakes}) > 1 for name in names)

    found = []
    if differ("tag.model", "tag.general_threshold", "tag.character_threshold"):
        found.append(
            "The bakes were not all scored with the same tagger and thresholds: compare scores only "
            "between bakes that share them."
        )
    if _differs(
        bakes, lambda bake: bake.folders["layout"].name if "layout" in bake.folders else ""
    ):
        found.append(
            "These bakes were trained on different pictures or captions. "
            f"{_against('training')} are measured against each bake's own; fidelity is comparable "
            "if the pruned traits are the same. Losses cannot be compared."
        )
    elif differ("train.base", "train.resolution", "train.mixed_precision"):
        found.append("Base, resolution or precision differ: losses cannot be compared.")
    if differ("prune.trigger", "prune.class_tokens", "scrape.name"):
        found.append("The bakes are of different characters, or use different triggers.")
    if len({one.asked for one in baked}) > 1:
        found.append(
            f"Prompts or seeds differ. {_against('prompts')} depend on the prompts: compare them "
            "in the picture table, for the prompts that are the same."
        )
    if differ(*_DRAWING) or differ("train.base", "train.clip_skip"):
        found.append(
            "Pictures were drawn with different settings: the same seed is not the same noise."
        )
    if any(name.startswith("score.") for name in differences(bakes)):
        found.append("The scores use different weights: see the settings of the score stage.")
    return found


def _against(what: str) -> str:
    """`Fidelity, leak and bleed`: the metrics that are shares of something of the bake's own."""
    return listed([m.name for m in METRICS if what in m.against]).capitalize()


def _as_json(bake: Bake, name: str) -> str:
    return json.dumps(bake.settings.get(name), sort_keys=True)


def _differs(bakes: Sequence[Bake], what: Callable[[Bake], str]) -> bool:
    return len({what(bake) for bake in bakes}) > 1


def _repeated(bakes: Sequence[Bake]) -> set[str]:
    labels = [bake.label for bake in bakes]
    return {label for label in labels if labels.count(label) > 1}


def _with_differences(bake: Bake, alike: Sequence[Bake]) -> str:
    names = [n for n in differences(alike) if len(_as_json(bake, n)) <= 24][:_MOST_NAMED]
    said = [f"{name.split('.')[-1]} {shown(bake.settings.get(name))}" for name in names]
    return ", ".join([bake.label, *said])
