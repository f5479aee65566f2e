"""Baked LoRAs as a page shows them: epochs with scores and files, samples with what was seen in them.

`read` collects the results of train, sample and score for one bake and checks that they match.
Scores that a table lacks are missing, so bakes of several versions fit on one page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bakery.graph import short_names
from bakery.interop import infotext, previews, prompt_syntax
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.io.images import open_rgb
from bakery.jobs import stop_requests
from bakery.scoring.metrics import ON_PAGE
from bakery.settings.prune import is_class_first
from bakery.tags.trigger import Trigger


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; NaN if unknown."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def ends(self) -> tuple[float, float, float]:
        """As in a table: the number, then the ends of the interval."""
        return self.value, self.low, self.high


@dataclass(frozen=True)
class EpochResult:
    """One epoch of a bake; number 0 is the base, without a file."""

    number: int
    scores: Mapping[str, Estimate]
    loss: float = math.nan
    file: str = ""
    sshs_model_hash: str = ""
    sha256: str = ""

    def score(self, name: str) -> Estimate:
        return self.scores.get(name, Estimate())

    @property
    def trained_name(self) -> str:
        """What the file in results/train is called in prompts: its name without extension."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Bake:
    """Where one bake lies (stage -> folder), and its settings by dotted name (`train.unet_lr`)."""

    label: str
    folders: Mapping[str, Path]
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: bool = True
    """False for a bake that `compare.with` adds to those of the sweep."""
    name: str = ""
    """What its LoRA files are called where they leave, before the epoch: `mirael-lr0.002`."""

    @classmethod
    def of(cls, planned: Mapping[str, Any]) -> Bake:
        """From the graph's facts, with paths as text."""
        folders = {stage: Path(folder) for stage, folder in planned["folders"].items()}
        own, name = planned["own"], planned["name"]
        return cls(planned["label"], folders, planned["settings"], own, name)

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.settings.get("scrape.name", ""))

    def lora_name(self, epoch: int) -> str:
        """What the file of `epoch` is called where it leaves: `mirael-lr0.002-e03`."""
        return short_names.file_stem(self.name or self.dataset, epoch)

    @property
    def trigger(self) -> str:
        """The trigger with its class tokens, in the order of captions."""
        word, tokens = (
            self.settings.get(f"prune.{name}", "") for name in ("trigger", "class_tokens")
        )
        first = is_class_first(self.settings.get("prune.caption_order") or ())
        return Trigger(word, tokens, class_first=first).activation_text


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
    renamed: tuple[str, str] = ("", "")
    """Name of the LoRA in the picture's infotext, and what the file is called where it leaves."""

    @cached_property
    def infotext(self) -> str:
        """The picture's infotext, which calls the LoRA as the file that leaves."""
        return previews.renamed(infotext.read_png(self.path), *self.renamed)


Key = tuple[int, str, str]
"""Epoch, prompt id and seed of a sample."""


@dataclass(frozen=True)
class BakeResult:
    """The results of one bake; epochs in order, the base first."""

    bake: Bake
    epochs: Sequence[EpochResult]
    shots: Mapping[Key, Shot]
    weights: Sequence[tuple[int, float, Mapping[str, Estimate]]] = ()
    """(epoch, LoRA weight, scores) where several weights were drawn."""
    preferred_weight: float | None = None
    warnings: Sequence[str] = ()
    """What the score stage could not measure, a sentence each."""
    stopped: str = ""
    """Why it was not baked to its end, if it was not: `stopped after epoch 1 by halving: ...`."""
    held_out: Sequence[tuple[int, float]] = ()
    """(epoch, mean loss on held-out pictures) where there are any; epoch 0 is the base."""
    stopped_by_you: bool = False
    """Whether a person stopped it, and may let it go on (`jobs.resuming`)."""

    def epoch(self, number: int) -> EpochResult:
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
    def base(self) -> EpochResult:
        return self.epochs[0]

    @property
    def last(self) -> EpochResult:
        return self.epochs[-1]

    @property
    def weight(self) -> float:
        """The LoRA weight to start from: the one that scored best, else the one it was drawn at."""
        return self.preferred_weight or float(self.bake.settings.get("sample.lora_weight", 1))

    def prompt_line(self, epoch: int) -> str:
        """What a prompt starts with: `<lora:mirael-lr0.002-e03:0.8>, mirael, 1girl`."""
        token = infotext.lora_token(self.bake.lora_name(epoch), self.weight)
        return ", ".join(filter(None, (token, prompt_syntax.escape(self.bake.trigger))))


