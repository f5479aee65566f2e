"""The quality of a picture's pixels, whatever they show: blur, traces of JPEG, colour.

`blur` is the metric of Crete, Dolmiere, Ladret and Nicolas, "The blur effect: perception and
estimation with a new no-reference perceptual blur metric" (SPIE 6492, 2007): blur the picture once
more and see how much of its variation is lost. A sharp picture loses nearly all, a blurred one
loses little.

`jpeg_quality` is the quality (1..100 on libjpeg's scale) of the coarsest compression that the
pixels went through. It survives a change of format and later, finer compression: values that were
rounded to multiples of a step are still near those multiples. See Fan and de Queiroz,
"Identification of bitmap compression history" (IEEE Trans. Image Processing 12, 2003). Resizing
erases the trace; the remaining damage is blur.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import fft, ndimage

BLUR_SIDE = 512
"""Blur is measured at this longer side at most, as a bake of that size would see the picture."""
_BLUR_WIDTH = 11  # of the box filter, in pixels: the paper's
_SMALLEST = 64  # pixels a side below which there are too few blocks to tell
_CROP = 512  # pixels a side of the middle that is searched for traces of JPEG
# Luminance steps at quality 50: ITU-T T.81, annex K, table K.1.
_STEPS = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
     14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104,
     113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99],
    np.float64,
).reshape(8, 8)  # fmt: skip
_LOW = tuple((y, x) for y in range(4) for x in range(4) if 0 < y + x < 4)
_SOUGHT = range(1, 61)  # qualities; finer steps drown in the rounding to pixels
_NOISE = 4.0  # coefficients up to this size come of that rounding, in levels
# So many coefficients of more than half a step have to speak. Their mean distance to its multiples,
# as a share of it, is 0.25 where nothing was rounded to it, and up to this where it was.
_FEWEST, _NEAR = 40, 0.12
_MOST = 6000  # coefficients that are asked
_EDGE = 24.0  # larger steps between neighbours are lines of the drawing, not borders of blocks
# Difference of the channels below which a pixel is grey, and the share of such pixels in a grey picture.
_GREY_LEVELS, _GREY_SHARE = 16, 0.99


def blur(image: Image.Image) -> float:
    """0 (sharp) .. 1 (blurred away) of an RGB picture; 0 for one without any variation."""
    grey = image.convert("L")
    grey.thumbnail((BLUR_SIDE, BLUR_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = np.asarray(grey, np.float32)
    shares = []
    for axis in (0, 1):
        again = ndimage.uniform_filter1d(pixels, _BLUR_WIDTH, axis=axis)
        before, after = (np.abs(ndimage.sobel(p, axis=axis))[2:-2, 2:-2] for p in (pixels, again))
        varies = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        shares.append((varies - lost) / varies if varies else 0.0)
    return max(shares)


def jpeg_quality(image: Image.Image, table: Sequence[int] | None = None) -> int:
    """1..100 of the coarsest JPEG compression visible in an RGB picture; 100 if none is visible.

    `table` are the file's own 64 luminance steps, if it is a JPEG. Traces finer than quality 60
    cannot be distinguished from none, and pictures without any grain have no trace.
    """
    own = _own_quality(table) if table else 100
    left, top = (max(0, (side - _CROP) // 2) for side in image.size)
    middle = image.crop((left, top, left + min(_CROP, image.width), top + min(_CROP, image.height)))
    grey = np.asarray(middle.convert("L"), np.float32)
    if min(grey.shape) < _SMALLEST:
        return own
    colors = np.asarray(middle)
    clipped = np.any((colors < 2) | (colors > 253), axis=2)
    found = [own]
    for y, x in {(0, 0), (_phase(grey, 0), _phase(grey, 1))}:
        sizes = np.abs(fft.dctn(_blocks(grey[y:, x:]), axes=(1, 2), norm="ortho"))
        sizes = np.stack([sizes[:, *place] for place in _LOW], axis=1)  # (blocks, low)
        # Where a channel was clipped, its coefficients moved off their multiples.
        whole = ~_blocks(clipped[y:, x:]).any(axis=(1, 2))
        found += [_traced_quality(sizes), _traced_quality(sizes[whole])]
    return min(found)


def is_grey(image: Image.Image) -> bool:
    """Whether nearly all pixels of an RGB picture are without colour."""
    pixels = np.asarray(image, np.int16)  # (H, W, 3)
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    return float((chroma < _GREY_LEVELS).mean()) >= _GREY_SHARE


def _own_quality(table: Sequence[int]) -> int:
    """libjpeg's quality of a table; the median over frequencies for one that is not libjpeg's."""
    steps = np.reshape(table, (8, 8))
    scale = float(np.median([steps[place] / _STEPS[place] for place in _LOW]))
    number = 50 / scale if scale > 1 else 100 - 50 * scale
    return int(np.clip(round(number), 1, 100))


def _traced_quality(sizes: np.ndarray) -> int:
    """The quality whose steps' multiples are near the coefficients (N, low), else 100."""
    large = np.argwhere(sizes > _NOISE)
    large = large[:: -(-len(large) // _MOST) or 1]
    sizes = sizes[large[:, 0], large[:, 1]]  # (n,)
    steps = np.array([_STEPS[place] for place in _LOW])[large[:, 1]]
    apart = np.ones(len(_SOUGHT))
    for number, level in enumerate(_SOUGHT):
        scale = 5000 / level if level < 50 else 200 - 2 * level  # libjpeg's jpeg_quality_scaling
        ratios = sizes / np.clip((steps * scale + 50) // 100, 1, 255)
        if (ratios > 0.5).sum() >= _FEWEST:
            counted = ratios[ratios > 0.15]  # smaller ones are noise beside a coarse step
            apart[number] = np.abs(counted - np.rint(counted)).mean()
    fits = np.flatnonzero(apart < _NEAR)
    if not len(fits):
        return 100
    coarsest = fits[0]  # finer steps divide it; those next to it only come near
    return _SOUGHT[coarsest + int(np.argmin(apart[coarsest : coarsest + coarsest // 5 + 2]))]


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """(H, W) as its whole blocks (N, 8, 8)."""
    high, wide = (side // 8 for side in pixels.shape)
    cut = pixels[: 8 * high, : 8 * wide].reshape(high, 8, wide, 8)
    return cut.swapaxes(1, 2).reshape(-1, 8, 8)


def _phase(pixels: np.ndarray, axis: int) -> int:
    """Where along `axis` the grid of 8 x 8 blocks starts: small steps are most frequent there."""
    steps = np.abs(np.diff(pixels, axis=axis))
    steps = np.where(steps <= _EDGE, steps, 0).mean(axis=1 - axis)
    return (int(np.argmax([steps[start::8].mean() for start in range(8)])) + 1) % 8
