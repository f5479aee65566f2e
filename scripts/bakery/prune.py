"""Prune: which tags leave the captions, so that the trigger word learns what they said.

Steps: count each tag on the kept pictures, at the tagger's thresholds; judge each tag once (prune,
keep or drop) and say why in words; write the captions from what is kept.

The rule of the guide: what the pictures always show because it is the character (hair, eyes,
horns) belongs to the trigger; what can change (clothes, scene, expression) stays a word, so that
prompts can ask for something else.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bakery import captions, decisions, manifest, tables, tagging, traits
from bakery.config import Prune
from bakery.errors import BakeryError

COLUMNS = ("tag", "count", "frequency", "category", "decision", "reason")

# fmt: off
CLASS_WORDS = frozenset({
    "1girl", "1boy", "1other", "multiple girls", "multiple boys", "2girls", "2boys", "solo",
    "solo focus", "male focus", "no humans", "animal focus", "furry", "furry female", "furry male",
})
# fmt: on
"""Words for what kind of thing is in the picture; customarily they stay in captions."""

CONSTANT = 0.9
"""Share of the pictures from which a reason calls a tag constant."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """`category` (trait, class, other, character, rating ...), `decision` and its reason."""

    category: str
    decision: str
    reason: str


def run(settings: Prune, *, filter: Path, tag: Path, out: Path) -> dict[str, Any]:
    """Decides about every tag and writes the captions.

    Writes `prune.csv` (a row for each tag seen), `captions.csv` (image, caption: the trigger, class
    tokens, tags by falling probability) and `trigger.json` (trigger, class_tokens, pruned, and
    traits: what pruning takes for the character even when `enabled` is false). Raises
    `BakeryError` when the settings contradict each other or the pictures.
    """
    _check(settings)
    tagged = tagging.read(tag)
    images = [image for image in decisions.kept(filter) if image not in tagged.unreadable]
    seen = tagged.seen()
    seen = seen[seen["image"].isin(images)]
    counts = seen.groupby(["tag", "category"])["image"].nunique()
    _check_trigger(settings, seen["tag"])

    verdicts = {
        (name, category): (int(count), judge(settings, name, category, count / len(images)))
        for (name, category), count in counts.items()
    }
    unseen = _unseen(settings, seen["tag"])
    verdicts |= {(name, "general"): (0, verdict) for name, verdict in unseen.items()}
    rows = [_row(name, n, len(images), verdict) for (name, _), (n, verdict) in verdicts.items()]
    rows.sort(key=lambda row: (-row["count"], row["tag"]))

    kept = {key for key, (_, verdict) in verdicts.items() if verdict.decision == "keep"}
    said = seen[pd.MultiIndex.from_frame(seen[["tag", "category"]]).isin(kept)]
    trigger = {
        "trigger": settings.trigger,
        "class_tokens": settings.class_tokens,
        "pruned": [row["tag"] for row in rows if row["decision"] == "prune"],
        "traits": _traits(settings, rows, len(images)),
    }
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "prune.csv", rows, COLUMNS)
    tables.write(out / "captions.csv", _captions(settings, images, said), ("image", "caption"))
    text = json.dumps(trigger, indent=2, ensure_ascii=False) + "\n"
    manifest.write_text(out / "trigger.json", text)
    return {
        "images": len(images),
        "unreadable": len(tagged.unreadable),
        "pruned": trigger["pruned"],
        "kept": sum(row["decision"] == "keep" for row in rows),
        "dropped": sum(row["decision"] == "drop" for row in rows),
        "never_seen": list(unseen),
        "captions_without_tags": len(images) - said["image"].nunique(),
    }


def _traits(settings: Prune, rows: list[dict[str, Any]], images: int) -> list[str]:
    """Traits that pruning takes for the character's, whether or not it is switched on."""
    switched_on = settings.model_copy(update={"enabled": True})
    return [
        row["tag"]
        for row in rows
        if row["category"] == "trait"
        and row["count"]
        and judge(switched_on, row["tag"], "general", row["count"] / images).decision == "prune"
    ]


def judge(settings: Prune, tag: str, category: str, share: float) -> Verdict:
    """What becomes of `tag`, which is seen on `share` (0..1) of the kept pictures.

    `category` is the tagger's. The user's lists come first, then the kind of tag, then how often
    it is seen.
    """
    name = captions.same(tag)
    kind = traits.kind(name)
    mine = _kind_of(name, category, kind)
    often = f"on {_percent(share)} of the pictures"
    if name == captions.same(settings.trigger):
        return Verdict(mine, "prune", "it is the trigger, which already leads every caption")
    if name in _known(captions.split(settings.class_tokens)):
        return Verdict("class", "keep", "a class token: right behind the trigger in every caption")
    if name in _known(settings.never):
        return Verdict(mine, "keep", f"{often}; listed in prune.never")
    if settings.enabled and name in _known(settings.always):
        return Verdict(mine, "prune", f"{often}; listed in prune.always")
    if mine in ("trait", "class", "other"):
        return _judge_general(settings, mine, kind, share, often)
    if mine != "character":
        return Verdict(mine, "drop", f"{often}; a {mine} is no caption word")
    if not settings.enabled:
        return Verdict(mine, "keep", f"{often}; pruning is switched off")
    if share >= settings.min_frequency:
        reason = f"{often} and a name the tagger has for the character: the trigger replaces it"
        return Verdict(mine, "prune", reason)
    return Verdict(mine, "drop", f"{often} only: the name of a character who looks alike")


