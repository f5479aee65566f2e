"""The dry bake: forecasts of all bakes as a table for the terminal, a CSV and a page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.dataset import details
from bakery.forecast import forecast, together
from bakery.forecast.forecast import Bucket, Forecast, KnownPictures, PlannedBake
from bakery.io import quantities, tables
from bakery.io.files import write_text
from bakery.io.manifest import NAME
from bakery.io.quantities import duration
from bakery.pages import charts, page
from bakery.report import expected
from bakery.report.expected import Expected
from bakery.settings.config import STAGES

COLUMNS = (
    "page", "bake", "known_from", "pictures", "showings", "buckets", "cropped", "steps_per_epoch",
    "epochs", "steps", "warmup", "files", "samples", "seconds", "memory_gib", "cached",
)  # fmt: skip
CHAIN = STAGES[:-1]
SOURCES = {
    "layout": "as laid out",
    "filter": "as kept by the filter; the layout has not run",
    "scrape": "as scraped; the filter has not run",
    "folders": "as in your folders; the filter has not run and may leave some out",
    "": "not known: nothing has run yet",
}
"""Last stage that has run -> what is known of the pictures."""


@dataclass(frozen=True)
class Pictures:
    """What bakes of one dataset and one set of buckets share."""

    labels: Sequence[str]
    known: KnownPictures
    buckets: Sequence[Bucket]
    lost: float | None
    source: str
    about_captions: str


def run(
    bakes: Iterable[Mapping[str, Any]],
    *,
    out: Path,
    trained: Path,
    configs: Sequence[Path] = (),
    has_gpu: bool = True,
    workers: int = 1,
) -> str:
    """Writes `plan.csv`, `expected.json` and the self-contained `index.html`; returns the text for the
    terminal.

    `bakes` are `summary.planned_bakes`'s, `trained` is the folder of finished bakes,
    `configs` are the files that the config is from, `has_gpu` says whether this machine has a GPU,
    and `workers` bakes or groups of bakes are trained at a time.
    Raises `BakeryError` when a setting cannot be baked at all.
    """
    here: dict[str, Any] = {"configs": configs, "has_gpu": has_gpu, "workers": workers, "seen": {}}
    planned = [PlannedBake(**bake, **here) for bake in bakes]
    forecasts = [forecast.make(bake, trained) for bake in planned]
    proposed = proposals(forecasts)
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "plan.csv", [row(one) for one in forecasts], COLUMNS)
    expected.write(out, {one.bake.folders["train"]: _expected(one) for one in forecasts})
    write_text(out / "index.html", _page(forecasts, proposed))
    return "\n".join(_text(forecasts, proposed, out))


def row(one: Forecast) -> dict[str, Any]:
    """A bake's line of plan.csv; what is not known is empty."""
    return {
        "page": one.bake.page,
        "bake": one.bake.label,
        "known_from": one.known.stage,
        "pictures": sum(folder.images for folder in one.known.folders) or None,
        "showings": one.shown or None,
        "buckets": len(one.buckets) or None,
        "cropped": None if one.lost is None else f"{one.lost:.4f}",
        "steps_per_epoch": one.counts and one.counts.steps_per_epoch,
        "epochs": one.counts and one.counts.epochs,
        "steps": one.counts and one.counts.total,
        "warmup": one.counts and one.counts.warmup,
        "files": len(one.files) or None,
        "samples": one.samples or None,
        "seconds": None if one.seconds is None else round(one.seconds, 1),
        "memory_gib": one.past and one.past.memory and round(one.past.memory / 2**30, 3),
        "cached": " ".join(stage for stage, done in one.cached.items() if done),
    }


def _expected(one: Forecast) -> Expected:
    """What the bake is held against once it has run."""
    past, files = one.past, len(one.files)
    return Expected(
        label=one.bake.label,
        steps=one.counts.total if one.counts else None,
        seconds=one.seconds,
        memory=past.memory if past else None,
        loras=past.file_bytes * files if past and past.file_bytes and files else None,
        together=past.together if past else "",
    )


