"""The recommended LoRA under a name that people keep: `results/best/<sweep>/<name>.safetensors`.

It has no key. `from-<page>.json` marks that it exists, and names the page that recommended it and
the files that belong to it; a new recommendation removes the files of the previous one, and nothing
else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakery.interop import sidecar
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.files import link, write_text
from bakery.report.results import Bake, BakeResult, Shot, read_bake

MARK = "from-"


def place(bakes: Sequence[Bake], *, page: Path, out: Path) -> dict[str, Any]:
    """Put the LoRA recommended by the finished `page` into `out`; return the content of the mark.

    Writes `<name>.safetensors`, the name being the dataset's, A1111's `<name>.json` and
    `<name>.preview.png`. Without a recommendation the folder contains only the mark.
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


def preview(one: BakeResult, epoch: int) -> Shot:
    """The identity picture of the first seed with the highest score; among equals the first."""
    shots = [shot for shot in one.shots.values() if shot.epoch == epoch]
    if not shots:
        folder = one.bake.folders["sample"]
        raise BakeryError(f"{folder} has no picture of epoch {epoch}: run the sample stage again")
    shots = [shot for shot in shots if shot.purpose == "identity"] or shots
    first = [shot for shot in shots if shot.seed == shots[0].seed]
    return max(first, key=lambda shot: -1.0 if shot.score != shot.score else shot.score)


def _recommended(bakes: Sequence[Bake], train: str, page: Path) -> Bake:
    for bake in bakes:
        if bake.folders["train"].name == train:
            return bake
    raise BakeryError(
        f"{page / manifest.NAME} recommends {train}, which is not among its bakes: "
        "delete that folder to compare again"
    )


def _write(one: BakeResult, number: int, verdict: str, out: Path) -> list[str]:
    """Write the LoRA with its sidecar and preview; return the names of the files."""
    source = one.bake.folders["train"] / one.epoch(number).file
    lora = out / f"{one.name}.safetensors"
    _link(source, lora)
    card = sidecar.write(
        lora,
        activation=one.bake.trigger,
        weight=one.weight,
        negative=str(one.bake.settings.get("sample.negative_prompt", "")),
        notes=f"recommended by {out.name}: {verdict}",
    )
    picture = lora.with_suffix(".preview.png")
    shutil.copyfile(preview(one, number).path, picture)
    return [lora.name, card.name, picture.name]


def _link(source: Path, target: Path) -> None:
    """`target` as another name of `source`, or a copy where the file system has no links."""
    if not source.is_file():
        raise BakeryError(f"{source} does not exist: run the train stage again")
    link(source, target)


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
