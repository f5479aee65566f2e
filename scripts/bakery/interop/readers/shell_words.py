"""A script of bash, PowerShell or cmd.exe as statements, and a statement as words.

Nothing is run. What a variable stands for is looked up in a table of those that the script has set; a
reference to anything else (an argument of the script, another command's output) stays in the word as
a mark that `unknown` finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Shell = Literal["bash", "PowerShell", "cmd"]
Value = str | list[str]
SUFFIXES: dict[str, Shell] = {
    ".sh": "bash", ".bash": "bash", ".zsh": "bash", ".command": "bash", ".ps1": "PowerShell",
    ".bat": "cmd", ".cmd": "cmd",
}  # fmt: skip
_COMMENTS = r"[ \t]*\n(?:[ \t]*(?:#|::|rem\s)[^\n]*\n)*"
_BASH_NAME = re.compile(
    r"\$(?:\{(?P<braced>\w+)(?:\[[@*]\])?(?::?-(?P<otherwise>[^{}]*))?\}|(?P<plain>[A-Za-z_]\w*|[0-9@*#?!]))"
)
_PS_NAME = re.compile(
    r"\$(?:\{(?P<braced>[\w:]+)\}|\(\$(?P<inner>\w+)\)|(?P<plain>(?:env:|script:|global:)?\w+))",
    re.IGNORECASE,
)
_CMD_NAME = re.compile(r"%(?P<percent>[A-Za-z_]\w*)%|!(?P<late>[A-Za-z_]\w*)!|%~?(?P<place>dp0|\d|\*)",
                       re.IGNORECASE)  # fmt: skip
_SCOPE = re.compile(r"^(?:env|script|global):", re.IGNORECASE)
_HERE = re.compile(r"dirname|BASH_SOURCE")
_UNKNOWN = re.compile(r"\0([^\0]*)\0")


@dataclass(frozen=True)
class _Grammar:
    """How a shell writes what all of them have."""

    escape: str
    quotes: str
    ends: str
    """Signs that end a command outside of quotes."""
    comment: str
    """The sign that begins one at any place, or ""."""
    left_out: re.Pattern[str]
    """Comments and texts of several lines."""
    reference: re.Pattern[str]
    """To a variable."""
    any_case: bool
    """Whether case makes no difference in names of variables."""

    @property
    def goes_on(self) -> re.Pattern[str]:
        """A line's end behind which it goes on; comments in between are left out, though bash would
        end there."""
        return re.compile(re.escape(self.escape) + _COMMENTS, re.IGNORECASE)


_GRAMMARS: dict[Shell, _Grammar] = {
    "bash": _Grammar(
        "\\", "'\"", ";|&><", "#",
        re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1[^\n]*\n.*?\n[ \t]*\2[ \t]*(?=\n|$)", re.DOTALL),
        _BASH_NAME, any_case=False,
    ),
    "PowerShell": _Grammar(
        "`", "'\"", ";|>", "#", re.compile(r"<#.*?#>", re.DOTALL), _PS_NAME, any_case=True
    ),
    "cmd": _Grammar(
        "^", '"', "&|><", "",
        re.compile(r"^[ \t]*(?:@?rem\b|::)[^\n]*$", re.IGNORECASE | re.MULTILINE),
        _CMD_NAME, any_case=True,
    ),
}  # fmt: skip


def shell_of(suffix: str, text: str) -> Shell:
    """Whose script this is: by the file's ending, and by how lines go on where that says nothing."""
    if known := SUFFIXES.get(suffix.lower()):
        if known == "bash" and re.search(r"\s\^[ \t]*\n", text) and "\\\n" not in text:
            return "cmd"  # a command of cmd.exe that was saved as .sh
        return known
    if re.search(r"\s\^[ \t]*(\n|$)|^\s*set \"?\w+=", text, re.IGNORECASE | re.MULTILINE):
        return "cmd"
    return "PowerShell" if re.search(r"\s`[ \t]*\n|^\s*\$\w+\s*=", text, re.MULTILINE) else "bash"


def statements(text: str, shell: Shell) -> Iterator[str]:
    """The script's statements in their order, without comments; blocks of PowerShell are opened."""
    text = text.replace("\r\n", "\n").lstrip("\ufeff") + "\n"
    grammar = _GRAMMARS[shell]
    # the last line may go on, and lose its end
    text = grammar.goes_on.sub(" ", grammar.left_out.sub("", text)) + "\n"
    pieces = text.split("\n") if shell == "cmd" else _split(text, shell)
    yield from filter(None, (piece.strip() for piece in pieces))


