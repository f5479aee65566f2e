"""Settings that name files: how a name is resolved to a path, and what of it is part of a key.

A section marks such a setting where it declares it, `base: Annotated[str, Model()]`. From the mark
follow where the name is looked for, what is refused, and that the content is part of the stage's key
(`graph.build`); nothing else has to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bakery.io.errors import BakeryError


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
    """A folder of the user's own pictures: looked for where the user stands, nowhere else."""

    def find(self, text: str, roots: Sequence[Path], where: str) -> Path | None:
        if (roots[0] / text).is_dir():
            return roots[0] / text
        raise BakeryError(
            f"config: {where} names {text}, which is not a folder: check the spelling"
        )


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
    """The local file or folder `name`, or None for a hub id; a missing file is an error."""
    for root in roots:
        if (root / name).exists():
            return root / name
    first, _, rest = name.partition("/")
    looks_like_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name)
    local = any((root / first).is_dir() for root in roots) or first in {".", ".."}
    if looks_like_hub and not local and not rest.endswith((".safetensors", ".ckpt", ".pt")):
        return None
    raise BakeryError(
        f"config: {where} names {name}, which does not exist: give a file or folder, "
        "or a hub id such as SmilingWolf/wd-swinv2-tagger-v3"
    )
