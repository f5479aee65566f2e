"""Attacks by a booru: posts of any shape, files that never end, listings that are none.

Each case serves five sound posts over loopback and one fault. Whatever the fault is, the sound posts
come, the other one is on record with a reason in one line, and nothing is written elsewhere; a listing
that cannot be read ends with one sentence.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.io.errors import BakeryError
from bakery.settings.scrape import Scrape
from bakery.sources import posts
from bakery.stages import scrape
from tests.fuzz.outcome import Outcome

LONG, SHORT = 200, 9
SOUND = (1, 2, 3, 4, 6)
FAULTY = 5
QUICK = {"file_seconds": 3.0, "page_seconds": 3.5, "file_megabytes": 0.3, "listing_megabytes": 2,
         "longest_wait": 2, "redirects": 3, "minimum_share": 0}  # fmt: skip
OPTIONS = {"extractor": {"sleep-request": 0, "sleep-429": 0, "retries": 0, "timeout": 60}}
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**40, 1.5, float("nan"), float("inf"), "", " ", "\ud800", "a\ud834b", [], {},
    [1, [2, [3]]], {"a": {"b": None}}, "x" * 300_000, "ada " * 250_000, "../../evil", "/etc/passwd",
    "C:\\evil", "con", "aux.", "nul .jpg", "a\nb\r\nc", "\x00", "'; DROP TABLE posts; --", "{id}",
    "\fE __import__('os')", "text:hello", "file:///etc/passwd", "http://", "//", "ytdl:x", "data:,x",
    "http://[::1", "http://127.0.0.1:99999/x.jpg", "javascript:1", "2024-13-45T99:99:99", "mp4",
)  # fmt: skip
FIELDS = ("id", "md5", "created_at", "file_url", "file_ext", "tag_string", "tag_string_general",
          "tag_string_meta", "rating", "score", "source", "parent_id", "is_deleted", "image_width",
          "_http_method", "_http_headers", "_fallback", "extension", "filename", "bakery_stem",
          "_extractor", "category", "num")  # fmt: skip
WRITTEN = {"out", "store"}


def picture(number: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (number * 9 % 256, 90, 90)).save(made, "JPEG")
    return made.getvalue()


def sound(number: int) -> dict[str, Any]:
    checksum = hashlib.md5(picture(number), usedforsecurity=False).hexdigest()
    return {
        "id": number, "md5": checksum, "rating": "g", "score": 1, "fav_count": 1, "source": "",
        "created_at": "2024-01-01T00:00:00.000+00:00", "file_ext": "jpg", "image_width": 64,
        "image_height": 64, "parent_id": None, "is_deleted": False, "tag_string": "1girl ada",
        "tag_string_general": "1girl", "tag_string_character": "ada", "tag_string_copyright": "",
        "tag_string_artist": "", "tag_string_meta": "", "file_url": f"/data/{number}.jpg",
    }  # fmt: skip


class Server(ThreadingHTTPServer):
    """What it answers is set by each case."""

    daemon_threads = True
    listing: Callable[[Handler], None]
    faulty_file: Callable[[Handler], None]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends a connection early is meant to."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/data/"):
            name = path.rpartition("/")[2].partition(".")[0]
            if name == str(FAULTY) or not name.isdecimal():
                self.server.faulty_file(self)
            else:
                self.answer(picture(int(name)))
        else:
            self.server.listing(self)

    def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def served() -> Iterator[tuple[Server, str]]:
    server = Server(("127.0.0.1", 0), Handler)
    server.listing = listing_of([*map(sound, SOUND)])
    server.faulty_file = lambda handler: handler.answer(picture(FAULTY))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listing_of(listed: list[Any]) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(json.dumps(listed).encode())


# --- faults of a file -----------------------------------------------------------------------


def drip(handler: Handler) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\xff")
        handler.wfile.flush()
        time.sleep(0.2)


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        handler.wfile.write(f"X-{number}: y\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.2)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while True:
        handler.wfile.write(picture(FAULTY) * 20)


@functools.cache
def packed() -> bytes:
    return gzip.compress(b"\x00" * 20_000_000, compresslevel=1)


def bomb(handler: Handler) -> None:
    handler.answer(packed(), headers={"Content-Encoding": "gzip"})


def large(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**12))
    handler.end_headers()
    handler.wfile.write(b"\xff" * 1000)


def redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(b"", 302, {"Location": target})


def answering(body: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(body)


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(b"no", code, given)


def raw(data: bytes) -> Callable[[Handler], None]:
    def send(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return send


def in_a_year() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(days=365), usegmt=True)


FILES: tuple[Callable[[Handler], None], ...] = (
    drip, drip_headers, endless, bomb, large, redirect("/data/5.jpg"), redirect("file:///etc/passwd"),
    redirect("ftp://127.0.0.1/x"), redirect("http://127.0.0.1:9/x.jpg"), redirect(""),
    redirect("http://"), redirect("//" + "a" * 70 + ".invalid/x"), status(500), status(503),
    status(429, Retry_After="31536000"), status(503, Retry_After=in_a_year()),
    status(429, Retry_After="0"), status(429, Retry_After="soon"), status(429), status(403),
    status(404), status(451), status(206, Content_Range="bytes 5-1/x"), status(206), status(416),
    status(204), status(304), status(999),
    raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort"), raw(b"\x00" * 5000),
    raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"y" * 70_000 + b"\r\n\r\n"),
    raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n"),
    raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n"),
    raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"),
    raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), raw(b"HTTP/9.9 abc def\r\n\r\n"),
    lambda handler: handler.answer(b"<html>wait</html>", headers={"Content-Type": "text/html"}),
    lambda handler: handler.answer(b""), lambda handler: handler.answer(b"text, no picture"),
)  # fmt: skip


# --- faults of a listing --------------------------------------------------------------------


def repeating(handler: Handler) -> None:
    """Always a full page, always the same."""
    handler.answer(json.dumps([sound(number) for number in SOUND] * 40).encode())


def growing(handler: Handler) -> None:
    """Always a full page of others that have no file."""
    start = random.randrange(10**9)
    page = [sound(start + n) | {"file_url": None} for n in range(200)]
    handler.answer(json.dumps(page).encode())


LISTINGS: tuple[Callable[[Handler], None], ...] = (
    drip, drip_headers, endless, bomb, large, repeating, growing, redirect("/posts.json"),
    redirect("file:///etc/passwd"), status(429, Retry_After="31536000"), status(500), status(403),
    status(429, Retry_After=in_a_year()), status(200),
    raw(b""), raw(b"\x00" * 5000), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[{"),
    *(
        answering(body)
        for body in (
            b"<html>checking your browser</html>", b"", b"null", b"5", b'"posts"', b"{}", b"[", b"[[]]",
            b'{"posts": null}', b'{"success": false, "message": "no"}', b"[" * 100_000, b"\xff\xfe[]",
            b"[null, 5, \"x\", [], true]", b'{"posts": 7}', b"1" * 10_000, b'[{"id": 1}]',
            b'[{"": 1}]', b"[{}, {}]",
        )
    ),
)  # fmt: skip


def attack(seed: int, folder: Path) -> Outcome:
    drawn = random.Random(seed)
    with served() as (server, base):
        kind = seed % 3
        if kind == 0:  # a post
            bad = sound(FAULTY)
            for _ in range(drawn.choice((1, 1, 1, 3))):
                name = drawn.choice(FIELDS)
                if drawn.random() < 0.2:
                    bad.pop(name, None)
                else:
                    bad[name] = drawn.choice(ODD)
            other: Any = drawn.choice((bad, bad, bad, bad, sound(3) | {"md5": "0" * 32}, None, 7))
            page = [*map(sound, (1, 2, 3)), other, *map(sound, (4, 6))]
            server.listing = listing_of(page)
            return _outcome(folder, base, whole=True)
        if kind == 1:  # a file
            server.faulty_file = FILES[(seed // 3) % len(FILES)]
            server.listing = listing_of([sound(n) for n in range(1, 7)])
            return _outcome(folder, base, whole=True)
        server.listing = LISTINGS[(seed // 3) % len(LISTINGS)]
        return _outcome(folder, base, whole=False)


def _outcome(folder: Path, base: str, *, whole: bool) -> Outcome:
    settings = Scrape.model_validate(
        {"urls": [f"Danbooru:{base}/posts?tags=ada"], "limit": 30, "gallery_dl": OPTIONS} | QUICK
    )
    try:
        scrape.run(settings, booru=folder, out=folder / "out", store=folder / "store")
        rows = posts.read(folder / "out/posts.csv")
    except BakeryError as refusal:
        said = str(refusal)
        good = not whole and "\n" not in said and said.startswith("scrape") and len(said) < 1000
        return Outcome("refused" if good else "failed", said)
    if wrong := _wrong(folder, rows, whole=whole):
        return Outcome("failed", wrong)
    left = [row for row in rows if row.status != posts.FETCHED]
    return Outcome("recorded" if left else "taken", "; ".join(row.reason for row in left))


def _wrong(folder: Path, rows: list[posts.Post], *, whole: bool) -> str:
    """What must not be."""
    came = {row.image for row in rows if row.status == posts.FETCHED}
    ids = [row.id for row in rows if row.status == posts.FETCHED]
    if whole and not {str(number) for number in SOUND} <= set(ids):
        return f"of the sound posts came only {ids}: {[row.reason for row in rows]}"
    if whole and len(rows) != len(SOUND) + 1:
        return f"{len(rows)} rows: {[(row.id, row.reason) for row in rows]}"
    for row in rows:
        if row.status != posts.FETCHED and not row.reason:
            return f"no reason for {row.id}"
        if len(row.reason) > 500 or "\n" in row.reason or "Traceback" in row.reason:
            return f"no sentence: {row.reason}"
    if {path.name for path in folder.iterdir()} - WRITTEN:
        return f"written elsewhere: {sorted(path.name for path in folder.iterdir())}"
    if {path.name for path in (folder / "out/images").iterdir()} != came:
        return "images and rows differ"
    return ""
