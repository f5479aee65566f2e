"""torch.compile: the same bake where it works, a plain one where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_base import tiny_sd1
from torch import nn

from bakery.settings.train import Train
from bakery.training import compiling, train_step
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

SMALL = {
    "resolution": 32, "enable_bucket": False, "network_dim": 2, "train_batch_size": 2,
    "num_epochs": 2, "unet_lr": 1e-3, "text_encoder_lr": 4e-4, "save_precision": "float",
}  # fmt: skip


@pytest.fixture
def bake(tmp_path: Path):
    """Runs a bake of four pictures; returns its last weights and its facts."""
    base = str(tiny_sd1(tmp_path / "toon"))
    folder = tmp_path / "layout" / "2_mirael"
    folder.mkdir(parents=True)
    for i in range(2):
        Image.new("RGB", (32, 32), (90 * i, 40, 200)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("mirael, smile")

    def run(name: str, **change):
        spec = TrainSpec(Train(base=base, **SMALL, **change), tmp_path / name, "mirael", {})
        made = Trainer(tmp_path / "layout").fit_one(spec)
        return load_file(tmp_path / name / "mirael.safetensors"), made

    return run


@pytest.mark.slow
def test_a_compiled_bake_equals_a_plain_one(bake, monkeypatch):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **how: compile_(f, **how | {"backend": counting})
    )
    compiled, facts = bake("compiled", torch_compile=True)
    assert len(graphs) == 1  # one shape, no break
    plain, plain_facts = bake("plain")
    assert facts["steps"] == plain_facts["steps"] == 4
    for key, weight in plain.items():
        assert (compiled[key] - weight).abs().max() < 1e-5, key


def test_what_cannot_be_compiled_runs_as_it_is(caplog):
    def broken(graph, inputs):
        raise RuntimeError("no compiler\non this machine")

    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    with compiling.compiled(layer, broken, lambda: layer(x)) as works:
        assert not works
        assert "forward" not in layer.__dict__
    (said,) = [r.message for r in caplog.records if r.name == "bakery.training.compiling"]
    assert said == "torch.compile does not work here (no compiler): continuing without it"


@pytest.mark.slow
def test_a_bake_goes_on_where_nothing_can_be_compiled(bake, monkeypatch):
    def failing(*given, **how):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda forward, **how: failing)
    found, _ = bake("broken", torch_compile=True)
    plain, _ = bake("plain")
    assert all(torch.equal(found[key], weight) for key, weight in plain.items())


@pytest.mark.slow
def test_the_first_pass_leaves_no_gradient_behind(bake, monkeypatch):
    """Whatever the first pass did: the bake starts as if it had not been."""
    calls = []
    loss = train_step.loss
    monkeypatch.setattr(train_step, "loss", lambda *given: calls.append(1) or loss(*given))
    monkeypatch.setattr(torch, "compile", lambda forward, **how: forward)
    found, _ = bake("tried", torch_compile=True)
    assert calls == [1]
    plain, _ = bake("plain")
    assert all(torch.equal(found[key], weight) for key, weight in plain.items())


def test_a_model_gets_its_own_forward_back(monkeypatch):
    layer = nn.Linear(2, 2)
    with compiling.compiled(layer, "eager", lambda: layer(torch.ones(1, 2))) as works:
        assert works
        assert "forward" in layer.__dict__
    assert "forward" not in layer.__dict__

    def full() -> None:
        raise torch.cuda.OutOfMemoryError("full")

    with (
        pytest.raises(torch.cuda.OutOfMemoryError),
        compiling.compiled(layer, "eager", full),
    ):
        pass
    assert "forward" not in layer.__dict__
