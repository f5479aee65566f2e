"""What the tagger sees in the samples: which epoch is faithful, obedient, and leaves the rest alone.

Steps: tag every picture; gather what each shows (`sightings`); turn it into numbers between 0 and 1
for each epoch (`metrics`), with intervals (`bootstrap`); find the LoRA weight to prefer.

docs/scores.md defines the tables and the numbers. Epoch 0 is the base without a LoRA.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bakery.dataset import details
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.images import open_rgb
from bakery.scoring import measures, observations, score_tables
from bakery.scoring.measures import Material, Numbers
from bakery.scoring.observations import Sightings
from bakery.settings.score import Score
from bakery.settings.thresholds import LEAST, Thresholds
from bakery.tags import captions, tagging
from bakery.vision import duplicates, likeness
from bakery.vision.tagger import Tagger

_log = logging.getLogger(__name__)


def run(
    settings: Score,
    *,
    sample: Path,
    prune: Path,
    tag: Path,
    scrape: Path,
    out: Path,
    model: Path,
    embedding: Path | None = None,
    threads: int = 0,
) -> dict[str, Any]:
    """Scores every epoch of the bake drawn in `sample`.

    Writes `tags.csv`, `scores.csv`, `cells.csv`, `epochs.csv`, `weights.csv`, `draws.csv` and
    `details.csv` (a row for each trait, with a proposal where the samples miss it: see
    `details.propose`). `threads` of the CPU are used, 0 means all.

    The summary holds the traits with their share of the training pictures, the ceiling, the habits
    that can leak, the preferred LoRA weight, the asked tags that the tagger does not know, and
    warnings.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples = read_samples(sample / "samples.csv")
    facts = read_facts(prune / "trigger.json")
    thresholds = Thresholds(**facts["thresholds"])
    training = training_shares(prune, tagging.read(tag).seen(thresholds))
    traits = trait_shares(settings.min_trait_share, facts["traits"], training)

    tagger = Tagger.load(model, threads)
    limits = np.array([thresholds.of(category) for category in tagger.categories])
    looks = Looks()
    paths = [sample / "images" / image for image in samples["image"]]
    # what is written is what counts, so that a reader of tags.csv comes to the same scores
    found = tagger.tag(paths, settings.batch_size, looks.open)
    probabilities = np.round(found.astype(np.float64), 4)  # (N, T)
    general = np.array([category == "general" for category in tagger.categories])
    sight = observations.Sight(tagger.names, general, probabilities, probabilities >= limits)
    _write_tags(out / "tags.csv", samples["image"], tagger.names, probabilities)

    seen = observations.gather(
        samples, sight, list(traits), training, pruned=facts["pruned"], habit=settings.habit
    )
    pictures = [scrape / "images" / image for image in _training_pictures(prune)]
    look = of_pictures(seen, looks, paths, pictures, settings, out)
    look["likeness"], likest = _cosines(settings, embedding, paths, pictures, threads)
    tables.write(out / "scores.csv", score_tables.picture_rows(seen, look), score_tables.SCORES)
    tables.write(out / "cells.csv", score_tables.cell_rows(seen, look), score_tables.CELLS)
    return _finish(settings, Material(seen, look, ceiling(traits), likest), traits, out)


def _finish(
    settings: Score, material: Material, traits: Mapping[str, float], out: Path
) -> dict[str, Any]:
    """The tables by epoch and weight, and the summary."""
    seen = material.seen
    number, nominal = seen.samples["epoch"], seen.samples["nominal"]
    epochs = {
        int(epoch): measures.measure(settings, material, (number == epoch) & nominal)
        for epoch in sorted(number.unique())
    }
    answers = measures.weight_response(settings, material)
    tables.write(
        out / "epochs.csv",
        (score_tables.row({"epoch": e}, *m) for e, m in epochs.items()),
        score_tables.EPOCHS,
    )
    rows = (score_tables.row({"epoch": e, "weight": f"{w:g}"}, *m) for (e, w), m in answers.items())
    tables.write(out / "weights.csv", rows, score_tables.WEIGHTS)
    tables.write(out / "draws.csv", score_tables.draw_rows(epochs), score_tables.DRAWS)
    missed = details.propose(traits, _detail_rows(seen))
    tables.write(out / "details.csv", missed, details.COLUMNS)
    warnings = _warnings(material, epochs)
    warnings += [row["proposal"] for row in missed if row["proposal"]]
    for warning in warnings:
        _log.warning("score: %s", warning)
    return {
        "traits": {name: round(share, 4) for name, share in traits.items()},
        "ceiling": round(material.ceiling, 4) if traits else None,
        "habits": {
            name: {"training": round(s, 4), "base": round(b, 4)}
            for name, (s, b) in seen.habits.items()
        },
        "preferred_weight": measures.preferred_weight(answers, seen.samples),
        "unknown_tags": unknown_tags(seen),
        "samples": len(seen.samples),
        "warnings": warnings,
    }


