"""How large, deep and odd the data of a config may be, whichever language it was written in.

YAML's aliases make a billion values of nine lines, and a hex number may have a million digits. What
passes here can be walked, compared and written as JSON by everything behind it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

MOST_VALUES = 30_000
"""Values of a whole config, those in lists and tables counted one by one, through aliases, too. Sweeps
over 1,800 characters have about as many."""
DEEPEST = 40
"""Levels of lists and tables inside of one another."""
LONGEST_TEXT = 100_000
"""Characters of one text."""
LARGEST_INTEGER = 2**63
"""What 64 bits hold."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value, and where it is."""

    where: str
    """Dotted, as in `train.optimizer_args.eps`; empty for the whole."""
    what: str
    """To go behind `where`: what it is, a colon, and what to do."""


def problem(data: Any, *, strict: bool = True) -> Problem | None:
    """The first value of `data` that is beyond the bounds above.

    If `strict`, so are control characters in a text, numbers that are not finite, and values of other
    kinds than those of JSON.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), data)]
    count = 0
    while waiting:
        at, value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            return Problem(at[0] if at else "", f"brings this to more than {MOST_VALUES} values: "
                           "leave some out")  # fmt: skip
        if len(at) > DEEPEST:
            return Problem(".".join(at[:3]), f"has more than {DEEPEST} levels: flatten it")
        inside: list[tuple[Any, Any]] = []
        if isinstance(value, dict):
            inside = list(value.items())
        elif isinstance(value, list | tuple):
            inside = list(enumerate(value))
        elif what := _of_scalar(value, strict):
            return Problem(".".join(at), what)
        if len(inside) > MOST_VALUES:
            return Problem(".".join(at), f"has {len(inside)} values, more than {MOST_VALUES}: "
                           "leave some out")  # fmt: skip
        for name, one in reversed(inside):
            if strict and isinstance(name, str) and not name.isprintable():
                return Problem(
                    ".".join(at), f"has the name {name[:40]!r}: remove what is no letter"
                )
            waiting.append(((*at, str(name)[:80]), one))
    return None


def _of_scalar(value: Any, strict: bool) -> str:
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"is a text of {len(value)} characters, more than {LONGEST_TEXT}: shorten it"
        if strict and (odd := _CONTROL.search(value)):
            return f"holds the control character {odd[0]!r} ({value[:40]!r}): remove it"
        return ""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        if abs(value) < LARGEST_INTEGER:
            return ""
        return "is a whole number of more than 64 bits: no setting takes it"
    if not strict:
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"is {value}: a finite number is wanted"
    return f"is of the kind {type(value).__name__}: write text in quotes, or a number"
