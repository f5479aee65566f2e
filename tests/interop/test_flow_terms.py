"""How a flow model's t is drawn comes from other trainers' files, and goes back to sd-scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.interop import flow_terms, kohya_import, kohya_terms
from bakery.settings import config as cfg
from bakery.settings.train import FLOW, Train

SD_SCRIPTS = {
    "pretrained_model_name_or_path": "models/anima.safetensors", "qwen3": "models/qwen3.safetensors",
    "vae": "models/qwen_image_vae.safetensors", "network_module": "networks.lora_anima",
    "network_dim": 8, "network_alpha": 1, "learning_rate": 1e-4, "optimizer_type": "AdamW8bit",
    "lr_scheduler": "constant", "max_train_epochs": 10, "save_every_n_epochs": 1,
    "mixed_precision": "bf16", "gradient_checkpointing": True, "cache_latents": True,
    "cache_text_encoder_outputs": True, "network_train_unet_only": True, "resolution": "1024,1024",
    "enable_bucket": True, "vae_chunk_size": 64, "vae_disable_cache": True, "seed": 42,
    "train_data_dir": "sets",
}  # fmt: skip
"""A run as sd-scripts' guide to such models has it."""
GUI = {
    "LoRA_type": "Anima", "anima_checkbox": True, "sdxl": False, "v2": False,
    "pretrained_model_name_or_path": "models/anima.safetensors",
    "anima_qwen3": "models/qwen3.safetensors", "anima_vae": "models/qwen_image_vae.safetensors",
    "anima_llm_adapter_path": "", "anima_t5_tokenizer_path": "", "anima_discrete_flow_shift": 3.0,
    "anima_timestep_sampling": "shift", "anima_sigmoid_scale": 1.0, "anima_attn_mode": "torch",
    "anima_qwen3_max_token_length": 512, "anima_t5_max_token_length": 512,
    "anima_split_attn": False, "anima_vae_chunk_size": 0, "timestep_sampling": "sigma",
    "weighting_scheme": "logit_normal", "discrete_flow_shift": 3.1582, "logit_mean": 0,
    "logit_std": 1, "vae": "", "clip_skip": 2, "max_token_length": 150, "network_dim": 16,
    "network_alpha": 16, "learning_rate": 0.0001, "unet_lr": 0.0001, "text_encoder_lr": 0,
    "max_resolution": "1024,1024", "epoch": 8, "optimizer": "AdamW8bit", "lr_warmup": 0,
    "lr_scheduler": "cosine", "seed": 7,
}  # fmt: skip
"""What kohya_ss' GUI saves: the fields of all kinds of models are in it."""
ONETRAINER = {
    "base_model_name": "someone/Flowing-Diffusers", "batch_size": 2, "learning_rate": 3e-05,
    "model_type": "ANIMA", "output_model_format": "KOHYA_LORA", "resolution": "512",
    "transformer": {"train": True, "weight_dtype": "INT_W8A8"}, "unet": {"train": True},
    "text_encoder": {"train": False, "weight_dtype": "FLOAT_8"}, "training_method": "LORA",
    "train_dtype": "BFLOAT_16", "output_dtype": "BFLOAT_16", "lora_rank": 16, "lora_alpha": 1.0,
    "timestep_distribution": "LOGIT_NORMAL", "layer_filter": "attn1,attn2,ff",
    "layer_filter_preset": "attn-mlp",
}  # fmt: skip
AI_TOOLKIT = {
    "job": "extension",
    "config": {"name": "suzu", "process": [{
        "type": "diffusion_trainer", "trigger_word": "suzu",
        "network": {"type": "lora", "linear": 32, "linear_alpha": 32},
        "save": {"dtype": "bf16", "save_every": 250},
        "datasets": [{"folder_path": "sets", "resolution": [512, 1024]}],
        "train": {"batch_size": 1, "steps": 3000, "train_unet": True, "train_text_encoder": False,
                  "noise_scheduler": "flowmatch", "optimizer": "adamw8bit", "lr": 1e-4,
                  "timestep_type": "sigmoid", "dtype": "bf16"},
        "model": {"name_or_path": "someone/Flowing-Diffusers", "arch": "anima"},
    }]},
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sets/5_suzu").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(path: Path, raw: dict[str, Any]) -> tuple[Train, kohya_import.Draft, str]:
    written = {".json": json.dumps, ".toml": tomlkit.dumps, ".yaml": yaml.safe_dump}[path.suffix](
        raw
    )
    path.write_text(written, encoding="utf-8")
    text, draft = kohya_import.convert([path])
    return cfg.load(yaml.safe_load(text)).train, draft, text


def flow_of(train: Train) -> dict[str, Any]:
    return {name: getattr(train, name) for name in FLOW if train.differs(name)}


def changed(**values: Any) -> dict[str, Any]:
    return SD_SCRIPTS | values


@pytest.mark.parametrize(
    ("file", "raw", "flow"),
    [
        ("c.toml", SD_SCRIPTS, {}),
        ("c.toml", changed(timestep_sampling="shift", discrete_flow_shift=3.0, sigmoid_scale=1.5),
         {"timestep_sampling": "shift", "discrete_flow_shift": 3.0, "sigmoid_scale": 1.5}),
        ("c.toml", changed(timestep_sampling="uniform", weighting_scheme="cosmap"),
         {"timestep_sampling": "uniform", "weighting_scheme": "cosmap"}),
        ("c.toml", changed(timestep_sampling="sigma", weighting_scheme="logit_normal",
                           logit_mean=0.5, logit_std=1.2, discrete_flow_shift=3.0),
         {"timestep_sampling": "logit_normal", "logit_mean": -0.5, "logit_std": 1.2,
          "discrete_flow_shift": 3.0}),
        ("c.toml", changed(timestep_sampling="sigma", weighting_scheme="sigma_sqrt"),
         {"timestep_sampling": "uniform", "weighting_scheme": "sigma_sqrt"}),
        ("c.toml", changed(timestep_sampling="sigma", discrete_flow_shift=3.0),
         {"timestep_sampling": "shift", "discrete_flow_shift": 3.0, "sigmoid_scale": 1.7}),
        ("c.toml", changed(timestep_sampling="flux_shift"),
         {"timestep_sampling": "shift", "discrete_flow_shift": 3.1582}),
        ("c.json", GUI, {"timestep_sampling": "shift", "discrete_flow_shift": 3.0}),
        ("c.json", ONETRAINER, {"timestep_sampling": "logit_normal"}),
        ("c.json", ONETRAINER | {"noising_bias": 0.5, "noising_weight": 0.2, "timestep_shift": 3.0},
         {"timestep_sampling": "logit_normal", "logit_mean": 0.5, "logit_std": 1.2,
          "discrete_flow_shift": 3.0}),
        ("c.json", ONETRAINER | {"timestep_distribution": "UNIFORM"},
         {"timestep_sampling": "uniform"}),
        ("c.yaml", AI_TOOLKIT, {}),
    ],
)  # fmt: skip
def test_the_draw_of_t_is_read(here: Path, file: str, raw: dict[str, Any], flow: Any) -> None:
    train, draft, _ = imported(here / file, raw)
    assert flow_of(train) == flow
    assert train.rates["text_encoder_lr"] == 0, "it cannot learn"
    assert not any("may not be known" in note for note in draft.notes)
    told = " ".join([*draft.left_out, *draft.notes])
    assert not any(
        name in told for name in ("timestep_distribution", "timestep_type", "network_mo")
    )


def test_what_does_nothing_there_is_no_setting_here(here: Path) -> None:
    given = changed(clip_skip=2, min_snr_gamma=5, discrete_flow_shift=3.0, logit_std=2.0)
    train, draft, _ = imported(here / "c.toml", given)
    assert (train.clip_skip, train.min_snr_gamma) == (1, None)
    assert not flow_of(train)
    assert {*given} - {*SD_SCRIPTS} <= {*draft.switched_off}


def test_the_text_encoder_is_left_as_it_is_and_that_is_said(here: Path) -> None:
    alone = {k: v for k, v in SD_SCRIPTS.items() if k not in ("cache_text_encoder_outputs",
             "network_train_unet_only")} | {"text_encoder_lr": 1e-5}  # fmt: skip
    train, draft, text = imported(here / "c.toml", alone)
    assert train.network_train_unet_only
    assert train.text_encoder_lr is None
    assert any("here it is left as it is" in note for note in draft.notes)
    assert "the text encoder is not trained" in text


def test_the_gui_s_fields_of_other_models_are_idle(here: Path) -> None:
    _, draft, _ = imported(here / "c.json", GUI)
    assert {"timestep_sampling", "weighting_scheme", "discrete_flow_shift", "vae", "clip_skip",
            "max_token_length"} <= {*draft.switched_off}  # fmt: skip
    plain = GUI | {"LoRA_type": "Standard", "anima_checkbox": False}
    train, draft, _ = imported(here / "d.json", plain)
    assert train.clip_skip == 2
    assert not flow_of(train)
    assert "anima_timestep_sampling" in draft.switched_off
    assert any(entry.startswith("timestep_sampling") for entry in draft.left_out)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_there_and_back(data: st.DataObject) -> None:
    sampling = data.draw(st.sampled_from(["uniform", "sigmoid", "logit_normal", "shift"]))
    number = st.floats(0.1, 5)
    of = {"logit_normal": {"discrete_flow_shift": number, "logit_mean": st.floats(-2, 2),
                           "logit_std": number},
          "shift": {"discrete_flow_shift": number, "sigmoid_scale": number},
          "sigmoid": {"sigmoid_scale": number}}.get(sampling, {})  # fmt: skip
    wanted = {name: data.draw(values) for name, values in of.items()}
    if sampling != "logit_normal":
        wanted["weighting_scheme"] = data.draw(st.sampled_from(["none", "sigma_sqrt", "cosmap"]))
    train = Train(timestep_sampling=sampling, **wanted)
    arguments, _ = kohya_terms.to_kohya(train)
    back, notes, idle = flow_terms.to_ours(arguments | {"network_module": flow_terms.MODULE})
    assert Train(**back).model_dump(include=set(FLOW)) == train.model_dump(include=set(FLOW))
    assert not notes
    assert not idle
    assert flow_terms.lost(train) == [] or sampling == "logit_normal"


def test_sd_scripts_counts_its_schedule_from_the_noise() -> None:
    """Its logit_mean m draws u around sigmoid(m) and takes the sigma that is u down the schedule.

    So ours is -m: the same share of t is above every limit.
    """
    steps, shift, mean, std = 1000, 3.0, 0.8, 0.6
    even = torch.linspace(
        1, 1 / steps, steps
    )  # FlowMatchEulerDiscreteScheduler's, before its shift
    schedule = shift * even / (1 + (shift - 1) * even)
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    theirs = schedule[(torch.sigmoid(mean + std * normal) * steps).long()]
    t = torch.sigmoid(-mean + std * normal)
    ours = shift * t / (1 + (shift - 1) * t)
    for limit in (0.2, 0.4, 0.6, 0.8):
        assert abs(float((theirs > limit).float().mean() - (ours > limit).float().mean())) < 0.01
