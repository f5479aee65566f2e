"""A script as steps that bash, PowerShell and cmd.exe have in common.

An if begins, goes on or ends; a variable is set; anything else is a command. Each shell has a function
from its own words for these to the steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from bakery.interop.readers import shell_words
from bakery.interop.readers.shell_words import Shell


class Step(NamedTuple):
    """What one statement does, or a part of one."""

    kind: Literal["if", "else", "end", "set", "add", "item", "command"]
    """`add` puts a value behind what the variable holds, `item` makes it one more of a list."""
    text: str = ""
    """The condition ("" is always met, as a plain else is), the value or the command."""
    name: str = ""
    """The variable."""


_BASH_SET = re.compile(
    r"(?:(?:export|local|declare|readonly)\s+(?:-\w+\s+)*)?(\w+)(\+?)=(.*)", re.DOTALL
)
_BASH_RUN = re.compile(r"\S+\s+(?:\S*python|accelerate)")
"""Behind a `name=`: the variable is set for one command."""
_PS_SET = re.compile(
    r"(?:\[[\w.\[\]]+\]\s*)?\$((?:env:|script:|global:)?\w+)\s*(\+?)=\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_PS_ADD = re.compile(r"(?:\[void\]\s*)?\$(\w+)\.Add\((.*)\)", re.IGNORECASE | re.DOTALL)
_PS_IF = re.compile(r"(?:\$(\w+)\s*=\s*)?if\s*\((.*)\)", re.IGNORECASE | re.DOTALL)
_PS_ELSE = re.compile(r"else(?:if\s*\((.*)\))?", re.IGNORECASE | re.DOTALL)
_PS_VALUE = re.compile(r"[\"'$\d]")
_CMD_SET = re.compile(r"set\s+(?:/a\s+)?(?:\"(\w+)=(.*)\"\s*|(\w+)=([^&|]*).*)", re.IGNORECASE)
_CMD_IF = re.compile(r"(\)\s*else\s+)?if\s+(.*)", re.IGNORECASE)
_CMD_ELSE = re.compile(r"\)\s*else\s*\(?", re.IGNORECASE)
_CMD_ANY_CASE = re.compile(r"/i\s+", re.IGNORECASE)
_CMD_ONE = r"(?:\"[^\"]*\"|'[^']*'|\S+)"
_CMD_CONDITION = re.compile(
    rf"((?:not\s+)?(?:{_CMD_ONE}\s*==\s*{_CMD_ONE}|(?:exist|defined|errorlevel)\s+{_CMD_ONE}|"
    rf"{_CMD_ONE}\s+(?:equ|neq)\s+{_CMD_ONE}))\s*(.*)",
    re.IGNORECASE,
)


def steps(text: str, shell: Shell) -> Iterator[Step]:
    """The steps of a script in their order. Loops and functions are steps like others."""
    of_shell = {"bash": _bash, "PowerShell": _powershell, "cmd": _cmd}[shell]
    return of_shell(shell_words.statements(text, shell))


def _bash(statements: Iterable[str]) -> Iterator[Step]:
    for statement in statements:
        first, *behind = statement.split(None, 1)
        if first == "if":
            yield Step("if", *behind or [first])
        elif first == "elif":
            yield Step("else", *behind or [first])
        elif first == "fi":
            yield Step("end")
        elif first in ("then", "else", "do"):
            if first == "else":
                yield Step("else")
            yield from _bash(behind)
        elif (found := _BASH_SET.fullmatch(statement)) and not _BASH_RUN.match(found[3]):
            yield Step("add" if found[2] else "set", found[3].strip(), found[1])
        else:
            yield Step("command", statement)


def _powershell(statements: Iterable[str]) -> Iterator[Step]:
    targets: list[str] = []
    """Of each block that is open the variable to which its if is assigned, or ""."""
    is_closed = begins_block = False
    for statement in statements:
        follows, begins = _PS_ELSE.fullmatch(statement), _PS_IF.fullmatch(statement)
        if is_closed and not follows:  # only behind the brace it shows that the if is over
            targets.pop()
            yield Step("end")
        is_closed = statement == "}" and bool(targets)
        if statement == "{" and not begins_block:  # of a loop or a function
            targets.append("")
            yield Step("if")
        elif follows:
            yield Step("else", follows[1] or "")
        elif begins:
            targets.append(begins[1] or "")
            yield Step("if", begins[2])
        elif statement not in ("{", "}"):
            yield _plain_of_powershell(statement, next(filter(None, reversed(targets)), ""))
        begins_block = bool(follows or begins)


def _plain_of_powershell(statement: str, target: str) -> Step:
    """The step of a statement that is no if; a value by itself goes to `target`."""
    if added := _PS_ADD.fullmatch(statement):
        return Step("item", added[2], added[1])
    if found := _PS_SET.fullmatch(statement):
        return Step("add" if found[2] else "set", found[3].strip(), found[1])
    if target and _PS_VALUE.match(statement):
        return Step("set", statement, target)
    return Step("command", statement)


def _cmd(statements: Iterable[str]) -> Iterator[Step]:
    for statement in statements:
        line = statement.lstrip("@")
        if _CMD_ELSE.fullmatch(line):
            yield Step("else")
        elif begins := _CMD_IF.fullmatch(line):
            words = _CMD_ANY_CASE.sub("", begins[2])
            known = _CMD_CONDITION.fullmatch(words)
            condition, then = known.groups() if known else (words, "")
            yield Step("else" if begins[1] else "if", condition)
            if not then.startswith("(") or then.endswith(")"):
                yield from _cmd([then.strip(" ()")])
                yield Step("end")
        elif line.startswith(")"):
            yield Step("end")
        elif found := _CMD_SET.fullmatch(line):
            name, text = (found[1], found[2]) if found[1] else (found[3], found[4])
            yield Step("set", text.strip(), name)
        else:
            yield Step("command", line)
