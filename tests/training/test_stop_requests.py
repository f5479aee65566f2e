"""A bake that a person stops after an epoch ends well there, and goes on later to the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from tiny_base import tiny_sd1

from bakery.jobs import claims, rungs, stop_requests
from bakery.lora import lora_file
from bakery.settings.train import Train
from bakery.stages import train
from bakery.training import checkpoint
from bakery.training.run import Run

SMALL = {
    "resolution": 48, "min_bucket_reso": 32, "max_bucket_reso": 64, "bucket_reso_steps": 16,
    "network_dim": 2, "network_alpha": 1, "train_batch_size": 2, "num_epochs": 4,
    "text_encoder_lr": 0, "fuse": 4,
}  # fmt: skip
PAIR = [{}, {"unet_lr": 3e-4}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_sd1(tmp_path_factory.mktemp("base") / "toon"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures: two steps an epoch."""
    root = tmp_path_factory.mktemp("layout")
    (root / "1_mirael").mkdir()
    for i in range(4):
        image = Image.new("RGB", (32, 32), (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 60 * i, 200))
        image.save(root / "1_mirael" / f"{i}.png")
        (root / "1_mirael" / f"{i}.txt").write_text(f"mirael, smile, t{i}")
    return root


class Bakes:
    """Bakes of one process, in the folders `0`, `1` ... of `root`."""

    def __init__(self, base: str, layout: Path, root: Path) -> None:
        self.base, self.layout, self.root = base, layout, root

    def __call__(self, changes: list[dict[str, Any]], only: str = "", **stage: Any) -> None:
        folders = {self.root / str(i): change for i, change in enumerate(changes)}
        abouts = {
            folder: {"settings": Train(base=self.base, **SMALL | change).model_dump(mode="json")}
            for folder, change in folders.items()
            if only in ("", folder.name) and claims.finished(folder) is None
        }
        train.TrainStage(
            abouts=abouts, places={}, name="m", trigger="m", class_tokens="", layout=self.layout,
            device="cpu", threads=1, cache=self.root / "cache", **stage,
        ).run()  # fmt: skip

    def killed(self, changes: list[dict[str, Any]], at: int, asks: dict[str, int]) -> None:
        """The same in a process that is killed after its `at`-th state; see `asking`."""

        def work() -> None:
            torch.set_num_threads(1)
            asking(self.root, asks, die_at=at)
            self(changes)

        job = multiprocessing.get_context("fork").Process(target=work)
        job.start()
        job.join(900)
        assert job.exitcode == -signal.SIGKILL

    def files(self, bake: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.root / bake).glob("*.safetensors")}


def asking(root: Path, asks: dict[str, int], die_at: int = 0) -> None:
    """From here on, bake `name` is asked to stop while it is in epoch `asks[name]`."""
    step, save = Run.record_step, checkpoint.Checkpoint.save
    left = die_at

    def record_step(run: Run, values: list[float]) -> None:
        for name, epoch in asks.items():
            if run.out.name == name and run.epoch + 1 == epoch and run.ends_at is None:
                (root / name / stop_requests.REQUEST).touch()
        step(run, values)

    def save_and_die(*arguments: Any, **named: Any) -> None:
        nonlocal left
        save(*arguments, **named)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    Run.record_step = record_step
    checkpoint.Checkpoint.save = save_and_die


@pytest.fixture
def bakes(base: str, layout: Path, tmp_path: Path) -> Bakes:
    return Bakes(base, layout, tmp_path / "bakes")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what `asking` replaces."""
    monkeypatch.setattr(Run, "record_step", Run.record_step)
    monkeypatch.setattr(checkpoint.Checkpoint, "save", checkpoint.Checkpoint.save)


@pytest.fixture(scope="module")
def whole(base: str, layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Bakes:
    """Two bakes side by side that nobody stopped."""
    undisturbed = Bakes(base, layout, tmp_path_factory.mktemp("whole"))
    undisturbed(PAIR)
    return undisturbed


def go_on(folder: Path) -> None:
    """What `resuming` removes of a bake's own folder."""
    (folder / claims.FINISHED).unlink()
    stop_requests.forget(folder)


@pytest.mark.slow
def test_each_bake_is_stopped_on_its_own_and_all_go_on_to_the_same_bytes(
    bakes: Bakes, whole: Bakes, tmp_path: Path
) -> None:
    asking(bakes.root, {"0": 2})
    bakes(PAIR)
    made = claims.finished(bakes.root / "0")
    assert made is not None
    assert made["stopped"]["sentence"] == "stopped by you after epoch 2 of 4"
    assert made["steps"] == 4
    assert [row["epoch"] for row in made["epochs"]] == [1, 2]
    assert not (bakes.root / "0" / stop_requests.REQUEST).exists()
    assert (bakes.root / "0" / "m-000002.json").is_file()
    other = claims.finished(bakes.root / "1")
    assert other is not None
    assert "stopped" not in other
    assert [row["epoch"] for row in other["epochs"]] == [1, 2, 3, 4]

    go_on(bakes.root / "0")
    bakes(PAIR, only="0")  # alone: its group has ended
    files = bakes.files("0")
    assert {n: files[n] for n in ("m-000001.safetensors", "m-000002.safetensors")}.items() <= (
        whole.files("0").items()
    )
    _, metadata = lora_file.read_lora(bakes.root / "0" / "m.safetensors")
    assert metadata["bakery_baked_together"] == "2, then 1"
    assert not (bakes.root / "0" / checkpoint.STATE).exists()


