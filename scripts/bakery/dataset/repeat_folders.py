"""kohya's repeat folders as training data: captions, buckets, and the order of epochs.

Steps: `read` finds pictures and captions, `arrange` fits each picture into its bucket,
`Dataset.epoch` gives an epoch's batches: which pictures, how cropped, with which captions.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bakery.dataset.buckets import Fit, batches_per_epoch, fit
from bakery.gate import gate
from bakery.gate.sidecars import Sidecars
from bakery.io import images, seeds, text_files
from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.io.text_files import UTF8, UnreadableText
from bakery.settings.layout import HOLDOUT
from bakery.settings.train import Train
from bakery.sources import candidates
from bakery.sources.caption_files import CANDIDATES, CaptionFiles
from bakery.sources.caption_files import EXTENSIONS as CAPTIONS
from bakery.tags import captions
from bakery.tags.shuffling import Shuffling

FOLDER = re.compile(r"(\d+)_(.*)")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
REGULARIZATION = "reg"
"""A folder of this name inside a dataset has no number, so kohya's scripts ignore it there; it is
passed to them as reg_data_dir."""


@dataclass(frozen=True)
class Item:
    """A picture of the dataset."""

    image: Path
    folder: str
    """`5_name`."""
    caption: str
    repeats: int
    is_reg: bool = False
    """A regularization picture: it shows what the class looks like without the character."""
    candidates: tuple[str, ...] = ()
    """The captions of which one is drawn each time, if it has several; `caption` is the first."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions that it may be shown with."""
        return self.candidates or (self.caption,)

    def drawn(self, rng: random.Random) -> str:
        """The caption of one showing; `rng` is asked only where there are several."""
        return rng.choice(self.candidates) if self.candidates else self.caption


@dataclass(frozen=True)
class Folders:
    """What was found in a layout."""

    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    """What kohya's scripts would not read either, relative to the layout: folders without a
    number of repeats, and in the others everything that is neither picture nor caption."""
    unused: int = 0
    """Regularization pictures beyond what balances the training pictures."""
    notes: tuple[str, ...] = ()
    """What of captions is not as written, a sentence each."""
    with_candidates: bool = False
    """Whether the lines of caption files are candidates, as with sd-scripts' enable_wildcard."""

    def directories(self, is_reg: bool = False) -> dict[str, dict[str, int]]:
        """Repeats and pictures of each folder, as in ss_dataset_dirs and ss_reg_dataset_dirs."""
        counts: Counter[str] = Counter()
        for item in self.items:
            counts[item.folder] += item.is_reg == is_reg
        return {
            folder: {"n_repeats": int(folder.partition("_")[0]), "img_count": count}
            for folder, count in counts.items()
            if count
        }

    def tag_frequency(self, separator: str = "") -> dict[str, dict[str, int]]:
        """How many pictures of each folder carry each tag, as in ss_tag_frequency.

        A `separator` (`train.keep_tokens_separator`) is none; sd-scripts takes it for a part of a tag.
        """
        counts: dict[str, Counter[str]] = {}
        still = Shuffling(separator=separator).still
        for item in self.items:
            tags = [tag for text in item.texts for tag in captions.split(still(text).lower())]
            once = list(dict.fromkeys(tags)) if item.candidates else tags
            counts.setdefault(item.folder, Counter()).update(once)
        return {folder: dict(count) for folder, count in counts.items()}


NOTHING = Folders((), ())
"""No pictures."""


@dataclass(frozen=True)
class View:
    """A picture in one showing."""

    index: int
    """Of the item."""
    left: int
    upper: int
    """Where the bucket is in the resized picture."""
    flipped: bool = False


@dataclass(frozen=True)
class Batch:
    """What one forward pass shows."""

    number: int
    """Counted from 0 since the bake began: its random draws depend on it."""
    views: tuple[View, ...]
    captions: tuple[str, ...]
    is_reg: tuple[bool, ...]


