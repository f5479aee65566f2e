"""Posts: where each picture came from and what its site says of it. The lineage of a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bakery.io import tables

FETCHED, FAILED, SKIPPED = "ok", "failed", "skipped"
"""Values of `status`: has a picture; should have one and has none; left alone on purpose."""

FORBIDDEN = "forbidden_tag"
"""The reason of a post that no setting lets through."""
_NEVER = frozenset({"loli", "lolicon", "shota", "shotacon", "toddlercon", "cub"})
_NEVER_UNLESS_HARMLESS = frozenset(
    {"aged_down", "baby", "child", "female_child", "male_child", "toddler", "young"}
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_RATINGS = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit",
            "safe": "general"}  # fmt: skip
_SAFE_MEANS_GENERAL = {**_RATINGS, "s": "general"}


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

    def tags(self) -> set[str]:
        """Every tag of the post, whatever its category."""
        groups = (self.tags_general, self.tags_character, self.tags_copyright, self.tags_artist,
                  self.tags_meta)  # fmt: skip
        return {tag for group in groups for tag in group.lower().split()}


COLUMNS = tuple(field.name for field in fields(Post))


def forbidden(post: Post) -> bool:
    """Whether the tags speak of sexualised minors: such a post is neither fetched nor kept."""
    tags = post.tags()
    harmless = post.rating in ("", "general", "sensitive")
    return bool(tags & _NEVER) or (not harmless and bool(tags & _NEVER_UNLESS_HARMLESS))


def from_metadata(data: Mapping[str, Any], *, danbooru: bool) -> Post:
    """The post in a site's metadata as gallery-dl gives it.

    `danbooru`: ratings are Danbooru's, where `s` is sensitive; elsewhere `s` is safe.
    """

    def first(*names: str) -> str:
        for name in names:
            value = data.get(name)
            if value not in (None, "") and not isinstance(value, (list, dict, tuple)):
                return _CONTROL.sub(" ", str(value)).strip()
        return ""

    ratings = _RATINGS if danbooru else _SAFE_MEANS_GENERAL
    rating = first("rating").lower()
    tags = {name: _tags(data, name) for name in
            ("general", "character", "copyright", "artist", "meta")}  # fmt: skip
    if not any(tags.values()):  # sites without tag categories
        tags["general"] = _words(data.get("tag_string") or data.get("tags"))
    return Post(
        id=first("id"),
        md5=first("md5"),
        source=first("source"),
        rating=ratings.get(rating, rating),
        score=first("score"),
        fav_count=first("fav_count", "favorite_count", "favorites"),
        width=first("image_width", "width"),
        height=first("image_height", "height"),
        file_ext=first("file_ext", "extension"),
        parent_id=first("parent_id"),
        created_at=first("created_at", "date"),
        licence=first("licence", "license"),
        **{f"tags_{name}": value for name, value in tags.items()},
    )


def write(path: Path, posts: Iterable[Post]) -> None:
    """Writes posts.csv, whole or not at all."""
    tables.write(path, [vars(post) for post in posts], COLUMNS)


def read(path: Path) -> list[Post]:
    """The posts of a posts.csv; raises `BakeryError` when it is not one."""
    table = tables.read(path, COLUMNS)
    return [Post(**row) for row in table[list(COLUMNS)].to_dict("records")]


def _tags(data: Mapping[str, Any], name: str) -> str:
    return _words(data.get(f"tag_string_{name}") or data.get(f"tags_{name}"))


def _words(value: Any) -> str:
    """Tags given as a list or as one text, as one text."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, (list, tuple)):
        return " ".join("_".join(tag.split()) for tag in value if isinstance(tag, str))
    return ""
