"""Where a bake comes from, in numbers: from the requested posts to the trained steps.

Read from the manifests and tables of the earlier stages. A stage whose folder is gone is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.dataset import decisions
from bakery.io import manifest, tables
from bakery.report.results import BakeResult

DATASET_STAGES = ("scrape", "filter", "tag", "prune", "layout")
"""The stages that bakes of one dataset share."""


@dataclass(frozen=True)
class Step:
    """One stage: a number, what it counts, and the folder to look into."""

    stage: str
    number: str
    what: str
    folder: str
    detail: str = ""


@dataclass(frozen=True)
class Lineage:
    """The steps of one dataset, and the labels of the bakes that were trained on it."""

    name: str
    bakes: Sequence[str]
    steps: Sequence[Step]
    unfetched: Mapping[str, int]
    """Posts without a picture: reason -> how many."""
    dropped: Mapping[str, int]
    """Pictures dropped, by the filter and its second look in prune: reason -> how many; a picture may
    have several reasons."""
    dropped_total: int
    pruned: Sequence[tuple[str, str]]
    """Tags that the trigger absorbs: (tag, why)."""
    kept: Sequence[tuple[str, int]]
    """Tags that stay in the captions: (tag, on how many pictures), the most frequent first."""


def trace(baked: Iterable[BakeResult]) -> list[Lineage]:
    """One lineage for each dataset among `baked`, in order of appearance."""
    groups: dict[tuple[str, ...], list[BakeResult]] = {}
    for one in baked:
        key = tuple(one.bake.folders[s].name for s in DATASET_STAGES if s in one.bake.folders)
        groups.setdefault(key, []).append(one)
    return [_lineage(group) for group in groups.values()]


def _lineage(group: Sequence[BakeResult]) -> Lineage:
    folders = {s: f for s, f in group[0].bake.folders.items() if (f / manifest.NAME).is_file()}
    manifests = {stage: manifest.read(folder) for stage, folder in folders.items()}
    summaries = {stage: each.get("summary", {}) for stage, each in manifests.items()}
    later = decisions.dropped_later(folders["prune"]) if "prune" in folders else {}
    reasons, total = dropped(folders.get("filter"), later)
    pruned, kept = tags(folders.get("prune"))
    return Lineage(
        name=manifests.get("scrape", {}).get("settings", {}).get("name", group[0].bake.label),
        bakes=[one.bake.label for one in group],
        steps=list(_steps(folders, summaries, total - len(later), len(pruned), len(kept))),
        unfetched={
            reason.replace("_", " "): count
            for reason, count in summaries.get("scrape", {}).get("reasons", {}).items()
        },
        dropped=reasons,
        dropped_total=total,
        pruned=pruned,
        kept=kept,
    )


def _steps(
    folders: Mapping[str, Path],
    summaries: Mapping[str, dict[str, Any]],
    dropped: int,
    pruned: int,
    kept: int,
) -> Iterable[Step]:
    def step(stage: str, key: str, what: str, detail: str = "") -> Iterable[Step]:
        if key in summaries.get(stage, {}):
            yield Step(stage, f"{summaries[stage][key]}", what, str(folders[stage]), detail)

    yield from step("scrape", "posts", "posts looked at")
    yield from step("scrape", "images", "pictures fetched")
    yield from step("filter", "kept", "pictures kept", f"{dropped} dropped")
    if "prune" in folders:
        where = str(folders["prune"])
        if looked := summaries["prune"].get("second_look"):
            of = f"of {looked['images']} without booru tags"
            yield Step(
                "prune", f"{looked['dropped']}", "pictures dropped by a second look", where, of
            )
        yield Step("prune", f"{pruned}", "tags pruned", where, f"{kept} stay in the captions")
    repeated = ", ".join(summaries.get("layout", {}).get("folders", {}))
    yield from step("layout", "images", "pictures laid out", repeated and f"in {repeated}")
    if held := summaries.get("layout", {}).get("holdout"):
        where, what = str(folders["layout"]), "pictures held out"
        yield Step("layout", f"{held['images']}", what, where, "not trained on")
    yield from step("train", "steps_per_epoch", "steps an epoch")


def dropped(folder: Path | None, later: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], int]:
    """Reason -> pictures, the most frequent first, and how many pictures were dropped.

    By the filter in `folder`, and `later` by its second look (picture -> reasons).
    """
    found = list(later.values())
    if folder is not None:
        table = tables.read(folder / "decisions.csv", ("kept", "reasons"))
        found += [cell.split(";") for cell in table.loc[table["kept"] != "true", "reasons"]]
    reasons = Counter(reason.replace("_", " ") for of_one in found for reason in of_one)
    return dict(reasons.most_common()), len(found)


def tags(folder: Path | None) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Of the folder of the prune stage: (tag, why) of those the trigger absorbs, and (tag, count) of
    those that stay, the most frequent first."""
    if folder is None:
        return [], []
    path = folder / "prune.csv"
    table = tables.read(path, ("tag", "count", "decision", "reason"))
    table["count"] = tables.numbers(table["count"], path)
    rows = tables.records(table)
    pruned = [(row["tag"], row["reason"]) for row in rows if row["decision"] == "prune"]
    kept = [(row["tag"], int(row["count"])) for row in rows if row["decision"] == "keep"]
    return pruned, sorted(kept, key=lambda pair: -pair[1])
