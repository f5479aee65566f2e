"""Reads the config that Snakemake is about to read: a mistake in it ends the run with one sentence.

The profile runs this inside of `snakemake` (`profiles/default/config.yaml`), as Snakemake's own reader
names neither file nor line.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bakery.io.errors import BakeryError
from bakery.settings import config_file


def main() -> None:
    try:
        config_file.check_arguments(sys.argv[1:])
    except BakeryError as error:
        sys.exit(f"config: {error}")


if __name__ == "__main__":
    main()
