"""The dry bake's numbers: what a bake will show, how many steps it takes, and what is there already.

Everything is read from the results of earlier runs and from the settings; nothing is made, and
torch is never loaded. What is known of the pictures depends on the last stage that has run: the
layout's own pictures, else those the filter keeps, else those that were scraped, else those in the
user's own folders, else only how many will be requested.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.dataset import buckets
from bakery.dataset.buckets import Fit
from bakery.families.recognise import main_part
from bakery.forecast import (
    captions_told,
    family_habits,
    first_bake,
    footguns,
    rate_habits,
    together,
)
from bakery.forecast import history as past
from bakery.forecast.known_pictures import KnownPictures, PlannedBake, ShownPicture, known_pictures
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.io.manifest import NAME
from bakery.sampling import prompts
from bakery.settings.layout import Layout
from bakery.settings.named_files import expanded
from bakery.settings.prune import Prune
from bakery.settings.sample import Sample
from bakery.settings.scrape import Scrape
from bakery.settings.tag import Tag
from bakery.settings.train import Train
from bakery.tags import picture_sentences, tagger_list
from bakery.tags.shuffling import Shuffling
from bakery.tags.trigger import Trigger
from bakery.training import schedules

CURVE = 600
"""Most points of a learning rate chart."""


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size."""

    size: Size
    pictures: int
    shown: int
    """With repeats."""
    lost: float
    """Mean share of a picture that cropping removes here."""


@dataclass(frozen=True)
class Forecast:
    """What one bake will be."""

    bake: PlannedBake
    known: KnownPictures
    sizes: tuple[Size, ...]
    """All buckets there are."""
    buckets: tuple[Bucket, ...]
    lost: float | None
    """Mean share of the pixels that cropping removes, over all showings; None: no picture is
    known."""
    counts: schedules.StepCounts | None
    curves: Mapping[str, Sequence[tuple[float, float]]]
    """unet_lr, text_encoder_lr -> (epoch, rate) of the steps, those at 0 left out."""
    files: tuple[str, ...]
    """LoRA files that will be written."""
    samples: int | None
    """Pictures that will be drawn, the base's included; None: the prompts are not derived yet."""
    cached: Mapping[str, bool]
    """Stage -> whether it is done."""
    past: past.BakeHistory | None
    about_captions: str = ""
    """Sentences, candidates and what is cut; "" where there is nothing to tell."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def shown(self) -> int:
        return sum(folder.shown for folder in self.known.folders)

    @property
    def seconds(self) -> float | None:
        """Time of the remaining training, estimated from earlier bakes; None: unknown.

        With halving it is not known yet which bakes are stopped: this is the mean over all.
        """
        if self.cached["train"]:
            return 0.0
        if self.past is None or self.counts is None:
            return None
        steps: float = self.counts.total
        if self.bake.rungs is not None:
            steps = self.counts.steps_per_epoch * mean_epochs(self.bake.rungs)
        return steps / self.past.steps_per_second


def make(bake: PlannedBake, trained: Path) -> Forecast:
    """The forecast of one bake; `trained` is the folder of finished bakes (`results/train`)."""
    train = Train.model_validate(bake.settings["train"])
    prune = Prune.model_validate(bake.settings["prune"])
    known = known_pictures(bake)
    family = bake.once(f"family {bake.base}", (), lambda: family_habits.family_of(bake.base))
    sizes = buckets.of(train)
    placed = [(one, buckets.fit(one.size, sizes)) for one in known.shown]
    filled = fill(placed)
    lost = _mean_lost(placed)
    counts, too_few = _step_counts(train, filled)
    files = _files(bake.settings["scrape"]["name"], train, counts)
    samples, cannot = _samples(bake, files)
    warnings = [
        *[sentence for sentence in (known.trouble, too_few, cannot) if sentence],
        *first_bake.of_example(bake.settings),
        *first_bake.of_names(bake.settings["scrape"], bake.configs),
        *first_bake.of_size(train, family),
        *first_bake.of_machine(train, bake.has_gpu),
        *first_bake.of_length(train, sum(folder.shown for folder in known.folders), counts),
        *family_habits.of_training(train, family, sum(f.images for f in known.folders)),
        *_of_prediction(bake, train),
        *family_habits.of_target(family, bake.gathered_to),
        *footguns.of_buckets(train, sizes, lost),
        *footguns.of_training(train, prune, counts),
        *footguns.of_files(train, counts, len(files)),
        *rate_habits.told(train, counts),
        *footguns.of_concepts(known.folders),
        *footguns.of_trigger(prune, Path(main_part(bake.base))),
        *bake.once("captions", ("scrape", "prune"), lambda: _of_captions(bake, prune)),
        *captions_told.footguns(
            Tag.model_validate(bake.settings["tag"]),
            prune,
            Layout.model_validate(bake.settings["layout"]),
            train,
        ),
        *_by_hand(known),
    ]
    finished = bake.seen.setdefault("finished", past.Finished(trained, seconds=math.inf))
    return Forecast(
        bake=bake,
        known=known,
        sizes=sizes,
        buckets=filled,
        lost=lost,
        counts=counts,
        curves=_curves(train, counts),
        files=tuple(files.values()),
        samples=samples,
        cached={stage: (Path(f) / NAME).is_file() for stage, f in bake.folders.items()},
        past=finished.recall(bake.settings["train"], beside=len(together.share(bake))),
        # of the train section only the limit counts: a sweep of rates tokenises its captions once
        about_captions=bake.once(
            f"lengths {train.max_token_length} {bake.base}",
            ("prune", "layout"),
            lambda: _about_captions(bake, known, train),
        ),
        warnings=tuple(warnings),
    )


def _about_captions(bake: PlannedBake, known: KnownPictures, train: Train) -> str:
    most = train.max_token_length
    if not known.captions:
        return ""
    spoken = len(picture_sentences.read(Path(bake.folders["prune"])))
    base = Path(main_part(bake.base))
    still = Shuffling.of(train).still
    pictures = [tuple(map(still, texts)) for texts in known.captions]
    return captions_told.count(pictures, base, most, spoken).told(most)


def _of_prediction(bake: PlannedBake, train: Train) -> list[str]:
    """What the base's header contradicts, which is read once for all bakes that say the same."""
    said = f"predictions {bake.base} {train.v_parameterization} {train.zero_terminal_snr}"
    return bake.once(said, (), lambda: family_habits.of_prediction(train, bake.base))


