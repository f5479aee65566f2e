"""The second look: pictures without booru tags, judged by what the tagger sees.

Some of the filter's checks read the post's tags, and a picture from a plain folder has none. So the
filter writes down which pictures it could not judge, and for which reasons (`untagged.json`; without
such pictures there is no file). After tagging, the prune stage asks the same questions of the tagger's
tags, and leaves out of the captions what the filter would have dropped.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bakery.dataset.checks import CHECKS, CURES, Candidate
from bakery.dataset.decisions import SECOND_LOOK
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.filter import Filter
from bakery.tags import captions, content
from bakery.tags.tagging import Tagging

_log = logging.getLogger(__name__)

NAME = "untagged.json"
COLUMNS = ("image", "kept", "reasons", "probability", "tags")
"""Of `second_look.csv`, a row for each picture looked at."""
UNWANTED = "unwanted_tag"
"""The check whose tags are the user's."""

Rule = Callable[[Iterable[str]], bool]
"""Whether general tags, underscored, are a reason. More tags never make it less of one."""


@dataclass(frozen=True)
class Judged:
    """A picture that had no booru tags."""

    image: str
    reasons: tuple[str, ...]
    """Names of the checks that drop it, in the filter's order; none if it is kept."""
    probability: float
    """Of the surest reason, also where it is too unsure to count; 0 if there is none."""
    tags: tuple[str, ...]
    """The tagger's tag that decides each reason; if it is kept, that of the surest one."""

    @property
    def kept(self) -> bool:
        return not self.reasons


def leave_open(settings: Filter, candidates: Iterable[Candidate], out: Path) -> int:
    """Writes `untagged.json` to the filter's folder: what it keeps and could not judge by tags.

    It names pictures and reasons. A check that is switched off is not among them, nor a picture that
    was included by hand. Returns the number of pictures; writes nothing if there are none.
    """
    reasons = [
        check.reason
        for check in CHECKS
        if (check.by_tags or check.reason == UNWANTED) and getattr(settings, check.setting)
    ]
    images = [
        one.post.image
        for one in candidates
        if one.kept and one.by_hand != "include" and not content.is_tagged(one.post)
    ]
    if not reasons or not images:
        return 0
    left = {"reasons": reasons, "unwanted_tags": settings.unwanted_tags, "images": sorted(images)}
    write_text(out / NAME, json.dumps(left, indent=2, ensure_ascii=False) + "\n")
    return len(images)


def look(filter: Path, tagged: Tagging, images: Iterable[str], least: float | None) -> list[Judged]:
    """Judges those of `images` that the filter could not judge by what the tagger sees of them.

    `filter` is the filter's folder; a reason counts from the probability `least` on, None looks at
    nothing. Only general tags count: taggers often see two names in one character. Raises
    `BakeryError` if the filter's file is broken.
    """
    path = filter / NAME
    if least is None or not path.is_file():
        return []
    rules, unjudged = _read(path)
    mine = tagged.rows[tagged.rows["category"] == "general"]
    mine = mine[mine["image"].isin(unjudged & set(images))]
    seen: dict[str, dict[str, float]] = {image: {} for image in images if image in unjudged}
    for image, tag, probability in zip(
        mine["image"], mine["tag"], mine["probability"], strict=True
    ):
        seen[image][captions.same(tag).replace(" ", "_")] = float(probability)
    return [_judge(image, content.settled(tags), rules, least) for image, tags in seen.items()]


def leave_out(judged: Sequence[Judged], images: Sequence[str], out: Path) -> list[str]:
    """`images` without those that are dropped, which the log counts by reason.

    Writes `second_look.csv` (`COLUMNS`) to `out` if pictures were looked at. Raises `BakeryError`
    with what to change, after writing it, if no picture is left.
    """
    if judged:
        tables.write(out / SECOND_LOOK, map(_row, judged), COLUMNS)
    dropped = {one.image for one in judged if not one.kept}
    kept = [image for image in images if image not in dropped]
    why = ", ".join(f"{reason} {count}" for reason, count in _counts(judged).items())
    if dropped and not kept:
        cures = " or ".join(CURES[reason] for reason in _counts(judged))
        raise BakeryError(
            f"prune: what the tagger sees speaks against all of the {len(images)} pictures ({why}; see "
            f"{SECOND_LOOK}): set {cures}, raise prune.second_look, or name pictures in include.txt"
        )
    if dropped:
        _log.warning(
            "prune: %d of %d pictures without booru tags are left out by what the tagger sees (%s): "
            "prune.html shows them, include.txt keeps them", len(dropped), len(judged), why,
        )  # fmt: skip
    return kept


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Counts for the manifest, as one entry; {} if no picture was looked at."""
    if not judged:
        return {}
    dropped = sum(not one.kept for one in judged)
    counts = {"images": len(judged), "dropped": dropped, "reasons": _counts(judged)}
    return {"second_look": counts}


def _counts(judged: Sequence[Judged]) -> dict[str, int]:
    counts = Counter(reason for one in judged for reason in one.reasons)
    return {check.reason: counts[check.reason] for check in CHECKS if counts[check.reason]}


def _row(one: Judged) -> dict[str, Any]:
    return {
        "image": one.image,
        "kept": "true" if one.kept else "false",
        "reasons": ";".join(one.reasons),
        "probability": f"{one.probability:.4f}",
        "tags": tables.join(one.tags),
    }


def _read(path: Path) -> tuple[dict[str, Rule], set[str]]:
    """Reason -> its rule, and the pictures to judge."""
    known: dict[str, Rule] = {check.reason: check.by_tags for check in CHECKS if check.by_tags}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        patterns = tuple(map(str, told["unwanted_tags"]))
        known[UNWANTED] = partial(content.any_like, patterns=patterns)
        rules = {reason: known[reason] for reason in told["reasons"]}
        return rules, set(map(str, told["images"]))
    except (ValueError, KeyError, TypeError) as problem:
        raise BakeryError(
            f"{path} does not say which pictures are to be judged ({problem!r}): delete its folder and "
            "run the filter stage again"
        ) from None


def _judge(
    image: str, seen: Mapping[str, float], rules: Mapping[str, Rule], least: float
) -> Judged:
    found = {reason: _surest(rule, seen) for reason, rule in rules.items()}
    reasons = tuple(reason for reason, (probability, _) in found.items() if probability >= least)
    probability, tag = max(found.values(), default=(0.0, ""))
    tags = tuple(found[reason][1] for reason in reasons) or ((tag,) if tag else ())
    return Judged(image, reasons, probability, tags)


def _surest(rule: Rule, seen: Mapping[str, float]) -> tuple[float, str]:
    """The highest threshold at which the tags `seen` are a reason, and the tag that it lets in.

    (0, "") if they are none at any threshold.
    """
    if not rule(seen):
        return 0.0, ""
    shown: set[str] = set()
    for tag, probability in sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])):
        shown.add(tag)
        if rule(shown):
            return probability, tag.replace("_", " ")
    return 0.0, ""
