"""Files that are written whole or not at all, wherever a program is stopped or the power is cut; and
second names for them.

Without `fsync`, a file system may keep a new name and lose what is in the file. So a file is synced
before it gets its name, and its folder afterwards: what is written later never outlives what it stands
on.
"""

from __future__ import annotations

import errno
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
PASSING = (".part", ".lock")
"""Endings of files that nobody reads after a stop."""
TICK = 0.01
"""Seconds by which a file's time of change may be before the change: file systems read a clock that
ticks."""
_OF_PROCESS = re.compile(r"\.(\d+)\.part$")


def unreserved(name: str) -> str:
    """`name` as Windows takes it for a file, too: an underscore goes behind the name of a device."""
    return _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name


@contextmanager
def whole(path: Path, *, rivals: bool = False, lasting: bool = True) -> Iterator[Path]:
    """A temporary path to write `path`'s content to; it replaces `path` atomically when the block
    ends.

    After an error `path` is unchanged, and an `OSError` that names no file names `path`. With
    `rivals`, other processes may write the same file at the same time. `lasting` makes the file
    survive a power cut from here on (some milliseconds); without it, its content may be lost, so
    that is for what nobody misses.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part" if rivals else f"{path.name}.part")
    try:
        yield part
        if lasting:
            sync(part)
        os.replace(part, path)
        if lasting:
            sync(path.parent)
    except OSError as error:
        if error.errno and error.filename is None:  # as after a write: on a full disk, say
            error.filename = str(path)
        raise
    finally:
        # also after success: renaming between two names of one file does nothing
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Folders that the file system cannot sync are left to it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            error.filename = str(path)
            raise
    finally:
        os.close(handle)


def settle(folder: Path) -> None:
    """Wait until all that is in `folder`, and its own name, is on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            if not file.is_symlink() and not name.endswith(PASSING):
                sync(file)
        sync(Path(place))
    for above in list(folder.parents)[:2]:
        sync(above)


def remove_parts(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written in `folder`; returns how many.

    Parts without a process in their name are left: whoever writes that file again replaces them.
    """
    removed = 0
    for place, _, names in os.walk(folder):
        for name in names:
            found = _OF_PROCESS.search(name)
            if found and not _is_alive(int(found[1])):
                Path(place, name).unlink(missing_ok=True)
                removed += 1
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's
        return True
    return True


def sayable(text: str) -> str:
    """`text` with `?` for what UTF-8 cannot say: half a surrogate pair, from JSON or a file name."""
    return text.encode("utf-8", "replace").decode()


def write_text(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write what UTF-8 can say of `text` to `path`, whole or not at all (`whole`)."""
    with whole(path, lasting=lasting) as part:
        part.write_text(sayable(text), encoding="utf-8")


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
