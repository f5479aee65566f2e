"""Tags that are drawn with letters: `>_<`, `:d`, `\\o/`. Nothing in them is a bracket or a space."""

from __future__ import annotations

import re

# fmt: off
KAOMOJI = frozenset({
    "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9",
    ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||",
})
# fmt: on
"""Tags whose underscore is drawn, not a space."""

_EYES_FIRST = re.compile(r">?[:;=]['^-]?(?:[dpqotsxicv3()<>|/\\\[\]#*&$@{}]|<>|>=)", re.IGNORECASE)
_MOUTH_FIRST = re.compile(r"[dc()]:<?|\\[omn]/|\\\|\|/|\\\(\^o\^\)/|\^q\^|\^\^\^")
_SAME_EYES = re.compile(r"([^\w\s]|[a-z0-9])[_.]+\1", re.IGNORECASE)


def is_emoticon(text: str) -> bool:
    """Whether the whole text is a face: `:)`, `;d`, `^_^`, `(o)_(o)`."""
    return text in KAOMOJI or any(
        face.fullmatch(text) for face in (_EYES_FIRST, _MOUTH_FIRST, _SAME_EYES)
    )
