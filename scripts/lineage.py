"""Tells from a LoRA file alone what it was made from: posts, decisions, tags, settings and code.

    python scripts/lineage.py results/best/mirael/unet_lr/mirael-lr0.002-e03.safetensors
    python scripts/lineage.py ~/webui/models/Lora/renamed.safetensors --results ~/bakery/results

The file may have been renamed, copied or published: it is found by its hash. Where the results are gone,
its own metadata are told.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakery.io import active_environment  # noqa: F401

# isort: split
from bakery.io.errors import BakeryError
from bakery.report import origin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a LoRA file (.safetensors)")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where its bake is looked for"
    )
    given = parser.parse_args()
    try:
        found = origin.find(given.file, given.results)
        for line in origin.lines(found):
            print(line)
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if found.doubts else 0


if __name__ == "__main__":
    sys.exit(main())
