"""What the tagger sees in the samples: how faithful each epoch is, and how obedient.

Two numbers an epoch, both between 0 and 1 and comparable between bakes of one dataset:

- **fidelity** asks whether the trigger alone brings the character back,
- **flexibility** asks whether the character still follows the rest of the prompt.

A LoRA that is underbaked lacks fidelity, one that is burnt lacks flexibility. Epoch 0 is the base
without a LoRA and gives both their floor. Formulas stand at `ceiling`, `recall` and `epoch_scores`.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bakery import captions, details, tables, tagging
from bakery.config import Score
from bakery.errors import BakeryError
from bakery.images import open_rgb
from bakery.tagger import Tagger
from bakery.thresholds import LEAST, Thresholds

DRAWS, LEVEL = 2000, 0.95
"""Bootstrap draws, and the share of them that an interval spans."""
SCORES = ("epoch", "prompt_id", "purpose", "seed", "image", "found", "asked", "score")
EPOCHS = (
    "epoch", "fidelity", "fidelity_low", "fidelity_high",
    "flexibility", "flexibility_low", "flexibility_high", "n",
)  # fmt: skip

_log = logging.getLogger(__name__)


def run(
    settings: Score,
    *,
    sample: Path,
    prune: Path,
    tag: Path,
    out: Path,
    model: Path,
    threads: int = 0,
) -> dict[str, Any]:
    """Tags every sample and scores every epoch; `threads` of the CPU for the tagger, 0 for all.

    Writes `tags.csv` (what the tagger sees), `scores.csv` (a row for each sample), `epochs.csv` (a
    row for each epoch, epoch 0 = base) and `details.csv` (a row for each trait, with a proposal
    where the samples miss it: see `details.propose`). The summary holds the traits with their share
    of the training pictures, the ceiling, and the asked tags that the tagger does not know.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples_file = sample / "samples.csv"
    samples = tables.read(samples_file, ("epoch", "prompt_id", "purpose", "asked", "seed", "image"))
    samples["epoch"] = tables.numbers(samples["epoch"], samples_file).astype(int)
    if samples.empty:
        raise BakeryError(f"{samples_file} lists no sample: run the sample stage again")
    thresholds = _thresholds(prune)
    seen_in_training = tagging.read(tag).seen(thresholds)
    shares = trait_shares(settings.min_trait_share, prune=prune, seen=seen_in_training)

    tagger = Tagger.load(model, threads)
    limits = np.array([thresholds.of(category) for category in tagger.categories])
    pictures = [sample / "images" / image for image in samples["image"]]
    # what is written is what counts, so that a reader of tags.csv comes to the same scores
    probabilities = np.round(  # (samples, tags)
        tagger.tag(pictures, settings.batch_size, open_rgb).astype(np.float64), 4
    )
    seen = [{tagger.names[i] for i in np.flatnonzero(row >= limits)} for row in probabilities]
    _write_tags(out / "tags.csv", samples["image"], tagger.names, probabilities)

    known = {captions.same(name): name for name in tagger.names}
    rows = sample_scores(samples, seen, list(shares), known)
    tables.write(
        out / "scores.csv",
        ({**row, "found": tables.join(row["found"]), "asked": tables.join(row["asked"])}
         for row in rows),
        SCORES,
    )  # fmt: skip
    epochs = epoch_scores(rows, ceiling(shares))
    tables.write(out / "epochs.csv", epochs, EPOCHS)
    missed = details.propose(shares, rows)
    tables.write(out / "details.csv", missed, details.COLUMNS)
    asked = {name for cell in samples["asked"] for name in tables.split(cell)}
    unknown = sorted(name for name in asked if captions.same(name) not in known)
    warnings = _warnings(shares, rows, unknown)
    warnings += [row["proposal"] for row in missed if row["proposal"]]
    for warning in warnings:
        _log.warning("score: %s", warning)
    return {
        "traits": {name: round(share, 4) for name, share in shares.items()},
        "ceiling": round(ceiling(shares), 4) if shares else None,
        "unknown_tags": unknown,
        "samples": len(samples),
        "warnings": warnings,
    }


def trait_shares(min_share: float, *, prune: Path, seen: pd.DataFrame) -> dict[str, float]:
    """The character's traits: tag -> share of the training pictures that show it.

    A trait is a tag that pruning takes for the character's (the traits of trigger.json, which are
    there also when pruning is switched off, so that bakes with and without it are measured alike)
    and that the tagger sees, at or above its threshold, on `min_share` of the training pictures or
    more: what it hardly ever sees there, it cannot be asked to see in a sample. `seen` are the
    tagger's rows (image, tag) from the threshold on.
    """
    pictures = tables.read(prune / "captions.csv", ("image",))["image"].unique()
    if not len(pictures):
        raise BakeryError(f"{prune / 'captions.csv'} lists no picture: loosen the filter section")
    counts = seen[seen["image"].isin(pictures)].groupby("tag")["image"].nunique()
    shares = {name: float(counts.get(name, 0)) / len(pictures) for name in _traits(prune)}
    return {name: share for name, share in shares.items() if share >= min_share and share > 0}


def ceiling(shares: dict[str, float]) -> float:
    """Mean share of the training pictures on which the tagger sees a trait; NaN without traits.

    ceiling = (1 / |traits|) * sum over traits t of (pictures that show t / pictures)
    """
    return sum(shares.values()) / len(shares) if shares else math.nan


