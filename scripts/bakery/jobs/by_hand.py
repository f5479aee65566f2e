"""Imported first by what doors import: whoever runs a door by hand gets a sentence, no traceback."""

import sys
from pathlib import Path

_DOORS = Path(__file__).parents[2]
"""The folder `scripts`."""
_COMMANDS = ("plan", "gather", "clean")
"""Doors that a command names."""


def sentence(main: object) -> str:
    """What to say if the program `main` (the module `__main__`) is a door without a job; "" if not.

    A job's script is a copy of the door, in which Snakemake has put `snakemake`.
    """
    file = Path(getattr(main, "__file__", None) or "")
    if file.suffix != ".py" or file.resolve().parent != _DOORS or hasattr(main, "snakemake"):
        return ""
    target = f" {file.stem}" if file.stem in _COMMANDS else ""
    return (
        f"scripts/{file.name} is not run by hand: Snakemake calls it, as a part of "
        f"`snakemake --cores all{target} --configfile my.yaml` (or `make`)"
    )


if said := sentence(sys.modules.get("__main__")):
    sys.exit(said)
