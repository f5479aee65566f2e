"""A post in metadata of many shapes: gallery-dl's, the sites' own, and those of other downloaders.

Known are gallery-dl old and new, Danbooru's, e621's, Gelbooru's, moebooru's, szurubooru's and
Philomena's API, Grabber, waifuc, Hydrus, WD taggers and kohya's metadata. `tag_shapes` reads the tags,
`ratings` the rating.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from bakery.sources import ratings, tag_shapes
from bakery.sources.caption_files import OwnCaption
from bakery.sources.caption_grammar import CATEGORIES, SENTENCE, parse, split_tags
from bakery.sources.posts import Post
from bakery.sources.written_forms import CAPTION_FIELDS

Data = Mapping[str, Any]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WRAPPERS = ("post", "posts", "image", "images", "results", "metadata", "data", "items")
_SITES = {"danbooru", "safebooru", "e621", "e926", "konachan", "konachan_net", "yande", "yandere",
          "lolibooru", "gelbooru", "rule34", "hypnohub", "xbooru", "tbib", "zerochan", "sankaku",
          "pixiv", "derpibooru", "anime_pictures", "wallhaven", "paheal", "3dbooru",
          "safebooru_org"}  # fmt: skip
"""Under these waifuc keeps what the site itself said."""
_FILE_NAMES = ("file_name", "filename", "image_path", "image_file", "image", "file", "path", "name")
_DEEPEST = 3


def several(data: Any, depth: int = 0) -> Iterator[Data]:
    """The tables in metadata that are about a post each: of a site's answer, those inside of it."""
    if isinstance(data, Mapping):
        table = _with_site(data)
        inner = [data[name] for name in _WRAPPERS if isinstance(data.get(name), (Mapping, list))]
        if known(of_table(table)) or depth == _DEEPEST:
            yield table
            return
        for one in inner:
            yield from several(one, depth + 1)
    elif isinstance(data, list):
        tables = [one for one in data if isinstance(one, Mapping)]
        if depth == 0 and _of_words(data):
            yield of_words(data)
        elif _of_tagger(data):
            yield _as_table(*data)
        elif _of_pairs(data):
            yield {"tags": data}
        elif len(tables) == 1 < len(data):  # gallery-dl's --dump-json: [3, address, {...}]
            yield _with_site(tables[0])
        elif depth < _DEEPEST:
            for one in data:
                yield from several(one, depth + 1)


def of_words(words: str | list[str]) -> Data:
    """The table for a text, or a list of texts: tags, or alternative captions."""
    if isinstance(words, str):
        return {"caption": words}
    read = [parse(text).pieces for text in words]
    whole = any(len(pieces) > 1 or any(one.kind == SENTENCE for one in pieces) for pieces in read)
    return {"caption": list(words) if whole else ", ".join(words)}


def of_table(data: Data, site: str = "") -> Post:
    """The post in one table. `site` is gallery-dl's name of the site, where the caller knows it."""
    site = site or site_of(data)
    post = Post()
    for name, text in _fields(data).items():
        setattr(post, name, text)
    of_site = site or post.id or post.md5
    rated = any(data.get(name) for name in ("rating", "safety"))
    tags = data.get("tags")
    if not of_site and isinstance(tags, str) and ("," in tags or not rated):
        data = {**data, "tags": split_tags(tags)}  # `blue hair`; a site's text is two tags
    groups = tag_shapes.read(data)
    if not of_site:  # a site's `caption` is its artist's description
        _add_caption(post, data, groups)
    said = groups.pop("rating", [])
    post.rating = ratings.of(data, site, list(tag_shapes.flat(groups))) or post.rating
    post.rating = post.rating or ratings.of({"rating": said}, site, [])
    for name in tag_shapes.OURS:
        if name in groups:
            tags = groups[name] if of_site else [t for t in groups[name] if not ratings.is_tag(t)]
            setattr(post, f"tags_{name}", " ".join(tags))
    return post


def _add_caption(post: Post, data: Data, groups: tag_shapes.Groups) -> None:
    """The caption in a trainer's metadata, where its tags are one, too; without tags, the tags in it."""
    texts = next((t for name in CAPTION_FIELDS if (t := _captions(data.get(name)))), [])
    tags = data.get("tags")
    beside = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    if not texts and not beside:
        return
    wholes = [", ".join([text, *beside]) for text in texts] or [", ".join(beside)]
    read = [parse(whole) for whole in wholes]
    several = tuple(one.text for one in read if one.text)
    post.own = OwnCaption(read[0], "", candidates=several if len(set(several)) > 1 else ())
    post.rating = post.own.rating
    if not groups:
        for name in CATEGORIES:
            setattr(post, f"tags_{name}", post.own.caption.tags(name))


def known(post: Post) -> bool:
    """Whether what `of_table` found is a post: a workflow, too, may have an `id`."""
    return bool(post.tags() or post.rating or post.md5 or post.own or (post.id and post.score))


def filled(post: Post, other: Post) -> Post:
    """`post`, and from `other` what `post` does not say; tags are taken from one of them only."""
    told = vars(post)
    tags = [name for name in told if name.startswith("tags_")]
    take = {name for name in told if not told[name] and name not in tags and name != "facts"}
    if not post.tags():
        take |= set(tags)
    return replace(post, **{name: getattr(other, name) for name in take})


