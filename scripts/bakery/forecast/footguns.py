"""Foot-guns: settings that are valid but probably not what the user wants, a sentence each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bakery.dataset.buckets import fit
from bakery.dataset.concepts import RepeatFolder
from bakery.families import tokenizer_probe
from bakery.io import manifest
from bakery.io.images import Size
from bakery.settings import idle, optimizers
from bakery.settings.prune import Prune
from bakery.settings.train import Train
from bakery.sources import caption_files
from bakery.tags import named_traits, own_captions, vocabulary
from bakery.tags.trigger import Trigger
from bakery.training.schedules import StepCounts

DROWNED = 0.05
"""A concept with less than this share of the showings is hardly seen."""
COMMON = 0.5
"""The base knows a word well if it is in this first part of the vocabulary."""
SAVED = 10
"""Epochs from which the best is easily chosen ..."""
MANY_FILES = 50
"""... and far more than that, each of which is drawn."""
PAGE: Size = (1000, 1414)
"""A page of a book, as an example of what a bucket cuts if no picture is known yet."""


def of_captions(folders: Sequence[Path], scraped: Path, prune: Prune) -> list[str]:
    """Captions that lie beside the pictures and are not used, or are kept and name traits.

    `folders` are the local ones of `scrape`, `scraped` is the folder of its results, which may not be
    there yet.
    """
    source = prune.source
    if source == "captions":
        done = (scraped / manifest.NAME).is_file()
        kept = named_traits.scraped(scraped) if done else named_traits.beside_pictures(folders)
        advice = named_traits.advice(kept, prune)
        return [f"{advice[0].upper()}{advice[1:]}."] if advice else []
    if "sentence" in prune.caption_order:  # then what is used of them was asked for
        return []
    if (scraped / manifest.NAME).is_file():
        counts = manifest.read(scraped).get("summary", {}).get("own_captions", {})
        mine, pictures = counts.get("captions", 0), counts.get("of_pictures", 0)
    else:
        found = [caption_files.count(folder) for folder in folders if folder.is_dir()]
        mine, pictures = sum(one for one, _ in found), sum(of for _, of in found)
    return [f"{own_captions.not_used(mine, pictures, source)}."] if mine else []


def of_buckets(train: Train, sizes: Sequence[Size], lost: float | None) -> list[str]:
    """One bucket for all; `lost` is the share of the pixels that cropping costs, None: unknown."""
    if len(sizes) != 1:
        return []
    (size,) = sizes
    if lost is None:
        cost = f"a page of {PAGE[0]}x{PAGE[1]} loses {fit(PAGE, sizes).lost:.0%} of its pixels"
    else:
        cost = f"that crops away {lost:.0%} of the pixels"
    if not train.enable_bucket:
        why, cure = "enable_bucket is off", "switch it on"
    else:
        why = f"min_bucket_reso {train.min_bucket_reso} and max_bucket_reso {train.max_bucket_reso}"
        cure = "give them room around the resolution, for example 320 and 960 around 512"
    return [f"{why}: all pictures go into one bucket of {size[0]}x{size[1]}, and {cost}; {cure}."]


def of_training(train: Train, prune: Prune, counts: StepCounts | None) -> list[str]:
    """Settings that do nothing, or less than they seem to."""
    found = []
    front = len(Trigger.of(prune).own)
    if train.shuffle_caption and train.keep_tokens < front:
        found.append(
            f"keep_tokens {train.keep_tokens} is less than the {front} tag{'s' * (front > 1)} that "
            f"trigger and class tokens make: shuffling moves {'them' if front > 1 else 'it'} away from "
            "the front."
        )
    if strange := optimizers.unknown(train.optimizer_type, train.optimizer_args):
        found.append(
            f"optimizer_args names {', '.join(strange)}, which {train.optimizer_type} does not know: "
            "the bake would end where it starts to train; remove it."
        )
    if train.text_variants is not None and train.varies_tags and train.rates["text_encoder_lr"]:
        found.append(
            f"text_variants {train.text_variants} frees no memory, because the text encoder is trained "
            "(text_encoder_lr): it only shows each caption in fewer ways."
        )
    if train.max_steps and counts is not None:
        found.append(
            f"max_steps {train.max_steps} decides, not num_epochs: the bake ends in epoch "
            f"{counts.epochs}."
        )
    return found + [f"{clause}." for clause in idle.told(train)]


def of_files(train: Train, counts: StepCounts | None, files: int) -> list[str]:
    """Too few saved epochs to choose the best of, or too many to draw; `files` are as many."""
    if counts is None or counts.epochs < 2:
        return []
    every = math.ceil(counts.epochs / SAVED)
    if files == 1:
        return [
            f"Only the last of {counts.epochs} epochs is saved, so there is none to compare it with: "
            f"set save_every_n_epochs to {every}."
        ]
    if files > MANY_FILES:
        return [
            f"{files} of {counts.epochs} epochs are saved, and each is drawn and scored: set "
            f"save_every_n_epochs to {every}."
        ]
    return []


def of_concepts(folders: Sequence[RepeatFolder]) -> list[str]:
    """Repeats with which one concept outweighs another."""
    found = [f"{folder.trouble}." for folder in folders if folder.trouble]
    for folder in folders:
        if folder.share < DROWNED:
            most = max(folders, key=lambda one: one.share)
            found.append(
                f"{folder.folder} is {folder.share:.1%} of the showings: {most.folder} outweighs "
                f"it with {most.share:.0%}; raise its repeats, or give it a share in "
                "layout.concepts."
            )
    return found


def of_trigger(prune: Prune, base: Path) -> list[str]:
    """A trigger that already means something, to the base or as a booru tag, or that the base splits."""
    cut = tokenizer_probe.cut(base, prune.trigger)
    if cut is not None and cut.whole and cut.rank < COMMON:
        return [
            f"The trigger {prune.trigger!r} is a common word that already means something to the "
            "base: choose one that it does not know."
        ]
    if vocabulary.listed(prune.trigger):
        return [
            f"The trigger {prune.trigger!r} is a booru tag, which other pictures have, too: choose a "
            "made-up word."
        ]
    if cut is not None and not cut.whole:
        return [
            f"The trigger {prune.trigger!r} is {len(cut.pieces)} tokens to the base "
            f"({' + '.join(cut.pieces)}), which it also meets in other words: it takes longer to "
            "learn than a rare word of one token."
        ]
    return []