class Looks:
    """Opens pictures; of each it keeps a small copy, and whether it is blank."""

    def __init__(self) -> None:
        self.small: dict[Path, Image.Image] = {}
        self.blank: dict[Path, bool] = {}

    def open(self, path: Path) -> Image.Image:
        """The picture at `path`; may be called by several threads."""
        picture = open_rgb(path)
        self.small[path] = duplicates.prepare(picture)
        self.blank[path] = observations.is_blank(picture)
        return picture


def read_samples(path: Path) -> pd.DataFrame:
    """samples.csv with numbers for epoch and weight; raises `BakeryError` when there is none."""
    samples = tables.read(path, score_tables.READ)
    if samples.empty:
        raise BakeryError(f"{path} lists no sample: run the sample stage again")
    samples["epoch"] = tables.numbers(samples["epoch"], path).astype(int)
    samples["weight"] = tables.numbers(samples["weight"], path).astype(float)
    samples["nominal"] = samples["nominal"] == "1"
    return samples


def read_facts(path: Path) -> dict[str, Any]:
    """The traits, the pruned tags and the thresholds of the prune stage's trigger.json.

    Samples are believed from the thresholds from which the training pictures were.
    """
    found: dict[str, Any] = {}
    for name in ("traits", "pruned", "thresholds"):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))[name]
            if name == "thresholds":
                found[name] = {kind: float(facts[kind]) for kind in ("general", "character")}
            else:
                found[name] = [str(tag) for tag in facts]
        except FileNotFoundError:
            raise BakeryError(f"{path} does not exist: run the prune stage again") from None
        except (ValueError, KeyError, TypeError) as problem:
            raise BakeryError(
                f"{path} does not list the {name} ({problem!r}): delete its folder and run again"
            ) from None
    return found


def training_shares(prune: Path, seen: pd.DataFrame) -> dict[str, float]:
    """Tag -> share of the training pictures that show it, at or above its threshold.

    `seen` are the tagger's rows (image, tag) from the thresholds on.
    """
    pictures = _training_pictures(prune)
    counts = seen[seen["image"].isin(pictures)].groupby("tag")["image"].nunique()
    return {str(tag): float(count) / len(pictures) for tag, count in counts.items()}


def trait_shares(
    min_share: float, traits: Sequence[str], training: Mapping[str, float]
) -> dict[str, float]:
    """The character's traits: tag -> share of the training pictures that show it.

    A trait is a tag that pruning takes for the character's (the traits of trigger.json, which are
    there also when pruning is switched off, so that bakes with and without it are measured alike)
    and that the tagger sees on `min_share` of the training pictures or more: what it hardly ever
    sees there, it cannot be asked to see in a sample.
    """
    shares = {name: training.get(name, 0.0) for name in traits}
    return {name: share for name, share in shares.items() if share >= min_share and share > 0}


def ceiling(shares: Mapping[str, float]) -> float:
    """Mean share of the training pictures on which the tagger sees a trait; NaN without traits.

    ceiling = (1 / |traits|) * sum over traits t of (pictures that show t / pictures)
    """
    return sum(shares.values()) / len(shares) if shares else math.nan


