"""Prune: which tags are removed from the captions, so that the trigger word learns what they
describe.

Steps: leave out the pictures that had no booru tags and that the filter would have dropped by the
tagger's; gather the evidence about each tag on the others (how often, how usual, with which
outfits); decide about each tag once (prune, keep or drop) and give the reason; let decisions by
hand overrule; write the captions from the kept tags, and a page that shows everything.

The rule of the guide: what the pictures always show because it is the character (hair, eyes,
horns) belongs to the trigger; what can change (clothes, scene, expression) stays in the captions,
so that prompts can ask for something else.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bakery.dataset import decisions, second_look
from bakery.edits import tag_edits
from bakery.gate import gate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import prune_page
from bakery.pages.page import Subject
from bakery.settings.prune import Prune
from bakery.settings.tag import Thresholds, published_threshold
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.tags import (
    caption_facts,
    caption_lines,
    captions,
    evidence,
    outfit_proposals,
    outfits,
    own_captions,
    pruning,
    tagging,
    vocabulary,
)
from bakery.tags.caption_facts import Written
from bakery.tags.evidence import Evidence
from bakery.tags.outfits import Outfit
from bakery.tags.pruning import DecidedTag
from bakery.tags.trigger import Trigger

COLUMNS = (
    "tag", "count", "frequency", "usual_frequency", "lift", "category", "kind", "outfits", "outfit",
    "decision", "decided_by", "reason",
)  # fmt: skip
OUTFITS = ("outfit", "pictures", "tags", "proposal")

_log = logging.getLogger(__name__)


def run(
    settings: Prune,
    *,
    scrape: Path,
    filter: Path,
    tag: Path,
    out: Path,
    edits: Path | None = None,
    dataset: str = "dataset",
) -> dict[str, Any]:
    """Decides about every tag and writes the captions.

    Writes `prune.csv` (a row for each tag seen), `outfits.csv`, `captions.csv` (image, caption),
    `sentences.csv` if `caption_order` names the sentence, `candidates.csv` if kept captions are of files
    with several, `trigger.json` (and in it traits: what pruning takes for the character even when
    `enabled` is false), `prune.html`, which hands back `edits` (by hand, about `dataset`), and
    `second_look.csv`. Raises `BakeryError` when settings contradict each other or the pictures.
    """
    by_hand = tag_edits.read_decisions(edits) if edits else {}
    _check(settings, by_hand)
    tagged = tagging.read_tags(tag)
    limits = _limits(settings, tagged.model)
    lineage = posts.by_image(scrape / "posts.csv")
    images, known = _admitted(settings, tagged, limits, decisions.kept(filter), lineage)
    looked = second_look.look(filter, tagged, images, settings.second_look)
    out.mkdir(parents=True, exist_ok=True)
    images = second_look.leave_out(looked, images, out)
    beside = own_captions.beside(images, scrape)
    own = own_captions.kept(settings, beside)
    warnings = own_captions.warnings(settings, beside, images)
    seen = _seen(settings, tagged, limits, images, lineage, own)
    worn = _worn(seen)
    found = evidence.gather(seen, images, tagged.vocabulary, worn)
    warnings += _check_words(settings, found, tagged.vocabulary)
    unseen, more = _unseen(settings, by_hand, found)
    ruled = pruning.decide(settings, [*found, *unseen], by_hand)
    decided = own_captions.told_of(settings, ruled, own)
    sources = caption_facts.Sources(lineage, beside, tagged.ratings, scrape, tag)
    written = caption_facts.gather(settings, images, decided, sources)
    lines = caption_lines.lines(settings, images, seen, decided, written)
    lines, refused = _past_the_gate(lines, known)
    trigger = _trigger(settings, decided, limits, own)
    warnings += [*more, *caption_lines.warnings(settings, lines)]
    _warn(warnings := [*warnings, *written.warnings(lines, trigger.pruned)])
    proposed = outfit_proposals.rows(settings, worn, found, len(images))
    _write(out, decided, proposed, lines, written, trigger)
    write_text(out / "prune.html", prune_page.draw(
        settings, decided, proposed, pictures=scrape / "images", images=images,
        subject=Subject(dataset, out.name), dropped=[one for one in looked if not one.kept],
        captions=written.spoken(lines),
    ))  # fmt: skip
    return {
        "images": len(lines),
        "unreadable": len(tagged.unreadable),
        **_of_tags(decided, trigger),
        "outfits": len(worn),
        "never_seen": [one.tag for one in unseen],
        **_about_captions(lines, written, warnings),
        **second_look.summary(looked),
    } | ({"reasons": {gate.FORBIDDEN: len(refused)}} if refused else {})


def _write(
    out: Path,
    decided: Sequence[DecidedTag],
    proposed: Sequence[Mapping[str, Any]],
    lines: Sequence[Mapping[str, Any]],
    written: Written,
    trigger: Trigger,
) -> None:
    trigger.write(out)
    written.write(out, lines)
    tables.write(out / "prune.csv", map(_row, decided), COLUMNS)
    tables.write(out / "outfits.csv", proposed, OUTFITS)
    tables.write(out / "captions.csv", lines, ("image", "caption"))


def _worn(seen: pd.DataFrame) -> list[Outfit]:
    tags_of = seen.groupby("image")["tag"].agg(list)
    return outfits.find({str(image): tags for image, tags in tags_of.items()})


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _log.warning("prune: %s", warning)


def _about_captions(
    lines: Sequence[Mapping[str, Any]], written: Written, warnings: Sequence[str]
) -> dict[str, Any]:
    """What the summary says of the captions."""
    kept = sum(line["image"] in written.own for line in lines)
    return {
        "captions_without_tags": sum(not line["tags"] for line in lines),
        "warnings": list(warnings),
        **({"own_captions": kept} if written.own else {}),
        **written.summary(lines),
    }


def _of_tags(decided: Sequence[DecidedTag], trigger: Trigger) -> dict[str, Any]:
    """What the summary says of tags: those that the trigger absorbs, and how many stay in the captions,
    are dropped, and are decided by hand."""
    return {
        "pruned": list(trigger.pruned),
        "kept": sum(one.action == "keep" for one in decided),
        "dropped": sum(one.action == "drop" for one in decided),
        "by_hand": sum(one.by == "hand" for one in decided),
    }


def _admitted(
    settings: Prune,
    tagged: tagging.Tagging,
    limits: Thresholds,
    kept: Sequence[str],
    lineage: Mapping[str, Post],
) -> tuple[list[str], dict[str, gate.Facts]]:
    """The kept pictures that were tagged and pass the gate, and the gate's facts about all of them.

    The gate checks again because everything is known here: the posts, the tagger, and the words in
    front of every caption.
    """
    images = [i for i in kept if i not in tagged.unreadable and i not in tagged.refused]
    believed = tagged.facts(limits)
    front = gate.of_text(f"{settings.trigger}, {settings.class_tokens}")
    known = {
        image: front | posts.known(lineage.get(image, Post())) | believed.get(image, gate.NOTHING)
        for image in images
    }
    admitted = [image for image in images if not known[image].refused]
    if images and not admitted:
        raise BakeryError(
            f"prune: the gate refuses all of the {len(images)} pictures ({gate.FORBIDDEN}): scrape "
            "others"
        )
    return admitted, known


def _past_the_gate(
    lines: Sequence[dict[str, Any]], known: Mapping[str, gate.Facts]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines whose captions the gate admits, too; and all pictures that it refuses."""
    told = {
        line["image"]: gate.of_texts([line["caption"], *line.get("candidates", ())])
        for line in lines
    }
    refused = [
        image for image, facts in known.items() if (facts | told.get(image, gate.NOTHING)).refused
    ]
    for image in refused:
        _log.warning("prune: %s is left out: %s", image, gate.FORBIDDEN)
    return [line for line in lines if line["image"] not in refused], refused


