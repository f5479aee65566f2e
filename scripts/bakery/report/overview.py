"""The status page, `results/index.html`: what runs, what is finished, where pages are, what takes space.

It is written again and again while a bake runs, so it has to be cheap: what is read of a file or a
folder is kept as long as its time of change stays the same, within one process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.graph import keyed_folders
from bakery.io import manifest
from bakery.io.files import write_text
from bakery.io.quantities import duration
from bakery.jobs import claims, stop_requests
from bakery.pages import charts, page, thumbnails
from bakery.report import disk_use
from bakery.sampling import newest

NAME = "index.html"
REFRESH = 5
"""Seconds after which the page loads itself again while something runs."""
POINTS = 120
"""Most points of a loss curve."""
WIDTH = 480
"""Pixels of a sweep's picture."""
SMALL = 144
"""Pixels of a picture of a running bake."""
PICTURED = 12
"""Newest sweeps that are shown with a picture."""
LOOKED_AT = (
    ("filter", "contact_sheet.html", "contact sheet"),
    ("prune", "prune.html", "tags"),
    ("layout", "captions.html", "captions"),
    ("sample", "grid.png", "samples"),
)
"""Stage, file and what it is called, of every page beside those of the sweeps."""

_LOSSES = ("loss_average", "validation_loss")
"""What is drawn of a line of progress: the training's mean loss, and that on held-out pictures."""
_HELD_OUT = b'"validation_loss"'

Changed = tuple[str, int, int]
"""Path, time of change (ns) and size of a file: equal as long as it stays the same."""


@dataclass(frozen=True)
class Job:
    """What runs: `done` of `of` are done of what is called `doing`; 0 of 0 where it is not known."""

    label: str
    stage: str
    doing: str
    done: int
    of: int
    notes: str


@dataclass(frozen=True)
class Bake:
    """A training that is not finished, with its loss over the steps."""

    name: str
    chart: charts.Chart
    step: int
    steps: int
    notes: str
    request: str = ""
    """The file with which it is asked to stop after its epoch; "" where that makes no sense."""
    drawn: int = 0
    """The newest epoch that was drawn while it trains; 0 for none."""
    pictures: Sequence[str] = ()
    """Of that epoch, as data URIs."""


@dataclass(frozen=True)
class Stopped:
    """A bake that a person stopped."""

    name: str
    sentence: str


@dataclass(frozen=True)
class Sweep:
    """A finished comparison."""

    name: str
    verdict: str
    early: str
    """Whether the best one was stopped by a person, in words."""
    best: str
    bakes: int
    folder: str
    picture: str
    taken: Sequence[str] = ()
    """What its bakes took, in sentences."""


def write(root: Path, running: Sequence[Mapping[str, Any]]) -> Path:
    """Write `results/index.html` in `root`, the working directory; return the file.

    `running` are the jobs at work: `label`, `stage`, `folder` (of its results, as text), and `status`:
    what the job says of itself (`doing`, `done`, `of`, `per_second`, `eta_seconds`, `epoch`, `epochs`,
    `loss`, each of them optional). Raises OSError where the page cannot be written.
    """
    results, now = root / "results", time.time()
    results.mkdir(parents=True, exist_ok=True)
    html = page.render(
        "overview",
        tile=WIDTH // 2,
        refresh=REFRESH if running else 0,
        at=round(now),
        written=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)),
        jobs=[_job(one) for one in running],
        bakes=list(_bakes(results, running, now)),
        stopped=list(_stopped(results)),
        sweeps=list(_sweeps(results)),
        plan=(results / "plan" / NAME).is_file(),
        links=_links(results),
        disk=disk_use.by_stage(results),
        chart_size=(charts.WIDTH, charts.HEIGHT, charts.LEFT, charts.RIGHT, charts.BOTTOM),
    )
    write_text(results / NAME, html, lasting=False)
    return results / NAME


def _job(one: Mapping[str, Any]) -> Job:
    status = dict(one.get("status") or {})
    notes = []
    if "epoch" in status:
        notes.append(f"epoch {status['epoch']} of {status.get('epochs', '?')}")
    if rate := status.get("per_second"):
        notes.append(f"{rate:.2f} a second" if rate >= 1 else f"{1 / rate:.1f} s each")
    if (left := status.get("eta_seconds")) is not None:
        notes.append(f"{duration(left)} left")
    if isinstance(loss := status.get("loss"), float):
        notes.append(f"loss {loss:.4f}")
    return Job(
        label=str(one["label"]),
        stage=str(one["stage"]),
        doing=str(status.get("doing", "starting")),
        done=int(status.get("done") or 0),
        of=int(status.get("of") or 0),
        notes=", ".join(notes),
    )


