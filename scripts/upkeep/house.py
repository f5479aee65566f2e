"""The wings of the library and the floors they are on; draws them as docs/house.svg.

`make docs` draws; `tests/test_house.py` holds the imports against the floors and the picture against the
imports. An arrow is an import between wings; those that follow from others are left out, since a wing
that imports `tags` reaches what `tags` imports anyway.
"""

from __future__ import annotations

import ast
import html
import sys
from pathlib import Path

from code_versions import imported, modules

PICTURE = Path(__file__).parents[2] / "docs" / "house.svg"
FLOORS: tuple[dict[str, str], ...] = (
    {
        "stages": "what a rule runs, one module a stage",
        "console": "what a terminal shows, and how a run stops",
    },
    {
        "report": "results read back for people",
        "forecast": "what a bake will cost, and where it may trip",
        "starting": "a config for a new character",
    },
    {
        "pages": "html, charts, contact sheets",
        "scoring": "what the tagger sees, as numbers",
        "sampling": "prompts, and pictures of LoRAs",
        "training": "a bake, step by step",
    },
    {
        "edits": "what people decide by hand",
        "vision": "pictures in, numbers out",
        "interop": "other programs' files",
        "dataset": "repeat folders, buckets, checks",
    },
    {"tags": "what words say, and which of them the trigger absorbs"},
    {
        "graph": "a config's keyed nodes",
        "sources": "boorus and folders",
        "jobs": "claims, leases, rungs",
        "lora": "adapters and their file",
    },
    {
        "settings": "a file for each section of the config",
        "families": "all that depends on the base's family",
    },
    {"gate": "the rule that nothing may change"},
    {"io": "files, tables, pictures, errors"},
)
"""Wing -> what it is for, the top floor first. A wing imports wings of lower floors only."""
WINGS = tuple(wing for floor in FLOORS for wing in floor)

_WIDTH, _MARGIN, _GAP, _BETWEEN, _LINE = 1180, 16, 18, 44, 15
_LETTERS = 6.1
"""Pixels of a letter of the small text, about."""


def wing(module: str) -> str:
    """The wing of a module's dotted name."""
    return module.partition(".")[0]


def floor(name: str) -> int:
    """The floor of a wing, 0 the top."""
    return next(number for number, wings in enumerate(FLOORS) if name in wings)


def arrows() -> set[tuple[str, str]]:
    """(wing, wing that it imports), all of them."""
    found, files = set(), modules()
    for module, path in files.items():
        needed = map(wing, imported(ast.parse(path.read_text(encoding="utf-8")), files))
        found |= {(wing(module), other) for other in needed if other != wing(module)}
    return found


def reduced(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """`pairs` without those that a way over others replaces."""
    reach: dict[str, set[str]] = {}
    for name in reversed(WINGS):  # what is imported comes first
        direct = {to for start, to in pairs if start == name}
        reach[name] = direct.union(*(reach[other] for other in direct))
    return {
        (start, to)
        for start, to in pairs
        if not any(to in reach[other] for begin, other in pairs if begin == start)
    }


def draw() -> str:
    """The picture as SVG text."""
    boxes: dict[str, tuple[float, float, float, float]] = {}
    parts, top = [], float(_MARGIN)
    for wings in FLOORS:
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(wings) - 1)) / len(wings)
        texts = {name: _wrapped(_names(name), width) for name in wings}
        tall = _LINE * (3 + max(map(len, texts.values())))
        for place, (name, meaning) in enumerate(wings.items()):
            left = _MARGIN + place * (width + _GAP)
            boxes[name] = (left, top, width, tall)
            parts.append(_box(name, meaning, texts[name], boxes[name]))
        top += tall + _BETWEEN
    lines = [_arrow(boxes[start], boxes[to]) for start, to in sorted(reduced(arrows()))]
    height = top - _BETWEEN + _MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>The wings of the library; arrows are imports, and lead down</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#b26a3c"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fffaf4"/>',
        *lines,
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def _names(name: str) -> list[str]:
    return sorted(module.partition(".")[2] for module in modules() if wing(module) == name)


def _wrapped(words: list[str], width: float) -> list[str]:
    """`words` as lines that fit into a box."""
    room, lines = int((width - 20) / _LETTERS), [""]
    for word in words:
        longer = f"{lines[-1]}  {word}" if lines[-1] else word
        lines[-1:] = [longer] if len(longer) <= room else [lines[-1], word]
    return lines


def _box(name: str, meaning: str, lines: list[str], box: tuple[float, float, float, float]) -> str:
    left, top, width, height = box
    rows = [
        f'<text x="{left + 10:.0f}" y="{top + _LINE * (3.4 + row):.0f}">{html.escape(line)}</text>'
        for row, line in enumerate(lines)
    ]
    return "\n".join([
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="7" '
        'fill="#fff" stroke="#d8c3ae"/>',
        f'<text x="{left + 10:.0f}" y="{top + 19:.0f}" font-size="15" font-weight="600" '
        f'fill="#3b2a1e">{name}</text>',
        f'<text x="{left + 10:.0f}" y="{top + 35:.0f}" font-size="11" fill="#8a6a4f">'
        f"{html.escape(meaning)}</text>",
        '<g font-size="11" fill="#4a4038" font-family="ui-monospace, monospace">',
        *rows,
        "</g>",
    ])  # fmt: skip


def _arrow(start: tuple[float, float, float, float], end: tuple[float, float, float, float]) -> str:
    """A curve from the lower edge of one box to the upper edge of another, drawn below the boxes."""
    x, y = start[0] + start[2] / 2, start[1] + start[3]
    to_x, to_y = end[0] + end[2] / 2, end[1] - 2
    bend = (to_y - y) / 2
    return (
        f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} '
        f'{to_x:.0f} {to_y:.0f}" fill="none" stroke="#b26a3c" stroke-opacity="0.55" '
        'stroke-width="1.4" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.name} shows the imports as they are\n")
