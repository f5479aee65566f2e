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
from bakery.io import text_files
from bakery.io.errors import BakeryError
from bakery.io.text_files import UTF8, UnreadableText

Twice = Callable[[str], None]
"""Told of each name that a table has more than once."""


def parse(path: Path) -> tuple[dict[str, Any], list[str]]:
    """(the file's settings, notes on how it was read). Raises `BakeryError` for what is no config.

    Of a name that JSON or YAML has twice the last counts, as for the programs that read it.
    """
    text, notes = _text(path)
    if not text.strip():
        raise BakeryError(f"{path} is empty: give the file that the other program saved")

    def twice(name: str) -> None:
        notes.append(f"{name} is in {path.name} more than once: the last one counts, as there")

    raw = _read(path, text, twice)
    if isinstance(raw, list) and len(raw) == 1 and isinstance(raw[0], dict):
        (raw,) = raw
    if not isinstance(raw, dict):
        raise BakeryError(f"{path} holds no settings: it has to be a table of keys and values")
    return {str(key): value for key, value in raw.items()}, notes


def _text(path: Path) -> tuple[str, list[str]]:
    """The file's text, and a note where its encoding is not UTF-8."""
    try:
        read = text_files.read(path)
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
            loader = _Loader(text)
            loader.twice = twice
            return loader.get_single_data()
        return tomllib.loads(text)
    except (ValueError, yaml.YAMLError, RecursionError) as problem:
        words = " ".join(str(problem).split())
        line = re.search(r"line (\d+)", words)
        lines = text.splitlines()
        cure = "repair it"
        if line and int(line[1]) <= len(lines) and "\\" in lines[int(line[1]) - 1]:
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


class _Loader(yaml.SafeLoader):
    """PyYAML's own, which takes the last of several equal names without a word."""

    twice: Twice

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in sorted({name for name in names if names.count(name) > 1 and name != "<<"}):
            self.twice(plain_values.printable(name))
        return super().construct_mapping(node, deep=deep)
