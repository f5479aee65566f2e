r"""Literal text in A1111's prompt syntax, and back.

Captions and our own prompts are literal: `shiroko (blue archive)` is a name. A1111 and its forks read
brackets as emphasis, so what leaves for them is escaped: `shiroko \(blue archive\)`. They read a prompt
in this order (modules/processing.py, extra_networks.py, prompt_parser.py of
AUTOMATIC1111/stable-diffusion-webui), and each step has something to keep away from it:

- a line that begins with `Negative prompt:`, in an infotext;
- `#` to the end of the line, a comment: there is no escape, see `has_comment`;
- `<name:...>`, an extra network;
- the word `AND`, and `: 1.5` at the very end, which is the weight of what `AND` divides;
- `( ) [ ]`, emphasis and schedules, and the word `BREAK`;
- a backslash, which makes a bracket or backslash literal and is dropped before anything else.

That last rule gives an escape for words: `A\ND` is read as AND, but divides nothing.

ComfyUI knows `\(` and `\)` alone, with the same meaning; a square bracket or a backslash is literal
there as it stands. So text without these reads the same in both.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\()\[\]]")
_WORD = re.compile(r"\b(A)(ND)\b|\b(B)(REAK)\b")
_NETWORK = re.compile(r"<(?=\w+:)")
_WEIGHT = re.compile(r"(:\s*)(?=[-+]?(?:\d+\.?|\d*\.\d+)\s*\Z)")
_NEGATIVE = re.compile(r"^(?=\s*Negative prompt:)", re.MULTILINE)
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_MARKED = re.compile(r"\\[()\[\]]|[(\[][^()\[\]]*:\s*[-+]?[.\d]+\s*[)\]]")


def escape(text: str) -> str:
    """Literal text, a whole prompt or its end, as A1111's syntax writes it."""
    text = _SPECIAL.sub(r"\\\g<0>", text)
    text = _WORD.sub(lambda word: "\\".join(filter(None, word.groups())), text)
    text = _NETWORK.sub(r"<\\", text)
    text = _WEIGHT.sub(r"\1\\", text)
    return _NEGATIVE.sub(r"\\", text)


def unescape(prompt: str) -> str:
    """The inverse of `escape`. Emphasis in a person's prompt stays as written, with its weights."""
    return _ESCAPED.sub(r"\1", prompt)


def has_comment(text: str) -> bool:
    """Whether A1111 cuts this text at a `#`, unless its setting "Enable comments" is off."""
    return "#" in text


def is_marked(text: str) -> bool:
    r"""Whether the text looks like A1111's syntax: it has an escaped bracket or a weight."""
    return _MARKED.search(text) is not None
