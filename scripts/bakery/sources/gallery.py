"""gallery-dl as a library: the posts behind an address, their files in a store, and a record of
every post that was seen.

gallery-dl handles sites, paging, retries and downloads; this module adds:

- a post without a file address is recorded instead of being skipped silently;
- the limit counts posts, hidden ones too, and requests no more pages than needed;
- a store whose files are found again by post, whichever search found them: `<store>/<site>/`
  holds `<site>-<post>.<ext>` with its metadata in `<site>-<post>.<ext>.json`.

The user's own gallery-dl configuration (accounts, cookies, proxies, waits) applies to real sites, and
`options` are laid over it. None of its secrets is written down: they are removed wherever a site
or a message repeats them, and so is anything in an address that looks like a credential.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from gallery_dl import config, exception, extractor, job, util

from bakery.gate import gate, sidecars
from bakery.io import status
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings import credentials
from bakery.sources import metadata, posts
from bakery.sources.posts import Post

EMBEDDED = "embedded://"
_SITE = re.compile(r"[^0-9A-Za-z.-]+")
_EXTENSION = re.compile(r"[0-9A-Za-z]{1,8}")
_NO_PICTURE = {"mp4", "webm", "mkv", "mov", "swf", "zip", "rar", "7z", "pdf", "mp3", "wav", "ogg"}
_SUPPORTED = "https://github.com/mikf/gallery-dl/blob/master/docs/supportedsites.md"

# Overrides the user's configuration, because the store depends on it.
_OURS = {
    "directory": ["{bakery_site}"],
    "filename": "{bakery_stem}.{extension}",
    "path-restrict": "auto",
    "path-replace": "_",
    "archive": None,
    "skip": True,
    "download": True,
    "postprocess": False,
    "part": True,
    "part-directory": None,
    "parent-directory": False,
    "async": False,
    "actions": None,
}
# The embedded booru is on this machine: no waits, no proxy, one more try.
_EMBEDDED_OPTIONS = {"sleep-request": 0, "retries": 1, "proxy-env": False, "timeout": 60}


@dataclass
class FetchedPost:
    """A post that was seen; `file` is its place in the store, None when nothing was fetched."""

    post: Post
    file: Path | None = None


@dataclass
class Listing:
    """What one address gave."""

    url: str
    limit: int
    store: Path
    base: str = ""
    """Root of the embedded booru while it is served, else empty."""
    found: dict[str, FetchedPost] = field(default_factory=dict)
    listed: int = 0
    problem: str = ""
    """Why the listing stopped early, empty when it did not."""
    messages: list[str] = field(default_factory=list)
    secrets: frozenset[str] = frozenset()
    """The secrets in the user's gallery-dl configuration."""
    _notes: dict[str, dict[str, Path]] = field(default_factory=dict)
    """Site -> stem -> metadata file, as the store was at the start."""

    def public(self, text: str) -> str:
        """`text` without credentials and without the embedded booru's port."""
        if self.base:
            text = text.replace(self.base + "/", EMBEDDED)
        return credentials.hide(text, self.secrets)

    def known(self, stem: str, site: str, md5: str) -> Path | None:
        """The file of a post in the store, if it exists and the site still has the same file."""
        if site not in self._notes:
            notes = sorted((self.store / site).glob("*.json"))
            self._notes[site] = {note.name.rsplit(".", 2)[0]: note for note in notes}
        note = self._notes[site].get(stem)
        if note is None:
            return None
        file = note.with_suffix("")
        try:
            same = json.loads(note.read_text(encoding="utf-8"))["md5"] == md5
        except (ValueError, KeyError, TypeError):
            same = False
        if same and file.is_file():
            return file
        file.unlink(missing_ok=True)  # else gallery-dl would take it for the new one
        note.unlink(missing_ok=True)
        return None


def check(url: str, options: Mapping[str, Any] = {}) -> None:
    """Raises `BakeryError` for an address that gallery-dl cannot handle; asks no site."""
    _configure(Path("."), options, embedded=url.startswith(EMBEDDED))
    _extractor(url, "http://127.0.0.1:1" if url.startswith(EMBEDDED) else "")


def site_of(url: str) -> tuple[str, bool]:
    """What gallery-dl calls the site of an address, and whether it is a booru; asks no site.

    Raises `BakeryError` as `check`.
    """
    reader = _extractor(url, "")
    return reader.category, bool(reader.basecategory)


