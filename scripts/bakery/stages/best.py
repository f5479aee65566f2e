"""The recommended LoRA where people look for it: `results/best/<dataset>/<sweep>/`.

The folder has no key, but belongs to one dataset and one sweep. `from-<page>.json` marks that the LoRA
exists, and names the page that recommended it and the files that belong to it; a new recommendation
removes the files of the previous one, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakery.graph import keyed_folders
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.report import leaving
from bakery.report.results import Bake, BakeResult, read_bake

MARK = "from-"


def place(bakes: Sequence[Bake], *, page: Path, out: Path) -> dict[str, Any]:
    """Put the LoRA recommended by the finished `page` into `out`; return the content of the mark.

    Writes `<name>.safetensors`, the name being the bake's and its epoch's (`mirael-lr0.002-e03`),
    A1111's `<name>.json` and `<name>.preview.png`. Without a recommendation the folder contains
    only the mark.
    """
    summary = manifest.read(page)["summary"]
    out.mkdir(parents=True, exist_ok=True)
    files: list[str] = []
    if summary["best_file"]:
        one = read_bake(_recommended(bakes, summary["best_train"], page))
        files = _write(one, summary["best_epoch"], str(summary["verdict"]), out)
    _clear(out, keep=files)
    mark = {"page": page.name, **summary, "files": {f: manifest.digest(out / f) for f in files}}
    text = json.dumps(mark, indent=1, ensure_ascii=False)
    write_text(out / f"{MARK}{page.name}.json", text + "\n")
    return mark


def _recommended(bakes: Sequence[Bake], train: str, page: Path) -> Bake:
    key = keyed_folders.key_of(train)
    for bake in bakes:
        if keyed_folders.key_of(bake.folders["train"].name) == key:
            return bake
    raise BakeryError(
        f"{page / manifest.NAME} recommends {train}, which is not among its bakes: "
        "delete that folder to compare again"
    )


def _write(one: BakeResult, epoch: int, verdict: str, out: Path) -> list[str]:
    """Write the LoRA with its sidecar and preview; return the names of the files."""
    files = leaving.place(one, epoch, out, notes=f"recommended by {out.name}: {verdict}")
    return [file.name for file in files]


def _clear(out: Path, keep: Sequence[str]) -> None:
    """Remove what earlier recommendations left in `out`, by their marks."""
    for path in sorted(out.glob(f"{MARK}*.json")):
        try:
            mark: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            mark = {}  # cut short: what it named is overwritten or stays
        for name in mark.get("files", {}):
            if name not in keep and Path(name).name == name:
                (out / name).unlink(missing_ok=True)
        path.unlink()
