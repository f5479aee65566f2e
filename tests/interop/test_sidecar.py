"""What A1111 reads beside a LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bakery.interop import sidecar
from bakery.io.errors import BakeryError
from bakery.lora import lora_file

METADATA = {
    "ss_output_name": "mirael",
    "ss_epoch": "2",
    "ss_num_epochs": "4",
    "ss_base_model_version": "sd_v1",
    "ss_v2": "False",
    "ss_clip_skip": "2",
    "modelspec.trigger_phrase": "mirael",
}


def test_the_keys_are_the_ones_a1111_reads() -> None:
    made = sidecar.describe(METADATA, activation="mirael, 1girl", weight=0.7, notes="baked slowly")
    assert set(made) == {
        "description", "sd version", "activation text", "preferred weight", "negative text", "notes",
    }  # fmt: skip
    assert made["activation text"] == "mirael, 1girl"
    assert made["preferred weight"] == 0.7
    assert made["sd version"] == "SD1"
    assert made["description"] == "mirael, epoch 2 of 4"
    assert "clip skip 2" in made["notes"]
    assert made["notes"].endswith("baked slowly")


def test_brackets_are_written_as_a1111_reads_them() -> None:
    made = sidecar.describe(METADATA, activation="shiroko (blue archive)", negative="text (logo)")
    assert made["activation text"] == r"shiroko \(blue archive\)"
    assert made["negative text"] == r"text \(logo\)"
    phrase = {"modelspec.trigger_phrase": "shiroko (blue archive)"}
    assert sidecar.describe(METADATA | phrase)["activation text"] == r"shiroko \(blue archive\)"


def test_a_trigger_that_a1111_would_cut_is_noted() -> None:
    assert "Enable comments" in sidecar.describe({}, activation="voidoll (#compass)")["notes"]
    assert "Enable comments" not in sidecar.describe({}, activation="voidoll")["notes"]


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, "SD1"),
        ({"ss_v2": "True"}, "SD2"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
    ],
)
def test_the_family_is_a1111s_word(changes: dict, version: str) -> None:
    assert version in sidecar.VERSIONS
    assert sidecar.describe(METADATA | changes)["sd version"] == version


@pytest.mark.parametrize(
    ("version", "said", "told"),
    [
        ("sd_v1", "2", ", clip skip 2\n"),
        ("sd_v1", "None", ", clip skip 1\n"),  # what sd-scripts writes where it is not set
        ("sdxl_base_v1-0", "None", ", clip skip 2\n"),
        ("sdxl_base_v1-0", "1", ", clip skip 2\n"),
        ("anima", "None", "base ?\n"),
        ("of nobody", "3", ", clip skip 3\n"),
    ],
)
def test_clip_skip_is_as_a1111_calls_it(version: str, said: str, told: str) -> None:
    metadata = METADATA | {"ss_base_model_version": version, "ss_clip_skip": said}
    assert told in sidecar.describe(metadata)["notes"]


def test_the_trigger_phrase_stands_in() -> None:
    assert sidecar.describe(METADATA)["activation text"] == "mirael"
    assert sidecar.describe({})["activation text"] == ""


def test_the_description_calls_the_file_by_its_name(tmp_path: Path) -> None:
    lora = tmp_path / "mirael-dim8-e02.safetensors"
    lora_file.write(lora, {"lora_unet_x.alpha": torch.tensor(1.0)}, METADATA)
    for more, said in (({}, "mirael"), ({"name": lora.stem}, "mirael-dim8-e02")):
        told = json.loads(sidecar.write(lora, **more).read_text("utf-8"))
        assert told["description"] == f"{said}, epoch 2 of 4"


def test_a_broken_lora_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    with pytest.raises(BakeryError, match="not a safetensors file"):
        sidecar.write(tmp_path / "x.safetensors")
