"""What a finished bake leaves behind, whatever a power cut brought back."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakery.jobs import claims, rungs, stop_requests


@pytest.mark.parametrize("stopped", [False, True])
def test_a_finished_bake_keeps_no_state_and_a_stopped_one_does(
    tmp_path: Path, stopped: bool
) -> None:
    about = {"stopped": stop_requests.about(1, 4, "mirael")} if stopped else {}
    claims.finish(tmp_path, {"epochs": [], **about})
    left = [rungs.STATE, rungs.BEFORE]
    for name in left:
        (tmp_path / name).write_bytes(b"a removal that was not on the disk")
    summary = rungs.TrainTask.of(tmp_path, {}).complete([tmp_path], workers=1, most=1, work=_never)
    assert summary == {"epochs": [], **about}
    assert [(tmp_path / name).exists() for name in left] == [stopped] * 2


def _never(folders: list[Path]) -> None:
    raise AssertionError("it is finished")
