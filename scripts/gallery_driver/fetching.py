# SPDX-License-Identifier: GPL-2.0-only
"""gallery-dl's download job, asked and answered post by post through a `Link`.

Nothing is decided here: the other side says how many posts to list, which to fetch, under which name,
and is told what came of each. One post that gallery-dl cannot take ends no other.
"""

from __future__ import annotations

import base64
import errno
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from bounds import Bounds, Exceeded
from gallery_dl import exception, extractor, job, util

LONGEST_METADATA = 2_000_000
"""Characters of a post's metadata as JSON."""
_REFUSED = re.compile(r"(?i)(ytdl|oauth|text|file|noop):|r(ecursive)?:file:")
"""Addresses that start other programs, read local files, or are no file at all."""
_SITE = re.compile(r"[^0-9A-Za-z.-]+")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows keeps for devices."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORTEST_COOKIE = 8
_END = object()


class Link:
    """Lines of JSON to and from the process that started this one."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in, self._out = incoming, outgoing
        self.said: list[str] = []
        """What gallery-dl has complained of and the other side does not know yet."""
        self.secrets: set[str] = set()
        self._told: set[str] = set()

    def receive(self) -> dict[str, Any] | None:
        """The next line; None where there is no other side any more."""
        line = self._in.readline()
        return json.loads(line) if line else None

    def send(self, message: dict[str, Any]) -> None:
        new = sorted(self.secrets - self._told)
        self._told |= set(new)
        whole = message | {"said": self.said[:], "secrets": new}
        self.said.clear()
        # as bytes, so that half a surrogate pair becomes a question mark
        text = json.dumps(whole, default=str, ensure_ascii=False)
        self._out.write(text.encode("utf-8", "replace") + b"\n")
        self._out.flush()

    def ask(self, event: str, **facts: Any) -> dict[str, Any]:
        self.send({"event": event, **facts})
        answer = self.receive()
        if answer is None:
            raise SystemExit("the other side is gone")
        return answer


class Log:
    """Replaces gallery-dl's logger: its complaints go through the link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def debug(self, *_: Any, **__: Any) -> None:
        """Of no interest."""

    info = traceback = debug

    def warning(self, message: Any, *values: Any, **_: Any) -> None:
        self._link.said.append(str(message) % values if values else str(message))

    error = warning


def reader_of(url: str, *, embedded: bool) -> extractor.common.Extractor | None:
    """gallery-dl's reader for `url`, None where it has none that may be used."""
    if _REFUSED.match(url):
        return None
    if url.startswith("Danbooru:"):  # spares the import of all sites before this one
        from gallery_dl.extractor import danbooru

        for cls in danbooru.__dict__.values():
            if getattr(cls, "pattern", None) and (reader := cls.from_url(url)):
                if embedded:
                    reader.category = "embedded"
                return reader
        return None
    return extractor.find(url)


def told(problem: BaseException) -> str:
    """An exception as a few words."""
    name = type(problem).__name__
    if isinstance(problem, KeyError):
        return f"the site's answer has no {problem}"
    if name == "JSONDecodeError":
        return f"the site's answer is not JSON ({problem})"
    if isinstance(problem, (TypeError, AttributeError, IndexError, RecursionError, MemoryError)):
        return f"the site's answer has another shape than gallery-dl expects ({name}: {problem})"
    return str(problem) or name


def public(post: Any) -> dict[str, Any]:
    """What a message says of a post: its metadata without gallery-dl's private ones, or why not."""
    if not isinstance(post, dict):
        return {"post": {}, "unusable": "the site gives something that is no post"}
    own = {k: v for k, v in post.items() if not str(k).startswith(("_", "bakery_"))}
    number = post.get("id")
    name = {"id": number} if isinstance(number, (str, int)) and len(str(number)) < 100 else {}
    try:
        text = json.dumps(own, default=str)
    except (RecursionError, ValueError):
        return {"post": name, "unusable": "its metadata are nested too deeply"}
    if len(text) > LONGEST_METADATA:
        return {"post": name, "unusable": f"its metadata have {len(text)} characters"}
    return {"post": own}


