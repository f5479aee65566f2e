"""Baked LoRAs as a page shows them: epochs with scores and files, samples with what was seen in them.

`read` gathers what train, sample and score left of one bake and checks that they speak of the same.
Scores that a table does not have are simply not there, so bakes of several versions fit on one page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bakery.interop import infotext
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.io.images import open_rgb


@dataclass(frozen=True)
class Metric:
    """A score of an epoch, in 0..1: its heading, what it says, and which end is the good one."""

    name: str
    heading: str
    meaning: str
    good: int = 1


METRICS = (
    Metric("tradeoff", "Score", "what the recommendation goes by: the harmonic mean of fidelity and"
           " flexibility, less leak, bleed and what lacks in clarity"),
    Metric("fidelity", "Fidelity", "traits of the character that the trigger alone brings back,"
           " relative to the training pictures"),
    Metric("flexibility", "Flexibility", "what prompts ask beyond the character and is there,"
           " relative to the base"),
    Metric("leak", "Leak", "outfits and scenes of the training pictures that nobody asked for", 0),
    Metric("bleed", "Bleed", "the character's traits in pictures without the trigger", 0),
    Metric("clarity", "Clarity", "how sure the tagger is of what it sees, relative to the base's"
           " pictures: frayed ones leave it in doubt"),
    Metric("drift", "Drift", "how far pictures without the trigger are from the base's own", 0),
    Metric("variety", "Variety", "how much pictures of one prompt differ, relative to the base's"),
    Metric("memorised", "Memorised", "pictures that nearly repeat a training picture", 0),
    Metric("broken", "Broken", "pictures without content", 0),
    Metric("likeness", "Likeness", "nearness to the character by the embedding model"),
)  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A number with the 95% interval it lies in; NaN where nothing is known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a bake; number 0 is the base, without a file."""

    number: int
    scores: Mapping[str, Value]
    loss: float = math.nan
    file: str = ""
    sshs_model_hash: str = ""
    sha256: str = ""

    def score(self, name: str) -> Value:
        return self.scores.get(name, Value())

    @property
    def lora_name(self) -> str:
        """What a prompt calls the file: its name without extension."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Bake:
    """Where one bake lies (stage -> folder), and its settings by dotted name (`train.unet_lr`)."""

    label: str
    folders: Mapping[str, Path]
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: bool = True
    """False for a bake that `compare.with` puts beside those of the sweep."""

    @classmethod
    def of(cls, planned: Mapping[str, Any]) -> Bake:
        """From what the plan says of it, paths as text."""
        folders = {stage: Path(folder) for stage, folder in planned["folders"].items()}
        return cls(planned["label"], folders, planned["settings"], planned["own"])

    @property
    def trigger(self) -> str:
        """The trigger with its class tokens, as captions start."""
        words = (self.settings.get(f"prune.{name}", "") for name in ("trigger", "class_tokens"))
        return ", ".join(filter(None, words))


@dataclass(frozen=True)
class Shot:
    """One sample at the bake's own LoRA weight."""

    epoch: int
    prompt_id: str
    prompt: str
    purpose: str
    seed: str
    path: Path
    found: Sequence[str] = ()
    missing: Sequence[str] = ()
    leaked: Sequence[str] = ()
    notes: Sequence[str] = ()
    score: float = math.nan

    @cached_property
    def infotext(self) -> str:
        return infotext.read_png(self.path)


Key = tuple[int, str, str]
"""Epoch, prompt id and seed of a sample."""


@dataclass(frozen=True)
class Baked:
    """What came of one bake; epochs in order, the base first."""

    bake: Bake
    epochs: Sequence[Epoch]
    shots: Mapping[Key, Shot]
    weights: Sequence[tuple[int, float, Mapping[str, Value]]] = ()
    """(epoch, LoRA weight, scores) where several weights were drawn."""
    preferred_weight: float | None = None
    warnings: Sequence[str] = ()
    """What the score stage could not measure, a sentence each."""
    stopped: str = ""
    """Why it was not baked to its end, if it was not: `stopped after epoch 1 by halving: ...`."""

    def epoch(self, number: int) -> Epoch:
        return next(epoch for epoch in self.epochs if epoch.number == number)

    def generic(self, prompt: str) -> str:
        """`prompt` with `{trigger}` for the bake's own trigger, so that other characters compare."""
        trigger = self.bake.trigger
        return prompt.replace(trigger, "{trigger}", 1) if trigger else prompt

    @property
    def asked(self) -> frozenset[tuple[str, str]]:
        """Every prompt, as `generic`, with each of its seeds."""
        return frozenset((self.generic(s.prompt), s.seed) for s in self.shots.values() if s.epoch)

    @property
    def base(self) -> Epoch:
        return self.epochs[0]

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]

    @property
    def weight(self) -> float:
        """The LoRA weight to start from: the one that scored best, else the one it was drawn at."""
        return self.preferred_weight or float(self.bake.settings.get("sample.lora_weight", 1))

    @property
    def name(self) -> str:
        """The dataset's, which the recommended LoRA is called by."""
        return str(self.bake.settings.get("scrape.name") or self.last.lora_name)

    def prompt_line(self, name: str) -> str:
        """What a prompt starts with: `<lora:mirael:0.8>, mirael, 1girl`, for the LoRA called `name`."""
        token = infotext.lora_token(name, self.weight)
        return ", ".join(filter(None, (token, self.bake.trigger)))


