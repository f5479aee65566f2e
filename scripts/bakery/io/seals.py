"""Seals: the sha256 of a record, and of the files it vouches for, as they were when it was written.

The seal of `manifest.json` is `manifest.seal` beside it, in the format of `sha256sum`, so that
`sha256sum -c manifest.seal` checks it, too. It is written before its record: a record without a seal
is of a version that wrote none, and counts as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.io.files import sayable, write_text

ENDING = ".seal"
DAMAGED, MISSING = "damaged", "missing"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_BYTES = 32
"""Of a sha256."""


class Unsealed(BakeryError):
    """Of an earlier version, which did not record all that is needed."""


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was recorded."""

    path: Path
    kind: str
    """`DAMAGED` or `MISSING`."""
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


def digest(path: Path) -> str:
    """sha256 of a regular file's bytes, in hex."""
    with regular_files.open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of(record: Path) -> Path:
    """Where the seal of `record` is."""
    return record.with_suffix(ENDING)


def write(record: Path, text: str, beside: Mapping[str, str] = {}) -> None:
    """Write `record`, its seal first; `beside` names other files of the folder with their sha256."""
    own = hashlib.sha256(sayable(text).encode()).hexdigest()
    listed = {record.name: own, **beside}
    write_text(of(record), "".join(f"{value}  {name}\n" for name, value in listed.items()))
    write_text(record, text)


def write_beside(record: Path, names: Iterator[str] | list[str]) -> None:
    """Seal `record` as it is, and the files `names` beside it."""
    write(record, record.read_bytes().decode(), {n: digest(record.parent / n) for n in names})


def remove(record: Path) -> None:
    """Remove a record and its seal."""
    record.unlink(missing_ok=True)
    of(record).unlink(missing_ok=True)


def read(record: Path) -> dict[str, str] | None:
    """Name -> sha256 of what the seal of `record` covers; None if it has none.

    Raises `BakeryError` for a seal that is damaged.
    """
    path = of(record)
    try:
        lines = path.read_bytes().decode().splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        lines = [""]
    found = [_LINE.fullmatch(line) for line in lines]
    listed = {match[2]: match[1] for match in found if match}
    inside = all(_is_inside(name) for name in listed)
    if len(listed) < len(lines) or record.name not in listed or not inside:
        raise BakeryError(f"{path} is no seal of {record.name} any more")
    return listed


def faults(record: Path, *, alone: bool = False) -> Iterator[Fault]:
    """What differs from the seal of an existing `record`: it, or a file beside it unless `alone`."""
    if not record.is_file():
        return
    try:
        listed = read(record)
    except BakeryError:
        yield Fault(of(record), DAMAGED, f"is no seal of {record.name} any more")
        return
    for name, known in (listed or {}).items():
        if name == record.name or not alone:
            yield from compare(record.parent / name, known, of(record).name)


def compare(path: Path, known: str, record: str) -> Iterator[Fault]:
    """A fault, if the sha256 of `path` is not the `known` one that `record` has."""
    try:
        same = digest(path) == known
    except FileNotFoundError:
        yield Fault(path, MISSING, f"is missing although {record} lists it")
        return
    except OSError as error:
        yield Fault(path, DAMAGED, f"cannot be read ({error.strerror})")
        return
    if not same:
        yield Fault(path, DAMAGED, f"is not as it was made: its sha256 is not the one in {record}")


def close(path: Path) -> None:
    """Append the sha256 of a file's bytes to it: the file vouches for itself (`is_whole`)."""
    with path.open("r+b") as file:
        value = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, os.SEEK_END)
        file.write(value)


def is_whole(path: Path) -> bool:
    """Whether a file ends with the sha256 of all before it, as `close` leaves it."""
    value, left = hashlib.sha256(), path.stat().st_size - _BYTES
    if left < 0:
        return False
    with path.open("rb") as file:
        while left and (piece := file.read(min(left, 2**20))):
            value.update(piece)
            left -= len(piece)
        return file.read() == value.digest()


def pack(name: str, data: bytes) -> bytes:
    """The content of a file that is called `name` and holds `data`: before it, the sha256 of both."""
    return _bound(name, data) + data


def unpack(name: str, content: bytes) -> bytes:
    """The data in the content of the file `name`; `BakeryError` says what is wrong with it."""
    value, data = content[:_BYTES], content[_BYTES:]
    if value == _bound(name, data):
        return data
    earlier = value == hashlib.sha256(data).digest()
    raise Unsealed("an earlier version wrote it") if earlier else BakeryError("its sha256 differs")


def _bound(name: str, data: bytes) -> bytes:
    value = hashlib.sha256(name.encode() + b"\0")
    value.update(data)
    return value.digest()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
