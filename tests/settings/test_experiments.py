"""Every shipped experiment: it says what it asks, and varies that and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

from bakery.graph import build, short_names, summary
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config/experiments"
EXPERIMENTS = sorted(FOLDER.glob("*.yaml"))
VARIES = {
    "batch_size": ({"train.train_batch_size"}, 4),
    "detail_known": ({"layout.details", "train.seed"}, 4),
    "detail_unknown": ({"layout.details", "train.seed"}, 4),
    "network_dim": ({"train.network_dim"}, 5),
    "pictures": ({"filter.max_pictures", "layout.repeats"}, 4),
    "preservation": ({"train.output_preservation", "train.seed"}, 4),
    "pruned": ({"prune.enabled", "train.seed"}, 4),
    "repeats_or_epochs": (
        {"layout.repeats", "train.num_epochs", "train.save_every_n_epochs"},
        4,
    ),
    "resolution": ({"train.resolution", "train.seed"}, 6),
    "second_epoch": ({"train.unet_lr"}, 5),
    "text_encoder_lr": ({"train.output_preservation", "train.text_encoder_lr"}, 8),
}
"""Experiment -> what differs between its bakes, and how many there are."""
KEPT = 81
"""Pictures of the embedded mirael that the filter keeps."""


def raw(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text("utf-8"))


def laid_over(base: Path, experiment: str) -> cfg.Config:
    """As snakemake merges several `--configfile`s."""
    merged = copy.deepcopy(raw(base))
    update_config(merged, raw(FOLDER / f"{experiment}.yaml"))
    return cfg.load(merged)


def bakes(experiment: str, roots: list[Path]) -> list[dict[str, Any]]:
    """The settings of each bake on the experiment's only page, by dotted name."""
    (page,) = build.build(laid_over(ROOT / "config/config.yaml", experiment), roots).of("compare")
    assert page.readable == experiment, "the config's own sweeps wait"
    return [one["settings"] for one in summary.bakes_of(page)]


@pytest.fixture(scope="module")
def halo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `build/halo` has pictures, as an experiment asks."""
    folder = tmp_path_factory.mktemp("halo")
    (folder / "build/halo").mkdir(parents=True)
    Image.new("RGB", (192, 192), "pink").save(folder / "build/halo/000.png")
    return folder


def test_each_is_expected() -> None:
    assert [path.stem for path in EXPERIMENTS] == sorted(VARIES)


@pytest.mark.parametrize("experiment", VARIES)
def test_only_what_it_asks_about_differs(experiment: str, halo: Path) -> None:
    found = bakes(experiment, [halo, ROOT])
    names, count = VARIES[experiment]
    assert len(found) == count
    assert set(short_names.differing(found)) == names


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_it_says_what_it_asks_and_how_to_run_it(path: Path) -> None:
    first = path.read_text("utf-8").split("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in first)
    told = [line[2:].split(":")[0] for line in first if not line.startswith("#  ")]
    assert told == ["Asks", "The guide", "Look at", "Takes"]
    assert f"make EXPERIMENT={path.stem}" in first[-1]
    assert f"EXPERIMENT={path.stem}`" in (ROOT / "docs/experiments.md").read_text("utf-8")


@pytest.mark.parametrize("base", ["sd15", "sdxl", "noobai-vpred", "anima"])
@pytest.mark.parametrize("experiment", VARIES)
def test_it_goes_over_any_config(base: str, experiment: str) -> None:
    config = laid_over(ROOT / f"config/{base}.yaml", experiment)
    (sweep,) = config.sweeps.values()
    if experiment == "resolution":  # pixels of the tiny base
        with pytest.raises(BakeryError, match="train resolution 64 is outside min_bucket_reso"):
            cfg.overlay(config, {"train.resolution": 64})
        return
    changes = [{name: value} for name, values in sweep.grid.items() for value in values]
    for change in [*changes, *sweep.variants]:
        cfg.overlay(config, change)
    assert config.train.base == cfg.load(raw(ROOT / f"config/{base}.yaml")).train.base


def showings(settings: dict[str, Any], pictures: int) -> int:
    """How often a bake shows a picture, all epochs together."""
    return pictures * settings["layout.repeats"] * settings["train.num_epochs"]


def test_repeats_and_epochs_make_the_same_number_of_showings(halo: Path) -> None:
    found = bakes("repeats_or_epochs", [halo, ROOT])
    assert {showings(one, KEPT) for one in found} == {20 * KEPT}
    assert len({one["layout.repeats"] for one in found}) == len(found)


def test_few_pictures_are_shown_as_often_as_many(halo: Path) -> None:
    found = bakes("pictures", [halo, ROOT])
    counts = [min(KEPT, one["filter.max_pictures"]) for one in found]
    assert counts == [3, 10, 30, 80]
    shown = [showings(one, count) for one, count in zip(found, counts, strict=True)]
    assert max(shown) / min(shown) < 1.05
    assert {one["train.train_batch_size"] for one in found} == {4}


def test_the_halo_is_seldom_and_asked_for(halo: Path) -> None:
    found = bakes("detail_unknown", [halo, ROOT])
    assert {one["scrape.name"] for one in found} == {"seldom"}
    asked = [prompt["prompt"] for prompt in found[0]["sample.prompts"]]
    assert sum("halo" in prompt for prompt in asked) == 4


def test_null_leaves_a_sweep_of_the_file_below_out() -> None:
    config = cfg.load({"sweeps": {"mine": {"grid": {"train.seed": [1, 2]}}, "theirs": None}})
    assert list(config.sweeps) == ["mine"]
    assert cfg.load({"sweeps": {"theirs": None}}).sweeps == {}
