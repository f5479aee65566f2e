"""Resuming a bake: what is saved after each epoch, and which of it a bake may resume from.

A state contains no random numbers: they depend on the seed and on their purpose (`seeds`).
The order of writing makes a kill harmless: the epoch's LoRA, then `epochs.csv`, then the
state, each whole or not at all. Files that the state does not list belong to no epoch. The previous
state is kept until the next one: bakes side by side save one after another, and after a kill
in between, those that are an epoch ahead go back to where all of them were (`align`).

A state is plain values (`Run.state`). Whether a bake may use it is decided here, by the identity of
the bake that saved it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from bakery.interop import sidecar
from bakery.io import manifest, seals, tables
from bakery.io.errors import BakeryError
from bakery.io.files import whole
from bakery.jobs import rungs, stop_requests

log = logging.getLogger(__name__)

STATE, BEFORE, STOPPED = rungs.STATE, rungs.BEFORE, rungs.STOPPED
TOGETHER = sidecar.TOGETHER
_THEN = ", then "


def identity(**parts: Any) -> str:
    """A digest of everything that must be equal for a state to be usable (plain JSON values)."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class Checkpoint:
    """The saved states of one bake, in its folder."""

    folder: Path
    name: str
    """Of the LoRA files."""
    owner: str = ""
    """Identity of the bake, under which its states and failures are recorded (`identify`)."""
    rested: str = ""
    """Identity of other states that it may resume from: those of a bake that pauses between
    rungs."""
    group: str = "1"
    """How many bakes share the process, as written in the metadata."""
    _digests: dict[str, str] = field(default_factory=dict)
    """sha256 of the saved epochs' files."""

    def identify(
        self, metadata: Mapping[str, str], chosen: Mapping[str, Any], *, rests: bool
    ) -> None:
        """Decide by metadata and `chosen` settings which states the bake may resume from.

        A bake that `rests` (pauses between rungs) may resume in a smaller group, so the group's
        size is not part of its identity.
        """
        alone = {name: text for name, text in metadata.items() if name != TOGETHER}
        self.rested = identity(metadata=alone, settings=chosen, rests=True)
        self.owner = self.rested if rests else identity(metadata=metadata, settings=chosen)
        self.group = metadata.get(TOGETHER, "1")

    def save(self, state: Mapping[str, Any], *, goes_on_alone: bool = False) -> None:
        """Replace the newest state; the old one becomes the previous state.

        It ends with its own sha256, and has those of the saved epochs' files. `goes_on_alone` is for
        a bake that stops here while others of its group go on: it may resume in a group of another
        size.
        """
        owner = self.rested if goes_on_alone else self.owner
        names = [row["file"] for row in state["rows"]]
        known = self._digests
        self._digests = {n: known.get(n) or seals.digest(self.folder / n) for n in names}
        with whole(self.folder / STATE) as part:
            with part.open("wb") as file:  # given a path, torch would not say that the disk is full
                torch.save({"owner": owner, "digests": self._digests, **state}, file)
            seals.close(part)
            if (self.folder / STATE).exists():
                (self.folder / STATE).rename(self.folder / BEFORE)

    def resume_points(self) -> list[int]:
        """Steps after which exactly this bake was saved, the newest first; 0 is the start.

        The second, if there is one, is the end of the previous epoch (`rewind`); only a bake in the
        same group as then has it.
        """
        states: list[dict[str, Any]] = [
            {name: state.get(name) for name in ("epoch", "step", "together")}
            for state in self._states()
        ]
        newest, *others = states or [{"step": 0}]
        if newest["step"] == 0 or newest["together"] != self.group:
            return [newest["step"]]
        before = [0] if newest["epoch"] == 1 else [state["step"] for state in others]
        return [newest["step"], *before]

    def rewind(self) -> None:
        """Make the previous state the newest; without one, the bake starts over."""
        (self.folder / STATE).unlink(missing_ok=True)
        if (self.folder / BEFORE).exists():
            (self.folder / BEFORE).rename(self.folder / STATE)

    def resume(self, keeps: Callable[[int], bool] = lambda epoch: True) -> dict[str, Any] | None:
        """The newest state of exactly this bake; None starts over.

        Afterwards the folder exists and contains only files that the state lists, of epochs that
        the bake `keeps`: one that goes on has no use for the epoch it had only stopped after.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        state = next(self._states(), None)
        self._digests = {} if state is None else state.pop("digests")
        if state is not None and not self._files_are_intact():
            log.warning("files of finished epochs in %s were changed: starting over", self.folder)
            state, self._digests = None, {}
        if state is not None:
            state["rows"] = [row for row in state["rows"] if keeps(row["epoch"])]
        self._clear(None if state is None else {row["file"] for row in state["rows"]})
        return state

    def stop(self, epoch: int, epochs: int) -> None:
        """Record that a person stops the bake after `epoch` of `epochs`."""
        stop_requests.record(self.folder, self.rested, epoch, epochs)

    def stopped_after(self) -> int | None:
        """The epoch after which a person stopped exactly this bake; records of others are removed."""
        found = stop_requests.recorded(self.folder)
        if found is not None and found.get("owner") == self.rested:
            log.info("ends after epoch %d, as it was asked to", found["epoch"])
            return found["epoch"]
        if found is not None:
            log.info("stopped on request with other settings, code, versions or threads: going on")
        stop_requests.forget(self.folder)
        return None

    def fail(self, sentence: str, **facts: Any) -> None:
        """Record why the bake cannot be finished; it would fail again in the same way."""
        record = {"owner": self.owner, "failure": sentence, **facts}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        seals.write(self.folder / STOPPED, text)

    def failure(self) -> str | None:
        """The message of an earlier failure of exactly this bake; those of others are removed."""
        path = self.folder / STOPPED
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            record = {}
        intact = isinstance(record, dict) and not list(seals.faults(path))
        if intact and record.get("owner") == self.owner:
            return str(record["failure"])
        seals.remove(path)
        log.info(
            "%s was written with other settings, code, versions or threads, or is damaged: trying "
            "again",
            path,
        )
        return None

    def _states(self) -> Iterator[dict[str, Any]]:
        """The states to resume from, the newest first; one at a time, since they are large.

        Unusable ones are logged.
        """
        newer = False
        for path in (self.folder / STATE, self.folder / BEFORE):
            if not path.exists():
                continue
            if not seals.is_whole(path):
                log.warning("%s is damaged, or of an earlier version: not resuming from it", path)
                continue
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever a damaged file makes of torch's readers
                log.warning("%s is damaged (%s): not resuming from it", path, type(error).__name__)
                continue
            if not _is_state(state):
                log.warning("%s holds no state of a bake: not resuming from it", path)
                continue
            if state.pop("owner") not in (self.owner, self.rested):
                if not newer:  # else the previous state of a bake that leaves its group
                    log.warning(
                        "%s was written with other settings, code, versions or threads: "
                        "starting over",
                        path,
                    )
                return
            newer = True
            yield state

    def _files_are_intact(self) -> bool:
        """Whether the files of the saved epochs exist and are unchanged."""
        files = [(self.folder / name, known) for name, known in self._digests.items()]
        return all(path.is_file() and seals.digest(path) == known for path, known in files)

    def _clear(self, keep: set[str] | None) -> None:
        """Remove an interrupted run's files except the epochs to `keep`; None removes all."""
        patterns = (f"{self.name}.safetensors", f"{self.name}-??????.safetensors", "*.part")
        stale = [path for pattern in patterns for path in self.folder.glob(pattern)]
        if keep is None:
            names = (*rungs.GROWING, manifest.PROGRESS, STATE, BEFORE, rungs.RESTED)
            stale += [self.folder / name for name in names]
            stale += self.folder.glob("events.out.tfevents.*.log")
        removed = [p for p in stale if p.is_file() and p.name not in (keep or ())]
        for path in removed:
            path.unlink()
        if removed:
            log.warning("removed %d files of an earlier run from %s", len(removed), self.folder)


