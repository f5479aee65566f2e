"""A bake that is killed, whenever that is, ends in the same bytes as one that was not."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from tiny_base import tiny_sd1

from bakery.io import manifest
from bakery.jobs import rungs
from bakery.settings.train import Train
from bakery.training import checkpoint, train_step
from bakery.training.progress import Progress
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

BAKE = {
    "resolution": 48, "min_bucket_reso": 32, "max_bucket_reso": 64, "bucket_reso_steps": 16,
    "network_dim": 2, "network_alpha": 1, "train_batch_size": 2, "num_epochs": 3,
    "gradient_accumulation_steps": 2, "flip_aug": True, "random_crop": True,
    "caption_dropout_rate": 0.2, "save_every_n_epochs": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A base, and six pictures in two buckets: 4 batches and 2 steps an epoch."""
    root = tmp_path_factory.mktemp("world")
    tiny_sd1(root / "base")
    folder = root / "layout" / "1_mirael"
    folder.mkdir(parents=True)
    for i, size in enumerate([(48, 48), (50, 48), (60, 56), (48, 64), (24, 60), (30, 64)]):
        image = Image.new("RGB", size, (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 40 * i, 200))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"mirael, smile, red, t{i}")
    return root


def bake(world: Path, out: Path, **changes) -> dict:
    settings = Train(base=str(world / "base"), **{**BAKE, **changes})
    spec = TrainSpec(settings, out, "mirael", {"bake": {"key": "1"}})
    return Trainer(world / "layout", cache=world / "cache").fit_one(spec)


def files(out: Path) -> dict[str, str]:
    """What a manifest stands for."""
    return json.loads(manifest.write(out, {}, {}).read_text())["files"]


@pytest.fixture(scope="module")
def whole(world) -> dict[str, dict[str, str]]:
    """The files of bakes that nobody disturbed, by their optimizer."""
    kinds = ("AdamW", "AdamWScheduleFree")
    for kind in kinds:
        bake(world, world / kind, optimizer_type=kind)
    return {kind: files(world / kind) for kind in kinds}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def bake_until(world: Path, out: Path, point: str, count: int, changes: dict) -> None:
    """In a process of its own: bake, and be killed at the `count`-th time of `point`."""
    torch.set_num_threads(1)
    seen = 0
    step, replace = Progress.write, os.replace

    def killing_write(*arguments):
        nonlocal seen
        step(*arguments)
        seen += point == "step"
        if seen == count and point == "step":
            die()

    def killing_replace(part, path):
        nonlocal seen
        mine = Path(path).parent == out
        seen += mine and point != "step"
        if mine and seen == count and point == "before":
            die()
        replace(part, path)
        if mine and seen == count and point == "after":
            die()

    Progress.write, os.replace = killing_write, killing_replace
    bake(world, out, **changes)


def killed(world: Path, out: Path, point: str, count: int, **changes) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=bake_until, args=(world, out, point, count, changes)
    )
    process.start()
    process.join(900)
    assert process.exitcode == -signal.SIGKILL


# Epoch 1 replaces its state; 2 and 3 each replace a LoRA, epochs.csv and the state.
POINTS = [("step", 1, 0), ("before", 1, 0), ("after", 1, 1), ("step", 3, 1), ("before", 2, 1),
          ("after", 2, 1), ("after", 3, 1), ("after", 4, 2), ("step", 5, 2), ("after", 6, 2),
          ("after", 7, 3)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("point", "count", "behind"), POINTS)
def test_killed_and_started_again(world, whole, tmp_path, caplog, point, count, behind):
    """`behind` epochs need not be baked again."""
    out = tmp_path / "out"
    killed(world, out, point, count)
    with caplog.at_level(logging.INFO):
        bake(world, out)
    assert files(out) == whole["AdamW"]
    assert (f"resuming after epoch {behind} (" in caplog.text) == (behind > 0)
    lines = (out / "progress.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_killed_twice_with_weights_to_train_and_others_to_save(world, whole, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        killed(world, out, "step", 3, optimizer_type="AdamWScheduleFree")
    bake(world, out, optimizer_type="AdamWScheduleFree")
    assert files(out) == whole["AdamWScheduleFree"]


def bake_in_step(world: Path, out: Path) -> None:
    """Bake; a step is on record when there is a line for it on stdin."""
    write = Progress.write

    def write_in_turn(*arguments):
        sys.stdin.readline()
        write(*arguments)

    Progress.write = write_in_turn
    bake(world, out)


@pytest.mark.slow
def test_killed_from_outside(world, whole, tmp_path):
    """A whole Python of its own, killed anywhere in its fifth step of six."""
    out = tmp_path / "out"
    program = (
        "import sys\nfrom pathlib import Path\nfrom test_checkpoint import bake_in_step\n"
        "bake_in_step(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", program, world, out],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write("\n" * 4)
    process.stdin.flush()
    progress = out / "progress.jsonl"
    while process.poll() is None and not (
        progress.exists() and progress.read_text().count("\n") == 4
    ):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(progress.read_text().splitlines()) == 4
    bake(world, out)
    assert files(out) == whole["AdamW"]


@pytest.mark.slow
def test_a_finished_bake_is_not_baked_again(world, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    facts = bake(world, out)
    assert files(out) == whole["AdamW"]  # the state is no file of the bake
    monkeypatch.setattr(train_step, "losses", None)
    assert bake(world, out) == facts
    rungs.forget(out)
    assert not (out / checkpoint.STATE).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / checkpoint.STATE).write_bytes(b"half"), "is damaged"),
        (lambda out: (out / "mirael-000002.safetensors").unlink(), "were changed"),
        (lambda out: (out / "mirael-000002.safetensors").write_bytes(b"x"), "were changed"),
    ],
)
def test_what_cannot_be_trusted_is_baked_again(world, whole, tmp_path, caplog, spoil, said):
    out = tmp_path / "out"
    killed(world, out, "step", 5)
    spoil(out)
    bake(world, out)
    assert said in caplog.text
    assert files(out) == whole["AdamW"]


