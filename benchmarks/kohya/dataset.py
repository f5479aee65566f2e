"""Does sd-scripts see a layout as it is meant: the same pictures, repeats and captions?

    python benchmarks/kohya/dataset.py --sd-scripts PATH results/layout/<key>

PATH is a checkout of https://github.com/kohya-ss/sd-scripts; its own dataset code reads the layout as
`train_network.py` would with the layout as train_data_dir and its `reg/` as reg_data_dir, and is held
against `layout.csv`. Run it in an environment in which sd-scripts can be imported; LoRA Bakery itself
is not needed there. Exits with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Seen = dict[str, tuple[int, str, bool]]
"""Picture, relative to the layout -> repeats, caption, whether it is a regularization picture."""


def ours(layout: Path) -> Seen:
    """What layout.csv says."""
    several: dict[str, list[str]] = {}
    for row in _rows(layout / "candidates.csv") if with_candidates(layout) else ():
        doubled = row["caption"].replace("{", "{{").replace("}", "}}")
        several.setdefault(row["file"], []).append(doubled)
    return {
        row["file"]: (
            int(row["repeats"]),
            "\n".join(several.get(row["file"], [row["caption"]])),
            row["kind"] == "reg",
        )
        for row in _rows(layout / "layout.csv")
        if row["kind"] != "holdout"  # sd-scripts ignores that folder
    }


def with_candidates(layout: Path) -> bool:
    """Whether caption files have a candidate a line, which sd-scripts reads with enable_wildcard."""
    return (layout / "candidates.csv").is_file()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def theirs(layout: Path, options: list[str]) -> tuple[Seen, Any]:
    """What sd-scripts reads, and its dataset."""
    config_util, train_util = (
        imported(f"library.{name}") for name in ("config_util", "train_util")
    )
    parser = argparse.ArgumentParser()
    train_util.add_dataset_arguments(parser, True, True, True)
    parser.add_argument("--train_batch_size", type=int, default=1)
    folders = ["--train_data_dir", str(layout)]
    if (layout / "reg").is_dir():
        folders += ["--reg_data_dir", str(layout / "reg")]
    # sd-scripts by itself looks for .caption
    folders += ["--caption_extension", caption_extension(layout)]
    folders += ["--enable_wildcard"] if with_candidates(layout) else []
    args = parser.parse_args([*folders, *options])
    args.masked_loss = args.debug_dataset = False
    train_util.prepare_dataset_args(args, True)
    by_folder = config_util.generate_dreambooth_subsets_config_by_subdirs
    subsets = by_folder(args.train_data_dir, args.reg_data_dir)
    generator = config_util.BlueprintGenerator(config_util.ConfigSanitizer(True, True, False, True))
    blueprint = generator.generate({"datasets": [{"subsets": subsets}]}, args)
    group, _ = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    (dataset,) = group.datasets
    # of a regularization picture the folder's repeats: the picture's own are raised until there are
    # as many as training pictures
    repeats = {str(s.image_dir): s.num_repeats for s in dataset.subsets}
    seen = {
        Path(info.absolute_path).relative_to(layout).as_posix(): (
            repeats[str(Path(info.absolute_path).parent)], info.caption, info.is_reg
        )
        for info in dataset.image_data.values()
    }  # fmt: skip
    return seen, dataset


def caption_extension(layout: Path) -> str:
    """The one that this layout uses."""
    picture = layout / next(iter(ours(layout)))
    return ".txt" if picture.with_suffix(".txt").is_file() else ".caption"


def imported(name: str) -> Any:
    """The module; names that newer libraries lack, and reading a dataset never uses, are filled in."""
    while True:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
            if missing is None:
                raise
            sys.stderr.write(f"not in this environment: {missing[2]}.{missing[1]}\n")
            setattr(importlib.import_module(missing[2]), missing[1], None)


def differences(one: Seen, other: Seen) -> Iterable[str]:
    """A sentence for each picture that the two do not see alike."""
    for file in sorted(one.keys() | other.keys()):
        if file not in other:
            yield f"{file} is in layout.csv, but sd-scripts does not read it"
        elif file not in one:
            yield f"sd-scripts reads {file}, which is not in layout.csv"
        elif one[file] != other[file]:
            yield f"{file}: layout.csv says {one[file]}, sd-scripts reads {other[file]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--sd-scripts", type=Path, required=True, help="checkout of kohya's scripts"
    )
    parser.add_argument("layout", type=Path, help="a folder with layout.csv in it")
    parser.add_argument(
        "options",
        nargs="*",
        help="after --: sd-scripts' own, such as --resolution 512 --enable_bucket",
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.sd_scripts.resolve()))
    layout = arguments.layout.resolve()
    options = arguments.options or ["--resolution=512"]
    expected, (seen, dataset) = ours(layout), theirs(layout, options)
    found = list(differences(expected, seen))
    for folder, count in sorted(Counter(str(Path(file).parent) for file in seen).items()):
        print(f"{folder}: {count} pictures")
    print(f"training pictures, repeats counted: {dataset.num_train_images}")
    print(f"regularization pictures, repeats counted: {dataset.num_reg_images}")
    print(f"batches an epoch with {' '.join(options)}: {len(dataset)}")
    print("\n".join(found) or f"all {len(seen)} pictures, repeats and captions are the same")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
