"""Tag: what the WD tagger sees on each kept picture.

Steps: read the filter's decisions; open each kept picture (a thread reads ahead); write down every
tag whose probability is worth a look. Thresholds are recorded here and applied by whoever reads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakery import decisions, images, manifest, tables, tagger
from bakery.config import Tag
from bakery.errors import BakeryError

LEAST = 0.05
"""Probability below which a tag is not written down: far under any threshold in use."""

COLUMNS = ("image", "tag", "category", "probability")

_log = logging.getLogger(__name__)


def run(settings: Tag, *, scrape: Path, filter: Path, out: Path, model: Path) -> dict[str, Any]:
    """Tags the kept pictures with the tagger in the folder `model`.

    Writes `tags.csv` (image, tag, category, probability: by image, then falling probability) and
    `tagger.json` (which tagger, its thresholds, pictures that could not be read and why). Raises
    `BakeryError` when the tagger is broken or no picture can be read.
    """
    names = decisions.kept(filter)
    loaded = tagger.Tagger.load(model)
    least = min(LEAST, settings.general_threshold, settings.character_threshold)
    read: list[str] = []
    unreadable: dict[str, str] = {}
    pictures = _pictures(scrape / "images", names, read, unreadable)
    rows: list[dict[str, Any]] = []
    for number, probabilities in enumerate(loaded.rows(pictures, settings.batch_size)):
        rows += _described(read[number], probabilities, loaded, least)
    _report(unreadable, names, scrape / "images")
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "tags.csv", rows, COLUMNS)
    facts = {
        "model": _portable(settings.model),
        "model_sha256": manifest.digest(model / tagger.MODEL),
        "side": loaded.side,
        "known_tags": len(loaded.names),
        "general_threshold": settings.general_threshold,
        "character_threshold": settings.character_threshold,
        "least_probability": least,
        "unreadable": unreadable,
    }
    manifest.write_text(out / "tagger.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return {
        "images": len(names),
        "tagged": len(read),
        "unreadable": len(unreadable),
        "rows": len(rows),
        "distinct_tags": len({row["tag"] for row in rows}),
    }


def _pictures(
    folder: Path, names: list[str], read: list[str], unreadable: dict[str, str]
) -> Iterator[Image.Image]:
    """Opens `names` one by one; notes in `read` whose turn it was, or in `unreadable` why not."""
    for name in names:
        try:
            picture = images.open_rgb(folder / name)
        except images.UnreadableImage as problem:
            unreadable[name] = problem.reason
            continue
        read.append(name)
        yield picture


def _report(unreadable: dict[str, str], names: list[str], folder: Path) -> None:
    for image, reason in unreadable.items():
        _log.warning("tag: %s is left out: %s", image, reason)
    if len(unreadable) == len(names):
        raise BakeryError(
            f"tag: none of the {len(names)} kept pictures in {folder} can be read "
            f"({names[0]}: {unreadable[names[0]]}); run the scrape stage again"
        )


def _described(
    image: str, probabilities: np.ndarray, loaded: tagger.Tagger, least: float
) -> list[dict[str, Any]]:
    """The rows of one picture. `probabilities` (tags,) count as written, that is, rounded."""
    rounded = np.round(probabilities.astype(np.float64), 4)
    found = [
        (-float(rounded[column]), loaded.names[column], loaded.categories[column])
        for column in np.flatnonzero(rounded >= least)
    ]
    return [
        {"image": image, "tag": name, "category": category, "probability": f"{-minus:.4f}"}
        for minus, name, category in sorted(found)
    ]


def _portable(model: str) -> str:
    """The model as the config calls it, less whatever holds on this machine only."""
    return Path(model).name if Path(model).is_absolute() else model