def proposals(forecasts: Iterable[Forecast]) -> list[str]:
    """Traits that every finished bake of a page misses, less those that are accepted already.

    What one bake misses and another shows is no matter of the pictures. Each trait comes in the
    words of the bake that shows it most.
    """
    of_page: dict[str, list[dict[str, dict[str, str]]]] = {}
    for one in forecasts:
        path = Path(one.bake.folders["score"]) / "details.csv"
        if not (path.with_name(NAME).is_file() and path.is_file()):
            continue
        accepted = one.bake.settings["layout"].get("details", ())
        rows = tables.records(tables.read(path, details.COLUMNS))
        missed = {r["trait"]: r for r in rows if r["proposal"] and r["trait"] not in accepted}
        of_page.setdefault(one.bake.page, []).append(missed)
    found: dict[str, str] = {}
    for bakes in of_page.values():
        for trait in bakes[0]:
            if all(trait in missed for missed in bakes):
                most = max(bakes, key=lambda missed: float(missed[trait]["in_samples"]))
                found.setdefault(trait, f"{most[trait]['proposal']}.")
    return list(found.values())


def warnings(forecasts: Iterable[Forecast]) -> list[tuple[str, list[str]]]:
    """Each foot-gun once, with the bakes that have it."""
    found: dict[str, list[str]] = {}
    for one in forecasts:
        for sentence in one.warnings:
            found.setdefault(sentence, []).append(one.bake.label)
    return [(sentence, list(dict.fromkeys(labels))) for sentence, labels in found.items()]


def by_phase(forecasts: Iterable[Forecast]) -> list[str]:
    """The most memory that each phase took in earlier bakes of the same kind, once for each kind."""
    kinds: dict[str, list[str]] = {}
    for one in forecasts:
        if one.past and one.past.phases:
            each = [f"{name} {quantities.memory(n)}" for name, n in one.past.phases.items()]
            kinds.setdefault(", ".join(each), []).append(one.bake.label)
    found = []
    for said, labels in kinds.items():
        whose = f" ({', '.join(dict.fromkeys(labels))})" if len(kinds) > 1 else ""
        found.append(f"Memory by phase, the most of earlier bakes: {said}{whose}.")
    return found


def halvings(forecasts: Iterable[Forecast]) -> list[str]:
    """For each page with halving: how many bakes continue after which epoch."""
    rungs_of = {one.bake.page: one.bake.rungs for one in forecasts if one.bake.rungs}
    found = []
    for name, rungs in rungs_of.items():
        pairs = list(itertools.pairwise(rungs))
        steps = [f"{b['bakes']} of {a['bakes']} after epoch {a['until']}" for a, b in pairs]
        epochs = rungs[0]["until"] * rungs[0]["bakes"]
        epochs += sum((b["until"] - a["until"]) * b["bakes"] for a, b in pairs)
        found.append(
            f"Halving of {name}: {', then '.join(steps)} continue, the best by score. {epochs} "
            "epochs "
            f"are trained instead of {rungs[-1]['until'] * rungs[0]['bakes']}. Which bakes is not "
            "known yet, so the times are means."
        )
    return found


def counted(number: int | None) -> str:
    """A number of things; a question mark for None."""
    return "?" if number is None else f"{number:,}".replace(",", " ")


def to_do(one: Forecast) -> list[str]:
    """The stages that would run, in order."""
    return [stage for stage, done in one.cached.items() if not done]


def held_out(one: Forecast) -> str:
    """How many pictures are kept from training; "" for none."""
    number = one.known.held_out
    pictures = "1 picture" if number == 1 else f"{number} pictures"
    return f"Held out: {pictures}, not trained on (layout.holdout)." if number else ""


def open_folders(forecasts: Iterable[Forecast]) -> set[str]:
    """Folders that are still to be made, those of every rung among them."""
    folders = {f for one in forecasts for s, f in one.bake.folders.items() if not one.cached[s]}
    rungs = (rung for one in forecasts for rung in one.bake.rungs or ())
    made = {f for rung in rungs for f in rung["folders"].values()}
    return folders | {folder for folder in made if not (Path(folder) / NAME).is_file()}


def nothing_known(forecasts: Sequence[Forecast]) -> str:
    """What to do when the steps of some bake are not known; "" when all are."""
    least = next((one for one in forecasts if one.counts is None), None)
    if least is None:
        return ""
    if least.known.trouble:
        return least.known.trouble
    what = "posts will be requested" if not least.known.stage else "pictures were scraped"
    return (
        f"The steps are not known yet: at most {least.known.at_most} {what}. "
        "To find out, run `snakemake --cores all --until layout`."
    )


def _steps(one: Forecast) -> tuple[int | None, ...]:
    counts = one.counts
    if counts is None:
        return (None,) * 4
    return counts.steps_per_epoch, counts.epochs, counts.total, counts.warmup


