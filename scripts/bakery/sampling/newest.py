"""The pictures of a running bake's newest epoch, for whoever looks on; light, as it needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bakery.io.files import write_text

NAME = "pictures.state"
"""In a bake's folder."""


def record(folder: Path, epoch: int, pictures: Iterable[Path]) -> None:
    """Note in the bake's `folder` which pictures of `epoch` there are, or soon will be."""
    images = [os.path.relpath(path, folder) for path in pictures]
    before, shown = read(folder)
    noted = {"epoch": epoch, "images": images}
    old = {"epoch": before, "images": [os.path.relpath(path, folder) for path in shown]}
    write_text(folder / NAME, json.dumps(noted | ({"before": old} if before else {})) + "\n")


def read(folder: Path) -> tuple[int, list[Path]]:
    """The newest epoch of the bake in `folder` that was drawn while it trains, and its pictures as far
    as they exist; those of the epoch before until there is one, (0, []) without any."""
    try:
        noted = json.loads((folder / NAME).read_text(encoding="utf-8"))
        found = [_there(folder, one) for one in (noted, noted.get("before", noted))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return 0, []
    return next((one for one in found if one[1]), (0, []))


def _there(folder: Path, noted: Mapping[str, Any]) -> tuple[int, list[Path]]:
    paths = [folder / str(name) for name in noted["images"]]
    return int(noted["epoch"]), [path for path in paths if path.is_file()]
