"""Whether the files of results are as they were made: each is held against what was recorded of it.

Stage folders have a manifest, folders without a key and downloads have records with a seal, states and
cached tensors vouch for themselves. What nothing vouches for is reported as surplus; it harms nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from bakery.graph import keyed_folders
from bakery.io import manifest, seals, tables
from bakery.io.errors import BakeryError
from bakery.io.files import PASSING
from bakery.jobs import claims, rungs
from bakery.report import records
from bakery.settings import config as cfg
from bakery.sources import store

STAGES = (*cfg.STAGES, "halve")
DAMAGED, MISSING = seals.DAMAGED, seals.MISSING
CHANGED, SURPLUS, UNFINISHED, UNSEALED = "changed", "surplus", "unfinished", "unsealed"
BAD = (DAMAGED, MISSING)
"""States that make results unfit to be used."""
OWN = ("plan", "clean", "verify", "took", "index.html")
"""What is written anew at each call, and read by nothing."""
RUN = "run its config"
FREED = ("place", "removed")
_CACHED = ".cache"


@dataclass(frozen=True)
class Finding:
    """A file or folder that is not as it should be, or not known."""

    state: str
    path: Path
    why: str
    again: str = ""
    """What makes it again."""


@dataclass
class Inspection:
    """What was found below `results`, a folder of results."""

    results: Path
    files: int = 0
    """How many were compared."""
    folders: int = 0
    """Finished folders of stages."""
    findings: list[Finding] = field(default_factory=list)
    _gone: set[Path] = field(default_factory=set)
    """Files that `clean` removed when asked to."""

    def run(self) -> Inspection:
        """Look at everything; nothing is changed."""
        self._gone = self._freed()
        looks: dict[str, Callable[[Path], None]] = {
            **dict.fromkeys(STAGES, self._stage),
            "best": self._best,
            "gather": self._gather,
            "downloads": self._downloads,
            "cache": self._cache,
        }
        for place in sorted(self.results.glob("*")):
            if place.name in looks and place.is_dir():
                looks[place.name](place)
            elif place.name not in OWN:
                self._add(SURPLUS, place, "is not of LoRA Bakery")
        return self

    @property
    def bad(self) -> list[Finding]:
        """What must not be used."""
        return [one for one in self.findings if one.state in BAD]

    def _add(self, state: str, path: Path, why: str, again: str = "") -> None:
        if not any((one.state, one.path) == (state, path) for one in self.findings):
            self.findings.append(Finding(state, path, why, again))

    def _stage(self, place: Path) -> None:
        for folder in sorted(place.glob("*")):
            if not folder.is_dir() or not keyed_folders.is_keyed(folder.name):
                if not folder.name.endswith(PASSING):
                    self._add(SURPLUS, folder, "is not called by a key: no stage made it")
            elif (folder / manifest.NAME).is_file():
                self.folders += 1
                self._finished(folder)
            else:
                self._unfinished(folder)

    def _finished(self, folder: Path) -> None:
        again = f"{manifest.again(folder)}, then {RUN}"
        record = folder / manifest.NAME
        sealed = self._sealed(record, again)
        try:
            about = manifest.read(folder)
        except BakeryError:
            if not any(one.path in (record, seals.of(record)) for one in self.bad):
                self._add(DAMAGED, record, "is not JSON", again)
            return
        if about.get("key", keyed_folders.key_of(folder.name)) != keyed_folders.key_of(folder.name):
            self._add(DAMAGED, record, f"is of another result, {about['key']}", again)
        listed = about.get("files", {})
        self.files += len(listed)
        if seals.of(folder / claims.FINISHED).is_file():
            sealed |= self._sealed(folder / claims.FINISHED, again)
        for fault in manifest.faults(folder):
            if fault.path in self._gone and fault.kind == MISSING:
                continue
            page = fnmatchcase(fault.path.name, manifest.PAGES) and fault.kind == MISSING
            state = SURPLUS if page else fault.kind
            why = "is a page that was deleted; no stage reads it" if page else fault.why
            self._add(state, fault.path, why, again)
        self._surplus(folder, {*listed, *sealed, manifest.NAME})

    def _freed(self) -> set[Path]:
        """The files that `clean` removed when asked to."""
        record = self.results / "clean" / "freed.csv"
        if not record.is_file():
            return set()
        try:
            rows = tables.records(tables.read(record, FREED))
        except BakeryError:
            self._add(DAMAGED, record, "is no table of what was freed any more", f"rm {record}")
            return set()
        return {
            self.results.parent / row["place"] / name
            for row in rows
            for name in row["removed"].split(tables.SEPARATOR)
        }

    def _unfinished(self, folder: Path) -> None:
        """What a killed or running bake left: it goes on from what vouches for itself."""
        why = "has no manifest: it has not ended, or is kept for later rungs of a halving"
        self._add(UNFINISHED, folder, why, RUN)
        for path in (folder / rungs.STATE, folder / rungs.BEFORE):
            if path.is_file():
                self.files += 1
                if not seals.is_whole(path):
                    why = "is not as it was written: a bake does not resume from it"
                    self._add(DAMAGED, path, why, f"rm {path}, then {RUN}")
        for name in (claims.FINISHED, claims.FAILURE, rungs.RESTED, rungs.STOPPED):
            if (folder / name).is_file():
                self._sealed(folder / name, RUN)

    def _best(self, place: Path) -> None:
        for folder in sorted(p for p in place.glob("*/*") if p.is_dir()):
            known: set[str] = set()
            for record in sorted(folder.glob("from-*.json")):
                again, listed = f"rm {record}, then {RUN}", records.files(record)
                known |= self._sealed(record, again, earlier=listed).keys()
            self._surplus(folder, known)

    def _gather(self, place: Path) -> None:
        """Texts and pictures may be changed there, LoRAs may not."""
        for folder in sorted(p for p in place.glob("*") if p.is_dir()):
            known: set[str] = set()
            for record in (*sorted(folder.glob("gathered-*.json")), folder / "README.md"):
                if not record.is_file():
                    continue
                again = "rm {}, then snakemake --cores all gather"
                listed = records.files(record)
                known |= self._sealed(record, again, hand=True, earlier=listed).keys()
            self._surplus(folder, known)

    def _downloads(self, place: Path) -> None:
        for site in sorted(p for p in place.glob("*") if p.is_dir()):
            known: set[str] = set()
            for note in sorted(site.glob("*.json")):
                again = f"rm {note.with_suffix('')}*, and the next scrape fetches it"
                known |= {note.name, note.stem, *self._sealed(note, again)}
            for path in sorted(site.glob("*")) if site.name == store.FOLDERS else ():
                if (md5 := store.named_for(path)) is None:
                    continue
                self.files += 1
                known.add(path.name)
                if store.md5_of(path) != md5:
                    why = "is not the picture that was copied: its md5 is not the one in its name"
                    self._add(DAMAGED, path, why, f"rm {path}, and the next scrape copies it")
            self._surplus(site, known)

    def _cache(self, place: Path) -> None:
        for path in sorted(p for p in place.rglob("*") if p.is_file()):
            if path.suffix != _CACHED:
                self._left_over(path)
                continue
            self.files += 1
            try:
                seals.unpack(path.name, path.read_bytes())
            except seals.Unsealed as error:
                self._add(UNSEALED, path, str(error))
            except (BakeryError, OSError) as error:
                again = f"rm {path}, and the next bake computes it"
                self._add(DAMAGED, path, f"is not as it was written: {error}", again)

    def _sealed(
        self, record: Path, again: str, *, hand: bool = False, earlier: Mapping[str, str] = {}
    ) -> dict[str, str]:
        """Hold a record and what it vouches for against its seal; gives name -> sha256.

        With `hand`, texts and pictures may have been changed by hand. `again` has a path as {}.
        `earlier` is what the record itself lists, for want of a seal.
        """
        try:
            listed = seals.read(record)
        except BakeryError:
            listed = {}
        faults = list(seals.faults(record))
        if listed is None:
            self._add(UNSEALED, record, "has no seal: an earlier version wrote it")
            listed = dict(earlier)
            for name, known in listed.items():
                faults += seals.compare(record.parent / name, known, record.name)
        self.files += len(listed)
        for fault in faults:
            lora = fault.path.suffix in (".safetensors", seals.ENDING)
            strict = lora or (fault.path == record and record.suffix == ".json")
            state = fault.kind if strict or not hand else CHANGED
            self._add(state, fault.path, fault.why, again.replace("{}", str(fault.path)))
        return {**listed, record.name: "", seals.of(record).name: ""}

    def _surplus(self, folder: Path, known: set[str]) -> None:
        """Files of `folder` that nothing vouches for."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            volatile = not manifest.covers(name) and path.suffix != seals.ENDING
            if name not in known and not volatile:
                self._left_over(path)

    def _left_over(self, path: Path) -> None:
        if path.suffix != ".lock":
            self._add(SURPLUS, path, "is in no record: no stage reads it")
