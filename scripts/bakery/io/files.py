"""Files that are written whole or not at all, wherever a program is stopped; and second names for
them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?=\.|$)", re.IGNORECASE
)
"""Names of devices on Windows, whatever follows behind a full stop."""


def unreserved(name: str) -> str:
    """`name` as Windows takes it for a file, too: `con` and `con.v2` become `con_` and `con_.v2`."""
    return _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name


@contextmanager
def whole(path: Path, *, rivals: bool = False, sync: bool = False) -> Iterator[Path]:
    """A temporary path to write `path`'s content to; it replaces `path` atomically when the block
    ends.

    After an error `path` is unchanged. With `rivals`, other processes may write the same file at
    the same time; with `sync`, the file also survives a power cut.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part" if rivals else f"{path.name}.part")
    try:
        yield part
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        # also after success: renaming between two names of one file does nothing
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `path`, whole or not at all; what UTF-8 cannot say (half a surrogate pair) becomes `?`."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")


def link(source: Path, target: Path) -> None:
    """`target` as another name of `source`, or a copy where the file system has no links.

    For files that are replaced and never modified in place. An existing `target` is replaced
    atomically.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole(target, rivals=True) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), part)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, part)


def copy(source: Path, target: Path) -> None:
    """Copy the bytes of `source` to `target`, replacing what is there."""
    with whole(target, rivals=True) as part:
        shutil.copyfile(source, part)
