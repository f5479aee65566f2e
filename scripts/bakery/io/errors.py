"""Errors caused by an input, as one sentence that a person can act on."""


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