def _bakes(results: Path, running: Sequence[Mapping[str, Any]], now: float) -> Iterable[Bake]:
    """Trainings without a manifest, the one that took the last step first."""
    statuses = [dict(one.get("status") or {}) for one in running if one["stage"] == "train"]
    ending = {name for status in statuses for name in status.get("ending", ())}
    for path in _newest(results / "train", manifest.PROGRESS):
        lines = [] if (path.parent / manifest.NAME).is_file() else _kept(_progress, path)
        if not lines:
            continue
        changed = path.stat().st_mtime
        last = lines[-1]
        notes = [f"epoch {last.get('epoch', '?')} of {last.get('epochs', '?')}"]
        at_work = bool(statuses) and now - changed < 60
        if path.parent.name in ending:
            notes.append("stopping after this epoch")
        elif at_work and last.get("eta_seconds") is not None:
            notes.append(f"{duration(last['eta_seconds'])} left")
        else:
            notes.append(f"last step {duration(max(0.0, now - changed))} ago")
        if isinstance(loss := last.get("loss_average"), float):
            notes.append(f"loss {loss:.4f}")
        drawn, pictures = newest.read(path.parent)
        yield Bake(
            drawn=drawn,
            pictures=[small for one in pictures if (small := _kept(_small, one))],
            name=path.parent.name,
            chart=charts.lines(
                [charts.Series(name, _curve(lines, name)) for name in _LOSSES], whole=False
            ),
            step=int(last.get("step", 0)),
            steps=int(last.get("steps", 0)),
            notes=", ".join(notes),
            request=(path.parent / stop_requests.REQUEST).relative_to(results.parent).as_posix()
            if at_work
            and path.parent.name not in ending
            and last.get("epoch") != last.get("epochs")
            else "",
        )


def _stopped(results: Path) -> Iterable[Stopped]:
    """The bakes that a person stopped and that are finished as they are, the newest first."""
    for path in _newest(results / "train", stop_requests.STOPPED):
        folder, found = path.parent, stop_requests.recorded(path.parent)
        if found is not None and (folder / claims.FINISHED).is_file():
            about = stop_requests.about(found["epoch"], found["epochs"], folder.name)
            yield Stopped(folder.name, about["sentence"])


def _progress(path: Path) -> list[dict[str, Any]]:
    """At most `POINTS` of its lines, the last one, and those with a loss on held-out pictures.

    A line that is being written is left out.
    """
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    step, last = -(-len(whole) // POINTS) or 1, len(whole) - 1
    chosen = [
        line
        for number, line in enumerate(whole)
        if number % step == 0 or number == last or _HELD_OUT in line
    ]
    found = []
    for line in chosen:
        try:
            one = json.loads(line)
        except ValueError:  # damaged by a full disk: the curve has one point less
            continue
        found += [one] if isinstance(one, dict) else []
    return found


def _curve(lines: Iterable[Mapping[str, Any]], loss: str) -> list[tuple[float, float, str]]:
    """One of `_LOSSES` over the steps, in epochs."""
    return [
        (line["step"] / line["steps"] * line["epochs"], line[loss], "")
        for line in lines
        if None not in map(line.get, ("step", "steps", "epochs", loss)) and line["steps"]
    ]


def _sweeps(results: Path) -> Iterable[Sweep]:
    """The finished comparisons, the newest first."""
    for number, path in enumerate(_newest(results / "compare", manifest.NAME)):
        folder = path.parent
        if not (folder / NAME).is_file():
            continue
        summary = dict(_kept(_manifest, path).get("summary", {}))
        best = summary.get("best_file")
        grid = folder / "grid.jpg"
        yield Sweep(
            name=keyed_folders.readable(folder.name),
            verdict=str(summary.get("verdict", "")),
            early=str(summary.get("best_stopped", "")),
            best=f"train/{summary['best_train']}/{best}" if best else "",
            bakes=int(summary.get("bakes", 0)),
            folder=f"compare/{folder.name}",
            picture=_kept(_picture, grid) if number < PICTURED and grid.is_file() else "",
            taken=_taken(results / "took" / f"{folder.name}.json"),
        )


def _manifest(path: Path) -> dict[str, Any]:
    """{} for a damaged one: the page of a run is no place to fail."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _taken(path: Path) -> list[str]:
    """What is on record of a sweep's cost; [] if nothing is."""
    read = _kept(_manifest, path) if path.is_file() else {}
    return [str(one) for one in read.get("said", ())]


def _picture(path: Path) -> str:
    """The upper part of a sweep's grid, small, as a data URI; "" where it cannot be read."""
    try:
        with Image.open(path) as whole:
            whole.draft("RGB", (2 * WIDTH, 2 * WIDTH))  # decodes a large JPEG at a fraction
            height = min(whole.height, round(0.7 * whole.width))
            upper = whole.convert("RGB").crop((0, 0, whole.width, height))
    except (OSError, Image.DecompressionBombError):
        return ""
    upper.thumbnail((WIDTH, WIDTH))
    return thumbnails.data_uri(thumbnails.encode(upper, 70))


def _small(path: Path) -> str:
    """A sample, small, as a data URI; "" where it cannot be read."""
    try:
        with Image.open(path) as whole:
            small = whole.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return ""
    small.thumbnail((SMALL, SMALL))
    return thumbnails.data_uri(thumbnails.encode(small, 70))


def _links(results: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the pages are called -> (name of the folder, address) of each, the newest first."""
    return [
        (called, [(path.parent.name, path.relative_to(results).as_posix()) for path in found])
        for stage, file, called in LOOKED_AT
        if (found := _newest(results / stage, file))
    ]


def _newest(folder: Path, file: str) -> list[Path]:
    """The files of that name in the folders of `folder`, the newest first."""
    found = []
    for path in folder.glob(f"*/{file}"):
        with suppress(FileNotFoundError):  # deleted meanwhile
            found.append((-path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


_memory: dict[tuple[str, Changed], Any] = {}


def _kept(read: Any, path: Path) -> Any:
    """`read(path)`, again only when the file has changed."""
    status = path.stat()
    place = (read.__name__, (str(path), status.st_mtime_ns, status.st_size))
    if place not in _memory:
        stale = [old for old in _memory if old[0] == place[0] and old[1][0] == str(path)]
        for old in stale:
            del _memory[old]
        _memory[place] = read(path)
    return _memory[place]