def _limits(settings: Prune, model: str) -> Thresholds:
    general = settings.general_threshold
    if general == "published":
        general = published_threshold(model)
    return Thresholds(general, settings.character_threshold)


def _seen(
    settings: Prune,
    tagged: tagging.Tagging,
    limits: Thresholds,
    images: list[str],
    lineage: Mapping[str, Post],
    own: Mapping[str, str],
) -> pd.DataFrame:
    """Rows (image, tag, category, probability) of what is believed of the kept pictures."""
    seen = evidence.with_booru(tagged.seen(limits), lineage.values(), settings.source)
    seen = seen[seen["image"].isin(images)]
    if own:
        trigger = Trigger.of(settings)
        tags = {image: own_captions.tags(text, trigger) for image, text in own.items()}
        seen = evidence.with_captions(seen, tags)
    if (seen["category"] == "rating").all() and len(own) < len(images):
        cure = (
            "neither a booru nor a sidecar gives them tags; set prune.source to tagger"
            if settings.source == "booru"
            else f"the most certain is below prune.general_threshold {limits.general:g}; lower "
            "it, or "
            "take another tag.model"
        )
        raise BakeryError(f"prune: none of the {len(images)} kept pictures has a tag: {cure}")
    return seen


def _trigger(
    settings: Prune, decided: Sequence[DecidedTag], limits: Thresholds, own: Mapping[str, str]
) -> Trigger:
    """The trigger; it absorbs no tag that more than half of the kept captions still name."""
    trigger = Trigger.of(settings)
    named = own_captions.named(own, trigger)
    pruned = [
        one.evidence.tag
        for one in decided
        if one.action == "prune"
        and (one.by != "rule" or 2 * named.get(one.evidence.name, 0) <= len(own))
    ]
    traits = tuple(one.evidence.tag for one in decided if one.is_trait)
    return replace(trigger, pruned=tuple(pruned), traits=traits, thresholds=limits)


