"""Faults of the machine as sentences: a full or read-only disk, a missing permission, too little memory.

They are no bugs: what is finished stays, and the same command goes on once there is room.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from bakery.io.errors import BakeryError

GO_ON = "then run the same command again to go on"
_FREE = (
    "make room (results/cache can always be deleted, and `snakemake --cores 1 clean` lists what else "
    f"can), {GO_ON}"
)
_DISK = {
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: ("your quota on this disk is used up", _FREE),
    errno.EFBIG: (
        "it is larger than files may be here",
        f"raise that limit (`ulimit -f`), {GO_ON}",
    ),
    errno.EROFS: (
        "the disk is read-only",
        f"make it writable (after a fault of a disk, check that first), {GO_ON}",
    ),
    errno.EIO: ("the disk failed", f"check the disk and its connection, {GO_ON}"),
    errno.EMFILE: ("too many files are open", f"raise that limit (`ulimit -n`), {GO_ON}"),
    errno.ENFILE: ("too many files are open on this machine", f"close other programs, {GO_ON}"),
}
"""Error number -> what happened, what to do."""
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_MEMORY = re.compile(
    r"not enough memory|can(?:'t|not) allocate memory|failed to allocate memory|std::bad_alloc"
    r"|out of memory|can't start new thread",
    re.IGNORECASE,
)
"""What torch, onnxruntime and others say."""
_LITTLE = 2**20
"""Bytes: with less free, a disk is full."""


def sentence(error: BaseException, place: Path) -> str | None:
    """What to tell of an error, if the machine is its cause and not a bug.

    `place` is the folder being written, named where the error names no file.
    """
    for one in _chain(error):
        if isinstance(one, OSError):
            file = one.filename2 or one.filename or place
            if one.errno in _DISK:
                what, remedy = _DISK[one.errno]
                return f"{_shown(file)} could not be written: {what}; {remedy}"
            if one.errno in _FORBIDDEN and one is error:
                return (
                    f"{_shown(file)} may not be read or written by this user ({one.strerror}): "
                    f"change its owner or permissions, {GO_ON}"
                )
        if _is_of_memory(one):
            return (
                f"the memory is used up ({type(one).__name__}) while {place} was made: close other "
                f"programs or run fewer jobs at once (`--resources gpu=1`), {GO_ON}"
            )
    return None


def of_folder(folder: Path) -> str | None:
    """Whether the disk of `folder` cannot be written to, as a sentence; None if it can."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        if shutil.disk_usage(folder).free < _LITTLE:
            return f"the disk of {_shown(folder)} is full: {_FREE}"
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return f"the disk of {_shown(folder)} is read-only: make it writable, {GO_ON}"
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return f"{_shown(folder)} may not be written by this user: change its permissions, {GO_ON}"
    return None


def check(folder: Path) -> None:
    """Raises `BakeryError` if nothing can be written in `folder`."""
    if (said := of_folder(folder)) is not None:
        raise BakeryError(said)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, innermost last."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return isinstance(error, MemoryError) or (told and bool(_MEMORY.search(str(error))))


def _shown(file: object) -> str:
    """A file as people look for it: from the working directory on, without a temporary ending."""
    text = os.fsdecode(file) if isinstance(file, bytes) else str(file)
    text = "this folder" if text == "." else text
    return re.sub(r"(\.\d+)?\.part$", "", text)
