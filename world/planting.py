"""The kinds of posts that are planted in the embedded booru, and why a bake may not eat them.

Each kind is a function from a `Gardener` to the drafts of one planting: a post, or a post and its
copy. A draft's `reasons` are those that the filter must give; no reasons: it must be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from world import avatar, spoil

CAST = {
    "mirael": {
        "gender": "1girl", "hair_color": "pink", "hair_length": "long hair",
        "hair_style": "twintails", "eye_color": "purple", "headwear": "halo", "skin": "fair",
    },
    "velka": {
        "gender": "1girl", "hair_color": "blue", "hair_length": "short hair",
        "hair_style": "hair bun", "eye_color": "yellow", "headwear": "horns", "skin": "light",
    },
    "torrin": {
        "gender": "1boy", "hair_color": "green", "hair_length": "short hair",
        "hair_style": "undercut", "eye_color": "red", "headwear": None, "skin": "tan",
    },
}  # fmt: skip
SIDES = (192, 200, 208, 216, 224, 240)


@dataclass
class Draft:
    """A post in the making; `data` None means that its file is not there to be fetched."""

    kind: str
    data: bytes | None
    ext: str
    size: tuple[int, int]
    tags: list[str]
    characters: list[str]
    reasons: list[str] = field(default_factory=list)
    rating: str = "g"
    score: int = 5
    late: float = 0.0
    """Place among the others: 0 oldest, 1 newest."""
    extra: dict = field(default_factory=dict)
    look: avatar.Look | None = None
    parent: Draft | None = None
    id: int = 0


class Gardener:
    """Draws drafts of one character; every draw comes from one generator."""

    def __init__(
        self,
        rng: np.random.Generator,
        character: str,
        traits: Mapping[str, str | None] | None = None,
    ) -> None:
        self.rng = rng
        self.character = character
        self.traits = traits or CAST[character]
        """Attributes of a `Look` that the character always has; those of `CAST` unless given."""

    def look(self, **fixed) -> avatar.Look:
        """The character in a new outfit, scene and mood; the eyes are mostly open and seen."""
        rare = {
            "eyes": str(self.rng.choice(tuple(avatar.EYES), p=(0.86, 0.07, 0.07))),
            "eyewear": None if self.rng.random() < 0.92 else str(self.rng.choice(avatar.EYEWEAR)),
        }
        if rare["eyewear"] in ("sunglasses", "eyepatch"):
            rare["eyes"] = "open"
        return avatar.random_look(self.rng, novel=True, **({**self.traits, **rare} | fixed))

    def side(self) -> int:
        return int(self.rng.choice(SIDES))

    def draft(self, kind: str, look: avatar.Look | None = None, side: int = 0) -> Draft:
        """A good post: a JPEG portrait, general, well liked."""
        look = look or self.look()
        side = side or self.side()
        image = avatar.render(look, side)
        return Draft(
            kind, spoil.jpeg(image, int(self.rng.integers(80, 88))), "jpg", image.size,
            avatar.tags(look), [self.character], look=look, score=int(self.rng.integers(0, 60)),
            late=float(self.rng.beta(1.25, 1)),
        )  # fmt: skip

    def picture(self, draft: Draft) -> Image.Image:
        """The portrait behind a draft, before any file format touched it."""
        return avatar.render(draft.look, draft.size[0])


# --- kinds that are kept --------------------------------------------------------------------


def clean(g: Gardener) -> list[Draft]:
    return [g.draft("clean")]


def same_pose(g: Gardener) -> list[Draft]:
    """Two outfits in one pose and place: alike to a careless hash, and both wanted."""
    first = g.draft("same_pose", g.look(scarf=False))
    garment = str(g.rng.choice([x for x in ("shirt", "jacket", "sweater", "dress")
                                if x != first.look.garment and not
                                (x == "dress" and first.look.gender == "1boy")]))  # fmt: skip
    colors = [c for c in avatar.GARMENT_COLORS if c != first.look.garment_color]
    other = replace(first.look, garment=garment, garment_color=str(g.rng.choice(colors)))
    second = g.draft("same_pose", other, first.size[0])
    second.parent = first
    return [first, second]


def as_file(kind: str, ext: str, write: Callable[[Image.Image], bytes]):
    def plant(g: Gardener) -> list[Draft]:
        draft = g.draft(kind)
        draft.data, draft.ext = write(g.picture(draft)), ext
        return [draft]

    return plant


# --- kinds that are dropped -----------------------------------------------------------------


def two_people(g: Gardener) -> list[Draft]:
    """Two portraits side by side: by tag, by character tags, or by both."""
    draft = g.draft("two_people")
    sure = int(g.rng.integers(3))
    boys = g.rng.random() < 0.25
    friend = Gardener(g.rng, "torrin" if boys else "velka")
    side = draft.size[0]
    pair = [avatar.render(draft.look, side), avatar.render(friend.look(), side)]
    image = spoil.side_by_side(pair)
    draft.data, draft.size = spoil.jpeg(image, 84), image.size
    count = ["1girl", "1boy"] if boys else ["2girls", "multiple_girls"]
    draft.tags = [t for t in draft.tags if t not in ("solo", "1girl")]
    # A boy and a girl are told by their names only, as on a real booru.
    draft.tags += count if boys or sure != 2 else ["1girl"]
    if boys or sure != 1:
        draft.characters = [*draft.characters, friend.character]
    draft.reasons = ["extra_character"]
    return [draft]


def comic(g: Gardener) -> list[Draft]:
    draft = g.draft("comic")
    looks = [draft.look, g.look(), g.look(), g.look()]
    image = spoil.panels([avatar.render(look, 104) for look in looks])
    draft.data, draft.size = spoil.jpeg(image, 84), image.size
    draft.tags = [*draft.tags, str(g.rng.choice(["comic", "4koma"])), "multiple_views"]
    draft.reasons = ["extra_character"]
    return [draft]


def grey_by_tag(g: Gardener) -> list[Draft]:
    draft = g.draft("grey_by_tag")
    draft.data = spoil.jpeg(g.picture(draft).convert("L"), 86)
    draft.tags = [*spoil.colorless(draft.tags), "greyscale", "monochrome"]
    draft.reasons = ["monochrome"]
    return [draft]


def grey_untagged(g: Gardener) -> list[Draft]:
    draft = g.draft("grey_untagged")
    draft.data = spoil.jpeg(g.picture(draft).convert("L").convert("RGB"), 86)
    draft.tags = spoil.colorless(draft.tags)
    draft.reasons = ["monochrome"]
    return [draft]


def sepia(g: Gardener) -> list[Draft]:
    draft = g.draft("sepia")
    draft.data = spoil.jpeg(spoil.sepia(g.picture(draft)), 86)
    draft.tags = [*spoil.colorless(draft.tags), "monochrome", "sepia"]
    draft.reasons = ["monochrome"]
    return [draft]


def sketch(g: Gardener) -> list[Draft]:
    draft = g.draft("sketch")
    draft.data = spoil.jpeg(spoil.sketch(g.picture(draft)), 86)
    draft.tags = [*spoil.colorless(draft.tags), "sketch"]
    draft.reasons = ["monochrome"]
    return [draft]


def low_score(g: Gardener) -> list[Draft]:
    draft = g.draft("low_score")
    draft.score, draft.reasons = -int(g.rng.integers(1, 12)), ["score"]
    return [draft]


def other_rating(g: Gardener) -> list[Draft]:
    """A harmless portrait under another label."""
    draft = g.draft("other_rating")
    draft.rating = str(g.rng.choice(["s", "q", "e"], p=[0.6, 0.3, 0.1]))
    draft.reasons = ["rating"]
    return [draft]


def refused(g: Gardener) -> list[Draft]:
    """A harmless portrait under a label that no setting lets through."""
    draft = g.draft("refused")
    draft.tags = [*draft.tags, str(g.rng.choice(spoil.REFUSED_LABELS))]
    draft.reasons = ["forbidden_tag"]
    return [draft]


def copies(kind: str, spoiled: Callable[[Image.Image, np.random.Generator], Image.Image]):
    """A good post and a worse copy of it under a higher id."""

    def plant(g: Gardener) -> list[Draft]:
        good = g.draft("duplicated")
        worse = replace(good, kind=kind, reasons=["duplicate"], parent=good, extra={})
        image = spoiled(g.picture(good), g.rng)
        worse.data, worse.size = spoil.jpeg(image, int(g.rng.integers(45, 70))), image.size
        worse.late = min(good.late + 0.05 + 0.2 * g.rng.random(), 1.0)
        return [good, worse]

    return plant


def better_upload(g: Gardener) -> list[Draft]:
    """A small post, and the same in full size under a higher id: the later one is kept."""
    full = g.draft("better_upload", side=256)
    side = int(g.rng.integers(130, 170))
    small = avatar.render(full.look, 256).resize((side, side), Image.Resampling.LANCZOS)
    first = replace(full, kind="small_upload", reasons=["duplicate"], extra={})
    first.data, first.size, full.parent = spoil.jpeg(small, 70), small.size, first
    full.late = min(first.late + 0.1, 1.0)
    return [first, full]


def tiny(g: Gardener) -> list[Draft]:
    draft = g.draft("tiny", side=int(g.rng.integers(32, 63)))
    draft.reasons = ["too_small"]
    return [draft]


def corrupt(g: Gardener) -> list[Draft]:
    """A file that is no picture: noise behind a JPEG's first bytes, an error page, a text."""
    draft = g.draft("corrupt")
    noise = b"\xff\xd8\xff\xe0" + g.rng.bytes(1500)
    page = b"<!DOCTYPE html><title>503</title><h1>Service Unavailable</h1>"
    draft.data = (noise, page, b"rate limited, try again later\n")[int(g.rng.integers(3))]
    draft.data += g.rng.bytes(4).hex().encode()
    draft.reasons = ["unreadable"]
    return [draft]


