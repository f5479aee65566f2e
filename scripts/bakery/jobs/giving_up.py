"""Library calls that may take for ever and that nothing stops: given up, and the job still ends well."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class GivenUp(Exception):
    """A call has not come to its end in time. It goes on in its thread until the process ends."""


class _Call(threading.Thread, Generic[Answer]):
    """One call; as a daemon, so that Python does not wait for it at its end."""

    def __init__(self, call: Callable[[], Answer]) -> None:
        super().__init__(name="may-take-for-ever", daemon=True)
        self._call = call
        self.answer: list[Answer] = []
        self.problem: Exception | None = None

    def run(self) -> None:
        try:
            self.answer.append(self._call())
        except Exception as problem:  # raised where the call was asked for
            self.problem = problem


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns, or raises. Raises `GivenUp` if it is not done after `seconds`.

    Ctrl-C and SIGTERM interrupt the waiting, though the call is deep in a library.
    """
    thread = _Call(call)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise GivenUp
    if thread.problem is not None:
        raise thread.problem
    return thread.answer[0]


def end_with(status: int) -> None:
    """This process will end with the exit `status`, even if a call that was given up still runs.

    Python's own end would destroy what the call works on: C++ then aborts the process, after all was
    said and done.
    """
    if any(isinstance(thread, _Call) for thread in threading.enumerate()):
        atexit.register(_leave, status)


def _leave(status: int) -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads it
            stream.flush()
    os._exit(status)