def read_folders(layout: Path, reg: Path | None = None) -> Folders:
    """The repeat folders under `layout`: `5_name` is shown five times, `name` are class tokens.

    A caption is the first line of the `.txt` or `.caption` with the picture's stem, in any case;
    without one, the class tokens are used. Beside a `candidates.csv`, each line is one.
    Regularization pictures are in such folders under `reg`, by default `layout`/reg. Raises
    `BakeryError` if there is nothing to train on, two pictures share a caption, or the gate
    refuses a picture for anything written about it.
    """
    if not layout.is_dir():
        raise BakeryError(f"there is no dataset folder {layout}: run layout first")
    inner = layout / REGULARIZATION
    taken = reg is None and inner.is_dir()
    notes: Counter[str] = Counter()
    several = (layout / CANDIDATES).is_file()
    skip = {layout / HOLDOUT, *([inner] if taken else ())}
    items, ignored = _repeat_folders(layout, notes, is_reg=False, skip=skip, several=several)
    if not items:
        raise BakeryError(
            f"{layout} has no pictures in a folder named <repeats>_<name>, such as "
            "5_mirael: give the folder that contains it"
        )
    reg = inner if taken else reg
    if reg is None:
        found = tuple(items), tuple(ignored)
        return Folders(*found, notes=_sentences(notes), with_candidates=several)
    if not reg.is_dir():
        raise BakeryError(f"train.reg_data_dir: there is no folder {reg}: check the spelling")
    extra, more_ignored = _repeat_folders(reg, notes, is_reg=True, several=several and taken)
    if not extra:
        raise BakeryError(
            f"train.reg_data_dir: {reg} has no pictures in a folder named <repeats>_<class>, such "
            "as 1_girl: give the folder that contains it"
        )
    used = balanced(extra, sum(item.repeats for item in items))
    ignored += [f"{reg.name}/{name}" for name in more_ignored]
    left = len(extra) - len(used)
    return Folders((*items, *used), tuple(ignored), left, _sentences(notes), several)


def read_holdout(layout: Path) -> Folders:
    """The pictures that a layout holds out, as `read_folders` reads those to train on; without any,
    there are no items."""
    folder = layout / HOLDOUT
    if not folder.is_dir():
        return NOTHING
    several = (layout / CANDIDATES).is_file()
    notes: Counter[str] = Counter()
    items, ignored = _repeat_folders(folder, notes, is_reg=False, several=several)
    names = tuple(f"{HOLDOUT}/{name}" for name in ignored)
    return Folders(tuple(items), names, notes=_sentences(notes), with_candidates=several)


