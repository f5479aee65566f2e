"""Disks that are full or read-only while a stage is made: one sentence, nothing damaged, and it goes on.

Needs root, for file systems in memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.faults import chain

STAGES = ("scrape", "filter", "tag", "prune", "layout", "train", "sample", "score", "compare")
SLACK = 2**20
"""Bytes that a run without a fault may need besides results, at least: logs, the engine's notes."""


@contextmanager
def disk(place: Path, size: int) -> Iterator[Path]:
    """An empty file system of `size` bytes at `place`."""
    place.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def fill(place: Path, room: int) -> Path:
    """Fill the disk of `place` up to `room` bytes; gives the file that does."""
    filler = place / "filler"
    filler.unlink(missing_ok=True)
    free = shutil.disk_usage(place).free - room
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, free))
    return filler


def size(folder: Path) -> int:
    """Bytes of all files in whole pages, links once."""
    found = {f.stat().st_ino: f.stat().st_size for f in folder.rglob("*") if f.is_file()}
    return sum((one // 4096 + 1) * 4096 for one in found.values())


def try_full(stage: str, made: Path, place: Path, *, share: float) -> list[str]:
    """What goes wrong where `stage` is made on a disk with room for a `share` of its result.

    `made` is a finished bake.
    """
    with disk(place, size(made) + 8 * SLACK):
        return _on_full_disk(stage, made, place / "bake", share=share)


def _on_full_disk(stage: str, made: Path, folder: Path, *, share: float) -> list[str]:
    copied(made, folder)
    need = size(folder / "results" / stage)
    shutil.rmtree(folder / "results" / stage)
    bakery = chain.Bakery(folder)
    filler = fill(folder.parent, int(share * need))
    run = bakery.bake()
    wrong = complaints(run, "is full")
    filler.unlink()
    return wrong + goes_on(bakery, chain.results(made))


def try_read_only(stage: str, made: Path, place: Path) -> list[str]:
    """What goes wrong where the folder of `stage` is read-only."""
    copied(made, place)
    results = place / "results" / stage
    shutil.rmtree(results)
    results.mkdir()
    _mount("--bind", str(results), str(results))
    _mount("-o", "remount,ro,bind", str(results))
    bakery = chain.Bakery(place)
    try:
        wrong = complaints(bakery.bake(), "read-only", "Read-only")
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=True)
    return wrong + goes_on(bakery, chain.results(made))


def copied(made: Path, folder: Path) -> None:
    """A finished bake, files with two names as such."""
    subprocess.run(["cp", "-a", str(made), str(folder)], check=True)


def complaints(run: chain.Run, *words: str) -> list[str]:
    """What is wrong with how a run ended that could not write."""
    wrong = []
    if run.process.returncode == 0:
        wrong.append(f"the run ended well: {run.last_words}")
    if not any(word in run.said for word in words):
        wrong.append(f"the fault is not told: {run.last_words}")
    if "Traceback" in run.said or "a bug of ours" in run.said:
        wrong.append(f"a traceback: {run.last_words}")
    return wrong


def goes_on(bakery: chain.Bakery, expected: dict[str, str]) -> list[str]:
    """What is wrong with the next start, which has room."""
    run = bakery.bake()
    if run.process.returncode != 0:
        return [f"the next run ended with {run.process.returncode}: {run.last_words}"]
    return chain.differences(expected, chain.results(bakery.folder))


def trials(place: Path, stages: Sequence[str] = STAGES) -> Iterator[tuple[str, list[str]]]:
    """Tries the stages in folders below `place`; gives each trial and what went wrong."""
    made = place / "made"
    if not (made / "results").is_dir():  # else it is of an earlier call
        bakery = chain.Bakery(made)
        bakery.write_config()
        if bakery.bake().process.returncode != 0:
            raise RuntimeError("the bake without faults failed")
    for stage in stages:
        ways = {
            "no room": partial(try_full, stage, made, share=0.0),
            "room for half": partial(try_full, stage, made, share=0.5),
            "read-only": partial(try_read_only, stage, made),
        }
        for way, attempt in ways.items():
            at = place / f"{stage}-{way.replace(' ', '-')}"
            wrong = attempt(at)
            yield f"{stage}, {way}", wrong
            if not wrong:
                shutil.rmtree(at)