def _text(forecasts: Sequence[Forecast], proposed: Sequence[str], out: Path) -> list[str]:
    head = ["page", "bake", "pictures", "showings", "steps/epoch", "epochs", "steps", "warm-up",
            "time", "memory", "to do"]  # fmt: skip
    body = [
        [
            one.bake.page,
            one.bake.label,
            counted(sum(folder.images for folder in one.known.folders) or None),
            counted(one.shown or None),
            *map(counted, _steps(one)),
            duration(one.seconds),
            quantities.memory(one.past.memory if one.past else None),
            " ".join(to_do(one)) or "nothing",
        ]
        for one in forecasts
    ]
    lines = ["", *_aligned([head, *body]), ""]
    lines += [f"Pictures: {SOURCES[stage]}." for stage in {one.known.stage for one in forecasts}]
    lines += dict.fromkeys(filter(None, map(held_out, forecasts)))
    about = dict.fromkeys(one.about_captions for one in forecasts if one.about_captions)
    lines += [f"Captions: {told}." for told in about]
    lines += [text] if (text := nothing_known(forecasts)) else []
    if any(one.past is None for one in forecasts):
        lines.append("Time and memory: not known before a first bake of this kind has run here.")
    if len(forecasts) > 1 and (whole := _total(forecasts)):
        lines.append(f"All training: {duration(whole)}, with {_at_once(forecasts)}.")
    lines += by_phase(forecasts)
    lines += halvings(forecasts)
    several = len(forecasts) > 1
    for sentence, labels in warnings(forecasts):
        all_of_them = len(labels) == len({one.bake.label for one in forecasts})
        whose = f" ({', '.join(labels)})" if several and not all_of_them else ""
        lines.append(f"! {sentence}{whose}")
    lines += [f"+ {sentence}" for sentence in proposed]
    return [*lines, "", f"{out / 'index.html'} has the details.", ""]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    words = {0, 1, len(widths) - 1}  # columns of words stand to the left
    return [
        "  ".join(
            cell.ljust(width) if i in words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in rows
    ]


def _page(forecasts: Sequence[Forecast], proposed: Sequence[str]) -> str:
    return page.render(
        "plan",
        tile=96,
        forecasts=forecasts,
        pages=list(dict.fromkeys(one.bake.page for one in forecasts)),
        pictures=_pictures(forecasts),
        nothing_known=nothing_known(forecasts),
        warnings=warnings(forecasts),
        proposals=proposed,
        chain=CHAIN,
        chart=_chart(forecasts),
        chart_size=(charts.WIDTH, charts.HEIGHT, charts.LEFT, charts.RIGHT, charts.BOTTOM),
        done=sum(done for one in forecasts for done in one.cached.values()),
        jobs=len(open_folders(forecasts)),
        halvings=halvings(forecasts),
        by_phase=by_phase(forecasts),
        total=duration(_total(forecasts)),
        counted=counted,
        to_do=to_do,
    )  # fmt: skip


def _total(forecasts: Sequence[Forecast]) -> float | None:
    """Seconds until all training is done; a bake on two pages counts once."""
    each = {str(Path(one.bake.folders["train"])): one.seconds for one in forecasts}
    return together.seconds([one.bake for one in forecasts], each)


def _at_once(forecasts: Sequence[Forecast]) -> str:
    workers = max(one.bake.workers for one in forecasts)
    most = max(len(together.share(one.bake)) for one in forecasts)
    beside = f", up to {most} bakes side by side" if most > 1 else ""
    return f"{workers} process{'es' if workers > 1 else ''} at a time{beside}"


def _pictures(forecasts: Sequence[Forecast]) -> list[Pictures]:
    """Bakes that show the same pictures in the same buckets, together."""
    groups: dict[Any, list[Forecast]] = {}
    for one in forecasts:
        groups.setdefault((one.bake.folders["layout"], one.sizes), []).append(one)
    return [
        Pictures(
            labels=list(dict.fromkeys(one.bake.label for one in group)),
            known=group[0].known,
            buckets=group[0].buckets,
            lost=group[0].lost,
            source=SOURCES[group[0].known.stage],
            about_captions=group[0].about_captions,
        )
        for group in groups.values()
    ]


def _chart(forecasts: Sequence[Forecast]) -> charts.Chart | None:
    """The learning rates over the epochs; equal curves are drawn once."""
    names: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for one in forecasts:
        for part, curve in one.curves.items():
            whose = "" if one.bake.label.startswith(f"{part} ") else f", {part}"
            names.setdefault(tuple(curve), []).append(f"{one.bake.label}{whose}")
    series = [
        charts.Series(_short(labels), [(x, y, "") for x, y in curve])
        for curve, labels in names.items()
    ]
    return charts.lines(series, y_range=None) if series else None


def _short(labels: Sequence[str]) -> str:
    names = list(dict.fromkeys(labels))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
