"""Files in a second place, whole or not at all: by link, for no more bytes on the disk, or as copies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """`target` as another name of `source`, or a copy where the file system has no links.

    For files that are replaced and never written into. What lies at `target` is replaced, at once.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), part)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, part)
    os.replace(part, target)
    part.unlink(missing_ok=True)  # nothing is renamed where both are names of one file already


def copy(source: Path, target: Path) -> None:
    """`target` with the bytes of `source`, in place of what lies there."""
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    part.replace(target)
