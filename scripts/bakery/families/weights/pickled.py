"""What a `.ckpt` or `.pt` contains, found without torch and without running anything in it.

A pickle is a small program that names functions to call. Here each name leads to a stand-in that only
remembers its arguments: of a tensor the shape. A name that no file of plain weights has ends the
reading. The bytes of the weights are never read. Both of torch's forms are known: a zip with `data.pkl`
in it, and before 1.6 several pickles in a row.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that torch wrote before 1.6; its third one after this has the tensors."""
_LARGEST = 256 * 2**20
"""Bytes of the pickle itself, without weights; real ones have a few MB."""


class NotPlain(Exception):
    """The pickle names something that could run code; the message is what it names."""


class Broken(Exception):
    """No pickle of torch's, or not all of it."""


class _Shape(tuple[int, ...]):
    """A tensor's shape, in its place."""


class _Anything:
    """Stands for an object whose content does not matter, such as a storage or a dtype."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(_storage: Any, _offset: Any, size: Any, *_: Any) -> _Shape:
    return _Shape(int(side) for side in size)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_PLAIN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _Shape,
    ("torch", "device"): _Anything,
}
_KINDS = ("Storage", "float", "double", "half", "int", "long", "short", "bool", "uint", "bfloat",
          "complex")  # fmt: skip


class _Reader(pickle.Unpickler):
    """Reads with stand-ins only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if module in ("torch", "torch.storage") and (
            name.endswith(_KINDS[0]) or name.startswith(_KINDS[1:])
        ):
            return _Anything
        raise NotPlain(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """A storage: the weights are elsewhere in the file."""
        return _Anything()


def shapes(path: Path) -> dict[str, tuple[int, ...]] | str:
    """Name -> shape of the tensors in the file, or the kind of thing that it holds instead.

    Raises `NotPlain` and `Broken`, and OSError.
    """
    try:
        content = _zipped(path) if zipfile.is_zipfile(path) else _in_a_row(path)
    except NotPlain:
        raise
    except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile, RecursionError) as error:
        raise Broken(str(error)) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle calls its stand-ins with anything
        raise Broken(f"{type(error).__name__}: {error}") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        return type(content).__name__
    return {str(k): tuple(v) for k, v in content.items() if isinstance(v, _Shape)}


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        inside = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if not inside:
            raise Broken("it is a zip, but not one of torch's")
        if inside[0].file_size > _LARGEST:
            raise Broken("its data.pkl is too large")
        with archive.open(inside[0]) as file:
            return _Reader(file).load()


def _in_a_row(path: Path) -> Any:
    with path.open("rb") as file:
        if _next(file) != _LEGACY_MAGIC:
            raise Broken("it does not begin as torch's files do")
        _next(file), _next(file)  # protocol and system
        return _next(file)


def _next(file: IO[bytes]) -> Any:
    return _Reader(file, encoding="latin-1").load()
