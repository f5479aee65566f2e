"""Opens safetensors files, and says of one that cannot be read what it is instead.

A download goes wrong in the same few ways whatever it was to be: git leaves a pointer, a site its login
page, a broken connection half of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bakery.io import regular_files
from bakery.io.errors import BakeryError, first_line

_Sign = tuple[bytes, str, str]
_OTHER_FILES: tuple[_Sign, ...] = (
    (rb"version https://git-lfs", "a git-lfs pointer, not the model itself",
     "run `git lfs pull` where you cloned it, or download the file from its page"),
    (rb"\s*(<!doctype|<html|<\?xml)", "a web page, not a model",
     "the download needs a login or another link; open it in a browser"),
    (rb"\s*\{\s*\"(error|message|detail)", "an error message of a site, not a model",
     "open it in a text editor to read why the download failed"),
    (rb"GGUF", "a quantised model (GGUF)", "train on the full checkpoint"),
    (rb"(Rar!|7z\xbc\xaf|\x1f\x8b)", "an archive", "unpack it first"),
)  # fmt: skip
"""How files begin that people take for weights: what they are, and what to do."""
_CALLED_SAFETENSORS: tuple[_Sign, ...] = (
    # a header's length may begin with the same two bytes, but four later ones of it are zero
    (rb"(PK\x03\x04.*/data\.pkl|\x80[\x02-\x05]..(?!\0{4}))", "a pickle with a safetensors file's name",
     "a checkpoint is read as .ckpt, anything else has to be converted"),
    (rb"PK\x03\x04", "a zip archive", "unpack it first"),
)  # fmt: skip
"""The same, of files that are what they should be under another name."""
_LONGEST_HEADER = 100_000_000
"""Bytes that safetensors reads."""
_AGAIN = "download it again"
_LIBRARY_SAYS = "Error while deserializing header: "


@contextmanager
def opened(
    path: Path, cure: str = _AGAIN, *, where: str = "", framework: str = "np"
) -> Iterator[safe_open]:
    """The safetensors file at `path`, of which only the header has been read.

    "np" is enough for names, shapes and metadata; only with "pt" can every tensor be read, and torch is
    imported. Raises `BakeryError`, also for what turns out to be damaged while the block runs: `where`
    (the setting that names the file), what is wrong, and `cure` unless the file shows a better one.
    """
    try:
        regular_files.check(path)
        with safe_open(path, framework=framework) as file:
            yield file
    except FileNotFoundError:
        reason = "cannot be read (it does not exist): check the path"
        raise BakeryError(f"{where}{path} {reason}") from None
    except OSError as problem:
        reason = problem.strerror or first_line(problem)
        raise BakeryError(f"{where}{path} cannot be read ({reason}): {cure}") from None
    except SafetensorError as problem:
        refuse_others(path, cure, where=where, known=_OTHER_FILES + _CALLED_SAFETENSORS)
        reason = _odd_in_header(path) or first_line(problem).removeprefix(_LIBRARY_SAYS)
        raise BakeryError(
            f"{where}{path} is damaged or not a safetensors file ({reason}): {cure}"
        ) from None


def metadata(path: Path, cure: str = _AGAIN) -> dict[str, str]:
    """What a safetensors file says of itself, empty if nothing. Raises as `opened` does."""
    with opened(path, cure) as file:
        return dict(file.metadata() or {})


def refuse_others(
    path: Path, cure: str = _AGAIN, *, where: str = "", known: Sequence[_Sign] = _OTHER_FILES
) -> None:
    """`BakeryError` for a file that has the name of weights and is something else, or nothing."""
    with regular_files.open_binary(path) as file:
        begins = file.read(256)
    for sign, what, better in known:
        if re.match(sign, begins, re.IGNORECASE | re.DOTALL):
            raise BakeryError(f"{where}{path} is {what}: {better}")
    if not begins.strip(b"\0"):
        size = path.stat().st_size
        what = "is empty" if not size else f"begins with nothing but zeros ({size} bytes)"
        raise BakeryError(f"{where}{path} {what}: the file is damaged, {cure}")


def _odd_in_header(path: Path) -> str:
    """How much is missing of a file that was cut off, or which metadata are no text; "" for others."""
    size = path.stat().st_size
    with regular_files.open_binary(path) as file:
        length = int.from_bytes(file.read(8), "little")
        content = file.read(length) if length <= _LONGEST_HEADER else b""
    if 0 < len(content) < length:
        is_json = content.startswith(b"{")
        return f"{size:,} bytes instead of more than {8 + length:,}" if is_json else ""
    try:
        listed = json.loads(content)
        texts = listed.pop("__metadata__", None) or {}
        if odd := [name for name, value in texts.items() if not isinstance(value, str)]:
            return f"{odd[0][:100]!r} in its metadata is no text"
        whole = 8 + length + max(entry["data_offsets"][1] for entry in listed.values())
        return f"{size:,} bytes instead of {whole:,}" if size != whole else ""
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return ""
