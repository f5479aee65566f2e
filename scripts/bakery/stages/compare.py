"""Compare: every bake of a sweep on one page, and in one table.

Steps: read the results of train, sample and score for each bake; choose the epoch to recommend;
write `results.csv` and `grid.jpg`, all pictures in one; draw the charts; put pictures, numbers,
files and origins into `index.html`, and into `report.html`, the same page small enough for a
Snakemake report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.graph import short_names
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.io.images import open_rgb
from bakery.pages import charts, grid, page, thumbnails
from bakery.report import comparable, curves, lineage, picture_table, recommendation, sweep_grid
from bakery.report.comparable import shown
from bakery.report.results import Bake, BakeResult, Estimate, Shot, read_bake
from bakery.scoring.metrics import BALANCED, ON_PAGE, TRADEOFF
from bakery.settings.compare import Compare

REPORT_BYTES = 1_500_000
"""Size of `report.html`: a report shows it as a data URI, and Chromium opens none above 2 MiB."""
NUMBERS = 10
"""Extra bytes of a shot's two line numbers, compared with the placeholder for none."""
STRIP = 4
"""Prompts beside the headline."""
__all__ = ["Bake", "run"]


@dataclass(frozen=True)
class Recommended:
    """The recommendation in words, and as numbers of the bake and its epoch."""

    title: str
    reasons: Sequence[str]
    beats_base: bool
    best: tuple[int, int] | None
    own: Sequence[int | None]
    """The epoch of each bake that would be recommended if it were the only bake."""
    ranks: Sequence[int]
    """The place of each bake by the score of that epoch, 0 the best."""


def run(settings: Compare, *, bakes: Sequence[Bake], out: Path, sweep: str) -> dict[str, Any]:
    """Writes `results.csv`, `grid.jpg`, `index.html` and `report.html`.

    The summary names the recommended bake, epoch and file, None if the scores do not allow one.
    Raises `BakeryError` if there is no bake, or if a bake's files do not fit together.
    """
    if not bakes:
        raise BakeryError(f"sweep {sweep} has no bake: give its grid or variants a value")
    baked = [read_bake(bake) for bake in comparable.labelled(bakes)]
    recommended = recommend(baked)
    differing = comparable.differences([one.bake for one in baked])
    out.mkdir(parents=True, exist_ok=True)
    columns = (
        "label",
        *differing,
        "epoch",
        "lora",
        *_columns(baked),
        "loss",
        "file",
        "sshs_model_hash",
        *(["stopped"] if any(one.stopped_by_you for one in baked) else []),
    )
    tables.write(out / "results.csv", results(baked, differing), columns)
    grid.save(sweep_grid.draw(baked, sweep), out / "grid.jpg", format="JPEG", quality=90)
    view = View(settings, baked, recommended, differing, sweep, out)
    most = round(settings.max_mb * 1e6)
    write_text(out / "index.html", view.html(most, report=False))
    write_text(out / "report.html", view.html(min(most, REPORT_BYTES), report=True))
    return _summary(baked, recommended)


def recommend(baked: Sequence[BakeResult]) -> Recommended:
    """What the scores recommend."""

    all_epochs = [_scored(one) for one in baked]
    choice = recommendation.recommend(all_epochs)
    own = [recommendation.recommend([each]).best for each in all_epochs]
    scores = [epoch.rank if epoch else -math.inf for epoch in own]
    order = sorted(range(len(baked)), key=lambda i: -scores[i])
    best = None
    if choice.best:
        number = next(i for i, each in enumerate(all_epochs) if choice.best in each)
        best = (number, choice.best.number)
    return Recommended(
        title=choice.title,
        reasons=[*choice.reasons, *_early(baked, best)],
        beats_base=choice.beats_base,
        best=best,
        own=[epoch.number if epoch else None for epoch in own],
        ranks=[order.index(i) for i in range(len(baked))],
    )


def _early(baked: Sequence[BakeResult], best: tuple[int, int] | None) -> Iterable[str]:
    """Notes on bakes that were stopped early."""
    stopped = sum(bool(one.stopped) for one in baked)
    if len(baked) == 1 and stopped:
        yield f"The bake was {baked[0].stopped}."
        return
    if stopped:
        verb = "was" if stopped == 1 else "were"
        yield f"{stopped} of {len(baked)} bakes {verb} not baked to the end."
    if best and baked[best[0]].stopped:
        yield f"The recommended one is among them: {baked[best[0]].stopped}."


