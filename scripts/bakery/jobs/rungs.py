"""A rung of a bake at run time (`graph/halving.py` plans it): where it is baked, with which group,
what is left.

A bake with halving is trained in its own folder, epoch by epoch, and pauses there between rungs.
The folder of a rung gets the files of its epochs, under a second name. A bake that a verdict
stopped is not touched again: the folders of its later rungs get the files of the previous rung.
"""

from __future__ import annotations

from bakery.jobs import by_hand  # noqa: F401

# isort: split
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bakery.io import manifest, seals, tables
from bakery.io.files import link, write_text
from bakery.jobs import claims, stop_requests

log = logging.getLogger(__name__)

STATE = "resume.state"
"""What a bake resumes from."""
BEFORE = "resume.before.state"
"""The same of the previous epoch."""
STOPPED = "stopped.json"
"""Why a bake cannot be finished."""
RESTED = "rested.json"
"""Next to a bake's files: how far it is, and what its manifest would contain."""
EPOCHS = ("epoch", "step", "file", "sshs_model_hash", "loss")
"""Columns of a bake's epochs.csv."""
GROWING = ("epochs.csv", manifest.VALIDATION)
"""Files of a bake to which each epoch adds lines."""


def rest(folder: Path, summary: Mapping[str, Any], files: Sequence[str], *, epoch: int) -> None:
    """Record that the bake in `folder` has paused after `epoch`, with all `files`."""
    record = {"epoch": epoch, "summary": summary, "files": list(files)}
    # what grows while the bake continues is not sealed
    digests = {name: seals.digest(folder / name) for name in files if name not in GROWING}
    seals.write(folder / RESTED, json.dumps(record) + "\n", digests)


def forget(folder: Path) -> None:
    """The bake is finished: remove what it would go on from, and the records of its pauses."""
    for name in (STATE, BEFORE, stop_requests.STOPPED):
        (folder / name).unlink(missing_ok=True)
    seals.remove(folder / RESTED)


