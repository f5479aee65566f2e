"""The benchmark's two loops really do the same: as many parameters, the same first loss."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.optim import optimizer as optimizers

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import train_step


class Enough(Exception):
    """Ends a trainer after its second step."""


def parameters_of(trainer: Callable[[Path, dict[str, Any]], None], folder: Path, job: dict) -> int:
    """How many numbers the trainer's optimizer steps; stops it at the second step."""
    counts = []

    def after(optimizer: Any, *_: Any) -> None:
        counts.append(sum(p.numel() for group in optimizer.param_groups for p in group["params"]))
        if len(counts) == 2:
            raise Enough

    hook = optimizers.register_optimizer_step_post_hook(after)
    try:
        with pytest.raises(Enough):
            trainer(folder, job)
    finally:
        hook.remove()
    assert len(set(counts)) == 1
    return counts[0]


def test_both_loops_do_the_same(tmp_path: Path) -> None:
    base = train_step.base_of("tiny", tmp_path / "base")
    train_step.picture(tmp_path, train_step.MODELS["tiny"]["resolution"])
    job = train_step.job_of("tiny", base, threads=1)
    assert parameters_of(train_step.ours, tmp_path, job) == parameters_of(
        train_step.plain, tmp_path, job
    )
    ours = json.loads((tmp_path / "out/progress.jsonl").read_text("utf-8").splitlines()[0])["loss"]
    assert ours == pytest.approx(float((tmp_path / "plain_loss").read_text()), abs=1e-5)


def test_the_table_gives_medians_of_pairs() -> None:
    def reports(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": s, "gib": 1.5, "parameters": 7} for s in seconds]

    job = train_step.job_of("tiny", Path("base"), threads=1)
    rows = train_step.table("tiny", job, {"ours": reports(1, 2, 9), "plain": reports(2, 3, 9)})
    assert rows.splitlines() == [
        "| tiny, 32 px, batch 2 | ours | 2.000 | 1.000 | 1.50 | 3 |",
        "| tiny, 32 px, batch 2 | plain | 3.000 | 1.500 | 1.50 | 3 |",
    ]
