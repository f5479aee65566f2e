"""What a first bake of one's own trips over: leftovers of the example, sizes, machines, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakery.families.family import Family
from bakery.forecast.family_habits import TOYS
from bakery.io.errors import BakeryError
from bakery.settings import config_file
from bakery.settings.scrape import EMBEDDED_BOORU, Scrape
from bakery.settings.tag import EMBEDDED_TAGGER, RECOMMENDED_TAGGER
from bakery.settings.train import Train
from bakery.training.schedules import StepCounts

EXAMPLE = "mirael"
"""The embedded character."""
MANY_SHOWINGS = 30_000
"""Showings of pictures in a bake, far above the guide's 3,900, from which numbers look mistyped."""


def of_example(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Parts of the shipped example together with pictures or a base of one's own."""
    scrape = Scrape.model_validate(settings["scrape"])
    embedded = [url.url for url in scrape.urls if url.url.startswith(EMBEDDED_BOORU.scheme)]
    own_pictures = bool(scrape.folders) or len(embedded) < len(scrape.urls)
    base, tagger = str(settings["train"]["base"]), str(settings["tag"]["model"])
    found = []
    if embedded and (own_pictures or base not in TOYS):
        found.append(
            f"scrape.urls still has {embedded[0]}, the example's pictures: remove it, or write "
            "`urls: []` if you use folders only"
        )
    if not own_pictures:
        return found
    for setting, value in (("scrape.name", scrape.name),
                           ("prune.trigger", settings["prune"]["trigger"])):  # fmt: skip
        if value == EXAMPLE:
            found.append(f"{setting} is still {EXAMPLE}, the example's character: give your own")
    if base in TOYS:
        found.append(
            f"train.base is still {base}, a toy for tiny pictures: give your checkpoint, or keep it to "
            "try your pictures out"
        )
    if tagger == EMBEDDED_TAGGER:
        found.append(
            f"tag.model is still {EMBEDDED_TAGGER}, which knows the example's world only: take "
            f"{RECOMMENDED_TAGGER}"
        )
    return [f"{sentence}." for sentence in found]


def of_size(train: Train, family: Family | None) -> list[str]:
    """A resolution far from what bases of `family` were made for."""
    if family is None or family.resolution / 1.5 <= train.resolution <= family.resolution * 1.5:
        return []
    return [
        f"resolution {train.resolution} is far from the {family.resolution} that {family.title} models "
        f"were made for: bodies double or blur; take about {family.resolution}, and buckets around it."
    ]


def of_length(train: Train, shown: int, counts: StepCounts | None) -> list[str]:
    """Repeats times epochs, or steps, that look mistyped; `shown` are the showings of an epoch."""
    if train.max_steps:
        whole = 0 if counts is None else shown * counts.total // counts.steps_per_epoch
        said, cure = f"{train.max_steps:,} steps", "layout.repeats or max_steps"
    else:
        whole = shown * train.num_epochs
        said, cure = f"{train.num_epochs} epochs", "layout.repeats or num_epochs"
    if whole < MANY_SHOWINGS:
        return []
    return [
        f"an epoch shows {shown:,} pictures, and {said} {whole:,}: some 500 an epoch and 6 epochs are "
        f"usual for a character; lower {cure}."
    ]


def of_machine(train: Train, has_gpu: bool) -> list[str]:
    """Half precision where there is no GPU."""
    if train.mixed_precision != "fp16" or has_gpu:
        return []
    return [
        "mixed_precision fp16 needs a GPU, and none is seen here: set it to no or bf16, or bake where "
        "there is one."
    ]


def of_names(scrape: Mapping[str, Any], configs: Sequence[Path]) -> list[str]:
    """Another config beside those of this bake that has its dataset's name and other pictures."""
    mine = Scrape.model_validate(scrape)
    used = {path.resolve() for path in configs}
    for other in sorted({path for one in configs for path in one.parent.glob("*.yaml")}):
        if other.resolve() in used:
            continue
        try:
            theirs = config_file.read(other).get("scrape")
            known = Scrape.model_validate(theirs or {})
        except (ValueError, BakeryError):
            continue
        if known.name == mine.name and (known.urls, known.folders) != (mine.urls, mine.folders):
            return [
                f"{other} has the name {mine.name}, too, and other pictures: hand edits and the best "
                "LoRA go by the name; give one of them another scrape.name."
            ]
    return []
