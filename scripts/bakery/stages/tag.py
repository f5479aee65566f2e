"""Tag: what the WD tagger sees on each kept picture.

Steps: read the filter's decisions; open each kept picture (threads read ahead); record every tag
from a low probability. Thresholds are applied by the stages that read `tags.csv`, so that changing
one needs no new inference. Only the gate has its own thresholds (`gate.BELIEVED`): a picture that
it refuses because of the tagger's tags is left out and recorded.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakery.dataset import decisions
from bakery.gate import gate
from bakery.io import images, manifest, picture_bounds, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.tag import Tag
from bakery.settings.thresholds import LEAST
from bakery.tags import tagging
from bakery.vision import tagger

_log = logging.getLogger(__name__)


def run(
    settings: Tag, *, scrape: Path, filter: Path, out: Path, model: Path, threads: int = 0
) -> dict[str, Any]:
    """Tags the kept pictures with the tagger in the folder `model`.

    Writes `tags.csv` (image, tag, category, probability: by image, then falling probability),
    `vocabulary.csv` (tag, category, count: all that the tagger knows, and on how many pictures it
    learnt it) and `tagger.json` (which tagger, pictures that could not be read and why; `refused`:
    those that the gate refused, where there are any). `threads` is the number of CPU threads, 0 for
    all. Raises `BakeryError` when the tagger is broken or no picture is left.
    """
    names = decisions.kept(filter)
    loaded = tagger.Tagger.load(model, threads)
    unreadable: dict[str, str] = {}

    def opened(name: str) -> Image.Image | None:
        try:
            return images.open_rgb(scrape / "images" / name)
        except images.UnreadableImage as problem:
            unreadable[name] = problem.reason
            return None

    def large(name: str) -> bool:
        try:
            width, height = images.size_of(scrape / "images" / name)
        except images.UnreadableImage:
            return False
        return width * height > picture_bounds.SMALL

    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    probabilities = loaded.rows(names, settings.batch_size, opened, large)
    for name, row in zip(names, probabilities, strict=True):
        mine = [] if row is None else _described(name, row, loaded)
        if _facts(mine).refused:
            refused.append(name)
        else:
            rows += mine
    unreadable = {name: unreadable[name] for name in names if name in unreadable}
    _report(unreadable, refused, names, scrape / "images")
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "tags.csv", rows, tagging.COLUMNS)
    tables.write(out / "vocabulary.csv", loaded.vocabulary(), tagging.VOCABULARY)
    facts = {
        "model": _portable(settings.model),
        "model_sha256": manifest.digest(model / tagger.MODEL),
        "side": loaded.side,
        "known_tags": len(loaded.names),
        "least_probability": LEAST,
        "unreadable": unreadable,
    } | ({"refused": dict.fromkeys(refused, gate.FORBIDDEN)} if refused else {})
    write_text(out / "tagger.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return {
        "images": len(names),
        "tagged": len(names) - len(unreadable) - len(refused),
        "unreadable": len(unreadable),
        "rows": len(rows),
        "distinct_tags": len({row["tag"] for row in rows}),
    } | ({"reasons": {gate.FORBIDDEN: len(refused)}} if refused else {})


def _facts(rows: list[dict[str, Any]]) -> gate.Facts:
    return gate.of_tagger((row["tag"], row["category"], float(row["probability"])) for row in rows)


def _report(unreadable: dict[str, str], refused: list[str], names: list[str], folder: Path) -> None:
    for image, reason in [*unreadable.items(), *((image, gate.FORBIDDEN) for image in refused)]:
        _log.warning("tag: %s is left out: %s", image, reason)
    if refused and len(unreadable) + len(refused) == len(names):
        raise BakeryError(
            f"tag: none of the {len(names)} kept pictures may be used ({gate.FORBIDDEN} "
            f"{len(refused)}, unreadable {len(unreadable)}): scrape others"
        )
    if len(unreadable) == len(names):
        raise BakeryError(
            f"tag: none of the {len(names)} kept pictures in {folder} can be read "
            f"({names[0]}: {unreadable[names[0]]}); run the scrape stage again"
        )


def _described(
    image: str, probabilities: np.ndarray, loaded: tagger.Tagger
) -> list[dict[str, Any]]:
    """The rows of one picture. `probabilities` (tags,) count as written, that is, rounded."""
    rounded = np.round(probabilities.astype(np.float64), 4)
    found = [
        (-float(rounded[column]), loaded.names[column], loaded.categories[column])
        for column in np.flatnonzero(rounded >= LEAST)
    ]
    return [
        {"image": image, "tag": name, "category": category, "probability": f"{-minus:.4f}"}
        for minus, name, category in sorted(found)
    ]


def _portable(model: str) -> str:
    """The model as the config calls it, less whatever holds on this machine only."""
    return Path(model).name if Path(model).is_absolute() else model
