"""What the last dry bake expected of each bake, kept until the bake is finished: `expected.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bakery.io import manifest
from bakery.io.files import write_text

NAME = "expected.json"
"""In the dry bake's folder."""


@dataclass(frozen=True)
class Expected:
    """What was expected of one bake's training; None where it was not known."""

    label: str
    steps: int | None
    seconds: float | None
    memory: float | None
    """Peak, in bytes."""
    loras: float | None
    """Bytes of all its LoRA files."""
    together: str
    """In groups of how many the bakes were trained that this was derived from."""


def write(folder: Path, bakes: Mapping[str, Expected]) -> None:
    """Write `folder`/expected.json; `bakes` are by their training's folder.

    Of a bake that is finished, what was expected before it ran is kept, since now it is known.
    """
    kept, known = {}, read(folder)
    for place, one in bakes.items():
        before = known.get(place)
        if not (Path(place) / manifest.NAME).is_file():
            kept[place] = asdict(one)
        elif before is not None:
            kept[place] = asdict(before)
    write_text(folder / NAME, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Expected]:
    """What `write` wrote; {} if nothing was, or what is there cannot be read."""
    try:
        said = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    for place, one in said.items() if isinstance(said, dict) else ():
        with suppress(TypeError):  # of another version
            found[place] = Expected(**one)
    return found
