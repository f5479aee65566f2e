"""Aspect-ratio buckets: the picture sizes that a bake trains in, and its number of steps.

The rules are those of kohya's scripts: a bucket's area is at most that of the resolution's square,
its sides are multiples of a step within limits, and a picture goes to the bucket of the nearest
aspect ratio (width / height), is scaled until it covers it, and is cropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.settings.train import Train


@dataclass(frozen=True)
class Fit:
    """How a picture is fitted into its bucket."""

    bucket: Size
    resized: Size
    """Covers the bucket, and one side equals the bucket's."""
    aspect_error: float
    """|aspect ratio of the bucket - aspect ratio of the picture|."""

    @property
    def spare(self) -> tuple[int, int]:
        """How far the resized picture extends beyond the bucket: (width, height); one of them is
        0."""
        return self.resized[0] - self.bucket[0], self.resized[1] - self.bucket[1]

    @property
    def centre(self) -> tuple[int, int]:
        """(left, upper) of the bucket in the middle of the resized picture."""
        return self.spare[0] // 2, self.spare[1] // 2

    @property
    def lost(self) -> float:
        """Share of the picture that is outside the bucket."""
        whole = self.resized[0] * self.resized[1]
        return 1 - self.bucket[0] * self.bucket[1] / whole


def resolutions(resolution: int, min_side: int, max_side: int, step: int) -> tuple[Size, ...]:
    """All buckets, sorted, for an area of `resolution` squared pixels.

    Sides are multiples of `step` from `min_side` to `max_side`. Raises `BakeryError` if no
    bucket can be made or the resolution is outside the limits.
    """
    if not min_side <= resolution <= max_side:
        raise BakeryError(
            f"train.resolution is {resolution}, outside min_bucket_reso {min_side} to "
            f"max_bucket_reso {max_side}: widen these limits or change the resolution"
        )

    def down(side: int) -> int:
        return side // step * step

    area = resolution * resolution
    widest = down(max_side)
    square = down(resolution)
    found = {(square, square)} if square else set()
    for side in range(-(-min_side // step) * step, widest + 1, step):
        other = min(widest, down(area // side))
        if other >= min_side:
            found |= {(side, other), (other, side)}
    if not found:
        raise BakeryError(
            f"train.bucket_reso_steps {step} allows no picture size for resolution {resolution}: "
            "use smaller steps"
        )
    return tuple(sorted(found))


def of(settings: Train) -> tuple[Size, ...]:
    """The buckets of a bake, sorted; without enable_bucket one square."""
    if not settings.enable_bucket:
        return ((settings.resolution, settings.resolution),)
    return resolutions(
        settings.resolution,
        settings.min_bucket_reso,
        settings.max_bucket_reso,
        settings.bucket_reso_steps,
    )


def fit(size: Size, buckets: Sequence[Size]) -> Fit:
    """The place of a picture of `size` among `buckets`; the first of two equally near ones."""
    width, height = size
    if size in buckets:
        return Fit(size, size, 0.0)
    aspect = width / height
    bucket = min(buckets, key=lambda b: abs(b[0] / b[1] - aspect))
    # scale the side that would fall short, so that the other one has something to crop
    wider = aspect > bucket[0] / bucket[1]
    scale = bucket[1] / height if wider else bucket[0] / width
    resized = (int(width * scale + 0.5), int(height * scale + 0.5))
    return Fit(bucket, resized, abs(bucket[0] / bucket[1] - aspect))


def batches_per_epoch(counts: Iterable[int], batch_size: int) -> int:
    """Batches of an epoch; `counts` are pictures in each bucket, repeats counted.

    A batch never mixes buckets, so each bucket's last batch may be short and counts all the same.
    """
    return sum(math.ceil(count / batch_size) for count in counts)
