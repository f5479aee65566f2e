"""Near-duplicates among pictures: the same drawing re-encoded, resized, brightened or cropped.

A perceptual hash alone fails both ways: 5% cut from one side moves it by 12 bits, while another
outfit in the same pose may move it by 2. So a pair of pictures goes through three steps:

1. candidates: the hash of the one is near the hash of some crop of the other, by an exact search
   that does not compare all with all (`hashes.near`);
2. alignment: from there, the crop of the other that is most similar, at most 12% a side;
3. decision: lined up, the perceptual hashes differ by few bits, and no part differs in colour.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Self, overload

import imagehash
import numpy as np
from PIL import Image
from scipy import fft

from bakery.vision import hashes

WORK_SIDE = 128
"""Pictures are compared at this many pixels a side, whatever their shape."""
_BYTES = 3 * WORK_SIDE**2
_FINE = 16  # side of the thumbnails of steps 2 and 3
# Mean levels 0..255, measured on drawings: copies cropped by up to 8% a side stay below 15 at the
# best crop of step 1; in step 3 their least similar parts stay below 25, where another colour of
# the outfit starts at 64.
_FINE_LIMIT, _COLOR_LIMIT = 18.0, 40.0
_COLOR_SHARE = 0.05
# The crops of step 1. They are 1.3% a side apart, which changes a hash by 6 bits at most, and the
# limit of step 3 is 6 by default.
_CUTS = tuple(itertools.product((0.0, 0.08 / 3, 0.16 / 3, 0.08), repeat=2))  # (before, after)
_SLACK = 2
_TRIED = 16  # crops of step 1 that are looked at closely in step 2
_STEPS, _LARGEST = (0.02, 0.01, 0.005), 0.12

Margins = tuple[float, float, float, float]
"""Shares cut from the left, top, right and bottom."""


def prepare(image: Image.Image) -> Image.Image:
    """The small RGB copy of a picture that the functions below compare."""
    return image.resize((WORK_SIDE, WORK_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)


class Spool(Sequence[Image.Image]):
    """Pictures made by `prepare`, on disk: 10,000 of them would need 500 MB of memory.

    The file is in `folder` without a name, and is deleted when it is closed or its process ends.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._count = 0

    def append(self, picture: Image.Image) -> None:
        self._file.seek(self._count * _BYTES)
        self._file.write(picture.tobytes())
        self._count += 1

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...

    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        self._file.seek(index * _BYTES)
        return Image.frombytes("RGB", (WORK_SIDE, WORK_SIDE), self._file.read(_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def perceptual(pictures: Sequence[Image.Image]) -> np.ndarray:
    """uint64 perceptual hashes (N,) of pictures made by `prepare`, uncropped."""
    bits = [imagehash.phash(picture).hash.ravel() for picture in pictures]
    packed = np.packbits(np.array(bits, bool).reshape(-1, hashes.BITS), axis=-1)
    return packed.view(">u8")[:, 0].astype(np.uint64)


def copies(one: Image.Image, other: Image.Image, distance: int) -> bool:
    """Whether two pictures made by `prepare` are alike without alignment."""
    return _alike(one, other, (0.0,) * 4, distance)


def representatives(
    pictures: Sequence[Image.Image], order: Iterable[int], distance: int
) -> dict[int, int]:
    """Duplicate -> the picture it repeats, as indices into `pictures` (made by `prepare`).

    `order` lists the indices best first: a picture is a duplicate if one of the better pictures
    that stay looks the same with at most `distance` bits between the 64-bit perceptual hashes.
    """
    looks, group = _candidates(pictures, distance)
    staying: dict[int, list[int]] = defaultdict(list)  # by hash
    lookers: dict[int, list[int]] = defaultdict(list)  # those that stay, by the hashes of crops
    repeats: dict[int, int] = {}
    for index in order:
        mine = group[index]
        pairs = itertools.chain(
            ((o, o, index, crops) for g, crops in looks[index].items() for o in staying[g]),
            ((o, index, o, looks[o][mine]) for o in lookers[mine]),
        )
        for other, whole, cut, crops in pairs:
            margins = _line_up(pictures[whole], pictures[cut], crops)
            if margins and _alike(pictures[whole], pictures[cut], margins, distance):
                repeats[index] = other
                break
        else:
            staying[mine].append(index)
            for seen in looks[index]:
                lookers[seen].append(index)
    return repeats


def _candidates(
    pictures: Sequence[Image.Image], distance: int
) -> tuple[list[dict[int, list[int]]], list[int]]:
    """Step 1: for each picture, hash -> the crops of it that look like that; and its own hash.

    Hashes of whole pictures are numbered, so that many equal pictures are one.
    """
    if not pictures:
        return [], []
    views = np.stack([_crop_hashes(picture) for picture in pictures])  # (N, crops)
    whole, group = np.unique(views[:, 0], return_inverse=True)
    distinct, back = np.unique(views, return_inverse=True)
    places = np.argsort(back.ravel(), kind="stable")  # of each distinct hash, in a row
    starts = np.searchsorted(back.ravel()[places], np.arange(len(distinct) + 1))
    looks: list[dict[int, list[int]]] = [{} for _ in group]
    reach = min(distance + _SLACK, hashes.BITS)
    for query, near in zip(*hashes.near(whole, distinct, reach), strict=True):
        for place in places[starts[query] : starts[query + 1]].tolist():
            picture, crop = divmod(place, views.shape[1])
            looks[picture].setdefault(int(near), []).append(crop)
    return looks, group.tolist()


def _crop_hashes(picture: Image.Image) -> np.ndarray:
    """Hashes (256,) of a picture and its crops: place 16 y + x is cut by `_CUTS[y]`, `_CUTS[x]`."""
    grey = np.asarray(picture.convert("L"), np.float32)
    count = len(_CUTS)
    low = _reading() @ grey @ _reading().T  # (cuts * 8, cuts * 8)
    low = low.reshape(count, 8, count, 8).transpose(0, 2, 1, 3)
    return hashes.of_frequencies(low).ravel()


@cache
def _reading() -> np.ndarray:
    """What takes a column of `WORK_SIDE` pixels to the 8 lowest frequencies of each of its cuts.

    Cutting, resizing and the cosine transform are linear: one matrix (cuts * 8, WORK_SIDE).
    """
    identity = Image.fromarray(np.eye(WORK_SIDE, dtype=np.float32))
    transform = fft.dct(np.eye(hashes.SIDE), axis=0)[:8]
    rows = []
    for before, after in _CUTS:
        box = (0, WORK_SIDE * before, WORK_SIDE, WORK_SIDE * (1 - after))
        size = (WORK_SIDE, hashes.SIDE)
        cut = identity.resize(size, Image.Resampling.LANCZOS, box=box)
        rows.append(transform @ np.asarray(cut))
    return np.concatenate(rows).astype(np.float32)


def _margins(crop: int) -> Margins:
    (top, bottom), (left, right) = (_CUTS[place] for place in divmod(crop, len(_CUTS)))
    return left, top, right, bottom


def _line_up(whole: Image.Image, cut: Image.Image, crops: Sequence[int]) -> Margins | None:
    """Step 2: the crop of `cut` most like `whole`, downhill from the best of `crops`."""
    target = _level(_pixels(whole, _FINE))

    def loss(margins: Margins) -> float:
        return float(np.abs(_level(_pixels(cut, _FINE, margins)) - target).mean())

    starts = map(_margins, crops[:: -(-len(crops) // _TRIED)])
    best, margins = min((loss(start), start) for start in starts)
    if best > _FINE_LIMIT:
        return None
    for step in _STEPS:
        better = True
        while better:
            better = False
            for side, change in itertools.product(range(4), (-step, step)):
                sides = list(margins)
                sides[side] = min(max(sides[side] + change, 0.0), _LARGEST)
                moved = (sides[0], sides[1], sides[2], sides[3])
                if (now := loss(moved)) < best:
                    best, margins, better = now, moved, True
    return margins


def _alike(whole: Image.Image, cut: Image.Image, margins: Margins, distance: int) -> bool:
    """Step 3: few bits between the hashes, and even the least similar parts alike in colour."""
    lined_up = cut.resize(whole.size, Image.Resampling.LANCZOS, box=_box(margins))
    if imagehash.phash(whole) - imagehash.phash(lined_up) > distance:
        return False
    apart = _pixels(whole, _FINE) - _pixels(lined_up, _FINE)
    shift = np.median(apart, axis=(0, 1))
    if np.abs(shift).max() > _COLOR_LIMIT:  # brightened is the same, recoloured is not
        return False
    apart = np.abs(apart - shift).max(axis=2).ravel()
    worst = np.sort(apart)[-max(1, round(_COLOR_SHARE * apart.size)) :]
    return float(worst.mean()) <= _COLOR_LIMIT


def _pixels(picture: Image.Image, side: int, margins: Margins = (0.0,) * 4) -> np.ndarray:
    """A cropped picture averaged down to (side, side, 3), float32 0..255."""
    small = picture.resize((side, side), Image.Resampling.BOX, box=_box(margins))
    return np.asarray(small, np.float32)


def _level(pixels: np.ndarray) -> np.ndarray:
    return pixels - pixels.mean(axis=(0, 1), keepdims=True)


def _box(margins: Margins) -> tuple[float, float, float, float]:
    left, top, right, bottom = margins
    return (
        WORK_SIDE * left,
        WORK_SIDE * top,
        WORK_SIDE * (1 - right),
        WORK_SIDE * (1 - bottom),
    )
