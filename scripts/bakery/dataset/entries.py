"""What a layout's folders show: each picture with its caption, in a repeat folder.

Steps of `lay_out`: give each picture a stem that sd-scripts reads as a plain name; link the picture if
sd-scripts loads it as `images.open_rgb` does, else write it as a PNG; write the caption. A folder is
built under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.dataset import concepts, details, trainer_formats
from bakery.dataset.details import Box
from bakery.io import images
from bakery.io.errors import BakeryError
from bakery.settings.layout import Layout
from bakery.sources import candidates

REG = "reg"
UNFINISHED = "unfinished_"  # no number in front, so that trainers ignore it


@dataclass(frozen=True)
class Entry:
    """A picture as one folder shows it."""

    image: str
    source: Path
    concept: str
    caption: str
    kind: str = "picture"
    """As in layout.csv: picture, detail, reg or holdout."""
    by_hand: bool = False
    box: Box | None = None
    automatic: str = ""
    """The caption without hand edits."""
    in_file: bool = False
    """Whether a hand edit is a file of its own."""
    lines: tuple[str, ...] | None = None
    """Of a caption by hand, each of its lines."""
    candidates: tuple[str, ...] = ()
    """The captions of which one is drawn, if the config asks for several."""


@dataclass
class Tally:
    """What became of the pictures."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    reencoded: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    renamed: int = 0


def lay_out(
    settings: Layout, entries: Sequence[Entry], target: Path, repeats: int, out: Path, tally: Tally
) -> None:
    """Builds the folder `target` below `out`."""
    building = target.with_name(f"{UNFINISHED}{target.name}")
    building.mkdir(parents=True)
    stems = file_stems([entry.image for entry in entries])
    for entry in entries:
        file, why = _place(entry, building / stems[entry.image], tally)
        several = entry.candidates or (entry.caption,)
        text = candidates.written(several) if settings.candidates else f"{entry.caption}\n"
        file.with_suffix(settings.caption_extension).write_text(text, encoding="utf-8")
        place = (target / file.name).relative_to(out).as_posix()
        tally.candidates += [{"image": entry.image, "file": place, "caption": c} for c in several]
        tally.reencoded.update([why] if why else [])
        tally.renamed += stems[entry.image] != Path(entry.image).stem
        tally.rows.append(
            {
                "image": entry.image,
                "file": place,
                "caption": entry.caption,
                "repeats": repeats,
                "concept": entry.concept,
                "kind": entry.kind,
                "by_hand": "true" if entry.by_hand else "false",
            }
        )
    building.rename(target)


def file_stems(names: Sequence[str]) -> dict[str, str]:
    """File name -> the stem under which it is laid out: safe, and different for each.

    Stems must differ even where extensions do, since a caption is found by its stem.
    """
    return concepts.unique({name: Path(name).stem for name in names})


def _place(entry: Entry, target: Path, tally: Tally) -> tuple[Path, str | None]:
    """Puts the picture at `target` (a path without extension).

    Returns the path with it, and why the picture was converted, if it was.
    """
    source = entry.source
    why = "a crop" if entry.box else trainer_formats.why_reencode(source)
    if why:
        file = target.with_name(f"{target.name}.png")
        picture = images.open_rgb(source)
        (_crop(picture, entry) if entry.box else picture).save(file, format="PNG")
        return file, why
    allowed = trainer_formats.EXTENSIONS[images.real_format(source)]
    suffix = source.suffix.lower()
    file = target.with_name(target.name + (suffix if suffix in allowed else allowed[0]))
    tally.placed[_link(source, file, copy=entry.kind == REG)] += 1
    return file, None


def _link(source: Path, file: Path, *, copy: bool) -> str:
    """A hard link, or a copy if links are impossible; returns which.

    A regularization picture is always copied: it is the user's own file, which may still change.
    """
    if not copy:
        try:
            os.link(source.resolve(), file)
            return "link"
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, file)
    return "copy"


def _crop(picture: Image.Image, entry: Entry) -> Image.Image:
    assert entry.box is not None
    if entry.box[2] > picture.width or entry.box[3] > picture.height:
        raise BakeryError(
            f"{details.BOXES}: the box of {entry.image} ends at {entry.box[2]}, {entry.box[3]}, but the "
            f"picture at {picture.width}, {picture.height}: give pixels of the upright picture"
        )
    return picture.crop(details.around(entry.box, picture.size))
