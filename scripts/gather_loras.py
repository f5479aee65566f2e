"""Puts a bake's LoRAs where A1111 finds them, each with its sidecar and its preview.

python scripts/gather_loras.py results/train/<bake> --to <webui>/models/Lora --name mirael
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakery.interop import sidecar
from bakery.io.errors import BakeryError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bake", type=Path, help="a folder results/train/<bake>")
    parser.add_argument("--to", type=Path, required=True, help="where the files go")
    parser.add_argument("--name", help="the name for prompts; by default the folder's name")
    parser.add_argument("--epoch", type=int, help="only this epoch")
    given = parser.parse_args()
    try:
        bake = given.bake.absolute()
        name = given.name or bake.name
        made = sidecar.gather(bake, sidecar.sample_of(bake), given.to, name=name, epoch=given.epoch)
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    for lora in made:
        print(lora)
    return 0


if __name__ == "__main__":
    sys.exit(main())
