"""Lists by size what no given config needs and what can be made again, and frees it when asked.

Steps: build the graph of every given config; offer what none of them stands on, a word for each kind
(`WORDS`); print the list; free the kinds that were named, and note each in `freed.csv`. Nothing else in
results is touched, least of all `results/best` and `results/gather`.
"""

from __future__ import annotations

import csv
import itertools
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bakery.graph import build, keeping, keyed_folders
from bakery.graph.keeping import Needed
from bakery.io import manifest, quantities, tables
from bakery.io.errors import BakeryError
from bakery.jobs import rungs, stop_requests
from bakery.settings import config as cfg
from bakery.settings import config_file

log = logging.getLogger(__name__)

WORDS = {
    "unneeded": "folders that no given config needs, without LoRAs",
    "loras": "bakes that no given config needs, with their LoRAs",
    "epochs": "needed bakes: their LoRAs, but for the recommended epochs",
    "caches": "caches: downloads, and latents and texts as the base encodes them",
}
"""Word -> what it frees."""
CACHES = {
    "cache": "a bake that is trained computes it again",
    "downloads": "a scrape fetches it again, if the sites still have it",
}
STAGES = (*cfg.STAGES, "halve")
FREED = "freed.csv"
LORA = ".safetensors"
_HAS_WORK = (LORA, ".state")


@dataclass(frozen=True)
class Offer:
    """Something that can be freed."""

    word: str
    place: Path
    """What it is called: its folder."""
    paths: tuple[Path, ...]
    """What would be removed."""
    why: str


@dataclass(frozen=True)
class Given:
    """The configs whose results stay."""

    together: Needed
    """What the config of this run needs."""
    files: Sequence[Path]
    """Config files, each of which counts on its own, too."""
    optional: Sequence[Path] = ()
    """Those of them that need not be a whole config alone, such as a preset."""
    beside: Sequence[Path] = ()
    """The configs in `config/`, whether given or not: another character's results stay, too."""


def run(given: Given, *, roots: Sequence[Path], out: Path, free: Sequence[str] = ()) -> str:
    """List what can be freed below `roots[0]`/results; free the kinds named in `free`.

    Returns the list as text. What was freed is noted in `out`/freed.csv. Raises `BakeryError` for a
    word that is not in `WORDS`, and for a config file that says not what it needs.
    """
    for word in free:
        if word not in WORDS:
            raise BakeryError(f"free names {word}, which is no word for anything: "
                              f"known are {', '.join(WORDS)}")  # fmt: skip
    needed, notes = _needed(given, roots)
    needed, more = _with_those_beside(given, needed, roots)
    kept = [
        "Kept is what each of these configs needs, and what the one at hand does:",
        *notes,
        *more,
    ]
    notes = [*kept, ""] if kept[1:] else []
    found = offers(needed, roots[0])
    found.sort(key=lambda one: -freed_by([one]))
    chosen = [one for one in found if one.word in free]
    text = [*notes, *_listed(chosen if free else found, roots[0]), ""]
    if free:
        size = freed_by(chosen)
        for one in chosen:
            _remove(one, roots[0], out / FREED)
        text.append(
            f"Freed {quantities.size(size)} ({', '.join(free)}); each is noted in {out / FREED}"
        )
    else:
        text.append("Nothing was removed. A kind is freed by its word, or several by theirs:")
        text.append("  snakemake --cores 1 clean --config free=unneeded,caches")
    return "\n".join(text)


def offers(needed: Needed, root: Path) -> list[Offer]:
    """What may be freed below `root`/results without taking anything from what is `needed`."""
    results = root / "results"
    found = [*_folders(needed, results), *_epochs(needed, root)]
    for name, why in CACHES.items():
        if (results / name).is_dir() and not (results / name).is_symlink():
            found.append(Offer("caches", results / name, (results / name,), why))
    return found


def freed_by(chosen: Iterable[Offer]) -> int:
    """Bytes that removing all of them frees; a file with a name elsewhere frees none."""
    names: dict[tuple[int, int], list[int]] = {}
    for one in chosen:
        for path in one.paths:
            for file in itertools.chain([path], path.rglob("*") if path.is_dir() else ()):
                if file.is_file() and not file.is_symlink():
                    about = file.stat()
                    at = names.setdefault((about.st_dev, about.st_ino), [about.st_nlink, 0, 0])
                    at[1] += 1
                    at[2] = about.st_size
    return sum(size for links, seen, size in names.values() if seen >= links)


def _needed(given: Given, roots: Sequence[Path]) -> tuple[Needed, list[str]]:
    """What all given configs need, and a line about each."""
    needed, notes = given.together, list[str]()
    beside = {path.resolve() for path in given.beside}
    for path in given.files:
        try:
            alone = cfg.load(config_file.read(path, empty=True))
            needed |= keeping.needed(build.build(alone, roots))
        except BakeryError as error:
            if path not in given.optional:
                raise _not_known(path, error) from None
            notes.append(f"  {path} is no whole config alone and counts with the others: {error}")
        else:
            if path.resolve() not in beside:
                notes.append(f"  {path}")
    return needed, notes


