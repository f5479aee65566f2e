"""Bakes side by side: each is what it would be alone, and has its own outcome."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import os
import signal
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from tiny_base import tiny_sd1

from bakery.dataset import repeat_folders
from bakery.families import registry
from bakery.io.errors import BakeryError, OutOfMemory
from bakery.jobs import claims, rungs
from bakery.lora import lora_file
from bakery.settings.train import Train
from bakery.stages import train
from bakery.training import checkpoint, loop, memory, setup, train_step
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

SMALL = {
    "resolution": 48, "min_bucket_reso": 32, "max_bucket_reso": 64, "bucket_reso_steps": 16,
    "network_dim": 4, "network_alpha": 2, "train_batch_size": 2, "num_epochs": 2,
    "unet_lr": 1e-3, "text_encoder_lr": 4e-4, "save_precision": "float",
}  # fmt: skip
DIFFERENT = [
    {},
    {"unet_lr": 3e-4, "lr_scheduler": "linear", "network_alpha": 4, "min_snr_gamma": 5},
    {"seed": 7, "optimizer_type": "Lion", "network_dropout": 0.3, "num_epochs": 1},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_sd1(tmp_path_factory.mktemp("base") / "toon"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Path:
    """Five pictures in two buckets."""
    root = tmp_path_factory.mktemp("layout")
    folder = root / "2_mirael"
    folder.mkdir()
    for i, size in enumerate([(32, 32), (40, 40), (64, 60), (20, 60), (48, 48)]):
        image = Image.new("RGB", size, (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 60 * i, 200))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"mirael, smile, red, blue, t{i}")
    return root


@pytest.fixture
def orders(base, tmp_path):
    def make(changes, folder="together"):
        return [
            TrainSpec(
                Train(**{"base": base, **SMALL, **change}), tmp_path / folder / str(i), "mirael", {}
            )
            for i, change in enumerate(changes)
        ]

    return make


def bake(orders, layout):
    return Trainer(layout).fit(orders)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "mirael.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("parts", [{}, {"text_encoder_lr": 0}])
def test_a_bake_is_the_same_in_a_group(orders, layout, count, parts):
    changes = [{**change, **parts} for change in DIFFERENT[:count]]
    together = orders(changes)
    results = bake(together, layout)
    for alone, order, made in zip(orders(changes, "alone"), together, results, strict=True):
        (solo,) = bake([alone], layout)
        mine, own = weights(order.out), weights(alone.out)
        assert mine.keys() == own.keys()
        for key, weight in own.items():
            torch.testing.assert_close(mine[key], weight, rtol=1e-3, atol=2e-5, msg=key)
        losses = [[epoch["loss"] for epoch in facts["epochs"]] for facts in (made, solo)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert [e["file"] for e in made["epochs"]] == [e["file"] for e in solo["epochs"]]
    assert not torch.equal(
        *(next(w for k, w in weights(o.out).items() if "lora_up" in k) for o in together[:2])
    )


@pytest.mark.slow
def test_equal_seeds_share_every_pass_and_other_seeds_where_shapes_allow(
    orders, layout, monkeypatch
):
    sizes = []
    real = train_step.losses
    monkeypatch.setattr(
        train_step,
        "losses",
        lambda context, group: sizes.append(len(group)) or real(context, group),
    )
    two = {"fuse": 2}  # auto looks first how much memory one needs
    bake(orders([two, {"unet_lr": 1e-4, **two}]), layout)
    assert set(sizes) == {2}
    sizes.clear()
    facts = bake(orders([two, {"seed": 7, **two}], "seeds"), layout)
    assert set(sizes) <= {1, 2}
    assert sum(sizes) == sum(made["steps"] for made in facts)


@pytest.mark.slow
def test_one_that_blows_up_leaves_the_others_as_they_are(orders, layout):
    """Bit by bit: from then on its companion goes alone, before that its rows touch no other's."""
    changes = [{}, {"unet_lr": 1e30, "lr_warmup_ratio": 0.0, "max_grad_norm": 0}, {"unet_lr": 1e-4}]
    good, failed, fine = bake(orders(changes), layout)
    assert isinstance(failed, BakeryError)
    assert "nan" in str(failed) or "inf" in str(failed)
    for made in (good, fine):
        assert len(made["epochs"]) == 2
        assert all(math.isfinite(epoch["loss"]) for epoch in made["epochs"])
    calm, _, quiet = bake(orders([{}, {"unet_lr": 1e-9}, {"unet_lr": 1e-4}], "calm"), layout)
    for one, other in ((good, calm), (fine, quiet)):
        losses = [[epoch["loss"] for epoch in facts["epochs"]] for facts in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_files_say_how_many_were_baked_together(orders, layout):

    pair = orders([{}, {"unet_lr": 1e-4}])
    bake(pair, layout)
    for order in pair:
        _, metadata = lora_file.read_lora(order.out / "mirael.safetensors")
        assert metadata["bakery_baked_together"] == "2"


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"unet_lr": 1e-4, "seed": 3, "network_alpha": 1, "num_epochs": 9}, True),
        ({"optimizer_type": "Lion", "train_batch_size": 3}, True),
        (
            {"timestep_sampling": "shift", "discrete_flow_shift": 3, "weighting_scheme": "cosmap"},
            True,
        ),
        ({"save_format": "diffusion_model"}, True),
        ({"network_dim": 8}, False),
        ({"conv_dim": 4}, False),
        ({"resolution": 56}, False),
        ({"text_encoder_lr": 0}, False),
        ({"clip_skip": 2}, False),
        ({"mixed_precision": "bf16"}, False),
        ({"base": "another"}, False),
    ],
)
def test_what_fits_beside(change, fits):
    one, other = Train(**SMALL), Train(**{**SMALL, **change})
    assert one.fits_beside(other) is other.fits_beside(one) is fits


