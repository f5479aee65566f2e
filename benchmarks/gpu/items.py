"""What `on_a_gpu.py` measures, in order of worth. Importing this takes the standard library alone.

Each item is a function of this folder that the worker calls with its `Workshop`; it returns what goes
into the record, all of it JSON. Estimates are for a GPU of an H100's kind with the packages at hand:
an item is not begun with less time left than that, and is ended at its limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TINY = 0.1
"""Estimates of a rehearsal, in parts of the real ones."""


@dataclass(frozen=True)
class Item:
    """One thing to measure."""

    name: str
    """In the record, the table and `--only`."""
    measure: str
    """`module:function` of this folder."""
    estimate: float
    """Seconds that it will take."""
    limit: float
    """Seconds after which it is ended."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function."""

    def seconds(self, tiny: bool) -> tuple[float, float]:
        """(estimate, limit) for this size of run."""
        return self.estimate * (TINY if tiny else 1), self.limit


def _steps(model: str, count: int, estimate: float, limit: float) -> Item:
    given = {"model": model, "count": count}
    return Item(f"{model}, K = {count}", "steps:together", estimate, limit, given)


def _change(change: str, count: int, estimate: float, limit: float) -> Item:
    given = {"change": change, "count": count}
    return Item(f"{change}, K = {count}", "steps:changed", estimate, limit, given)


ITEMS = (
    Item("machine", "machine:facts", 2, 20),
    Item("smoke bake", "smoke:bake", 50, 120),
    Item("matrix product", "machine:ceilings", 8, 40),
    _steps("sd15", 1, 35, 90),  # the first of a model makes its base
    _steps("sd15", 4, 20, 60),
    _steps("sd15", 8, 25, 70),
    _steps("sd15", 16, 35, 90),
    _steps("sdxl", 1, 70, 150),
    _steps("sdxl", 4, 30, 90),
    _change("compiled", 1, 75, 180),
    _change("compiled with CUDA graphs", 1, 75, 180),
    _change("CUDA graphs alone", 1, 30, 90),
    _change("pinned batches", 4, 12, 60),
    _change("channels_last", 4, 12, 60),
    Item("sampling", "drawing:throughput", 40, 120),
    Item("kohya beside", "steps:beside_kohya", 60, 150, {"model": "sd15", "count": 1}),
)
