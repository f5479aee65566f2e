"""Every config file that is shipped, alone and laid over the others."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from bakery.families import registry
from bakery.settings import config as cfg

ROOT = Path(__file__).parents[2]
BASES = sorted(path for path in (ROOT / "config").glob("*.yaml"))
PRESETS = sorted((ROOT / "config/presets").glob("*.yaml"))


def raw(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text("utf-8"))


def laid_over(base: Path, preset: Path) -> cfg.Config:
    """As snakemake merges several `--configfile`s."""
    merged = copy.deepcopy(raw(base))
    update_config(merged, raw(preset))
    return cfg.load(merged)


def name(path: Path) -> str:
    return path.stem


def test_they_are_all_here() -> None:
    presets = {"guide", "exact_recreation", "more_detail", "loose", "anima_recipes"}
    assert {path.stem for path in PRESETS} == presets
    assert {"config", "sd15", "sdxl", "noobai-vpred", "anima"} <= {path.stem for path in BASES}


@pytest.mark.parametrize("base", BASES, ids=name)
def test_a_config_stands_alone(base: Path) -> None:
    config = cfg.load(raw(base))
    for sweep in config.sweeps.values():
        for setting, values in sweep.grid.items():
            for value in values:
                cfg.overlay(config, {setting: value})
    assert config.sample.width <= config.train.max_bucket_reso


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_says_when_to_use_it(preset: Path) -> None:
    first = preset.read_text("utf-8").split("\n\n")[0]
    assert all(line.startswith("# ") for line in first.splitlines())
    assert f"config/presets/{preset.name}" in first


@pytest.mark.parametrize("base", BASES, ids=name)
@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_goes_over_any_config(base: Path, preset: Path) -> None:
    alone, both = cfg.load(raw(base)), laid_over(base, preset)
    for section, values in raw(preset).items():
        for key, value in (values or {}).items():
            if section != "sweeps":
                assert getattr(getattr(both, section), key) == (
                    float(value) if key.endswith("_lr") else value
                )
    untouched = set(cfg.STAGES) - set(raw(preset))
    assert all(getattr(both, stage) == getattr(alone, stage) for stage in untouched)
    assert both.train.base == alone.train.base


@pytest.mark.parametrize(
    ("preset", "unet_lr", "text_encoder_lr"),
    [("guide", 16e-5, 3e-5), ("exact_recreation", 1e-4, 3e-5), ("loose", 3.5e-4, 3e-5)],
)
def test_the_rates_are_the_guides(preset: str, unet_lr: float, text_encoder_lr: float) -> None:
    config = laid_over(ROOT / "config/sd15.yaml", ROOT / f"config/presets/{preset}.yaml")
    assert config.train.rates == {"unet_lr": unet_lr, "text_encoder_lr": text_encoder_lr}
    assert config.sweeps == {}, "the config's own sweep would lay its rates over the preset's"


def test_more_detail_is_a_sweep_in_the_place_of_the_shipped_one() -> None:
    config = laid_over(ROOT / "config/sd15.yaml", ROOT / "config/presets/more_detail.yaml")
    (sweep,) = config.sweeps.values()
    rates = [float(rate) for rate in sweep.grid["train.unet_lr"]]
    texts = [float(rate) for rate in sweep.grid["train.text_encoder_lr"]]
    assert (min(rates), max(rates)) == (1.5e-5, 6e-5)
    assert (min(texts), max(texts)) == (6e-5, 8e-5)


def test_published_recipes_are_baked_beside_one_s_own() -> None:
    config = laid_over(ROOT / "config/anima.yaml", ROOT / "config/presets/anima_recipes.yaml")
    (sweep,) = config.sweeps.values()
    assert [float(rate) for rate in sweep.grid["train.unet_lr"]] == [config.train.unet_lr]
    trains = [cfg.overlay(config, variant).train for variant in sweep.variants]
    assert len({train.model_dump_json() for train in [config.train, *trains]}) == 5
    rates = [train.rates["unet_lr"] for train in trains]
    assert (min(rates), max(rates)) == (2e-5, 1e-4)


def test_loose_repeats_less_and_exact_recreation_bakes_longer() -> None:
    base = ROOT / "config/sd15.yaml"
    alone = cfg.load(raw(base))
    loose = laid_over(base, ROOT / "config/presets/loose.yaml")
    exact = laid_over(base, ROOT / "config/presets/exact_recreation.yaml")
    assert loose.layout.repeats < alone.layout.repeats
    assert exact.train.num_epochs > alone.train.num_epochs
    assert exact.train.save_every_n_epochs == 1


@pytest.mark.slow
def test_snakemake_lays_a_preset_over_a_config(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--dry-run",
         "--directory", tmp_path, "--cores", "1", "--workflow-profile", ROOT / "profiles/default",
         "--configfile", ROOT / "config/config.yaml", ROOT / "config/presets/loose.yaml"],
        capture_output=True, text=True, check=False, timeout=1200, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "results/train/mirael-lr0.00035-" in said
    assert said.count("results/train/mirael-lr0.0003-") == 0, "the config's own sweep waits"


@pytest.mark.parametrize("family", registry.FAMILIES, ids=lambda family: family.name)
def test_a_family_s_own_config_has_nothing_that_it_refuses(family) -> None:
    for preset in filter(None, (family.preset, family.preset_v)):
        config = cfg.load(raw(ROOT / f"config/{preset}.yaml"))
        swept = [cfg.overlay(config, {setting: value}) for sweep in config.sweeps.values()
                 for setting, values in sweep.grid.items() for value in values]  # fmt: skip
        for one in (config, *swept):
            family.check(one.train.model_dump())
        assert not family.samplers or config.sample.sampler in family.samplers
        assert preset == "config" or config.train.resolution == family.resolution


def test_published_recipes_are_not_refused() -> None:
    config = laid_over(ROOT / "config/anima.yaml", ROOT / "config/presets/anima_recipes.yaml")
    (family,) = (one for one in registry.FAMILIES if one.preset == "anima")
    for sweep in config.sweeps.values():
        for variant in sweep.variants:
            family.check(cfg.overlay(config, variant).train.model_dump())
