# SPDX-License-Identifier: GPL-2.0-only
"""Runs gallery-dl for LoRA Bakery, as a program of its own.

It imports gallery-dl, whose licence is GPL-2.0-only, and is under that licence itself (see LICENSE
beside it). LoRA Bakery imports neither: it starts this program and exchanges lines of JSON with it
(`bakery.sources.gallery_process`). Each request of the other side is one line:

- `{"do": "configuration"}`: what gallery-dl's own configuration files hold
- `{"do": "set", "options": {...}, "bounds": {...}}`: what holds from now on; nothing else does
- `{"do": "check", "url": ..., "embedded": ...}`: whether there is a reader for an address, what
  it calls the site, and whether that is a booru
- `{"do": "fetch", "url": ..., "embedded": ..., "bounds": {...}}`: list and fetch it; while that goes on,
  each `{"event": ...}` wants one line as an answer (`fetching`)
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from bounds import Bounds, hold, limit_process
from fetching import Job, Link, Log, reader_of
from gallery_dl import config, exception


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    limit_process()
    _end_with(os.getppid())
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    link = Link(sys.stdin.buffer, outgoing)
    logging.basicConfig(handlers=[_ToLink(link)], level=logging.WARNING)
    while request := link.receive():
        link.send(_answer(link, request))


def _answer(link: Link, request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "configuration":
            own: dict[str, Any] = {}
            config.load(conf=own)
            return {"own": own}
        case "set":
            config.clear()
            for name, value in request["options"].items():
                config.set((), name, value)
            config.set(("output",), "mode", "null")
            hold(Bounds(**request["bounds"]))
            return {}
        case "check":
            reader = reader_of(request["url"], embedded=request["embedded"])
            if reader is None:
                return {"known": False}
            return {"known": True, "site": reader.category, "booru": bool(reader.basecategory)}
        case "fetch":
            return _fetch(link, request)
    raise ValueError(f"no request: {request}")


def _fetch(link: Link, request: dict[str, Any]) -> dict[str, Any]:
    reader = reader_of(request["url"], embedded=request["embedded"])
    if reader is None:
        return {"problem": "gallery-dl has no reader for it", "refused": False}
    bounds = Bounds(**request["bounds"], home=reader.root or reader.url)
    hold(bounds)
    work = Job(reader, link=link, bounds=bounds)
    status = work.run()
    refused = bool(status & exception.AuthorizationError.code)
    return {"problem": work.problem, "refused": refused}


class _ToLink(logging.Handler):
    """Complaints that go past a job's own logger."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._log = Log(link)

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning(record.getMessage())


def _end_with(parent: int) -> None:
    """A process whose parent was killed must not write into the store any longer."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
