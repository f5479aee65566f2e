"""Decisions about tags: by the evidence, by the config's lists, or by hand.

`decide_tag` looks at one tag; `decide` at all of them, since a tag may follow another (very long
hair is pruned with long hair), and lets decisions by hand overrule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakery.settings.prune import Prune
from bakery.tags import captions, vocabulary
from bakery.tags.evidence import Evidence
from bakery.tags.trigger import Trigger

CONSTANT = 0.9
"""A reason calls a tag constant from this share of the pictures."""
STRIKING = 5.0
"""A reason mentions the lift of a kept tag from this value."""
_APART = ("ornament", "mark", "face")
"""Traits whose special cases are separate things: a flower in the hair besides a ribbon, lipstick
besides other makeup."""


@dataclass(frozen=True)
class Decision:
    """`category` (trait, class, other, character, rating ...), `decision`, its reason, and its
    source."""

    category: str
    action: str
    """prune (the trigger absorbs it), keep (a caption word) or drop (no caption word at all)."""
    reason: str
    by: str = "rule"
    """rule, config (its lists and words) or hand."""


@dataclass(frozen=True)
class DecidedTag:
    """A tag and its decision; `automatic` is the decision without those by hand."""

    evidence: Evidence
    automatic: Decision
    by_hand: str
    """prune, keep, or nothing."""
    is_trait: bool
    """Whether pruning, switched on, takes it for a trait of the character."""
    fixed: bool
    """Whether no decision by hand can change it: the trigger and the class tokens."""
    heeded: bool
    """Whether the decision by hand counts: pruning is switched on, and the tag is not fixed."""

    @property
    def category(self) -> str:
        return self.automatic.category

    @property
    def action(self) -> str:
        return self.by_hand if self.by_hand and self.heeded else self.automatic.action

    @property
    def by(self) -> str:
        return "hand" if self.by_hand and self.heeded else self.automatic.by

    @property
    def reason(self) -> str:
        if self.by != "hand":
            return self.automatic.reason
        same = self.by_hand == self.automatic.action
        return f"decided by hand{'' if same else '; otherwise'}: {self.automatic.reason}"


def decide(
    settings: Prune, found: Sequence[Evidence], by_hand: Mapping[str, str]
) -> list[DecidedTag]:
    """The decision about each tag, in the order of `found`; `by_hand`: `captions.same` -> decision."""
    real = _together(settings, found)
    switched_on = settings.model_copy(update={"enabled": True})
    would = real if settings.enabled else _together(switched_on, found)
    fixed = known(Trigger.of(settings).own)
    decided = []
    for one, decision, pruning in zip(found, real, would, strict=True):
        hand = by_hand.get(one.name, "")
        final = pruning.action if one.name in fixed else hand or pruning.action
        decided.append(
            DecidedTag(
                one,
                decision,
                hand,
                is_trait=bool(one.images) and pruning.category == "trait" and final == "prune",
                fixed=one.name in fixed,
                heeded=settings.enabled and one.name not in fixed,
            )
        )
    return decided


def decide_tag(settings: Prune, one: Evidence) -> Decision:
    """The decision about a tag by itself.

    The user's lists come first, then the kind of tag, then its frequency and outfits.
    """
    mine = _category(one)
    often = _often(one)
    if one.name in known(captions.split(settings.class_tokens)):
        return Decision("class", "keep", "a class token: right behind the trigger", "config")
    if one.name in known(settings.never):
        return Decision(mine, "keep", f"{often}; listed in prune.never", "config")
    if settings.enabled and one.name in known(settings.always):
        return Decision(mine, "prune", f"{often}; listed in prune.always", "config")
    if mine in ("trait", "class", "other"):
        return _decide_general(settings, mine, one)
    if mine != "character":
        return Decision(mine, "drop", f"{often}; a {mine} is no caption word")
    if not settings.enabled:
        return Decision(mine, "keep", f"{often}; pruning is switched off", "config")
    if one.share >= settings.min_frequency:
        reason = f"{often} and a name for the character: the trigger replaces it"
        return Decision(mine, "prune", reason)
    return Decision(mine, "drop", f"{_share(one)} only: the name of a character who looks alike")


def known(tags: Iterable[str]) -> set[str]:
    """Tags as `captions.same` spells them."""
    return {captions.same(tag) for tag in tags}


def kind(one: Evidence) -> str:
    """The kind of a trait or of something that is worn, in one word; "" for all else."""
    entry = vocabulary.of(one.name)
    return entry.kind if entry.topic in ("trait", "outfit") else ""


def _together(settings: Prune, found: Sequence[Evidence]) -> list[Decision]:
    """The automatic decisions: each by itself, the trigger, and tags that follow another tag."""
    decisions = [decide_tag(settings, one) for one in found]
    pruned = {
        one.name: one.tag
        for one, decision in zip(found, decisions, strict=True)
        if decision.action == "prune"
    }
    return [
        _with_others(settings, one, decision, pruned)
        for one, decision in zip(found, decisions, strict=True)
    ]


def _with_others(
    settings: Prune, one: Evidence, decision: Decision, pruned: Mapping[str, str]
) -> Decision:
    """`decision`, or a better one for a tag that is the trigger or that contains a pruned trait.

    `pruned`: `captions.same` -> tag.
    """
    if one.name == captions.same(settings.trigger):
        reason = "it is the trigger, which already leads every caption"
        return Decision(decision.category, "prune", reason, "config")
    movable = decision.category == "trait" and (decision.action, decision.by) == ("keep", "rule")
    if not settings.enabled or not movable or one.kind in _APART or one.outfit:
        return decision
    wider = sorted(
        other for other in vocabulary.implied(one.name, pruned) if vocabulary.of(other).trait
    )
    if not wider:
        return decision
    reason = f"{_often(one)}; it says {pruned[wider[0]]} more closely, and goes with it"
    return Decision("trait", "prune", reason)


def _decide_general(settings: Prune, category: str, one: Evidence) -> Decision:
    often = _often(one)
    if not settings.enabled:
        return Decision(category, "keep", f"{often}; pruning is switched off", "config")
    if category == "trait":
        return _decide_trait(settings, one)
    if not one.images:
        reason = "on no picture"
    elif category == "class":
        reason = f"{often}; a class word: it ties the character to what the base knows of its kind"
    elif one.outfit:
        reason = f"{often}, with one outfit only ({one.outfit}): it is that outfit's word"
    elif one.share >= CONSTANT:
        reason = f"{often}, but no trait of the body; list it in prune.always to absorb it too"
    else:
        reason = f"{often}; it changes from picture to picture, so prompts must be able to ask"
    return Decision(category, "keep", reason)


def _decide_trait(settings: Prune, one: Evidence) -> Decision:
    often = _often(one)
    if not one.images:
        reason = f"a trait ({one.kind}) on no picture"
    elif one.share < settings.min_frequency:
        reason = (
            f"a trait ({one.kind}), but {_share(one)} only{_details(one)}: it varies, so prompts "
            "must be able to ask"
        )
        if one.lift >= STRIKING and one.outfits == one.of_outfits > 1:
            reason += "; it may be the character's all the same: see its pictures, decide by hand"
    elif one.outfit:
        reason = (
            f"a trait ({one.kind}), {often}, but with one outfit only ({one.outfit}): it is that "
            "outfit's word"
        )
    elif one.lift < settings.min_lift:
        reason = f"a trait ({one.kind}), but {often}: it says nothing about this character"
    else:
        reason = f"{often} and a trait of the character ({one.kind}): the trigger absorbs it"
        return Decision("trait", "prune", reason)
    return Decision("trait", "keep", reason)


def _category(one: Evidence) -> str:
    if one.category != "general":
        return one.category
    entry = vocabulary.of(one.name)
    if entry.topic == "people" and entry.kind:
        return "class"
    return "trait" if one.kind else "other"


def _often(one: Evidence) -> str:
    """How often the tag is seen, how often it usually is, and with how many outfits, in words."""
    return _share(one) + _details(one)


def _share(one: Evidence) -> str:
    if not one.images:
        return "on no picture"
    share = "under 1%" if one.share < 0.01 else f"{one.share:.0%}"
    return f"on {share} of the pictures"


def _details(one: Evidence) -> str:
    text, lift = "", one.lift
    if one.images and math.isfinite(lift):
        if lift >= 1.5:
            text = f", {lift:.{0 if lift >= 10 else 1}f} times its usual share"
        else:
            text = ", about its usual share" if lift >= 2 / 3 else ", less than its usual share"
    if one.kind and one.of_outfits > 1:
        some = "all" if one.outfits == one.of_outfits else f"{one.outfits} of"
        text += f", with {some} {one.of_outfits} outfits"
    return text
