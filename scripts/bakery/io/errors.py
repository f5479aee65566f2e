"""Errors caused by an input, as one sentence that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BakeryError(Exception):
    """Bad input. The message names the file or key, says what is wrong and what to do."""


class OutOfMemory(BakeryError):
    """The machine has too little memory to do this at once."""

    def __init__(self, sentence: str, fitting: int | None = None) -> None:
        """`fitting` is how many would fit at once, if known."""
        super().__init__(sentence)
        self.fitting = fitting


def first_line(error: Exception) -> str:
    """Another library's error message, shortened to fit into one of our sentences."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .:") if lines else type(error).__name__


@contextmanager
def reworded(sentence: Callable[[str], str]) -> Iterator[None]:
    """Turns whatever another library raises into a `BakeryError` with our `sentence` about it, which is
    given the first line of its message; a `BakeryError` stays as it is."""
    try:
        yield
    except BakeryError:
        raise
    except Exception as error:
        raise BakeryError(sentence(first_line(error))) from None