def fetch(
    url: str,
    *,
    limit: int,
    store: Path,
    base: str = "",
    options: Mapping[str, Any] = {},
) -> list[FetchedPost]:
    """Up to `limit` posts of `url`, newest first, downloaded to `store` unless they are there.

    `embedded://posts?tags=...` is asked of the booru served at `base`. `options` are gallery-dl's,
    nested as in its configuration file. Raises `BakeryError` if the site cannot be listed to the
    end, or has nothing; files fetched by then stay in the store, and the next call continues from
    there.
    """
    shown = credentials.hide(url)
    secrets = _configure(store, options, embedded=bool(base))
    listing = Listing(url, limit, store, base, secrets=secrets)
    work = _Job(_extractor(url, base), listing=listing)
    status = work.run()
    if listing.problem:
        refused = status & exception.AuthorizationError.code or "403" in listing.problem
        account = "; the site may want an account in gallery-dl's own configuration"
        hint = account if refused else ""
        raise BakeryError(
            f"scrape: listing {shown} failed: {listing.problem}{hint}; "
            f"{len(listing.found)} posts are on record, run again to go on from there"
        )
    if not listing.found:
        said = f" ({listing.messages[-1]})" if listing.messages else ""
        raise BakeryError(f"scrape: {shown} has no posts{said}; check its tags")
    return list(listing.found.values())


def _configure(store: Path, options: Mapping[str, Any], *, embedded: bool) -> frozenset[str]:
    """gallery-dl's settings for one call, which it keeps in a table of the whole process.

    Gives the secrets among them.
    """
    own: dict[str, Any] = {}
    if not embedded:
        config.load(conf=own)
    config.clear()
    util.combine_dict(own, copy.deepcopy(dict(options)))
    ours = _OURS | {"base-directory": str(store)} | (_EMBEDDED_OPTIONS if embedded else {})
    for name, value in (own | ours).items():
        config.set((), name, value)
    config.set(("output",), "mode", "null")
    return frozenset(credentials.values(own))


def _extractor(url: str, base: str) -> extractor.common.Extractor:
    """gallery-dl's reader for `url`."""
    if url.startswith(EMBEDDED):
        reader = extractor.find(f"Danbooru:{base}/{url[len(EMBEDDED) :]}")
        if not reader or not hasattr(reader, "posts"):
            raise BakeryError(
                f"scrape.urls: {url} is not an address of the embedded booru: "
                "write embedded://posts?tags=<tag> or embedded://posts/<id>"
            )
        reader.category = "embedded"
        return reader
    if reader := extractor.find(url):
        return reader
    raise BakeryError(
        f"scrape.urls: gallery-dl knows no site for {credentials.hide(url)}: check the spelling, "
        f"or look it up in {_SUPPORTED}"
    )


class _Log:
    """Replaces gallery-dl's logger: its messages become recorded reasons."""

    def __init__(self, listing: Listing) -> None:
        self._catch = listing

    def debug(self, *_: Any, **__: Any) -> None:
        """Of no interest."""

    info = traceback = debug

    def warning(self, message: Any, *values: Any, **_: Any) -> None:
        text = str(message) % values if values else str(message)
        self._catch.messages.append(self._catch.public(text))

    error = warning