def read(bake: Bake) -> Baked:
    """The epochs and samples of `bake`. Raises `BakeryError` where its files do not fit together."""
    train, score = bake.folders["train"], bake.folders["score"]
    scores_file, train_file = score / "epochs.csv", train / "epochs.csv"
    saved = tables.read(train_file, ("epoch", "file", "sshs_model_hash", "loss"))
    for name in ("epoch", "loss"):
        saved[name] = tables.numbers(saved[name], train_file)
    files = {int(row["epoch"]): row for row in saved.to_dict("records")}
    about = _manifest(train)
    hashes, stopped = about.get("files", {}), about.get("summary", {}).get("stopped", {})
    epochs = [
        _epoch(number, values, files.get(number, {}), hashes)
        for number, values in _scored(scores_file, ["epoch"]).items()
    ]
    missing = sorted({0, *files} ^ {epoch.number for epoch in epochs})
    if missing:
        raise BakeryError(
            f"{scores_file} and {train_file} do not both know epoch {missing[0]}: "
            "run the score stage of this bake again"
        )
    epochs.sort(key=lambda epoch: epoch.number)
    weights, weights_file = {}, score / "weights.csv"
    if weights_file.is_file():
        weights = _scored(weights_file, ["epoch", "weight"])
    summary = _manifest(score).get("summary", {})
    return Baked(
        bake=bake,
        epochs=epochs,
        shots=_shots(bake),
        weights=[(int(epoch), weight, values) for (epoch, weight), values in weights.items()],
        preferred_weight=summary.get("preferred_weight"),
        warnings=summary.get("warnings", ()),
        stopped=stopped.get("sentence", ""),
    )


def same_base(one: Baked, other: Baked) -> bool:
    """Whether two bakes start from the same pictures: equal infotexts, pixels but for rounding."""
    first, second = (
        {key: shot for key, shot in b.shots.items() if key[0] == 0} for b in (one, other)
    )
    if first.keys() != second.keys():
        return False
    for key, shot in first.items():
        if shot.infotext != second[key].infotext:
            return False
        here, there = (np.asarray(open_rgb(s.path), np.int16) for s in (shot, second[key]))
        if here.shape != there.shape or np.abs(here - there).mean() > 1:
            return False
    return True


def _scored(path: Path, keys: list[str]) -> dict[Any, dict[str, Value]]:
    """Row by `keys` (one: the number itself, several: a tuple) -> metric -> value, as far as known."""
    table = tables.read(path, keys)
    columns = {n for m in METRICS for n in (m.name, f"{m.name}_low", f"{m.name}_high")}
    for name in [*keys, *(c for c in table.columns if c in columns)]:
        table[name] = tables.numbers(table[name], path)
    found = {}
    for row in table.to_dict("records"):
        key = int(row[keys[0]]) if len(keys) == 1 else tuple(row[name] for name in keys)
        found[key] = {
            m.name: Value(*(row.get(m.name + end, math.nan) for end in ("", "_low", "_high")))
            for m in METRICS
            if m.name in row
        }
    return found


def _epoch(
    number: int, scores: Mapping[str, Value], saved: Mapping[str, Any], hashes: Mapping[str, str]
) -> Epoch:
    file = saved.get("file", "")
    return Epoch(
        number=number,
        scores=scores,
        loss=saved.get("loss", math.nan),
        file=file,
        sshs_model_hash=saved.get("sshs_model_hash", ""),
        sha256=hashes.get(file, ""),
    )


def _shots(bake: Bake) -> dict[Key, Shot]:
    sample, score = bake.folders["sample"], bake.folders["score"]
    samples_file, scores_file = sample / "samples.csv", score / "scores.csv"
    wanted = ("epoch", "prompt_id", "prompt", "purpose", "seed", "image")
    samples = tables.read(samples_file, wanted)
    samples["epoch"] = tables.numbers(samples["epoch"], samples_file).astype(int)
    if "weight" in samples.columns:
        weight = tables.numbers(samples["weight"], samples_file)
        nominal = float(bake.settings.get("sample.lora_weight", 1))
        samples = samples[(samples["epoch"] == 0) | ((weight - nominal).abs() < 1e-9)]
    if samples.empty:
        raise BakeryError(f"{samples_file} lists no sample: run the sample stage again")
    scores = tables.read(scores_file, ("image", "found", "asked", "score"))
    scores["score"] = tables.numbers(scores["score"], scores_file)
    scored = {row["image"]: row for row in scores.to_dict("records")}
    unscored = samples.loc[~samples["image"].isin(list(scored)), "image"]
    if len(unscored):
        raise BakeryError(
            f"{scores_file} does not score {unscored.iloc[0]}: run the score stage of this bake again"
        )
    shots = (_shot(sample, row, scored[row["image"]]) for row in samples.to_dict("records"))
    return {(shot.epoch, shot.prompt_id, shot.seed): shot for shot in shots}


def _shot(sample: Path, row: Mapping[str, Any], score: Mapping[str, Any]) -> Shot:
    found = tables.split(score["found"])
    return Shot(
        epoch=row["epoch"],
        prompt_id=row["prompt_id"],
        prompt=row["prompt"],
        purpose=row["purpose"],
        seed=row["seed"],
        path=sample / "images" / row["image"],
        found=found,
        missing=[name for name in tables.split(score["asked"]) if name not in found],
        leaked=tables.split(score.get("leaked", "")),
        notes=_notes(score),
        score=score["score"],
    )


def _notes(score: Mapping[str, Any]) -> list[str]:
    """What is wrong with a picture, in words."""
    notes = []
    if _flag(score.get("broken", "")):
        notes.append("no content: the arithmetic broke")
    if _flag(score.get("memorised", "")):
        notes.append(f"nearly the training picture {score.get('nearest', '')}".strip())
    return notes


def _flag(cell: str) -> bool:
    return cell.strip().lower() in ("1", "1.0", "true")


def _manifest(folder: Path) -> dict[str, Any]:
    return manifest.read(folder) if (folder / manifest.NAME).is_file() else {}
