"""Compare: every bake of a sweep on one page, and in one table.

Steps: read what train, sample and score left of each bake; judge which epoch is the best; write
`results.csv`; draw the charts; put pictures, numbers and files into `index.html`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bakery import charts, infotext, page, tables, verdicts
from bakery.config import Compare
from bakery.errors import BakeryError
from bakery.images import open_rgb
from bakery.manifest import write_text
from bakery.verdicts import Epoch

BASE = -1
"""Number, among the bakes, of the base that all of them share."""
INTERVALS = ("fidelity_low", "fidelity_high", "flexibility_low", "flexibility_high")


@dataclass(frozen=True)
class Bake:
    """Where one bake lies, and what is asked of it: settings by dotted name (`train.unet_lr`)."""

    label: str
    train: Path
    sample: Path
    score: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shot:
    """One sample."""

    epoch: int
    prompt_id: str
    prompt: str
    seed: str
    path: Path
    found: Sequence[str]
    missing: Sequence[str]

    @cached_property
    def infotext(self) -> str:
        return infotext.read_png(self.path)


@dataclass(frozen=True)
class Baked:
    """What came of one bake."""

    bake: Bake
    epochs: Sequence[Epoch]
    shots: Mapping[tuple[int, str, str], Shot]
    """By epoch, prompt id and seed."""

    @property
    def best(self) -> Epoch | None:
        """The epoch with the highest balance, the earliest of equals."""
        scored = [e for e in self.epochs if e.number and not math.isnan(e.balance)]
        return max(scored, key=lambda e: e.balance, default=None)

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]


@dataclass(frozen=True)
class Row:
    """One row of the picture table: an epoch of a bake, or the base of all (`bake` = BASE)."""

    bake: int
    epoch: Epoch
    label: str
    cells: Sequence[Sequence[tuple[Shot, page.Inline]]]
    """For each prompt its shots, one for each seed."""


def run(settings: Compare, *, bakes: list[Bake], out: Path, sweep: str) -> dict[str, Any]:
    """Writes `results.csv` and the self-contained `index.html`.

    The summary names the best bake, epoch and file, None where the scores allow no verdict. Raises
    `BakeryError` when there is no bake, or when the files of one do not fit together.
    """
    if not bakes:
        raise BakeryError(f"sweep {sweep} holds no bake: give its grid or variants a value")
    baked = [read(bake) for bake in bakes]
    differing = differences(bakes)
    verdict = verdicts.judge([one.epochs for one in baked])
    out.mkdir(parents=True, exist_ok=True)
    columns = ("label", *differing, "epoch", "fidelity", "flexibility", "file", "sshs_model_hash")
    tables.write(out / "results.csv", results(baked, differing), columns)
    write_text(out / "index.html", _page(settings, baked, differing, verdict, sweep))
    best = verdict.best
    return {
        "bakes": len(bakes),
        "verdict": verdict.title,
        "best_bake": best and best.bake,
        "best_epoch": best and best.number,
        "best_file": best and best.file,
        "best_balance": best and round(best.balance, 4),
    }


def read(bake: Bake) -> Baked:
    """The epochs and samples of `bake`, with their scores; checks that all speak of the same."""
    scores_file, train_file = bake.score / "epochs.csv", bake.train / "epochs.csv"
    scores = tables.read(scores_file, ("epoch", "fidelity", "flexibility", *INTERVALS))
    for name in ("epoch", "fidelity", "flexibility", *INTERVALS):
        scores[name] = tables.numbers(scores[name], scores_file)
    saved = tables.read(train_file, ("epoch", "file", "sshs_model_hash", "loss"))
    for name in ("epoch", "loss"):
        saved[name] = tables.numbers(saved[name], train_file)
    files = {int(row["epoch"]): row for row in saved.to_dict("records")}
    epochs = [_epoch(bake, row, files) for row in scores.to_dict("records")]
    missing = sorted({0, *files} ^ {epoch.number for epoch in epochs})
    if missing:
        raise BakeryError(
            f"{scores_file} and {train_file} do not both know epoch {missing[0]}: "
            "run the score stage of this bake again"
        )
    return Baked(bake, sorted(epochs, key=lambda epoch: epoch.number), _shots(bake))


def differences(bakes: Sequence[Bake]) -> list[str]:
    """Dotted names of the settings that are not the same in every bake, in order of appearance."""
    names = dict.fromkeys(name for bake in bakes for name in bake.settings)
    return [n for n in names if len({json.dumps(b.settings.get(n)) for b in bakes}) > 1]


def results(baked: Iterable[Baked], differing: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each bake and epoch, epoch 0 the base without a file."""
    return [
        {
            "label": one.bake.label,
            **{name: shown(one.bake.settings.get(name)) for name in differing},
            "epoch": epoch.number,
            "fidelity": epoch.fidelity,
            "flexibility": epoch.flexibility,
            "file": epoch.file,
            "sshs_model_hash": epoch.sshs_model_hash,
        }
        for one in baked
        for epoch in one.epochs
    ]


