"""Which pictures are drawn together.

The pictures of one LoRA get their own batches: then its layers are as fast as the base's, and other
pictures do not affect them. Only a LoRA with too few pictures to fill half a batch shares batches
with others.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence


def arrange(keys: Sequence[tuple[Hashable, int]], size: int) -> list[list[int]]:
    """Places in `keys`, each once, in batches of at most `size`.

    A look is a picture's LoRA and the length of its text; a batch has one length. The
    pictures of a LoRA and length that fill half a batch or more are split into as few and as equal
    batches as possible. The others follow in full batches, whose last may be smaller.
    """
    alike: dict[tuple[Hashable, int], list[int]] = {}
    for place, key in enumerate(keys):
        alike.setdefault(key, []).append(place)
    own: list[list[int]] = []
    few: dict[int, list[int]] = {}
    for (_, length), places in alike.items():
        if 2 * len(places) >= size:
            own += _shares(places, -(-len(places) // size))
        else:
            few.setdefault(length, []).extend(places)
    shared = [
        places[start : start + size]
        for places in few.values()
        for start in range(0, len(places), size)
    ]
    return own + shared


def is_own(looks: Sequence[Hashable], size: int) -> bool:
    """Whether a batch of pictures with these LoRAs is of one alone, as `arrange` makes them: it is the
    same whatever else is drawn."""
    return len(set(looks)) == 1 and 2 * len(looks) >= size


def _shares(places: list[int], count: int) -> list[list[int]]:
    """`places` in `count` parts whose sizes differ by one at most."""
    ends = [len(places) * i // count for i in range(count + 1)]
    return [places[start:end] for start, end in itertools.pairwise(ends)]
