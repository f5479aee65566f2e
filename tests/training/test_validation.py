"""The loss on held-out pictures: the same question each time, and nothing of the training is changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from small_bakes import SMALL, progress
from tiny_base import TINY

from bakery.io import manifest, tables
from bakery.jobs import rungs
from bakery.settings.train import Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer
from bakery.training.validation import TIMES

HARD = {
    "optimizer_type": "AdamWScheduleFree", "network_dropout": 0.3, "shuffle_caption": True,
    "noise_offset": 0.1, "min_snr_gamma": 5, "save_every_n_epochs": 2,
}  # fmt: skip
"""What the training's own random numbers and weights depend on most."""


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> None:
    folder.mkdir(parents=True)
    for i, size in enumerate(sizes):
        image = Image.new("RGB", size, (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 60 * i, 200))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"mirael, smile, red, blue, t{i}")


@pytest.fixture(scope="module")
def layouts(tmp_path_factory) -> dict[bool, Path]:
    """A layout without held-out pictures, and the same with three of them in two buckets."""
    root = tmp_path_factory.mktemp("layouts")
    pictures(root / "without" / "1_mirael", [(32, 32), (64, 60), (40, 40)])
    shutil.copytree(root / "without", root / "with")
    pictures(root / "with" / "holdout" / "1_mirael", [(48, 48), (64, 60), (44, 44)])
    return {False: root / "without", True: root / "with"}


@pytest.fixture(scope="module")
def sd1(tmp_path_factory) -> str:
    return str(TINY["sd1"](tmp_path_factory.mktemp("sd1")))


def specs(base: str, out: Path, *changes: dict, until: int | None = None) -> list[TrainSpec]:
    made = [Train(**{"base": base, **SMALL, **change}) for change in changes]
    return [TrainSpec(one, out / str(i), "m", {}, until) for i, one in enumerate(made)]


def measured(out: Path) -> dict[int, list[float]]:
    """Epoch -> the loss at each of `TIMES`."""
    found: dict[int, list[float]] = {}
    for row in tables.records(tables.read(out / manifest.VALIDATION, manifest.VALIDATED)):
        found.setdefault(int(row["epoch"]), []).append(float(row["loss"]))
    assert {len(losses) for losses in found.values()} == {len(TIMES)}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TINY))
def test_loras_are_the_same_bytes_with_and_without_held_out_pictures(
    name, layouts, tmp_path, tmp_path_factory
):
    base = str(TINY[name](tmp_path_factory.mktemp(name)))
    hard = HARD
    if name == "anima":  # which refuses what does nothing there
        refused = ("min_snr_gamma", "noise_offset")
        hard = {"text_encoder_lr": 0, "timestep_sampling": "shift", "discrete_flow_shift": 3}
        hard |= {setting: value for setting, value in HARD.items() if setting not in refused}
    files = {}
    for held, layout in layouts.items():
        (spec,) = specs(base, tmp_path / str(held), hard)
        made = Trainer(layout).fit_one(spec)
        assert made.get("held_out") == (3 if held else None)
        files[held] = {path.name: path.read_bytes() for path in spec.out.glob("*.safetensors")}
        assert (spec.out / manifest.VALIDATION).exists() == held
        losses = [line.get("validation_loss") for line in progress(spec.out)]
        assert losses[:1] == [None]
        if held:
            found = measured(spec.out)
            assert sorted(found) == [0, 1, 2]
            assert len({tuple(one) for one in found.values()}) == 3, "it follows the weights"
            ends = [loss for loss in losses if loss is not None]
            means = [sum(found[epoch]) / len(TIMES) for epoch in (1, 2)]
            assert ends == pytest.approx(means, abs=1e-6)
    assert files[True]
    assert files[True] == files[False]


@pytest.mark.slow
def test_bakes_side_by_side_are_asked_the_same_as_alone(sd1, layouts, tmp_path):
    changes = {"unet_lr": 1e-3}, {"unet_lr": 3e-3, "seed": 7, "train_batch_size": 3}
    together = specs(sd1, tmp_path / "together", *changes)
    Trainer(layouts[True]).fit(together)
    first, second = (measured(spec.out) for spec in together)
    # before the first step both are the base; the batches differ, and so at most the last bits
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    assert first[2] != pytest.approx(second[2], rel=1e-5)
    (alone,) = specs(sd1, tmp_path / "alone", changes[1])
    Trainer(layouts[True]).fit_one(alone)
    own = measured(alone.out)
    assert second[0] == own[0], "equal weights give the same bytes"
    for epoch in (1, 2):  # weights equal up to rounding
        assert second[epoch] == pytest.approx(own[epoch], rel=1e-4)


@pytest.mark.slow
def test_a_bake_that_pauses_has_the_same_record_and_another_seed_asks_otherwise(
    sd1, layouts, tmp_path
):
    changes = {"num_epochs": 3, "validate_every_n_epochs": 2, "text_encoder_lr": 0}
    (whole,) = specs(sd1, tmp_path / "whole", changes)
    Trainer(layouts[True]).fit_one(whole)
    assert sorted(measured(whole.out)) == [0, 2, 3], "every second, and the last"
    for until in (1, None):
        (paused,) = specs(sd1, tmp_path / "paused", changes, until=until)
        Trainer(layouts[True]).fit_one(paused)
    record = (whole.out / manifest.VALIDATION).read_bytes()
    assert (paused.out / manifest.VALIDATION).read_bytes() == record
    (other,) = specs(sd1, tmp_path / "other", {**changes, "validation_seed": 5}, until=1)
    Trainer(layouts[True]).fit_one(other)
    assert measured(other.out)[0] != pytest.approx(measured(whole.out)[0], rel=1e-4)


def test_a_rung_gets_the_losses_of_its_epochs(tmp_path):
    baked, out = tmp_path / "bake", tmp_path / "rung"
    baked.mkdir()
    rows = [{"epoch": e, "step": 3 * e, "t": t, "loss": 0.5} for e in range(4) for t in TIMES]
    tables.write(baked / manifest.VALIDATION, rows, manifest.VALIDATED)
    lines = [json.dumps({"epoch": epoch}) + "\n" for epoch in (1, 2, 3)]
    (baked / manifest.PROGRESS).write_text("".join(lines))
    rungs.TrainTask(out, baked, until=2)._take([])
    assert sorted(measured(out)) == [0, 1, 2]
