"""What the variables of a launch script hold, and the commands that train: read, never run.

Followed are assignments, lists that options are added to, and conditions on such variables. A condition
that needs more (whether a file exists) counts as not met; what depended on it is told. Loops and
functions are read once, in the order of their lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bakery.interop.readers import shell_conditions, shell_words
from bakery.interop.readers.shell_words import Shell, Value

TRAINS = re.compile(r"(?:^|[\\/])(\w*?)_?train_network(?:\.py)?$")
"""A word that names sd-scripts' script for networks; group 1 is its family, "" for Stable Diffusion."""
_MENTIONED = re.compile(r"train_network(\.py)?\b")
_MATTERS = re.compile(
    r"train_network|^\s*(?:then\s+|else\s+)?(?:set\s|(?:export\s+)?[$\w]+\s*\+?=)|\.Add\(",
    re.IGNORECASE,
)
"""A statement that has a say in what is trained."""
_SHOWS = re.compile(r"@?(echo|printf|write-\w+|title)\b", re.IGNORECASE)
_BASH_SET = re.compile(
    r"(?:(?:export|local|declare|readonly)\s+(?:-\w+\s+)*)?(\w+)(\+?=)(.*)", re.DOTALL
)
_PS_SET = re.compile(
    r"(?:\[[\w.\[\]]+\]\s*)?\$((?:env:|script:|global:)?\w+)\s*(\+?=)\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_PS_ADD = re.compile(r"(?:\[void\]\s*)?\$(\w+)\.Add\((.*)\)", re.IGNORECASE | re.DOTALL)
_PS_IF = re.compile(r"(?:\$(\w+)\s*=\s*)?(if|elseif)\s*\((.*)\)", re.IGNORECASE | re.DOTALL)
_PS_LIST = re.compile(r"\[System|New-Object|@\(\s*\)$", re.IGNORECASE)
_PS_JOIN = re.compile(r"Join-Path\s+(?:-Path\s+)?(\S+)\s+(?:-ChildPath\s+)?(.+)", re.IGNORECASE)
_PS_PIECE = re.compile(r"(?:\"(?:`.|[^\"])*\"|'[^']*'|[^+\"'])+")
_CMD_SET = re.compile(r"set\s+(?:/a\s+)?(?:\"(\w+)=(.*)\"\s*|(\w+)=([^&|]*).*)", re.IGNORECASE)
_CMD_IF = re.compile(r"(\)\s*else\s+)?if\s+(.*)", re.IGNORECASE)
_CMD_ELSE = re.compile(r"\)\s*else\s*\(?", re.IGNORECASE)


@dataclass
class _Branch:
    """One if that is open: whether its present branch counts, and whether one has counted already."""

    counts: bool
    done: bool
    target: str = ""
    """The variable that is given the branch's value, where PowerShell assigns an if."""
    untold: str = ""
    """The condition, where it cannot be told."""
    closed: bool = False
    """Whether its brace is closed, so that only an else can go on with it."""


@dataclass
class ScriptReader:
    """Goes through a script once."""

    shell: Shell
    here: str
    """The folder that the script is in."""
    known: dict[str, Value] = field(default_factory=dict)
    """Variables that are set; names in lower case but for bash."""
    commands: list[list[str]] = field(default_factory=list)
    """Commands that train, as words."""
    skipped: list[list[str]] = field(default_factory=list)
    """The same in branches that do not count; what is read where there is no other."""
    untold: list[str] = field(default_factory=list)
    """Conditions that cannot be told, of branches that set or train something."""
    _open: list[_Branch] = field(default_factory=list)
    _begun: bool = False
    """Whether the brace of a branch is still to come."""

    def read(self, text: str) -> None:
        """Go through the script; without a command of its own, one that a variable holds counts."""
        take = {"bash": self._bash, "PowerShell": self._powershell, "cmd": self._cmd}[self.shell]
        for statement in shell_words.statements(text, self.shell):
            take(statement)
            if not self._active:
                self._skip(statement)
        self.commands = self.commands or self.skipped
        if self.commands:
            return
        for value in self.known.values():
            held = " ".join(value) if isinstance(value, list) else value
            if _MENTIONED.search(held) and "--" in held:
                self._command(held, self.commands)

    @property
    def _active(self) -> bool:
        return all(branch.counts for branch in self._open)

    def _skip(self, statement: str) -> None:
        """A statement of a branch that does not count."""
        if _SHOWS.match(statement):
            return
        if _MENTIONED.search(statement):
            self._command(statement, self.skipped)
        if _MATTERS.search(statement):
            self.untold += [one.untold for one in self._open if one.untold and not one.counts]

    def _begin(self, condition: str, target: str = "") -> None:
        told = self._met(condition) if self._active else False
        untold = " ".join(condition.split()) if told is None else ""
        self._open.append(_Branch(bool(told), bool(told), target, untold))

    def _next(self, condition: str | None) -> None:
        """An elif with its condition, or an else."""
        if not self._open:
            return
        branch = self._open[-1]
        branch.counts = branch.closed = False
        if not branch.done and all(one.counts for one in self._open[:-1]):
            told = True if condition is None else self._met(condition)
            branch.counts = branch.done = bool(told)
            branch.untold = " ".join((condition or "").split()) if told is None else branch.untold

    def _end(self) -> None:
        if self._open:
            self._open.pop()

    def _met(self, condition: str) -> bool | None:
        return shell_conditions.met(condition, self.shell, self._value)

    def _bash(self, statement: str) -> None:
        first, *behind = statement.split(None, 1)
        rest = behind[0] if behind else ""
        if first == "if":
            self._begin(rest)
        elif first == "elif":
            self._next(rest)
        elif first in ("then", "else", "do"):
            if first == "else":
                self._next(None)
            if rest:
                self._bash(rest)
        elif first == "fi":
            self._end()
        elif self._active:
            found = _BASH_SET.fullmatch(statement)
            if found and not re.match(r"\S+\s+\S*python|\S+\s+accelerate", found[3]):
                self._assign(found[1], found[2], found[3].strip())
            else:
                self._command(statement, self.commands)

    def _assign(self, name: str, sign: str, text: str) -> None:
        """bash's `name=value`, `name=(...)` and both with +=."""
        several = text.startswith("(")
        given = self._words(text[1:].rstrip().removesuffix(")") if several else text)
        value: Value = given if several else "".join(given[:1])
        if sign == "+=":
            before = self.known.get(name, [] if several else "")
            if isinstance(before, list) or several:
                value = [*([before] if isinstance(before, str) else before), *given]
            else:
                value = before + "".join(given[:1])
        self.known[name] = value

    def _powershell(self, statement: str) -> None:
        if statement == "{":
            if not self._begun:
                self._open.append(_Branch(True, True))
            self._begun = False
            return
        found = _PS_IF.fullmatch(statement)
        follows = statement.lower() == "else" or (
            found is not None and found[2].lower() == "elseif"
        )
        if self._open and self._open[-1].closed and not follows:
            self._open.pop()
        if statement == "}":
            if self._open:
                self._open[-1].closed = True
        elif follows:
            self._next(found[3] if found else None)
            self._begun = True
        elif found:
            self._begin(found[3], (found[1] or "").lower())
            self._begun = True
        elif self._active:
            self._powershell_plain(statement)

    def _powershell_plain(self, statement: str) -> None:
        """An assignment, an option that is added to a list, a value of an if, or a command."""
        if added := _PS_ADD.fullmatch(statement):
            before = self.known.get(added[1].lower(), [])
            listed = before if isinstance(before, list) else [before]
            self.known[added[1].lower()] = [*listed, self._expression(added[2])]
            return
        found = _PS_SET.fullmatch(statement)
        target = next((one.target for one in reversed(self._open) if one.target), "")
        if found is None and target and statement[:1] in "\"'$0123456789":
            self.known[target] = self._expression(statement)
        elif found is None:
            self._command(statement, self.commands)
        else:
            name = found[1].lower().rpartition(":")[2]
            value = self._value_of(found[3].strip())
            before = self.known.get(name, "")
            if found[2] == "+=" and isinstance(before, list):
                value = [*before, *([value] if isinstance(value, str) else value)]
            elif found[2] == "+=" and isinstance(value, str):
                value = before + value if isinstance(before, str) else value
            self.known[name] = value

    def _value_of(self, text: str) -> Value:
        """What PowerShell assigns: a list, or one value."""
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

    def _cmd(self, statement: str) -> None:
        statement = statement.lstrip("@")
        condition = _CMD_IF.fullmatch(statement)
        if _CMD_ELSE.fullmatch(statement):
            self._next(None)
        elif condition:
            if condition[1]:
                self._end()
            told, words, then = shell_conditions.of_cmd(condition[2], self._value)
            met = self._active and bool(told)
            self._open.append(_Branch(met, met, untold=words if told is None else ""))
            if not then.startswith("(") or then.endswith(")"):
                (self._cmd if met else self._skip)(then.strip(" ()"))
                self._end()
        elif statement.startswith(")"):
            self._end()
        elif self._active:
            if found := _CMD_SET.fullmatch(statement):
                text = found[2] if found[1] else found[4]
                self.known[(found[1] or found[3]).lower()] = self._value(f'"{text.strip()}"')
            else:
                self._command(statement, self.commands)

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
