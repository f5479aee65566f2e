"""What a LoRA file was made from, told from the file alone: found by its hash and its metadata.

The tensors' sha256 (`sshs_model_hash`) stays the same when a file is renamed, copied or published, or
when its metadata are edited. So the bake is found in the results by that hash, else by the key in the
metadata, and its manifests lead up to the posts. What is no longer there is told from the file's own
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakery.graph import finished, keyed_folders
from bakery.interop import sidecar
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.report import lineage
from bakery.report.comparable import shown
from bakery.settings import config as cfg

HASH = "sshs_model_hash"
_WIDTH = 9


@dataclass(frozen=True)
class Origin:
    """A LoRA file, and what is known of its making."""

    path: Path
    metadata: Mapping[str, str]
    model_hash: str
    """Of the tensors as they are in the file."""
    bake: Mapping[str, Any]
    """The bake's facts in the metadata: key, settings, code version; {} without."""
    trained: tuple[Path, Mapping[str, Any]] | None
    """Its folder in the results, and its row of epochs.csv there."""
    folders: Mapping[str, Path]
    """Stage -> folder, as far as they are there."""
    doubts: list[str] = field(default_factory=list)
    """What is not as it was made, a sentence each."""


def find(path: Path, results: Path) -> Origin:
    """The origin of the LoRA file `path`, looked for in the folder `results`.

    Raises `BakeryError` if it is no LoRA file, or if neither it nor the results say where it is from.
    """
    metadata = sidecar.metadata_of(path)
    model_hash = lora_file.model_hash(path) or ""
    bake = _table(metadata.get("bakery_bake"))
    before = metadata.get(lora_file.CONVERTED, model_hash)
    trained = _by_hash(before, str(bake.get("key", "")), results)
    if trained is None and not bake:
        raise BakeryError(
            f"{path} does not say that LoRA Bakery made it, and no bake in {results} has its hash "
            f"({model_hash[:12]}): name the results it is from with --results"
        )
    folders: dict[str, Path] = {}
    doubts: list[str] = []
    for start in _starts(trained, bake, results):
        try:
            folders = finished.chain(start) | folders
        except BakeryError as error:
            doubts.append(str(error))
    origin = Origin(path, metadata, model_hash, bake, trained, folders, doubts)
    doubts += _altered(origin)
    return origin


def lines(origin: Origin) -> Iterator[str]:
    """All that is known, as printed."""
    yield str(origin.path)
    yield from (f"  NOT AS IT WAS MADE: {doubt}" for doubt in origin.doubts)
    yield from _bake(origin)
    for title, told in (
        ("Stages", _stages(origin)),
        ("Settings that differ from their defaults", _settings(origin)),
        ("Code", _code(origin)),
        ("Tags that the trigger absorbs", _pruned(origin)),
        ("Pictures left out", _left_out(origin)),
        ("Pictures, with their posts and captions", _pictures(origin)),
    ):
        found = list(told)
        if found:
            yield ""
            yield f"{title}:"
            yield from (f"  {line}" for line in found)


