"""Files that are there whole or not at all, wherever a program is stopped; and in a second place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path, *, rivals: bool = False, sync: bool = False) -> Iterator[Path]:
    """Where to write what `path` is to hold: put in its place, at once, when the block ends.

    After an error what lay at `path` still does. With `rivals` other processes may be writing the same
    file; with `sync` it also outlasts a power cut.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part" if rivals else f"{path.name}.part")
    try:
        yield part
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        # also where all went well: two names of one file are not renamed into each other
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `path`, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """`target` as another name of `source`, or a copy where the file system has no links.

    For files that are replaced and never written into. What lies at `target` is replaced, at once.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target, rivals=True) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), part)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, part)


def copy(source: Path, target: Path) -> None:
    """`target` with the bytes of `source`, in place of what lies there."""
    with whole(target, rivals=True) as part:
        shutil.copyfile(source, part)
