"""Literal text as A1111, its forks and ComfyUI read it in a prompt."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\()\[\]]")


def escape(text: str) -> str:
    """`text` with brackets and backslashes escaped: unescaped brackets are emphasis."""
    return _SPECIAL.sub(r"\\\g<0>", text)
