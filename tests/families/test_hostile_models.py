"""What promises in SECURITY.md say of models: nothing that a model holds is ever run."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
from documents import ROOT
from safetensors.torch import load_file, save_file
from tiny_base import tiny_sd1

from bakery.families import registry
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.sampling import pipeline
from bakery.training.checkpoint import STATE, Checkpoint
from tests.fuzz.made_bases import Code, _hostile_code, _raw_pickle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("base") / "sd1")


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "base"))


def test_a_folder_s_own_code_is_not_run(copied: Path) -> None:
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        _hostile_code(random.Random(1), copied, part)
    with contextlib.suppress(BakeryError):
        registry.load(str(copied))
    assert not (copied / "ran").exists()


def test_no_line_of_the_library_trusts_remote_code() -> None:
    sources = [*(ROOT / "scripts").rglob("*.py")]
    assert len(sources) > 100
    trusting = re.compile(
        r"trust_remote_code(?!\": False)|custom_pipeline|weights_only\s*=\s*False"
    )
    assert [path for path in sources if trusting.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("seed", range(6))
def test_a_lora_that_is_a_pickle_is_not_read(tmp_path: Path, seed: int) -> None:
    """Whatever it is called: only safetensors are LoRAs."""
    rng = random.Random(seed)
    path = tmp_path / rng.choice(["a.safetensors", "a.pt", "a.ckpt"])
    if seed % 2:
        torch.save({"lora_unet_x.lora_down.weight": Code(tmp_path / "ran", seed)}, path)
    else:
        path.write_bytes(_raw_pickle(rng, tmp_path / "ran"))
    with pytest.raises(BakeryError, match=re.escape(str(path))):
        pipeline._read(path)
    with pytest.raises(BakeryError, match=re.escape(str(path))):
        lora_file.read_lora(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("seed", range(7))
def test_a_hostile_state_is_not_resumed_from(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    if seed % 2:
        torch.save(
            {"owner": "me", "rows": [], "hook": Code(tmp_path / "ran", seed)}, tmp_path / STATE
        )
    else:
        (tmp_path / STATE).write_bytes(_raw_pickle(rng, tmp_path / "ran"))
    saved = Checkpoint(tmp_path, "mirael", owner="me", rested="me")
    assert saved.resume_points() == [0]
    assert saved.resume() is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "state",
    [
        {"owner": "me"},
        {"owner": "me", "epoch": 1, "step": 5, "rows": [{}]},
        {"owner": "me", "epoch": 1, "step": 5, "rows": 7, "recent": [], "weights": [],
         "optimizer": {}, "scaler": {}},
        {"owner": "me", "epoch": 1, "step": 5, "recent": [], "weights": [], "optimizer": {},
         "scaler": {}, "rows": [{"file": "../elsewhere", "sshs_model_hash": "0"}]},
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_not_resumed_from(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / STATE)
    assert Checkpoint(tmp_path, "mirael", owner="me", rested="me").resume() is None


def refused(path: Path) -> str:
    with pytest.raises(BakeryError) as caught:
        registry.load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta_start": float("nan")}, "betas that are no noise schedule"),
        ({"beta_start": -1, "beta_schedule": "linear"}, "betas that are no noise schedule"),
        ({"beta_schedule": "os.system"}, "cannot read scheduler"),
    ],
)
def test_a_scheduler_s_numbers(copied: Path, change: dict, words: str) -> None:
    config = copied / "scheduler/scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    assert words in refused(copied)


@pytest.mark.parametrize("file", ["../../outside.safetensors", "gone.safetensors", "/etc/passwd"])
def test_shards_outside_of_the_folder(copied: Path, file: str) -> None:
    (weights,) = (copied / "unet").glob("*.safetensors")
    weights.rename(copied.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"conv_in.weight": file}}
    name = "diffusion_pytorch_model.safetensors.index.json"
    (copied / "unet" / name).write_text(json.dumps(index))
    assert "unet" in refused(copied)


def test_weights_that_are_whole_numbers(copied: Path) -> None:
    (path,) = (copied / "vae").glob("*.safetensors")
    state = {"decoder.conv_in.weight": torch.ones(8, 4, 3, 3, dtype=torch.int64)}
    save_file(state, path)
    assert "holds I64 instead of floating-point numbers" in refused(copied)


def test_an_empty_tokenizer(copied: Path) -> None:
    shutil.rmtree(copied / "tokenizer")
    (copied / "tokenizer").mkdir()
    assert "tokenizer" in refused(copied)


def test_surplus_weights_are_counted(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = (copied / "vae").glob("*.safetensors")
    more = {f"somebody.{n}.weight": torch.zeros(2) for n in range(5)}
    save_file({**load_file(path), **more}, path, {"format": "pt"})
    registry.load(str(copied))
    assert "5 tensors of vae belong to no layer and are left out (somebody.0.weight" in caplog.text