def _row(one: DecidedTag) -> dict[str, Any]:
    found = one.evidence
    return {
        "tag": found.tag,
        "count": len(found.images),
        "frequency": f"{found.share:.4f}",
        "usual_frequency": "" if found.usual != found.usual else f"{found.usual:.4f}",
        "lift": "" if found.lift != found.lift else f"{found.lift:.2f}",
        "category": one.category,
        "kind": pruning.kind(found),
        "outfits": f"{found.outfits}/{found.of_outfits}",
        "outfit": found.outfit,
        "decision": one.action,
        "decided_by": one.by,
        "reason": one.reason,
    }


def _check(settings: Prune, by_hand: Mapping[str, str]) -> None:
    """Lists and decisions that contradict each other."""
    same = captions.same
    lists = {
        "always": pruning.known(settings.always),
        "never": pruning.known(settings.never),
        "class_tokens": pruning.known(captions.split(settings.class_tokens)),
        "outfits": pruning.known(tag for tags in settings.outfits.values() for tag in tags),
    }
    for one, other in (
        ("always", "never"),
        ("always", "class_tokens"),
        ("outfits", "never"),
        ("outfits", "class_tokens"),
    ):
        if both := sorted(lists[one] & lists[other]):
            raise BakeryError(
                f"prune: {both[0]!r} is in both {one} and {other}; remove it from one of them"
            )
    words = [settings.trigger, *settings.outfits]
    if both := sorted((lists["class_tokens"] | pruning.known(words)) & set(by_hand)):
        raise BakeryError(
            f"prune: {tag_edits.NAME} decides about {both[0]!r}, which the config names as trigger, "
            "sub-trigger or class token; delete the line"
        )
    for word in words:
        for where in ("class_tokens", "never"):
            if same(word) in lists[where]:
                raise BakeryError(
                    f"prune: the trigger {word!r} also stands in {where}, and would be in the "
                    "captions twice; take it out there"
                )
    if len({same(word) for word in words}) < len(words):
        raise BakeryError(
            f"prune: the words {', '.join(map(repr, words))} of trigger and outfits are not all "
            "different; give each outfit a word of its own"
        )


def _check_words(
    settings: Prune, found: Sequence[Evidence], tagger: tagging.Vocabulary
) -> list[str]:
    """Triggers that mean something already: warnings, and an error for a tag of a caption."""
    warnings = []
    switched_on = settings.model_copy(update={"enabled": True})
    for word in (settings.trigger, *settings.outfits):
        mine = [one for one in found if one.name == captions.same(word)]
        if any(pruning.decide_tag(switched_on, one).action == "keep" for one in mine):
            raise BakeryError(
                f"prune: the trigger {word!r} is itself a tag that is seen on "
                f"{len(mine[0].images)} of these pictures and stays in captions; choose a word of its "
                f"own, such as {word + '_x'!r}, or list the tag in prune.always so that only the "
                "trigger says it"
            )
        if tag := tagger.find(word):
            warnings.append(
                f"the trigger {word!r} is the {tagger.categories[tag]} tag {tag!r}: a base that "
                f"knows it starts from that meaning; a made-up word such as {word + '_x'!r} has none"
            )
    return warnings


def _unseen(
    settings: Prune, by_hand: Mapping[str, str], found: Sequence[Evidence]
) -> tuple[list[Evidence], list[str]]:
    """Evidence of tags that the user names but no picture shows, and warnings with the nearest tag."""
    names = {one.name: one.tag for one in found} | {captions.same(settings.trigger): ""}
    lists = {
        "prune.always": settings.always,
        "prune.never": settings.never,
        "prune.outfits": [tag for tags in settings.outfits.values() for tag in tags],
        tag_edits.NAME: by_hand,
    }
    unseen: dict[str, Evidence] = {}
    warnings = []
    for where, entries in lists.items():
        missing = sorted({name for entry in entries if (name := captions.same(entry)) not in names})
        for name in missing:
            unseen.setdefault(name, Evidence(name, "general", kind=vocabulary.of(name).trait))
        if missing:
            hints = [_hint(name, names) for name in missing]
            warnings.append(
                f"{len(missing)} of {len(set(entries))} tags in {where} are on no picture: "
                + ", ".join(f"{name!r}{hint}" for name, hint in zip(missing, hints, strict=True))
            )
    return list(unseen.values()), warnings


def _hint(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [other for other in names if other], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
