"""What a picture's pixels show without the tagger: whether it has content, and what it repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from bakery.vision import duplicates

FLAT = 2.0
"""A channel is blank if the standard deviation of its levels (0..255) is below this."""


def is_blank(picture: Image.Image) -> bool:
    """Whether an RGB picture is blank: no channel varies, as after an overflow."""
    return bool(np.asarray(picture, float).std(axis=(0, 1)).max() < FLAT)


def bits_apart(pictures: Sequence[Image.Image], others: Sequence[Image.Image]) -> list[int]:
    """For each picture the bits between its perceptual hash and that of the most similar of `others`."""
    theirs = duplicates.perceptual(others)
    return [int(np.bitwise_count(theirs ^ own).min()) for own in duplicates.perceptual(pictures)]


def nearest(
    pictures: Sequence[Image.Image], training: Sequence[Image.Image], distance: int
) -> list[tuple[int, int, bool]]:
    """For each picture the most similar training picture, the differing bits, and whether it is a
    copy.

    Both made by `duplicates.prepare`. Most similar is the perceptual hash with the fewest differing
    bits. A copy has at most `distance` differing bits, and no part in another colour: the filter's
    test for near-duplicates, which no two training pictures pass.
    """
    if not len(training):
        return [(-1, -1, False)] * len(pictures)
    theirs = duplicates.perceptual(training)  # (M,)
    result = []
    for picture, own in zip(pictures, duplicates.perceptual(pictures), strict=True):
        bits = np.bitwise_count(theirs ^ own)
        close = np.flatnonzero(bits <= distance).tolist()
        copy = next((i for i in close if duplicates.copies(training[i], picture, distance)), None)
        best = int(np.argmin(bits)) if copy is None else copy
        result.append((best, int(bits[best]), copy is not None))
    return result
