"""Whether a condition of a script is met, as far as its variables say so."""

from __future__ import annotations

import re
from collections.abc import Callable

from bakery.interop.readers import shell_words
from bakery.interop.readers.shell_words import Shell

_SIGNS = r"==|!=|=|-[ci]?eq|-ne|-gt|-lt|-ge|-le|>=|<=|>|<|equ|neq"
_COMPARED = re.compile(
    rf"(?P<left>\"[^\"]*\"|'[^']*'|\S*?)\s*(?P<sign>{_SIGNS})\s*(?P<right>\"[^\"]*\"|'[^']*'|\S*)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[\"']?\$\{?\w+(?::-\w*)?\}?[\"']?")
_LENGTH = re.compile(r"-([nz])\s+(.*)")
_NEGATIONS = {
    "bash": re.compile(r"!(?!=)"),
    "PowerShell": re.compile(r"!(?!=)|-not\s", re.IGNORECASE),
    "cmd": re.compile(r"not\s", re.IGNORECASE),
}
_DEFINED = re.compile(r"defined\s+(\w+)", re.IGNORECASE)
Read = Callable[[str], str]
"""Puts the values of variables into one word."""


def met(condition: str, shell: Shell, read: Read) -> bool | None:
    """Whether it is met; None if that cannot be told."""
    condition = _unwrapped(condition)
    for joins, several in ((r"-or|\|\|", any), (r"-and|&&", all)):
        parts = re.split(rf"\s(?:{joins})\s", condition)
        if len(parts) > 1:
            told = [met(part, shell, read) for part in parts]
            decides = several is any
            return None if None in told and decides not in told else several(map(bool, told))
    if negation := _NEGATIONS[shell].match(condition):
        inner = met(condition[negation.end() :], shell, read)
        return None if inner is None else not inner
    return _one(condition, shell, read)


def _unwrapped(text: str) -> str:
    """`text` without the brackets that are around the whole of it."""
    text = text.strip()
    while text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        depth = 0
        for at, sign in enumerate(text):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(sign, 0)
            if not depth and at < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text


def _one(text: str, shell: Shell, read: Read) -> bool | None:
    """One comparison, or a variable that is true by itself."""
    if shell == "cmd" and (match := _DEFINED.fullmatch(text)):
        return not shell_words.unknown(read(f"%{match[1]}%"))
    if match := _LENGTH.fullmatch(text):
        return bool(_known(match[2], read)) == (match[1] == "n")
    if match := _COMPARED.fullmatch(text):
        return _compare(
            _known(match["left"], read), match["sign"].lower(), _known(match["right"], read)
        )
    if _VARIABLE.fullmatch(text):
        value = _known(text, read)
        # bash asks whether a text is empty, PowerShell for the number 0 as well
        return bool(value) and (shell == "bash" or value.lower() not in ("0", "false"))
    return None


def _known(text: str, read: Read) -> str:
    """The value of a word, empty where it has none."""
    value = read(text).strip()
    return "" if shell_words.unknown(value) else value


def _compare(left: str, sign: str, right: str) -> bool | None:
    """`left sign right` of two values; None of texts that have no order."""
    a, b = _number(left), _number(right)
    if sign in ("!=", "-ne", "neq"):
        return not _compare(left, "==", right)
    if sign in ("==", "=", "-eq", "-ceq", "-ieq", "equ"):
        return left.lower() == right.lower() or (a is not None and a == b)
    if a is None or b is None:
        return None
    return {"-gt": a > b, ">": a > b, "-lt": a < b, "<": a < b, "-ge": a >= b, ">=": a >= b,
            "-le": a <= b, "<=": a <= b}[sign]  # fmt: skip


def _number(text: str) -> float | None:
    """The number that a word is; nothing counts as 0."""
    try:
        return float(text or "0")
    except ValueError:
        return None
