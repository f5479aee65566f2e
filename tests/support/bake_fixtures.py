"""Fixtures for tests of the trainer (`pytest_plugins`): a base, pictures, and bakes of seconds."""

import pytest
from PIL import Image, ImageDraw
from small_bakes import SMALL
from tiny_base import tiny_sd1

from bakery.settings.train import Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer


@pytest.fixture(scope="module")
def bases_at(tmp_path_factory):
    """prediction type -> folder."""
    root = tmp_path_factory.mktemp("bases")
    return {
        kind: str(tiny_sd1(root / kind, prediction_type=kind))
        for kind in ("v_prediction", "epsilon")
    }


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Four pictures in two buckets, shown twice: 3 + 1 pictures, batch 2, so 4 steps an epoch."""
    root = tmp_path_factory.mktemp("layout")
    folder = root / "2_mirael"
    folder.mkdir()
    for i, size in enumerate([(32, 32), (40, 40), (64, 60), (20, 60)]):
        image = Image.new("RGB", size, (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 60 * i, 200))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"mirael, smile, red, blue, t{i}")
    (root / "notes").mkdir()
    return root


@pytest.fixture
def bake(bases_at, layout, tmp_path):
    def run(folder="out", kind="v_prediction", cache=None, **changes):
        settings = Train(**{"base": bases_at[kind], **SMALL, **changes})
        metadata = {"trigger": "mirael", "config": {"train": changes}}
        spec = TrainSpec(settings, tmp_path / folder, "mirael", metadata)
        return Trainer(layout, cache=cache).fit_one(spec)

    return run