def about(base: str, **change) -> dict:
    settings = Train(**{"base": base, **SMALL, **change})
    return {"settings": settings.model_dump(mode="json")}


def claimed(base: str, layout: Path, root: Path, changes: list[dict]) -> dict:
    return {
        "abouts": {root / str(i): about(base, **change) for i, change in enumerate(changes)},
        "places": {}, "name": "mirael", "trigger": "mirael", "class_tokens": "1girl",
        "layout": layout, "device": "cpu", "threads": 1, "cache": root / "cache",
    }  # fmt: skip


@pytest.mark.slow
def test_each_folder_gets_its_record_and_its_sidecar(base, layout, tmp_path):
    train.TrainStage(
        **claimed(base, layout, tmp_path, [{}, {"unet_lr": 1e30, "max_grad_norm": 0}])
    ).run()
    summary = claims.finished(tmp_path / "0")
    assert [epoch["epoch"] for epoch in summary["epochs"]] == [1, 2]
    sidecar = json.loads((tmp_path / "0" / "mirael.json").read_text())
    assert sidecar["activation text"] == "mirael, 1girl"
    assert claims.finished(tmp_path / "1") is None
    assert "lower the learning rates" in (tmp_path / "1" / claims.FAILURE).read_text()
    assert not (tmp_path / "0" / checkpoint.STATE).exists()


def test_half_as_many_where_memory_runs_out(base, layout, tmp_path, monkeypatch):
    groups = []

    def small(trainer, orders):
        groups.append(len(orders))
        if len(orders) > 2:
            raise OutOfMemory("out of memory")
        return [{"epochs": []} for _ in orders]

    monkeypatch.setattr(Trainer, "fit", small)
    changes = [{"unet_lr": rate} for rate in (1e-4, 2e-4, 3e-4, 4e-4, 5e-4)]
    order = claimed(base, layout, tmp_path, changes)
    for folder in order["abouts"]:
        folder.mkdir(parents=True)
        (folder / "epochs.csv").write_text("")
    train.TrainStage(**order).run()
    assert groups == [5, 3, 2, 1, 2]
    assert all(claims.finished(folder) is not None for folder in order["abouts"])
    monkeypatch.setattr(Trainer, "fit", lambda *_: (_ for _ in ()).throw(OutOfMemory("too small")))
    with pytest.raises(OutOfMemory, match="too small"):
        train.TrainStage(**claimed(base, layout, tmp_path / "one", [{}])).run()


@pytest.mark.slow
def test_what_ran_out_of_memory_is_gone_before_the_next_try(base, layout, tmp_path, monkeypatch):
    """Its base, too: on a GPU the half of the bakes would run out of memory beside it."""
    bases, real = [], loop.fit

    def fit(context, runs, *hooks):
        alive = sum(unet() is not None for unet in bases)
        bases.append(weakref.ref(context.base.unet))
        assert alive == 0
        if len(runs) > 1:
            raise torch.OutOfMemoryError("Tried to allocate 1 GiB")
        real(context, runs, *hooks)

    monkeypatch.setattr(loop, "fit", fit)
    changes = [{"num_epochs": 1}, {"num_epochs": 1, "unet_lr": 1e-4}]
    gc.disable()  # it may come too late
    try:
        train.TrainStage(**claimed(base, layout, tmp_path, changes)).run()
    finally:
        gc.enable()
    assert len(bases) == 3
    assert all(claims.finished(tmp_path / bake) for bake in ("0", "1"))


