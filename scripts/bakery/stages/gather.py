"""Collects LoRAs for the folder of an image generator, and for the places where they are published.

Steps: choose bakes and epochs from the finished pages; put each LoRA with sidecar and preview into
`results/gather/<dataset>/`, and into the folder `gather.to`; write Civitai's text for each and a model
card for all. `gathered-<sweep>.json` lists what belongs to a sweep: gathering it again removes what it
no longer has. A file of another origin is never overwritten, nor is a sidecar edited by hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bakery.interop import previews, publishing
from bakery.io import manifest, seals
from bakery.io.errors import BakeryError
from bakery.io.files import copy, link, write_text
from bakery.report import leaving, records, release
from bakery.report.results import BakeResult, read_bake, trusted
from bakery.settings.gather import Gather

RECORD = "gathered-"
CARD = "README.md"
IMAGES = "images"
CIVITAI = ".civitai.md"


@dataclass
class Told:
    """What is said at the end."""

    loras: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Sidecars and previews that someone changed."""
    without: list[str] = field(default_factory=list)
    """Bakes whose scores recommend no epoch."""

    def lines(self, settings: Gather) -> Iterator[str]:
        """As printed."""
        for folder in dict.fromkeys(path.parent for path in self.loras):
            names = {path.name: None for path in self.loras if path.parent == folder}
            yield f"{folder} has {len(names)} LoRAs, each with sidecar and preview:"
            yield from (f"  {name}" for name in names)
        for path in dict.fromkeys(self.kept):
            yield f"{path} was changed by hand and stays as it is"
        for name in self.without:
            yield f"{name}: its scores recommend no epoch; gather.epochs: all takes every epoch"


def run(settings: Gather, *, pages: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Gather the LoRAs of `pages` (`summary.gathered_pages`) into folders of `out`; return what is to
    be said.

    Raises `BakeryError` where a file would be overwritten that was not gathered before.
    """
    told = Told()
    datasets: dict[str, list[Mapping[str, Any]]] = {}
    for page in pages:
        datasets.setdefault(page["dataset"], []).append(page)
    for dataset, own in datasets.items():
        folder = out / dataset
        folder.mkdir(parents=True, exist_ok=True)
        released: dict[str, publishing.Release] = {}
        for page in own:
            for about in _gather_page(settings, page, folder, told):
                released.setdefault(about.name, about)  # a bake may be on several pages
        _publish(dataset, list(released.values()), folder)
    return "\n".join(told.lines(settings))


def _gather_page(
    settings: Gather, page: Mapping[str, Any], folder: Path, told: Told
) -> list[publishing.Release]:
    """Gather the bakes of one page; what is to be published, the recommended LoRA first."""
    record = folder / f"{RECORD}{page['sweep']}.json"
    before = _recorded(folder)
    summary = manifest.read(Path(page["folder"]))["summary"]
    files: dict[str, str] = {}
    released: list[publishing.Release] = []
    for bake in trusted(page["bakes"]):
        if settings.bakes and bake.name not in settings.bakes:
            continue
        one = read_bake(bake)
        epochs = _epochs(settings, one, summary)
        if not epochs:
            told.without.append(bake.name)
        for epoch in epochs:
            with TemporaryDirectory(dir=folder, prefix=".gathering-") as place:
                made = leaving.place(one, epoch, Path(place))
                files |= {path.name: manifest.digest(path) for path in made}
                told.loras.append(_deliver(made, folder, before, told))
                if settings.to:
                    _deliver(made, Path(settings.to).expanduser(), before, told)
            about = release.of(one, epoch)
            written = folder / f"{about.name}{CIVITAI}"
            write_text(written, publishing.civitai(about))
            files[written.name] = manifest.digest(written)
            at = 0 if about.name == summary.get("best_lora") else len(released)
            released.insert(at, about)
    others = {n for path in folder.glob(f"{RECORD}*.json") if path != record
              for n in records.files(path)}  # fmt: skip
    records.remove([record], keep=others | set(files))
    records.write(record, {"page": Path(page["folder"]).name}, files)
    return released


def _epochs(settings: Gather, one: BakeResult, summary: Mapping[str, Any]) -> list[int]:
    train = one.bake.folders["train"]
    saved = [e.number for e in one.epochs if e.file and (train / e.file).is_file()]
    if settings.epochs == "all":
        return saved
    own = summary["own_epochs"].get(one.bake.folders["score"].name)
    return [own] if own in saved else []


def _recorded(folder: Path) -> dict[str, set[str]]:
    """Name -> sha256 of everything that was gathered into `folder`."""
    known: dict[str, set[str]] = {}
    for record in folder.glob(f"{RECORD}*.json"):
        for name, digest in records.files(record).items():
            known.setdefault(name, set()).add(digest)
    return known


def _deliver(
    made: Sequence[Path], folder: Path, before: Mapping[str, set[str]], told: Told
) -> Path:
    """Put the files of one LoRA into `folder`; the LoRA's path there."""
    lora, *beside = made
    for path in (lora, *beside):
        target = folder / path.name
        if target.exists() and not target.samefile(path):
            found = manifest.digest(target)
            if found != manifest.digest(path) and found not in before.get(path.name, ()):
                if path == lora:
                    raise BakeryError(
                        f"{target} is another LoRA, which was not gathered from this sweep: move it "
                        "away, or gather into another folder (gather.to)"
                    )
                told.kept.append(target)
                continue
        link(path, target) if path == lora else copy(path, target)
    return folder / lora.name


def _publish(dataset: str, released: Sequence[publishing.Release], folder: Path) -> None:
    """Write the model card of `folder`, with its pictures."""
    shutil.rmtree(folder / IMAGES, ignore_errors=True)
    if not released:
        return
    images: dict[Path, str] = {}
    (folder / IMAGES).mkdir()
    for about in released:
        for number, example in enumerate(about.examples, 1):
            place = f"{IMAGES}/{about.name}-{number}.png"
            previews.write(example.path, folder / place, example.infotext)
            images[example.path] = place
    text = publishing.model_card(dataset, released, images)
    seals.write(
        folder / CARD, text, {place: manifest.digest(folder / place) for place in images.values()}
    )
