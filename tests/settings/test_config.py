"""The config: coerced, bounded, and refused in words that help."""

from __future__ import annotations

import math
from pathlib import Path

import describe_config
import pytest
import yaml

from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.tag import published_threshold
from bakery.settings.train import Train

ROOT = Path(__file__).parents[2]


def problems(raw: dict) -> str:
    with pytest.raises(BakeryError) as caught:
        cfg.load(raw)
    return str(caught.value)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001"])
def test_yaml_learning_rates_are_numbers_however_written(text: str) -> None:
    raw = yaml.safe_load(f"train: {{unet_lr: {text}}}")
    assert cfg.load(raw).train.unet_lr == 1e-4


@pytest.mark.parametrize(
    ("given", "literal"),
    [
        ("shiroko_(blue_archive)", "shiroko (blue archive)"),
        (r"shiroko \(blue archive\)", "shiroko (blue archive)"),
        (r"shiroko_\(blue_archive\)", "shiroko (blue archive)"),
        ("ohwx_woman", "ohwx_woman"),
        ("(o)_(o)", "(o)_(o)"),
    ],
)
def test_a_trigger_is_literal(given: str, literal: str) -> None:
    assert cfg.load({"prune": {"trigger": given}}).prune.trigger == literal


def test_an_empty_section_is_the_defaults() -> None:
    assert cfg.load({"train": None}) == cfg.Config()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"trian": {}}, "trian is not a setting; did you mean train?"),
        ({"train": {"unet_l": 1}}, "train.unet_l is not a setting; did you mean unet_lr?"),
        ({"sample": {"prompts": [{"id": "a", "prompt": "b", "purpose": "identity", "propose": 1}]}},
            "did you mean purpose?"),
        ({"train": {"num_epochs": "many"}}, "train.num_epochs is 'many'"),
        ({"train": {"num_epochs": 0}}, "train.num_epochs is 0"),
        ({"train": {"lr_scheduler": "cosin"}}, "'cosine'"),
        ({"prune": {"trigger": "one, two"}}, "commas"),
        ({"prune": {"general_threshold": "high"}}, "prune.general_threshold is 'high': give a number"),
        ({"prune": {"general_threshold": 0.01}}, "prune.general_threshold is 0.01: give a number"),
        ({"prune": {"character_threshold": 0.01}}, "prune.character_threshold is 0.01"),
        ({"prune": {"general_threshold": "published"}}, "no threshold is known for the tagger tagger"),
        ({"prune": {"outfits": {"a, b": ["coat"]}}}, "prune.outfits names 'a, b'"),
        ({"prune": {"outfits": {"gala": []}}}, "prune.outfits gives 'gala' no tags"),
        ({"tag": {"general_threshold": 0.3}}, "has no general_threshold: write it in the prune"),
        ({"prune": {"trigger": "  "}}, "prune.trigger is empty"),
        ({"train": {"lr_scheduler": "constant"}}, "lr_warmup_ratio"),
        ({"train": {"unet_lr": 0, "text_encoder_lr": 0}}, "trains nothing"),
        ({"train": {"unet_lr": 0, "network_train_unet_only": True}}, "trains nothing"),
        ({"train": {"learning_rate": 0}}, "trains nothing"),
        ({"train": {"optimizer_type": "Prodigy", "unet_lr": 1}}, "Prodigy takes one rate"),
        ({"train": {"optimizer_type": "Adam"}}, "'AdamW8bit'"),
        ({"train": {"conv_alpha": 1}}, "conv_alpha does nothing without conv_dim"),
        ({"train": {"persistent_data_loader_workers": True}}, "max_data_loader_n_workers above 0"),
        ({"train": {"min_snr_gamma": 0}}, "train.min_snr_gamma is 0"),
        ({"train": {"max_train_steps": 9}}, "did you mean max_steps?"),
        ({"scrape": {"urls": []}}, "names no source"),
        ({"filter": {"ratings": ["safe"]}}, "'general'"),
        ({"layout": {"repeats": "five"}}, "layout.repeats is 'five'"),
        ({"layout": {"repeats": 0}}, "layout.repeats is 0: "),
        ({"layout": {"concepts": {"halo": {"repeats": "five"}}}}, "concepts.halo.repeats is 'five'"),
        ({"layout": {"concepts": {"halo": {"repeat": 2}}}}, "did you mean repeats?"),
        ({"layout": {"concepts": {"halo": {"share": 0.5, "repeats": 2}}}}, "leave one out"),
        ({"layout": {"concepts": {"a": {"share": 0.5}, "b": {"share": 0.6}}}}, "1.1 of all showings"),
        ({"layout": {"concepts": {"../halo": {}}}}, "layout.concepts.../halo"),
        ({"layout": {"concepts": {"x" * 300: {}}}}, "layout.concepts.xxx"),
        ({"layout": {"reg": {"folder": "x"}}}, "layout.reg.class_tokens is missing"),
        ({"layout": {"reg": {"folder": "x", "class_tokens": "1girl", "repeat": 2}}},
            "layout.reg.repeat is not a setting; did you mean repeats?"),
        ({"layout": {"reg": {"folder": "x", "class_tokens": " ,"}}}, "class_tokens is empty"),
        ({"sample": {"seeds": []}}, "sample.seeds is []"),
        ({"sample": {"seeds": [1, 1]}}, "name it once"),
        ({"train": "fast"}, "train is 'fast'"),
        ({"train": {"base": None}}, "train.base is empty, as null and a bare ~ are, too"),
        ({"scrape": {"folders": [None]}}, "scrape.folders.0 is empty"),
        ({"scrape": {"folders": None}}, "scrape.folders is empty"),
        ({"scrape": {"name": "星"}}, "a name has at most 64 letters"),
        ({"prune": {"trigger": 1234}}, "has to be text: put it in quotes"),
        ({"prune": {"trigger": True}}, "YAML reads yes"),
        ({"prune": {"trigger": "(hoshi:1.2)"}}, "means something to a prompt box"),
        ({"prune": {"trigger": "<lora:hoshi:1>"}}, "means something to a prompt box"),
        ({"prune": {"trigger": "[trigger]"}}, "means something to a prompt box"),
        ({"train": {"network_alpha": math.inf}}, "a finite number"),
        ({"train": {"resolution": [512, 768]}}, "one number, not a list"),
        ({"train": {"resolution": "512,768"}}, "one number, not two"),
        ({"train": {"learning_rate": "0,0001"}}, "write 0.0001, with a point"),
        ({"train": {"optimizer_args": 5}}, "train.optimizer_args is 5: this has to be a table"),
        ({"train": 5}, "train is 5: this has to be a table of names and values"),
        ({"train": {"optimizer_args": "weight_decay=0.1"}}, "such as {weight_decay: 0.1}"),
        ({"train": {"optimizer_args": ["eps=1e-8", "weight_decay=0.1"]}},
            "such as {eps: 1e-8, weight_decay: 0.1}"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(raw: dict, expected: str) -> None:
    assert expected in problems(raw)
    assert len(problems(raw).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({"learning_rate": 1e-4}, (1e-4, 1e-4)),
        ({"learning_rate": 1e-4, "unet_lr": 3e-4}, (3e-4, 1e-4)),
        ({"learning_rate": 1e-4, "text_encoder_lr": 0}, (1e-4, 0)),
        ({"learning_rate": 5, "unet_lr": 16e-5, "text_encoder_lr": 3e-5}, (16e-5, 3e-5)),
        ({"learning_rate": 1e-4, "network_train_unet_only": True}, (1e-4, 0)),
    ],
)
def test_the_rate_of_each_part(given: dict, rates: tuple) -> None:
    """With both specific ones set, learning_rate does nothing."""
    assert tuple(Train(**given).rates.values()) == rates


