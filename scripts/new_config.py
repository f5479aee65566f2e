"""Writes a config for your own character, from a folder of pictures or a booru's address.

    python scripts/new_config.py suzu --from pictures/suzu --base models/your.safetensors

`make new NAME=suzu FROM=pictures/suzu BASE=models/your.safetensors` does the same. What the pictures and
the base show is filled in: family, sizes, repeats, trigger, captions. No file is ever replaced.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from bakery.io import active_environment  # noqa: F401

# isort: split
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.starting import new_config
from bakery.starting.new_config import Request

HOME = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of the character: names the config, the dataset and the LoRA")
    parser.add_argument("--from", dest="source", required=True, metavar="FOLDER_OR_ADDRESS",
                        help="a folder of pictures, or a search of a booru")  # fmt: skip
    parser.add_argument("--base", default="", metavar="CHECKPOINT",
                        help="the model to train on; by default the only one in models/")  # fmt: skip
    parser.add_argument("--make", action="store_true", help="name make's commands as the next ones")
    given = parser.parse_args()
    here = Path.cwd()
    try:
        made = new_config.make(Request(given.name, given.source, given.base), (here, HOME))
        made.path.parent.mkdir(exist_ok=True)
        write_text(made.path, made.text)
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    config = made.path.relative_to(here)
    print(f"wrote {config}")
    for note in made.notes:
        print(f"note: {note}")
    print(f"\nNext: look into {config}, see what it would do (in seconds), and bake.\n")
    for command in _next(config, here, by_make=given.make):
        print(f"  {command}")
    print()
    return 0


def _next(config: Path, here: Path, *, by_make: bool) -> tuple[str, str]:
    """The commands that plan and bake, in the way in which this one was called."""
    if by_make:
        return f"make plan CONFIG={config}", f"make CONFIG={config}"
    snakemake = f"{_snakemake(here)} --cores all"
    return f"{snakemake} plan --configfile {config}", f"{snakemake} --configfile {config}"


def _snakemake(here: Path) -> str:
    """How this environment's snakemake is called from a shell."""
    beside = Path(sys.executable).with_name("snakemake")
    if not beside.exists() or shutil.which("snakemake") == str(beside):
        return "snakemake"
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


if __name__ == "__main__":
    sys.exit(main())
