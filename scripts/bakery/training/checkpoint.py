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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from bakery.interop import sidecar
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.files import whole, write_text
from bakery.jobs import rungs
from bakery.lora import lora_file

log = logging.getLogger(__name__)

STATE = "resume.state"
BEFORE = "resume.before.state"
"""The state of the previous epoch."""
STOPPED = "stopped.json"
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

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the newest state; the old one becomes the previous state."""
        with whole(self.folder / STATE, sync=True) as part:
            torch.save({"owner": self.owner, **state}, part)
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

    def resume(self) -> dict[str, Any] | None:
        """The newest state of exactly this bake; None starts over.

        Afterwards the folder exists and contains only files that the state lists.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        state = next(self._states(), None)
        if state is not None and not self._files_are_intact(state["rows"]):
            log.warning("files of finished epochs in %s were changed: starting over", self.folder)
            state = None
        self._clear(None if state is None else {row["file"] for row in state["rows"]})
        return state

    def fail(self, sentence: str, **facts: Any) -> None:
        """Record why the bake cannot be finished; it would fail again in the same way."""
        record = {"owner": self.owner, "failure": sentence, **facts}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        write_text(self.folder / STOPPED, text)

    def failure(self) -> str | None:
        """The message of an earlier failure of exactly this bake; those of others are removed."""
        path = self.folder / STOPPED
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            record = {}
        if isinstance(record, dict) and record.get("owner") == self.owner:
            return str(record["failure"])
        path.unlink()
        log.info(
            "%s was written with other settings, code, versions or threads: trying again", path
        )
        return None

    def _states(self) -> Iterator[dict[str, Any]]:
        """The states to resume from, the newest first; one at a time, since they are large.

        Unusable ones are logged.
        """
        for path in (self.folder / STATE, self.folder / BEFORE):
            if not path.exists():
                continue
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever a damaged file makes of torch's readers
                log.warning("%s is damaged (%s): not resuming from it", path, type(error).__name__)
                continue
            known = (self.owner, self.rested)
            if not isinstance(state, dict) or state.pop("owner", None) not in known:
                log.warning(
                    "%s was written with other settings, code, versions or threads: starting over",
                    path,
                )
                return
            yield state

    def _files_are_intact(self, rows: list[dict[str, Any]]) -> bool:
        """Whether the files of the saved epochs exist and are unchanged."""
        files = [(self.folder / row["file"], row["sshs_model_hash"]) for row in rows]
        return all(path.is_file() and lora_file.model_hash(path) == known for path, known in files)

    def _clear(self, keep: set[str] | None) -> None:
        """Remove an interrupted run's files except the epochs to `keep`; None removes all."""
        patterns = (f"{self.name}.safetensors", f"{self.name}-??????.safetensors", "*.part")
        stale = [path for pattern in patterns for path in self.folder.glob(pattern)]
        if keep is None:
            names = ("epochs.csv", "progress.jsonl", STATE, BEFORE, rungs.RESTED)
            stale += [self.folder / name for name in names]
            stale += self.folder.glob("events.out.tfevents.*.log")
        removed = [p for p in stale if p.is_file() and p.name not in (keep or ())]
        for path in removed:
            path.unlink()
        if removed:
            log.warning("removed %d files of an earlier run from %s", len(removed), self.folder)


def align(bakes: Sequence[tuple[Checkpoint, int]]) -> None:
    """Make bakes side by side resume after the same epoch; each is given with its total of steps.

    They save one after another, and a kill in between leaves some an epoch ahead. These go back, so
    that the epoch is repeated in the same group: then the results are the same bytes.
    """
    points = [(saved, total, saved.resume_points()) for saved, total in bakes]
    last = min((newest for _, total, (newest, *_) in points if newest < total), default=None)
    for saved, _, (newest, *before) in points:
        if last in before:
            log.info("%s was at step %d, going back to step %d", saved.folder.name, newest, last)
            saved.rewind()


def forget(folder: Path) -> None:
    """The bake is finished: remove its states."""
    for name in (STATE, BEFORE):
        (folder / name).unlink(missing_ok=True)


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
