"""What can be asked of a LoRA file alone, whatever its name and wherever it lies.

    python scripts/lora.py lineage results/best/mirael/unet_lr/mirael-lr0.002-e03.safetensors
    python scripts/lora.py lineage ~/webui/models/Lora/renamed.safetensors --results ~/bakery/results
    python scripts/lora.py convert suzu.safetensors --to suzu-dotted.safetensors
    python scripts/lora.py convert theirs.safetensors --to ours.safetensors --format kohya

`lineage` tells what it was made from: posts, decisions, tags, settings and code. It is found by its
hash; where the results are gone, its own metadata are told. `convert` writes it in the other form:
kohya's names, or paths with dots as diffusers reads them. Metadata go along, hashes are computed anew.
Only LoRAs of flow models (Anima) have a second form: those for Stable Diffusion are read by kohya's
names everywhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakery.io import active_environment  # noqa: F401

# isort: split
from bakery.io.errors import BakeryError
from bakery.lora import file_forms
from bakery.report import origin


def lineage(given: argparse.Namespace) -> int:
    found = origin.find(given.file, given.results)
    for line in origin.lines(found):
        print(line)
    return 1 if found.doubts else 0


def convert(given: argparse.Namespace) -> int:
    if given.to.exists():
        raise BakeryError(f"{given.to} exists already: remove it or give another name")
    found = file_forms.convert(given.file, given.to, given.format)
    print(f"wrote {given.to} in the form {found.form}: {found.layers} layers, {found.model_hash}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words = parser.add_subparsers(required=True, metavar="lineage|convert")
    asked = words.add_parser("lineage", help="tell what it was made from")
    asked.add_argument("file", type=Path, help="a LoRA file (.safetensors)")
    asked.add_argument(
        "--results", type=Path, default=Path("results"), help="where its bake is looked for"
    )
    asked.set_defaults(run=lineage)
    other = words.add_parser("convert", help="write it in the other form")
    other.add_argument("file", type=Path, help="a LoRA file (.safetensors)")
    other.add_argument("--to", type=Path, required=True, help="the file to write; must not exist")
    other.add_argument(
        "--format",
        choices=(file_forms.KOHYA, file_forms.DOTTED),
        help="as train.save_format; without it, the form that the file does not have",
    )
    other.set_defaults(run=convert)
    given = parser.parse_args()
    try:
        return int(given.run(given))
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
