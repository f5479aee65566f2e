"""What goes wrong because of an input, as one sentence that a person can act on."""


class BakeryError(Exception):
    """Bad input. The message names the file or key, says what is wrong and what to do."""


class OutOfMemory(BakeryError):
    """The machine is too small for what was asked of it at once."""

    def __init__(self, sentence: str, fitting: int | None = None) -> None:
        """`fitting` is how many would fit at once, where that is known."""
        super().__init__(sentence)
        self.fitting = fitting


def first_line(error: Exception) -> str:
    """What another library says was wrong, short enough for a sentence of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .:") if lines else type(error).__name__