def _by_hash(model_hash: str, key: str, results: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The bake that has a file of this hash; of several the one with the key, finished ones first."""
    found = []
    for table in sorted((results / "train").glob("*/epochs.csv")):
        try:
            rows = tables.records(tables.read(table, ("epoch", "file", HASH)))
        except BakeryError:
            continue  # what is damaged is for `verify`
        done = (table.parent / manifest.NAME).is_file()
        same = keyed_folders.key_of(table.parent.name) == key
        found += [(done, same, table.parent, row) for row in rows if row[HASH] == model_hash]
    if not found:
        return None
    *_, folder, row = max(found, key=lambda one: one[:2])
    return folder, row


def _starts(
    trained: tuple[Path, Mapping[str, Any]] | None, bake: Mapping[str, Any], results: Path
) -> Iterator[Path]:
    """The folders whose manifests lead up: the bake's, else those above it that the file names."""
    if trained is not None and (trained[0] / manifest.NAME).is_file():
        yield trained[0]
        return
    own = keyed_folders.by_key(results / "train").get(str(bake.get("key", "")))
    named = {own: "train"} if own else {}
    for name, stage in (named | dict(bake.get("above", {}))).items():
        folder = keyed_folders.located(results / str(stage) / str(name))
        if (folder / manifest.NAME).is_file():
            yield folder


def _altered(origin: Origin) -> Iterator[str]:
    """What of the file, and of the tables that are told from, is not as it was made."""
    written = origin.metadata.get(HASH)
    if written is not None and written != origin.model_hash:
        yield f"the tensors' sha256 is {origin.model_hash[:12]}, the file's metadata say {written[:12]}"
    if origin.trained is not None and lora_file.CONVERTED not in origin.metadata:
        folder, row = origin.trained
        known = _read(folder).get("files", {}).get(row["file"])
        if known is not None and manifest.digest(origin.path) != known:
            yield f"the tensors are those of {folder / row['file']}, but the metadata were edited"
    for folder in origin.folders.values():
        try:
            manifest.checked(folder, "*.csv")
        except BakeryError as error:
            yield str(error)


def _table(text: str | None) -> dict[str, Any]:
    """A JSON object in the metadata; {} for anything else."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(folder: Path | None) -> dict[str, Any]:
    """A manifest as far as it can be read."""
    try:
        return manifest.read(folder) if folder is not None else {}
    except BakeryError:
        return {}


def _bake(origin: Origin) -> Iterator[str]:
    told = origin.metadata.get
    if origin.trained is not None:
        folder, row = origin.trained
        yield f"  is epoch {row['epoch']} of {folder}: {row['file']}, {HASH} {origin.model_hash}"
    else:
        key = origin.bake.get("key", "?")
        yield f"  says that it is epoch {told('ss_epoch', '?')} of a bake with the key {key}"
        yield "  No bake in the results has its hash: what follows is from the file's own metadata,"
        yield "  and from what is left of the stages above."
    yield f"  trigger: {told('bakery_trigger', '?')}; base: {told('ss_sd_model_name', '?')}"
    trained_on = _table(told("ss_dataset_dirs"))
    folders = ", ".join(
        f"{name} ({about.get('img_count')} pictures, {about.get('n_repeats')} times)"
        for name, about in trained_on.items()
    )
    yield f"  steps: {told('ss_steps', '?')} of {told('ss_max_train_steps', '?')}; trained on {folders}"


def _stages(origin: Origin) -> Iterator[str]:
    for stage in cfg.STAGES:
        if stage in origin.folders:
            yield f"{stage:<{_WIDTH}}{origin.folders[stage]}"
    gone = [s for s in (*lineage.DATASET_STAGES, "train") if s not in origin.folders]
    if gone:
        yield f"no longer in the results, or unfinished: {', '.join(gone)}"


def _settings(origin: Origin) -> Iterator[str]:
    known = {stage: _read(folder).get("settings", {}) for stage, folder in origin.folders.items()}
    if origin.bake:
        known["train"] = origin.bake.get("settings", {})
    for stage in cfg.STAGES:
        usual = cfg.section_of(stage)().model_dump(mode="json")
        for name, value in known.get(stage, {}).items():
            if name not in usual or value != usual[name]:
                yield f"{stage}.{name}: {shown(value)}"


def _code(origin: Origin) -> Iterator[str]:
    versions = {s: _read(f).get("code_version") for s, f in origin.folders.items()}
    versions |= {"train": origin.bake["code_version"]} if "code_version" in origin.bake else {}
    yield "versions: " + ", ".join(f"{s} {versions[s]}" for s in cfg.STAGES if versions.get(s))
    about = {n: origin.metadata.get(f"bakery_{n}") for n in ("torch", "device", "threads")}
    together = origin.metadata.get("bakery_baked_together")
    yield ", ".join(f"{n} {v}" for n, v in about.items() if v) + (
        f", trained side by side with others: {together}" if together else ""
    )


def _pruned(origin: Origin) -> Iterator[str]:
    pruned, _ = lineage.tags(_whole(origin, "prune"))
    yield from (f"{tag}: {why}" for tag, why in pruned)


def _left_out(origin: Origin) -> Iterator[str]:
    folder = _whole(origin, "filter")
    if folder is None:
        return
    table = tables.read(folder / "decisions.csv", ("image", "kept", "reasons"))
    for row in tables.records(table[table["kept"] != "true"]):
        yield f"{row['image']}: {row['reasons'].replace(';', ', ')}"


def _pictures(origin: Origin) -> Iterator[str]:
    folder, scrape = _whole(origin, "layout"), _whole(origin, "scrape")
    if folder is None:
        for name, tags in _table(origin.metadata.get("ss_tag_frequency")).items():
            yield f"{name}, tags by how many captions have them: " + ", ".join(
                f"{tag} {count}" for tag, count in sorted(tags.items(), key=lambda pair: -pair[1])
            )
        return
    posts = {}
    if scrape is not None:
        rows = tables.records(tables.read(scrape / "posts.csv", ("image", "url", "md5", "source")))
        posts = {row["image"]: row for row in rows}
    for row in tables.records(tables.read(folder / "layout.csv", ("image", "file", "caption"))):
        post = posts.get(row["image"], {})
        facts = (row["file"], post.get("url", ""), post.get("source", ""), post.get("md5", ""))
        yield "  ".join(filter(None, facts))
        yield f"    {row['caption']}"


def _whole(origin: Origin, stage: str) -> Path | None:
    """The folder of a stage, if its tables are there and as they were made."""
    folder = origin.folders.get(stage)
    try:
        return folder and manifest.checked(folder, "*.csv")
    except BakeryError:
        return None
