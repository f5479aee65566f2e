"""Near-duplicates among pictures: the same drawing re-encoded, resized, brightened or cropped.

A perceptual hash alone fails both ways: 5% cut from one side moves it by 12 bits, while another
outfit in the same pose may move it by 2. So a pair of pictures goes through three steps:

1. candidates: their 6 x 6 colour thumbnails are near each other (a k-d tree finds those);
2. line-up: the crop of one of them that looks most like the other, at most 12% a side;
3. verdict: lined up, the perceptual hashes differ by few bits, and no part differs in colour.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache

import imagehash
import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

WORK_SIDE = 128
"""Pictures are compared at this many pixels a side, whatever their shape."""
_COARSE, _FINE = 6, 16  # sides of the thumbnails of step 1 and of steps 2 and 3
# Mean levels 0..255, measured on drawings: copies cropped by up to 8% a side stay below 21 in step
# 1 and below 15 on the grid of step 2; in step 3 their least similar parts stay below 25, where
# another colour of the outfit starts at 64.
_COARSE_LIMIT, _FINE_LIMIT, _COLOR_LIMIT = 24.0, 18.0, 40.0
_COLOR_SHARE = 0.05
_GRID = tuple(itertools.product((0.0, 0.04, 0.08), repeat=4))
_STEPS, _LARGEST = (0.02, 0.01, 0.005), 0.12

Margins = tuple[float, float, float, float]
"""Shares cut from the left, top, right and bottom."""


def prepare(image: Image.Image) -> Image.Image:
    """The small RGB copy of a picture that the functions below compare."""
    return image.resize((WORK_SIDE, WORK_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)


def representatives(
    pictures: Sequence[Image.Image], order: Iterable[int], distance: int
) -> dict[int, int]:
    """Duplicate -> the picture it repeats, as indices into `pictures` (made by `prepare`).

    `order` lists the indices best first: a picture is a duplicate when one of the better pictures
    that stay looks the same with at most `distance` bits between the 64-bit perceptual hashes.
    """
    neighbours = _candidates(pictures)
    views = lru_cache(maxsize=1024)(lambda index: _views(pictures[index]))
    staying: set[int] = set()
    repeats: dict[int, int] = {}
    for index in order:
        for other in sorted(neighbours.get(index, set()) & staying):
            if _same(pictures, views, index, other, distance):
                repeats[index] = other
                break
        else:
            staying.add(index)
    return repeats


def _candidates(pictures: Sequence[Image.Image]) -> dict[int, set[int]]:
    """Step 1: index -> indices of the pictures that are alike in the large."""
    if not pictures:
        return {}
    points = np.stack([_pixels(picture, _COARSE) for picture in pictures])
    points -= points.mean(axis=(1, 2), keepdims=True)  # a copy may be brighter
    flat = points.reshape(len(points), -1)  # (N, 6 * 6 * 3)
    found: dict[int, set[int]] = {}
    for a, b in cKDTree(flat).query_pairs(_COARSE_LIMIT * flat.shape[1], p=1):
        found.setdefault(a, set()).add(b)
        found.setdefault(b, set()).add(a)
    return found


def _same(pictures, views, first: int, second: int, distance: int) -> bool:
    """Steps 2 and 3, with either picture as the one that was cropped."""
    for whole, cut in ((first, second), (second, first)):
        margins = _line_up(pictures[whole], pictures[cut], views(cut))
        if margins is not None and _alike(pictures[whole], pictures[cut], margins, distance):
            return True
    return False


def _views(picture: Image.Image) -> np.ndarray:
    """Thumbnails (81, 16, 16, 3) of a picture cropped by each of `_GRID`, mean colour removed."""
    return np.stack([_level(_pixels(picture, _FINE, margins)) for margins in _GRID])


def _line_up(whole: Image.Image, cut: Image.Image, views: np.ndarray) -> Margins | None:
    """The crop of `cut` most like `whole`: the best of a grid, then downhill; None if unlike."""
    target = _level(_pixels(whole, _FINE))
    losses = np.abs(views - target).mean(axis=(1, 2, 3))
    best, margins = float(losses.min()), _GRID[int(losses.argmin())]
    if best > _FINE_LIMIT:
        return None
    for step in _STEPS:
        better = True
        while better:
            better = False
            for side, change in itertools.product(range(4), (-step, step)):
                moved = list(margins)
                moved[side] = min(max(moved[side] + change, 0.0), _LARGEST)
                loss = float(np.abs(_level(_pixels(cut, _FINE, tuple(moved))) - target).mean())
                if loss < best:
                    best, margins, better = loss, tuple(moved), True
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
