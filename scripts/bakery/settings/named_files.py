"""Settings that name files: how a name is resolved to a path, and what of it is part of a key.

A section marks such a setting where it declares it, `base: Annotated[str, Model()]`. From the mark
follow where the name is looked for, what is refused, and that the content is part of the stage's key
(`graph.build`); nothing else has to know of it.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bakery.io import regular_files
from bakery.io.errors import BakeryError

ARCHIVES = (".zip", ".cbz")
"""Extensions of the archives that are read like folders."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
_IN_A_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+(@[\w.-]+)?")
_MODEL_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx")
_LOCAL = frozenset({
    "model", "models", "checkpoint", "checkpoints", "ckpt", "resources", "results", "data", "dataset",
    "datasets", "train", "training", "picture", "pictures", "pics", "image", "images", "tagger",
    "taggers", "lora", "loras", "vae", "home", "mnt", "downloads", "desktop", "documents",
})  # fmt: skip
"""First parts of a path that are nobody's name on a hub."""
_DRIVE = re.compile(r"([A-Za-z]):/")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|[^/]*\\")


@dataclass(frozen=True)
class NamedFile:
    """A mark of a setting: its text, where there is any, names a file or folder."""

    key: str | None = None
    """Under which name the content is part of the key; None takes the setting's, and the text itself
    for entries of a list."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        """The place, looked for below each of `roots`, the first of which is where the user stands.

        None where nothing local is named. Raises `BakeryError` with the setting's dotted name `where`.
        """
        raise NotImplementedError


class Model(NamedFile):
    """A file or folder, or a hub id, which is nothing local."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        return locate(text, roots, where) if text else None


class HubFolder(NamedFile):
    """A folder, or one on a hub: `owner/name`, or `owner/name/folder` in a repository of several."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        if not text:
            return None
        here = any((root / expanded(text, root)).exists() for root in roots)
        if not here and _IN_A_REPOSITORY.fullmatch(text) and not _looks_local(text, roots):
            return None
        return locate(text, roots, where)


class ModelFile(NamedFile):
    """A file that must be local: hubs are not asked."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        found = locate(text, roots, where)
        if found is None:
            raise BakeryError(
                f"config: {where} names {text}, which is not here: download the file and give "
                "its path"
            )
        return found


class OwnFolder(NamedFile):
    """A folder of the user's own: looked for where the user stands, nowhere else."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        _refuse_odd_names(text, roots, where)
        place = roots[0] / expanded(text, roots[0])
        if self.fits(place):
            return place
        if place.exists():
            raise BakeryError(
                f"config: {where} names {text}, which is not a folder: give its folder"
            )
        raise _missing(text, roots, where)

    def fits(self, place: Path) -> bool:
        return place.is_dir()


class PictureFolder(OwnFolder):
    """A folder or an archive of the user's own pictures, read with `sources/folders.py`."""

    def fits(self, place: Path) -> bool:
        return place.is_dir() or (place.is_file() and place.suffix.lower() in ARCHIVES)


@dataclass(frozen=True)
class Embedded(NamedFile):
    """An address; those of `scheme` stand for a folder that comes with the project."""

    scheme: str = ""
    folder: str = ""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        return locate(self.folder, roots, where) if text.startswith(self.scheme) else None


@dataclass(frozen=True)
class Named:
    """A setting that names a file, as a config has it."""

    where: str
    """Dotted, from the section on (`reg.folder`); of an entry of a list, the list."""
    key: str
    text: str
    mark: NamedFile


def named_in(section: BaseModel) -> Iterator[Named]:
    """All settings of `section` that are marked and not null, those of sections inside of it, too."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        for mark in field.metadata:
            if isinstance(mark, NamedFile) and value is not None:
                yield from _of_value(name, value, mark)
        if isinstance(value, BaseModel):
            for one in named_in(value):
                yield Named(f"{name}.{one.where}", one.key, one.text, one.mark)
        elif isinstance(value, tuple):
            for entry in value:
                yield from _of_entry(name, entry)


def _of_value(name: str, value: Any, mark: NamedFile) -> Iterator[Named]:
    """One name, or one for each part of a model."""
    if isinstance(value, str):
        yield Named(name, mark.key or name, value, mark)
        return
    for part, text in value.items():
        yield Named(f"{name}.{part}", f"{mark.key or name}.{part}", text, mark)


def _of_entry(where: str, entry: Any) -> Iterator[Named]:
    if isinstance(entry, BaseModel):
        for one in named_in(entry):
            yield Named(where, one.mark.key or one.text, one.text, one.mark)


def locate(name: str, roots: Sequence[Path], where: str) -> Path | None:
    """The local file or folder `name`, or None for a hub id; a missing file is an error, and so is a
    pipe or a device."""
    _refuse_odd_names(name, roots, where)
    for root in roots:
        place = root / expanded(name, root)
        if place.exists():
            return place
    if not _HUB_ID.fullmatch(name) or _looks_local(name, roots):
        raise _missing(name, roots, where, hub="/" not in name.replace("\\", "/"))
    return None


def _refuse_odd_names(name: str, roots: Sequence[Path], where: str) -> None:
    """`BakeryError` for what no file can be called, and for what is neither file nor folder."""
    for root in roots:
        try:
            place = root / expanded(name, root)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(place)  # raises where no file can be called so
            if os.path.lexists(place):
                regular_files.check_tree_entry(place)
        except (OSError, ValueError) as problem:
            what = problem.strerror if isinstance(problem, OSError) else "no name of a file"
            raise BakeryError(
                f"config: {where} names {name[:200]}{'...' * (len(name) > 200)}, which cannot be opened "
                f"({what}): give a file or folder"
            ) from None


def expanded(text: str, root: Path = Path(".")) -> Path:
    """The path that `text` names: `~` and `~user` are home folders, environment variables nothing.

    A path as Windows writes it is read with slashes where that leads to something below `root`, and in
    WSL also by its drive.
    """
    path = Path(text)
    if text.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:  # no such user
            return path
    if "\\" not in text or (root / path).exists():
        return path
    slashed = str(path).replace("\\", "/")
    drive = _DRIVE.match(slashed)
    ways = [Path(slashed)] + ([Path("/mnt", drive[1].lower(), slashed[3:])] if drive else [])
    return next((way for way in ways if (root / way).exists()), path)


def _looks_local(name: str, roots: Sequence[Path]) -> bool:
    """Whether what has the form of a hub id is rather a path."""
    first = name.partition("/")[0]
    if name.endswith(_MODEL_FILES) or first.lower() in _LOCAL or first in {".", "..", "~"}:
        return True
    return any((root / first).is_dir() for root in roots)


def _missing(name: str, roots: Sequence[Path], where: str, *, hub: bool = False) -> BakeryError:
    """The sentence for what does not exist: what is like it there, or what else it could be."""
    says = f"config: {where} names {name}, which does not exist"
    if _WINDOWS.match(name) and Path(name).anchor == "":
        return BakeryError(
            f"{says}: it is a path of Windows, and this is another system; write the path as it is here"
        )
    for root in roots:
        place = root / expanded(name, root)
        if place.parent.is_dir():
            there = [path.name for path in place.parent.iterdir()]
            if near := difflib.get_close_matches(place.name, there, n=1, cutoff=0.7):
                return BakeryError(f"{says}; did you mean {Path(name).parent / near[0]}?")
    if hub:
        return BakeryError(
            f"{says}: give a file or folder, or a hub id such as SmilingWolf/wd-swinv2-tagger-v3"
        )
    return BakeryError(f"{says}: check the path")
