"""What becomes of the configs in a folder: how many of them can be baked, and how faithfully?

    python benchmarks/kohya_presets.py PATH/kohya_ss/presets/lora

Imports every .json, .toml and .yaml below the folder, each on its own, reads the YAML back as a bake
does, and builds the graph that the dry bake stands on, with the embedded base and pictures for those
that are not here. Prints a line for each file with the optimizer and schedule that it asks for and gets,
then counts. Ends with 1 if a file ends in a traceback, or in a YAML that the graph refuses.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bakery.graph import build
from bakery.interop import kohya_import
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.train import Train

ROOT = Path(__file__).parents[1]
KINDS = (".json", ".toml", ".yaml", ".yml")
ASKED = re.compile(r"[\"']?(?:optimizer|optimizer_type)[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9_.]+)")


def outcome(path: Path) -> tuple[str, str]:
    """(what became of the file, what it got or the sentence it was refused with)."""
    try:
        text, draft = kohya_import.convert([path])
    except BakeryError as sentence:
        return "refused", str(sentence)
    except Exception as problem:  # what is counted here is what must not happen
        return "traceback", f"{type(problem).__name__}: {problem}"
    try:
        raw = yaml.safe_load(text)
        train = cfg.load(raw).train
        build.build(cfg.load(_with_stand_ins(raw)), [ROOT])
    except (BakeryError, yaml.YAMLError) as sentence:
        return "not plannable", str(sentence)
    length = f"{train.max_steps} steps" if train.max_steps else f"{train.num_epochs} epochs"
    return "fine", f"{_got(train)}, {length}, {len(draft.left_out)} left out"


def _with_stand_ins(raw: dict) -> dict:
    """The config with the embedded base and pictures instead of what another machine has."""
    train = {k: v for k, v in raw.get("train", {}).items() if k not in ("base", "reg_data_dir")}
    layout = {k: v for k, v in raw.get("layout", {}).items() if k not in ("reg", "concepts")}
    kept = {k: v for k, v in raw.items() if k not in ("scrape", "tag")}
    return kept | {"train": train, "layout": layout}


def _got(train: Train) -> str:
    return f"{train.optimizer_type} {train.lr_scheduler}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS)
    counts: Counter[str] = Counter()
    kept = 0
    for path in files:
        became, how = outcome(path)
        asked = ASKED.search(path.read_text(encoding="utf-8", errors="replace"))
        counts[became] += 1
        kept += bool(asked and asked[1].lower() == how.partition(" ")[0].lower())
        print(f"{became:14} {path.relative_to(folder)}: {asked[1] if asked else '-'} -> {how}")
    print(f"{len(files)} files: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    print(f"{kept} have the optimizer that they name")
    return 1 if counts["traceback"] or counts["not plannable"] else 0


if __name__ == "__main__":
    sys.exit(main())
