"""Scores: what the tagger sees in the samples of each epoch.

Steps: tag every picture; gather what each shows (`observations`); turn it into numbers between 0
and 1 for each epoch (`metrics`), with intervals (`bootstrap`); find the LoRA weight to prefer.

docs/scores.md defines the tables and the numbers. Epoch 0 is the base without a LoRA.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bakery.dataset import details
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.images import open_rgb
from bakery.scoring import measures, observations, pixels, score_tables
from bakery.scoring.compared import Compared
from bakery.scoring.metric import HeldOut, Numbers, ScoreInputs
from bakery.scoring.metrics import METRICS
from bakery.scoring.observations import Observations
from bakery.settings.score import Score
from bakery.settings.tag import LEAST
from bakery.tags import captions, tagging
from bakery.tags.trigger import Trigger
from bakery.vision import duplicates, likeness
from bakery.vision.characters import CharacterModel
from bakery.vision.tagger import Tagger

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputFolders:
    """The finished folders that a score is made from, by stage."""

    sample: Path
    prune: Path
    tag: Path
    scrape: Path
    layout: Path | None = None
    """Says which pictures were held out; without it none were."""


def run(
    settings: Score,
    above: InputFolders,
    *,
    out: Path,
    model: Path,
    embedding: Path | None = None,
    likeness_model: Path | None = None,
    threads: int = 0,
) -> dict[str, Any]:
    """Scores every epoch of the bake drawn in `above.sample`.

    Writes `tags.csv`, `scores.csv`, `cells.csv`, `epochs.csv`, `weights.csv`, `draws.csv` and
    `details.csv` (a row for each trait, with a proposal where the samples miss it: see
    `details.propose`). `threads` of the CPU are used, 0 means all.

    The summary holds the traits with their share of the training pictures, the ceiling, the habits
    that can leak, the preferred LoRA weight, the asked tags that the tagger does not know, and
    warnings.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples = read_samples(above.sample / "samples.csv")
    trigger = Trigger.read(above.prune)
    thresholds = trigger.decided  # the same thresholds for samples as for training pictures
    compared = Compared.read(above.prune, above.scrape, above.layout)
    names = [path.name for path in compared.trained]
    training = training_shares(names, tagging.read_tags(above.tag).seen(thresholds))
    traits = trait_shares(settings.min_trait_share, trigger.traits, training)

    tagger = Tagger.load(model, threads)
    limits = np.array([thresholds.of(category) for category in tagger.categories])
    reader = PictureReader()
    paths = [above.sample / "images" / image for image in samples["image"]]
    # what is written is what counts, so that a reader of tags.csv comes to the same scores
    found = tagger.tag(paths, settings.batch_size, reader.open)
    probabilities = np.round(found.astype(np.float64), 4)  # (N, T)
    general = np.array([category == "general" for category in tagger.categories])
    matrix = observations.TagMatrix(tagger.names, general, probabilities, probabilities >= limits)
    _write_tags(out / "tags.csv", samples["image"], tagger.names, probabilities)

    seen = observations.gather(
        samples, matrix, list(traits), training, pruned=trigger.pruned, habit=settings.habit
    )
    image_stats, held_out = of_pictures(seen, reader, paths, compared, settings, out)
    pictures = compared.trained
    image_stats["likeness"], likest = _cosines(settings, embedding, paths, pictures, threads)
    if likeness_model is not None:
        _characters(image_stats, seen, CharacterModel(likeness_model, threads), paths, compared)
    inputs = ScoreInputs(seen, image_stats, ceiling(traits), likest, held_out)
    tables.write(out / "scores.csv", score_tables.picture_rows(inputs), score_tables.scores(inputs))
    tables.write(out / "cells.csv", score_tables.cell_rows(inputs), score_tables.cells(inputs))
    return _finish(settings, inputs, traits, trigger.pruned, out)


