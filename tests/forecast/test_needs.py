"""What jobs ask a scheduler for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakery.forecast import history, needs
from bakery.settings.sample import Sample
from bakery.settings.train import Train


def bake(folder: Path, *, has_gpu: bool = True, size: int = 2_000_000_000, **changes) -> needs.Bake:
    base = folder / "base.safetensors"
    with base.open("wb") as file:
        file.truncate(size)
    sizes = {"min_bucket_reso": 256, "max_bucket_reso": 1536, "resolution": 512}
    train = Train.model_validate({"base": str(base), "train_batch_size": 2, **sizes, **changes})
    trained = folder / "trained"
    return needs.Bake(train, str(base), folder / "layout", history.Finished(trained), has_gpu)


def lay_out(folder: Path, shown: int) -> None:
    (folder / "layout").mkdir(exist_ok=True)
    summary = {"folders": {"5_suzu": {"images": shown // 5, "shown": shown}}}
    (folder / "layout/manifest.json").write_text(json.dumps({"summary": summary}))


def finish(one: needs.Bake, name: str, *, speed: float, memory: float) -> None:
    folder = one.finished.train / name
    folder.mkdir(parents=True)
    about = {"settings": one.train.model_dump(mode="json")}
    (folder / "manifest.json").write_text(json.dumps(about))
    line = {"steps_per_second": speed, "memory_gib": memory}
    (folder / "progress.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "suzu.safetensors").write_bytes(bytes(1_000_000))


def test_more_pictures_epochs_and_pixels_ask_for_more_time(tmp_path: Path) -> None:
    lay_out(tmp_path, 500)
    once = bake(tmp_path, num_epochs=4, resolution=512).training().runtime
    assert bake(tmp_path, num_epochs=40, resolution=512).training().runtime > once
    assert bake(tmp_path, num_epochs=4, resolution=1024).training().runtime > once
    assert bake(tmp_path, num_epochs=4, resolution=512, has_gpu=False).training().runtime > once
    lay_out(tmp_path, 5000)
    assert bake(tmp_path, num_epochs=4, resolution=512).training().runtime > once


def test_what_is_shown_again_asks_for_more_time_and_memory(tmp_path: Path) -> None:
    """A batch of 4 with 2 shown again: 2 more rows are kept, and their base's prediction takes half
    the time of a pass in which is learnt."""
    lay_out(tmp_path, 50_000)
    settings = {"train_batch_size": 4, "resolution": 1024, "has_gpu": False}
    plain = bake(tmp_path, **settings).training()
    more = bake(tmp_path, output_preservation=1, **settings).training()
    took, takes = plain.runtime - needs.START, more.runtime - needs.START
    assert takes == pytest.approx(took * (4 + 2 * 1.5) / 4, rel=0.01)
    fixed = needs.IMPORTS_MB + 2 * 2000
    assert more.mem_mb - fixed == pytest.approx((plain.mem_mb - fixed) * 6 / 4, rel=0.01)


def test_what_is_not_laid_out_yet_is_taken_for_a_large_set(tmp_path: Path) -> None:
    unknown = bake(tmp_path).training()
    lay_out(tmp_path, 200)
    assert bake(tmp_path).training().runtime < unknown.runtime


def test_a_larger_base_asks_for_more_memory(tmp_path: Path) -> None:
    small, large = (bake(tmp_path, size=size).training().mem_mb for size in (10**9, 7 * 10**9))
    assert large - small == pytest.approx(12_000, rel=0.01), "read in half precision, held in full"
    assert bake(tmp_path, size=10**9).drawing(Sample()).mem_mb == small


def test_finished_bakes_of_the_same_costs_go_before_bounds(tmp_path: Path) -> None:
    lay_out(tmp_path, 1000)
    one = bake(tmp_path, num_epochs=6)
    finish(one, "suzu-1", speed=0.1, memory=9.0)
    steps = 1000 // 2 * 6
    assert one.training().runtime == needs.START + round(steps / 0.1 * needs.SPARE / 60)
    other = bake(tmp_path, num_epochs=6, network_dim=64)
    assert other.training().runtime != one.training().runtime, "it costs something else"
    alone = bake(tmp_path, num_epochs=6, has_gpu=False).training()
    assert alone.mem_mb == pytest.approx(9.0 * needs.SPARE * 2**30 / 1e6, abs=1)


def test_a_job_that_was_ended_asks_for_as_much_again(tmp_path: Path) -> None:
    need = bake(tmp_path).training()
    assert need.times(1) == need
    assert need.times(3) == needs.Need(3 * need.mem_mb, 3 * need.runtime, 3 * need.disk_mb)


def test_a_hub_id_is_taken_for_a_large_base(tmp_path: Path) -> None:
    train = Train.model_validate({"base": "someone/some-model"})
    one = needs.Bake(train, "someone/some-model", tmp_path, history.Finished(tmp_path), True)
    assert one.training().mem_mb > 14_000


def test_a_layout_of_an_earlier_form_is_taken_for_a_large_set(tmp_path: Path) -> None:
    unknown = bake(tmp_path).training()
    lay_out(tmp_path, 200)
    record = tmp_path / "layout/manifest.json"
    for folders in ({"5_suzu": {"images": 40}}, {"5_suzu": {"shown": None}}, {"5_suzu": 40}, [40]):
        record.write_text(json.dumps({"summary": {"folders": folders}}))
        assert bake(tmp_path).training() == unknown


@pytest.mark.parametrize(
    ("size", "side", "again", "counted"),
    [
        (2_130_000_000, 512, False, 1.71), (2_130_000_000, 512, True, 0.38),
        (6_940_000_000, 1024, False, 12.47), (6_940_000_000, 1024, True, 1.12),
        (5_620_000_000, 1024, False, 20.31), (5_620_000_000, 1024, True, 1.83),
    ],
)  # fmt: skip
def test_what_a_step_keeps_is_within_the_bound(tmp_path, size, side, again, counted) -> None:
    """GiB as counted for a picture of SD 1.5, SDXL and Anima in bf16 (docs/benchmarks.md)."""
    changes = {"resolution": side, "gradient_checkpointing": again, "mixed_precision": "bf16"}
    one = bake(tmp_path, size=size, has_gpu=False, **changes, train_batch_size=2)
    assert counted < one._kept / 2 / 2**30 < 3 * counted
    wide = bake(tmp_path, size=size, has_gpu=False, **changes | {"mixed_precision": "no"})
    assert wide._kept == 2 * one._kept
    many = bake(tmp_path, size=size, has_gpu=False, **changes, train_batch_size=64)
    assert many.training().mem_mb > 64 * counted * 2**30 / 1e6


def test_a_captioner_asks_for_its_weights_and_for_time_with_each_picture(tmp_path: Path) -> None:
    model, kept = tmp_path / "model", tmp_path / "filter"
    model.mkdir()
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(4 * 10**9)
    alone = needs.looking(needs.PICTURES)

    def asked(place: str = str(model), tokens: int = 100, has_gpu: bool = False) -> needs.Need:
        return needs.Captioning(place, tokens, kept, has_gpu).beside(alone)

    held = asked().mem_mb - alone.mem_mb
    assert held == pytest.approx(8_000 * (1 + needs.STATES_A_WEIGHT), abs=1), "float32 on a CPU"
    assert asked(has_gpu=True).mem_mb - alone.mem_mb == pytest.approx(held / 2, abs=1)
    assert asked().disk_mb == alone.disk_mb, "it is here already"
    assert asked("someone/some-captioner").disk_mb > alone.disk_mb + 5000, "it is downloaded"
    assert asked("someone/some-captioner").mem_mb > asked().mem_mb
    thousand = asked().runtime - alone.runtime
    assert asked(tokens=400).runtime - alone.runtime > 2 * thousand
    assert asked(has_gpu=True).runtime < asked().runtime
    kept.mkdir()
    (kept / "manifest.json").write_text(json.dumps({"summary": {"images": 300, "kept": 100}}))
    assert asked().runtime - alone.runtime == pytest.approx(thousand / 10, abs=1)
