"""How many bakes fit: what a pass keeps is counted, what is free is asked of the system."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import torch
from small_bakes import SMALL
from tiny_base import tiny_sd1

from bakery.dataset import repeat_folders
from bakery.families import registry
from bakery.io.errors import OutOfMemory
from bakery.settings.train import Train
from bakery.training import loop, memory, setup

CPU = torch.device("cpu")


def test_what_is_kept_for_the_way_back_counts_once() -> None:
    x = torch.ones(1000, requires_grad=True)
    weight = torch.ones(1000)
    assert memory.kept(lambda: (x * weight).sum(), [weight]) == 0
    assert memory.kept(lambda: (x * weight).sum()) == 4000
    assert memory.kept(lambda: (x[:10] * x[10:20]).sum()) == 4000, "views of one storage"
    assert memory.kept(lambda: (x * x).exp().sum()) == 8000


@pytest.fixture(scope="module")
def context_of(tmp_path_factory):
    from PIL import Image

    layout = tmp_path_factory.mktemp("layout")
    (layout / "4_mirael").mkdir()
    for number, size in enumerate([(32, 32), (64, 64)]):
        Image.new("RGB", size, (90, 200, 40)).save(layout / "4_mirael" / f"{number}.png")
        (layout / "4_mirael" / f"{number}.txt").write_text("mirael")
    base = str(tiny_sd1(tmp_path_factory.mktemp("base") / "toon"))

    def make(*changes: dict):
        orders = [
            setup.TrainSpec(Train(**SMALL | {"base": base} | change), layout / str(i), "mirael", {})
            for i, change in enumerate(changes)
        ]
        context = setup.make_context(
            orders[0].settings, repeat_folders.read_folders(layout), registry.load(base), 1, None
        )
        return context, setup.prepare_all(orders, context)

    return make


@pytest.mark.slow
def test_twice_the_rows_need_about_twice_as_much(context_of) -> None:
    needs = []
    for batch in (1, 2, 4):
        context, (run,) = context_of({"train_batch_size": batch})
        learning = 3 * sum(p.numel() * p.element_size() for p in run.parameters)
        needs.append(loop.memory_needed(context, run) - learning)
    assert needs[1] / needs[0] == pytest.approx(2, rel=0.15)
    assert needs[2] / needs[0] == pytest.approx(4, rel=0.15)


def test_side_by_side_needs_as_often_as_much(context_of) -> None:
    """What one pass of three bakes really keeps, against three times what one was said to need."""
    from bakery.training import train_step

    context, runs = context_of({}, {"unet_lr": 1e-3}, {"unet_lr": 2e-3})
    learning = 3 * sum(p.numel() * p.element_size() for p in runs[0].parameters)
    each = loop.memory_needed(context, runs[0]) - learning
    batch = context.data.epoch(runs[0].settings, 1)
    largest = max(batch, key=context.data.pixels)
    noisy_batches = [train_step.add_noise(context, run, largest) for run in runs]
    weights = [*context.base.unet.parameters(), *runs[0].network.parameters()]
    weights += context.base.text_encoders[0].parameters()
    together = memory.kept(
        lambda: torch.stack(train_step.losses(context, noisy_batches)).sum(), weights
    )
    assert together == pytest.approx(3 * each, rel=0.15)


def test_too_little_room_says_how_many_fit(context_of, monkeypatch) -> None:
    context, runs = context_of({}, {"unet_lr": 1e-3}, {"unet_lr": 2e-3})
    each = loop.memory_needed(context, runs[0])
    for bakes, fitting in ((3.5, None), (2.5, 2), (0.5, 1)):
        monkeypatch.setattr(memory, "free", lambda *_, n=bakes: int(n * each / memory.MARGIN))
        if fitting is None:
            loop.check_memory(context, runs)
            continue
        with pytest.raises(OutOfMemory, match="too little for 3 side by side") as told:
            loop.check_memory(context, runs)
        assert told.value.fitting == fitting


def test_one_alone_is_tried_whatever_seems_to_be_free(context_of, monkeypatch) -> None:
    monkeypatch.setattr(memory, "free", lambda *_: 0)
    loop.check_memory(*context_of({}))
    with pytest.raises(OutOfMemory, match="too little for 2 side by side") as told:
        loop.check_memory(*context_of({}, {"unet_lr": 1e-3}))
    assert told.value.fitting == 1


def test_a_job_counts_on_its_share_of_what_is_free(monkeypatch) -> None:
    cores, there = os.cpu_count() or 1, psutil.virtual_memory()
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: there)  # others take and free some
    assert 0 < memory.free(CPU, cores) <= there.available
    assert memory.free(CPU, 1) <= there.total / cores


def test_a_limit_of_any_control_group_above_holds(tmp_path: Path, monkeypatch) -> None:
    inside = tmp_path / "slurm" / "job" / "step"
    inside.mkdir(parents=True)
    for place, limit, current in (
        (inside, "max", "4"), (inside.parent, "9000", "2000"), (inside.parent.parent, "8000", "5000"),
    ):  # fmt: skip
        (place / "memory.max").write_text(f"{limit}\n")
        (place / "memory.current").write_text(f"{current}\n")
        (place / "memory.stat").write_text("anon 1\ninactive_file 500\nactive_file 1\n")
    (tmp_path / "membership").write_text("0::/slurm/job/step\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OURS", tmp_path / "membership")
    assert memory.free(CPU, os.cpu_count() or 1) == 3500, "what only caches files is free"
    (tmp_path / "membership").write_text("5:memory:/old\n")
    assert memory.free(CPU, os.cpu_count() or 1) > 3000
