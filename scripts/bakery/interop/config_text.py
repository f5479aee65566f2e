"""The text of another program's config file as a table, with what is odd about the file itself."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bakery.interop import plain_values
from bakery.interop.readers import launch_script, trained_lora
from bakery.io import plain_data, text_files
from bakery.io.errors import BakeryError
from bakery.io.text_files import UTF8, UnreadableText
from bakery.io.yaml_text import BadLine, Loader

Twice = Callable[[str], None]
"""Told of each name that a table has more than once."""
LARGEST = 2**20
"""Bytes of a config of another program; the largest have some ten kB."""
_MOST_DOTS = 500
"""In a line of TOML: for a name of n parts its reader takes time and memory as n squared."""


def parse(path: Path) -> tuple[dict[str, Any], list[str]]:
    """(the file's settings, notes on how it was read). Raises `BakeryError` for what is no config.

    Of a name that JSON or YAML has twice the last counts, as for the programs that read it.
    """
    if path.suffix.lower() == ".safetensors":
        return trained_lora.header(path), []
    text, notes = _text(path)
    if not text.strip():
        raise BakeryError(f"{path} is empty: give the file that the other program saved")

    def twice(name: str) -> None:
        notes.append(f"{name} is in {path.name} more than once: the last one counts, as there")

    if launch_script.recognised(path, text):
        raw, told = launch_script.table(path, text)
        notes += told
    else:
        raw = _read(path, text, twice)
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], dict):
        (raw,) = raw
    if not isinstance(raw, dict):
        raise BakeryError(f"{path} holds no settings: it has to be a table of keys and values")
    if found := plain_data.problem(raw, strict=False):
        raise BakeryError(f"{path}: {found.where or 'the file'} {found.what}")
    return {str(key): value for key, value in raw.items()}, notes


def _text(path: Path) -> tuple[str, list[str]]:
    """The file's text, and a note where its encoding is not UTF-8."""
    try:
        read = text_files.read(path, LARGEST)
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: check the spelling") from None
    except UnreadableText as problem:
        raise BakeryError(f"{path} {problem}") from None
    except OSError as problem:
        raise BakeryError(f"{path} cannot be read ({problem.strerror})") from None
    told = f"{path.name} is read as {read.encoding}, not UTF-8: check the names of folders"
    return read.text, [told] if read.encoding != UTF8 else []


def _read(path: Path, text: str, twice: Twice) -> Any:
    """What the text holds, in the language that its beginning or the file's name shows."""
    kind = "YAML" if path.suffix.lower() in (".yaml", ".yml") else "TOML"
    if text.lstrip().startswith(("{", "[{")) or (kind == "TOML" and _is_json(text)):
        kind = "JSON"
    try:
        if kind == "JSON":
            return json.loads(text, object_pairs_hook=lambda pairs: _table(pairs, twice))
        if kind == "YAML":
            loader = _DatesAsText(text, lambda name, *_: twice(plain_values.printable(name)))
            return loader.get_single_data()
        for number, line in enumerate(text.splitlines(), start=1):
            if line.count(".") > _MOST_DOTS:
                raise BadLine(number, f"has more than {_MOST_DOTS} dots: break or shorten it")
        return tomllib.loads(text)
    except BadLine as problem:
        raise BakeryError(f"{path}, {problem}") from None
    except (ValueError, yaml.YAMLError, RecursionError) as problem:
        words = " ".join(str(problem).split())
        place = re.search(r"line (\d+)", words)
        lines = text.splitlines()
        cure = "repair it"
        if place and int(place[1]) <= len(lines) and "\\" in lines[int(place[1]) - 1]:
            cure = "write paths with / instead of \\"
        what = "no YAML" if kind == "YAML" else "neither JSON nor TOML"
        raise BakeryError(f"{path} is {what} ({words}): {cure}") from None


def _is_json(text: str) -> bool:
    """Whether it is JSON of any other kind than a table."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _table(pairs: list[tuple[str, Any]], twice: Twice) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            twice(plain_values.printable(name))
        found[name] = value
    return found


class _DatesAsText(Loader):
    """What YAML takes for a date is a name in the files of other programs."""


def _as_text(loader: Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


_DatesAsText.add_constructor("tag:yaml.org,2002:timestamp", _as_text)
