"""Does sd-scripts accept what we export, and does it see the same dataset?

    python benchmarks/kohya_config.py --sd-scripts PATH results/train/<bake> [--packages DIR]

Exports the bake, lets sd-scripts' own parser, config check and dataset code read the two files, and
compares what they found with what we train on: images, repeats, captions, buckets, steps. Prints a
table; ends with 1 if anything differs or a key is not one of sd-scripts' own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bakery import buckets, dataset, images, kohya_export, manifest
from bakery.config import Train


def ours(bake: Path) -> dict[str, tuple[int, str, tuple[int, int]]]:
    """Image -> (repeats, caption, bucket), as we read the layout of the bake."""
    about = manifest.read(bake)
    settings = Train.model_validate(about["settings"])
    layout = next(name for name, stage in about["above"].items() if stage == "layout")
    sizes = [(settings.resolution, settings.resolution)]
    if settings.enable_bucket:
        sizes = buckets.resolutions(
            settings.resolution,
            settings.min_bucket_reso,
            settings.max_bucket_reso,
            settings.bucket_reso_steps,
        )
    items = dataset.read(bake.parent.parent / "layout" / layout).items
    return {
        str(item.image.absolute()): (
            item.repeats,
            item.caption,
            buckets.fit(images.size_of(item.image), sizes).bucket,
        )
        for item in items
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bake", type=Path, help="a folder results/train/<bake>")
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="interpreter for sd-scripts")
    parser.add_argument("--packages", type=Path, action="append", default=[])
    given = parser.parse_args()
    path = os.pathsep.join(str(p.absolute()) for p in (*given.packages, given.sd_scripts))
    bake = given.bake.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        config, _ = kohya_export.write(kohya_export.export(bake), Path(scratch))
        shutil.move(config, config.with_name("config.toml"))
        side = Path(__file__).with_name("kohya_side.py").absolute()
        subprocess.run([given.python, side, "dataset", scratch], check=True, cwd=given.sd_scripts,
                       env={**os.environ, "PYTHONPATH": path})  # fmt: skip
        told = json.loads((Path(scratch) / "kohya.json").read_text("utf-8"))
    theirs = {
        row["image"]: (row["repeats"], row["caption"], tuple(row["bucket"]))
        for row in told["pictures"]
        if not row["is_reg"]
    }
    own = ours(bake)
    steps = manifest.read(bake)["summary"]["steps_per_epoch"]
    rows = [
        ("keys that are not sd-scripts' own", 0, len(told["strange"])),
        ("images", len(own), len(theirs)),
        ("of them under the same path", len(own), len(own.keys() & theirs.keys())),
    ]
    for place, what in enumerate(("repeats", "caption", "bucket")):
        same = sum(own[p][place] == theirs[p][place] for p in own.keys() & theirs.keys())
        rows.append((f"of them with the same {what}", len(own), same))
    rows.append(("steps an epoch", steps, told["batches"]))
    print("| what | ours | sd-scripts |\n| --- | --- | --- |")
    for what, here, there in rows:
        print(f"| {what} | {here} | {there} |")
    for key in told["strange"]:
        print(f"not a key of sd-scripts: {key}")
    return int(any(here != there for _, here, there in rows))


if __name__ == "__main__":
    sys.exit(main())