def sample_scores(
    samples: pd.DataFrame, seen: list[set[str]], traits: list[str], known: dict[str, str]
) -> list[dict[str, Any]]:
    """What was asked of each sample and what of it was found.

    An identity sample is asked for every trait, a flexibility sample for the tags its prompt names
    beyond the trigger, as far as the tagger knows them. score = |found| / |asked|, NaN when nothing
    is asked. `seen[i]` are the tags that the tagger sees in row i of `samples`; `known` leads from
    any spelling (`captions.same`) to the tagger's.
    """
    rows = []
    for record, tags in zip(samples.to_dict("records"), seen, strict=True):
        wanted = traits if record["purpose"] == "identity" else tables.split(record["asked"])
        asked = [known[captions.same(name)] for name in wanted if captions.same(name) in known]
        found = [name for name in asked if name in tags]
        share = len(found) / len(asked) if asked else math.nan
        rows.append({**record, "found": found, "asked": asked, "score": share})
    return rows


def recall(rows: list[dict[str, Any]]) -> float:
    """Found tags over asked tags, all rows pooled; NaN when nothing is asked.

    recall = sum over samples of |found| / sum over samples of |asked|
    """
    asked = sum(len(row["asked"]) for row in rows)
    return sum(len(row["found"]) for row in rows) / asked if asked else math.nan


def epoch_scores(rows: list[dict[str, Any]], top: float) -> list[dict[str, Any]]:
    """Fidelity and flexibility of each epoch, with 95% intervals (`interval`).

    fidelity = min(1, recall(identity samples) / ceiling)
    flexibility = recall(flexibility samples)

    As each identity sample is asked for the same traits, its pooled recall is the mean over samples
    and traits. A number is NaN when no sample asks for it. n counts the samples of the epoch.
    """
    result = []
    for epoch in sorted({row["epoch"] for row in rows}):
        mine = [row for row in rows if row["epoch"] == epoch]
        scores: dict[str, Any] = {"epoch": epoch, "n": len(mine)}
        for name, purpose, unit in (
            ("fidelity", "identity", top),
            ("flexibility", "flexibility", 1.0),
        ):
            asking = [row for row in mine if row["purpose"] == purpose]
            values = (recall(asking), *interval(asking))
            keys = (name, f"{name}_low", f"{name}_high")
            scores |= {k: _capped(v / unit) for k, v in zip(keys, values, strict=True)}
        result.append(scores)
    return result


def interval(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Percentile bootstrap interval of `recall` over `rows`, or NaNs where it would mislead.

    The prompts are given and the seeds are chance, so each draw takes as many pictures of each
    prompt as there are, with replacement. With one seed a prompt nothing is known about chance, and
    both ends are NaN. Seeded, so that a rerun gives the same interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    prompts = sorted({row["prompt_id"] for row in rows})
    groups = [[row for row in rows if row["prompt_id"] == prompt] for prompt in prompts]
    if not groups or min(map(len, groups)) < 2 or not any(row["asked"] for row in rows):
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    found, asked = np.zeros(DRAWS), np.zeros(DRAWS)
    for group in groups:
        picks = rng.integers(len(group), size=(DRAWS, len(group)))
        found += np.array([len(row["found"]) for row in group])[picks].sum(axis=1)
        asked += np.array([len(row["asked"]) for row in group])[picks].sum(axis=1)
    low, high = np.quantile(found / asked, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _capped(value: float) -> float:
    return value if math.isnan(value) else round(min(1.0, value), 4)


def _traits(prune: Path) -> list[str]:
    return [str(tag) for tag in _of_trigger(prune, "traits", list)]


def _thresholds(prune: Path) -> Thresholds:
    """Those from which the prune stage believed the tagger, so that samples are asked no more."""
    found = _of_trigger(prune, "thresholds", dict)
    return Thresholds(general=float(found["general"]), character=float(found["character"]))


def _of_trigger(prune: Path, name: str, kind: type) -> Any:
    path = prune / "trigger.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))[name]
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
        return value
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: run the prune stage again") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise BakeryError(
            f"{path} does not list the {name} ({problem!r}): delete its folder and run again"
        ) from None


def _write_tags(path: Path, images: pd.Series, names: list[str], probabilities: Any) -> None:
    """Rows (image, tag, probability), the most probable tags of a picture first."""
    rows = []
    for image, row in zip(images, probabilities, strict=True):
        for i in np.argsort(-row, kind="stable"):
            if row[i] < LEAST:
                break
            rows.append({"image": image, "tag": names[i], "probability": f"{row[i]:.4f}"})
    tables.write(path, rows, ("image", "tag", "probability"))


def _warnings(
    shares: dict[str, float], rows: list[dict[str, Any]], unknown: list[str]
) -> list[str]:
    purposes = {row["purpose"] for row in rows}
    found = []
    if not shares:
        found.append("fidelity is empty: no trait is seen on enough of the training pictures")
    elif "identity" not in purposes:
        found.append("fidelity is empty: no prompt has the purpose identity")
    if not any(row["asked"] for row in rows if row["purpose"] == "flexibility"):
        found.append("flexibility is empty: no flexibility prompt asks for a tag the tagger knows")
    if unknown:
        found.append(f"the tagger does not know {', '.join(unknown)}: not scored")
    return found
