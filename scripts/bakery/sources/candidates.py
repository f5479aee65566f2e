"""Several captions of one picture: candidates, of which a trainer draws one each time it shows it.

In a caption file they are its lines, as sd-scripts (`enable_wildcard`) and OneTrainer read them, and
`{a|b}` in a line is one of these words. Both are drawn evenly there, so candidates are written out here
as often as sd-scripts would draw them. In a file that is written here, a brace of a caption is doubled,
which is how sd-scripts tells it from a choice. (`|||` is no choice there: it ends the part of a caption
that shuffling leaves in place.)
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bakery.sources import written_forms
from bakery.sources.caption_grammar import parse

MOST = 64
"""Candidates that choices may make of a picture's lines; where they would make more, each choice is its
first word. Lines are not bounded: each is at least one candidate."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_CHOICE = re.compile(r"\{([^}|]*\|[^}]*)\}")
"""Braces around one word are emphasis, or the trigger's place."""
_OPEN, _CLOSE = "\ue020", "\ue021"
"""Stand for doubled braces, which are no choice."""


def parsed(text: str) -> tuple[str, ...]:
    """The candidates in the text of a caption file, each as one line; () where there is only one.

    Empty ones are left out. Raises `TooLong`.
    """
    changes: Counter[str] = Counter()  # counted where the whole caption is read
    text = written_forms.plain(text, changes)
    lines = written_forms.without_bullets(lines_of(text), changes)
    if len(lines) < 2 and "|" not in text:
        return ()
    found = [one for line in chosen(lines) if (one := parse(line).text)]
    return tuple(found) if len(set(found)) > 1 else ()


def chosen(lines: Sequence[str]) -> list[str]:
    """All that the choices in `lines` can make, each as often as sd-scripts would draw it, relative to
    the others: first a line is drawn, then a word for each choice."""
    hidden = [_hidden(line) for line in lines]
    sizes = [[len(match.split("|")) for match in _CHOICE.findall(line)] for line in hidden]
    ways = [math.prod(each) for each in sizes]
    if sum(ways) > MOST:
        return [_made(line, itertools.repeat(0)) for line in hidden]
    common = math.lcm(*ways)
    if common * len(lines) > MOST:
        common = 0  # then each once
    found = []
    for line, each, count in zip(hidden, sizes, ways, strict=True):
        for numbers in itertools.product(*map(range, each)):
            found += [_made(line, iter(numbers))] * max(1, common // count)
    return found


def lines_of(text: str) -> list[str]:
    """The lines of a caption file that say something, without white space around them."""
    return [line.strip() for line in _LINE_END.split(text) if line.strip()]


def written(captions: Iterable[str]) -> str:
    """The text of a caption file with these candidates, a line each."""
    return "".join(f"{one.replace('{', '{{').replace('}', '}}')}\n" for one in captions)


def read(text: str) -> tuple[str, ...]:
    """The candidates in a file that `written` made."""
    return tuple(_shown(_hidden(line)) for line in lines_of(text))


def _made(hidden: str, numbers: Iterable[int]) -> str:
    """A line, its doubled braces hidden, with the word of these numbers for each choice."""
    which = iter(numbers)
    return _shown(_CHOICE.sub(lambda match: match[1].split("|")[next(which)], hidden))


def _hidden(line: str) -> str:
    return line.replace("{{", _OPEN).replace("}}", _CLOSE)


def _shown(line: str) -> str:
    return line.replace(_OPEN, "{").replace(_CLOSE, "}")
