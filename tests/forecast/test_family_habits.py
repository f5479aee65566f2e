"""What is usual with one family and not with the base at hand is told, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakery.families import registry
from bakery.families.family import Family
from bakery.forecast import family_habits
from bakery.settings.train import Train


@pytest.fixture
def family(tmp_path: Path) -> Family | None:
    """Of a model that follows a flow, as far as its folder shows."""
    index = {"_class_name": "AnimaModularPipeline"}
    (tmp_path / "modular_model_index.json").write_text(json.dumps(index))
    assert registry.family_of(str(tmp_path)).follows_flow
    return family_habits.family_of(str(tmp_path))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"unet_lr": 1e-3}, "unet_lr 0.001 is far above the 2e-05 to 0.0001 of published recipes"),
        ({}, "learning_rate 0.002 is far above"),
        ({"unet_lr": 1e-4, "learning_rate": 1}, ""),
        ({"unet_lr": 2e-4}, ""),
        ({"learning_rate": 1, "optimizer_type": "Prodigy"}, ""),
    ],
)
def test_a_rate_of_another_family_s_size(family: Family | None, train: dict, words: str) -> None:
    told = family_habits.of_training(Train(**train), family, 25)
    assert len(told) == bool(words)
    assert words in "".join(told)


def test_more_pictures_than_help(family: Family | None) -> None:
    train = Train(unet_lr=5e-5)
    assert not family_habits.of_training(train, family, 120)
    (sentence,) = family_habits.of_training(train, family, 130)
    assert sentence.startswith("130 pictures are many for Anima: 20 to 30 good ones")


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("~/stable-diffusion-webui/models/Lora", True),
        (r"C:\apps\stable-diffusion-webui\models\Lora", True),
        ("~/stable-diffusion-webui-forge-neo/models/Lora", False),
        ("~/ComfyUI/models/loras", False),
        ("", False),
    ],
)
def test_a_target_that_cannot_load_it(family: Family | None, folder: str, told: bool) -> None:
    found = family_habits.of_target(family, folder)
    assert bool(found) == told
    assert all("A1111, which loads no Anima" in sentence for sentence in found)


def test_stable_diffusion_and_unknown_bases_are_not_talked_of(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    for place in (str(tmp_path), "owner/model", str(tmp_path / "missing.safetensors")):
        family = family_habits.family_of(place)
        assert not family_habits.of_training(Train(unet_lr=1), family, 900)
        assert not family_habits.of_target(family, "stable-diffusion-webui")


def test_a_prediction_that_the_base_s_files_contradict(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    scheduler = tmp_path / "scheduler" / "scheduler_config.json"
    scheduler.parent.mkdir()
    scheduler.write_text('{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}')

    def told(**train: bool | None) -> list[str]:
        return family_habits.of_prediction(Train(**train), str(tmp_path))

    (sentence,) = told(v_parameterization=False)
    assert sentence.startswith("v_parameterization is false, and the base's own files say")
    (sentence,) = told(v_parameterization=True, zero_terminal_snr=False)
    assert sentence.startswith("zero_terminal_snr is false")
    assert told() == told(v_parameterization=True, zero_terminal_snr=True) == []
    scheduler.write_text('{"prediction_type": "epsilon"}')
    assert told(v_parameterization=False, zero_terminal_snr=False) == []
    for place in ("owner/model", str(tmp_path / "missing.safetensors")):
        assert family_habits.of_prediction(Train(v_parameterization=False), place) == []


@pytest.mark.parametrize(("toy", "known"), [("resources/world/anima", False), ("mine/anima", True)])
def test_a_toy_has_no_habits(tmp_path: Path, toy: str, known: bool) -> None:
    place = tmp_path / toy
    place.mkdir(parents=True)
    index = {"_class_name": "AnimaModularPipeline"}
    (place / "modular_model_index.json").write_text(json.dumps(index))
    assert (family_habits.family_of(str(place)) is not None) == known
