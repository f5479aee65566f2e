"""A process that does not outlive the one that started it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

log = logging.getLogger(__name__)


def end_with_parent(said: str) -> None:
    """From now on SIGTERM interrupts this process like Ctrl-C, and so, with a warning, does the end of
    the process that started it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        log.warning(said)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
