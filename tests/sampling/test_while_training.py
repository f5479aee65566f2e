"""Epochs drawn as they are saved: the sample stage's own pictures; the training is not touched."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_base import tiny_sd1

from bakery.io.errors import BakeryError
from bakery.jobs import claims
from bakery.sampling import helper, newest, while_training
from bakery.sampling.pipeline import ImagePipeline
from bakery.settings.sample import Prompt, Sample
from bakery.settings.tag import Thresholds
from bakery.settings.train import Train
from bakery.stages import sample, train
from bakery.tags.trigger import Trigger

ROOT = Path(__file__).parents[2]
SMALL = {
    "resolution": 32, "min_bucket_reso": 32, "max_bucket_reso": 32, "network_dim": 2,
    "network_alpha": 1, "train_batch_size": 4, "num_epochs": 2, "network_dropout": 0.2, "fuse": 2,
}  # fmt: skip
DRAWN = {
    "prompts": [Prompt(id="alone", prompt="{trigger}", purpose="identity"),
                Prompt(id="beach", prompt="{trigger}, beach", purpose="flexibility")],
    "seeds": (1, 2), "steps": 2, "width": 32, "height": 32, "batch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, four pictures and a trigger."""
    root = tmp_path_factory.mktemp("world")
    tiny_sd1(root / "base")
    (root / "prune").mkdir()
    Trigger("m", thresholds=Thresholds(general=0.35, character=0.85)).write(root / "prune")
    folder = root / "layout" / "1_m"
    folder.mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (32, 32), (240, 120, 40 * i)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"m, t{i}")
    return root


def baked(world: Path, root: Path, drawn: dict[str, Any] | None, names: str = "ab") -> None:
    """Two bakes side by side, drawn meanwhile as `drawn` says."""
    abouts, samples = {}, {}
    for name, rate in zip(names, (1e-3, 1e-2), strict=False):
        folder = root / "train" / name
        settings = Train(base=str(world / "base"), unet_lr=rate, **SMALL)
        abouts[folder] = {"settings": settings.model_dump(mode="json")}
        if drawn is not None:
            chosen = Sample(**{**DRAWN, **drawn}).model_dump(mode="json")
            samples[str(folder)] = {str(root / "sample" / name): chosen}
    train.work(
        abouts, places={}, name="m", trigger="m", class_tokens="", layout=world / "layout",
        device="cpu", threads=1, cache=root / "cache",
        drawing=while_training.on(
            world / "prune", samples=samples, base=str(world / "base"),
            tagger=str(ROOT / "resources/world/tagger"),
        ),
    )  # fmt: skip


def stage(world: Path) -> sample.SampleStage:
    return sample.SampleStage(
        Sample(**DRAWN), world / "prune", str(world / "base"), clip_skip=1, device="cpu", threads=1
    )


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").glob("*.png")}


def loras(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.glob("train/*/*.safetensors")
    }


