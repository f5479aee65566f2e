"""A local booru: a folder of posts served over loopback as Danbooru's read-only API.

`with serve(folder) as url:` answers the requests of gallery-dl's Danbooru extractor:

- `/posts.json?tags=a+-b&limit=200&page=b123`: a page of posts, newest first
- `/posts/123.json`: one post
- `/data/<md5>.<ext>`: a file

The folder holds `posts.json` (Danbooru's post objects) and `files/`. Search knows plain tags,
`-tag`, `~tag`, `*` and the metatags id, md5, rating, score, status and order, each as Danbooru
means it (https://danbooru.donmai.us/wiki_pages/help:cheatsheet).
"""

from __future__ import annotations

import fnmatch
import json
import mimetypes
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bakery.io.errors import BakeryError

Post = dict[str, Any]
DEFAULT_LIMIT, MAX_LIMIT = 20, 200
_SEQUENTIAL = re.compile(r"([ab])(\d+)")
_MIME = {"webp": "image/webp", "avif": "image/avif", "webm": "video/webm"}


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves `folder` in a thread while the block runs; yields `http://127.0.0.1:<port>`.

    Raises `BakeryError` when the folder is not a booru.
    """
    posts = read_posts(folder)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.posts, server.files = posts, Path(folder) / "files"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_posts(folder: Path) -> list[Post]:
    """The posts of a booru folder, newest (highest id) first."""
    path = Path(folder) / "posts.json"
    try:
        posts = json.loads(path.read_text(encoding="utf-8"))
        return sorted(posts, key=lambda post: -post["id"])
    except FileNotFoundError:
        raise BakeryError(f"{folder} is not a booru folder: it has no posts.json") from None
    except (ValueError, TypeError, KeyError) as problem:
        raise BakeryError(
            f"{path} is not a list of Danbooru posts ({problem}); build the folder again"
        ) from None


def search(posts: list[Post], tags: str) -> list[Post]:
    """The posts that match every term of a Danbooru search, in its order."""
    terms = tags.lower().split()
    order = [term[len("order:") :] for term in terms if term.startswith("order:")]
    terms = [term for term in terms if not term.startswith("order:")]
    either = [_matcher(term[1:]) for term in terms if term.startswith("~")]
    every = [_signed(term) for term in terms if not term.startswith("~")]
    found = [
        post
        for post in posts
        if all(match(post) for match in every)
        and (not either or any(match(post) for match in either))
    ]
    key, _, direction = (order[-1] if order else "id_desc").partition("_")
    if key in ("id", "score"):
        ascending = direction == "asc" or (key == "id" and not direction)
        found.sort(key=lambda post: (post[key], post["id"]), reverse=not ascending)
    return found


def page_of(found: list[Post], page: str, limit: int) -> list[Post]:
    """One page: the number `page`, or what comes before (`b<id>`) or after (`a<id>`) a post."""
    sequential = _SEQUENTIAL.fullmatch(page)
    if not sequential:
        start = (max(int(page), 1) - 1) * limit if page.isdecimal() else 0
        return found[start : start + limit]
    edge = int(sequential[2])
    if sequential[1] == "b":
        return sorted((p for p in found if p["id"] < edge), key=lambda p: -p["id"])[:limit]
    return sorted((p for p in found if p["id"] > edge), key=lambda p: p["id"])[:limit][::-1]


def _signed(term: str) -> Callable[[Post], bool]:
    if term.startswith("-"):
        match = _matcher(term[1:])
        return lambda post: not match(post)
    return _matcher(term)


def _matcher(term: str) -> Callable[[Post], bool]:
    """A test for one term without its sign; an unknown metatag matches nothing."""
    key, colon, value = term.partition(":")
    if colon and key in ("id", "score"):
        return _in_range(key, value)
    if colon and key == "rating":
        return lambda post: post["rating"] == value[:1]
    if colon and key == "md5":
        return lambda post: post.get("md5") == value
    if colon and key == "status" and value in ("any", "all"):
        return lambda post: True
    if colon and key == "status" and value in ("deleted", "active"):
        return lambda post: bool(post.get("is_deleted")) == (value == "deleted")
    if "*" in term:
        return lambda post: bool(fnmatch.filter(post["tag_string"].split(), term))
    return lambda post: term in post["tag_string"].split()


def _in_range(key: str, value: str) -> Callable[[Post], bool]:
    """`5`, `1,2,3`, `>5`, `>=5`, `<5`, `<=5`, `1..5`, `..5`, `5..`"""
    number = r"(-?\d+)"
    if ends := re.fullmatch(rf"{number}?\.\.{number}?", value):
        low, high = (float(end) if end else None for end in ends.groups())
        return lambda post: (
            (low is None or post[key] >= low) and (high is None or post[key] <= high)
        )
    if bound := re.fullmatch(rf"([<>]=?){number}", value):
        sign, edge = bound[1], int(bound[2])
        compare = {">": int.__gt__, ">=": int.__ge__, "<": int.__lt__, "<=": int.__le__}[sign]
        return lambda post: compare(post[key], edge)
    wanted = {int(part) for part in value.split(",") if re.fullmatch(number, part)}
    return lambda post: post[key] in wanted


class _Server(ThreadingHTTPServer):
    posts: list[Post]
    files: Path

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects early is not an error; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Otherwise each small answer waits 40 ms for the acknowledgement of the one before.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path in ("/posts.json", "/posts"):
            self._search(parse_qs(parts.query))
        elif post := re.fullmatch(r"/posts/(\d+)(?:\.json)?", parts.path):
            self._post(int(post[1]))
        elif parts.path.startswith("/data/"):
            self._file(unquote(parts.path[len("/data/") :]))
        else:
            self._not_found()

    def _search(self, query: dict[str, list[str]]) -> None:
        asked = query.get("limit", [""])[0]
        limit = min(int(asked), MAX_LIMIT) if asked.isdecimal() else DEFAULT_LIMIT
        found = search(self.server.posts, query.get("tags", [""])[0])
        self._json(page_of(found, query.get("page", ["1"])[0], limit))

    def _post(self, wanted: int) -> None:
        for post in self.server.posts:
            if post["id"] == wanted:
                return self._json(post)
        return self._not_found()

    def _file(self, name: str) -> None:
        path = self.server.files / name
        # A plain name only: nothing outside of files/ is served.
        if name != path.name or not path.is_file():
            return self._not_found()
        kind = _MIME.get(path.suffix[1:]) or mimetypes.guess_type(name)[0]
        return self._answer(HTTPStatus.OK, path.read_bytes(), kind or "application/octet-stream")

    def _not_found(self) -> None:
        body = {"success": False, "error": "NotFound", "message": "That record was not found."}
        self._json(body, HTTPStatus.NOT_FOUND)

    def _json(self, body: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Posts are recorded, so there is no web server log."""
