"""What people hand on: a LoRA's metadata, Civitai's parameters, diffusion-pipe's TOML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import torch
import yaml

from bakery.interop import kohya_import
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.settings import config as cfg

METADATA = {
    "ss_output_name": "yuzu", "ss_sd_model_name": "base.safetensors",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "24", "ss_network_alpha": "12.0", "ss_learning_rate": "0.0001",
    "ss_unet_lr": "0.0002", "ss_text_encoder_lr": "3e-05", "ss_num_epochs": "9",
    "ss_max_train_steps": "900",
    "ss_lr_warmup_steps": "90", "ss_lr_scheduler": "cosine", "ss_resolution": "(768, 512)",
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.98))",
    "ss_batch_size_per_device": "3", "ss_clip_skip": "2", "ss_max_token_length": "None",
    "ss_min_snr_gamma": "5.0", "ss_noise_offset": "None", "ss_shuffle_caption": "True",
    "ss_keep_tokens": "2", "ss_enable_bucket": "True", "ss_min_bucket_reso": "320",
    "ss_max_bucket_reso": "960", "ss_flip_aug": "False", "ss_seed": "77", "ss_mixed_precision": "bf16",
    "ss_network_args": '{"conv_dim": "8", "conv_alpha": "4"}', "ss_base_model_version": "sd_v1",
    "ss_dataset_dirs": '{"5_yuzu girl": {"n_repeats": 5, "img_count": 20}}', "ss_v2": "False",
}  # fmt: skip
CIVITAI = {
    "unetLR": 5e-4, "textEncoderLR": 5e-5, "networkDim": 24, "networkAlpha": 12, "clipSkip": 2,
    "numRepeats": 7, "resolution": 768, "lrScheduler": "cosine_with_restarts", "minSnrGamma": 5,
    "noiseOffset": 0.1, "targetSteps": 900, "enableBucket": True, "optimizerType": "AdamW8Bit",
    "optimizerArgs": "weight_decay=0.1", "maxTrainEpochs": 9, "shuffleCaption": True, "keepTokens": 1,
    "trainBatchSize": 3, "flipAugmentation": False, "lrSchedulerNumCycles": 3, "loraType": "lora",
}  # fmt: skip
PIPE: dict[str, Any] = {
    "output_dir": "runs", "dataset": "dataset.toml", "epochs": 40, "micro_batch_size_per_gpu": 3,
    "gradient_accumulation_steps": 2, "warmup_steps": 20, "save_every_n_epochs": 5,
    "activation_checkpointing": True, "save_dtype": "bfloat16", "pipeline_stages": 1,
    "adapter": {"type": "lora", "rank": 24, "dtype": "bfloat16"},
    "optimizer": {"type": "adamw_optimi", "lr": 2e-4, "betas": [0.9, 0.98], "weight_decay": 0.02},
}  # fmt: skip
XL = {"type": "sdxl", "checkpoint_path": "base.safetensors", "dtype": "bfloat16",
      "v_pred": True, "unet_lr": 3e-4, "text_encoder_1_lr": 4e-5, "text_encoder_2_lr": 4e-5,
      "min_snr_gamma": 5}  # fmt: skip
FLOW = {"type": "anima", "transformer_path": "anima.safetensors", "vae_path": "vae.safetensors",
        "qwen_path": "qwen", "dtype": "bfloat16"}  # fmt: skip


def imported(*paths: Path) -> tuple[cfg.Config, kohya_import.Draft]:
    written, draft = kohya_import.convert(paths)
    return cfg.load(yaml.safe_load(written)), draft


def file(path: Path, raw: dict[str, Any]) -> Path:
    dump = tomlkit.dumps if path.suffix == ".toml" else json.dumps
    path.write_text(dump(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["lora", "json", "held"])
def test_what_a_lora_says(tmp_path: Path, form: str) -> None:
    if form == "lora":
        path = tmp_path / "yuzu.safetensors"
        lora_file.write(path, {"lora_unet_x.alpha": torch.ones(1)}, METADATA)
    else:
        path = file(
            tmp_path / "m.json", {"name": "x", "metadata": METADATA} if form == "held" else METADATA
        )
    config, draft = imported(path)
    train = config.train
    assert (train.network_dim, train.network_alpha, train.conv_dim, train.conv_alpha) == (
        24,
        12,
        8,
        4,
    )
    assert train.rates == {"unet_lr": 2e-4, "text_encoder_lr": 3e-5}
    assert (train.num_epochs, train.train_batch_size, train.seed, train.resolution) == (
        9,
        3,
        77,
        624,
    )
    assert (train.lr_warmup_ratio, train.lr_scheduler, train.max_token_length) == (
        0.1,
        "cosine",
        75,
    )
    assert (train.optimizer_type, train.optimizer_args) == (
        "AdamW8bit", {"weight_decay": 0.1, "betas": [0.9, 0.98]},
    )  # fmt: skip
    assert (train.keep_tokens, train.clip_skip, train.min_snr_gamma) == (2, 2, 5)
    assert (config.scrape.name, config.layout.repeats, config.prune.trigger) == ("yuzu", 5, "yuzu")
    assert any("set train.base and scrape.folders" in note for note in draft.notes)


def test_datasets_in_a_lora_win_over_the_command_line(tmp_path: Path) -> None:
    sets = [{"resolution": [640, 640], "batch_size_per_device": 4, "enable_bucket": True, "subsets": [
        {"image_dir": "yuzu", "num_repeats": 3, "class_tokens": "yuzu girl", "keep_tokens": 4,
         "is_reg": False},
        {"image_dir": "reg", "num_repeats": 1, "class_tokens": "girl", "is_reg": True}]}]  # fmt: skip
    config, _ = imported(file(tmp_path / "m.json", METADATA | {"ss_datasets": json.dumps(sets)}))
    assert (config.train.resolution, config.train.train_batch_size, config.train.keep_tokens) == (
        640,
        4,
        4,
    )
    assert config.layout.repeats == 3
    assert config.layout.reg is not None


def test_a_lora_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    lora_file.write(path, {"x": torch.ones(1)}, {"note": "merged"})
    with pytest.raises(BakeryError, match="does not say how it was trained"):
        imported(path)
    path.write_bytes(b"x" * 40)
    with pytest.raises(BakeryError, match="damaged or not a safetensors file"):
        imported(path)


@pytest.mark.parametrize("held", [False, True])
def test_civitai(tmp_path: Path, held: bool) -> None:
    raw = {"type": "Character", "params": {"engine": "kohya", **CIVITAI}, "baseModelType": "sd15"}
    config, draft = imported(file(tmp_path / "c.json", raw if held else CIVITAI))
    train = config.train
    assert (train.network_dim, train.network_alpha, train.num_epochs) == (24, 12, 9)
    assert train.rates == {"unet_lr": 5e-4, "text_encoder_lr": 5e-5}
    assert (train.optimizer_type, train.optimizer_args) == ("AdamW8bit", {"weight_decay": 0.1})
    assert (train.lr_scheduler, train.lr_scheduler_num_cycles, train.noise_offset) == (
        "cosine_with_restarts", 3, 0.1,
    )  # fmt: skip
    assert (config.layout.repeats, train.resolution, train.clip_skip) == (7, 768, 2)
    assert "targetSteps" in draft.switched_off


def test_civitai_s_other_models_are_told(tmp_path: Path) -> None:
    _, draft = imported(file(tmp_path / "c.json", {"params": CIVITAI, "baseModelType": "flux"}))
    assert any("baseModelType flux is for a kind of model" in note for note in draft.notes)


def test_diffusion_pipe_and_its_dataset(tmp_path: Path) -> None:
    file(tmp_path / "dataset.toml", {
        "resolutions": [640], "enable_ar_bucket": True, "min_ar": 0.5, "max_ar": 2.0,
        "num_ar_buckets": 7,
        "directory": [{"path": "sets/yuzu", "num_repeats": 5}, {"path": "sets/hat", "mask_path": "m"}],
    })  # fmt: skip
    config, draft = imported(file(tmp_path / "main.toml", {**PIPE, "model": XL}))
    train = config.train
    assert (train.base, train.network_dim, train.network_alpha) == ("base.safetensors", 24, 24)
    assert train.rates == {"unet_lr": 3e-4, "text_encoder_lr": 4e-5}
    assert (train.num_epochs, train.train_batch_size, train.gradient_accumulation_steps) == (
        40,
        3,
        2,
    )
    assert (train.optimizer_type, train.optimizer_args) == (
        "AdamW", {"betas": [0.9, 0.98], "weight_decay": 0.02},
    )  # fmt: skip
    assert (train.lr_scheduler, train.lr_warmup_steps) == ("constant_with_warmup", 20)
    assert (train.v_parameterization, train.min_snr_gamma, train.mixed_precision) == (
        True,
        5,
        "bf16",
    )
    assert (train.resolution, train.enable_bucket, train.gradient_checkpointing) == (
        640,
        True,
        True,
    )
    assert [one.path for one in config.scrape.folders] == ["sets/yuzu", "sets/hat"]
    assert config.layout.repeats == 5
    assert "pipeline_stages" in draft.switched_off


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ({}, ("sigmoid", 1.0, 1.0)),
        ({"sigmoid_scale": 1.3}, ("sigmoid", 1.0, 1.3)),
        ({"shift": 3.0}, ("shift", 3.0, 1.0)),
        ({"timestep_sample_method": "uniform"}, ("uniform", 1.0, 1.0)),
        ({"timestep_sample_method": "uniform", "shift": 3.0}, ("shift", 3.0, 1.7)),
    ],
)
def test_diffusion_pipe_s_times(tmp_path: Path, drawn: dict[str, Any], expected: tuple) -> None:
    config, _ = imported(file(tmp_path / "main.toml", {**PIPE, "model": FLOW | drawn}))
    train = config.train
    assert (train.timestep_sampling, train.discrete_flow_shift, train.sigmoid_scale) == expected
    assert train.base == {
        "checkpoint": "anima.safetensors", "text_encoder": "qwen", "vae": "vae.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"type": "wan", "dtype": "bfloat16"}}, "model.type wan is for a kind of model"),
        ({"adapter": {}}, "no [adapter], so it is a full fine-tuning"),
        ({"adapter": {"type": "lokr", "rank": 8}}, "adapter.type lokr is another kind"),
        ({"dataset": "gone.toml"}, "dataset_config gone.toml is not here"),
        ({"blocks_to_keep": 3}, "blocks_to_keep = 3"),
    ],
)
def test_what_diffusion_pipe_does_otherwise_is_told(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    _, draft = imported(file(tmp_path / "main.toml", {**PIPE, "model": XL} | changes))
    assert told in "\n".join([*draft.notes, *draft.left_out])


def test_one_toml_with_training_and_datasets(tmp_path: Path) -> None:
    raw = {"network_dim": 24, "learning_rate": 3e-4, "max_train_epochs": 9,
           "network_module": "networks.lora",
           "general": {"shuffle_caption": True},
           "datasets": [{"batch_size": 3, "subsets": [{"image_dir": "sets/yuzu"}]}]}  # fmt: skip
    config, draft = imported(file(tmp_path / "both.toml", raw))
    train = config.train
    assert (train.network_dim, train.learning_rate, train.num_epochs) == (24, 3e-4, 9)
    assert (train.train_batch_size, train.shuffle_caption) == (3, True)
    assert any("4 settings of training beside datasets" in note for note in draft.notes)


def test_what_kohya_ss_hands_to_sd_scripts(tmp_path: Path) -> None:
    """The file of a run has `epoch` as the saved config has, and sd-scripts' words for the rest."""
    raw = {"epoch": 9, "lr_warmup_steps": 0.1, "lr_scheduler": "cosine", "max_train_epochs": 9,
            "network_dim": 24,
           "network_module": "networks.lora", "optimizer_type": "Lion", "learning_rate": 1e-4,
           "noise_offset_type": "Original", "resolution": "768,768"}  # fmt: skip
    config, draft = imported(file(tmp_path / "run.toml", raw))
    assert (config.train.optimizer_type, config.train.lr_warmup_ratio) == ("Lion", 0.1)
    assert config.train.enable_bucket is False
    assert {"epoch", "noise_offset_type"} <= set(draft.switched_off)
    assert not any("LoRA_type" in note for note in draft.notes)


def test_sections_of_a_strange_program_are_no_gui(tmp_path: Path) -> None:
    raw = {"epoch": {"n": 3}, "optimizer": {"name": "adam"}, "data": {"path": "x"}}
    with pytest.raises(BakeryError, match="no config known here"):
        imported(file(tmp_path / "x.toml", raw))