def _is_state(found: Any) -> bool:
    """Whether it is what `save` writes: its files are in the bake's own folder."""
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(name), int) for name in ("epoch", "step"))
        and isinstance(found.get("owner"), str)
        and isinstance(found.get("rows"), list)
        and all(
            isinstance(row, dict)
            and isinstance(row.get("file"), str)
            and Path(row["file"]).name == row["file"]
            and isinstance(row.get("sshs_model_hash"), str)
            for row in found["rows"]
        )
        and isinstance(found.get("digests"), dict)
        and {row["file"] for row in found["rows"]} == set(found["digests"])
        and all(name in found for name in ("recent", "weights", "optimizer", "scaler"))
    )


def align(bakes: Sequence[tuple[Checkpoint, int]]) -> None:
    """Make bakes side by side resume after the same epoch; each is given with its last step.

    They save one after another, and a kill in between leaves some an epoch ahead. These go back, so
    that the epoch is repeated in the same group: then the results are the same bytes.
    """
    points = [(saved, total, saved.resume_points()) for saved, total in bakes]
    last = min((newest for _, total, (newest, *_) in points if newest < total), default=None)
    for saved, _, (newest, *before) in points:
        if last in before:
            log.info("%s was at step %d, going back to step %d", saved.folder.name, newest, last)
            saved.rewind()


def group_size_before(folder: Path) -> int | None:
    """How many bakes shared the process when this one was last saved; None if it never was."""
    try:
        rows = tables.read(folder / "epochs.csv", rungs.EPOCHS)
        metadata = sidecar.metadata_of(folder / rows["file"].iloc[-1])
    except (BakeryError, IndexError):
        return None
    return int(metadata.get(TOGETHER, "1").split(_THEN)[-1])


def record_group_size(metadata: Mapping[str, str], before: str | None) -> Mapping[str, str]:
    """`metadata` with the number of bakes that shared the process, also `before` this one
    paused."""
    now = metadata.get(TOGETHER, "1")
    before = before or now
    if before.split(_THEN)[-1] != now:
        before += f"{_THEN}{now}"
    return metadata if before == "1" else {**metadata, TOGETHER: before}
