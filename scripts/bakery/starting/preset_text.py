"""A config's YAML as text in which single values are replaced, so that its comments stay.

The files in `config/` are written for people: blocks of two blanks, one setting a line, a comment
after it. Only that form is read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMN = 34
"""Where comments begin, as in the shipped configs."""
_BELOW = object()
"""A value that is in the lines below."""
_PLAIN = re.compile(r"[A-Za-z~./][\w~./+-]*|[\w./+-]*/[\w./+-]+")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"}


class PresetText:
    """The lines of a config."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
        self._lines = lines[first:]

    def get(self, dotted: str) -> str:
        """What is written for `section.name`, without its comment."""
        section, name = dotted.split(".")
        begin, end = self._section(section)
        line = next(self._lines[n] for n in range(begin, end) if self._name(n) == name)
        return line.partition(":")[2].partition(" #")[0].strip()

    def put(self, dotted: str, value: Any, comment: str | None = None) -> None:
        """Set `section.name`; None keeps the comment that is there. A new setting goes to the end of
        its section."""
        section, name = dotted.split(".")
        begin, end = self._section(section)
        at = next((n for n in range(begin, end) if self._name(n) == name), None)
        if at is None:
            self._lines.insert(end, _line(name, value, comment or ""))
            return
        if comment is None:
            _, mark, rest = self._lines[at].partition("  #")
            comment = rest.strip() if mark else ""
        after = next((n for n in range(at + 1, end) if not _deeper(self._lines[n])), end)
        self._lines[at:after] = [_line(name, value, comment)]

    def put_list(self, dotted: str, values: Sequence[str], comment: str = "") -> None:
        """The same for a list with an entry a line."""
        self._put_below(dotted, [f"    - {scalar(value)}" for value in values], comment)

    def put_table(self, dotted: str, values: Mapping[str, str]) -> None:
        """The same for names with a value each, an entry a line."""
        self._put_below(dotted, [f"    {key}: {scalar(one)}" for key, one in values.items()], "")

    def remove(self, dotted: str) -> None:
        """Take a setting out, if it is there."""
        section, name = dotted.split(".")
        begin, end = self._section(section)
        for at in range(begin, end):
            if self._name(at) == name:
                after = next((n for n in range(at + 1, end) if not _deeper(self._lines[n])), end)
                del self._lines[at:after]
                return

    def text(self, head: Sequence[str]) -> str:
        """The config with `head` as comments at its top."""
        lines = [*(f"# {line}".rstrip() for line in head), "", *self._lines]
        return "\n".join(lines).rstrip() + "\n"

    def _put_below(self, dotted: str, lines: Sequence[str], comment: str) -> None:
        """Set `section.name` to what `lines`, as deep as they are to be, say below it."""
        self.put(dotted, _BELOW, comment)
        section, name = dotted.split(".")
        begin, end = self._section(section)
        at = next(n for n in range(begin, end) if self._name(n) == name)
        self._lines[at + 1 : at + 1] = lines

    def _section(self, name: str) -> tuple[int, int]:
        """The lines of a section: the first after its name, and the first behind its last."""
        begin = self._lines.index(f"{name}:") + 1
        end = next(
            (n for n in range(begin, len(self._lines)) if re.match(r"[\w#]", self._lines[n])),
            len(self._lines),
        )
        while end > begin and not self._lines[end - 1].strip():
            end -= 1
        return begin, end

    def _name(self, number: int) -> str:
        match = re.match(r"  (\w+):", self._lines[number])
        return match[1] if match else ""


def scalar(value: Any) -> str:
    """A value that YAML 1.1 and 1.2 read the same."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _line(name: str, value: Any, comment: str) -> str:
    text = f"  {name}:" if value is _BELOW else f"  {name}: {scalar(value)}"
    return f"{text:<{_COLUMN - 2}}  # {comment}" if comment else text


def _deeper(line: str) -> bool:
    return line.startswith(("   ", "  - "))
