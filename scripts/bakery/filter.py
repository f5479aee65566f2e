"""Decides which pictures a bake may eat, and says of every other one why not.

Steps: measure each picture once; ask every check, so that all reasons are on record; find the
near-duplicates among the rest; write `decisions.csv` and draw the contact sheet.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bakery import contact_sheet, duplicates, images, posts, tables
from bakery.config import Filter
from bakery.errors import BakeryError
from bakery.posts import Post

UNREADABLE, DUPLICATE = "unreadable", "duplicate"
REASONS = (
    UNREADABLE, posts.FORBIDDEN, "animation", "too_small", "rating", "score", "extra_character",
    "monochrome", DUPLICATE,
)  # fmt: skip
"""Every reason, in the order in which they are recorded."""
COLUMNS = ("image", "kept", "reasons", "duplicate_of", "width", "height", "detail")
_CURE = {
    "animation": "filter.animation: false",
    "too_small": "filter.min_side: 0",
    "rating": "filter.ratings: []",
    "score": "filter.min_score: null",
    "extra_character": "filter.extra_characters: false",
    "monochrome": "filter.monochrome: false",
}
"""Reason -> the setting that switches its check off."""

_SEVERAL = re.compile(
    r"[2-9]\+?(girls|boys|others|koma)"
    r"|multiple_(girls|boys|others|views|persona)|dual_persona"
    r"|comic|reference_sheet|character_sheet|everyone|crowd"
)
_ONE_EACH = {"1girl", "1boy", "1other"}
_QUALIFIER = re.compile(r"_\([^()]*\)")
_COLORLESS = {"monochrome", "greyscale", "grayscale", "sepia", "sketch", "lineart"}
# Levels between the strongest and the weakest channel below which a pixel counts as grey, and the
# share of such pixels that makes a grey picture: JPEG and yellowed paper tint a little.
_GREY_LEVELS, _GREY_SHARE = 16, 0.99


@dataclass
class Candidate:
    """A picture before the court; `small` is None when it cannot be opened."""

    post: Post
    file_size: int = 0
    small: Image.Image | None = None
    size: tuple[int, int] = (0, 0)
    animated: bool = False
    detail: str = ""
    reasons: list[str] = field(default_factory=list)
    duplicate_of: str = ""

    @property
    def kept(self) -> bool:
        return not self.reasons


def run(settings: Filter, *, scrape: Path, out: Path) -> dict:
    """Writes `decisions.csv` and `contact_sheet.jpg` to `out`; returns counts by reason.

    Raises `BakeryError`, after writing both, when no picture is left, and says which settings
    would keep how many.
    """
    rows = [post for post in posts.read(scrape / "posts.csv") if post.image]
    if not rows:
        raise BakeryError(f"{scrape / 'posts.csv'} lists no pictures: scrape again")
    court = [measure(post, scrape / "images" / post.image) for post in rows]
    for candidate in court:
        candidate.reasons = judge(settings, candidate)
    if settings.duplicate_distance >= 0:
        _mark_duplicates(court, settings.duplicate_distance)

    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "decisions.csv", [_row(candidate) for candidate in court], COLUMNS)
    sheet = contact_sheet.draw(
        [
            contact_sheet.Item(Path(c.post.image).stem, c.reasons, c.duplicate_of, _shown(c))
            for c in court
        ]
    )
    sheet.save(out / "contact_sheet.jpg", quality=88)
    if not any(candidate.kept for candidate in court):
        raise BakeryError(_nothing_left(court))
    return _summary(court)


def measure(post: Post, path: Path) -> Candidate:
    """Everything about a picture that needs its pixels."""
    candidate = Candidate(post)
    try:
        image = images.open_rgb(path)
        candidate.animated = images.is_animated(path)
    except images.UnreadableImage as problem:
        candidate.detail = problem.reason
        return candidate
    candidate.file_size = path.stat().st_size
    candidate.size = image.size
    candidate.small = duplicates.prepare(image)
    return candidate


def judge(settings: Filter, candidate: Candidate) -> list[str]:
    """Every reason against a picture but `duplicate`, which needs the others, in fixed order."""
    post, readable = candidate.post, candidate.small is not None
    score = _number(post.score)
    against = {
        UNREADABLE: not readable,
        posts.FORBIDDEN: posts.forbidden(post),
        "animation": settings.animation and candidate.animated,
        "too_small": readable and min(candidate.size) < settings.min_side,
        "rating": bool(settings.ratings) and (post.rating or "general") not in settings.ratings,
        "score": None not in (settings.min_score, score) and score < settings.min_score,
        "extra_character": settings.extra_characters and shows_several(post),
        "monochrome": settings.monochrome
        and (bool(post.tags() & _COLORLESS) or (readable and is_grey(candidate.small))),
    }
    return [reason for reason in REASONS if against.get(reason)]


def shows_several(post: Post) -> bool:
    """Whether the tags speak of more than one character, or of one in several panels or views."""
    general = set(post.tags_general.lower().split())
    if any(_SEVERAL.fullmatch(tag) for tag in general) or len(general & _ONE_EACH) > 1:
        return True
    names = set(post.tags_character.lower().split())
    # `miku_(summer)` beside `miku` is a costume, not a second character.
    costumes = {
        name
        for name in names
        for qualifier in _QUALIFIER.findall(name)
        if name.replace(qualifier, "", 1) in names
    }
    return len(names - costumes) > 1


def is_grey(image: Image.Image) -> bool:
    """Whether nearly all pixels of an RGB picture are without colour."""
    pixels = np.asarray(image, np.int16)  # (H, W, 3)
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    return float((chroma < _GREY_LEVELS).mean()) >= _GREY_SHARE


def _mark_duplicates(court: list[Candidate], distance: int) -> None:
    """Of each group the best stays: nothing else against it, largest, least compressed, oldest."""
    readable = [candidate for candidate in court if candidate.small is not None]

    def rank(index: int) -> tuple:
        candidate = readable[index]
        area = candidate.size[0] * candidate.size[1]
        number = _number(candidate.post.id)
        return (
            bool(candidate.reasons),
            -area,
            -candidate.file_size / area,
            float("inf") if number is None else number,
            candidate.post.image,
        )

    order = sorted(range(len(readable)), key=rank)
    small = [candidate.small for candidate in readable]
    for index, better in duplicates.representatives(small, order, distance).items():
        readable[index].reasons.append(DUPLICATE)
        readable[index].duplicate_of = readable[better].post.image


def _row(candidate: Candidate) -> dict:
    width, height = candidate.size
    return {
        "image": candidate.post.image,
        "kept": "true" if candidate.kept else "false",
        "reasons": ";".join(candidate.reasons),
        "duplicate_of": candidate.duplicate_of,
        "width": str(width or ""),
        "height": str(height or ""),
        "detail": candidate.detail,
    }


def _shown(candidate: Candidate) -> Image.Image | None:
    """The thumbnail in its own shape; none of a refused picture."""
    if candidate.small is None or posts.FORBIDDEN in candidate.reasons:
        return None
    longest = max(candidate.size)
    shape = [max(1, round(contact_sheet.THUMBNAIL * side / longest)) for side in candidate.size]
    return candidate.small.resize(tuple(shape), Image.Resampling.LANCZOS)


def _summary(court: list[Candidate]) -> dict:
    counts = Counter(reason for candidate in court for reason in candidate.reasons)
    return {
        "images": len(court),
        "kept": sum(candidate.kept for candidate in court),
        "reasons": {reason: counts[reason] for reason in REASONS if counts[reason]},
    }


def _nothing_left(court: list[Candidate]) -> str:
    counts = _summary(court)["reasons"]
    why = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    alone = Counter(c.reasons[0] for c in court if len(c.reasons) == 1 and c.reasons[0] in _CURE)
    cures = [f"{_CURE[reason]} would keep {count}" for reason, count in alone.most_common()]
    cures = cures or ["no single setting would keep any, so loosen several or scrape other posts"]
    return f"filter drops all {len(court)} pictures ({why}): {'; '.join(cures)}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
