"""Does sd-scripts accept what we export, and does it see the same dataset?

    python benchmarks/kohya/config.py --sd-scripts PATH results/train/<bake> [--packages DIR]

Exports the bake, lets sd-scripts' own parser, config check and dataset code read the two files, and
compares what they found with what we train on: images, repeats, captions, buckets, steps. Then every
setting of ours at a value of its own, with each scheduler: which optimizer sd-scripts makes of it, and
its learning rate at each step beside ours. Prints two tables; ends with 1 if anything differs or a key
is not one of sd-scripts' own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from bakery.dataset import buckets, repeat_folders
from bakery.interop import kohya_export, kohya_terms
from bakery.io import images, manifest
from bakery.settings.train import Train
from bakery.training import schedules


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
    items = repeat_folders.read_folders(bake.parent.parent / "layout" / layout).items
    return {
        str(item.image.absolute()): (
            item.repeats,
            item.caption,
            buckets.fit(images.size_of(item.image), sizes).bucket,
        )
        for item in items
    }


EVERYTHING: dict[str, Any] = {
    "base": "a.safetensors", "v_parameterization": True, "zero_terminal_snr": True,
    "network_dim": 8, "network_alpha": 4, "conv_dim": 4, "conv_alpha": 2, "network_dropout": 0.1,
    "scale_weight_norms": 1, "network_train_unet_only": True, "learning_rate": 1e-4,
    "unet_lr": 2e-4, "text_encoder_lr": 3e-5, "train_batch_size": 3, "max_steps": 1950,
    "gradient_accumulation_steps": 2, "gradient_checkpointing": True, "save_every_n_epochs": 2,
    "prior_loss_weight": 0.5, "clip_skip": 2, "max_token_length": 150, "min_snr_gamma": 5,
    "noise_offset": 0.05, "max_grad_norm": 0.5, "mixed_precision": "bf16", "save_precision": "bf16",
    "seed": 7, "max_data_loader_n_workers": 2, "persistent_data_loader_workers": True,
    "log_with": "tensorboard", "lr_warmup_ratio": 0.1, "lr_scheduler_num_cycles": 3,
    "lr_scheduler_power": 1.5, "torch_compile": True, "dynamo_backend": "aot_eager",
}  # fmt: skip
CASES: list[dict[str, Any]] = [
    *({"lr_scheduler": name} for name in ("linear", "cosine", "cosine_with_restarts",
                                          "constant_with_warmup")),
    {"lr_scheduler": "constant", "lr_warmup_ratio": 0.0},
    # sd-scripts scales polynomial's end of 1e-7 by unet_lr / learning_rate
    {"lr_scheduler": "polynomial", "learning_rate": 2e-4},
    {"optimizer_type": "AdamW", "optimizer_args": {"weight_decay": 0.1, "betas": [0.9, 0.99]}},
    {"optimizer_type": "Adafactor", "optimizer_args": {"relative_step": False}},
    {"optimizer_type": "Lion", "optimizer_args": {"weight_decay": 0.01}},
    {"optimizer_type": "Prodigy", "unet_lr": None, "text_encoder_lr": None,
     "optimizer_args": {"decouple": True}},
]  # fmt: skip


def settings(run: Callable[[str, Path], None], folder: Path) -> list[tuple[str, str, float, int]]:
    """Rows (our optimizer and scheduler, sd-scripts' optimizer, largest difference of rates, keys)."""
    folder.mkdir()
    bakes = [Train(**EVERYTHING | case) for case in CASES]
    for number, bake in enumerate(bakes):
        arguments, _ = kohya_terms.to_kohya(bake)
        (folder / f"{number}.toml").write_text(tomlkit.dumps(arguments), encoding="utf-8")
    run("settings", folder)
    rows = []
    for bake, told in zip(bakes, json.loads((folder / "kohya.json").read_text()), strict=True):
        full = bake.rates["unet_lr"]
        counts = schedules.step_counts(bake, batches_per_epoch=650)
        own = [counts.rate(bake, full, step) for step in range(counts.total)]
        apart = max(abs(a - b) for a, b in zip(own, told["rates"], strict=True)) / full
        said = f"{bake.optimizer_type}, {bake.lr_scheduler}"
        rows.append((said, told["optimizer"], apart, len(told["strange"])))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bake", type=Path, help="a folder results/train/<bake>")
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="interpreter for sd-scripts")
    parser.add_argument("--packages", type=Path, action="append", default=[])
    given = parser.parse_args()
    path = os.pathsep.join(str(p.absolute()) for p in (*given.packages, given.sd_scripts))
    bake = given.bake.absolute()

    def run(what: str, folder: Path) -> None:
        side = Path(__file__).with_name("side.py").absolute()
        subprocess.run([given.python, side, what, folder], check=True, cwd=given.sd_scripts,
                       env={**os.environ, "PYTHONPATH": path})  # fmt: skip

    with tempfile.TemporaryDirectory() as scratch:
        config, _ = kohya_export.write(kohya_export.export(bake), Path(scratch))
        shutil.move(config, config.with_name("config.toml"))
        run("dataset", Path(scratch))
        tried = settings(run, Path(scratch) / "settings")
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
    print("\n| ours | sd-scripts' optimizer | largest difference of rates | strange keys |")
    print("| --- | --- | --- | --- |")
    for said, optimizer, apart, strange in tried:
        print(f"| {said} | {optimizer} | {apart:.1e} of the full rate | {strange} |")
    wrong = any(here != there for _, here, there in rows)
    return int(wrong or any(apart > 1e-9 or strange for _, _, apart, strange in tried))


if __name__ == "__main__":
    sys.exit(main())
