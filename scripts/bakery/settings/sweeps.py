"""The sweeps section: which bakes end on one page."""

from __future__ import annotations

from typing import Any

from bakery.settings.halve import Halving
from bakery.settings.sections import Section


class Sweep(Section):
    """Several bakes on one page: a product of values, and single variants besides."""

    grid: dict[str, tuple[Any, ...]] = {}
    """Setting (such as `train.unet_lr`) -> its values; every combination is baked."""
    variants: tuple[dict[str, Any], ...] = ()
    """Further bakes, each a set of settings that override the config."""
    halving: Halving | None = None
    """Stop the worst bakes early; null bakes all of them to the end."""
