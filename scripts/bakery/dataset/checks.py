"""Checks: every reason to drop a picture, each as one record.

A check added to `CHECKS` is run, recorded, counted, shown on the contact sheet and named
if nothing is left. Only its setting, if it has one, is elsewhere (`settings/filter.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from PIL import Image

from bakery.settings.filter import Filter, Kind
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.tags import content


@dataclass
class Candidate:
    """A picture that may be kept: its measurements, and the reasons against it."""

    post: Post
    file_size: int = 0
    """Bytes."""
    small: Image.Image | None = None
    """Kept until the picture's own checks are done; then it is in the spool."""
    size: tuple[int, int] = (0, 0)
    """Pixels; zeros when it cannot be opened."""
    thumbnail: bytes = b""
    animated: bool = False
    detail: str = ""
    blur: float = 0.0
    jpeg_quality: int = 100
    grey: bool = False
    seen: list[np.ndarray] = field(default_factory=list)
    """What each of the user's models gives (`critics.Critic`)."""
    numbers: list[float] = field(default_factory=list)
    """The number that each of them comes to."""
    reasons: list[str] = field(default_factory=list)
    """Names of the checks it fails, in the order of `CHECKS`."""
    by_hand: str = ""
    """`include`, `exclude` or nothing."""
    duplicate_of: str = ""
    surplus: bool = False
    """Whether others were drawn for `filter.max_pictures`."""

    @property
    def readable(self) -> bool:
        return self.size != (0, 0)

    @property
    def final(self) -> bool:
        """Whether it fails a check that no hand edit overrules."""
        return not FINAL.isdisjoint(self.reasons)

    @property
    def kept(self) -> bool:
        return not (self.final if self.by_hand == "include" else self.reasons)


@dataclass(frozen=True)
class Check:
    """One possible reason to drop a picture."""

    reason: str
    """Its name in decisions.csv and on the contact sheet."""
    meaning: str
    """What is wrong with the picture, for people."""
    against: Callable[[Filter, Candidate], bool]
    cure: str = ""
    """What switches it off: a setting with a value. Every check has one that is not final."""
    final: bool = False
    """Whether no hand edit overrules it."""
    of_set: bool = False
    """Whether it needs more than the picture itself: the other pictures, or the hand edits."""
    by_tags: Callable[[Iterable[str]], bool] | None = None
    """What it looks for in general tags, where these are enough: pictures without booru tags are
    judged by the tagger's (`second_look`)."""

    @property
    def setting(self) -> str:
        """Name of the setting that switches it off; "" without one."""
        name = self.cure.partition(":")[0]
        return name.removeprefix("filter.") if name.startswith("filter.") else ""


def _below_score(settings: Filter, candidate: Candidate) -> bool:
    score = number(candidate.post.score)
    return settings.min_score is not None and score is not None and score < settings.min_score


def _is_strip(settings: Filter, candidate: Candidate) -> bool:
    short, long = sorted(candidate.size)
    return settings.max_aspect is not None and long > settings.max_aspect * short


def _refused_by_models(kind: str) -> Callable[[Filter, Candidate], bool]:
    def against(settings: Filter, candidate: Candidate) -> bool:
        if not candidate.numbers:  # no model has looked at it
            return False
        return any(
            model.kind == kind
            and (
                (model.min is not None and value < model.min)
                or (model.max is not None and value > model.max)
            )
            for model, value in zip(settings.models, candidate.numbers, strict=True)
        )

    return against


EXCLUDED = "excluded"

