"""The repository's documents as a Markdown reader sees them: links, anchors, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import dropwhile, pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        ROOT / "config/README.md",
        ROOT / "resources/world/booru/README.md",
    ]
)
SHELL = {"", "sh", "bash", "console"}
"""Languages of blocks that may hold commands."""


def _tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def _inline(text: str) -> Iterator[Token]:
    for token in _tokens(text):
        yield from token.children or []


def links(text: str) -> list[str]:
    """Where links and pictures lead, as they are written."""
    return [
        str(token.attrGet("href") or token.attrGet("src"))
        for token in _inline(text)
        if token.type in ("link_open", "image")
    ]


def headings(text: str) -> list[tuple[int, str, int]]:
    """Level, anchor and first line of each heading, in order.

    Anchors are GitHub's: lower case, no punctuation, `-` for a space.
    """
    found = []
    for heading, inline in pairwise(_tokens(text)):
        if heading.type == "heading_open" and heading.map is not None:
            title = "".join(child.content for child in inline.children or []).lower()
            anchor = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            found.append((int(heading.tag[1]), anchor, heading.map[0]))
    return found


def anchors(text: str) -> set[str]:
    return {anchor for _, anchor, _ in headings(text)}


def section(text: str, anchor: str) -> str:
    """From the heading `anchor` to the next one of its level or above; all of it for ""."""
    if not anchor:
        return text
    after = list(dropwhile(lambda heading: heading[1] != anchor, headings(text)))
    level, _, first = after[0]
    last = next((line for above, _, line in after[1:] if above <= level), None)
    return "\n".join(text.splitlines()[first:last])


def code(text: str) -> Iterator[str]:
    """Inline code and blocks that may hold commands, each as it is written."""
    for token in _tokens(text):
        fenced = token.type == "fence" and token.info.strip() in SHELL
        if fenced or token.type == "code_block":
            yield token.content
        for child in token.children or []:
            if child.type == "code_inline":
                yield child.content


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, header rows left out."""
    row: list[str] | None = None
    for token in _tokens(text):
        if token.type == "tbody_open":
            row = []
        elif token.type == "tbody_close":
            row = None
        elif token.type == "tr_open" and row is not None:
            row = []
        elif token.type == "tr_close" and row is not None:
            yield row
        elif token.type == "inline" and row is not None:
            row.append(token.content)


def targets() -> set[str]:
    """Names of the Makefile's targets."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
