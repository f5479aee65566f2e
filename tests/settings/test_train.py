"""Each setting of the bake does what it says; those outside the key change nothing."""

import json
from typing import get_args

import pytest
from PIL import Image
from pydantic import ValidationError
from small_bakes import SMALL, progress
from tiny_base import tiny_sdxl

from bakery.families.sd import SD1
from bakery.families.sdxl import SDXL
from bakery.families.stable_diffusion import FLOWS
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.settings.train import FLOW, LrScheduler, Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

pytest_plugins = ("bake_fixtures",)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", get_args(LrScheduler))
def test_every_scheduler_sets_the_rates(bake, tmp_path, scheduler):
    warm = 0 if scheduler == "constant" else 0.25
    bake(lr_scheduler=scheduler, lr_warmup_ratio=warm, max_steps=4, lr_scheduler_num_cycles=1)
    rates = [(line["unet_lr"], line["text_encoder_lr"]) for line in progress(tmp_path / "out")]
    end = {
        "linear": 1 / 3,
        "polynomial": 1 / 3,
        "cosine": 0.25,
        "cosine_with_restarts": 0.25,
        "constant": 1,
        "constant_with_warmup": 1,
        "rex": 5 / 6,  # (1/3) / (0.1 + 0.9/3)
    }[scheduler]
    assert rates[0] == ((2e-3, 4e-4) if scheduler == "constant" else (0, 0))
    assert rates[1] == (2e-3, 4e-4)
    assert rates[3] == pytest.approx((2e-3 * end, 4e-4 * end), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"flip_aug": True},
        {"random_crop": True, "max_data_loader_n_workers": 2,
         "persistent_data_loader_workers": True},
        {"min_snr_gamma": 1.0},
        {"noise_offset": 0.1},
        {"caption_dropout_rate": 0.9},
        {"caption_dropout_every_n_epochs": 1},
        {"caption_tag_dropout_rate": 0.9},
        {"v_parameterization": False, "zero_terminal_snr": False},
        {"zero_terminal_snr": False},
        {"optimizer_type": "Lion"},
        {"optimizer_args": {"weight_decay": 0.5}},
        {"network_train_unet_only": True},
        {"network_dropout": 0.5},
        {"scale_weight_norms": 0.001},
        {"conv_dim": 2},
        {"conv_dim": 2, "conv_alpha": 0.5},
        {"learning_rate": 1e-3},
    ],
    ids=lambda changes: next(reversed(changes)),
)  # fmt: skip
def test_no_setting_is_without_effect(bake, changes):
    short = {"num_epochs": 1, "lr_warmup_ratio": 0}
    hashes = [bake(**short, **more)["epochs"][-1]["sshs_model_hash"] for more in ({}, changes)]
    assert hashes[0] != hashes[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": True},
        {"max_data_loader_n_workers": 3},
        {"log_with": "tensorboard"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_in_the_key_changes_nothing(bake, tmp_path, changes):
    assert changes.keys() <= Train.not_in_key
    hashes = [bake(o, num_epochs=1, **c)["epochs"][-1]["sshs_model_hash"]
              for o, c in (("a", {}), ("b", changes))]  # fmt: skip
    assert hashes[0] == hashes[1]
    events = [path.name for path in (tmp_path / "b").glob("events.out.tfevents.*.log")]
    assert len(events) == ("log_with" in changes)


@pytest.mark.slow
def test_text_is_encoded_once_where_it_does_not_change(bake, tmp_path):
    still = {"text_encoder_lr": 0, "shuffle_caption": False, "lr_warmup_ratio": 0}
    first = bake("a", cache=tmp_path / "cache", **still)
    entries = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*.cache")}
    assert len(entries) == 4 + 4 + 2  # pictures, captions, and whose weights encode each
    again = bake("b", cache=tmp_path / "cache", **still)
    without = bake("c", **still)
    assert first == again == without
    assert {p: p.read_bytes() for p in (tmp_path / "cache").rglob("*.cache")} == entries


@pytest.mark.slow
def test_a_damaged_cache_is_made_again(bake, tmp_path, caplog):
    first = bake("a", cache=tmp_path / "cache", max_steps=2, lr_warmup_ratio=0)
    paths = sorted((tmp_path / "cache").rglob("*.cache"))
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][:-3])
    paths[1].write_bytes(bytes([*whole[1][:-1], whole[1][-1] ^ 1]))
    paths[2].write_bytes(b"")
    assert bake("b", cache=tmp_path / "cache", max_steps=2, lr_warmup_ratio=0) == first
    assert [path.read_bytes() for path in paths] == whole
    assert sum("is damaged" in record.message for record in caplog.records) == 3


