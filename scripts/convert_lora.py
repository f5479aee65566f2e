"""Writes a LoRA file in the other form: kohya's names, or paths with dots as diffusers reads them.

    python scripts/convert_lora.py suzu.safetensors --to suzu-dotted.safetensors
    python scripts/convert_lora.py theirs.safetensors --to ours.safetensors --format kohya

Without --format it is the form that the file does not have. Metadata go along, hashes are computed anew.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="a LoRA file (.safetensors)")
    parser.add_argument("--to", type=Path, required=True, help="the file to write; must not exist")
    parser.add_argument(
        "--format", choices=(file_forms.KOHYA, file_forms.DOTTED), help="as train.save_format"
    )
    given = parser.parse_args()
    try:
        if given.to.exists():
            raise BakeryError(f"{given.to} exists already: remove it or give another name")
        found = file_forms.convert(given.file, given.to, given.format)
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {given.to} in the form {found.form}: {found.layers} layers, {found.model_hash}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
