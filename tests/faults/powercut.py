"""A power cut: what was not synced is damaged or lost, and new names and removals are undone.

`Recorder` has the processes of a bake note what they sync (`recorder/sitecustomize.py`). `cut` then
does to the folder what a cut may do, and worse than most file systems: each file and each name
fares by itself.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDER = Path(__file__).with_name("recorder")


@dataclass
class Recorder:
    """The notes about the folder `disk`, in a folder beside it on the same file system."""

    disk: Path
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.disk = self.disk.resolve()
        self.notes = self.disk.with_name(f"{self.disk.name}.record")
        self.forget()

    def forget(self) -> None:
        """All that is there now counts as synced."""
        shutil.rmtree(self.notes, ignore_errors=True)
        self.notes.mkdir()
        self.since = _times(self.disk)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to take notes."""
        path = os.pathsep.join(filter(None, (str(RECORDER), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": path, "FAULTS_DISK": str(self.disk), "FAULTS_RECORD": str(self.notes)}

    def cut(self, rng: random.Random) -> Counter[str]:
        """Do to the folder what a power cut may; counts what was done. No process may be alive."""
        notes = self._read()
        synced = _synced(notes, self.since)
        folders = {note["folder"]: note["at"] for note in notes if "folder" in note}
        done: Counter[str] = Counter()
        for file in sorted(self.disk.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            seen = file.stat()
            now = (seen.st_mtime_ns, seen.st_size)
            if now != synced.get(seen.st_ino):
                done[_damage(file, rng)] += 1
        for note in reversed(notes):
            path = Path(note.get("named") or note.get("removed") or note.get("made") or "")
            if not path.name or not path.parent.is_dir():
                continue
            if folders.get(path.parent.stat().st_ino, 0) < note["at"] and rng.random() < 0.5:
                done[_undo(note, path)] += 1
        self.forget()
        return done

    def _read(self) -> list[dict[str, Any]]:
        file = self.notes / "notes.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return sorted(map(json.loads, lines), key=lambda note: note["at"])


def _synced(
    notes: list[dict[str, Any]], since: dict[int, tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    """Inode -> time of change and size that are on the disk; `since` are those from before."""
    found = dict(since)
    for note in notes:
        now = (note.get("changed"), note.get("size"))
        if "file" in note:
            found[note["file"]] = now
        elif "touched" in note and found.get(note["touched"]) == tuple(note["before"]):
            found[note["touched"]] = now
    return found


def _times(disk: Path) -> dict[int, tuple[int, int]]:
    found = (p.stat() for p in disk.rglob("*") if p.is_file() and not p.is_symlink())
    return {seen.st_ino: (seen.st_mtime_ns, seen.st_size) for seen in found}


def _damage(file: Path, rng: random.Random) -> str:
    """What becomes of a file whose content was not synced; its time of change stays."""
    seen = file.stat()
    how = rng.choice(("kept", "emptied", "cut short", "filled with zeros", "lost"))
    if how == "lost":
        file.unlink()
        return how
    if how != "kept":
        keep = 0 if how == "emptied" else rng.randrange(seen.st_size + 1)
        os.truncate(file, keep)
        if how == "filled with zeros":
            os.truncate(file, seen.st_size)
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    return f"content {how}"


def _undo(note: dict[str, Any], path: Path) -> str:
    """Take back a change of a name."""
    if "made" in note:
        if not path.is_dir():
            return "nothing to undo"
        shutil.rmtree(path)
        return "new folder lost"
    old = Path(note["old"]) if note["old"] else None
    if old is not None and not old.exists():
        return "nothing to undo"
    if "removed" in note:
        if path.exists():
            return "nothing to undo"
        os.link(old, path)
        return "removal undone"
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if old is None:
        return "new name lost"
    os.link(old, path)
    return "replacement undone"