@pytest.mark.slow
@pytest.mark.parametrize("learns", [True, False])
def test_an_sdxl_bake(layout, tmp_path, learns):
    """Two text encoders, a pooled text, sizes; with everything on that touches them."""
    base = tiny_sdxl(tmp_path / "base")
    changes = {"text_encoder_lr": 1e-4} if learns else {"network_train_unet_only": True}
    settings = Train(
        base=str(base), **{**SMALL, **changes, "num_epochs": 1, "lr_warmup_ratio": 0},
        shuffle_caption=False, flip_aug=True, random_crop=True, conv_dim=2,
        gradient_checkpointing=True, network_dropout=0.1,
    )  # fmt: skip
    found = [
        Trainer(layout, cache=tmp_path / "cache").fit_one(
            TrainSpec(settings, tmp_path / out, "mirael", {})
        )
        for out in "ab"
    ]
    assert found[0] == found[1]
    state, metadata = lora_file.read_lora(tmp_path / "a" / "mirael.safetensors")
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert any(key.startswith("lora_te2_") for key in state) == learns
    assert sum(bool(v.any()) for k, v in state.items() if "lora_up" in k) > 20


@pytest.mark.slow
def test_prior_loss_weight(bake, layout):
    """Regularization pictures at weight 0 are as good as none, but for the noise they draw."""
    reg = layout.parent / "regularization"
    (reg / "1_girl").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 48), (9, 200, 9)).save(reg / "1_girl" / "r.png")
    facts = [bake(f"r{w}", reg_data_dir=str(reg), prior_loss_weight=w, num_epochs=1)
             for w in (0.0, 1.0)]  # fmt: skip
    assert [f["reg_pictures"] for f in facts] == [1, 1]
    assert facts[0]["steps"] == 8  # as many again
    losses = [f["epochs"][0]["loss"] for f in facts]
    assert losses[0] < 0.8 * losses[1]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"discrete_flow_shift": 3}, "discrete_flow_shift does nothing with timestep_sampling"),
        ({"sigmoid_scale": 2, "timestep_sampling": "uniform"}, "take sigmoid or shift"),
        ({"logit_mean": 0.5, "timestep_sampling": "shift"}, "take logit_normal"),
        ({"logit_std": 2}, "logit_std does nothing"),
    ],
)
def test_what_the_draw_of_t_does_not_heed_is_refused(given, why):
    with pytest.raises(ValidationError, match=why):
        Train(**given)
    Train(timestep_sampling="logit_normal", discrete_flow_shift=3, logit_mean=1, logit_std=2)
    Train(timestep_sampling="shift", discrete_flow_shift=3, sigmoid_scale=2)


def test_what_came_later_is_recorded_only_where_it_differs():
    plain = Train().recorded()
    assert plain == Train().model_dump(mode="json", exclude=set(Train.came_later))
    given = {"timestep_sampling": "shift", "save_format": "diffusion_model"}
    assert Train(**given).recorded() == plain | given
    assert Train.model_validate(Train(**given).recorded()) == Train(**given)


def test_records_know_a_default_from_its_json():
    """Of a pair JSON makes a list, which is no pair: such a default would be recorded."""
    defaults = Train().model_dump(mode="json")
    for name in Train.came_later:
        assert json.loads(json.dumps(defaults[name])) == Train.model_fields[name].default
        assert not Train.records(name, defaults[name])
        assert Train.records(name, "another")
    assert Train.records("unet_lr", None), "it was there from the beginning"
    assert Train.records("unknown", 1)


@pytest.mark.parametrize("family", [SD1(), SDXL()])
def test_stable_diffusion_follows_no_flow(family):
    assert set(FLOWS) == set(FLOW)
    assert Train(**FLOWS) == Train(), "what asks for nothing is the default"
    family.check(Train().model_dump())
    other = {
        "timestep_sampling": "shift", "discrete_flow_shift": 3.0, "sigmoid_scale": 2.0,
        "logit_mean": 1.0, "logit_std": 2.0, "weighting_scheme": "cosmap",
    }  # fmt: skip
    for name in FLOW:
        with pytest.raises(BakeryError, match=f"train.{name} is .*follows no flow.*leave {name}"):
            family.check(Train().model_dump() | {name: other[name]})
    with pytest.raises(
        BakeryError, match=r"train.save_format is diffusion_model, but LoRAs for SD"
    ):
        family.check(Train(save_format="diffusion_model").model_dump())