@pytest.mark.slow
def test_all_are_stopped_by_one_file_and_go_on_to_the_same_bytes(
    bakes: Bakes, whole: Bakes
) -> None:
    def ask_all(run: Run, values: list[float], step: Any = Run.record_step) -> None:
        if run.epoch == 1 and run.ends_at is None:
            stop_requests.ask_all(bakes.root)
        step(run, values)

    Run.record_step = ask_all
    bakes(PAIR)
    for bake in ("0", "1"):
        made = claims.finished(bakes.root / bake)
        assert made is not None
        assert made["stopped"]["until"] == 2
        go_on(bakes.root / bake)
    Run.record_step = ask_all.__defaults__[0]
    bakes(PAIR)  # the request of before is older than these bakes
    assert [bakes.files(bake) for bake in ("0", "1")] == [whole.files(bake) for bake in ("0", "1")]
    assert stop_requests.clear(bakes.root) == [bakes.root / stop_requests.REQUEST]
    assert stop_requests.clear(bakes.root) == []


LONG = pytest.mark.skipif("BAKERY_LONG" not in os.environ, reason="long: BAKERY_LONG=1 pytest ...")


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, *(pytest.param(at, marks=LONG) for at in (1, 4, 5, 6))])
def test_killed_anywhere_after_a_request_there_is_no_half_state(
    bakes: Bakes, whole: Bakes, at: int
) -> None:
    """Bake 0 is asked to stop in epoch 2. States are saved in turn, of bakes 0 and 1; the third is the
    one with which bake 0 ends."""
    bakes.killed(PAIR, at, {"0": 2})
    stopped = stop_requests.recorded(bakes.root / "0") is not None
    assert stopped == (at >= 3)
    stop_requests.clear(bakes.root)
    bakes(PAIR)
    made = claims.finished(bakes.root / "0")
    assert made is not None
    assert ("stopped" in made) == stopped
    if stopped:
        assert bakes.files("0").items() < whole.files("0").items()
    else:
        assert bakes.files("0") == whole.files("0")
        assert bakes.files("1") == whole.files("1")
    assert claims.finished(bakes.root / "1") is not None
    assert len(bakes.files("1")) == 4


@pytest.mark.slow
def test_an_epoch_that_is_not_to_be_saved_is_saved_for_the_stop_alone(
    base: str, layout: Path, tmp_path: Path
) -> None:
    every = [{"save_every_n_epochs": 2}]
    whole, bakes = (Bakes(base, layout, tmp_path / name) for name in ("whole", "stopped"))
    whole(every)
    (bakes.root / "0").mkdir(parents=True)
    (bakes.root / "0" / stop_requests.REQUEST).write_text("3\n")
    bakes(every)
    assert sorted(bakes.files("0")) == ["m-000002.safetensors", "m-000003.safetensors"]
    go_on(bakes.root / "0")
    bakes(every)
    assert bakes.files("0") == whole.files("0")
    made = [claims.finished(b.root / "0") for b in (whole, bakes)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("text", "epoch", "follows"),
    [("", 1, True), ("3", 2, False), ("3\n", 3, True), ("3", 4, True), ("soon", 1, True)],
)
def test_what_a_request_says(tmp_path: Path, text: str, epoch: int, follows: bool, caplog) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / stop_requests.REQUEST).write_text(text)
    for _ in range(2):
        assert stop_requests.asked(tmp_path / "a", epoch, since=0) is follows
    assert caplog.text.count("which is no epoch") == (text == "soon")
    assert not stop_requests.asked(tmp_path / "b", 9, since=0)


@pytest.mark.slow
def test_a_request_for_the_last_epoch_is_none(bakes: Bakes, whole: Bakes) -> None:
    asking(bakes.root, {"0": 4, "1": 4})
    bakes(PAIR)
    assert [bakes.files(bake) for bake in ("0", "1")] == [whole.files(bake) for bake in ("0", "1")]
    assert not list(bakes.root.glob(f"*/{stop_requests.REQUEST}"))
    assert not list(bakes.root.glob(f"*/{stop_requests.STOPPED}"))


@pytest.mark.slow
def test_in_a_rung_the_bake_ends_and_is_not_ranked(bakes: Bakes) -> None:
    asking(bakes.root, {"0": 1})
    bakes(PAIR, until=2)
    stopped, other = (rungs.rested(bakes.root / bake, 2) for bake in ("0", "1"))
    assert stopped is not None
    assert stopped["stopped"]["until"] == 1
    assert other is not None
    assert "stopped" not in other
    task = rungs.TrainTask.of(
        bakes.root / "rung", {"before": None, "verdict": None, "until": 1, "bake": bakes.root / "0"}
    )
    made = task.complete([task.baked], workers=1, most=1, work=lambda folders: None)
    assert made["stopped"]["sentence"] == "stopped by you after epoch 1 of 4"
    assert json.loads((bakes.root / "1" / rungs.RESTED).read_text())["epoch"] == 2
