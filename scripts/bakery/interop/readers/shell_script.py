"""What the variables of a launch script hold, and the commands that train: read, never run.

Followed are assignments, lists that options are added to, and conditions on such variables. A condition
that needs more (whether a file exists) counts as not met; what depended on it is told. Loops and
functions are read once, in the order of their lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bakery.interop.readers import shell_words
from bakery.interop.readers.shell_words import Shell, Value

TRAINS = re.compile(r"(?:^|[\\/])(\w*?)_?train_network(?:\.py)?$")
"""A word that names sd-scripts' script for networks; group 1 is its family, "" for Stable Diffusion."""
_MENTIONED = re.compile(r"train_network(\.py)?\b")
_BASH_SET = re.compile(r"(?:(?:export|local|declare|readonly)\s+(?:-\w+\s+)*)?(\w+)(\+?=)(.*)", re.DOTALL)
_PS_SET = re.compile(r"(?:\[[\w.\[\]]+\]\s*)?\$((?:env:|script:|global:)?\w+)\s*(\+?=)\s*(.*)",
                     re.DOTALL | re.IGNORECASE)  # fmt: skip
_CMD_SET = re.compile(r"(?:set\s+(?:/a\s+)?\"(\w+)=(.*)\"\s*$|set\s+(?:/a\s+)?(\w+)=(.*))", re.IGNORECASE)
_PS_ADD = re.compile(r"(?:\[void\]\s*)?\$(\w+)\.Add\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)
_PS_IF = re.compile(r"(?:\$(\w+)\s*=\s*)?(if|elseif)\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)
_JOIN = re.compile(r"Join-Path\s+(?:-Path\s+)?(\S+)\s+(?:-ChildPath\s+)?(.+)", re.IGNORECASE)
_CMD_IF = re.compile(r"(?:\)\s*else\s+)?if\s+(?:/i\s+)?(not\s+)?(?:/i\s+)?(.*?)\s*$", re.IGNORECASE)
_COMPARED = re.compile(
    r"\s*(?P<left>\"[^\"]*\"|'[^']*'|\S*?)\s*(?P<sign>==|!=|=|-c?eq|-i?eq|-ne|-gt|-lt|-ge|-le|>=|<=|>|<|equ|neq)"
    r"\s*(?P<right>\"[^\"]*\"|'[^']*'|\S*)\s*$", re.IGNORECASE)  # fmt: skip


@dataclass
class _Branch:
    """One if that is open: whether its present branch counts, and whether one has counted already."""

    counts: bool
    done: bool
    target: str = ""
    """The variable that is given the branch's value, where PowerShell assigns an if."""
    closed: bool = False
    """Whether its brace is closed, so that only an else can go on with it."""


@dataclass
class ScriptReader:
    """Goes through a script once."""

    shell: Shell
    here: str
    """The folder that the script is in."""
    known: dict[str, Value] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    """Commands that train, as words."""
    skipped: list[list[str]] = field(default_factory=list)
    """The same in branches that do not count; what is read where there is no other."""
    untold: list[str] = field(default_factory=list)
    """Conditions that cannot be told."""
    _open: list[_Branch] = field(default_factory=list)
    _begun: bool = False
    """Whether the brace of a branch is still to come."""

    def read(self, text: str) -> None:
        """Go through the script; without a command of its own, one that a variable holds counts."""
        for statement in shell_words.statements(text, self.shell):
            self._take(statement)
            if not self._active and _MENTIONED.search(statement):
                self._command(statement, self.skipped)
        self.commands = self.commands or self.skipped
        if self.commands:
            return
        for value in self.known.values():
            held = " ".join(value) if isinstance(value, list) else value
            if _MENTIONED.search(held) and "--" in held:
                self._command(held)

    def _take(self, statement: str) -> None:
        {"bash": self._bash, "PowerShell": self._powershell, "cmd": self._cmd}[self.shell](statement)

    @property
    def _active(self) -> bool:
        return all(branch.counts for branch in self._open)

    def _begin(self, condition: str, target: str = "") -> None:
        met = self._met(condition) if self._active else False
        self._open.append(_Branch(met, met, target))

    def _next(self, condition: str | None) -> None:
        """An elif with its condition, or an else."""
        if not self._open:
            return
        branch = self._open[-1]
        branch.counts = branch.closed = False
        if all(one.counts for one in self._open[:-1]):
            met = not branch.done and (condition is None or self._met(condition))
            branch.counts, branch.done = met, branch.done or met

    def _end(self) -> None:
        if self._open:
            self._open.pop()

    def _bash(self, statement: str) -> None:
        first, _, rest = statement.partition(" ")
        first = first.split("\n")[0]
        if first in ("if", "elif"):
            condition, then, after = rest.partition("; then")
            (self._begin if first == "if" else self._next)(condition)
            if then and after.strip():
                self._take(after.strip())
        elif first in ("then", "else", "do") or statement in ("else", "then", "do"):
            if first == "else":
                self._next(None)
            if statement[len(first) :].strip():
                self._take(statement[len(first) :].strip())
        elif first.rstrip(")") == "fi":
            self._end()
        elif self._active:
            self._assign_or_run(statement, _BASH_SET.fullmatch(statement))

    def _assign_or_run(self, statement: str, found: re.Match[str] | None) -> None:
        if found is None or (" " in found[3] and _MENTIONED.search(found[3]) and found[3][0] not in "\"'("):
            self._command(statement)
            return
        name, sign, text = found[1], found[2], found[3].strip()
        several = text.startswith("(")
        given = self._words(text[1:].rstrip().removesuffix(")") if several else text)
        value: Value = given if several else " ".join(given[:1])
        if sign == "+=":
            before = self.known.get(name, [] if several else "")
            joined = [*before] if isinstance(before, list) else [before]
            value = joined + given if several or isinstance(before, list) else before + " ".join(given[:1])
        self.known[name] = value

    def _powershell(self, statement: str) -> None:
        if statement == "{":
            if not self._begun:
                self._open.append(_Branch(self._active, True))
            self._begun = False
            return
        after = statement.lower()
        found = _PS_IF.fullmatch(statement)
        follows = after == "else" or (found is not None and found[2].lower() == "elseif")
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
        if added := _PS_ADD.fullmatch(statement):
            before = self.known.get(added[1].lower(), [])
            self.known[added[1].lower()] = [*(before if isinstance(before, list) else [before]),
                                            self._expression(added[2])]  # fmt: skip
            return
        found = _PS_SET.fullmatch(statement)
        target = next((one.target for one in reversed(self._open) if one.target), "")
        if found is None and target and statement[:1] in "\"'$0123456789":
            self.known[target] = self._expression(statement)
        elif found is None:
            self._command(statement)
        else:
            name, text = found[1].lower().rpartition(":")[2], found[3].strip()
            value: Value = [] if re.match(r"(\[System|@\(|New-Object)", text) else self._expression(text)
            if text.startswith("@("):
                value = [self._expression(one) for one in re.split(r"[,\n]", text[2:].rstrip(")")) if one.strip()]
            before = self.known.get(name, "")
            if found[2] == "+=":
                if isinstance(before, list):
                    value = [*before, *([value] if isinstance(value, str) else value)]
                elif isinstance(value, str):
                    value = before + value
            self.known[name] = value

    def _expression(self, text: str) -> str:
        """A PowerShell value: texts and variables, joined by +."""
        if joined := _JOIN.fullmatch(text.strip()):
            return f"{self._expression(joined[1])}/{self._expression(joined[2])}"
        pieces = re.findall(r"(?:\"(?:`.|[^\"])*\"|'[^']*'|[^+\"'])+", text)
        return "".join(self._quoted(piece.strip()) for piece in pieces)

    def _quoted(self, text: str) -> str:
        """The one word that a quoted text or a variable is; a number's `f` or comment is left out."""
        whole = text[:1] in "\"'" and text[-1:] == text[:1]
        return " ".join(self._words(text if whole else text.strip("()")))

    def _cmd(self, statement: str) -> None:
        statement = statement.lstrip("@")
        if statement.startswith(")"):
            if re.match(r"\)\s*else\s*\(?\s*$", statement, re.IGNORECASE):
                self._next(None)
            else:
                self._end()
            return
        condition = _CMD_IF.fullmatch(statement)
        if condition:
            self._cmd_if(bool(condition[1]), condition[2])
        elif self._active:
            found = _CMD_SET.match(statement)
            if found is None:
                self._command(statement)
            else:
                name = (found[1] or found[3]).lower()
                text = found[2] if found[1] else found[4]
                self.known[name] = " ".join(self._words(f'"{text.strip()}"'))

    def _cmd_if(self, negated: bool, text: str) -> None:
        """`if a==b command`, or `if a==b (` with lines to follow."""
        body = re.match(r"(\"[^\"]*\"\s*==\s*\"[^\"]*\"|\S+\s*==\s*\S+|(?:exist|defined|errorlevel)\s+"
                        r"(?:\"[^\"]*\"|\S+)|\S+\s+(?:equ|neq)\s+\S+)\s*(.*)$", text, re.IGNORECASE)  # fmt: skip
        condition, then = (body[1], body[2]) if body else (text, "")
        known = re.match(r"defined\s+(\w+)", condition, re.IGNORECASE)
        met = bool(self.known.get(known[1].lower())) if known else self._met(condition)
        met = met != negated if met or not self.untold or self.untold[-1] != condition else False
        if then.strip().startswith("(") and ")" not in then:
            self._open.append(_Branch(met and self._active, met))
        elif met and self._active and then:
            self._take(then.strip(" ()"))

    def _met(self, condition: str) -> bool:
        """Whether a condition is met; one that cannot be told is noted and is not."""
        parts = re.split(r"\s(-or|\|\|)\s", condition)
        if len(parts) > 1:
            return any([self._met(part) for part in parts[::2]])
        parts = re.split(r"\s(-and|&&)\s", condition)
        if len(parts) > 1:
            return all([self._met(part) for part in parts[::2]])
        text = condition.strip()
        while text[:1] in "([" and text[-1:] in ")]":
            text = text[1:-1].strip()
        negated = text.startswith(("! ", "-not "))
        if negated:
            text = text.partition(" ")[2].strip()
        told = self._told(text)
        if told is None:
            self.untold.append(condition.strip())
            return False
        return told != negated

    def _told(self, text: str) -> bool | None:
        """The truth of one comparison or of a variable, None if it cannot be told."""
        if match := re.fullmatch(r"-([nz])\s+(.*)", text):
            return bool(self._quoted(match[2]).strip()) == (match[1] == "n")
        match = _COMPARED.fullmatch(text)
        if match is None:
            single = re.fullmatch(r"[\"']?\$\{?\w+(?::-\w*)?\}?[\"']?", text)
            if not single:
                return None
            value = self._quoted(text).strip()
            if shell_words.unknown(value):
                value = ""
            return bool(value) and (self.shell == "bash" or value.lower() not in ("0", "$false", "false"))
        left, right = (self._quoted(match[side]).strip() for side in ("left", "right"))
        if shell_words.unknown(left) or shell_words.unknown(right):
            left, right = ("" if shell_words.unknown(x) else x for x in (left, right))
        return _compare(left, match["sign"].lower(), right)

    def _words(self, text: str) -> list[str]:
        return shell_words.words(text, self.shell, self.known, self.here)

    def _command(self, statement: str, into: list[list[str]] | None = None) -> None:
        if not _MENTIONED.search(statement) and not re.search(r"\$\{?\w+", statement):
            return
        found = self._words(statement)
        names = [n for n, word in enumerate(found) if TRAINS.search(word)]
        if names and not re.match(r"echo|write-\w+|#", found[0], re.IGNORECASE):
            (self.commands if into is None else into).append(found)


def _compare(left: str, sign: str, right: str) -> bool | None:
    """`left sign right` of two known values; None of texts that have no order."""
    if sign in ("==", "=", "-eq", "-ceq", "-ieq", "equ"):
        return left.lower() == right.lower() or _number(left) == _number(right) is not None
    if sign in ("!=", "-ne", "neq"):
        return not _compare(left, "==", right)
    a, b = _number(left or "0"), _number(right or "0")
    if a is None or b is None:
        return None
    return {"-gt": a > b, ">": a > b, "-lt": a < b, "<": a < b, "-ge": a >= b, ">=": a >= b,
            "-le": a <= b, "<=": a <= b}[sign]  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text or "0")
    except ValueError:
        return None
