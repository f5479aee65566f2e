"""The pictures of a running bake's newest epoch, for whoever looks on; light, as it needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from bakery.io.files import write_text

NAME = "pictures.state"
"""In a bake's folder."""


def record(folder: Path, epoch: int, pictures: Iterable[Path]) -> None:
    """Note in the bake's `folder` which pictures of `epoch` there are, or soon will be."""
    images = [os.path.relpath(path, folder) for path in pictures]
    write_text(folder / NAME, json.dumps({"epoch": epoch, "images": images}) + "\n")


def read(folder: Path) -> tuple[int, list[Path]]:
    """The newest epoch of the bake in `folder` that was drawn while it trains, and its pictures as far
    as they exist; (0, []) without one."""
    try:
        noted = json.loads((folder / NAME).read_text(encoding="utf-8"))
        paths = [folder / str(name) for name in noted["images"]]
        return int(noted["epoch"]), [path for path in paths if path.is_file()]
    except (OSError, ValueError, TypeError, KeyError):
        return 0, []
