"""Near-duplicates among pictures: the same drawing re-encoded, resized, brightened or cropped.

A perceptual hash alone fails both ways: 5% cut from one side moves it by 12 bits, while another
outfit in the same pose may move it by 2. So a pair of pictures goes through three steps:

1. candidates: the hash of the one is near the hash of some crop of the other, by an exact search
   that does not compare all with all (`hashes.near`), and step 2 would not give up at once. Among
   pictures of one character, pairs of near hashes grow with the square of their number, so that is
   found out for all pairs of a picture together (`_Shown`);
2. alignment: from there, the crop of the other that is most similar, at most 12% a side;
3. decision: lined up, the perceptual hashes differ by few bits, and no part differs in colour.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self, overload

import imagehash
import numpy as np
from PIL import Image
from scipy import fft

from bakery.io import images
from bakery.vision import hashes

WORK_SIDE = 128
"""Pictures are compared at this many pixels a side, whatever their shape."""
_BYTES = 3 * WORK_SIDE**2
_FINE = 16  # side of the thumbnails of steps 2 and 3
_MEAN = np.full(_FINE**2, 1 / _FINE**2, np.float32)  # a product with it is exact for whole levels
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
# Thumbnails are rounded to whole levels across and then down: half a level each time for a pixel,
# so as much for a mean of pixels, and again for the mean that is taken off.
_ROUNDED = 2 * (0.5 + 0.5) + 0.05
_AT_ONCE = 1024  # pictures whose candidates are searched at once, so that memory stays bounded
_STEPS, _LARGEST = (0.02, 0.01, 0.005), 0.12

Margins = tuple[float, float, float, float]
"""Shares cut from the left, top, right and bottom."""
_WHOLE: Margins = (0.0, 0.0, 0.0, 0.0)


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
    return _alike(one, other, _WHOLE, distance)


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


def pairs(pictures: Sequence[Image.Image], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs of indices of `pictures` (made by `prepare`) that look the same, at most `distance` bits
    apart: all that it takes to connect every picture with those that it resembles.

    Pictures that are connected already are not compared again.
    """
    looks, group = _candidates(pictures, distance)
    of_hash: dict[int, list[int]] = defaultdict(list)
    for index, mine in enumerate(group):
        of_hash[mine].append(index)
    of = list(range(len(pictures)))

    def first(index: int) -> int:
        while of[index] != index:
            of[index] = index = of[of[index]]
        return index

    for cut, seen in enumerate(looks):
        for whole, crops in ((o, crops) for g, crops in seen.items() for o in of_hash[g]):
            if first(whole) == first(cut):
                continue
            margins = _line_up(pictures[whole], pictures[cut], crops)
            if margins and _alike(pictures[whole], pictures[cut], margins, distance):
                of[first(cut)] = first(whole)
                yield whole, cut


def pairs_of_files(paths: Sequence[Path], distance: int, folder: Path) -> list[tuple[int, int]]:
    """As `pairs`, of pictures in files; small copies of them lie in `folder` meanwhile."""
    with Spool(folder) as small:
        for path in paths:
            small.append(prepare(images.open_rgb(path)))
        return list(pairs(small, distance))


def _candidates(
    pictures: Sequence[Image.Image], distance: int
) -> tuple[list[dict[int, list[int]]], list[int]]:
    """Step 1: for each picture, hash -> the crops of it that look like that; and its own hash.

    Hashes of whole pictures are numbered, so that many equal pictures are one. The hash of no other
    picture is left out.
    """
    if not pictures:
        return [], []
    views = np.stack([_crop_hashes(picture) for picture in pictures])  # (N, crops)
    whole, group, sizes = np.unique(views[:, 0], return_inverse=True, return_counts=True)
    shown = _Shown.of(pictures, group.ravel(), len(whole))
    looks: list[dict[int, list[int]]] = []
    for first in range(0, len(views), _AT_ONCE):
        for found in _near(whole, views[first : first + _AT_ONCE], distance):
            index = len(looks)
            others = (near for near in found if near != group[index] or sizes[near] > 1)
            close = {near: found[near] for near in others}
            looks.append(shown.like(pictures[index], close) if close else {})
    return looks, group.tolist()


def _near(whole: np.ndarray, views: np.ndarray, distance: int) -> list[dict[int, list[int]]]:
    """For each row of `views` (N, crops): number of a hash of `whole` -> the crops near it."""
    distinct, back = np.unique(views, return_inverse=True)
    places = np.argsort(back.ravel(), kind="stable")  # of each distinct hash, in a row
    starts = np.searchsorted(back.ravel()[places], np.arange(len(distinct) + 1))
    found: list[dict[int, list[int]]] = [{} for _ in views]
    reach = min(distance + _SLACK, hashes.BITS)
    for query, near in zip(*hashes.near(whole, distinct, reach), strict=True):
        for place in places[starts[query] : starts[query + 1]].tolist():
            row, crop = divmod(place, views.shape[1])
            found[row].setdefault(int(near), []).append(crop)
    return found