def _finish(
    settings: Score,
    inputs: ScoreInputs,
    traits: Mapping[str, float],
    absorbed: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    """The tables by epoch and weight, and the summary; the trigger stands for `absorbed`."""
    seen = inputs.seen
    number, nominal = seen.samples["epoch"], seen.samples["nominal"]
    epochs = {
        int(epoch): measures.measure(settings, inputs, (number == epoch) & nominal)
        for epoch in sorted(number.unique())
    }
    answers = measures.weight_response(settings, inputs)
    tables.write(
        out / "epochs.csv",
        (score_tables.row({"epoch": e}, *m) for e, m in epochs.items()),
        score_tables.epochs(inputs),
    )
    rows = (score_tables.row({"epoch": e, "weight": f"{w:g}"}, *m) for (e, w), m in answers.items())
    tables.write(out / "weights.csv", rows, score_tables.WEIGHTS)
    tables.write(out / "draws.csv", score_tables.draw_rows(epochs), score_tables.DRAWS)
    missed = details.propose(traits, _detail_rows(seen), absorbed)
    tables.write(out / "details.csv", missed, details.COLUMNS)
    warnings = _warnings(inputs, epochs) + details.advice(missed, absorbed)
    for warning in warnings:
        _log.warning("score: %s", warning)
    return {
        "traits": {name: round(share, 4) for name, share in traits.items()},
        "ceiling": round(inputs.ceiling, 4) if traits else None,
        "habits": {
            name: {"training": round(s, 4), "base": round(b, 4)}
            for name, (s, b) in seen.habits.items()
        },
        "preferred_weight": measures.preferred_weight(answers, seen.samples),
        "unknown_tags": unknown_tags(seen),
        "samples": len(seen.samples),
        **_about_held_out(inputs.held_out),
        "warnings": warnings,
    }


class PictureReader:
    """Opens pictures; of each it keeps a small copy, and whether it is blank."""

    def __init__(self) -> None:
        self.small: dict[Path, Image.Image] = {}
        self.blank: dict[Path, bool] = {}

    def open(self, path: Path) -> Image.Image:
        """The picture at `path`; may be called by several threads."""
        picture = open_rgb(path)
        self.small[path] = duplicates.prepare(picture)
        self.blank[path] = pixels.is_blank(picture)
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


def training_shares(pictures: Sequence[str], seen: pd.DataFrame) -> dict[str, float]:
    """Tag -> share of the training `pictures` that show it, at or above its threshold.

    `seen` are the tagger's rows (image, tag) from the thresholds on.
    """
    counts = seen[seen["image"].isin(pictures)].groupby("tag")["image"].nunique()
    return {str(tag): float(count) / len(pictures) for tag, count in counts.items()}


def trait_shares(
    min_share: float, traits: Sequence[str], training: Mapping[str, float]
) -> dict[str, float]:
    """The character's traits: tag -> share of the training pictures that show it.

    A trait is a tag that pruning takes for the character's (the traits of trigger.json, which are
    there also when pruning is switched off, so that bakes with and without it are measured alike)
    and that the tagger sees on `min_share` of the training pictures or more: if it hardly ever sees
    a trait there, it cannot be expected to see it in a sample.
    """
    shares = {name: training.get(name, 0.0) for name in traits}
    return {name: share for name, share in shares.items() if share >= min_share and share > 0}


def ceiling(shares: Mapping[str, float]) -> float:
    """Mean share of the training pictures on which the tagger sees a trait; NaN without traits.

    ceiling = (1 / |traits|) * sum over traits t of (pictures that show t / pictures)
    """
    return sum(shares.values()) / len(shares) if shares else math.nan


def of_pictures(
    seen: Observations,
    reader: PictureReader,
    paths: Sequence[Path],
    compared: Compared,
    settings: Score,
    spool: Path,
) -> tuple[pd.DataFrame, HeldOut | None]:
    """Columns nearest, nearest_bits, memorised and broken, a row for each sample; and the held-out
    pictures, compared in the same way.

    `paths` are the samples' files, `spool` a folder for what lies on disk meanwhile. The first three
    are empty for pictures without the trigger, and so is held_out_bits, which is there with held-out
    pictures only.
    """
    called = np.flatnonzero(seen.of(*observations.TRIGGER_PURPOSES)).tolist()
    mine = [reader.small[paths[row]] for row in called]
    training = compared.trained
    held = [duplicates.prepare(open_rgb(path)) for path in compared.held_out]
    with duplicates.Spool(spool) as theirs:
        for path in training:
            theirs.append(duplicates.prepare(open_rgb(path)))
        found = pixels.nearest(mine, theirs, settings.memorised_distance)
        of_held = pixels.nearest(held, theirs, settings.memorised_distance)
    hits: dict[int, tuple[int, float, float]] = dict(zip(called, found, strict=True))
    rows = []
    for row, path in enumerate(paths):
        index, bits, copy = hits.get(row, (-1, math.nan, math.nan))
        blank = reader.blank[path]
        nearest = training[index].name if row in hits else ""
        rows.append((nearest, bits, float(copy) * (not blank), float(blank)))
    table = pd.DataFrame(rows, columns=["nearest", "nearest_bits", "memorised", "broken"])
    if not held:
        return table, None
    table["held_out_bits"] = np.nan
    table.loc[called, "held_out_bits"] = [float(n) for n in pixels.bits_apart(mine, held)]
    apart = np.array([differing for _, differing, _ in of_held], float)
    copies = sum(copy for _, _, copy in of_held)
    return table, HeldOut(tuple(path.name for path in compared.held_out), apart, copies)


def _about_held_out(held: HeldOut | None) -> dict[str, Any]:
    """What the summary says of the held-out pictures: the reference of what samples repeat."""
    if held is None:
        return {}
    median = float(np.median(held.bits))
    return {"held_out": {"images": len(held.names), "copies": held.copies, "nearest_bits": median}}


def _characters(
    image_stats: pd.DataFrame,
    seen: Observations,
    model: CharacterModel,
    paths: Sequence[Path],
    compared: Compared,
) -> None:
    """Adds the columns difference, the mean to the pictures that samples should resemble, and
    same_character, 1 where at least half of them show the same by the model's threshold."""
    rows = np.flatnonzero(seen.of("identity")).tolist()
    theirs = model.features(open_rgb(path) for path in compared.likest)
    mine = model.features(open_rgb(paths[row]) for row in rows)
    image_stats["difference"] = image_stats["same_character"] = np.nan
    if rows:
        apart = model.differences(mine, theirs)  # (rows, pictures)
        image_stats.loc[rows, "difference"] = apart.mean(axis=1)
        same = (apart <= model.threshold).mean(axis=1) >= 0.5
        image_stats.loc[rows, "same_character"] = same.astype(float)


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


def _detail_rows(seen: Observations) -> list[dict[str, Any]]:
    """Pictures at the nominal weight with what was asked and found."""
    records = tables.records(seen.samples)
    return [
        {**record, "asked": asked, "found": found}
        for record, asked, found in zip(records, seen.asked, seen.found, strict=True)
        if record["nominal"]
    ]


def unknown_tags(seen: Observations) -> list[str]:
    """Tags of prompts that the tagger does not know: they cannot be scored."""
    counted = seen.samples.loc[seen.of("flexibility", "recreate"), "asked"]
    asked = {tag for cell in counted for tag in tables.split(cell)}
    return sorted(tag for tag in asked if captions.same(tag) not in seen.matrix.known)


def _warnings(inputs: ScoreInputs, epochs: Mapping[int, tuple[int, Numbers]]) -> list[str]:
    """Why something is not measured, a sentence each."""
    seen = inputs.seen
    empty = [
        metric
        for metric in METRICS
        if all(math.isnan(numbers[metric.name][0]) for _, numbers in epochs.values())
    ]
    found = list(filter(None, (metric.why_empty(inputs) for metric in empty)))
    if seen.samples["seed"].nunique() < 2:
        found.append("there are no intervals and no variety: one seed says nothing about chance")
    if inputs.held_out is not None and inputs.held_out.copies:
        held = inputs.held_out
        found.append(
            f"{held.copies} of {len(held.names)} held-out pictures count as near-duplicates of training "
            "pictures, too: lower score.memorised_distance, or memorised means little"
        )
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
