"""Random numbers that depend on the seed and on what they are for, and on nothing else.

Each purpose (the noise of step 7, the captions of epoch 2 ...) has a generator of its own. So a
draw more in one place moves no other draw, and any step can be repeated without those before it.
"""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def rng(seed: int, *purpose: str | int) -> random.Random:
    """Python's generator for `purpose`."""
    return random.Random(number(seed, *purpose))


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Torch's generator for `purpose`, on the CPU: every device gets the same numbers."""
    import torch  # who only shuffles captions never pays for it

    return torch.Generator().manual_seed(number(seed, *purpose))


def number(seed: int, *purpose: str | int) -> int:
    """63 bits of a digest, so that neighbouring seeds have nothing in common."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1