@pytest.fixture(scope="module")
def without(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two bakes, drawn by the sample stage alone."""
    root = tmp_path_factory.mktemp("without")
    baked(world, root, None)
    stage(world).draw_claimed({root / "sample" / n: root / "train" / n for n in "ab"})
    return root


@pytest.mark.slow
def test_the_sample_stage_takes_over_what_was_drawn_and_the_loras_are_the_same(
    world: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked(world, tmp_path, {"while_training": True})
    assert loras(tmp_path) == loras(without)
    whole = {n: pictures(without / "sample" / n) for n in "ab"}
    for name in "ab":
        early = pictures(tmp_path / "sample" / name)
        assert set(early) == {n for n in whole[name] if not n.startswith("e0_")}
        assert early.items() <= whole[name].items()
        epoch, shown = newest.read(tmp_path / "train" / name)
        assert epoch == 2
        assert [path.name for path in shown] == ["e2_alone_s1.png", "e2_beach_s1.png"]
    drawn: list[int] = []
    real = ImagePipeline.draw

    def counted(pipeline: ImagePipeline, batch: Any) -> Any:
        drawn.append(len(batch))
        return real(pipeline, batch)

    monkeypatch.setattr(ImagePipeline, "draw", counted)
    stage(world).draw_claimed({tmp_path / "sample" / n: tmp_path / "train" / n for n in "ab"})
    assert sum(drawn) == sum(name.startswith("e0_") for name in whole["a"]), "the base, once"
    assert {n: pictures(tmp_path / "sample" / n) for n in "ab"} == whole


@pytest.mark.slow
def test_a_failure_is_said_once_and_the_training_goes_on(
    world: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fails(pipeline: ImagePipeline, batch: Any) -> Any:
        raise RuntimeError("the disk is full\nand more")

    monkeypatch.setattr(ImagePipeline, "draw", fails)
    baked(world, tmp_path, {"while_training": True})
    assert loras(tmp_path) == loras(without)
    said = [r.getMessage() for r in caplog.records if "pictures while training" in r.getMessage()]
    assert said == ["pictures while training: RuntimeError: the disk is full; the training goes on "
                    "without them"]  # fmt: skip


def test_what_another_job_draws_is_left_to_it_and_auto_is_off_on_a_cpu(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    hook = while_training.WhileTraining(
        samples={"train/a": {str(tmp_path / "a"): Sample(**DRAWN).model_dump(mode="json")}},
        trained={}, prune=world / "prune", base="", tagger="", device="cpu", threads=1,
    )  # fmt: skip
    monkeypatch.setattr(hook, "_fill", lambda settings, wanted: told.append("drawn"))
    saved = [(Path("train/a"), {"epoch": 1})]
    hook(saved, None)  # type: ignore[arg-type] # auto on a CPU does not even measure it
    assert told == []
    for out in hook.samples["train/a"].values():
        out["while_training"] = True  # type: ignore[index]
    monkeypatch.setattr(claims, "try_lock", lambda folder: _Taken())
    hook(saved, None)  # type: ignore[arg-type]
    assert told == []
    monkeypatch.undo()
    monkeypatch.setattr(hook, "_fill", lambda settings, wanted: told.append("drawn"))
    hook(saved, None)  # type: ignore[arg-type]
    assert told == ["drawn"]


def errand(world: Path, root: Path, baked_in: Path) -> helper.Errand:
    bakes = {root / "sample" / name: baked_in / "train" / name for name in "ab"}
    return helper.Errand(stage(world), bakes)


def test_a_helper_is_told_all_that_it_draws_with(world: Path, tmp_path: Path) -> None:
    told = errand(world, tmp_path, tmp_path)
    heard = helper.Errand.heard(told.said())
    assert heard.bakes == told.bakes
    assert vars(heard.drawer) == vars(told.drawer)


@pytest.mark.slow
def test_a_helper_draws_the_same_pictures_from_the_end_and_the_stage_the_rest(
    world: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {n: pictures(without / "sample" / n) for n in "ab"}
    drawn: list[list[str]] = []
    real = helper.drawing.of_batch

    def three_batches(pipeline: ImagePipeline, batch: Any) -> Any:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append([picture.cell.image(picture.epoch) for picture in batch])
        return real(pipeline, batch)

    with monkeypatch.context() as patch:
        patch.setattr(helper.drawing, "of_batch", three_batches)
        with pytest.raises(KeyboardInterrupt):
            helper.draw(errand(world, tmp_path, without))
    assert [{name[:3] for name in batch} for batch in drawn] == [{"e2_"}, {"e1_"}, {"e2_"}]
    early = {n: pictures(tmp_path / "sample" / n) for n in "ab"}
    assert [len(early[n]) for n in "ab"] == [4, 8]
    assert all(early[n].items() <= whole[n].items() for n in "ab")
    by_stage: list[int] = []
    draw = ImagePipeline.draw

    def counted(pipeline: ImagePipeline, batch: Any) -> Any:
        by_stage.append(len(batch))
        return draw(pipeline, batch)

    monkeypatch.setattr(ImagePipeline, "draw", counted)
    stage(world).draw_claimed({tmp_path / "sample" / n: without / "train" / n for n in "ab"})
    bases = sum(name.startswith("e0_") for name in whole["a"])
    assert sum(by_stage) == bases + 4, "the base's, and the first epoch of the first bake"
    assert {n: pictures(tmp_path / "sample" / n) for n in "ab"} == whole


@pytest.mark.slow
def test_a_helper_works_beside_its_job_and_ends_with_it(
    world: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {n: pictures(without / "sample" / n) for n in "ab"}
    base = stage(world).load().base
    assert helper._LOWEST == 19
    monkeypatch.setattr(helper, "_LOWEST", 1)  # on a busy machine the lowest would wait for long
    monkeypatch.setattr(helper.psutil.Process, "cpu_affinity", lambda process: [0, 1])
    with helper.Helper(lambda: errand(world, tmp_path, without), base) as one:
        one.consider(helper.WORTH / 2)
        assert one._process is None, "not worth its start"
        one.consider(helper.WORTH)
        process = one._process
        assert process is not None
        end = time.monotonic() + 600
        while {n: pictures(tmp_path / "sample" / n) for n in "ab"} != whole:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 1
    assert process.poll() is not None, "gone"
    assert {path.name for path in tmp_path.glob("sample/*/*")} == {"images"}, "nothing on record"
    with helper.Helper(lambda: errand(world, tmp_path, without), base) as alone:
        monkeypatch.setattr(helper.psutil.Process, "cpu_affinity", lambda process: [0])
        alone.consider(helper.WORTH)
        assert alone._process is None, "no core is idle"


class _DeafProcess(subprocess.Popen[str]):
    """A helper that closes its input and waits."""

    def __init__(self, command: Any, **more: Any) -> None:
        deaf = "import os, sys, time; os.close(0); print(flush=True); time.sleep(600)"
        super().__init__([command[0], "-c", deaf], stdout=subprocess.PIPE, **more)
        assert self.stdout is not None
        with self.stdout as said:
            said.readline()


def _no_memory(command: Any, **more: Any) -> Any:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize(
    ("popen", "why"), [(_no_memory, "Cannot allocate memory"), (_DeafProcess, "Broken pipe")]
)
def test_a_helper_that_cannot_be_started_is_told_of_once_and_ends_no_job(
    popen: Any, why: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    base = stage(world).load().base
    started: list[Any] = []

    def counted(*given: Any, **more: Any) -> Any:
        started.append(None)
        started[-1] = popen(*given, **more)
        return started[-1]

    monkeypatch.setattr(helper.subprocess, "Popen", counted)
    monkeypatch.setattr(helper.psutil.Process, "cpu_affinity", lambda process: [0, 1])
    one = helper.Helper(lambda: errand(world, tmp_path, tmp_path), base)
    for _ in range(2):
        one.consider(helper.WORTH)
    assert len(started) == 1
    assert all(process is None or process.poll() is not None for process in started), "gone"
    said = [r.getMessage() for r in caplog.records if r.name == helper.__name__]
    assert len(said) == 1
    assert said[0].startswith("no helper draws on idle cores: ")
    assert said[0].endswith(why)


def test_an_errand_that_fails_is_told_of_once(world: Path, caplog: Any) -> None:
    asked: list[None] = []

    def fails() -> helper.Errand:
        asked.append(None)
        raise BakeryError("the tagger is gone: download it again")

    one = helper.Helper(fails, stage(world).load().base)
    for _ in range(2):
        one.consider(helper.WORTH)
    assert len(asked) == 1
    assert [r.getMessage() for r in caplog.records if r.name == helper.__name__] == [
        "no helper draws on idle cores: the tagger is gone: download it again"
    ]


class _Taken:
    """A claim that another process holds."""

    def __enter__(self) -> bool:
        return False

    def __exit__(self, *error: object) -> None:
        """Nothing to release."""
