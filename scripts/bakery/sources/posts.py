"""Posts: where each picture came from, and its site's metadata. The lineage of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from bakery.gate import gate
from bakery.gate.gate import FORBIDDEN, Facts
from bakery.io import tables
from bakery.sources.caption_files import OwnCaption

FETCHED, FAILED, SKIPPED = "ok", "failed", "skipped"
"""Values of `status`: has a picture; should have one and has none; left alone on purpose."""

GATE = "gate.csv"
"""Next to posts.csv, if needed: what the gate learnt about pictures from metadata and sidecars and
posts.csv does not contain."""
GATE_COLUMNS = ("image", "minor", "adult")

_OF_SENTENCES = frozenset({"a", "an", "the", "is", "with"})
"""Words that are not tags."""


@dataclass
class Post:
    """One row of posts.csv. Unknown values are empty; tags are underscored and space-separated."""

    image: str = ""
    """File name in `images/`, empty when nothing was fetched."""
    id: str = ""
    md5: str = ""
    source: str = ""
    """Where the artist published it, as the site says."""
    url: str = ""
    """Address of the post; `embedded://posts/<id>` in the embedded booru, `folder/file` locally."""
    rating: str = ""
    """general, sensitive, questionable or explicit."""
    score: str = ""
    fav_count: str = ""
    width: str = ""
    height: str = ""
    file_ext: str = ""
    tags_general: str = ""
    tags_character: str = ""
    tags_copyright: str = ""
    tags_artist: str = ""
    tags_meta: str = ""
    parent_id: str = ""
    created_at: str = ""
    licence: str = ""
    """As the site or a sidecar says it; boorus rarely do."""
    concept: str = ""
    """Name of the concept that the config gives the post's source; empty is the main dataset."""
    status: str = ""
    reason: str = ""
    facts: Facts = field(default=gate.NOTHING, compare=False)
    """What the gate has learnt from everything written about it; not a column."""
    own: OwnCaption | None = field(default=None, compare=False)
    """The caption beside a local picture; not a column."""

    def tags(self) -> set[str]:
        """Every tag of the post, whatever its category."""
        groups = (self.tags_general, self.tags_character, self.tags_copyright, self.tags_artist,
                  self.tags_meta)  # fmt: skip
        return {tag for group in groups for tag in group.lower().split()}


COLUMNS = tuple(column.name for column in fields(Post) if column.name not in ("facts", "own"))


def forbidden(post: Post) -> bool:
    """Whether the gate refuses it: such a post is neither fetched nor kept."""
    return known(post).refused


def known(post: Post) -> Facts:
    """Everything the gate knows about a post: `facts`, and its own fields."""
    return post.facts | _columns(post)


def refused(post_id: str = "") -> Post:
    """The bare line of a post that the gate refused: it is not described."""
    return Post(id=post_id, status=SKIPPED, reason=FORBIDDEN)


def _columns(post: Post) -> Facts:
    groups = (post.tags_general, post.tags_character, post.tags_copyright, post.tags_meta)
    facts = gate.of_texts(map(_as_written, filter(None, groups)))
    return facts | gate.of_name(post.tags_artist) | gate.of_rating(post.rating)


def _as_written(group: str) -> str:
    """Tags with commas between them; but a sidecar's sentence as it was, for its words go together."""
    tags = group.split()
    other = _OF_SENTENCES & {tag.lower() for tag in tags} or any(t.endswith(";") for t in tags)
    return group if other else ", ".join(tags)


def write(path: Path, posts: Iterable[Post]) -> None:
    """Writes posts.csv, whole or not at all; and `GATE` next to it, if needed."""
    posts = list(posts)
    more = [
        {"image": post.image, "minor": post.facts.minor or "", "adult": post.facts.adult or ""}
        for post in posts
        if post.image and post.facts | _columns(post) != _columns(post)
    ]
    beside = path.with_name(GATE)
    if more:
        tables.write(beside, more, GATE_COLUMNS)
    else:
        beside.unlink(missing_ok=True)
    tables.write(path, [vars(post) for post in posts], COLUMNS)


def read(path: Path) -> list[Post]:
    """The posts of a posts.csv; raises `BakeryError` when it is not one."""
    table = tables.read(path, COLUMNS)
    more = _read_gate(path.with_name(GATE))
    rows = tables.records(table[list(COLUMNS)])
    return [Post(**row, facts=more.get(row["image"], gate.NOTHING)) for row in rows]


def by_image(path: Path) -> dict[str, Post]:
    """The posts of a posts.csv that have a picture, in order, by its name."""
    return {post.image: post for post in read(path) if post.image}


def _read_gate(path: Path) -> dict[str, Facts]:
    if not path.exists():
        return {}
    rows = tables.records(tables.read(path, GATE_COLUMNS))
    return {row["image"]: Facts(minor=bool(row["minor"]), adult=bool(row["adult"])) for row in rows}