class Job(job.DownloadJob):
    """A download of one address, and of those it leads to."""

    link: Link
    bounds: Bounds
    problem = ""
    """Why the listing ended early."""

    def __init__(
        self,
        reader: Any,
        parent: Job | None = None,
        link: Link | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.parent = parent
        shared, around = (parent.link, parent.bounds) if parent else (link, bounds)
        if shared is None or around is None:
            raise ValueError("a job needs a link and bounds, or a parent that has them")
        self.link, self.bounds = shared, around
        super().__init__(reader, parent)
        self.booru = _is_booru(self.extractor)
        self._current: dict | None = None
        self._posts: Iterator[dict] | None = None
        if self.booru:
            self._list = self.extractor.posts
            self.extractor.posts = self._remaining

    def _wrap_logger(self, logger: Any) -> Log:
        return Log(self.link)

    def _ask(self, event: str, post: Any = None, **facts: Any) -> dict[str, Any]:
        self._collect_secrets()
        about = public(post) if post is not None else {}
        reader = self.extractor
        site = {"name": self._site(), "category": reader.category, "root": reader.root,
                "basecategory": reader.basecategory, "url": reader.url,
                "booru": self.booru}  # fmt: skip
        return self.link.ask(event, site=site, **about, **facts)

    def _collect_secrets(self) -> None:
        """Those that only gallery-dl knows: of cookie files, and of logins."""
        session = self.extractor.session
        if session is None:
            return
        found = {c.value for c in session.cookies if c.value and len(c.value) >= _SHORTEST_COOKIE}
        auth = session.auth
        if isinstance(auth, tuple):
            found |= {str(part) for part in auth}
        header = getattr(auth, "authorization", None) or session.headers.get("Authorization")
        if header:
            text = header.decode("latin-1") if isinstance(header, bytes) else str(header)
            kind, _, value = text.partition(" ")
            found.add(value or kind)
            if kind.lower() == "basic":
                found |= _of_basic(value)
        self.link.secrets |= found
        self.bounds.secrets = tuple(sorted({*self.bounds.secrets, *found}))

    def _site(self) -> str:
        """Of the folder in the store, and the first part of the files' names."""
        name = _SITE.sub("_", self.extractor.category).strip("._") or "site"
        return f"site_{name}" if _DEVICE.fullmatch(name) else name

    def _fail(self, why: str) -> None:
        first: Job = self
        while first.parent:
            first = first.parent
        first.problem = why

    def dispatch(self, messages: Iterable[tuple]) -> Any:
        while True:
            try:
                return super().dispatch(messages)
            except exception.ControlException:
                raise
            except Exceeded as reason:
                self._fail(str(reason))
                raise exception.StopExtraction() from None
            except Exception as problem:
                if self._current is None or _disk_is_full(problem):
                    self._fail(told(problem))
                    raise
                post, self._current = self._current, None
                self._ask("broken", post, why=told(problem))
                messages = self.extractor.items()  # goes on behind that post

    def _remaining(self) -> Iterator[dict]:
        """The posts of a booru that were not given yet; kept, so that it survives its reader."""
        if self._posts is None:
            self._posts = self._watched(self._list())
        return self._posts

    def _watched(self, listed: Iterable[Any]) -> Iterator[dict]:
        remaining = iter(listed)
        # Asked before drawing the next post: that may load another page.
        while self._ask("more")["go"]:
            post = next(remaining, _END)
            if post is _END:
                return
            if not self._ask("listed", post if isinstance(post, dict) else [])["take"]:
                continue
            assert isinstance(post, dict)
            for name in [name for name in post if str(name).startswith(("_", "bakery_"))]:
                del post[name]  # to gallery-dl they would be its own, such as `_http_method`
            if not post.get("file_url"):
                post.pop("file_url", None)
            self._current = post
            yield post
            self._current = None
            self._ask("left", post)

    def handle_queue(self, url: str, kwdict: dict) -> None:
        if self._ask("queue")["stop"]:
            raise exception.StopExtraction()
        if _REFUSED.match(url):
            self.link.said.append(f"{url}: such an address is not followed")
            return
        super().handle_queue(url, kwdict)

    def handle_url(self, url: str, kwdict: dict) -> None:
        answer = self._ask("file", kwdict, url=str(url))
        if answer.get("stop"):
            raise exception.StopExtraction()
        if not answer.get("stem"):
            return
        kwdict["bakery_stem"], kwdict["extension"] = answer["stem"], answer["extension"]
        path = ""
        try:
            super().handle_url(url, kwdict)
            path = self.pathfmt.realpath
        except exception.ControlException:
            raise
        except Exception as problem:
            if _disk_is_full(problem):
                raise
            self.link.said.append(told(problem))
        self._ask("came", kwdict, url=str(url), path=path)

    def download(self, url: str) -> bool:
        try:
            with self.bounds.file():
                return super().download(url)
        except Exceeded as reason:
            self.link.said.append(str(reason))
            if reason.too_large:
                util.remove_file(self.pathfmt.temppath)
        except exception.ControlException:
            raise
        except Exception as problem:
            if _disk_is_full(problem):
                raise
            self.link.said.append(told(problem))
        return False

    def get_downloader(self, scheme: str) -> Any:
        if scheme not in ("http", "https"):
            self.link.said.append("its address is not one of http or https")
            return None
        return super().get_downloader(scheme)

    def update_kwdict(self, kwdict: dict) -> None:
        super().update_kwdict(kwdict)
        kwdict["bakery_site"] = self._site()


def _is_booru(reader: Any) -> bool:
    """Whether the reader lists posts with one file each, so that they can be watched one by one."""
    names = {cls.__name__ for cls in type(reader).__mro__}
    return bool(names & {"BooruExtractor", "DanbooruExtractor"}) and callable(
        getattr(reader, "posts", None)
    )


def _disk_is_full(problem: Exception) -> bool:
    return isinstance(problem, OSError) and problem.errno in _FULL


def _of_basic(value: str) -> set[str]:
    """Account and password behind `Authorization: Basic ...`."""
    try:
        name, _, password = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return set()
    return {part for part in (name, password) if part}
