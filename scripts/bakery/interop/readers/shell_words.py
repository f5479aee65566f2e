"""A script of bash, PowerShell or cmd.exe as statements, and a statement as words.

Nothing is run. What a variable stands for is looked up in a table of those that the script has set; a
reference to anything else (an argument of the script, another command's output) stays in the word as
a mark that `unknown` finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

Shell = Literal["bash", "PowerShell", "cmd"]
Value = str | list[str]
SUFFIXES: dict[str, Shell] = {
    ".sh": "bash", ".bash": "bash", ".zsh": "bash", ".command": "bash", ".ps1": "PowerShell",
    ".bat": "cmd", ".cmd": "cmd",
}  # fmt: skip
_COMMENTS = r"[ \t]*\n(?:[ \t]*(?:#|::|rem\s)[^\n]*\n)*"
_CONTINUED = {
    "bash": re.compile(r"\\" + _COMMENTS),
    "PowerShell": re.compile(r"`" + _COMMENTS),
    "cmd": re.compile(r"\^" + _COMMENTS, re.IGNORECASE),
}
"""A line that goes on in the next; comments in between are left out, though bash would end there."""
_BLOCK_COMMENT = re.compile(r"<#.*?#>", re.DOTALL)
_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1[^\n]*\n.*?\n[ \t]*\2[ \t]*(?=\n|$)", re.DOTALL)
_REMARK = re.compile(r"^[ \t]*(?:@?rem\b|::)[^\n]*$", re.IGNORECASE | re.MULTILINE)
_BASH_NAME = re.compile(
    r"\$(?:\{(?P<braced>\w+)(?:\[[@*]\])?(?::?-(?P<otherwise>[^{}]*))?\}|(?P<plain>[A-Za-z_]\w*|[0-9@*#?!]))"
)
_PS_NAME = re.compile(
    r"\$(?:\{(?P<braced>[\w:]+)\}|\(\$(?P<inner>\w+)\)|(?P<plain>(?:env:|script:|global:)?\w+))",
    re.IGNORECASE,
)
_CMD_NAME = re.compile(r"%(?P<percent>[A-Za-z_]\w*)%|!(?P<late>[A-Za-z_]\w*)!|%~?(?P<place>dp0|\d|\*)",
                       re.IGNORECASE)  # fmt: skip
_NAMES = {"bash": _BASH_NAME, "PowerShell": _PS_NAME, "cmd": _CMD_NAME}
_HERE = re.compile(r"dirname|BASH_SOURCE")
_UNKNOWN = re.compile(r"\0([^\0]*)\0")
_ENDS = {"bash": ";|&><", "PowerShell": ";|>", "cmd": "&|><"}
"""Signs that end a command outside of quotes."""


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
    if shell == "PowerShell":
        text = _BLOCK_COMMENT.sub("", text)
    elif shell == "cmd":
        text = _REMARK.sub("", text)
    else:
        text = _HEREDOC.sub("", text)
    text = _CONTINUED[shell].sub(" ", text)
    if shell == "cmd":
        pieces: Iterator[str] = iter(text.split("\n"))
    else:
        pieces = _split(text, shell)
    yield from filter(None, (piece.strip() for piece in pieces))


def _split(text: str, shell: Shell) -> Iterator[str]:
    """At line ends and semicolons that are in no quotes and brackets; at PowerShell's braces, too."""
    escape = "\\" if shell == "bash" else "`"
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
    escape = {"bash": "\\", "PowerShell": "`", "cmd": "^"}[shell]
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
        if sign == escape and quote != "'" and escapes:
            word, at = (word or "") + following, at + 2
            continue
        if quote:
            if sign == quote:
                quote = ""
            else:
                word = (word or "") + sign
        elif sign == '"' or (sign == "'" and shell != "cmd"):
            quote, word = sign, word or ""
        elif sign.isspace():
            found += [] if word is None else [word]
            word = None
        elif sign in _ENDS[shell] or (sign == "#" and word is None and shell != "cmd"):
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
    match = _NAMES[shell].match(text, at)
    if match is None:
        return None
    groups = match.groupdict()
    if groups.get("place"):
        return (f"{here}/" if groups["place"].lower() == "dp0" else ""), match.end()
    name = next(value for key, value in groups.items() if value and key != "otherwise")
    plain = re.sub(r"^(env|script|global):", "", name, flags=re.IGNORECASE)
    if plain.lower() in ("home", "userprofile"):
        return "~", match.end()
    if plain.lower() == "psscriptroot":
        return here, match.end()
    found = known.get(plain if shell == "bash" else plain.lower())
    if found is None or (found == "" and groups.get("otherwise")):
        otherwise = groups.get("otherwise")
        found = f"\0{match[0]}\0" if otherwise is None else otherwise.strip("\"'")
    return found, match.end()


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
