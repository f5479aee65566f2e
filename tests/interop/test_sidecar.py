"""What A1111 reads beside a LoRA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from bakery.interop import infotext, sidecar
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.lora import lora_file

ROOT = Path(__file__).parents[2]
METADATA = {
    "ss_output_name": "mirael",
    "ss_epoch": "2",
    "ss_num_epochs": "4",
    "ss_base_model_version": "sd_v1",
    "ss_v2": "False",
    "ss_clip_skip": "2",
    "modelspec.trigger_phrase": "mirael",
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A bake of two epochs with its samples, as the stages leave them."""
    train, sample = tmp_path / "train/mirael-abc", tmp_path / "sample/mirael-def"
    (sample / "images").mkdir(parents=True)
    train.mkdir(parents=True)
    rows, pictures = [], []
    for epoch, file in ((1, "mirael-000001.safetensors"), (2, "mirael.safetensors")):
        state = {"lora_unet_x.alpha": torch.tensor(float(epoch))}
        lora_file.write(train / file, state, METADATA | {"ss_epoch": str(epoch)})
        rows.append({"epoch": epoch, "file": file})
        for number, purpose in enumerate(("flexibility", "identity")):
            name = f"e{epoch}_{purpose}_s1.png"
            pictures.append({"epoch": epoch, "purpose": purpose, "image": name})
            facts = {"Steps": "2", "Sampler": "DDIM", "Seed": "1"}
            picture = Image.new("RGB", (8, 8), (80 * epoch, 90 * number, 0))
            infotext.save_png(picture, sample / "images" / name, infotext.Infotext("p", "", facts))
    tables.write(train / "epochs.csv", rows, ("epoch", "file"))
    tables.write(sample / "samples.csv", pictures, ("epoch", "purpose", "image"))
    sidecar.write(train / "mirael.safetensors", activation="mirael (booru), 1girl")
    settings = {"lora_weight": 0.8, "negative_prompt": "lowres"}
    manifest.write(sample, {"settings": settings, "above": {"mirael-abc": "train"}}, {})
    return tmp_path


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


def test_the_trigger_phrase_stands_in() -> None:
    assert sidecar.describe(METADATA)["activation text"] == "mirael"
    assert sidecar.describe({})["activation text"] == ""


def test_gathered_loras_carry_their_own_preview(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "Lora"
    made = sidecar.gather(
        results / "train/mirael-abc", results / "sample/mirael-def", out, name="m"
    )
    assert [path.name for path in made] == ["m-000001.safetensors", "m-000002.safetensors"]
    for epoch, lora in enumerate(made, 1):
        told = json.loads(lora.with_suffix(".json").read_text("utf-8"))
        assert told["preferred weight"] == 0.8
        assert told["negative text"] == "lowres"
        assert told["description"] == f"mirael, epoch {epoch} of 4"
        with Image.open(lora.with_suffix(".preview.png")) as preview:
            assert preview.getpixel((0, 0)) == (80 * epoch, 90, 0), "the identity prompt's"
        assert infotext.read_png(lora.with_suffix(".preview.png"))
    told = json.loads((out / "m-000002.json").read_text("utf-8"))
    assert told["activation text"] == r"mirael \(booru\), 1girl", "as written when it was baked"


@pytest.mark.slow
def test_the_command_finds_the_samples_of_the_bake(results: Path, tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "scripts/gather_loras.py", results / "train/mirael-abc",
             "--to", tmp_path / "Lora", *more],
            capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    assert run("--epoch", "2").returncode == 0
    names = sorted(path.name for path in (tmp_path / "Lora").iterdir())
    assert names == [f"mirael-abc-000002.{end}" for end in ("json", "preview.png", "safetensors")]
    wrong = run("--epoch", "9")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().endswith("has no epoch 9: saved are 1, 2")


def test_a_bake_without_samples_says_so(results: Path) -> None:
    (results / "sample/mirael-def/manifest.json").unlink()
    with pytest.raises(BakeryError, match="no finished samples"):
        sidecar.sample_of(results / "train/mirael-abc")


def test_a_broken_lora_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    with pytest.raises(BakeryError, match="not a readable LoRA file"):
        sidecar.write(tmp_path / "x.safetensors")
