"""The recommended LoRA where people look for it: `results/best/<dataset>/<sweep>/`.

The folder has no key, but belongs to one dataset and one sweep. `from-<page>.json` marks that the LoRA
exists, and names the page that recommended it and the files that belong to it; a new recommendation
removes the files of the previous one, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakery.graph import keyed_folders
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.report import leaving, records
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
    records.remove(sorted(out.glob(f"{MARK}*.json")), keep=files)
    digests = {name: manifest.digest(out / name) for name in files}
    return records.write(out / f"{MARK}{page.name}.json", {"page": page.name, **summary}, digests)


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
    early = f"; {one.stopped}" if one.stopped_by_you else ""
    files = leaving.place(one, epoch, out, notes=f"recommended by {out.name}: {verdict}{early}")
    return [file.name for file in files]