def test_an_optimizer_in_any_case() -> None:
    assert Train(optimizer_type="adamw8bit").optimizer_type == "AdamW8bit"


@pytest.mark.parametrize("model", ["SmilingWolf/wd-vit-tagger-v3@v2.0", "models/wd-vit-tagger-v3/"])
@pytest.mark.parametrize("word", ["published", None])
def test_a_published_threshold_belongs_to_the_tagger(model: str, word: str | None) -> None:
    loaded = cfg.load({"tag": {"model": model}, "prune": {"general_threshold": word}})
    assert loaded.prune.general_threshold == "published"
    assert published_threshold(loaded.tag.model) == 0.2614


def test_every_problem_is_told_at_once() -> None:
    assert len(problems({"train": {"num_epochs": 0, "seed": -1}, "tga": {}}).splitlines()) == 3


def test_every_setting_is_described() -> None:
    for stage in cfg.STAGES:
        for name, field in cfg.Config.model_fields[stage].annotation.model_fields.items():
            assert field.description, f"{stage}.{name} has no description"


def test_what_is_written_about_the_config_is_the_model() -> None:
    assert describe_config.SCHEMA.read_text("utf-8") == describe_config.schema(), "make docs"
    assert describe_config.README.read_text("utf-8") == describe_config.readme(), "make docs"


def test_the_shipped_config_is_valid() -> None:
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    assert cfg.load(shipped).sweeps


def test_an_indented_section_is_said_once() -> None:
    raw = {
        "layout": {"repeats": 5, "train": None, "unet_lr": 1e-4, "num_epochs": 3},
        "tag": {"modle": "x"},
    }
    with pytest.raises(BakeryError) as caught:
        cfg.load(raw)
    first, *others = str(caught.value).splitlines()
    assert first == (
        "config: train is indented, so it is read as a part of layout: sections begin at the left margin"
    )
    assert not any("layout" in other for other in others)
    assert any("tag.modle is not a setting" in other for other in others)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"num_epochs": "three"}, "train.num_epochs is 'three': a whole number is wanted"),
        ({"num_epochs": 1.5}, "train.num_epochs is 1.5: a whole number is wanted"),
        ({"resolution": "64px"}, "train.resolution is '64px': a whole number is wanted"),
        ({"unet_lr": "low"}, "train.unet_lr is 'low': a number is wanted, such as 0.5 or 1.0e-4"),
        (
            {"num_epochs": None},
            "train.num_epochs is empty, as null and a bare ~ are, too: give a value, or",
        ),
    ],
)
def test_what_is_wanted_is_said_in_plain_words(train: dict[str, object], said: str) -> None:
    with pytest.raises(BakeryError) as caught:
        cfg.load({"train": train})
    assert said in str(caught.value)
