"""Records beside files that have no key: which files belong to a sweep, so that a later run removes
these and no others."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from bakery.io import seals


def write(path: Path, facts: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Write the record `path`: `facts`, and the names of the files beside it with their sha256."""
    record = {**facts, "files": dict(files)}
    seals.write(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n", files)
    return record


def files(record: Path) -> dict[str, str]:
    """Name -> sha256 of the files in a record; none if it was cut short or does not exist."""
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    listed = facts.get("files", {}) if isinstance(facts, dict) else {}
    return {name: text for name, text in listed.items() if Path(name).name == name}


def remove(records: Iterable[Path], keep: Collection[str]) -> None:
    """Remove `records` and the files that they list, except those named in `keep`."""
    for record in records:
        for name in files(record):
            if name not in keep:
                (record.parent / name).unlink(missing_ok=True)
        seals.remove(record)
