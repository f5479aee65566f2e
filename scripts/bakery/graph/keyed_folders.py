"""Folders of results by their key: `<readable>-<key>`, of which only the key counts."""

from __future__ import annotations

import re
from pathlib import Path

from bakery.io import manifest

_KEYED = re.compile(r"(?:.*-)?([0-9a-f]{12})")


def key_of(name: str) -> str:
    """What follows the last `-` of a folder's name; the whole name without one."""
    return name.rpartition("-")[2]


def readable(name: str) -> str:
    """A folder's name without its key; the whole name without one."""
    return name.rpartition("-")[0] or name


def is_keyed(name: str) -> bool:
    """Whether a folder's name ends in a key, as those of a stage's results do."""
    return _KEYED.fullmatch(name) is not None


def by_key(place: Path) -> dict[str, str]:
    """Key -> name of the folders in `place` (`results/<stage>`).

    Of several with one key, as left by hand, a finished one counts, then the first by name.
    """
    if not place.is_dir():
        return {}
    found: dict[str, list[Path]] = {}
    for path in sorted(place.iterdir()):
        if is_keyed(path.name) and path.is_dir():
            found.setdefault(key_of(path.name), []).append(path)
    return {key: max(paths, key=_is_finished).name for key, paths in found.items()}


def located(folder: Path) -> Path:
    """`folder`, or if it does not exist, the one beside it with the same key; else `folder`."""
    if folder.is_dir() or not is_keyed(folder.name):
        return folder
    name = by_key(folder.parent).get(key_of(folder.name))
    return folder.with_name(name) if name else folder


def _is_finished(folder: Path) -> bool:
    return (folder / manifest.NAME).is_file()
