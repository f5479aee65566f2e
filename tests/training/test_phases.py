"""What does not work is not in memory: which parts of the base each phase of a bake holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_bakes import SMALL
from tiny_base import TINY

from bakery.families import registry
from bakery.families.family import DENOISER, LATENTS, TEXTS, Model
from bakery.io import devices
from bakery.jobs import phases
from bakery.settings.train import Train
from bakery.training import loop
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

FROZEN = {"text_encoder_lr": 0.0, "num_epochs": 1}
STILL = {**FROZEN, "shuffle_caption": False}


@pytest.fixture(scope="module", params=list(TINY))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    (folder / "1_mirael").mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"1_mirael/{number}.png")
        (folder / f"1_mirael/{number}.txt").write_text(f"mirael, smile, red, blue, t{number}")
    return folder


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is read from the base's files, in order, and what is in memory when training begins."""
    found: dict[str, object] = {"read": []}
    need, fit = Model.need, loop.fit

    def needing(model: Model, *parts: str) -> None:
        found["read"] += [part for part in parts if not model.holds(part)]
        need(model, *parts)

    def fitting(context, runs, *hooks):
        found["training"] = {p for p in (LATENTS, TEXTS, DENOISER) if context.base.holds(p)}
        fit(context, runs, *hooks)

    monkeypatch.setattr(Model, "need", needing)
    monkeypatch.setattr(loop, "fit", fitting)
    return found


def bake(base: Path, layout: Path, out: Path, cache: Path | None = None, **changes: object) -> str:
    settings = Train(**{**SMALL, "base": str(base), **changes})
    made = Trainer(layout, cache=cache).fit_one(TrainSpec(settings, out, "mirael", {}))
    return made["epochs"][-1]["sshs_model_hash"]


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (STILL, False),
        ({**FROZEN, "text_variants": 2}, False),
        ({**FROZEN, "shuffle_caption": True}, True),
        ({"num_epochs": 1, "text_variants": 2}, True),
    ],
    ids=["still", "variants", "shuffled", "learning"],
)
def test_training_holds_what_a_step_needs(
    base: Path, layout: Path, tmp_path: Path, held: dict, changes: dict, texts: bool
) -> None:
    if "text_encoder_lr" not in changes and registry.family_of(str(base)).name == "anima":
        pytest.skip("its text encoder does not learn")
    bake(base, layout, tmp_path, **changes)
    assert held["training"] == ({DENOISER, TEXTS} if texts else {DENOISER})
    order = [LATENTS, DENOISER, TEXTS] if texts else [LATENTS, TEXTS, DENOISER]
    assert held["read"] == order, "each once, and not together"


def test_what_is_cached_needs_neither_vae_nor_text_encoder(
    base: Path, layout: Path, tmp_path: Path, held: dict
) -> None:
    cache = tmp_path / "cache"
    first = bake(base, layout, tmp_path / "a", cache, **STILL)
    held["read"].clear()
    assert bake(base, layout, tmp_path / "b", cache, **STILL) == first
    assert held["read"] == [DENOISER]
    assert bake(base, layout, tmp_path / "c", **STILL) == first


def test_other_weights_are_encoded_anew(base: Path, layout: Path, tmp_path: Path) -> None:
    """The store knows files by their content, not by their name."""
    import shutil

    cache, copied = tmp_path / "cache", tmp_path / "base"
    shutil.copytree(base, copied)
    bake(copied, layout, tmp_path / "a", cache, **STILL)
    shutil.rmtree(copied)
    TINY[registry.family_of(str(base)).name](copied, seed=5)
    assert bake(copied, layout, tmp_path / "b", cache, **STILL) == bake(
        copied, layout, tmp_path / "c", **STILL
    )


def test_each_phase_is_measured_and_logged(
    base: Path, layout: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        bake(base, layout, tmp_path, **STILL)
    most = phases.most()
    for name in (phases.LATENTS, phases.TEXTS, phases.TRAINING):
        assert 2**20 < most[name] <= devices.resident_peak()
        assert f"{name}: " in caplog.text


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone has it")
def test_a_phase_has_a_peak_of_its_own() -> None:
    with phases.phase("large", "cpu"):
        torch.ones(60 * 2**20)  # 240 MiB
    with phases.phase("small", "cpu"), phases.phase("inner", "cpu"):
        torch.ones(2**20)
    most = phases.most()
    assert most["large"] > most["small"] + 150 * 2**20
    assert most["small"] >= most["inner"]
    assert devices.resident_peak() >= most["large"]
