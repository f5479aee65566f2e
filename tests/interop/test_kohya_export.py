"""A bake leaves for sd-scripts, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save_file

from bakery.interop import kohya_export, kohya_import
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.layout import Layout
from bakery.settings.train import Train

ROOT = Path(__file__).parents[2]
BAKE = Train(
    base="models/base.safetensors", network_dim=8, network_alpha=4, conv_dim=2, conv_alpha=1,
    learning_rate=1e-4, unet_lr=2e-4, text_encoder_lr=0, num_epochs=3, clip_skip=2,
    resolution=512, min_bucket_reso=320, max_bucket_reso=960, bucket_reso_steps=64,
)  # fmt: skip


def made(root: Path, settings: Train = BAKE, metadata: dict[str, str] | None = None) -> Path:
    """The folder of a finished bake, on a layout with one picture and one regularization picture."""
    bake, layout = root / "results/train/mirael-lr0.0002-a", root / "results/layout/mirael-b"
    for folder in ("5_mirael", "reg/1_1girl", "not_this", "3_empty"):
        (layout / folder).mkdir(parents=True)
    for folder in ("5_mirael", "reg/1_1girl"):
        Image.new("RGB", (8, 8)).save(layout / folder / "1.png")
    (layout / "5_mirael/1.txt").write_text("mirael, 1girl, smile\n")
    manifest.write(layout, {"stage": "layout", "settings": Layout().model_dump(mode="json")}, {})
    (root / "models").mkdir()
    (root / "models/base.safetensors").write_bytes(b"")
    bake.mkdir(parents=True)
    known = {"ss_output_name": "mirael", "ss_base_model_version": "sd_v1"} | (metadata or {})
    save_file({"a": np.zeros(1, np.float16)}, bake / "mirael.safetensors", metadata=known)
    tables.write(bake / "epochs.csv", [{"epoch": 3, "file": "mirael.safetensors"}],
                 ("epoch", "file"))  # fmt: skip
    about = {
        "stage": "train",
        "settings": settings.model_dump(mode="json"),
        "above": {"mirael-b": "layout"},
    }
    manifest.write(bake, about, {})
    return bake


def exported(root: Path, **given: Any) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """(config, dataset, what they cannot say)."""
    export = kohya_export.export(made(root, **given))
    return tomllib.loads(export.config), tomllib.loads(export.dataset), export.lost


def test_the_config(tmp_path: Path) -> None:
    config, _, _ = exported(tmp_path)
    expected = {
        "network_module": "networks.lora", "network_dim": 8, "network_alpha": 4.0,
        "network_args": ["conv_dim=2", "conv_alpha=1.0"], "learning_rate": 1e-4, "unet_lr": 2e-4,
        "text_encoder_lr": 0.0, "lr_warmup_steps": 0.1, "max_train_epochs": 3, "clip_skip": 2,
        "output_name": "mirael", "save_model_as": "safetensors", "cache_latents": True,
        "pretrained_model_name_or_path": (tmp_path / "models/base.safetensors").as_posix(),
    }  # fmt: skip
    assert expected.items() <= config.items()
    assert not {"base", "num_epochs", "max_train_steps", "conv_dim", "resolution"} & set(config)


def test_the_dataset(tmp_path: Path) -> None:
    _, dataset, _ = exported(tmp_path)
    layout = tmp_path / "results/layout/mirael-b"
    assert dataset["general"]["resolution"] == 512
    assert dataset["general"]["caption_extension"] == ".txt"
    (only,) = dataset["datasets"]
    assert only["subsets"] == [
        {"image_dir": f"{layout}/5_mirael", "num_repeats": 5, "class_tokens": "mirael"},
        {"image_dir": f"{layout}/reg/1_1girl", "num_repeats": 1, "class_tokens": "1girl",
         "is_reg": True},
    ]  # fmt: skip


def test_what_the_model_predicts_is_said(tmp_path: Path) -> None:
    told = {"modelspec.prediction_type": "v", "ss_zero_terminal_snr": "True"}
    config, _, _ = exported(tmp_path, metadata=told)
    assert config["v_parameterization"]
    assert config["zero_terminal_snr"]


def test_sdxl_has_a_script_of_its_own(tmp_path: Path) -> None:
    bake = made(tmp_path, metadata={"ss_base_model_version": "sdxl_base_v1-0"})
    export = kohya_export.export(bake)
    assert "sdxl_train_network.py" in export.config
    assert "clip_skip" not in tomllib.loads(export.config)
    assert any(one.startswith("clip_skip") for one in export.lost)


def test_a_vae_of_its_own_goes_and_comes_back(tmp_path: Path) -> None:
    parts = {"vae": "owner/vae", "checkpoint": BAKE.base}
    bake = made(tmp_path, BAKE.model_copy(update={"base": parts}))
    config, _ = kohya_export.write(kohya_export.export(bake), tmp_path / "for-kohya")
    told = tomllib.loads(config.read_text())
    whole = (tmp_path / BAKE.base).as_posix()
    assert (told["pretrained_model_name_or_path"], told["vae"]) == (whole, "owner/vae")
    text, _ = kohya_import.convert([config])
    back = cfg.load(yaml.safe_load(text)).train.base
    assert back == {"checkpoint": whole, "vae": "owner/vae"}


def test_a_bake_of_an_unknown_family_cannot_go(tmp_path: Path) -> None:
    bake = made(tmp_path, metadata={"ss_base_model_version": "sd_v9"})
    with pytest.raises(BakeryError, match=r"a family that is not known here \(sd_v9\)"):
        kohya_export.export(bake)


def test_what_cannot_be_said_stands_in_the_file(tmp_path: Path) -> None:
    settings = BAKE.model_copy(update={"max_steps": 7, "shuffle_caption": False})
    export = kohya_export.export(made(tmp_path, settings))
    config = tomllib.loads(export.config)
    assert config["max_train_steps"] == 7
    assert "max_train_epochs" not in config
    assert len([one for one in export.lost if one.startswith(("num_epochs", "keep_tokens"))]) == 2
    assert all(f"# - {one}" in export.config for one in export.lost)


def test_a_bake_comes_back(tmp_path: Path) -> None:
    config, _ = kohya_export.write(kohya_export.export(made(tmp_path)), tmp_path / "for-kohya")
    text, _ = kohya_import.convert([config])
    back = cfg.load(yaml.safe_load(text))
    moved = {"base": (tmp_path / BAKE.base).as_posix(),
             "reg_data_dir": (tmp_path / "results/layout/mirael-b/reg").as_posix()}  # fmt: skip
    assert back.train == BAKE.model_copy(update=moved)
    (folder,) = back.scrape.folders
    assert folder.path == (tmp_path / "results/layout/mirael-b/5_mirael").as_posix()
    assert back.prune.trigger == "mirael"
    assert back.layout.repeats == 5


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / script, *arguments], cwd=tmp_path,
            capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    bake = made(tmp_path)
    done = run("export_config.py", bake, "--to", "out")
    assert done.stdout.split() == ["out/mirael-config.toml", "out/mirael-dataset.toml"]
    assert "note: the random numbers are others" in done.stderr
    done = run("import_config.py", "out/mirael-config.toml", "--to", "my.yaml", "--captions")
    assert done.returncode == 0, done.stderr
    assert cfg.load(yaml.safe_load((tmp_path / "my.yaml").read_text("utf-8"))).train.conv_dim == 2
    written = tmp_path / "config/edits/mirael/captions/1.txt"
    assert written.read_text("utf-8") == "mirael, 1girl, smile\n"
    again = run("import_config.py", "out/mirael-config.toml", "--to", "my.yaml")
    assert again.returncode == 1
    assert "my.yaml exists already" in again.stderr
    assert "Traceback" not in again.stderr
    wrong = run("export_config.py", tmp_path / "results/layout/mirael-b")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().endswith("is no bake: give a folder results/train/<bake>")


def test_a_bake_whose_dataset_is_gone_says_so(tmp_path: Path) -> None:
    bake = made(tmp_path)
    (tmp_path / "results/layout/mirael-b/manifest.json").unlink()
    with pytest.raises(BakeryError, match="has not finished"):
        kohya_export.export(bake)


FLOWING = Train(
    base={"checkpoint": "models/base.safetensors", "text_encoder": "models/qwen3.safetensors",
          "vae": "models/vae.safetensors", "t5_tokenizer": "models/t5"},
    network_dim=16, network_alpha=16, unet_lr=1e-4, text_encoder_lr=0, lr_scheduler="constant",
    lr_warmup_ratio=0, num_epochs=3, shuffle_caption=False, keep_tokens=0,
    resolution=1024, min_bucket_reso=512, max_bucket_reso=1536, bucket_reso_steps=64,
    mixed_precision="bf16", timestep_sampling="logit_normal", logit_mean=0.5,
    discrete_flow_shift=3, save_format="diffusion_model",
)  # fmt: skip


def test_a_flow_model_leaves_and_comes_back(tmp_path: Path) -> None:
    anima = {"ss_base_model_version": "anima"}
    config, _, lost = exported(tmp_path, settings=FLOWING, metadata=anima)
    expected = {
        "network_module": "networks.lora_anima", "qwen3": "models/qwen3.safetensors",
        "vae": "models/vae.safetensors", "t5_tokenizer_path": "models/t5",
        "timestep_sampling": "sigma", "weighting_scheme": "logit_normal", "logit_mean": -0.5,
        "logit_std": 1.0, "discrete_flow_shift": 3.0, "network_train_unet_only": True,
        "cache_text_encoder_outputs": True, "mixed_precision": "bf16",
    }  # fmt: skip
    assert expected.items() <= config.items()
    assert not {"clip_skip", "max_token_length", "text_encoder_lr", "save_format"} & set(config)
    told = "\n".join(lost)
    assert "one of 1000 steps" in told
    assert "scripts/lora.py convert" in told
    made = kohya_export.export(tmp_path / "results/train/mirael-lr0.0002-a")
    assert "accelerate launch anima_train_network.py" in made.config
    kohya_export.write(made, tmp_path / "out")
    text, _ = kohya_import.convert([tmp_path / "out/mirael-config.toml"])
    back = cfg.load(yaml.safe_load(text)).train
    changes = {"base", "reg_data_dir", "save_format", "text_encoder_lr", "network_train_unet_only"}
    assert back.model_dump(exclude=changes) == FLOWING.model_dump(exclude=changes)
    assert back.rates == FLOWING.rates
    assert {**back.base, "checkpoint": ""} == {**FLOWING.base, "checkpoint": ""}


def test_shuffled_tags_are_not_kept_as_they_were_encoded(tmp_path: Path) -> None:
    settings = FLOWING.model_copy(update={"shuffle_caption": True})
    config, _, _ = exported(
        tmp_path, settings=settings, metadata={"ss_base_model_version": "anima"}
    )
    assert "cache_text_encoder_outputs" not in config
    assert config["network_train_unet_only"]


def test_candidates_are_read_there_with_enable_wildcard(tmp_path: Path) -> None:
    bake = made(tmp_path)
    layout = tmp_path / "results/layout/mirael-b"
    (layout / "5_mirael/1.txt").write_text("mirael, smile\nmirael smiles at us.\n")
    (layout / "candidates.csv").write_text("image,file,caption\n")
    ((dataset,),) = [tomllib.loads(kohya_export.export(bake).dataset)["datasets"]]
    assert [subset["enable_wildcard"] for subset in dataset["subsets"]] == [True, True]
    config, _ = kohya_export.write(kohya_export.export(bake), tmp_path / "out")
    text, _ = kohya_import.convert([config])
    assert cfg.load(yaml.safe_load(text)).layout.candidates == ("lines",)


def test_held_out_pictures_are_a_dataset_that_only_validates(tmp_path: Path) -> None:
    bake = made(tmp_path)
    layout = tmp_path / "results/layout/mirael-b"
    (layout / "holdout/1_mirael").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(layout / "holdout/1_mirael/2.png")
    export = kohya_export.export(bake)
    config, dataset = tomllib.loads(export.config), tomllib.loads(export.dataset)
    trained, held = dataset["datasets"]
    assert "validation_split" not in trained
    assert held["validation_split"] == 1.0
    (only,) = held["subsets"]
    assert only["image_dir"].endswith("holdout/1_mirael")
    assert (config["validation_seed"], config["validate_every_n_epochs"]) == (23, 1)
    config_file, _ = kohya_export.write(export, tmp_path / "for-kohya")
    text, _ = kohya_import.convert([config_file])
    back = cfg.load(yaml.safe_load(text))
    assert [folder.path for folder in back.scrape.folders] == [f"{layout}/5_mirael"]
    assert "for validation only" in text


def test_without_held_out_pictures_nothing_is_said_of_validation(tmp_path: Path) -> None:
    config, _, _ = exported(tmp_path)
    assert not [name for name in config if name.startswith("valid")]


def test_a_separator_leaves_and_comes_back(tmp_path: Path) -> None:
    bake = made(tmp_path, BAKE.model_copy(update={"keep_tokens_separator": "|||"}))
    export = kohya_export.export(bake)
    assert tomllib.loads(export.dataset)["general"]["keep_tokens_separator"] == "|||"
    folder = tmp_path / "results/layout/mirael-b/5_mirael"
    (folder / "1.txt").write_text("mirael ||| smile, hat ||| She runs, fast.\n")
    config, _ = kohya_export.write(export, tmp_path / "out")
    back = cfg.load(yaml.safe_load(kohya_import.convert([config])[0]))
    assert (back.train.keep_tokens_separator, back.layout.keep_tokens_separator) == ("|||",) * 2
    plain = kohya_export.export(made(tmp_path / "plain")).dataset
    assert "keep_tokens_separator" not in plain, "files of before have the same bytes"
    still = BAKE.model_copy(update={"keep_tokens_separator": "|||", "shuffle_caption": False})
    (told,) = [
        one
        for one in kohya_export.export(made(tmp_path / "still", still)).lost
        if "separator" in one
    ]
    assert "is trained as a word" in told