def _split(text: str, shell: Shell) -> Iterator[str]:
    """At line ends and semicolons that are in no quotes and brackets; at PowerShell's braces, too."""
    escape = _GRAMMARS[shell].escape
    start, quote, depth, at = 0, "", 0, 0
    while at < len(text):
        sign = text[at]
        if quote:
            if sign == escape and quote == '"':
                at += 1
            elif sign == quote:
                quote = ""
        elif sign == escape:
            at += 1
        elif sign in "'\"":
            # a quote that never ends is an apostrophe
            quote = sign if text.find(sign, at + 1) >= 0 else ""
        elif sign == "#" and (at == 0 or text[at - 1] in " \t\n;({"):
            yield text[start:at]
            at = text.find("\n", at)
            if depth:
                text, at = text[:at] + " " + text[at + 1 :], at
            start = at
            continue
        elif sign in "()":
            depth = max(0, depth + (1 if sign == "(" else -1))
        elif sign in "\n;" and (not depth or (sign == "\n" and text[at + 1 : at + 2] == "\n")):
            yield text[start:at]
            start, depth = at + 1, 0
        elif shell == "PowerShell" and sign == "{" and text[at - 1] in "$@":
            at = text.find("}", at) if "}" in text[at:] else at
        elif shell == "PowerShell" and sign in "{}" and not depth:
            yield text[start:at]
            yield sign
            start = at + 1
        at += 1
    yield text[start:]


def words(statement: str, shell: Shell, known: Mapping[str, Value], here: str) -> list[str]:
    """The words of one command, up to a sign that ends it; `here` is the script's own folder."""
    found: list[str] = []
    word: str | None = None
    quote, at = "", 0
    grammar = _GRAMMARS[shell]
    while at < len(statement):
        sign = statement[at]
        if quote != "'" and (got := _reference(statement, at, shell, known, here)):
            value, at = got
            if isinstance(value, list) or (not quote and word is None and " --" in f" {value}"):
                several = value if isinstance(value, list) else [value]
                for one in several:
                    found += _again(one) if one.strip().startswith("-") else [one]
                word = word or None
            else:
                word = (word or "") + value
            continue
        following = statement[at + 1 : at + 2]
        escapes = following and (following in " \"'$\\`^&|" or (shell == "cmd" and not quote))
        if sign == grammar.escape and quote != "'" and escapes:
            word, at = (word or "") + following, at + 2
            continue
        if quote:
            if sign == quote:
                quote = ""
            else:
                word = (word or "") + sign
        elif sign in grammar.quotes:
            quote, word = sign, word or ""
        elif sign.isspace():
            found += [] if word is None else [word]
            word = None
        elif sign in grammar.ends or (sign == grammar.comment and word is None):
            word = None if sign == ">" and word in ("1", "2") else word
            break
        else:
            word = (word or "") + sign
        at += 1
    return [*found, *([] if word is None else [word])]


def _again(value: str) -> list[str]:
    """The words of a value that holds options."""
    return [piece.replace('"', "") for piece in re.findall(r"(?:[^\s\"]|\"[^\"]*\")+", value)]


def _reference(
    text: str, at: int, shell: Shell, known: Mapping[str, Value], here: str
) -> tuple[Value, int] | None:
    """(what stands for the reference that begins at `at`, where the text goes on), if one does."""
    if shell != "cmd" and (text.startswith("$(", at) or (text[at] == "`" and shell == "bash")):
        inner = _PS_NAME.match(text, at) if shell == "PowerShell" else None
        if not inner or not inner["inner"]:
            return _of_command(text, at, here)
    match = _GRAMMARS[shell].reference.match(text, at)
    if match is None:
        return None
    groups = match.groupdict()
    if groups.get("place"):
        return (f"{here}/" if groups["place"].lower() == "dp0" else ""), match.end()
    name = next(value for key, value in groups.items() if value and key != "otherwise")
    plain = variable(name, shell)
    if plain.lower() in ("home", "userprofile"):
        return "~", match.end()
    if plain.lower() == "psscriptroot":
        return here, match.end()
    found = known.get(plain)
    if found is None or (found == "" and groups.get("otherwise")):
        otherwise = groups.get("otherwise")
        found = f"\0{match[0]}\0" if otherwise is None else otherwise.strip("\"'")
    return found, match.end()


def variable(name: str, shell: Shell) -> str:
    """A variable's name without PowerShell's scope, and as all spellings of it have it."""
    plain = _SCOPE.sub("", name)
    return plain.lower() if _GRAMMARS[shell].any_case else plain


def _of_command(text: str, at: int, here: str) -> tuple[str, int]:
    """What `$(...)` stands for: the script's own folder where it asks for that, else nobody knows."""
    if text[at] == "`":
        end = text.find("`", at + 1) + 1 or len(text)
    else:
        depth, end = 0, at + 1
        while end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if not depth:
                break
    inside = text[at:end]
    if _HERE.search(inside):
        return here + "/.." * inside.count("/.."), end
    return f"\0{inside}\0", end


def unknown(text: str) -> str:
    """What stands in `text` for which no value is known; "" if there is nothing."""
    found = _UNKNOWN.search(text)
    return found[1] if found else ""


def readable(text: str) -> str:
    """`text` with what is not known as it stands in the script."""
    return _UNKNOWN.sub(r"\1", text)