CHECKS = (
    Check(
        "unreadable",
        "the file cannot be opened as a picture",
        lambda settings, one: not one.readable,
        final=True,
    ),
    Check(
        posts.FORBIDDEN,
        "its tags name sexualised minors",
        lambda settings, one: posts.forbidden(one.post),
        final=True,
    ),
    Check(
        EXCLUDED,
        "`exclude.txt` names it",
        lambda settings, one: one.by_hand == "exclude",
        cure="an empty exclude.txt",
        of_set=True,
    ),
    Check(
        "animation",
        "it has more than one frame",
        lambda settings, one: settings.animation and one.animated,
        cure="filter.animation: false",
    ),
    Check(
        "too_small",
        "its shorter side is below `filter.min_side`",
        lambda settings, one: one.readable and min(one.size) < settings.min_side,
        cure="filter.min_side: 0",
    ),
    Check(
        "extreme_aspect",
        "its longer side is more than `filter.max_aspect` times the shorter",
        _is_strip,
        cure="filter.max_aspect: null",
    ),
    Check(
        "rating",
        "its rating is none of `filter.ratings`",
        lambda settings, one: (
            bool(settings.ratings) and (one.post.rating or "general") not in settings.ratings
        ),
        cure="filter.ratings: []",
    ),
    Check(
        "score",
        "its score on the booru is below `filter.min_score`",
        _below_score,
        cure="filter.min_score: null",
    ),
    Check(
        "unwanted_tag",
        "it has one of the `filter.unwanted_tags`",
        lambda settings, one: content.any_like(one.post.tags(), settings.unwanted_tags),
        cure="filter.unwanted_tags: []",
    ),
    Check(
        "extra_character",
        "its tags name several characters, or one character in several panels or views",
        lambda settings, one: settings.extra_characters and content.shows_several(one.post),
        cure="filter.extra_characters: false",
        by_tags=lambda tags: content.shows_several(Post(tags_general=" ".join(tags))),
    ),
    Check(
        "monochrome",
        "its tags name a sketch or grey tones, or nearly all of its pixels are grey",
        lambda settings, one: (
            settings.monochrome and (content.is_colorless(one.post.tags()) or one.grey)
        ),
        cure="filter.monochrome: false",
        by_tags=content.is_colorless,
    ),
    Check(
        "text_heavy",
        "its tags mean that it is mostly text",
        lambda settings, one: settings.text_heavy and content.is_writing(one.post.tags()),
        cure="filter.text_heavy: false",
        by_tags=content.is_writing,
    ),
    Check(
        "ai_generated",
        "its tags mark it as AI-generated",
        lambda settings, one: settings.ai_generated and content.is_generated(one.post.tags()),
        cure="filter.ai_generated: false",
        by_tags=content.is_generated,
    ),
    Check(
        "blurry",
        "its blur is above `filter.max_blur`",
        lambda settings, one: one.blur > settings.max_blur,
        cure="filter.max_blur: 1",
    ),
    Check(
        "compressed",
        "its JPEG quality is below `filter.min_jpeg_quality`",
        lambda settings, one: one.jpeg_quality < settings.min_jpeg_quality,
        cure="filter.min_jpeg_quality: 0",
    ),
    *(
        Check(
            kind,
            f"one of the `filter.models` of this kind (`{kind}`) gives a number outside its limits",
            _refused_by_models(kind),
            cure="filter.models: []",
            of_set=True,
        )
        for kind in get_args(Kind)
    ),
    Check(
        "duplicate",
        "it is a near-duplicate of a better picture (`filter.duplicate_distance`)",
        lambda settings, one: bool(one.duplicate_of),
        cure="filter.duplicate_distance: -1",
        of_set=True,
    ),
    Check(
        "surplus",
        "others were drawn for `filter.max_pictures`",
        lambda settings, one: settings.max_pictures is not None and one.surplus,
        cure="filter.max_pictures: null",
        of_set=True,
    ),
)
"""All checks, in the order in which reasons are recorded."""

REASONS = tuple(check.reason for check in CHECKS)
FINAL = frozenset(check.reason for check in CHECKS if check.final)
CURES = {check.reason: check.cure for check in CHECKS if check.cure}


def examine(settings: Filter, candidate: Candidate, *, of_set: bool = False) -> None:
    """Adds the checks that a candidate fails to its reasons.

    First run the checks of the picture itself. Those `of_set` may be run repeatedly, as more
    becomes known: the models' numbers, copies, hand edits.
    """
    found = {
        check.reason
        for check in CHECKS
        if check.of_set == of_set and check.against(settings, candidate)
    }
    found |= set(candidate.reasons)
    candidate.reasons = [reason for reason in REASONS if reason in found]


def draw(settings: Filter, candidates: Iterable[Candidate]) -> None:
    """Marks as `surplus` all but `max_pictures` of those that no check speaks against.

    Their order is that of a hash of seed and file name, so which pictures are drawn does not depend on
    how many there are to draw from, and fewer pictures are some of those of more.
    """
    if settings.max_pictures is None:
        return

    def place(candidate: Candidate) -> bytes:
        text = f"{settings.max_pictures_seed}:{candidate.post.image}"
        return hashlib.sha256(text.encode()).digest()

    free = sorted((one for one in candidates if not one.reasons), key=place)
    for candidate in free[settings.max_pictures :]:
        candidate.surplus = True


def number(text: str) -> float | None:
    """A number of posts.csv, where cells may be empty; None when it is none."""
    try:
        return float(text)
    except ValueError:
        return None
