"""The captions of the kept pictures: from decided tags, or as a person wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bakery.settings.prune import Prune
from bakery.tags import captions, own_captions, pruning, vocabulary
from bakery.tags.pruning import DecidedTag
from bakery.tags.trigger import Trigger


def lines(
    settings: Prune,
    images: list[str],
    seen: pd.DataFrame,
    decided: Sequence[DecidedTag],
    own: Mapping[str, str],
) -> list[dict[str, Any]]:
    """For each of `images` its caption, and `tags`: those after trigger, class tokens, sub-triggers.

    Those of `own` are kept but for what the person prunes.
    """
    unwanted = {one.evidence.name for one in decided if one.action == "prune" and one.by != "rule"}
    kept = {(one.evidence.tag, one.evidence.category) for one in decided if one.action == "keep"}
    ordered = seen.sort_values(["probability", "tag"], ascending=[False, True])
    of_image: dict[str, list[str]] = {image: [] for image in images}
    shown: dict[str, set[str]] = {image: set() for image in images}
    for image, tag, category in zip(
        *(ordered[c] for c in ("image", "tag", "category")), strict=True
    ):
        shown[image].add(captions.same(tag))
        if (tag, category) in kept:
            of_image[image].append(tag)
    trigger = Trigger.of(settings)
    found = []
    for image, tags in of_image.items():
        if image in own:
            kept_caption = own_captions.keep(own[image], trigger, unwanted)
            line = {"image": image, "caption": kept_caption.text, "tags": list(kept_caption.rest)}
            found.append(line)
            continue
        words = [word for word in settings.outfits if _wears(settings.outfits[word], shown[image])]
        gone = pruning.known(
            [*trigger.own, *words, *(t for w in words for t in settings.outfits[w])]
        )
        if settings.enabled and settings.drop_implied:
            names = set(map(captions.same, tags))
            gone |= {other for name in names for other in vocabulary.implied(name, names)}
        tags = [tag for tag in tags if captions.same(tag) not in gone]
        caption = trigger.front(captions.join([*words, *tags]))
        found.append({"image": image, "caption": caption, "tags": tags})
    return found


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