def shown(value: Any) -> str:
    """A setting as people write it: no quotes around text, no trailing zeros."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def rows(baked: Sequence[Baked], side: int, seeds: Sequence[str]) -> list[Row]:
    """The picture table, bake by bake; a base that all bakes share comes once, on top."""
    prompts = _prompts(baked)
    shared = all(same_base(baked[0], other) for other in baked[1:])
    inlined: dict[Path, page.Inline] = {}

    def cells(one: Baked, number: int) -> list[list[tuple[Shot, page.Inline]]]:
        found = [
            [one.shots[key] for seed in seeds if (key := (number, prompt, seed)) in one.shots]
            for prompt in prompts
        ]
        for shot in (shot for cell in found for shot in cell):
            inlined.setdefault(shot.path, page.inline(shot.path, side))
        return [[(shot, inlined[shot.path]) for shot in cell] for cell in found]

    table = []
    for index, one in enumerate(baked):
        for epoch in one.epochs:
            if epoch.number == 0 and shared:
                if index == 0:
                    table.append(Row(BASE, epoch, "base", cells(one, 0)))
                continue
            table.append(Row(index, epoch, one.bake.label, cells(one, epoch.number)))
    return table


def same_base(one: Baked, other: Baked) -> bool:
    """Whether two bakes start from the same pictures: equal infotexts, pixels but for rounding."""
    first, second = (
        {key: shot for key, shot in b.shots.items() if key[0] == 0} for b in (one, other)
    )
    if first.keys() != second.keys():
        return False
    for key, shot in first.items():
        if shot.infotext != second[key].infotext:
            return False
        here, there = (np.asarray(open_rgb(s.path), np.int16) for s in (shot, second[key]))
        if here.shape != there.shape or np.abs(here - there).mean() > 1:
            return False
    return True


def _epoch(bake: Bake, row: Mapping[str, Any], files: Mapping[int, Mapping[str, Any]]) -> Epoch:
    number = int(row["epoch"])
    saved = files.get(number, {})
    return Epoch(
        bake=bake.label,
        number=number,
        fidelity=row["fidelity"],
        flexibility=row["flexibility"],
        **{name: row[name] for name in INTERVALS},
        loss=saved.get("loss", math.nan),
        file=saved.get("file", ""),
        sshs_model_hash=saved.get("sshs_model_hash", ""),
    )


def _shots(bake: Bake) -> dict[tuple[int, str, str], Shot]:
    samples_file = bake.sample / "samples.csv"
    samples = tables.read(samples_file, ("epoch", "prompt_id", "prompt", "seed", "image"))
    if samples.empty:
        raise BakeryError(f"{samples_file} lists no sample: run the sample stage again")
    scores = tables.read(bake.score / "scores.csv", ("image", "found", "asked"))
    scored = {row["image"]: row for row in scores.to_dict("records")}
    shots = {}
    for row in samples.to_dict("records"):
        if row["image"] not in scored:
            raise BakeryError(
                f"{bake.score / 'scores.csv'} does not score {row['image']}: "
                "run the score stage of this bake again"
            )
        score = scored[row["image"]]
        found = tables.split(score["found"])
        missing = [name for name in tables.split(score["asked"]) if name not in found]
        path = bake.sample / "images" / row["image"]
        key = (int(row["epoch"]), row["prompt_id"], row["seed"])
        shots[key] = Shot(key[0], key[1], row["prompt"], key[2], path, found, missing)
    return shots


def _prompts(baked: Iterable[Baked]) -> dict[str, str]:
    """Prompt id -> prompt, of all bakes, in the order of the samples."""
    found: dict[str, str] = {}
    for one in baked:
        for shot in one.shots.values():
            found.setdefault(shot.prompt_id, shot.prompt)
    return found


def _page(
    settings: Compare,
    baked: Sequence[Baked],
    differing: Sequence[str],
    verdict: verdicts.Verdict,
    sweep: str,
) -> str:
    seeds = list(dict.fromkeys(shot.seed for one in baked for shot in one.shots.values()))
    table = rows(baked, settings.thumbnail, seeds[: settings.seeds])
    best = next((row for row in table if row.epoch is verdict.best), None)
    numbers = sorted({row.epoch.number for row in table if row.epoch.number})
    same = {
        name: shown(value)
        for name, value in baked[0].bake.settings.items()
        if name not in differing
    }
    return page.render(
        "compare",
        tile=settings.thumbnail,
        title=settings.title,
        sweep=sweep,
        verdict=verdict,
        best=best,
        base=_base_of(best, table) if best else None,
        baked=baked,
        differing=[(name, [shown(one.bake.settings.get(name)) for one in baked])
                   for name in differing],
        same=same,
        prompts=_prompts(baked),
        seeds=seeds[: settings.seeds],
        hidden_seeds=len(seeds[settings.seeds :]),
        rows=table,
        numbers=numbers,
        shared_base=table[0].bake == BASE,
        charts=_charts(baked),
        chart_size=(charts.WIDTH, charts.HEIGHT, charts.LEFT, charts.RIGHT, charts.TOP,
                    charts.BOTTOM),
        lora_token=infotext.lora_token,
        base_of=lambda row: _base_of(row, table),
    )  # fmt: skip


def _base_of(row: Row, table: Sequence[Row]) -> Row:
    """The row of the base that `row` stands on."""
    bases = (r for r in table if r.epoch.number == 0)
    return next(r for r in bases if r.bake in (BASE, row.bake))


def _charts(baked: Sequence[Baked]) -> dict[str, charts.Chart]:
    def by_epoch(name: str, unit: str, banded: bool) -> list[charts.Series]:
        return [
            charts.Series(
                one.bake.label,
                [
                    (e.number, value, f"{one.bake.label}, epoch {e.number}: {_said(value, unit)}")
                    for e in one.epochs
                    if not math.isnan(value := getattr(e, name))
                ],
                [
                    (e.number, getattr(e, f"{name}_low"), getattr(e, f"{name}_high"))
                    for e in one.epochs
                ]
                if banded
                else (),
            )
            for one in baked
        ]

    def trade(one: Baked) -> charts.Series:
        return charts.Series(
            one.bake.label,
            [
                (
                    e.flexibility,
                    e.fidelity,
                    f"{one.bake.label}, epoch {e.number}: fidelity {page.percent(e.fidelity)}, "
                    f"flexibility {page.percent(e.flexibility)}, balance {page.fixed(e.balance)}",
                )
                for e in one.epochs
            ],
        )

    levels = {
        name: {getattr(one.epochs[0], name) for one in baked}
        for name in ("fidelity", "flexibility")
    }
    drawn = {
        name: charts.lines(
            by_epoch(name, "%", banded=True),
            y_range=(0.0, 1.0),
            reference=level.pop() if len(level) == 1 else None,
            percent=True,
        )
        for name, level in levels.items()
    }
    drawn["loss"] = charts.lines(by_epoch("loss", "", banded=False))
    drawn["trade_off"] = charts.trade_off([trade(one) for one in baked])
    return drawn


def _said(value: float, unit: str) -> str:
    return page.percent(value) if unit == "%" else page.fixed(value, 4)
