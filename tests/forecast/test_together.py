"""How long all training takes, as processes share the bakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_plans import baked, done, filtered, outlined

from bakery.forecast import forecast, together
from bakery.forecast.forecast import PlannedBake


def sweep(folder: Path, count: int, workers: int, **train: object) -> list[PlannedBake]:
    bakes = [outlined(folder, f"b{number}", train=train) for number in range(count)]
    group = [bake["folders"]["train"] for bake in bakes]
    return [PlannedBake(**bake, group=group, workers=workers) for bake in bakes]


def whole(bakes: list[PlannedBake], *times: float | None) -> float | None:
    folders = [bake.folders["train"] for bake in bakes]
    return together.seconds(bakes, dict(zip(folders, times, strict=True)))


@pytest.mark.parametrize(
    ("workers", "times", "expected"),
    [
        (1, (5, 7, 6), 7),  # all side by side
        (2, (5, 7, 6), 7),
        (2, (5, 1, 6, 2), 6),
        (3, (5, 5, 5), 5),
        (2, (None, 1), None),
    ],
)
def test_a_share_takes_as_long_as_its_longest_bake(
    tmp_path: Path, workers: int, times: tuple[float | None, ...], expected: float | None
) -> None:
    assert whole(sweep(tmp_path, len(times), workers), *times) == expected


def test_bakes_that_are_not_fused_queue_up(tmp_path: Path) -> None:
    assert whole(sweep(tmp_path, 5, 2, fuse="off"), 1, 1, 1, 1, 1) == 3


def test_what_is_trained_takes_no_time(tmp_path: Path) -> None:
    bakes = sweep(tmp_path, 2, 2)
    done({"folders": bakes[0].folders, "settings": bakes[0].settings}, "train")
    assert whole(bakes, 0.0, 4) == 4
    assert together.share(bakes[0]) == []


def test_bakes_in_groups_of_the_same_size_tell_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, beside = outlined(tmp_path, "alone"), outlined(tmp_path, "beside")
    baked(alone, 4.0)
    baked(beside, 1.0)
    of = {"alone": "1", "beside": "2"}
    monkeypatch.setattr(
        "bakery.interop.sidecar.trained_together", lambda lora: of[lora.parent.name]
    )
    bakes = [outlined(tmp_path, label, train={"unet_lr": 1e-3}) for label in ("x", "y")]
    for bake in bakes:
        filtered(bake, [(64, 64)] * 3)
    group = [bake["folders"]["train"] for bake in bakes]
    for workers, speed in ((1, 1.0), (2, 4.0)):
        planned = PlannedBake(**bakes[0], group=group, workers=workers)
        past = forecast.make(planned, tmp_path / "train").past
        assert past is not None
        assert past.steps_per_second == speed