def _with_those_beside(
    given: Given, needed: Needed, roots: Sequence[Path]
) -> tuple[Needed, list[str]]:
    """The same with the configs in `config/`, and a line about each that has results.

    Raises `BakeryError` where what such a config needs is not known although its dataset has results.
    """
    notes = []
    for path in given.beside:
        try:
            read = config_file.read(path, empty=True)
        except BakeryError as error:
            raise _not_known(path, error) from None
        try:
            alone = keeping.needed(build.build(cfg.load(read), roots))
        except BakeryError as error:
            if path not in given.optional and _has_results(read, roots[0]):
                raise _not_known(path, error) from None
            continue  # a preset that nobody has filled in
        needed |= alone
        if any(alone.has(stage, folder.name) for stage, folder in _keyed(roots[0] / "results")):
            notes.append(f"  {path}")
    return needed, notes


def _has_results(read: Mapping[str, Any], root: Path) -> bool:
    """Whether there are results of the dataset that a config names."""
    scrape = read.get("scrape")
    name = str((scrape or {}).get("name") or "") if isinstance(scrape, dict | None) else ""
    return not name or any(
        folder.name.startswith(f"{name}-") for _, folder in _keyed(root / "results")
    )


def _not_known(path: Path, error: BakeryError) -> BakeryError:
    why = str(error).removeprefix(str(path)).lstrip(", ")
    return BakeryError(
        f"{path} cannot be baked, so what it needs is not known: {why}; mend it or move it away"
    )


def _folders(needed: Needed, results: Path) -> Iterator[Offer]:
    """Folders of stages whose key no config needs. What is not called by a key is not ours."""
    for stage, folder in _keyed(results):
        if needed.has(stage, folder.name):
            continue
        work = any(path.name.endswith(_HAS_WORK) for path in folder.iterdir())
        word = "loras" if stage == "train" and work else "unneeded"
        done = (folder / manifest.NAME).is_file()
        why = "no given config needs it" if done else "unfinished, and no given config needs it"
        yield Offer(word, folder, (folder,), why)


def _keyed(results: Path) -> Iterator[tuple[str, Path]]:
    """(stage, folder) of all results that are called by a key."""
    for stage in STAGES:
        for folder in sorted((results / stage).glob("*")):
            if folder.is_dir() and not folder.is_symlink() and keyed_folders.is_keyed(folder.name):
                yield stage, folder


def _epochs(needed: Needed, root: Path) -> Iterator[Offer]:
    """LoRA files of needed bakes that nothing will read: drawn, scored, and not recommended."""
    for name, bake in needed.bakes.items():
        folder = root / name
        kept = _recommended(root, bake)
        ready = [folder, *(root / sample for sample in bake.samples)]
        goes_on = any((folder / mark).exists() for mark in (rungs.RESTED, stop_requests.STOPPED))
        if kept is None or name in needed.in_rungs or goes_on:
            continue
        if not all((place / manifest.NAME).is_file() for place in ready):
            continue
        saved = tables.records(tables.read(folder / "epochs.csv", ("epoch", "file")))
        gone = [row for row in saved if int(row["epoch"]) not in kept]
        paths = tuple(
            path
            for row in gone
            for path in (folder / row["file"], (folder / row["file"]).with_suffix(".json"))
            if path.is_file()
        )
        if paths:
            numbers = ", ".join(str(epoch) for epoch in sorted(kept))
            why = f"all but epoch {numbers}; drawing them again would need training again"
            yield Offer("epochs", folder, paths, why)


def _recommended(root: Path, bake: keeping.Bake) -> set[int] | None:
    """The epochs of a bake that its pages recommend; None where one does not say."""
    kept: set[int] = set()
    for page, score in bake.pages:
        if not (root / page / manifest.NAME).is_file():
            return None
        summary = manifest.read(root / page).get("summary", {})
        epoch = summary.get("own_epochs", {}).get(score)
        if epoch is None:
            return None
        kept.add(int(epoch))
    return kept or None


def _listed(found: Sequence[Offer], root: Path) -> Iterator[str]:
    if not found:
        yield "Nothing can be freed."
        return
    for one in found:
        place = one.place.relative_to(root).as_posix()
        yield f"{quantities.size(freed_by([one])):>9}  {one.word:<8}  {place}: {one.why}"
    yield ""
    for word, what in WORDS.items():
        if not (own := [one for one in found if one.word == word]):
            continue
        yield f"{quantities.size(freed_by(own)):>9}  {word:<8}  {len(own)} {what}"


def _remove(one: Offer, root: Path, record: Path) -> None:
    size = freed_by([one])
    for path in one.paths:
        if path.is_dir():
            (path / manifest.NAME).unlink(missing_ok=True)  # if stopped here, it is unfinished
            shutil.rmtree(path)
        else:
            path.unlink()
    log.info("freed %s: %s, %d bytes", one.word, one.place, size)
    record.parent.mkdir(parents=True, exist_ok=True)
    new = not record.exists()
    with record.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("when", "word", "place", "removed", "bytes", "why"))
        when = datetime.now().isoformat(timespec="seconds")
        removed = "; ".join(path.name for path in one.paths)
        place = one.place.relative_to(root).as_posix()
        writer.writerow((when, one.word, place, removed, size, one.why))
