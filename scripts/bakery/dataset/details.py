"""Details: traits that the samples miss, and the folder of pictures that shows them again.

`propose` looks at a finished bake and suggests traits that would benefit from their own folder;
`advice` says so, unless the bake misses most of them.
`choose` finds the pictures of that folder once a person has accepted a trait: crops if a box
around it is known (`boxes.csv` among the dataset's edits, or for faces in the filter's folder), else
whole pictures.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.tags import captions
from bakery.tags.trigger import Trigger

FAR_BELOW = 0.5
"""A trait is missed if every epoch shows it on less than this part of its share in the data."""
MOST = 24
"""Number of pictures in a detail folder: those the tagger is most certain of."""
COLUMNS = ("trait", "in_data", "in_samples", "epoch", "proposal")
BOX_COLUMNS = ("image", "tag", "left", "upper", "right", "lower")
BOXES = "boxes.csv"
FACE = "face"
"""The tag of the boxes that the filter's models find."""

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels of the upright picture."""


@dataclass(frozen=True)
class Detail:
    """A picture of a detail folder."""

    image: str
    box: Box | None
    """Where the trait is; None shows the whole picture."""


def propose(
    shares: Mapping[str, float], rows: Iterable[Mapping[str, Any]], absorbed: Collection[str]
) -> list[dict[str, Any]]:
    """A row for each trait, the most missed first; `proposal` is "" if the samples show it.

    `shares` leads from a trait to its share of the training pictures, `rows` are scored samples
    (epoch, purpose, asked, found). `absorbed` are the tags that the trigger stands for: of others
    nothing is proposed, see `in_captions`. Only samples that ask for the character count, and for each
    trait the epoch that shows it most:

        in_samples = max over epochs > 0 of (samples that show it / samples asked for it)
    """
    mine = set(map(captions.same, absorbed))
    samples = [row for row in rows if row["purpose"] == "identity" and int(row["epoch"]) > 0]
    table = []
    for trait, share in shares.items():
        name = captions.same(trait)
        by_epoch: dict[int, list[bool]] = {}
        for row in samples:
            if name in map(captions.same, row["asked"]):
                seen = name in map(captions.same, row["found"])
                by_epoch.setdefault(int(row["epoch"]), []).append(seen)
        recalls = {epoch: sum(seen) / len(seen) for epoch, seen in sorted(by_epoch.items())}
        best = max(recalls, key=lambda epoch: recalls[epoch], default=None)
        recall = math.nan if best is None else recalls[best]
        table.append(
            {
                "trait": trait,
                "in_data": round(share, 4),
                "in_samples": round(recall, 4),
                "epoch": best,
                "proposal": _proposal(trait, share, recall) if name in mine else "",
            }
        )
    return sorted(table, key=lambda row: (not row["proposal"], row["in_samples"] / row["in_data"]))


def advice(table: Sequence[Mapping[str, Any]], absorbed: Collection[str]) -> list[str]:
    """What to do about the traits that the samples miss, a sentence each; `table` is from `propose`.

    Where they miss most of what the trigger stands for, no folder helps: that is one sentence.
    """
    missed = [row for row in table if row["proposal"]]
    if len(missed) > 1 and len(missed) > len(absorbed) / 2:
        lost = ", ".join(row["trait"] for row in missed)
        return [
            f"the samples miss most of the character ({lost}): this bake is underbaked "
            "or burnt; try another learning rate, or more or fewer epochs"
        ]
    return [*(row["proposal"] for row in missed), *filter(None, [in_captions(table, absorbed)])]


def in_captions(table: Iterable[Mapping[str, Any]], absorbed: Collection[str]) -> str:
    """What to do about traits that the samples miss because the captions name them; "" for none.

    `table` is from `propose`. More pictures do not help there: the trigger does not stand for them.
    """
    mine = set(map(captions.same, absorbed))
    missed = [
        row["trait"]
        for row in table
        if captions.same(row["trait"]) not in mine and _missed(row["in_data"], row["in_samples"])
    ]
    if not missed:
        return ""
    them = "them" if len(missed) > 1 else "it"
    return (
        f"the samples hardly show {', '.join(missed)}: the captions name {them}, so the trigger learns "
        f"little of {them}; prune.always: [{', '.join(missed)}] takes {them} out of the captions"
    )


def _missed(share: float, recall: float) -> bool:
    return not math.isnan(recall) and recall < FAR_BELOW * share


def _proposal(trait: str, share: float, recall: float) -> str:
    if not _missed(share, recall):
        return ""
    shown = (
        f"no epoch shows it on more than {recall:.0%} of the samples" if recall else "on no sample"
    )
    return (
        f"{trait} is on {share:.0%} of the training pictures, but {shown}: layout.details: [{trait}] "
        "shows it again in a folder of its own"
    )


def choose(
    trait: str,
    seen: pd.DataFrame,
    images: Iterable[str],
    boxes: Mapping[tuple[str, str], Box | None],
    found: Mapping[tuple[str, str], Box] = MappingProxyType({}),
) -> list[Detail]:
    """The pictures for the folder of `trait`: those with a box, or else the `MOST` most certain
    ones.

    `seen` are the tagger's rows (image, tag, probability) from its thresholds on. `boxes` are a
    person's: all are used, and None says that the trait is not there. Boxes that the filter `found` fill
    up to `MOST`, the largest first, on pictures that no person decided about. Raises `BakeryError` when
    the trait is seen on none of `images`.
    """
    name, wanted = captions.same(trait), set(images)
    by_hand = {i: box for (i, tag), box in boxes.items() if tag == name and i in wanted}
    boxed = {image: box for image, box in by_hand.items() if box is not None}
    others = {i: b for (i, tag), b in found.items() if tag == name and i in wanted - set(by_hand)}
    largest = sorted(others, key=lambda image: (-_area(others[image]), image))
    boxed |= {image: others[image] for image in largest[: max(0, MOST - len(boxed))]}
    if boxed:
        return [Detail(image, boxed[image]) for image in sorted(boxed)]
    seen = seen[seen["image"].isin(wanted)]
    mine = seen[seen["tag"].map(captions.same) == name]
    mine = mine.sort_values(["probability", "image"], ascending=[False, True])
    surest = mine.drop_duplicates("image")["image"].head(MOST)
    if surest.empty:
        close = difflib.get_close_matches(name, sorted(set(seen["tag"])), n=1)
        hint = f"did you mean {close[0]}?" if close else "prune.csv lists the available tags"
        if name == FACE:
            hint = "a model of the kind face_count in filter.models finds faces"
        raise BakeryError(f"layout.details names {trait}, which no picture shows; {hint}")
    return [Detail(image, None) for image in surest]


def caption(trait: str, written: str, trigger: Trigger, *, cropped: bool) -> str:
    """The caption in a detail folder: trigger and class tokens, the trait, and the picture's tags.

    A crop shows little else, so its caption has no other tags.
    """
    name = captions.same(trait)
    rest = [] if cropped else [t for t in captions.split(written) if captions.same(t) != name]
    return trigger.front(captions.join(dict.fromkeys([trait, *rest])))


def around(box: Box, size: tuple[int, int]) -> Box:
    """A square around `box` with as much room again, inside a picture of `size` (width, height).

    Its side is twice the box's longer one, and at least a third of the picture's shorter side,
    so that a small trait is not all blur once it is enlarged; it ends where the picture ends.
    """
    left, upper, right, lower = box
    side = max(2 * (right - left), 2 * (lower - upper), min(size) // 3)

    def span(start: int, end: int, limit: int) -> tuple[int, int]:
        first = max(0, min((start + end - side) // 2, limit - side))
        return first, min(limit, first + side)

    (x0, x1), (y0, y1) = span(left, right, size[0]), span(upper, lower, size[1])
    return x0, y0, x1, y1


def within(boxes: Iterable[Sequence[float]], size: tuple[int, int]) -> list[Box]:
    """`boxes` (left, upper, right, lower) in whole pixels of a picture of `size`, the largest first.

    What is beyond the picture is cut off; a box of which nothing is left is left out.
    """
    width, height = size
    whole = []
    for left, upper, right, lower in boxes:
        x0, x1 = (min(max(round(x), 0), width) for x in (left, right))
        y0, y1 = (min(max(round(y), 0), height) for y in (upper, lower))
        if x0 < x1 and y0 < y1:
            whole.append((x0, y0, x1, y1))
    return sorted(whole, key=lambda box: (-_area(box), box))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def read_boxes(path: Path | None) -> dict[tuple[str, str], Box | None]:
    """(image, tag) -> where the tag is, from a person's `boxes.csv`; {} for None.

    A line without any edges says that the picture does not show the tag: its box is None. Raises
    `BakeryError` for a line that is not a box.
    """
    if path is None:
        return {}
    boxes: dict[tuple[str, str], Box | None] = {}
    table = tables.read(path, BOX_COLUMNS)
    for number, row in enumerate(table[list(BOX_COLUMNS)].itertuples(index=False), start=2):
        image, tag, *edges = row
        if (image, captions.same(tag)) in boxes:
            raise BakeryError(
                f"{path}, line {number}: {image} has a second box for {tag}: keep one"
            )
        boxes[image, captions.same(tag)] = (
            _box(edges, f"{path}, line {number}") if any(edges) else None
        )
    return boxes


def read_found(folder: Path | None) -> dict[tuple[str, str], Box]:
    """The same from the filter's folder: of several boxes on a picture, the largest.

    {} for None, and if no model looked for faces.
    """
    if folder is None or not (path := folder / BOXES).is_file():
        return {}
    found: dict[tuple[str, str], Box] = {}
    table = tables.read(path, BOX_COLUMNS)
    for number, row in enumerate(table[list(BOX_COLUMNS)].itertuples(index=False), start=2):
        image, tag, *edges = row
        found.setdefault((image, captions.same(tag)), _box(edges, f"{path}, line {number}"))
    return found


def _box(edges: Sequence[str], where: str) -> Box:
    try:
        left, upper, right, lower = (round(float(edge)) for edge in edges)
    except (ValueError, OverflowError):
        raise BakeryError(
            f"{where}: {', '.join(edges)} are not four numbers: give left, upper, right and lower "
            "in pixels"
        ) from None
    if not (0 <= left < right and 0 <= upper < lower):
        raise BakeryError(
            f"{where}: the box {left}, {upper}, {right}, {lower} is empty: left must be smaller "
            "than right, upper than lower, and none below 0"
        )
    return left, upper, right, lower
