"""The most memory that each phase of a job held: for its log, and for its record (`job_times`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bakery.io import devices

log = logging.getLogger(__name__)

ORDER = ("latents", "texts", "training", "prompts", "drawing")
"""Pictures and captions encoded, then trained; prompts encoded, then drawn."""
LATENTS, TEXTS, TRAINING, PROMPTS, DRAWING = ORDER

_most: dict[str, int] = {}
_open: list[int] = []
"""Of the phases that have begun, the outer first: what they held before the inner one began."""


@contextmanager
def phase(name: str, device: str) -> Iterator[None]:
    """Measures what is inside as the phase `name`, or as more of it; `device` as torch writes it.

    A phase inside another one is a part of it.
    """
    if _open:
        _open[-1] = max(_open[-1], devices.recent_peak(device))
    _open.append(0)
    devices.restart_peak(device)
    try:
        yield
    finally:
        most = max(_open.pop(), devices.recent_peak(device))
        _most[name] = max(most, _most.get(name, 0))
        log.info("%s: %.2f GiB of memory at most", name, most / 2**30)


def most() -> dict[str, int]:
    """Phase -> the most bytes it held, for the phases that this process has had."""
    return dict(_most)