def _sentences(notes: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{count} {what}" for what, count in sorted(notes.items()))


def balanced(reg: Sequence[Item], wanted: int) -> list[Item]:
    """`reg` with as many repeats as make `wanted` showings, as kohya's scripts count them.

    Each picture gets its folder's repeats until there are enough; if some are still missing, each
    in turn gets one more repeat. Pictures that are not reached are left out.
    """
    repeats: list[int] = []
    for item in reg:
        if sum(repeats) >= wanted:
            break
        repeats.append(item.repeats)
    rounds, rest = divmod(max(0, wanted - sum(repeats)), len(repeats))
    return [
        replace(item, repeats=count + rounds + (place < rest))
        for place, (item, count) in enumerate(zip(reg, repeats, strict=False))
    ]


@dataclass(frozen=True)
class Dataset:
    """Pictures with their places in buckets, in the order of `items`."""

    items: tuple[Item, ...]
    fits: tuple[Fit, ...]
    sizes: tuple[Size, ...] = ()
    """Of the pictures as they are."""

    def bucket_counts(self) -> dict[Size, int]:
        """Pictures in each bucket, repeats counted, sorted by size."""
        counts: Counter[Size] = Counter()
        for item, place in zip(self.items, self.fits, strict=True):
            counts[place.bucket] += item.repeats
        return dict(sorted(counts.items()))

    def batches_per_epoch(self, batch_size: int) -> int:
        """Batches that `order` gives."""
        return batches_per_epoch(self.bucket_counts().values(), batch_size)

    def order(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """An epoch: indices of items, shuffled inside each bucket, then the batches shuffled."""
        rng = seeds.rng(seed, "order", epoch)
        batches = []
        for bucket in self.bucket_counts():
            shown = [
                index
                for index, (item, place) in enumerate(zip(self.items, self.fits, strict=True))
                if place.bucket == bucket
                for _ in range(item.repeats)
            ]
            rng.shuffle(shown)
            batches += [shown[i : i + batch_size] for i in range(0, len(shown), batch_size)]
        rng.shuffle(batches)
        return batches

    def epoch(self, settings: Train, epoch: int) -> list[Batch]:
        """Everything that `epoch`, counted from 1, shows."""
        order = self.order(settings.train_batch_size, settings.seed, epoch)
        before = (epoch - 1) * len(order)
        return [
            self._batch(settings, epoch, number, indices)
            for number, indices in enumerate(order, start=before)
        ]

    def pixels(self, batch: Batch) -> int:
        """Of all pictures of `batch`, as their buckets have them."""
        return sum(w * h for w, h in (self.fits[view.index].bucket for view in batch.views))

    def views(self, settings: Train) -> list[View] | None:
        """All views that a bake may show; None if each epoch draws its own crops."""
        if settings.random_crop:
            return None
        return [
            View(index, *place.centre, flipped)
            for index, place in enumerate(self.fits)
            for flipped in ((False, True) if settings.flip_aug else (False,))
        ]

    def _batch(self, settings: Train, epoch: int, number: int, indices: list[int]) -> Batch:
        crops = seeds.rng(settings.seed, "view", number)
        words = seeds.rng(settings.seed, "caption", number)
        which = seeds.rng(settings.seed, "candidate", number)
        every = settings.caption_dropout_every_n_epochs
        wordless = every > 0 and epoch % every == 0
        return Batch(
            number=number,
            views=tuple(self._view(settings, index, crops) for index in indices),
            captions=tuple(
                _shown(
                    settings,
                    self.items[index].drawn(which),
                    words,
                    1.0 if wordless else settings.caption_dropout_rate,
                )
                for index in indices
            ),
            is_reg=tuple(self.items[index].is_reg for index in indices),
        )

    def _view(self, settings: Train, index: int, rng: random.Random) -> View:
        place = self.fits[index]
        left, upper = place.centre
        if settings.random_crop:
            left, upper = (rng.randint(0, spare) for spare in place.spare)
        return View(index, left, upper, settings.flip_aug and rng.random() < 0.5)


def _shown(settings: Train, caption: str, words: random.Random, dropout: float) -> str:
    """A caption in one showing; with `text_variants`, one of so many forms that it always has."""
    if settings.text_variants is not None:
        if dropout > 0 and words.random() < dropout:
            return ""
        number = words.randrange(settings.text_variants)
        words, dropout = seeds.rng(settings.seed, "text variant", number, caption), 0.0
    return Shuffling.of(settings).shown(caption, words, dropout)


def arrange(folders: Folders, buckets: Sequence[Size]) -> Dataset:
    """Every picture's place among `buckets`."""
    sizes = tuple(images.size_of(item.image) for item in folders.items)
    return Dataset(folders.items, tuple(fit(size, buckets) for size in sizes), sizes)


def _repeat_folders(
    parent: Path,
    notes: Counter[str],
    *,
    is_reg: bool,
    skip: Collection[Path] = (),
    several: bool = False,
) -> tuple[list[Item], list[str]]:
    """(pictures with their captions, what is ignored); `notes` counts what of captions differs.

    `several`: the lines of a caption file are candidates.
    """
    items: list[Item] = []
    files = CaptionFiles()
    ignored: list[str] = []
    for folder in sorted(path for path in parent.iterdir() if path.is_dir() and path not in skip):
        match = FOLDER.fullmatch(folder.name)
        if match is None or int(match[1]) == 0:
            ignored.append(folder.name)
            continue
        found, strangers = _pictures(folder)
        ignored += [f"{folder.name}/{path.name}" for path in strangers]
        mine = [
            Item(path, folder.name, texts[0], int(match[1]), is_reg, texts if texts[1:] else ())
            for path in found
            for texts in [_captions(path, match[2], files, notes, several=several)]
        ]
        _pass_gate(mine, parent)
        items += mine
    return items, ignored


def _pass_gate(items: Sequence[Item], parent: Path) -> None:
    """Raises `BakeryError` for a picture that must not be trained on, wherever that is written."""
    sidecars = Sidecars(parent)
    for item in items:
        said = sidecars.said_of(item.image)
        if (said.facts | gate.of_texts(item.texts)).refused:
            raise BakeryError(
                f"{item.image} or what is written about it speaks of sexualised minors "
                f"({gate.FORBIDDEN}), which are never trained on: remove the picture"
            )
        if said.trouble:
            raise BakeryError(f"{item.image} cannot be judged: {said.trouble}")


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """(pictures, what is neither picture nor caption), both sorted."""
    found: dict[str, Path] = {}
    strangers = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES and path.is_file():
            if path.stem in found:
                raise BakeryError(
                    f"{found[path.stem]} and {path.name} share one caption file: rename one"
                )
            found[path.stem] = path
        elif path.suffix.lower() not in CAPTIONS:
            strangers.append(path)
    return list(found.values()), strangers


def _captions(
    image: Path, class_tokens: str, files: CaptionFiles, notes: Counter[str], *, several: bool
) -> tuple[str, ...]:
    """The captions as sd-scripts reads them, the first line of the file or with `several` all; at least
    one. `notes` counts what differs."""
    beside = files.beside(image, stem_only=True)
    if not beside:
        return (class_tokens,)
    path = beside[0]
    if len(beside) > 1:
        notes[f"{beside[1].suffix} files are not used beside a {path.suffix}"] += 1
    try:
        read = text_files.read(path)
    except UnreadableText as problem:
        raise BakeryError(f"{path} {problem}") from None
    if read.encoding != UTF8:
        notes[f"captions are read as {read.encoding}, which sd-scripts refuses"] += 1
    if several:
        return candidates.read(read.text) or ("",)
    lines = [text for line in read.text.splitlines() if (text := line.strip(" \t,"))]
    if len(lines) > 1:
        notes["captions have several lines, of which the first counts, as in sd-scripts"] += 1
    return (lines[0] if lines else "",)