def _begin(crops: Sequence[int]) -> Sequence[int]:
    """Those of the crops of step 1 that step 2 begins with."""
    return crops[:: -(-len(crops) // _TRIED)]


@dataclass(frozen=True)
class _Shown:
    """Level thumbnails of whole pictures by their hash, to see at once where step 2 would give up."""

    least: np.ndarray
    """(hashes, 768): of the pictures with a hash, the least value of each place."""
    most: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[Image.Image], group: np.ndarray, count: int) -> Self:
        """`group` (N,) numbers the hash of each picture, below `count`."""
        least = np.full((count, 3 * _FINE**2), np.inf, np.float32)
        most = -least
        for picture, number in zip(pictures, group, strict=True):
            shown = _Thumbnails(picture)(_WHOLE).T.ravel()
            np.minimum(least[number], shown, out=least[number])
            np.maximum(most[number], shown, out=most[number])
        return cls(least, most)

    def like(self, cut: Image.Image, close: dict[int, list[int]]) -> dict[int, list[int]]:
        """Those of `close`, hash -> crops of `cut`, for which step 2 may go on."""
        begun = [_begin(crops) for crops in close.values()]
        numbers = np.repeat(list(close), [len(crops) for crops in begun])
        shown = _crop_thumbnails(cut, list(itertools.chain(*begun)))  # (starts, 768)
        apart = np.maximum(shown - self.most[numbers], self.least[numbers] - shown)
        fits = np.maximum(apart, 0, out=apart).mean(axis=1) <= _FINE_LIMIT + _ROUNDED
        kept = set(numbers[fits].tolist())
        return {number: crops for number, crops in close.items() if number in kept}


def _crop_thumbnails(picture: Image.Image, crops: Sequence[int]) -> np.ndarray:
    """Level thumbnails (N, 768) of crops of a picture, as numbered by `_crop_hashes`.

    They are those of `_Thumbnails` up to rounding (`_ROUNDED`), all at once.
    """
    channels = np.asarray(picture, np.float32).transpose(2, 0, 1)
    count = len(_CUTS)
    every = _averaging() @ channels @ _averaging().T  # (3, cuts * 16, cuts * 16)
    down, across = np.divmod(crops, count)
    small = every.reshape(3, count, _FINE, count, _FINE)[:, down, :, across]  # (N, 3, 16, 16)
    small -= small.mean(axis=(2, 3), keepdims=True)
    return small.reshape(len(small), -1)


class _Thumbnails:
    """Level thumbnails of a picture's crops, float32 (256, 3), with the mean of each colour at 0.

    `resize` works across and then down: crops between the same left and right share the first half.
    """

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture
        self._across: dict[tuple[float, float], Image.Image] = {}

    def __call__(self, margins: Margins) -> np.ndarray:
        left, upper, right, lower = _box(margins)
        across = self._across.get((left, right))
        if across is None:
            across = self._across[left, right] = self._picture.resize(
                (_FINE, WORK_SIDE), Image.Resampling.BOX, box=(left, 0, right, WORK_SIDE)
            )
        small = across.resize((_FINE, _FINE), Image.Resampling.BOX, box=(0, upper, _FINE, lower))
        pixels = np.frombuffer(small.tobytes(), np.uint8).reshape(-1, 3).astype(np.float32)
        return pixels - _MEAN @ pixels


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
    transform = fft.dct(np.eye(hashes.SIDE), axis=0)[:8]
    cuts = _resizing(hashes.SIDE, Image.Resampling.LANCZOS)
    return np.concatenate([transform @ cut for cut in cuts]).astype(np.float32)


@cache
def _averaging() -> np.ndarray:
    """What takes a column of pixels to the thumbnails of its cuts: (cuts * 16, WORK_SIDE)."""
    return np.concatenate(_resizing(_FINE, Image.Resampling.BOX))


def _resizing(size: int, method: Image.Resampling) -> list[np.ndarray]:
    """For each of the cuts, what takes a column of pixels to `size`: matrices (size, WORK_SIDE)."""
    identity = Image.fromarray(np.eye(WORK_SIDE, dtype=np.float32))
    boxes = [(0, WORK_SIDE * before, WORK_SIDE, WORK_SIDE * (1 - after)) for before, after in _CUTS]
    return [np.asarray(identity.resize((WORK_SIDE, size), method, box=box)) for box in boxes]


def _margins(crop: int) -> Margins:
    (top, bottom), (left, right) = (_CUTS[place] for place in divmod(crop, len(_CUTS)))
    return left, top, right, bottom


def _line_up(whole: Image.Image, cut: Image.Image, crops: Sequence[int]) -> Margins | None:
    """Step 2: the crop of `cut` most like `whole`, downhill from the best of `crops`."""
    target, thumbnails = _Thumbnails(whole)(_WHOLE), _Thumbnails(cut)

    @cache
    def loss(margins: Margins) -> float:
        return float(np.abs(thumbnails(margins) - target).sum()) / target.size

    best, margins = min((loss(start), start) for start in map(_margins, _begin(crops)))
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
    """Step 3: even the least similar parts alike in colour, and few bits between the hashes."""
    lined_up = cut.resize(whole.size, Image.Resampling.LANCZOS, box=_box(margins))
    # colours first: of pictures that are not copies they tell more, and cost less
    if not _same_colors(_pixels(whole), _pixels(lined_up)):
        return False
    return bool(imagehash.phash(whole) - imagehash.phash(lined_up) <= distance)


def _same_colors(one: np.ndarray, other: np.ndarray) -> bool:
    apart = one - other
    shift = np.median(apart, axis=(0, 1))
    if np.abs(shift).max() > _COLOR_LIMIT:  # brightened is the same, recoloured is not
        return False
    apart = np.abs(apart - shift).max(axis=2).ravel()
    worst = np.sort(apart)[-max(1, round(_COLOR_SHARE * apart.size)) :]
    return float(worst.mean()) <= _COLOR_LIMIT


def _pixels(picture: Image.Image) -> np.ndarray:
    """A picture averaged down to (16, 16, 3), float32 0..255."""
    return np.asarray(picture.resize((_FINE, _FINE), Image.Resampling.BOX), np.float32)


def _box(margins: Margins) -> tuple[float, float, float, float]:
    left, top, right, bottom = margins
    return (
        WORK_SIDE * left,
        WORK_SIDE * top,
        WORK_SIDE * (1 - right),
        WORK_SIDE * (1 - bottom),
    )
