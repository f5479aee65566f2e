"""The benchmark of the whole workflow: what it reads from Snakemake's records, and what it bakes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import whole_sweep  # noqa: E402

from bakery.graph import build  # noqa: E402
from bakery.settings import config as cfg  # noqa: E402


def test_a_job_with_several_files_counts_once(tmp_path: Path) -> None:
    folder = tmp_path / ".snakemake" / "metadata"
    (folder / "deep").mkdir(parents=True)
    records = [("train", "a.log", 10, 70), ("train", "b.log", 10, 15),
               ("prune", "a.log", 1, 4), ("prune", "a.log", 1, 3)]  # fmt: skip
    for number, (rule, log, start, end) in enumerate(records):
        record = {"rule": rule, "log": [f"logs/{rule}/{log}"], "starttime": start, "endtime": end}
        place = folder / ("deep" if number else "") / str(number)
        place.write_text(json.dumps(record))
    assert whole_sweep.by_stage(tmp_path) == {"train": 65, "prune": 3}


def test_single_bakes_are_those_of_the_sweep() -> None:
    args = argparse.Namespace(epochs=1, seeds=2, config=ROOT / "config/config.yaml")
    rates = whole_sweep.rates(6)
    assert len(set(rates)) == 6
    assert rates[0] == pytest.approx(3e-4)
    assert rates[-1] == pytest.approx(1e-2)
    sweep = whole_sweep.config(args) | {"sweeps": {"lr": {"grid": {"train.unet_lr": rates}}}}
    together = {node.key for node in build.build(cfg.load(sweep), [ROOT]).of("score")}
    alone = set()
    for rate in rates:
        chosen = whole_sweep.config(args)
        chosen["train"]["unet_lr"] = rate
        alone |= {node.key for node in build.build(cfg.load(chosen), [ROOT]).of("score")}
    assert together == alone
    assert len(together) == 6
