"""A bake that was stopped on request goes on: what becomes unfinished, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.jobs import claims, resuming, stop_requests

BAKES = {"a-111": "a", "b-222": "b"}


def made(results: Path, place: str, above: tuple[str, ...] = (), **about: Any) -> Path:
    """A finished folder `stage/name`, made from others."""
    folder, stage = results / place, place.split("/")[0]
    folder.mkdir(parents=True)
    uses = {name.split("/")[1]: name.split("/")[0] for name in above}
    facts = {"stage": stage, "above": uses, "rung": about.pop("rung", None)}
    manifest.write(folder, facts, about)
    claims.finish(folder, about)
    return folder


def stopped(results: Path, name: str) -> dict[str, Any]:
    (results / "train" / name).mkdir(parents=True, exist_ok=True)
    stop_requests.record(results / "train" / name, "owner", 2, 4)
    return {"stopped": stop_requests.about(2, 4, name)}


def finished(results: Path) -> set[str]:
    return {
        path.parent.relative_to(results).as_posix() for path in results.glob("*/*/manifest.json")
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two bakes on a page, the first of them stopped, and another page with the second alone."""
    for name in BAKES:
        made(tmp_path, f"sample/{name}", (f"train/{name}",))
        made(tmp_path, f"score/{name}", (f"sample/{name}",))
    made(tmp_path, "train/b-222")
    made(tmp_path, "compare/both", ("score/a-111", "score/b-222"))
    made(tmp_path, "compare/second", ("score/b-222",))
    folder = made(tmp_path, "train/a-111", stopped=stop_requests.about(2, 4, "a-111"))
    stop_requests.record(folder, "owner", 2, 4)
    best = tmp_path / "best/d/s"
    best.mkdir(parents=True)
    (best / "from-both.json").write_text("{}")
    return tmp_path


def test_what_was_made_from_it_is_unfinished_and_nothing_else(results: Path) -> None:
    assert resuming.resume(results, BAKES, ["a"]) == ["a goes on after epoch 2 of 4"]
    assert finished(results) == {"train/b-222", "sample/b-222", "score/b-222", "compare/second"}
    for stage in ("train", "sample"):
        assert claims.finished(results / stage / "a-111") is None
        assert claims.finished(results / stage / "b-222") is not None
    assert stop_requests.recorded(results / "train/a-111") is None
    best = results / "best/d/s"
    assert [path.name for path in best.iterdir()] == ["from-both.before.json"]
    (line,) = resuming.resume(results, BAKES, ["all"])
    assert line.startswith("nothing to resume")


def test_a_kill_in_between_leaves_it_stopped_or_going_on(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, steps = Path.unlink, iter([True] * 3)

    def dying(path: Path, **more: Any) -> None:
        if not next(steps, False):
            raise KeyboardInterrupt
        unlink(path, **more)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(KeyboardInterrupt):
        resuming.resume(results, BAKES, ["all"])
    assert stop_requests.recorded(results / "train/a-111") is not None
    monkeypatch.undo()
    resuming.resume(results, BAKES, ["all"])
    assert stop_requests.recorded(results / "train/a-111") is None
    assert "train/a-111" not in finished(results)


def test_with_halving_its_rungs_the_verdict_and_what_followed_from_it(tmp_path: Path) -> None:
    facts = stopped(tmp_path, "a-111")
    made(tmp_path, "train/a-rung1", **facts)
    made(tmp_path, "train/b-rung1")
    for name in "ab":
        made(tmp_path, f"score/{name}-rung1", (f"train/{name}-rung1",))
    made(tmp_path, "halve/v", ("score/a-rung1", "score/b-rung1"))
    for name, more in (("a", facts), ("b", {})):
        rung = {"before": f"{name}-rung1", "verdict": "v"}
        made(tmp_path, f"train/{name}-rung2", rung=rung, **more)
    resuming.resume(tmp_path, BAKES, ["a-111"])
    assert finished(tmp_path) == {"train/b-rung1", "score/b-rung1"}


def test_a_bake_that_is_none_is_a_sentence(results: Path) -> None:
    with pytest.raises(BakeryError, match="resume names c, which is no bake of this config; known"):
        resuming.resume(results, BAKES, ["c"])
    assert json.loads((results / "train/a-111" / stop_requests.STOPPED).read_text())["epoch"] == 2
    assert len(finished(results)) == 8


def test_one_that_was_not_stopped_stays(results: Path) -> None:
    before = finished(results)
    resuming.resume(results, BAKES, ["b"])
    assert finished(results) == before
