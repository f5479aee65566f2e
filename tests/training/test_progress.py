"""The lines that a bake writes while it runs."""

import json
import math

import pytest

from bakery.training.progress import Progress, memory_gib
from bakery.training.schedules import StepCounts

COUNTS = StepCounts(steps_per_epoch=2, epochs=3, total=6, warmup=0)
RATES = {"unet_lr": 1e-3, "text_encoder_lr": None}


def lines(folder):
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def test_a_line_a_step(tmp_path):
    progress = Progress(tmp_path, COUNTS)
    progress.write(1, 1, 0.5, 0.25, RATES)
    progress.write(2, 1, 0.3, math.inf, RATES)
    progress.write(3, 2, 0.1, 0.2, RATES)
    progress.close()
    first, second, third = lines(tmp_path)
    assert first.keys() == {
        "step", "steps", "epoch", "epochs", "steps_per_second", "eta_seconds", "loss",
        "loss_average", "grad_norm", "unet_lr", "text_encoder_lr", "memory_gib",
    }  # fmt: skip
    assert (first["step"], first["steps"], first["epoch"], first["epochs"]) == (1, 6, 1, 3)
    assert (first["grad_norm"], second["grad_norm"]) == (0.25, None)
    assert (first["unet_lr"], first["text_encoder_lr"]) == (1e-3, None)
    assert second["loss_average"] == pytest.approx(0.4)
    assert third["loss_average"] == pytest.approx(0.2)  # over an epoch's length
    assert first["memory_gib"] > 0.01


def test_going_on_after_a_kill(tmp_path):
    """Lines ahead of the state go, a half line too, and the average knows the steps before."""
    progress = Progress(tmp_path, COUNTS)
    for step in (1, 2, 3):
        progress.write(step, 1, 0.1 * step, 1.0, RATES)
    progress.close()
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    again = Progress(tmp_path, COUNTS, step=2, recent=[0.1, 0.2])
    again.write(3, 2, 0.3, 1.0, RATES)
    again.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert lines(tmp_path)[-1]["loss_average"] == pytest.approx(0.25)


def test_tensorboard_event_files(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    progress = Progress(tmp_path, COUNTS, tensorboard=True)
    progress.write(1, 1, 0.5, 0.25, RATES)
    progress.write(2, 1, 0.25, math.inf, RATES)
    progress.close()
    (file,) = tmp_path.glob("events.out.tfevents.*")
    assert file.name.endswith(".log")  # what a manifest passes over
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [0.5, 0.25]
    assert [event.step for event in events.Scalars("train/grad_norm")] == [1]


def test_memory_is_measured():
    held = bytearray(64 * 2**20)
    assert memory_gib("cpu") > len(held) / 2**30