def truncated(g: Gardener) -> list[Draft]:
    draft = g.draft("truncated")
    draft.ext, write = (("jpg", spoil.jpeg), ("png", spoil.png), ("webp", spoil.webp))[
        int(g.rng.integers(3))
    ]
    whole = write(g.picture(draft))
    draft.data = whole[: int(len(whole) * g.rng.uniform(0.25, 0.8))]
    draft.reasons = ["unreadable"]
    return [draft]


def animated(kind: str, ext: str, write: Callable[[list[Image.Image]], bytes]):
    def plant(g: Gardener) -> list[Draft]:
        draft = g.draft(kind, g.look(eyes="open"), side=128)
        frames = [draft.look, replace(draft.look, eyewear=None, eyes="closed")]
        draft.data, draft.ext = write([avatar.render(f, 128) for f in frames]), ext
        draft.tags = [*draft.tags, "animated"]
        draft.reasons = ["animation"]
        return [draft]

    return plant


def several_reasons(g: Gardener) -> list[Draft]:
    """A tiny grey comic that nobody likes: each reason is to be named."""
    draft = g.draft("several_reasons")
    image = spoil.panels([avatar.render(g.look(), 28) for _ in range(4)]).convert("L")
    draft.data, draft.size, draft.score = spoil.jpeg(image, 85), image.size, -3
    draft.tags = [*spoil.colorless(draft.tags), "comic", "monochrome"]
    draft.reasons = ["too_small", "score", "extra_character", "monochrome"]
    return [draft]


# --- kinds that never arrive ----------------------------------------------------------------


def without_file(kind: str, status: str, **extra):
    def plant(g: Gardener) -> list[Draft]:
        draft = g.draft(kind)
        draft.data, draft.reasons, draft.extra = None, [status], dict(extra)
        return [draft]

    return plant


def empty_file(g: Gardener) -> list[Draft]:
    draft = g.draft("empty_file")
    draft.data, draft.reasons = b"", ["failed"]
    return [draft]