def _judge_general(
    settings: Prune, category: str, kind: str | None, share: float, often: str
) -> Verdict:
    if not settings.enabled:
        return Verdict(category, "keep", f"{often}; pruning is switched off")
    if category == "trait" and share >= settings.min_frequency:
        reason = f"{often} and a trait of the character ({kind}): the trigger absorbs it"
        return Verdict(category, "prune", reason)
    if category == "trait":
        reason = f"a trait ({kind}), but {often} only: it varies, so prompts must be able to ask"
    elif category == "class":
        reason = f"{often}; a class word: it ties the character to what the base knows of its kind"
    elif share >= CONSTANT:
        reason = f"{often}, but no trait of the body; list it in prune.always to absorb it too"
    else:
        reason = f"{often}; it changes from picture to picture, so prompts must be able to ask"
    return Verdict(category, "keep", reason)


def _kind_of(name: str, category: str, kind: str | None) -> str:
    if category != "general":
        return category
    if name in CLASS_WORDS:
        return "class"
    return "trait" if kind else "other"


def _known(tags: Iterable[str]) -> set[str]:
    return {captions.same(tag) for tag in tags}


def _percent(share: float) -> str:
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def _row(name: str, count: int, images: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "tag": name,
        "count": count,
        "frequency": f"{count / images:.4f}",
        "category": verdict.category,
        "decision": verdict.decision,
        "reason": verdict.reason,
    }


def _check(settings: Prune) -> None:
    """Lists that contradict each other."""
    always, never = _known(settings.always), _known(settings.never)
    class_tokens = _known(captions.split(settings.class_tokens))
    if both := sorted(always & never):
        raise BakeryError(
            f"prune: {both[0]!r} stands in always and in never; take it out of one of them"
        )
    if both := sorted(always & class_tokens):
        raise BakeryError(
            f"prune: {both[0]!r} stands in always and in class_tokens; take it out of one of them"
        )
    if captions.same(settings.trigger) in class_tokens | never:
        where = "class_tokens" if captions.same(settings.trigger) in class_tokens else "never"
        raise BakeryError(
            f"prune: the trigger {settings.trigger!r} also stands in {where}, and would be in the "
            "captions twice; take it out there"
        )


def _check_trigger(settings: Prune, tags: Iterable[str]) -> None:
    """A trigger that the tagger sees as a tag would mean two things at once."""
    trigger = captions.same(settings.trigger)
    if trigger in _known(tags) and trigger not in _known(settings.always):
        raise BakeryError(
            f"prune: the trigger {settings.trigger!r} is itself a tag that the tagger sees on "
            f"these pictures; choose a word of its own, such as {settings.trigger + '_x'!r}, or "
            "list the tag in prune.always so that only the trigger says it"
        )


def _unseen(settings: Prune, tags: Iterable[str]) -> dict[str, Verdict]:
    """Entries of the user's lists that are on no picture: on record, with the nearest tag."""
    tags = sorted(set(tags))
    known = _known(tags)
    found: dict[str, Verdict] = {}
    for which, entries in (("always", settings.always), ("never", settings.never)):
        for entry in entries:
            name = captions.same(entry)
            if name in known or name == captions.same(settings.trigger):
                continue
            close = difflib.get_close_matches(name, tags, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            reason = f"listed in prune.{which}, but on no picture{hint}"
            _log.warning("prune: %r is %s", name, reason)
            category = _kind_of(name, "general", traits.kind(name))
            pruned = which == "always" and settings.enabled
            found[name] = Verdict(category, "prune" if pruned else "keep", reason)
    return found


def _captions(settings: Prune, images: list[str], said: pd.DataFrame) -> list[dict[str, str]]:
    """A caption for each of `images`; `said` holds the rows of tags that are kept."""
    front = [settings.trigger, *captions.split(settings.class_tokens)]
    in_front = _known(front)
    ordered = said.sort_values(["probability", "tag"], ascending=[False, True])
    of_image: dict[str, list[str]] = {image: [] for image in images}
    for image, tag in zip(ordered["image"], ordered["tag"], strict=True):
        if captions.same(tag) not in in_front:
            of_image[image].append(tag)
    return [
        {"image": image, "caption": captions.join([*front, *tags])}
        for image, tags in of_image.items()
    ]
