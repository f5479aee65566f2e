"""A config of ours in the making, and its YAML with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bakery.interop import plain_values
from bakery.settings import config as cfg


@dataclass
class Draft:
    """A config in the making."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    """Dotted setting -> where its value comes from."""
    notes: list[str] = field(default_factory=list)
    """What is meant to be read: differences and what to look at."""
    captions: dict[str, str] = field(default_factory=dict)
    """Stem of a picture, as the scrape stage names it -> the caption beside it."""
    left_out: list[str] = field(default_factory=list)
    switched_off: list[str] = field(default_factory=list)
    sweeps: dict[str, Any] = field(default_factory=dict)
    """The sweeps section, where files of several runs were given."""

    def put(self, dotted: str, value: Any, comment: str = "") -> None:
        section, name = dotted.split(".")
        self.sections.setdefault(section, {})[name] = value
        if comment:
            self.comments[dotted] = comment


def write(draft: Draft, kinds: Sequence[str]) -> str:
    """The draft as YAML, with a comment wherever the file's own word differs."""
    lines = [f"# Made from {', '.join(kinds)} by scripts/import_config.py."]
    for note in draft.notes:
        lines.append(f"# - {one_line(note)}")
    for section in (name for name in cfg.STAGES if name in draft.sections):
        lines += ["", f"{section}:"]
        lines += [_line(draft.comments, section, *item) for item in draft.sections[section].items()]
    if draft.sweeps:
        lines += ["", "sweeps:"]
        for name, sweep in draft.sweeps.items():
            lines.append(f"  {name}:")
            lines += [f"    {key}: {_scalar(value)}" for key, value in sweep.items()]
    for title, entries in (
        ("Left out, because there is nothing like it here", draft.left_out),
        ("Switched off in the file, so there is nothing to do", draft.switched_off),
    ):
        if entries:
            lines += ["", f"# {title}:", *(f"#   {one_line(entry)}" for entry in entries)]
    return "\n".join(lines) + "\n"


def _line(comments: Mapping[str, str], section: str, name: str, value: Any) -> str:
    text = f"  {name}: {_scalar(value)}"
    comment = comments.get(f"{section}.{name}")
    return f"{text:<40}  # {one_line(comment)}" if comment else text


def one_line(text: str) -> str:
    """Text that a comment can hold."""
    return plain_values.printable(" ".join(plain_values.hide(text).split()))


def _scalar(value: Any) -> str:
    """YAML that reads the same in 1.1 and 1.2: JSON, but for floats that YAML 1.1 takes for text."""
    if isinstance(value, float):
        text = repr(value)
        mantissa, e, exponent = text.partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
    if isinstance(value, dict):
        names = (
            json.dumps(plain_values.printable(str(name)), ensure_ascii=False) for name in value
        )
        entries = zip(names, map(_scalar, value.values()), strict=True)
        return "{" + ", ".join(f"{name}: {entry}" for name, entry in entries) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./+-]*", value)
    if plain and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n"):
        return str(value)
    return json.dumps(
        plain_values.printable(value) if isinstance(value, str) else value, ensure_ascii=False
    )
