"""Epochs drawn as they are saved: the sample stage's own pictures; the training is not touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_base import tiny_sd1

from bakery.jobs import claims
from bakery.sampling import newest, while_training
from bakery.sampling.pipeline import ImagePipeline
from bakery.settings.sample import Prompt, Sample
from bakery.settings.thresholds import Thresholds
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


class _Taken:
    """A claim that another process holds."""

    def __enter__(self) -> bool:
        return False

    def __exit__(self, *error: object) -> None:
        """Nothing to release."""