def _of_captions(bake: PlannedBake, prune: Prune) -> list[str]:
    """The foot-guns of the captions in the local folders that the scrape takes pictures from."""
    entries = Scrape.model_validate(bake.settings["scrape"]).folders
    folders = [expanded(entry.path) for entry in entries]
    return footguns.of_captions(folders, Path(bake.folders["scrape"]), prune)


def mean_epochs(rungs: Sequence[Mapping[str, Any]]) -> float:
    """Epochs that a bake in rungs (see `PlannedBake`) still has before it: the mean over all."""
    behind, left = 0, 0.0
    for rung in rungs:
        if not (Path(rung["folders"]["train"]) / NAME).is_file():
            left += (rung["until"] - behind) * rung["bakes"] / rungs[0]["bakes"]
        behind = rung["until"]
    return left


def _step_counts(train: Train, filled: Sequence[Bucket]) -> tuple[schedules.StepCounts | None, str]:
    """The steps, None if they are unknown or impossible; and why they are impossible."""
    if not filled:
        return None, ""
    counts = [bucket.shown for bucket in filled]
    batches = buckets.batches_per_epoch(counts, train.train_batch_size)
    try:
        return schedules.step_counts(train, batches), ""
    except BakeryError as problem:
        return None, str(problem)


def fill(placed: Sequence[tuple[ShownPicture, Fit]]) -> tuple[Bucket, ...]:
    """The buckets that hold a picture, by size."""
    found = []
    for size in sorted({place.bucket for _, place in placed}):
        mine = [(one, place) for one, place in placed if place.bucket == size]
        losses = [place.lost for _, place in mine]
        shown = sum(one.repeats for one, _ in mine)
        found.append(Bucket(size, len(mine), shown, sum(losses) / len(losses)))
    return tuple(found)


def _mean_lost(placed: Sequence[tuple[ShownPicture, Fit]]) -> float | None:
    shown = sum(one.repeats for one, _ in placed)
    return sum(one.repeats * place.lost for one, place in placed) / shown if shown else None


def _by_hand(known: KnownPictures) -> list[str]:
    if not known.by_hand:
        return []
    return [f"{known.by_hand} captions rewritten by hand do not name the trigger."]


def _files(name: str, train: Train, counts: schedules.StepCounts | None) -> dict[int, str]:
    """Epoch -> the LoRA file that it leaves."""
    if counts is None:
        return {}
    saved = [epoch for epoch in range(1, counts.epochs + 1) if counts.saves(train, epoch)]
    last = f"{name}.safetensors"
    return {e: last if e == counts.epochs else f"{name}-{e:06d}.safetensors" for e in saved}


def _samples(bake: PlannedBake, files: Mapping[int, str]) -> tuple[int | None, str]:
    """How many pictures will be drawn (None: not known yet), and why they cannot be, if so."""
    settings = Sample.model_validate(bake.settings["sample"])
    prune, tagger = Path(bake.folders["prune"]), Path(bake.tagger)
    texts, words = [], {}
    try:
        if settings.prompts is not None:
            trigger = Trigger.of(Prune.model_validate(bake.settings["prune"]))
        elif (prune / NAME).is_file() and (tagger / tagger_list.FILE).is_file():
            trigger = Trigger.read(prune)
            texts = list(tables.read(prune / "captions.csv", ("caption",))["caption"])
            words = tagger_list.read_counts(tagger)
        else:
            return None, ""
        chosen, _ = prompts.resolve(settings, texts, words, trigger)
        cells = prompts.cells([one.prompt for one in chosen], settings.seeds, trigger)
        epochs = [prompts.GridRow(number) for number in (0, *files)]
        rows = [*epochs, *prompts.weighed(epochs, settings)]
    except BakeryError as problem:
        return None, str(problem)
    return sum(len(prompts.of_epoch(cells, row)) for row in rows) if files else None, ""


def _curves(
    train: Train, counts: schedules.StepCounts | None
) -> dict[str, Sequence[tuple[float, float]]]:
    """The rate of each part over the epochs, at `CURVE` steps and the last."""
    if counts is None:
        return {}
    step = max(1, counts.total // CURVE)
    steps = [*range(0, counts.total - 1, step), counts.total - 1]
    return {
        name: [(s / counts.steps_per_epoch, counts.rate(train, rate, s)) for s in steps]
        for name, rate in train.rates.items()
        if rate
    }
