"""Opens the files that somebody else named: regular ones only, and none larger than expected.

A pipe would block for ever, a device such as `/dev/zero` never ends, and opening a tape rewinds it. So
every file of the user's is opened here, or looked at with `check` where a library opens it by its path
(`tests/io/test_regular_files.py` holds the whole library to that). Links to regular files are followed.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

LARGEST_TEXT = 16 * 2**20
"""Bytes of a text that is read at once; what is larger was not written by or for people."""
_KINDS = (
    (stat.S_ISDIR, "a folder, where a file is expected"),
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device, not a file"),
)


class Unopened(OSError):
    """What is no regular file, or larger than expected; `strerror` says so in a few words."""

    def __str__(self) -> str:
        return str(self.strerror)


def open_binary(path: Path) -> BufferedReader:
    """The regular file at `path`, or at the end of its links, opened to be read.

    Raises `Unopened` for what is something else, and other `OSError`s, with a `strerror` for people.
    """
    check(path)
    # without O_NONBLOCK, a pipe that takes the file's place at this moment would block
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _refuse(os.fstat(opened), path)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """All bytes of the regular file at `path`. Raises as `open_binary` does, and for more than
    `largest` bytes."""
    with open_binary(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise Unopened(errno.EFBIG, f"larger than {_size(largest)}", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8", largest: int = LARGEST_TEXT) -> str:
    """The same as text, line ends as a text file's. Raises `UnicodeDecodeError`, too."""
    text = read_bytes(path, largest).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check(path: Path) -> None:
    """Raises `OSError` unless `path` is a regular file, or leads to one by links."""
    _refuse(_stat(path), path)


def check_tree_entry(path: Path) -> None:
    """The same, but a folder passes as well: for settings that name either."""
    about = _stat(path)
    if not stat.S_ISDIR(about.st_mode):
        _refuse(about, path)


def _size(count: int) -> str:
    return f"{count / 2**20:g} MB" if count >= 2**20 else f"{count / 2**10:g} kB"


def _stat(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except ValueError:  # a NUL
        raise Unopened(errno.EINVAL, "no name that a file can have", str(path)) from None
    except FileNotFoundError:
        if os.path.islink(path):
            raise FileNotFoundError(errno.ENOENT, "a link to nothing", str(path)) from None
        raise
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link that leads back to itself", str(path)) from None
        raise


def _refuse(about: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(about.st_mode):
        return
    what = next((words for is_kind, words in _KINDS if is_kind(about.st_mode)), "no regular file")
    code = errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.EINVAL
    raise Unopened(code, what, str(path))
