"""Writes a bake's config and dataset TOML for kohya's sd-scripts.

python scripts/export_config.py results/train/<bake> --to for-sd-scripts
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakery.io import active_environment  # noqa: F401

# isort: split
from bakery.interop import kohya_export
from bakery.io.errors import BakeryError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bake", type=Path, help="a folder results/train/<bake>")
    parser.add_argument("--to", type=Path, default=Path(), help="where the two files go")
    given = parser.parse_args()
    try:
        made = kohya_export.export(given.bake.absolute())
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    for sentence in made.lost:
        print(f"note: {sentence}", file=sys.stderr)
    for path in kohya_export.write(made, given.to):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
