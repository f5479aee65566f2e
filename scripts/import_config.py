"""Turns another trainer's config into one of ours.

    python scripts/import_config.py settings.json --to my.yaml
    python scripts/import_config.py config.toml dataset.toml --to my.yaml

Read are the JSON of the guide's script, of kohya_ss' GUI and of OneTrainer, ai-toolkit's YAML,
LoRA_Easy_Training_Scripts' TOML, and sd-scripts' config and dataset TOML; the format is recognised from
the file's contents. A folder of JSONs becomes a sweep. Without --to the config goes to the terminal.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakery.io import active_environment  # noqa: F401

# isort: split
from bakery.interop import kohya_import
from bakery.io.errors import BakeryError
from bakery.io.files import write_text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "file", type=Path, nargs="+", help="files that belong together, or a folder of runs"
    )
    parser.add_argument("--to", type=Path, help="the config to write; must not exist")
    parser.add_argument(
        "--captions", action="store_true",
        help="keep the captions beside the pictures: copy them to config/edits/<name>/captions",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        if given.to and given.to.exists():
            raise BakeryError(f"{given.to} exists already: remove it or give another name")
        text, draft = kohya_import.convert(given.file)
        if given.captions and draft.captions:
            name = draft.sections["scrape"]["name"]
            count = kohya_import.keep_captions(draft, Path("config/edits", name, "captions"))
            print(f"copied {count} captions to config/edits/{name}/captions", file=sys.stderr)
    except BakeryError as error:
        print(error, file=sys.stderr)
        return 1
    for note in draft.notes:
        print(f"note: {note}", file=sys.stderr)
    for setting in draft.left_out:
        print(f"left out: {kohya_import.one_line(setting)}", file=sys.stderr)
    if given.to:
        write_text(given.to, text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
