"""The simulated DAG has as many bakes as it says, and its figures are read as they are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "workflow"))

import dag


def test_the_files_are_as_many_bakes_and_one_config(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dag, "A_FILE", 2)
    files = dag.write_configs(tmp_path, 15)
    assert len(files) == 2
    raw = dag.merged(files)
    graph, _ = dag.whole_graph(raw, tmp_path)
    assert [len(graph.of(stage)) for stage in ("scrape", "train", "compare")] == [3, 18, 3]
    assert dag.job(graph, raw, tmp_path) > 0, "it compares the part with the whole"


def test_exponents_are_of_the_first_and_the_last() -> None:
    rows = [
        {"bakes": n, "dry_run_seconds": n, "dry_run_mb": n**0.5, "graph_seconds": n**2,
         "job_seconds": 3.0}
        for n in (10, 50, 1000)
    ]  # fmt: skip
    assert dag.exponents(rows) == {
        "dry_run_seconds": 1.0, "dry_run_mb": 0.5, "graph_seconds": 2.0, "job_seconds": 0.0,
    }  # fmt: skip