def of_pictures(
    seen: Sightings,
    looks: Looks,
    paths: Sequence[Path],
    training: Sequence[Path],
    settings: Score,
    shelf: Path,
) -> pd.DataFrame:
    """Columns nearest, nearest_bits, memorised and broken, a row for each sample.

    `paths` are the samples' files, `shelf` a folder for what lies on disk meanwhile. The first three
    are empty for pictures without the trigger.
    """
    called = np.flatnonzero(seen.of(*observations.CALLED))
    mine = [looks.small[paths[row]] for row in called]
    with duplicates.Shelf(shelf) as theirs:
        for path in training:
            theirs.append(duplicates.prepare(open_rgb(path)))
        found = observations.nearest(mine, theirs, settings.memorised_distance)
    hits = dict(zip(called, found, strict=True))
    rows = []
    for row, path in enumerate(paths):
        index, bits, copy = hits.get(row, (-1, math.nan, math.nan))
        blank = looks.blank[path]
        nearest = training[index].name if row in hits else ""
        rows.append((nearest, bits, float(copy) * (not blank), float(blank)))
    return pd.DataFrame(rows, columns=["nearest", "nearest_bits", "memorised", "broken"])


def _training_pictures(prune: Path) -> list[str]:
    pictures = list(tables.read(prune / "captions.csv", ("image",))["image"].unique())
    if not pictures:
        raise BakeryError(f"{prune / 'captions.csv'} lists no picture: loosen the filter section")
    return pictures


def _cosines(
    settings: Score,
    embedding: Path | None,
    paths: Sequence[Path],
    training: Sequence[Path],
    threads: int,
) -> tuple[np.ndarray, float]:
    """(N,) cosines to the character's centre, and their ceiling; NaNs without a model."""
    if embedding is None:
        return np.full(len(paths), np.nan), math.nan
    model = likeness.Embedder(
        embedding, mean=settings.embedding_mean, std=settings.embedding_std, threads=threads
    )
    return likeness.cosines(model.embed(map(open_rgb, paths)), model.embed(map(open_rgb, training)))


def _detail_rows(seen: Sightings) -> list[dict[str, Any]]:
    """Pictures at the nominal weight with what was asked and found."""
    records = seen.samples.to_dict("records")
    return [
        {**record, "asked": asked, "found": found}
        for record, asked, found in zip(records, seen.asked, seen.found, strict=True)
        if record["nominal"]
    ]


def unknown_tags(seen: Sightings) -> list[str]:
    """What prompts ask and the tagger does not know: it cannot be scored."""
    counted = seen.samples.loc[seen.of("flexibility", "recreate"), "asked"]
    asked = {tag for cell in counted for tag in tables.split(cell)}
    return sorted(tag for tag in asked if captions.same(tag) not in seen.sight.known)


def _warnings(material: Material, epochs: Mapping[int, tuple[int, Numbers]]) -> list[str]:
    """Why something is not measured, a sentence each."""
    seen = material.seen

    def empty(name: str) -> bool:
        return all(math.isnan(numbers[name][0]) for _, numbers in epochs.values())

    found = []
    if not seen.traits:
        found.append("fidelity is empty: no trait is seen on enough of the training pictures")
    elif not seen.of("identity").any():
        found.append("fidelity is empty: no prompt has the purpose identity")
    if not seen.asked_count[seen.of("flexibility")].sum():
        found.append("flexibility is empty: no flexibility prompt asks for a tag the tagger knows")
    elif empty("flexibility"):
        found.append("flexibility is empty: the base itself shows nothing of what is asked")
    if empty("leak"):
        found.append("leak is empty: the base has drawn no identity or flexibility prompt")
    if not seen.of("bleed").any():
        found.append("bleed and drift are empty: no prompt has the purpose bleed")
    elif not (seen.of("bleed") & (seen.base >= 0)).any():
        found.append("bleed and drift are empty: the base has drawn no bleed prompt")
    elif empty("bleed") and seen.traits:
        found.append("bleed is empty: the base shows the traits as often as the training pictures")
    if seen.samples["seed"].nunique() < 2:
        found.append("there are no intervals and no variety: one seed says nothing about chance")
    if unknown := unknown_tags(seen):
        found.append(f"the tagger does not know {', '.join(unknown)}: not scored")
    return found


def _write_tags(path: Path, images: pd.Series, names: Sequence[str], rows: np.ndarray) -> None:
    """Rows (image, tag, probability), the most probable tags of a picture first."""
    lines = []
    for image, row in zip(images, rows, strict=True):
        for i in np.argsort(-row, kind="stable"):
            if row[i] < LEAST:
                break
            lines.append({"image": image, "tag": names[i], "probability": f"{row[i]:.4f}"})
    tables.write(path, lines, ("image", "tag", "probability"))
