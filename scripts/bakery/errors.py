"""What goes wrong because of an input, as one sentence that a person can act on."""


class BakeryError(Exception):
    """Bad input. The message names the file or key, says what is wrong and what to do."""