def trusted(planned: Iterable[Mapping[str, Any]]) -> list[Bake]:
    """The bakes of the graph's facts, if what is read of them is as their stages wrote it.

    Raises `BakeryError` else. LoRAs are looked at where one is taken (`leaving.place`), as some may
    have been freed.
    """
    bakes = [Bake.of(one) for one in planned]
    for bake in bakes:
        for stage, folder in bake.folders.items():
            if (folder / manifest.NAME).is_file():
                manifest.checked(folder, *(() if stage in ("sample", "score") else ("*.csv",)))
    return bakes


def read_bake(bake: Bake) -> BakeResult:
    """The epochs and samples of `bake`. Raises `BakeryError` where its files do not fit together."""
    train, score = bake.folders["train"], bake.folders["score"]
    scores_file, train_file = score / "epochs.csv", train / "epochs.csv"
    saved = tables.read(train_file, ("epoch", "file", "sshs_model_hash", "loss"))
    for name in ("epoch", "loss"):
        saved[name] = tables.numbers(saved[name], train_file)
    files = {int(row["epoch"]): row for row in tables.records(saved)}
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
    return BakeResult(
        bake=bake,
        epochs=epochs,
        shots=_shots(bake, {epoch.number: epoch.trained_name for epoch in epochs if epoch.file}),
        weights=[(int(epoch), weight, values) for (epoch, weight), values in weights.items()],
        preferred_weight=summary.get("preferred_weight"),
        warnings=summary.get("warnings", ()),
        stopped=stopped.get("sentence", ""),
        held_out=validated(train),
        stopped_by_you=stop_requests.is_by_you(about.get("summary")),
    )


def validated(train: Path) -> list[tuple[int, float]]:
    """(epoch, mean loss on held-out pictures) as the bake in `train` measured it; [] if it had none."""
    path = train / manifest.VALIDATION
    if not path.is_file():
        return []
    table = tables.read(path, manifest.VALIDATED)
    for name in ("epoch", "loss"):
        table[name] = tables.numbers(table[name], path)
    means = table.groupby("epoch", sort=True)["loss"].mean()
    epochs = means.index.to_numpy(int).tolist()
    return list(zip(epochs, means.tolist(), strict=True))


def same_base(one: BakeResult, other: BakeResult) -> bool:
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


def _scored(path: Path, keys: list[str]) -> dict[Any, dict[str, Estimate]]:
    """Row by `keys` (one: the number itself, several: a tuple) -> metric -> value, as far as known."""
    table = tables.read(path, keys)
    columns = {name for metric in ON_PAGE for name in metric.bounds}
    for name in [*keys, *(c for c in table.columns if c in columns)]:
        table[name] = tables.numbers(table[name], path)
    found = {}
    for row in tables.records(table):
        key = int(row[keys[0]]) if len(keys) == 1 else tuple(row[name] for name in keys)
        found[key] = {
            metric.name: Estimate(*(row.get(name, math.nan) for name in metric.bounds))
            for metric in ON_PAGE
            if metric.name in row
        }
    return found


def _epoch(
    number: int, scores: Mapping[str, Estimate], saved: Mapping[str, Any], hashes: Mapping[str, str]
) -> EpochResult:
    file = saved.get("file", "")
    return EpochResult(
        number=number,
        scores=scores,
        loss=saved.get("loss", math.nan),
        file=file,
        sshs_model_hash=saved.get("sshs_model_hash", ""),
        sha256=hashes.get(file, ""),
    )


def _shots(bake: Bake, trained: Mapping[int, str]) -> dict[Key, Shot]:
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
    scored = {row["image"]: row for row in tables.records(scores)}
    unscored = samples.loc[~samples["image"].isin(list(scored)), "image"]
    if len(unscored):
        raise BakeryError(
            f"{scores_file} does not score {unscored.iloc[0]}: run the score stage of this bake again"
        )
    shots = (_shot(sample, row, scored[row["image"]]) for row in tables.records(samples))
    shots = (
        replace(shot, renamed=(trained[shot.epoch], bake.lora_name(shot.epoch)))
        if shot.epoch in trained
        else shot
        for shot in shots
    )
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
