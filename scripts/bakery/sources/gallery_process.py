"""gallery-dl as a program of its own, and the lines of JSON between it and this one.

The library imports no gallery-dl. What runs it (`scripts/gallery_driver`) has bounds of its own on
bytes, seconds and memory; what it says is read here without trust.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.io.errors import BakeryError

Message = dict[str, Any]
PROGRAM = Path(__file__).parents[3] / "scripts/gallery_driver"
PARTS = ("scripts/gallery_driver/__main__.py", "scripts/gallery_driver/bounds.py",
         "scripts/gallery_driver/fetching.py")  # fmt: skip
"""The files of the program; they count for the results as this module does."""
PAGE_BYTES = 64_000_000
"""Of one answer about posts; gallery-dl reads it into memory as a whole."""
REQUESTS_PER_POST, MORE_REQUESTS = 10, 200
"""A listing may ask the site so often for each post of its limit, and so often besides."""


@dataclass(frozen=True)
class Bounds:
    """What the net may cost: settings of the scrape."""

    file_megabytes: float = 200.0
    file_seconds: float = 600.0
    listing_megabytes: float = 1000.0
    page_seconds: float = 300.0
    redirects: int = 10
    longest_wait: float = 300.0

    def told(self, *, limit: int, secrets: frozenset[str]) -> Message:
        """As the program takes them, for a listing of `limit` posts."""
        return {
            "file_bytes": int(self.file_megabytes * 1e6),
            "file_seconds": self.file_seconds,
            "page_bytes": PAGE_BYTES,
            "page_seconds": self.page_seconds,
            "listing_bytes": int(self.listing_megabytes * 1e6),
            "requests": REQUESTS_PER_POST * limit + MORE_REQUESTS,
            "redirects": self.redirects,
            "longest_wait": self.longest_wait,
            "secrets": sorted(secrets),
        }


class GalleryProcess:
    """The running program, until it is closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(PROGRAM)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._last: deque[bytes] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._keep_errors, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def ask(self, request: Message, answer: Callable[[Message], Message] | None = None) -> Message:
        """The answer to `request`; `answer` is asked for each event until it comes.

        Raises `BakeryError` when the program ends instead.
        """
        self._send(request)
        while "event" in (message := self._receive()):
            assert answer is not None, message["event"]
            self._send(answer(message))
        return message

    def _send(self, message: Message) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # then `_receive` says why
            stream.write(json.dumps(message).encode() + b"\n")
            stream.flush()

    def _receive(self) -> Message:
        stream = self._process.stdout
        assert stream is not None
        line = stream.readline()
        if line:
            message = json.loads(line)
            assert isinstance(message, dict)
            return message
        status = self._process.wait()
        self._reader.join()
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        last = self._last[-1].decode("utf-8", "replace").strip() if self._last else ""
        raise Ended(
            f"scrape: the program that runs gallery-dl {how}{f' ({last})' if last else ''}; "
            "what was fetched is kept: run again to go on"
        )

    def _keep_errors(self) -> None:
        for line in self._process.stderr or ():
            if line.strip():
                self._last.append(line)


class Ended(BakeryError):
    """The program ended before its answer; what it said last may hold secrets."""
