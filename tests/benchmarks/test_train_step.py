"""The benchmark's two loops really do the same: as many parameters, the same first loss."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmark_arguments import given
from torch.optim import optimizer as optimizers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import models
import train_step
import trainers
from tiny_base import tiny_tokenizer
from transformers import CLIPTextConfig

from bakery.families import published


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"), [("tiny", "no"), ("tiny-sdxl", "no"), ("tiny-sdxl", "bf16")]
)
def test_both_loops_do_the_same(model: str, precision: str, tmp_path: Path) -> None:
    job = models.put_down(model, tmp_path, given("--mixed-precision", precision))
    assert parameters_of(trainers.ours, tmp_path, job) == parameters_of(
        trainers.plain, tmp_path, job
    )
    ours = json.loads((tmp_path / "out/progress.jsonl").read_text("utf-8").splitlines()[0])["loss"]
    near = {"abs": 1e-5} if precision == "no" else {"rel": 0.02}
    assert ours == pytest.approx(float((tmp_path / "plain_loss").read_text()), **near)


def test_kohyas_process_finds_what_makes_it_take_turns(tmp_path: Path, monkeypatch) -> None:
    place = Path(train_step.__file__).parent
    monkeypatch.setattr("logging.disable", lambda level: None)
    spec = importlib.util.spec_from_file_location("side", place / "kohya/side.py")
    side = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(side)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != place])
    monkeypatch.delitem(sys.modules, "stepwise")
    for name in ("library", "library.train_util"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["library"].train_util = None
    with pytest.raises(FileNotFoundError, match=r"job\.json"):
        side.train(tmp_path)


def test_the_table_gives_medians_of_pairs() -> None:
    def reports(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": s, "gib": 1.5, "parameters": 7} for s in seconds]

    job = models.job_of("tiny", Path("base"), given("--mixed-precision", "bf16", "--batch", "3"))
    both = {"ours": reports(1, 2, 9), "plain": reports(2, 3, 9)}
    assert train_step.table(job, both, operations=600, best=1000).splitlines() == [
        "| tiny, 32 px, batch 3, bf16 | ours | 2.000 | 1.000 | 30% | 1.50 | 3 |",
        "| tiny, 32 px, batch 3, bf16 | plain | 3.000 | 1.500 | 20% | 1.50 | 3 |",
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rows_are_as_wide_as_the_heading(device: str) -> None:
    reports = [dict.fromkeys(("seconds", "gib", "all_gib", "reserved_gib"), 1.0)]
    job = models.job_of("sd15", Path("base"), given()) | {"device": device}
    row = train_step.table(job, {"ours": reports}, operations=1, best=1)
    assert {line.count("|") for line in [*train_step.heading(device).splitlines(), row]} == {
        row.count("|")
    }


def test_the_tokenizers_of_random_bases_have_the_text_encoders_words() -> None:
    plain, other = models.filled_tokenizer(), models.filled_tokenizer(pad_token="!")
    for texts in published.TEXT_ENCODERS.values():
        for tokenizer, text in zip((plain, other), texts, strict=False):
            assert len(tokenizer) == CLIPTextConfig(**text).vocab_size
    assert plain("mirael").input_ids == tiny_tokenizer(77)("mirael").input_ids
    assert other.pad_token_id == models.ends(1)["pad_token_id"] == 0


def test_a_gpu_bakes_sd15_as_it_is_usually_baked() -> None:
    asked = given("--mixed-precision", "bf16")
    on_cpu = models.job_of("sd15", Path("base"), asked)
    asked.device = "cuda"
    on_gpu = models.job_of("sd15", Path("base"), asked)
    assert models.what(on_cpu) == "sd15, 256 px, batch 1, bf16"
    assert models.what(on_gpu) == "sd15, 512 px, batch 2, bf16"
    with pytest.raises(SystemExit, match="fp16 needs a GPU"):
        given("--mixed-precision", "fp16")
    with pytest.raises(SystemExit, match="in bf16 on a GPU only"):
        given("--mixed-precision", "bf16", "--sd-scripts", "sd-scripts")
