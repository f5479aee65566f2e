"""Every file below a folder, through links to other folders, each folder once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

READ_ALREADY = "a link to a folder that is read already"
AROUND = "a link to a folder that it is in"


@dataclass(frozen=True)
class Found:
    """A file, or a folder that is not entered."""

    path: Path
    left: str = ""
    """Why a folder is not entered; empty for a file."""
    broken: bool = False
    """Whether the folder should have been entered and could not be."""


def walk(folder: Path, refuse: Callable[[Path], str] = lambda _: "") -> list[Found]:
    """What is below `folder`, sorted by path. Links are followed; of a loop they are left.

    `refuse` gives the reason for which a folder is not entered, empty for those that are. Real folders
    come before links to them, so that the link is what is left.
    """
    found: list[Found] = []
    entered: set[Path] = set()
    around = set(folder.resolve().parents)
    links: list[Path] = []
    waiting = [folder]
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        real = here.resolve()
        if real in entered or real in around:
            found.append(Found(here, AROUND if real in around else READ_ALREADY))
            continue
        entered.add(real)
        try:
            inside = sorted(here.iterdir())
        except OSError as problem:
            found.append(Found(here, f"cannot be read: {problem.strerror}", broken=True))
            continue
        for path in inside:
            if not path.is_dir():
                found.append(Found(path))
            elif why := refuse(path):
                found.append(Found(path, why))
            else:
                (links if path.is_symlink() else waiting).append(path)
    return sorted(found, key=lambda one: one.path)


def files(folder: Path) -> Iterator[Path]:
    """Every regular file below `folder`, sorted by path, through links."""
    return (one.path for one in walk(folder) if not one.left and one.path.is_file())


def shown(folder: Path) -> Iterator[Path]:
    """The files below `folder`, sorted by path, without hidden ones and those in hidden folders.

    Links to folders are not followed: a quick look, before anything is read.
    """
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path
