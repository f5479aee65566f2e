"""The record of a stage's result: `manifest.json`, written last, with the hash of every file it
covers.

A folder without a manifest is unfinished. The manifest holds nothing volatile (no clock, no absolute
path), so that equal work has equal manifests wherever it was done.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.io.files import write_text

NAME = "manifest.json"
VOLATILE = (".log", ".part", ".lock", ".state")
"""Endings of files that a manifest does not cover: they differ between equal runs."""


def digest(path: Path) -> str:
    """sha256 of a regular file's bytes, in hex."""
    with regular_files.open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, about: dict[str, Any], summary: dict[str, Any]) -> Path:
    """Write `folder/manifest.json`: `about` (stage, key, settings ...), the summary, the files."""
    files = {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME and not path.name.endswith(VOLATILE)
        and path.name != "progress.jsonl"
    }  # fmt: skip
    text = json.dumps({**about, "summary": summary, "files": files}, indent=1, ensure_ascii=False)
    write_text(folder / NAME, text + "\n")
    return folder / NAME


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage."""
    try:
        return json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BakeryError(f"{folder / NAME} is missing: that stage has not finished") from None
    except json.JSONDecodeError as error:
        raise BakeryError(
            f"{folder / NAME} is not JSON ({error}): delete the folder to make it again"
        ) from None