@pytest.mark.slow
def test_a_state_of_other_settings_is_no_use(world, whole, tmp_path, caplog):
    out = tmp_path / "out"
    killed(world, out, "step", 5, seed=24)
    bake(world, out)
    assert (
        "was written with other settings, code, versions or threads: starting over" in caplog.text
    )
    assert files(out) == whole["AdamW"]


def test_identity_is_of_everything_given():
    one = checkpoint.identity(metadata={"a": "1", "b": "2"}, settings={})
    assert one == checkpoint.identity(settings={}, metadata={"b": "2", "a": "1"})
    assert one != checkpoint.identity(metadata={"a": "1", "b": "3"}, settings={})


def test_a_failure_is_of_one_bake(tmp_path):
    mine, yours = (checkpoint.Checkpoint(tmp_path, "mirael", owner) for owner in ("me", "you"))
    assert mine.failure() is None
    mine.fail("it burnt", epoch=2)
    assert mine.failure() == "it burnt"
    assert yours.failure() is None
    assert not (tmp_path / checkpoint.STOPPED).exists()
    (tmp_path / checkpoint.STOPPED).write_text("{")
    assert mine.failure() is None


def saved(folder: Path) -> checkpoint.Checkpoint:
    """A bake that was killed after its second epoch."""
    kept = checkpoint.Checkpoint(folder, "mirael", "me")
    for epoch in (1, 2):
        file = folder / f"mirael-{epoch:06d}.safetensors"
        file.write_bytes(bytes([epoch]) * 200)
        rows = [
            {"file": f"mirael-{n:06d}.safetensors", "sshs_model_hash": "", "epoch": n}
            for n in range(1, epoch + 1)
        ]
        weights = [torch.full((8,), float(epoch))]
        rest = {"recent": [], "optimizer": {}, "scaler": {}}
        kept.save({"epoch": epoch, "step": epoch, "rows": rows, "weights": weights, **rest})
    return checkpoint.Checkpoint(folder, "mirael", "me")


def test_no_bit_of_a_state_can_be_flipped_unnoticed(tmp_path, caplog):
    """A damaged state leads to the one before it; with both damaged, the bake starts over."""
    saved(tmp_path)
    whole = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    size = len(whole[checkpoint.STATE])
    for bit in range(0, 8 * size, 8 * size // 150):
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        flipped = bytearray(whole[checkpoint.STATE])
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / checkpoint.STATE).write_bytes(bytes(flipped))
        caplog.clear()
        state = checkpoint.Checkpoint(tmp_path, "mirael", "me").resume()
        assert (state["epoch"], state["weights"][0].tolist()) == (1, [1.0] * 8), bit
        assert (
            f"{tmp_path / checkpoint.STATE} is damaged, or of an earlier version: not"
            in caplog.text
        )
    (tmp_path / checkpoint.BEFORE).write_bytes(whole[checkpoint.BEFORE][:-1])
    assert checkpoint.Checkpoint(tmp_path, "mirael", "me").resume() is None
    assert not (tmp_path / "mirael-000001.safetensors").exists()


def test_a_state_vouches_for_every_byte_of_the_epochs_before_it(tmp_path, caplog):
    kept = saved(tmp_path)
    assert kept.resume()["epoch"] == 2
    file = tmp_path / "mirael-000001.safetensors"
    file.write_bytes(file.read_bytes().replace(b"\1", b"\2", 1))
    assert kept.resume() is None
    assert "were changed: starting over" in caplog.text


def test_a_state_of_an_earlier_version_vouches_for_nothing(tmp_path, caplog):
    torch.save({"owner": "me", "rows": []}, tmp_path / checkpoint.STATE)
    assert checkpoint.Checkpoint(tmp_path, "mirael", "me").resume() is None
    assert "is damaged, or of an earlier version: not" in caplog.text