def bake_until(order: dict, at: int, free: int) -> None:
    """In a process of its own: bake, and be killed behind the `at`-th state."""
    torch.set_num_threads(1)
    if free:
        memory.free = lambda *_: free
    save, left = checkpoint.Checkpoint.save, at

    def save_and_die(*arguments, **options):
        nonlocal left
        save(*arguments, **options)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.Checkpoint.save = save_and_die
    train.TrainStage(**order).run()


def start_and_kill(
    base: str, layout: Path, root: Path, changes: list[dict], at: int, free: int = 0
) -> None:
    """A bake that kills itself behind its `at`-th state; a fork has torch imported already."""
    job = multiprocessing.get_context("fork").Process(
        target=bake_until, args=(claimed(base, layout, root, changes), at, free)
    )
    job.start()
    job.join(900)
    assert job.exitcode == -signal.SIGKILL
    assert not (root / "1").exists() or claims.finished(root / "1") is None


LONG = [{"num_epochs": 3}, {"num_epochs": 3, "unet_lr": 3e-4}]


@pytest.fixture(scope="module")
def undisturbed(base, layout, tmp_path_factory) -> Path:
    """Two bakes of three epochs that nobody killed."""
    root = tmp_path_factory.mktemp("undisturbed")
    train.TrainStage(**claimed(base, layout, root, LONG)).run()
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rested", "at"),
    [(0, 2), (0, 1), (0, 3), (0, 5), (1, 1)],
    ids=["between epochs", "first epoch", "second epoch", "last epoch", "second rung"],
)
def test_killed_in_the_middle_and_started_again_ends_in_the_same_bytes(
    base, layout, undisturbed, tmp_path, rested, at
):
    """Also where only one of the two had saved the epoch; `rested`: epochs of a rung before."""
    root = tmp_path / "killed"
    if rested:
        train.TrainStage(**claimed(base, layout, root, LONG), until=rested).run()
        assert rungs.rested(root / "1", rested) is not None
    start_and_kill(base, layout, root, LONG, at)
    train.TrainStage(**claimed(base, layout, root, LONG)).run()
    for bake in ("0", "1"):
        whole = sorted((undisturbed / bake).glob("*.safetensors"))
        assert len(whole) == 3
        for file in whole:
            assert (root / bake / file.name).read_bytes() == file.read_bytes(), (bake, file.name)


def baked_together(root: Path, count: int) -> list[str]:
    """What the LoRAs of `count` bakes say of their group."""
    files = [root / str(number) / "mirael.safetensors" for number in range(count)]
    return [lora_file.read_lora(file)[1].get("bakery_baked_together", "1") for file in files]


@pytest.mark.slow
def test_as_many_side_by_side_as_fit_and_after_a_kill_as_many_as_before(
    base, layout, tmp_path, monkeypatch, caplog
):
    changes = [{"num_epochs": 3, "unet_lr": rate} for rate in (1e-4, 2e-4, 3e-4)]
    context = setup.make_context(
        Train(base=base, **SMALL), repeat_folders.read_folders(layout), registry.load(base), 1, None
    )
    one = setup.prepare(
        Train(base=base, **SMALL), context, out=tmp_path / "measured", name="mirael"
    )
    each = loop.memory_needed(context, one)
    one.network.remove()
    room = int(2.5 * each / memory.MARGIN)
    monkeypatch.setattr(memory, "free", lambda *_: room)
    train.TrainStage(**claimed(base, layout, tmp_path / "whole", changes)).run()
    assert "too little for 3 side by side; continuing with 2 at a time" in caplog.text
    assert baked_together(tmp_path / "whole", 3) == ["2", "2", "1"]
    start_and_kill(base, layout, tmp_path / "killed", changes, 3, free=room)
    monkeypatch.undo()
    train.TrainStage(**claimed(base, layout, tmp_path / "killed", changes)).run()
    for bake in "012":
        for file in (tmp_path / "whole" / bake).glob("*.safetensors"):
            assert (tmp_path / "killed" / bake / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_who_was_alone_goes_on_alone(base, layout, tmp_path):
    alone = {"num_epochs": 3}
    train.TrainStage(**claimed(base, layout, tmp_path / "whole", [alone])).run()
    start_and_kill(base, layout, tmp_path / "more", [alone], 1)
    train.TrainStage(
        **claimed(base, layout, tmp_path / "more", [alone, {}, {"unet_lr": 3e-4}])
    ).run()
    assert baked_together(tmp_path / "more", 3) == ["1", "2", "2"]
    whole, more = (tmp_path / name / "0" / "mirael.safetensors" for name in ("whole", "more"))
    assert whole.read_bytes() == more.read_bytes()