def named_in(data: Data) -> list[str]:
    """The file names that a table gives to the picture it is about."""
    names = [text for name in _FILE_NAMES if isinstance(text := data.get(name), str)]
    extension = data.get("extension") or data.get("ext")
    if isinstance(data.get("filename"), str) and isinstance(extension, str):
        names.append(f"{data['filename']}.{extension}")
    if isinstance(address := data.get("file_url"), str):
        names.append(PurePosixPath(urlsplit(address).path).name)
    return [name for name in names if name.strip()]


def site_of(data: Data) -> str:
    """gallery-dl's name of the site that metadata are from, as far as they show it; else empty."""
    for name in ("category", "site", "website"):
        if isinstance(said := data.get(name), str) and said.strip():
            plain = said.strip().casefold()
            host = urlsplit(plain if "//" in plain else f"//{plain}").hostname or ""
            return "danbooru" if host.endswith("donmai.us") else plain
    return "danbooru" if "tag_string_general" in data and "tag_count_general" in data else ""


def _fields(data: Data) -> dict[str, str]:
    """What is no tag and no rating: empty where it is not said, or null."""
    file = data["file"] if isinstance(data.get("file"), Mapping) else {}
    related = data.get("relationships")
    parent = related.get("parent_id") if isinstance(related, Mapping) else None
    return {
        "id": _first(data, "id", "post_id", "file_id"),
        "md5": _first(data, "md5", "checksumMD5") or _first(file, "md5"),
        "source": _first(data, "source", "sources", "known_urls", "urls"),
        "score": _number(data, "score", "total_score"),
        "fav_count": _number(data, "fav_count", "favorite_count", "favorites", "favoriteCount",
                             "faves", "total_bookmarks"),
        "width": _first(data, "image_width", "width", "canvasWidth") or _first(file, "width"),
        "height": _first(data, "image_height", "height", "canvasHeight") or _first(file, "height"),
        "file_ext": _first(data, "file_ext", "extension", "ext", "format") or _first(file, "ext"),
        "parent_id": _first(data, "parent_id") or _text(parent),
        "created_at": _date(data, "created_at", "date", "creationTime"),
        "licence": _first(data, "licence", "license"),
    }  # fmt: skip


def _first(data: Data, *names: str) -> str:
    """The first of these fields that says something; of a list of texts its first."""
    for name in names:
        value = data.get(name)
        if isinstance(value, list):
            value = next((one for one in value if isinstance(one, str)), None)
        if text := _text(value):
            return text
    return ""


def _text(value: Any) -> str:
    if value is None or isinstance(value, (list, tuple, Mapping)):
        return ""
    return _CONTROL.sub(" ", str(value)).strip()


def _number(data: Data, *names: str) -> str:
    """The first of these fields that is a number, as text; e621 counts a score's ups and downs."""
    for name in names:
        value = data.get(name)
        if isinstance(value, Mapping):
            value = value.get("total")
        text = _text(value)
        if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
            return text
    return ""


def _date(data: Data, *names: str) -> str:
    """The first of these fields that is a date; seconds, and Gelbooru's form, as ISO 8601 in UTC."""
    for name in names:
        value = data.get(name)
        if isinstance(value, Mapping):  # {"json_class": "Time", "s": seconds, "n": nanoseconds}
            value = value.get("s")
        text = _text(value)
        if not text or isinstance(value, bool):
            continue
        try:
            if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
                return datetime.fromtimestamp(float(text), UTC).isoformat()
            if re.fullmatch(r"\w{3} \w{3} \d\d .* \d{4}", text):
                return (
                    datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y").astimezone(UTC).isoformat()
                )
        except ValueError:
            pass
        return text
    return ""


def _captions(value: Any) -> list[str]:
    """The captions in a field: a text, or a list of alternatives."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def _of_tagger(data: list[Any]) -> bool:
    """Whether it is what WD taggers write: [{rating: probability}, {tag: probability}], perhaps with
    characters in a table of their own."""
    return (
        len(data) in (2, 3)
        and all(
            isinstance(table, Mapping)
            and all(isinstance(p, (int, float)) and not isinstance(p, bool) for p in table.values())
            for table in data
        )
        and bool(data[0] and any(data[1:]))
    )


def _of_pairs(data: list[Any]) -> bool:
    """Whether it is a list of [tag, probability]."""
    return bool(data) and all(
        isinstance(one, list)
        and len(one) == 2
        and isinstance(one[0], str)
        and isinstance(one[1], float)
        for one in data
    )


def _as_table(rating: Data, tags: Data, more: Data = MappingProxyType({})) -> Data:
    """A tagger's tables as one; of two tables of tags the longer has the general ones."""
    general, characters = (tags, more) if len(tags) >= len(more) else (more, tags)
    return {"rating": rating, "tags": {"general": general, "character": characters}}


def _of_words(data: list[Any]) -> bool:
    """Whether it is a plain list of tags or sentences, not of addresses."""
    return bool(data) and all(isinstance(one, str) and "://" not in one for one in data)


def _with_site(data: Data) -> Data:
    """waifuc's table and what the site said: its own tags, in the site's categories."""
    site = next((name for name in _SITES & set(data) if isinstance(data[name], Mapping)), None)
    if site is None:
        return data
    said: dict[str, Any] = dict(data[site])
    own = list(tag_shapes.flat(tag_shapes.read(data)))
    if own:
        kind = {tag: name for name, tags in tag_shapes.read(said).items() for tag in tags}
        said = {k: v for k, v in said.items() if not str(k).startswith("tag")}
        for tag in own:
            said.setdefault(f"tags_{kind.get(tag, 'general')}", []).append(tag)
    danbooru = "danbooru" if "tag_string_general" in data[site] else site
    return {"category": danbooru, **said, **{k: data[k] for k in _FILE_NAMES if k in data}}
