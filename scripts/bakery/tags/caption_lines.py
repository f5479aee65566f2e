"""The captions of the kept pictures: from decided tags, or as a person wrote them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bakery.settings.prune import Prune
from bakery.sources.caption_grammar import Piece
from bakery.tags import caption_order, captions, own_captions, pruning, vocabulary
from bakery.tags.caption_facts import Written
from bakery.tags.caption_order import PictureFacts
from bakery.tags.own_captions import KeptCaption
from bakery.tags.picture_sentences import Naming
from bakery.tags.pruning import DecidedTag
from bakery.tags.trigger import Trigger


def lines(
    settings: Prune,
    images: list[str],
    seen: pd.DataFrame,
    decided: Sequence[DecidedTag],
    written: Written,
) -> list[dict[str, Any]]:
    """For each of `images` its caption, and `tags`: those after trigger, class tokens, sub-triggers.

    Captions of their own are kept but for what the person prunes; where a file has several, they are
    the line's `candidates`. With a `caption_order`, all are put in that order.
    """
    unwanted = _unwanted(settings, decided)
    shown: dict[str, list[tuple[str, str]]] = {image: [] for image in images}
    ordered = seen.sort_values(["probability", "tag"], ascending=[False, True])
    columns = (ordered[name] for name in ("image", "tag", "category"))
    for image, tag, category in zip(*columns, strict=True):
        shown[image].append((tag, category))
    stays = {(one.evidence.tag, one.evidence.category) for one in decided if one.action == "keep"}
    return [
        {"image": image}
        | (
            _of_a_person(settings, image, written, unwanted)
            if image in written.own
            else _of_tags(settings, image, tags, stays, written, unwanted)
        )
        for image, tags in shown.items()
    ]


def _of_a_person(
    settings: Prune, image: str, written: Written, unwanted: set[str]
) -> dict[str, Any]:
    """Of a picture with a caption of its own, or several."""
    trigger, facts = Trigger.of(settings), _facts(written, image, unwanted)
    one, *others = (
        _kept(settings, trigger, text, facts, unwanted, written.naming)
        for text in (written.own[image], *written.candidates.get(image, ()))
    )
    line = {"caption": one.text, "tags": list(one.rest)}
    return line | ({"candidates": [other.text for other in others]} if others else {})


def _of_tags(
    settings: Prune,
    image: str,
    shown: Sequence[tuple[str, str]],
    stays: Collection[tuple[str, str]],
    written: Written,
    unwanted: set[str],
) -> dict[str, Any]:
    """Of a picture that shows these tags, each with its category, the surest first."""
    trigger, names = Trigger.of(settings), pruning.known(settings.names)
    tags = [one[0] for one in shown if one in stays and captions.same(one[0]) not in names]
    there = {captions.same(tag) for tag, _ in shown}
    words = [word for word in settings.outfits if _wears(settings.outfits[word], there)]
    gone = pruning.known([*trigger.own, *words, *(t for w in words for t in settings.outfits[w])])
    if settings.enabled and settings.drop_implied:
        mine = set(map(captions.same, tags))
        gone |= {other for name in mine for other in vocabulary.implied(name, mine)}
    tags = [tag for tag in tags if captions.same(tag) not in gone]
    caption = trigger.front(captions.join([*words, *tags]))
    if settings.caption_order:
        pieces = map(Piece, [*words, *tags])
        facts = _facts(written, image, gone | unwanted)
        caption = caption_order.arranged(settings, trigger, pieces, facts).text
    return {"caption": caption, "tags": tags}


def _unwanted(settings: Prune, decided: Sequence[DecidedTag]) -> set[str]:
    """Tags that also leave captions that are kept, as `captions.same` spells them."""
    by_person = {one.evidence.name for one in decided if one.action == "prune" and one.by != "rule"}
    return by_person | pruning.known(settings.names)


def _kept(
    settings: Prune,
    trigger: Trigger,
    text: str,
    facts: PictureFacts,
    gone: set[str],
    naming: Naming | None,
) -> KeptCaption:
    """A caption of its own that a picture keeps, in the config's order where it has one."""
    if not settings.caption_order:
        return own_captions.keep(text, trigger, gone, naming)
    front = pruning.known(trigger.own)
    pieces = own_captions.kept_pieces(text, trigger, gone, naming)
    pieces = [one for one in pieces if captions.same(one.text) not in front]
    caption = caption_order.arranged(settings, trigger, pieces, facts)
    return KeptCaption(caption.text, tuple(one.text for one in pieces))


def _facts(written: Written, image: str, gone: Collection[str]) -> PictureFacts:
    """What is known of a picture, without the series and artists that are to go."""
    facts = written.facts.get(image, PictureFacts())
    return replace(
        facts,
        series=tuple(name for name in facts.series if captions.same(name) not in gone),
        artists=tuple(name for name in facts.artists if captions.same(name) not in gone),
    )


def _wears(tags: Iterable[str], shown: set[str]) -> bool:
    """Whether a picture that shows these tags wears an outfit: more than half of its tags are there."""
    asked = pruning.known(tags)
    return 2 * len(asked & shown) > len(asked)


def warnings(settings: Prune, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings about the captions as a whole."""
    bare = sum(not line["tags"] for line in lines)
    found = []
    if bare == len(lines):
        found.append(
            "every tag is pruned, so that each caption is the trigger alone and learns clothes and "
            "scene, too; raise prune.min_frequency or shorten prune.always"
        )
    elif bare:
        found.append(
            f"{bare} of {len(lines)} captions hold no tag beside the trigger: what these pictures "
            "show besides the character is learnt as the character's"
        )
    for word, tags in settings.outfits.items():
        if not any(word in captions.split(line["caption"]) for line in lines):
            found.append(
                f"no picture shows more than half of {', '.join(tags)}: {word!r} is unused"
            )
    return found
