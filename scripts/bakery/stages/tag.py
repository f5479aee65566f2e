"""Tag: what the WD tagger sees on each kept picture.

Steps: read the filter's decisions; open each kept picture (threads read ahead); record every tag
from a low probability. Thresholds are applied by the stages that read `tags.csv`, so that changing
one needs no new inference. Only the gate has its own thresholds (`gate.BELIEVED`): a picture that
it refuses because of the tagger's tags, or of the captioner's sentence, is left out and recorded.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakery.dataset import decisions
from bakery.gate import gate
from bakery.io import images, manifest, picture_bounds, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.tag import LEAST, Tag
from bakery.tags import picture_sentences, tagging
from bakery.vision import tagger
from bakery.vision.captioner import Captioner

_NAMED = 5
"""Pictures without a sentence that the log names."""

_log = logging.getLogger(__name__)


@dataclass
class _Pictures:
    """The scraped pictures, and those of them that could not be read."""

    folder: Path
    unreadable: dict[str, str] = field(default_factory=dict)
    """Picture -> why."""

    def opened(self, name: str) -> Image.Image | None:
        try:
            return images.open_rgb(self.folder / name)
        except images.UnreadableImage as problem:
            self.unreadable[name] = problem.reason
            return None

    def large(self, name: str) -> bool:
        """Whether it is one of which not several may be open at a time."""
        try:
            width, height = images.size_of(self.folder / name)
        except images.UnreadableImage:
            return False
        return width * height > picture_bounds.SMALL


def run(
    settings: Tag,
    *,
    scrape: Path,
    filter: Path,
    out: Path,
    model: Path,
    threads: int = 0,
    captioner: Captioner | None = None,
) -> dict[str, Any]:
    """Tags the kept pictures with the tagger in the folder `model`; `captioner` writes sentences.

    Writes `tags.csv` (image, tag, category, probability: by image, then falling probability),
    `vocabulary.csv` (tag, category, count: all that the tagger knows, and on how many pictures it
    learnt it) and `tagger.json` (which tagger, pictures that could not be read and why; `refused`:
    those that the gate refused, where there are any), and with a captioner `sentences.csv`
    (`picture_sentences.COLUMNS`; a picture about which it says nothing has no row). `threads` is
    the number of CPU threads, 0 for all. Raises `BakeryError` when a model is broken or no picture is
    left.
    """
    names = decisions.kept(filter)
    loaded = tagger.Tagger.load(model, threads)
    pictures = _Pictures(scrape / "images")
    probabilities = loaded.rows(names, settings.batch_size, pictures.opened, pictures.large)
    found = {
        name: [] if row is None else _described(name, row, loaded)
        for name, row in zip(names, probabilities, strict=True)
    }
    known = {name: _facts(rows) for name, rows in found.items()}
    # sentences are the costliest: none about a picture that its tags alone keep out
    said = _sentences(captioner, pictures, [n for n in names if not known[n].refused])
    known |= {name: known[name] | gate.of_text(sentence) for name, sentence in said.items()}
    refused = [name for name in names if known[name].refused]
    rows = [row for name in names if not known[name].refused for row in found[name]]
    unreadable = {n: pictures.unreadable[n] for n in names if n in pictures.unreadable}
    _report(unreadable, refused, names, pictures.folder)
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "tags.csv", rows, tagging.COLUMNS)
    tables.write(out / "vocabulary.csv", loaded.vocabulary(), tagging.VOCABULARY)
    told = _write_sentences(out, {n: s for n, s in said.items() if not known[n].refused}, captioner)
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
        **told,
    } | ({"reasons": {gate.FORBIDDEN: len(refused)}} if refused else {})


def _facts(rows: list[dict[str, Any]]) -> gate.Facts:
    return gate.of_tagger((row["tag"], row["category"], float(row["probability"])) for row in rows)


def _sentences(
    captioner: Captioner | None, pictures: _Pictures, names: list[str]
) -> dict[str, str]:
    """Picture -> what the captioner says about it, "" for nothing."""
    if captioner is None:
        return {}
    readable = [(name, pictures.folder / name) for name in names if name not in pictures.unreadable]
    return dict(captioner.sentences(readable, pictures.opened))


def _write_sentences(
    out: Path, said: dict[str, str], captioner: Captioner | None
) -> dict[str, dict[str, int]]:
    """Writes what was said, and counts it for the summary; nothing without a captioner."""
    if captioner is None:
        return {}
    spoken = {name: sentence for name, sentence in said.items() if sentence}
    silent = [name for name in said if name not in spoken]
    for name in silent[:_NAMED]:
        _log.warning("tag: the captioner says nothing about %s", name)
    if len(silent) > _NAMED:
        _log.warning("tag: nor about %d others", len(silent) - _NAMED)
    picture_sentences.write(
        out / picture_sentences.NAME,
        [{"image": name, "sentence": text, "source": "captioner"} for name, text in spoken.items()],
    )
    return {"sentences": {"written": len(spoken), "silent": len(silent)}}


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
