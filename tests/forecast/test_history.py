"""What finished bakes tell: only those count that cost the same, and damage is passed over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_plans import baked, done, outlined

from bakery.forecast import history

TRAIN = {"num_epochs": 3}


def recalled(folder: Path, **changes: object) -> history.BakeHistory | None:
    settings = outlined(folder, train=TRAIN | changes)["settings"]["train"]
    return history.Finished(folder / "train").recall(settings)


def test_medians_over_what_cost_the_same(tmp_path: Path) -> None:
    for label, speed, memory in (("a", 1.0, None), ("b", 9.0, 2.0), ("c", 2.0, 4.0)):
        baked(outlined(tmp_path, label, train=TRAIN), speed, memory=memory, size=10)
    assert recalled(tmp_path) == history.BakeHistory(3, 2.0, 3.0 * 2**30, 10)


@pytest.mark.parametrize(
    "change", [{"unet_lr": 1e-5}, {"num_epochs": 9}, {"lr_scheduler": "cosine"}, {"seed": 1}]
)
def test_what_costs_nothing_may_differ(tmp_path: Path, change: dict) -> None:
    baked(outlined(tmp_path, "a", train=TRAIN), 1.0)
    assert recalled(tmp_path, **change) is not None


@pytest.mark.parametrize(
    "change",
    [{"network_dim": 4}, {"train_batch_size": 1}, {"resolution": 160}, {"text_encoder_lr": 0},
     {"learning_rate": 0, "unet_lr": 1e-3},
     {"base": "other"}, {"mixed_precision": "bf16"}, {"output_preservation": 1}],
)  # fmt: skip
def test_what_costs_more_or_less_does_not_count(tmp_path: Path, change: dict) -> None:
    baked(outlined(tmp_path, "a", train=TRAIN), 1.0)
    assert recalled(tmp_path, **change) is None


def test_the_weight_of_the_second_loss_costs_nothing_but_its_share_does(tmp_path: Path) -> None:
    settings = {**TRAIN, "output_preservation": 1}
    baked(outlined(tmp_path, "a", train=settings), 1.0)
    assert recalled(tmp_path, output_preservation=0.3) is not None
    share = {"output_preservation": 1, "output_preservation_share": 1}
    assert recalled(tmp_path, **share) is None
    assert recalled(tmp_path) is None


def test_damaged_and_unfinished_bakes_are_passed_over(tmp_path: Path) -> None:
    for label, text in (("a", ""), ("b", "{"), ("c", '{"steps_per_second": null}'), ("d", "[]")):
        bake = outlined(tmp_path, label, train=TRAIN)
        baked(bake, 1.0)
        (Path(bake["folders"]["train"]) / "progress.jsonl").write_text(text)
    bake = outlined(tmp_path, "e", train=TRAIN)
    baked(bake, 1.0)
    (Path(bake["folders"]["train"]) / "manifest.json").write_text("no JSON")
    done(outlined(tmp_path, "f", train=TRAIN), "train")
    assert recalled(tmp_path) is None
    baked(outlined(tmp_path, "g", train=TRAIN), 5.0)
    assert recalled(tmp_path).bakes == 1


def test_phases_are_those_of_the_jobs_that_trained_and_drew(tmp_path: Path) -> None:
    """The most of each, in the order of a bake; other bakes' jobs do not count."""
    results, logs = tmp_path / "results", tmp_path / "logs"
    for label, changes in (("a", {"seed": 1}), ("b", {"seed": 2}), ("c", {"network_dim": 4})):
        baked(outlined(results, label, train=TRAIN | changes), 1.0)
    assert recalled(results).phases == {}
    done(outlined(results, "b", train=TRAIN), "sample")
    about = results / "sample/b/manifest.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"above": {"b": "train"}}))
    for job, phases in (
        ("train/a", {"training": 5, "latents": 3}), ("train/b", {"training": 4}),
        ("train/c", {"training": 9}), ("sample/b", {"drawing": 7, "prompts": 2}),
    ):  # fmt: skip
        file = logs / f"{job}.took.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"began": 1.0, "ended": 2.0, "memory": 9, "phases": phases}))
    found = recalled(results).phases
    assert list(found.items()) == [("latents", 3), ("training", 5), ("prompts", 2), ("drawing", 7)]


def test_a_bake_is_read_once_and_again_when_it_is_another(tmp_path: Path, monkeypatch) -> None:
    read: list[str] = []
    real = history._past
    monkeypatch.setattr(history, "_past", lambda at, last: read.append(at.name) or real(at, last))
    bakes = [outlined(tmp_path, label, train=TRAIN) for label in "ab"]
    for bake in bakes:
        baked(bake, 1.0)
    settings = bakes[0]["settings"]["train"]
    finished = history.Finished(tmp_path / "train")
    for _ in range(3):
        assert finished.recall(settings).bakes == 2
    assert len(read) == 2
    progress = Path(bakes[0]["folders"]["train"], "progress.jsonl")
    progress.write_text('{"steps_per_second": 5}\n')
    os.utime(progress, (1, 1))  # however coarse the clock of the file system is
    assert finished.recall(settings).steps_per_second == 3.0
    assert len(read) == 3
    patient = history.Finished(tmp_path / "train", seconds=1000)
    assert patient.recall(settings).bakes == 2
    baked(outlined(tmp_path, "c", train=TRAIN), 1.0)
    assert patient.recall(settings).bakes == 2


def test_records_of_samples_are_read_where_phases_are_asked_for(
    tmp_path: Path, monkeypatch
) -> None:
    """What jobs ask a scheduler for needs none of them, and there may be thousands."""
    looked: list[tuple[Path, ...]] = []
    monkeypatch.setattr(history, "_phases", lambda of: looked.append(of) or {"training": 1})
    baked(outlined(tmp_path, "a", train=TRAIN), 1.0)
    found = recalled(tmp_path)
    assert found.steps_per_second == 1.0
    assert not looked
    assert found.phases == found.phases == {"training": 1}
    assert looked == [(tmp_path / "train/a",)]