def rested(folder: Path, until: int) -> dict[str, Any] | None:
    """The summary of a bake that is finished, or has paused at `until` or later; else None."""
    if (whole := claims.finished(folder)) is not None:
        return whole
    try:
        record = json.loads((folder / RESTED).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    there = all((folder / name).is_file() for name in record["files"])
    return record["summary"] if there and record["epoch"] >= until else None


@dataclass(frozen=True)
class TrainTask:
    """What a job of the train stage has to do."""

    out: Path
    """The folder of its node."""
    baked: Path
    """The folder that the bake is trained in; without halving the same."""
    until: int | None = None
    """Its last epoch; None without halving."""
    before: Path | None = None
    """The folder of the rung before; None in the first."""
    verdict: Mapping[str, Mapping[str, Any]] | None = field(default=None, repr=False)
    """Bake (name of its folder) -> its standing, for those that were still running."""

    @classmethod
    def of(cls, out: Path, rung: Mapping[str, Any]) -> TrainTask:
        """`rung` holds the graph's facts about the node's rung, {} without halving
        (`halving.facts`)."""
        if not rung:
            return cls(out, out)
        before = Path(rung["before"]) if rung["before"] else None
        verdict = None
        if rung["verdict"]:
            standings = manifest.read(Path(rung["verdict"]))["summary"]["bakes"]
            verdict = {standing["bake"]: standing for standing in standings}
        return cls(out, Path(rung["bake"]), rung["until"], before, verdict)

    def complete(
        self, group: Sequence[Path], *, workers: int, most: int, work: claims.Work
    ) -> dict[str, Any]:
        """Train the bake as far as its rung goes and return its summary (`claims.ensure_finished`).

        `group` are folders of bakes of the same rung; those that were stopped are left alone. A
        bake that fails ends the job without halving; with it, only the bake.
        """
        summary = self._trained(group, workers=workers, most=most, work=work)
        whole = claims.finished(self.baked)
        if whole is not None and "stopped" not in whole:
            forget(self.baked)  # once more: a power cut may have undone it
        return summary

    def _trained(
        self, group: Sequence[Path], *, workers: int, most: int, work: claims.Work
    ) -> dict[str, Any]:
        if self.until is None:
            return claims.ensure_finished(self.baked, claims.deal(group, workers, most), work=work)
        if not self._goes_on(self.baked):
            return self._stopped()
        claims.forget_damaged(self.baked, RESTED)
        live = [folder for folder in group if self._goes_on(folder)]
        done = partial(rested, until=self.until)
        try:
            shares = claims.deal(live, workers, most)
            summary = claims.ensure_finished(self.baked, shares, work=work, done=done)
        except claims.Failed as failure:
            log.error("%s", failure)
            return self._failed(str(failure))
        if summary.get("stopped", {}).get("until", 0) > self.until:
            summary = {name: fact for name, fact in summary.items() if name != "stopped"}
        return {**summary, "epochs": self._take(summary["epochs"])}

    def _goes_on(self, folder: Path) -> bool:
        return self.verdict is None or self.verdict.get(folder.name, {}).get("goes_on", False)

    def _stopped(self) -> dict[str, Any]:
        """Carry everything over unchanged; log why, unless an earlier rung did."""
        assert self.before is not None
        assert self.verdict is not None
        summary = carry(self.before, self.out)
        standing = self.verdict.get(self.baked.name)
        if standing is not None and "stopped" not in summary:
            log.info("not trained: %s", standing["reason"])
            summary["stopped"] = {
                "until": standing["epoch"],
                "by": "halving",
                **{name: standing[name] for name in ("rank", "of", "tradeoff")},
                "sentence": standing["reason"],
            }
        return summary

    def _failed(self, sentence: str) -> dict[str, Any]:
        """What was saved before the bake failed."""
        rows: list[dict[str, Any]] = []
        if (self.baked / "epochs.csv").is_file():
            table = tables.read(self.baked / "epochs.csv", EPOCHS)
            rows = [
                {**row, "epoch": int(row["epoch"]), "step": int(row["step"]),
                 "loss": float(row["loss"])}
                for row in tables.records(table)
            ]  # fmt: skip
        return {
            "epochs": self._take(rows),
            "stopped": {"until": self.until, "by": "failure", "sentence": f"failed: {sentence}"},
        }

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Link the files of the rung's epochs from the bake's folder; return those of `rows`."""
        assert self.until is not None
        self.out.mkdir(parents=True, exist_ok=True)
        mine = [row for row in rows if row["epoch"] <= self.until]
        for row in mine:
            lora = self.baked / row["file"]
            for source in (lora, lora.with_suffix(".json")):
                if source.is_file():  # the sidecar is not there yet when a bake fails
                    link(source, self.out / source.name)
        tables.write(self.out / "epochs.csv", mine, EPOCHS)
        if (self.baked / manifest.VALIDATION).is_file():
            rows = tables.records(tables.read(self.baked / manifest.VALIDATION, manifest.VALIDATED))
            until = [row for row in rows if int(row["epoch"]) <= self.until]
            tables.write(self.out / manifest.VALIDATION, until, manifest.VALIDATED)
        steps = [line for line in _lines(self.baked) if json.loads(line)["epoch"] <= self.until]
        write_text(self.out / manifest.PROGRESS, "".join(steps))
        return mine


def carry(before: Path, out: Path) -> dict[str, Any]:
    """Link the files of the finished folder `before` into `out`; return its summary.

    The summary's `carried` names the folder they come from.
    """
    done = manifest.read(manifest.checked(before))
    for name in done["files"]:
        if (before / name).is_file():  # a page for people may be gone
            link(before / name, out / name)
    return {**done["summary"], "carried": before.name}


def carried(above: Mapping[str, Any], rung: Mapping[str, Any], out: Path) -> dict[str, Any] | None:
    """As `carry` from the previous rung, if the stage with the manifest `above` did the same; else
    None."""
    if rung and "carried" in above["summary"]:
        return carry(Path(rung["before"]), out)
    return None


def is_new(train: Path) -> bool:
    """Whether the bake in `train` is finished, and not just carried over from the previous rung."""
    return (train / manifest.NAME).is_file() and "carried" not in _summary(train)


def is_stopped(train: Path) -> bool:
    """Whether the bake in `train` was not baked to its end."""
    return (train / manifest.NAME).is_file() and "stopped" in _summary(train)


def _summary(folder: Path) -> dict[str, Any]:
    return manifest.read(folder).get("summary", {})


def _lines(folder: Path) -> list[str]:
    """Whole lines of a bake's progress."""
    path = folder / manifest.PROGRESS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith("\n")]
