"""Random numbers that depend only on the seed and on their purpose.

Each purpose (the noise of step 7, the captions of epoch 2 ...) has its own generator. So an extra
draw in one place changes no other draw, and any step can be repeated without the earlier ones.
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
    import torch  # imported here, so that shuffling captions does not load torch

    return torch.Generator().manual_seed(number(seed, *purpose))


def number(seed: int, *purpose: str | int) -> int:
    """63 bits of a digest, so that neighbouring seeds have nothing in common."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1
