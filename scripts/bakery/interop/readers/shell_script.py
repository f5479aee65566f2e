"""What the variables of a launch script hold, and the commands that train: read, never run.

Followed are assignments, lists that options are added to, and conditions on such variables. A condition
that needs more (whether a file exists) counts as not met; what depended on it is told. Loops and
functions are read once, in the order of their lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bakery.interop.readers import shell_conditions, shell_steps, shell_words
from bakery.interop.readers.shell_steps import Step
from bakery.interop.readers.shell_words import Shell, Value

TRAINS = re.compile(r"(?:^|[\\/])(\w*?)_?train_network(?:\.py)?$")
"""A word that names sd-scripts' script for networks; group 1 is its family, "" for Stable Diffusion."""
_MENTIONED = re.compile(r"train_network(\.py)?\b")
_SHOWS = re.compile(r"@?(echo|printf|write-\w+|title)\b", re.IGNORECASE)
_PS_LIST = re.compile(r"\[System|New-Object|@\(\s*\)$", re.IGNORECASE)
_PS_JOIN = re.compile(r"Join-Path\s+(?:-Path\s+)?(\S+)\s+(?:-ChildPath\s+)?(.+)", re.IGNORECASE)
_PS_PIECE = re.compile(r"(?:\"(?:`.|[^\"])*\"|'[^']*'|[^+\"'])+")


@dataclass
class _Branch:
    """One if that is open: whether its present branch counts, and whether one has counted already."""

    counts: bool = False
    done: bool = False
    untold: str = ""
    """The condition, where it cannot be told."""


@dataclass
class ScriptReader:
    """Goes through a script once."""

    shell: Shell
    here: str
    """The folder that the script is in."""
    known: dict[str, Value] = field(default_factory=dict)
    """Variables that are set, by `shell_words.variable`."""
    commands: list[list[str]] = field(default_factory=list)
    """Commands that train, as words."""
    skipped: list[list[str]] = field(default_factory=list)
    """The same in branches that do not count; what is read where there is no other."""
    untold: list[str] = field(default_factory=list)
    """Conditions that cannot be told, of branches that set or train something."""
    _open: list[_Branch] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Go through the script; without a command of its own, one that a variable holds counts."""
        for step in shell_steps.steps(text, self.shell):
            self._take(step)
        self.commands = self.commands or self.skipped
        if self.commands:
            return
        for value in self.known.values():
            held = " ".join(_listed(value))
            if _MENTIONED.search(held) and "--" in held:
                self._command(held, self.commands)

    def _take(self, step: Step) -> None:
        around = self._open[:-1] if step.kind in ("else", "end") else self._open
        counts = all(branch.counts for branch in around)
        if step.kind == "if":
            self._open.append(_Branch())
            self._try(step.text, counts)
        elif step.kind == "else":
            self._try(step.text, counts)
        elif step.kind == "end":
            self._open = around
        elif not counts:
            self._skip(step)
        elif step.kind == "command":
            self._command(step.text, self.commands)
        else:
            name = shell_words.variable(step.name, self.shell)
            before = self.known.get(name, "")
            if step.kind == "item":
                self.known[name] = [*_listed(before), self._expression(step.text)]
            else:
                value = self._assigned(step.text)
                self.known[name] = value if step.kind == "set" else _joined(before, value)

    def _try(self, condition: str, counts: bool) -> None:
        """Another branch of the innermost if, which `counts` if all around it do."""
        if not self._open:
            return
        branch = self._open[-1]
        branch.counts = False
        if counts and not branch.done:
            told = shell_conditions.met(condition, self.shell, self._value) if condition else True
            branch.counts = branch.done = bool(told)
            branch.untold = " ".join(condition.split()) if told is None else branch.untold

    def _skip(self, step: Step) -> None:
        """A step of a branch that does not count."""
        if _SHOWS.match(step.text) and step.kind == "command":
            return
        if trains := bool(_MENTIONED.search(step.text)):
            self._command(step.text, self.skipped)
        if trains or step.kind != "command":
            self.untold += [one.untold for one in self._open if one.untold and not one.counts]

    def _assigned(self, text: str) -> Value:
        """What a variable is given: a list, or one value."""
        if self.shell == "cmd":
            return self._value(f'"{text}"')
        if self.shell == "bash":
            if text.startswith("("):
                return self._words(text[1:].rstrip().removesuffix(")"))
            return "".join(self._words(text)[:1])
        if _PS_LIST.match(text):
            return []
        if text.startswith("@("):
            items = re.split(r"[,\n]", text[2:].rstrip().removesuffix(")"))
            return [self._expression(item) for item in items if item.strip()]
        return self._expression(text)

    def _expression(self, text: str) -> str:
        """A PowerShell value: texts and variables, joined by +."""
        if joined := _PS_JOIN.fullmatch(text.strip().strip("()")):
            return f"{self._expression(joined[1])}/{self._expression(joined[2])}"
        pieces = (piece.strip() for piece in _PS_PIECE.findall(text))
        return "".join(self._value(piece) for piece in pieces)

    def _value(self, text: str) -> str:
        """The one word that a text is."""
        whole = text[:1] in ("'", '"') and text[-1:] == text[:1]
        return " ".join(self._words(text if whole else text.strip("()")))

    def _words(self, text: str) -> list[str]:
        return shell_words.words(text, self.shell, self.known, self.here)

    def _command(self, statement: str, into: list[list[str]]) -> None:
        """Keep a command if it trains."""
        if _SHOWS.match(statement) or not re.search(r"train_network|[$%]\{?\w", statement):
            return
        found = self._words(statement)
        if any(TRAINS.search(word) for word in found):
            into.append(found)


def _listed(value: Value) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _joined(before: Value, more: Value) -> Value:
    """`before` with `more` behind it: a longer text of two texts, else a list."""
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    return [*_listed(before), *_listed(more)]