class _Job(job.DownloadJob):
    """gallery-dl's download, with a record kept in a `Listing` that child jobs share."""

    listing: Listing

    def __init__(
        self, url: Any, parent: _Job | None = None, listing: Listing | None = None
    ) -> None:
        shared = parent.listing if parent else listing
        if shared is None:
            raise ValueError("a job needs a listing, or a parent that has one")
        self.listing = shared
        super().__init__(url, parent)
        self.booru = _is_booru(self.extractor)
        if self.booru:
            list_posts = self.extractor.posts
            self.extractor.posts = lambda: self._watched(list_posts())

    def _wrap_logger(self, logger: Any) -> _Log:
        return _Log(self.listing)

    def dispatch(self, messages: Iterable[tuple]) -> Any:
        try:
            return super().dispatch(messages)
        except exception.ControlException:
            raise
        except Exception as problem:
            text = str(problem) or type(problem).__name__
            self.listing.problem = self.listing.public(" ".join(text.split())).rstrip(".")
            raise

    def _watched(self, listed: Iterable[dict]) -> Iterator[dict]:
        """The posts of a booru up to the limit; those without a file are recorded."""
        remaining = iter(listed)
        # Asked before drawing the next post: that may load another page.
        while self.listing.listed < self.listing.limit:
            post = next(remaining, None)
            if post is None:
                return
            self.listing.listed += 1
            if post.get("is_deleted"):
                self._note(post, posts.SKIPPED, "deleted on the site")
                continue
            if not post.get("file_url"):
                post.pop("file_url", None)
            seen = len(self.listing.found)
            stem = self._stem(post)
            yield post
            if len(self.listing.found) == seen and stem not in self.listing.found:
                hidden = "file_url" not in post
                self._note(post, posts.FAILED if hidden else posts.SKIPPED,
                           "the site gives no file address" if hidden
                           else "passed over by gallery-dl's own configuration")  # fmt: skip

    def handle_queue(self, url: str, kwdict: dict) -> None:
        self._stop_at_limit()
        super().handle_queue(url, kwdict)

    def handle_url(self, url: str, kwdict: dict) -> None:
        if not self.booru:
            self._stop_at_limit()
        stem = kwdict["bakery_stem"] = self._stem(kwdict, url)
        if stem in self.listing.found:
            return
        status.tell("fetching posts", len(self.listing.found), self.listing.limit)
        facts = self._facts(kwdict)
        if facts.refused:
            self._refuse(stem, kwdict)
            return
        if (given := kwdict.get("extension")) and not _EXTENSION.fullmatch(str(given)):
            kwdict["extension"] = "jpg"  # gallery-dl puts it right by the file's first bytes
        if kwdict.get("extension") in _NO_PICTURE:
            self._note(kwdict, posts.SKIPPED, f"{kwdict['extension']} is not a picture", url)
            return
        file = self.listing.known(stem, kwdict["bakery_site"], str(kwdict.get("md5") or ""))
        if file is None:
            said = len(self.listing.messages)
            super().handle_url(url, kwdict)
            file = Path(self.pathfmt.realpath)
            if not file.is_file():
                self._note(kwdict, posts.FAILED, self._why(said), url)
                return
        try:
            facts |= sidecars.inside(file)
        except sidecars.BrokenSidecar as problem:
            self._note(kwdict, posts.FAILED, str(problem), url)
            return
        if facts.refused:
            self._refuse(stem, kwdict)
            return
        found = self._note(kwdict, posts.FETCHED, "", url, facts)
        found.file, found.post.facts = file, facts
        found.post.file_ext = file.suffix[1:]
        self._keep_metadata(file, kwdict)

    def _refuse(self, stem: str, kwdict: dict) -> None:
        """Neither kept nor described: only the gate's refusal is recorded."""
        self.listing.found[stem] = FetchedPost(posts.refused(str(kwdict.get("id") or "")))
        for file in (self.listing.store / kwdict["bakery_site"]).glob(f"{stem}.*"):
            file.unlink()  # an earlier run may have fetched it when it was tagged otherwise

    def update_kwdict(self, kwdict: dict) -> None:
        super().update_kwdict(kwdict)
        kwdict["bakery_site"] = self._site()

    def _stop_at_limit(self) -> None:
        if max(self.listing.listed, len(self.listing.found)) >= self.listing.limit:
            raise exception.StopExtraction()

    def _site(self) -> str:
        return _SITE.sub("_", self.extractor.category).strip("._") or "site"

    def _stem(self, data: dict, url: str = "") -> str:
        """`<site>-<post>`, with a number or a digest where a site has no such ids."""
        number, num = data.get("id"), data.get("num")
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", str(number or "")):
            number = sha256((url or json.dumps(data, default=str)).encode()).hexdigest()[:16]
        several = not self.booru and str(num or "0").isdecimal() and int(num or 0) > 0
        return f"{self._site()}-{number}" + (f"-{num}" if several else "")

    def _why(self, said: int) -> str:
        """The reason in what was said since: the last line before `Failed to download`."""
        told = [m for m in self.listing.messages[said:] if not m.startswith("Failed to download")]
        # The address is in the post's own column: leave `'404 Not FetchedPost' for '<address>'` short.
        return re.sub(r"^'(.+?)' for '.*'$", r"\1", told[-1].strip()) if told else "download failed"

    def _facts(self, data: dict) -> gate.Facts:
        return gate.of_json(data) | posts.known(self._post(data))

    def _post(self, data: dict) -> Post:
        kind = self.extractor.basecategory
        site = "danbooru" if kind == "Danbooru" else self.extractor.category
        return metadata.of_table(data, site)

    def _note(
        self, data: dict, status: str, reason: str, url: str = "", facts: gate.Facts | None = None
    ) -> FetchedPost:
        post = self._post(data)
        danbooru = self.extractor.basecategory == "Danbooru"
        root = EMBEDDED if self.listing.base else f"{self.extractor.root}/"
        address = f"{root}posts/{post.id}" if danbooru and post.id else url or self.extractor.url
        post.url = self.listing.public(address)
        post.source = self.listing.public(post.source)
        post.status, post.reason = status, reason
        told = self._facts(data) if facts is None else facts
        found = FetchedPost(posts.refused(post.id) if told.refused else post)
        self.listing.found[self._stem(data, url)] = found
        return found

    def _keep_metadata(self, file: Path, kwdict: dict) -> None:
        """The site's metadata beside the file: `<file>.json`."""
        data = {"md5": ""} | {k: v for k, v in util.filter_dict(kwdict).items()
                              if not k.startswith("bakery_") and v is not None}  # fmt: skip
        data["md5"] = str(data["md5"] or "")
        text = json.dumps(data, default=str, ensure_ascii=False, indent=1, sort_keys=True)
        write_text(file.with_name(file.name + ".json"), self.listing.public(text) + "\n")


def _is_booru(reader: Any) -> bool:
    """Whether the reader lists posts with one file each, so that they can be watched one by one."""
    names = {cls.__name__ for cls in type(reader).__mro__}
    return bool(names & {"BooruExtractor", "DanbooruExtractor"}) and callable(
        getattr(reader, "posts", None)
    )
