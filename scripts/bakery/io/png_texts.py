"""Text and colour profiles in a PNG that are larger than Pillow reads.

Node editors and generators write megabytes into a PNG's compressed text chunks. Pillow refuses the whole
picture then, as it cannot know that they are not a decompression bomb. Here such chunks are taken out
before Pillow sees the file, and read on their own, up to a limit.

The layout of the chunks: https://www.w3.org/TR/png-3/#11Ancillary-chunks
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from PIL import ImageFile, PngImagePlugin

from bakery.io import regular_files

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_TEXT = 32 * 2**20
"""Bytes of all the texts of one picture that are read here."""
MOST_PROFILE = 16 * 2**20
"""Bytes of a colour profile; larger ones are ignored."""
_MOST_OF_ONE = PngImagePlugin.MAX_TEXT_CHUNK
"""Bytes of one text that Pillow reads."""
_MOST_KEPT = PngImagePlugin.MAX_TEXT_MEMORY // 16
"""Bytes of text that are left to Pillow."""
_MOST_IN_MEMORY = 32 * 2**20
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


class TooMuchText(Exception):
    """A picture holds more text than `MOST_TEXT`."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG: its kind, and where its content is in the file."""

    kind: bytes
    start: int
    length: int

    def content(self, file: BinaryIO) -> bytes:
        file.seek(self.start)
        return file.read(self.length)


def large_chunks(path: Path) -> list[Chunk]:
    """The chunks that Pillow would refuse `path` for; none where it is no PNG.

    Raises OSError.
    """
    with regular_files.open_binary(path) as file:
        large, kept, most = [], 0, ImageFile.SAFEBLOCK
        for chunk in _chunks(file):
            size = -1
            if chunk.kind == b"iCCP":
                if chunk.length > MOST_PROFILE or len(_profile(chunk, file, most)) > most:
                    large.append(chunk)
            elif chunk.kind in _TEXTS:
                if max(chunk.length, kept) < _MOST_KEPT:  # else there is no need to unpack it
                    size = _size(*_parts(chunk.kind, chunk.content(file))[1:])
                    kept += size if size <= _MOST_OF_ONE else 0
                if not 0 <= size <= _MOST_OF_ONE or kept > _MOST_KEPT:
                    large.append(chunk)
        return large


def without(path: Path, large: list[Chunk]) -> IO[bytes]:
    """The file of `path` without these chunks, in memory where it is small."""
    left = tempfile.SpooledTemporaryFile(max_size=_MOST_IN_MEMORY)  # noqa: SIM115 the caller's
    with regular_files.open_binary(path) as file:
        for chunk in large:
            _copy(file, left, chunk.start - 8 - file.tell())
            file.seek(chunk.start + chunk.length + 4)
        shutil.copyfileobj(file, left)
    left.seek(0)
    return left


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count > 0 and (piece := source.read(min(count, 2**20))):
        target.write(piece)
        count -= len(piece)


def profile(path: Path, large: list[Chunk]) -> bytes | None:
    """The colour profile among these chunks; None where there is none that can be read."""
    with regular_files.open_binary(path) as file:
        for chunk in large:
            if chunk.kind == b"iCCP" and chunk.length <= MOST_PROFILE:
                found = _profile(chunk, file, MOST_PROFILE)
                return found if len(found) <= MOST_PROFILE else None
    return None


def _profile(chunk: Chunk, file: BinaryIO, most: int) -> bytes:
    """The profile in a chunk, or as much of it as shows that it is larger than `most` bytes."""
    _, _, packed = chunk.content(file).partition(b"\0")
    return _unpacked(packed[1:], most + 1)


def texts(path: Path) -> dict[str, str]:
    """All texts of a PNG by their keyword; a repeated keyword gets a number, as Pillow keeps one only.

    Raises `TooMuchText`, or OSError.
    """
    found: dict[str, str] = {}
    left = MOST_TEXT
    with regular_files.open_binary(path) as file:
        for chunk in _chunks(file):
            if chunk.kind not in _TEXTS:
                continue
            if chunk.length > MOST_TEXT:
                raise TooMuchText
            keyword, packed, text = _parts(chunk.kind, chunk.content(file))
            text = _unpacked(text, left + 1) if packed else text
            left -= len(text)
            if left < 0:
                raise TooMuchText
            name = keyword.decode("latin-1")
            code = "utf-8" if chunk.kind == b"iTXt" else "latin-1"
            found[name if name not in found else f"{name} {len(found)}"] = text.decode(
                code, "replace"
            )
    return found


def _chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Every chunk up to the first that is cut off or makes no sense."""
    file.seek(0)
    if file.read(8) != SIGNATURE:
        return
    end = file.seek(0, os.SEEK_END)
    at = 8
    while at + 12 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if at + 12 + length > end:
            return
        yield Chunk(kind, at + 8, length)
        at += 12 + length


def _parts(kind: bytes, content: bytes) -> tuple[bytes, bool, bytes]:
    """(keyword, whether the text is compressed, the text's bytes) of a text chunk."""
    keyword, _, rest = content.partition(b"\0")
    if kind == b"tEXt":
        return keyword, False, rest
    if kind == b"zTXt":
        return keyword, True, rest[1:]
    _language, _, named = rest[2:].partition(b"\0")
    _translated, _, text = named.partition(b"\0")
    return keyword, rest[:1] == b"\1", text


def _size(packed: bool, text: bytes) -> int:
    """Bytes of a text, or one more than Pillow reads of it."""
    return len(_unpacked(text, _MOST_OF_ONE + 1)) if packed else len(text)


def _unpacked(packed: bytes, most: int) -> bytes:
    """At most `most` bytes; what comes before the damage where the data are damaged."""
    engine, found = zlib.decompressobj(), bytearray()
    for start in range(0, len(packed), 4096):
        piece = packed[start : start + 4096]
        while piece and len(found) < most:
            try:
                found += engine.decompress(piece, most - len(found))
            except zlib.error:
                return bytes(found)
            piece = engine.unconsumed_tail
        if len(found) >= most:
            break
    return bytes(found)
