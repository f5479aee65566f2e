"""Which of gallery-dl's options may be set: a list of those that can neither run nor write anything.

gallery-dl evaluates some options as Python (`image-filter`, `filename` with `\\fE` or `\\fM`), starts
programs for others (`postprocessors`, `actions`, browser cookies), loads modules, pickles and SQL
named by others (`module`, `cache`, `archive-pragma`), and writes where others say (`directory`,
`write-pages`). New versions bring more of them, so this is a list of what is allowed, not of what is
refused. `tests/settings/test_gallery_options.py` holds it against gallery-dl's own code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bakery.settings import credentials

HOW = frozenset({
    "sleep", "sleep-request", "sleep-extractor", "sleep-skip", "sleep-429", "sleep-retries",
    "retries", "retry-codes", "timeout", "http-timeout", "rate", "progress", "chunk-size",
    "verify", "proxy", "proxy-env", "source-address", "browser", "user-agent", "tls12", "ciphers",
    "truststore", "geo-bypass", "consume-content", "wait-min", "fallback-delay", "fallback-retries",
    "retries-api", "ratelimit", "api-server", "user-agent-oauth", "user-cache", "cookies-select",
})  # fmt: skip
"""Options that affect how a site is queried, never what it returns."""
WHAT = frozenset({
    "adjust-extensions", "ads", "allowed", "animated", "announcements", "api", "api-parameters",
    "article", "articles", "articles-format", "attachments", "audio", "author-followups", "avatar",
    "banners", "blacklist", "blacklist-tags", "bought", "captions", "cards", "category-transfer",
    "chapter-range", "chapter-reverse", "chapter-unique", "child-range", "child-unique", "children",
    "comments", "comments-avatars", "contexts", "conversations", "covers", "cursor", "data-saver",
    "date-after", "date-before", "deferred", "depth", "descriptions", "dms", "domain",
    "download-fake-png", "duplicates", "embeds", "emoticons", "enabled", "endpoint", "epilepsy",
    "exif", "expand", "extensions", "extra", "fallback", "favorites", "fee-max", "fee-min",
    "file-range", "file-unique", "files", "filesize-max", "filesize-min", "flash", "flat", "folders",
    "format", "format-images", "formats", "forward-cookies", "full-series", "fullsize", "gif", "gifs",
    "group", "headers", "height", "humor", "image-range", "image-revisions", "image-unique",
    "include", "info", "inline", "intermediary", "journals", "lang", "layout", "likes", "limit",
    "limits", "livephoto", "locked", "logout", "mature", "max-posts", "max-rating", "metadata",
    "metadata-bookmark", "metadata-user", "morecomments", "movies", "mp4", "nsfw", "notes", "offset",
    "only", "order", "order-files", "order-posts", "order-revisions", "orderby", "original",
    "page-reverse", "pagination", "pattern", "period", "photos", "pinned", "post-range",
    "post-unique", "posts", "previews", "pro-first", "profile", "public", "quality", "quality-videos",
    "quoted", "quoted-expand", "rating", "ratings", "reblogs", "recursion", "redirects", "referer",
    "related",
    "renotes", "replies", "replurk", "reposts", "retweets", "reverse", "revisions", "root", "sanity",
    "search-limit", "search-pagination", "search-results", "search-stop", "selftext",
    "sent-requests", "showmore", "showreplies", "size", "size-max", "sort", "source", "split",
    "static", "static-videos", "stories", "strategy", "subalbums", "subcategories", "subfolders",
    "svg", "tags", "tags-blacklist", "tags-whitelist", "text-posts", "text-tweets", "threads",
    "threshold", "thumbnails", "transform", "twitpic", "ugoira", "unavailable", "unique", "untagged",
    "url", "urls", "user-id", "users", "validate", "validate-html", "videos", "warn-images",
    "warn-videos", "websites", "whitelist", "whitelist-tags", "width", "zip",
})  # fmt: skip
"""Options that choose among what a site has."""
NEVER_ACCOUNTS = frozenset({"netrc"})
"""Named like an account; what it would be read from is not known here, so it could not be hidden."""
_TABLES = frozenset({"headers", "cookies", "api-parameters", "proxy"})
"""Options whose value is a table of plain texts, with any names."""
_SITE = re.compile(r"[\w.:*>-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def refused(options: Mapping[str, Any]) -> dict[str, str]:
    """Dotted name -> why, of each of the nested `options` that may not be set."""
    return _sorted_out(options, "")[1]


def allowed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The nested `options` without those that may not be set."""
    return _sorted_out(options, "")[0]


def what_is_fetched(options: Mapping[str, Any]) -> dict[str, Any]:
    """The nested `options` without those of `HOW`, and without what is empty then."""
    kept = {}
    for name, value in options.items():
        if isinstance(value, dict):
            value = what_is_fetched(value)
        if name not in HOW and value != {}:
            kept[name] = value
    return kept


def _sorted_out(options: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, str]]:
    kept: dict[str, Any] = {}
    left: dict[str, str] = {}
    for name, value in options.items():
        name = str(name)
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and name not in _TABLES:
            if _SITE.fullmatch(name):
                kept[name], inner = _sorted_out(value, here)
                left |= inner
            else:
                left[here] = "is no name of a site"
        elif why := _objection(name, value):
            left[here] = why
        else:
            kept[name] = value
    return kept, left


def _objection(name: str, value: Any) -> str:
    """Why an option may not be set; "" where it may."""
    account = credentials.names_account(name) and name not in NEVER_ACCOUNTS
    if not (name in HOW or name in WHAT or account):
        return "may run code or write elsewhere, or is not known here"
    if not _is_plain(value, tables=name in _TABLES):
        return "is no plain value"
    if name == "cookies" and isinstance(value, list):
        return "reads a browser's cookies, for which programs are started: give a cookies.txt"
    if name == "user-agent" and str(value).startswith(("@", "browser")):
        return "starts a browser to ask for its name: write the name itself"
    return ""


def _is_plain(value: Any, *, tables: bool) -> bool:
    """Whether it is a number, a text without control characters, or a list of these."""
    if isinstance(value, Mapping):
        return tables and all(_is_plain(one, tables=False) for one in (*value, *value.values()))
    if isinstance(value, (list, tuple)):
        return all(_is_plain(one, tables=False) for one in value)
    if isinstance(value, str):
        return not _CONTROL.search(value)
    return value is None or isinstance(value, (bool, int, float))