def _scored(one: BakeResult) -> list[recommendation.EpochScore]:
    """The epochs of a bake with what the recommendation goes by."""
    draws = recommendation.read_draws(one.bake.folders["score"] / "draws.csv")
    leaks: dict[int, Counter[str]] = {}
    for shot in one.shots.values():
        leaks.setdefault(shot.epoch, Counter()).update(shot.leaked)
    return [
        recommendation.EpochScore(
            bake=one.bake.label,
            number=e.number,
            scores={name: value.value for name, value in e.scores.items()},
            file=e.file,
            draws=draws.get(e.number, {}),
            leaks=leaks.get(e.number, {}),
        )
        for e in one.epochs
    ]


def results(baked: Iterable[BakeResult], differing: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each bake and epoch, epoch 0 the base without a file."""
    return [
        {
            "label": one.bake.label,
            **{name: shown(one.bake.settings.get(name)) for name in differing},
            "epoch": epoch.number,
            "lora": one.bake.lora_name(epoch.number) if epoch.file else "",
            **{
                name: number
                for metric in ON_PAGE
                for name, number in zip(metric.bounds, epoch.score(metric.name).ends, strict=False)
            },
            "loss": epoch.loss,
            "file": epoch.file,
            "sshs_model_hash": epoch.sshs_model_hash,
            "stopped": one.stopped,
        }
        for one in baked
        for epoch in one.epochs
    ]


@dataclass(frozen=True)
class View:
    """The page's content, at any size."""

    settings: Compare
    baked: Sequence[BakeResult]
    recommended: Recommended
    differing: Sequence[str]
    sweep: str
    out: Path

    def html(self, limit: int, report: bool) -> str:
        """The page in at most `limit` bytes, as far as its text and numbers allow.

        With `report` it links to the larger page.
        """
        words = self._words(report)
        drawn = {seed for one in self.baked for _, _, seed in one.shots}
        for seeds in range(min(self.settings.seeds, len(drawn)), 0, -1):
            table = picture_table.arrange(self.baked, self.recommended.ranks, seeds)
            bare = self._render(words, table, None)
            room = limit - len(bare.encode()) - NUMBERS * len(table.shots)
            paths = [shot.path for shot in table.shots]
            ladder = (
                thumbnails.LADDER[: thumbnails.STEPS_WITH_SEEDS] if seeds > 1 else thumbnails.LADDER
            )
            step = thumbnails.step_down(paths, self.settings.thumbnail, room, ladder)
            if step or seeds == 1:
                break
        coding = step[0] if step else thumbnails.LADDER[-1]
        return self._render(
            words, table, thumbnails.ThumbnailSheet(self.settings.thumbnail, room, coding)
        )

    def _render(
        self,
        words: dict[str, Any],
        table: picture_table.PictureTable,
        sheet: thumbnails.ThumbnailSheet | None,
    ) -> str:
        payload = picture_table.payload(table, sheet, self.out)
        lacking = sum(shot[0] == picture_table.ABSENT for shot in payload["shots"])
        linked = sum(shot[1] == picture_table.ABSENT for shot in payload["shots"])
        payload |= {"bakes": self._in_short(), "best": self.recommended.best}
        purposes = list(dict.fromkeys(prompt.purpose for prompt in table.prompts))
        return page.render(
            "compare", columns=len(table.epochs), table=table, purposes=purposes, payload=payload,
            lacking=lacking, linked=linked, album=sheet.text if sheet else "", **words,
        )  # fmt: skip

    def _in_short(self) -> list[dict[str, Any]]:
        """Label and scores of each bake, as the script sorts by them."""
        short = []
        for one, number in zip(self.baked, self.recommended.own, strict=True):
            scores = one.epoch(number).scores if number else {}
            known = {name: value.value for name, value in scores.items() if value.known}
            short.append({"label": one.bake.label, "scores": known})
        return short

    def _words(self, report: bool) -> dict[str, Any]:
        """Everything on the page but the picture table."""
        baked, best = self.baked, self.recommended.best
        bakes = [one.bake for one in baked]
        styles = charts.styles(self.recommended.ranks)
        same = {
            name: shown(value)
            for name, value in baked[0].bake.settings.items()
            if name not in self.differing
        }
        winner = baked[best[0]] if best else None
        dataset = short_names.dataset_folder(bake.dataset for bake in bakes if bake.own)
        return {
            "tile": self.settings.thumbnail,
            "title": self.settings.title,
            "in_words": lambda prompt: picture_table.in_words(prompt.text, baked),
            "called": "recommended" if self.recommended.beats_base else "best of these",
            "sweep": self.sweep,
            "report": report,
            "folder": self.out.name,
            "best_folder": f"results/best/{dataset}/{self.sweep}",
            "recommended": self.recommended,
            "baked": baked,
            "winner": winner,
            "winning": winner.epoch(best[1]) if winner and best else None,
            "strip": self._strip(),
            "balanced": BALANCED,
            "metrics": [metric for metric in ON_PAGE if metric.name in _known(baked)],
            "differing": [
                (name, [shown(bake.settings.get(name)) for bake in bakes])
                for name in self.differing
            ],
            "same": same,
            "notes": comparable.notes(baked),
            "warnings": list(dict.fromkeys(said for one in baked for said in one.warnings)),
            "styles": styles,
            "drawing": sorted(range(len(baked)), key=lambda i: -self.recommended.ranks[i]),
            "shapes": [charts.shape(style) for style in styles],
            "figures": curves.figures(baked, best),
            "lineages": lineage.trace(baked),
            "all_shapes": charts.SHAPES,
            "chart_size": (charts.WIDTH, charts.HEIGHT, charts.LEFT, charts.RIGHT, charts.TOP,
                           charts.BOTTOM),
        }  # fmt: skip

    def _strip(self) -> list[tuple[str, list[tuple[Shot, str]]]]:
        """The base and the recommended epoch on the same noise: (name, pictures as data URIs)."""
        if not self.recommended.best:
            return []
        number, epoch = self.recommended.best
        shots = self.baked[number].shots
        first: dict[str, Shot] = {}
        for shot in shots.values():
            if shot.epoch == epoch:
                first.setdefault(shot.prompt_id, shot)
        of = {
            purpose: [shot for shot in first.values() if shot.purpose == purpose]
            for purpose in ("identity", "flexibility")
        }
        identity = of["identity"][: STRIP // 2]
        chosen = identity + of["flexibility"][: STRIP - len(identity)]
        rows = []
        for name, e in (("base", 0), (f"epoch {epoch}", epoch)):
            found = [shots.get((e, shot.prompt_id, shot.seed)) for shot in chosen]
            rows.append((name, [(shot, self._inline(shot.path)) for shot in found if shot]))
        return rows

    def _inline(self, path: Path) -> str:
        small = thumbnails.thumbnail(open_rgb(path), self.settings.thumbnail, thumbnails.BEST)
        return thumbnails.data_uri(thumbnails.encode(small, 85))


def _known(baked: Iterable[BakeResult]) -> set[str]:
    """Names of the scores that some epoch has."""
    scores = (pair for one in baked for epoch in one.epochs for pair in epoch.scores.items())
    return {name for name, value in scores if value.known}


def _columns(baked: Sequence[BakeResult]) -> list[str]:
    named = {name for one in baked for epoch in one.epochs for name in epoch.scores}
    return [name for metric in ON_PAGE if metric.name in named for name in metric.bounds]


def _summary(baked: Sequence[BakeResult], recommended: Recommended) -> dict[str, Any]:
    best = recommended.best
    one = baked[best[0]] if best else None
    epoch = one.epoch(best[1]) if one and best else None
    score = epoch.score(TRADEOFF.name) if epoch else Estimate()
    return {
        "bakes": len(baked),
        "verdict": recommended.title,
        "best_bake": one and one.bake.label,
        "best_train": one and one.bake.folders["train"].name,
        "best_epoch": epoch and epoch.number,
        "best_file": epoch and epoch.file,
        "best_lora": one and epoch and one.bake.lora_name(epoch.number),
        "best_score": round(score.value, 4) if score.known else None,
        **({"best_stopped": one.stopped} if one and one.stopped_by_you else {}),
        "own_epochs": {
            other.bake.folders["score"].name: best[1] if best and number == best[0] else own
            for number, (other, own) in enumerate(zip(baked, recommended.own, strict=True))
        },
    }
