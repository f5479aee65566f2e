"""Configs of other trainers as people have them: what a value means there, or a line about it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bakery.edits import caption_edits
from bakery.interop import kohya_import, nearest, plain_values
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.optimizers import OPTIMIZERS

GUI: dict[str, Any] = {
    "LoRA_type": "Standard", "pretrained_model_name_or_path": "D:/models/base.safetensors",
    "train_data_dir": "D:\\sets\\yuzu", "output_name": "yuzu", "max_resolution": "768,768",
    "network_dim": 24, "network_alpha": 12, "conv_dim": 8, "conv_alpha": 4, "optimizer": "Lion",
    "optimizer_args": "\"weight_decay=0.2\" \"betas=0.9,0.98\"", "learning_rate": "0.0002",
    "unet_lr": "0.0002", "text_encoder_lr": "3e-5", "lr_scheduler": "cosine", "lr_warmup": 10,
    "lr_scheduler_num_cycles": "", "lr_scheduler_power": "", "train_batch_size": 3, "epoch": 9,
    "max_train_epochs": "", "max_train_steps": "", "max_token_length": "225", "clip_skip": "2",
    "seed": "77", "keep_tokens": "2", "mixed_precision": "bf16", "save_precision": "fp16",
    "enable_bucket": True, "min_bucket_reso": 320, "max_bucket_reso": 1536, "min_snr_gamma": 0,
    "noise_offset": "", "noise_offset_type": "Original", "xformers": True, "factor": -1,
    "additional_parameters": "", "gradient_accumulation_steps": 1.0, "shuffle_caption": True,
}  # fmt: skip
"""A config as the GUI saves it."""
ONETRAINER = {
    "training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "base_model_name": "b.safetensors",
    "learning_rate_scheduler": "CONSTANT", "learning_rate": 2e-4, "learning_rate_warmup_steps": 40,
    "epochs": 12, "batch_size": 2, "resolution": "640", "lora_rank": 8, "lora_alpha": 4.0,
    "optimizer": {"optimizer": "PRODIGY", "d_coef": 0.8, "beta1": 0.9, "beta2": 0.99, "beta3": None},
    "unet": {"learning_rate": 1.0}, "text_encoder": {"train": False}, "train_dtype": "BFLOAT_16",
    "output_model_destination": "models/mikan.safetensors",
    "concepts": [{"name": "mikan", "path": "C:\\sets\\mikan", "balancing": 3.0,
                  "text": {"enable_tag_shuffling": True, "keep_tags_count": 2}},
                 {"path": "C:\\sets\\old", "enabled": False}],
}  # fmt: skip
AI_TOOLKIT = {
    "job": "extension",
    "config": {"name": "suzu_v2", "process": [{
        "type": "sd_trainer", "trigger_word": "suzu",
        "network": {"type": "lora", "linear": 12, "linear_alpha": 6, "conv": 4},
        "save": {"dtype": "bf16", "save_every": 100},
        "datasets": [{"folder_path": "sets/suzu", "caption_ext": "txt", "num_repeats": 4,
                      "shuffle_tokens": True, "resolution": [512, 768]}],
        "train": {"batch_size": 2, "steps": 900, "lr": "2e-4", "optimizer": "adamw8bit",
                  "train_text_encoder": False, "dtype": "bf16"},
        "model": {"name_or_path": "owner/model"},
    }]},
}  # fmt: skip


def imported(folder: Path, raw: dict[str, Any], name: str = "c.json"):
    """(the config, the draft, the YAML) that a file of this content becomes."""
    dump = {".json": json.dumps, ".toml": tomlkit.dumps, ".yaml": yaml.safe_dump}
    path = folder / name
    path.write_text(dump[path.suffix](raw), encoding="utf-8")
    text, draft = kohya_import.convert([path])
    return cfg.load(yaml.safe_load(text)), draft, text


def pictures(folder: Path, *captions: str) -> None:
    folder.mkdir(parents=True)
    for number, caption in enumerate(captions):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")


@pytest.mark.parametrize(
    ("optimizer", "given", "arguments", "left_out"),
    [
        ("DAdaptAdam", "decouple=True weight_decay=0.2 use_bias_correction=True",
            {"weight_decouple": True, "weight_decay": 0.2, "bias_correction": True}, ""),
        ("Prodigy", "decouple=True d_coef=0.8", {"decouple": True, "d_coef": 0.8}, ""),
        ("AdamW", "decouple=True weight_decay=0.1", {"weight_decay": 0.1},
            "optimizer_args.decouple = True (AdamW takes no such argument)"),
    ],
)  # fmt: skip
def test_an_optimizer_gets_what_its_class_takes(
    tmp_path: Path, optimizer: str, given: str, arguments: dict[str, Any], left_out: str
) -> None:
    changes = {"optimizer": optimizer, "optimizer_args": given, "text_encoder_lr": "0.0002"}
    config, draft, _ = imported(tmp_path, GUI | changes)
    assert config.train.optimizer_args == arguments
    said = [entry for entry in draft.left_out if entry.startswith("optimizer_args")]
    assert said == ([left_out] if left_out else [])


def test_adafactor_heeds_rates_where_it_does_so_there(tmp_path: Path) -> None:
    heeds = {"scale_parameter": False, "relative_step": False, "warmup_init": False}
    plain = {"optimizer": {"optimizer": "ADAFACTOR"}}
    assert imported(tmp_path, ONETRAINER | plain)[0].train.optimizer_args == heeds
    own = {"optimizer": {"optimizer": "ADAFACTOR", "relative_step": True}}
    got = imported(tmp_path, ONETRAINER | own)[0].train.optimizer_args
    assert got == heeds | {"relative_step": True}
    toolkit = copy.deepcopy(AI_TOOLKIT)
    toolkit["config"]["process"][0]["train"]["optimizer"] = "adafactor"
    assert imported(tmp_path, toolkit, "c.yaml")[0].train.optimizer_args == heeds
    gui, _, _ = imported(tmp_path, GUI | {"optimizer": "Adafactor", "optimizer_args": ""})
    assert gui.train.optimizer_args == {}, "sd-scripts' Adafactor chooses its own rates"


def test_what_the_file_does_not_say_and_does_nothing_is_not_written(tmp_path: Path) -> None:
    def words(**changes: Any) -> set[str]:
        raw = {k: v for k, v in (GUI | changes).items() if v not in (None, "")}
        return set(yaml.safe_load(imported(tmp_path, raw)[2])["train"])

    idle = {"learning_rate", "lr_scheduler_num_cycles", "lr_scheduler_power"}
    assert not words(learning_rate=None) & idle
    assert words() & idle == {"learning_rate"}, "this one stands in the file"
    restarts = words(lr_scheduler="cosine_with_restarts", learning_rate=None)
    assert restarts & idle == {"lr_scheduler_num_cycles"}


def test_a_file_without_pictures_says_all_that_is_missing(tmp_path: Path) -> None:
    config, draft, _ = imported(tmp_path, GUI | {"train_data_dir": ""})
    assert config.tag.model == "SmilingWolf/wd-swinv2-tagger-v3", "not the example's"
    (note,) = [note for note in draft.notes if "names no pictures" in note]
    assert note.endswith("set scrape.name, scrape.urls or scrape.folders, and prune.trigger")


def test_pictures_of_one_name_in_several_folders_are_told_once(tmp_path: Path) -> None:
    for folder in ("sets/5_yuzu", "sets/2_yuzu hat"):
        pictures(tmp_path / folder, "yuzu, hat", "yuzu, smile")
    _, draft, _ = imported(tmp_path, GUI | {"train_data_dir": str(tmp_path / "sets"),
                                            "caption_extension": ".txt"})  # fmt: skip
    (note,) = [note for note in draft.notes if "another folder" in note]
    assert note.startswith("2 pictures have the name of one in another folder")


def test_every_network_for_anima_is_known_as_one(tmp_path: Path) -> None:
    raw = {"network_module": "networks.lokr_anima", "network_dim": 8, "max_train_epochs": 4,
           "learning_rate": 1e-4, "pretrained_model_name_or_path": "anima.safetensors"}  # fmt: skip
    config, draft, _ = imported(tmp_path, raw, "c.toml")
    assert config.train.network_train_unet_only
    assert config.train.max_token_length == 225, "75 would be refused"
    assert not any("not baked here" in note for note in draft.notes)


def test_the_gui(tmp_path: Path) -> None:
    config, draft, text = imported(tmp_path, GUI)
    got = config.train
    assert (got.num_epochs, got.max_steps, got.seed, got.clip_skip) == (9, 0, 77, 2)
    assert (got.optimizer_type, got.optimizer_args) == (
        "Lion", {"weight_decay": 0.2, "betas": [0.9, 0.98]},
    )  # fmt: skip
    assert got.rates == {"unet_lr": 2e-4, "text_encoder_lr": 3e-5}
    assert (got.lr_warmup_ratio, got.max_token_length) == (0.1, 225)
    assert (got.resolution, got.max_bucket_reso, got.min_snr_gamma) == (768, 1536, None)
    assert got.conv_dim is None, "a Standard LoRA has no convolutions"
    assert "conv_dim" in draft.switched_off
    assert [folder.path for folder in config.scrape.folders] == ["D:/sets/yuzu"]
    assert "JSON of kohya_ss' GUI" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epoch": 7, "max_train_epochs": 0}, {"num_epochs": 7, "max_steps": 0}),
        ({"max_train_epochs": "5"}, {"num_epochs": 5}),
        ({"max_train_steps": "300"}, {"max_steps": 300}),
        ({"max_train_steps": "300", "max_train_epochs": "5"}, {"num_epochs": 5, "max_steps": 0}),
        ({"LoRA_type": "Kohya LoCon"}, {"conv_dim": 8, "conv_alpha": 4}),
        ({"LoRA_type": "LyCORIS/LoKr", "conv_dim": 0}, {"conv_dim": None, "conv_alpha": None}),
        ({"LoRA_type": "LyCORIS/LoKr", "network_dim": 100000}, {"network_dim": 8, "network_alpha": 8}),
        ({"text_encoder_lr": 0}, {"rates": {"unet_lr": 2e-4, "text_encoder_lr": 0}}),
        ({"unet_lr": "", "text_encoder_lr": 1e-5}, {"rates": {"unet_lr": 0, "text_encoder_lr": 1e-5}}),
        ({"unet_lr": 0, "text_encoder_lr": 0}, {"rates": {"unet_lr": 2e-4, "text_encoder_lr": 2e-4}}),
        ({"lr_warmup": 0, "lr_warmup_steps": 100}, {"lr_warmup_steps": 100}),
        ({"lr_warmup": 25, "lr_warmup_steps": "0"}, {"lr_warmup_ratio": 0.25}),
        ({"lr_scheduler": "constant"}, {"lr_warmup_ratio": 0.0, "lr_scheduler": "constant"}),
        ({"lr_scheduler": "adafactor"}, {"lr_scheduler": "constant"}),
        ({"lr_scheduler_type": "CosineAnnealingLR"}, {"lr_scheduler": "cosine"}),
        ({"max_token_length": ""}, {"max_token_length": 75}),
        ({"max_resolution": "900,900"}, {"resolution": 904}),
        ({"max_resolution": ["512,640"]}, {"resolution": 576}),
        ({"min_bucket_reso": 300, "bucket_reso_steps": 1},
         {"min_bucket_reso": 304, "bucket_reso_steps": 8}),
        ({"max_bucket_reso": 512}, {"max_bucket_reso": 768}),
        ({"optimizer": "PagedAdamW8bit"}, {"optimizer_type": "AdamW8bit", "optimizer_args": {}}),
        ({"optimizer": "DAdaptLion"}, {"optimizer_type": "DAdaptAdam", "optimizer_args": {}}),
        ({"optimizer_args": "betas=0.9,0.99,0.999"}, {"optimizer_args": {}}),
        ({"additional_parameters": "--network_train_unet_only --max_grad_norm=0"},
         {"network_train_unet_only": True, "max_grad_norm": 0}),
        ({"optimizer": ["AdamW"]}, {"optimizer_type": "AdamW"}),
        ({"train_batch_size": "many"}, {"train_batch_size": 1}),
    ],
)  # fmt: skip
def test_what_the_gui_means(tmp_path: Path, changes: dict, expected: dict) -> None:
    config, _, _ = imported(tmp_path, GUI | changes)
    assert {name: getattr(config.train, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_resolution": "900,900"}, "resolution 900 is not possible here: 904"),
        ({"optimizer": "SGDNesterov"}, "optimizer SGDNesterov is not here: AdamW"),
        ({"lr_scheduler": "piecewise"}, "lr_scheduler piecewise is not here: constant"),
        ({"train_batch_size": "many"}, "train_batch_size = 'many' (cannot be read)"),
        ({"flux1_checkbox": True}, "flux1_checkbox (Flux) is for a kind of model"),
        ({"rank_dropout": 0.1}, "rank_dropout = 0.1"),
        ({"brand_new_word": 5}, "brand_new_word = 5"),
        ({"optimizer_args": "betas=0.9,0.99,0.999"}, "Lion takes 2 betas"),
    ],
)
def test_what_is_not_carried_over_is_said(tmp_path: Path, changes: dict, word: str) -> None:
    _, draft, text = imported(tmp_path, GUI | changes)
    assert word in "\n".join([*draft.notes, *draft.left_out])
    assert word in text


def test_secrets_are_never_written(tmp_path: Path) -> None:
    secrets = {
        "wandb_api_key": "0123secret4567", "huggingface_token": "hf_abcdefghijklmnopqrstuvwx",
        "proxy": "http://me:secret@proxy:80", "vae": "https://me:secret@host/vae.safetensors",
        "additional_parameters": "--wandb_api_key 89secret01 --some_option=hf_abcdefghijklmnopqrstuv",
        "training_comment": "token hf_abcdefghijklmnopqrstuvwx",
    }  # fmt: skip
    _, draft, text = imported(tmp_path, GUI | secrets)
    everything = "\n".join([text, *draft.notes, *draft.left_out])
    assert "secret@" not in everything
    assert "secret4567" not in everything
    assert "secret01" not in everything
    assert "hf_abc" not in everything
    assert "wandb_api_key (a secret" in everything


def test_onetrainer(tmp_path: Path) -> None:
    config, draft, _ = imported(tmp_path, ONETRAINER)
    got = config.train
    assert (got.base, got.network_dim, got.network_alpha) == ("b.safetensors", 8, 4)
    assert (got.optimizer_type, got.optimizer_args) == (
        "Prodigy", {"d_coef": 0.8, "betas": [0.9, 0.99]},
    )  # fmt: skip
    assert (got.lr_scheduler, got.lr_warmup_steps) == ("constant_with_warmup", 40)
    assert got.rates == {"unet_lr": 1.0, "text_encoder_lr": 0.0}
    assert (got.num_epochs, got.train_batch_size, got.resolution) == (12, 2, 640)
    assert (got.mixed_precision, got.shuffle_caption, got.keep_tokens) == ("bf16", True, 2)
    assert [folder.path for folder in config.scrape.folders] == ["C:/sets/mikan"]
    assert (config.scrape.name, config.layout.repeats) == ("mikan", 3)
    assert any("C:\\sets\\old is left out" in note for note in draft.notes)


def test_onetrainers_concepts_beside_the_file(tmp_path: Path) -> None:
    raw = {k: v for k, v in ONETRAINER.items() if k != "concepts"}
    (tmp_path / "concepts.json").write_text(json.dumps(ONETRAINER["concepts"]))
    config, _, _ = imported(
        tmp_path, raw | {"concept_file_name": "training_concepts/concepts.json"}
    )
    assert [folder.path for folder in config.scrape.folders] == ["C:/sets/mikan"]


def test_ai_toolkit(tmp_path: Path) -> None:
    config, draft, _ = imported(tmp_path, AI_TOOLKIT, "c.yaml")
    got = config.train
    assert (got.network_dim, got.network_alpha, got.conv_dim, got.conv_alpha) == (12, 6, 4, 4)
    assert (got.max_steps, got.optimizer_type, got.lr_scheduler) == (900, "AdamW8bit", "constant")
    assert got.rates == {"unet_lr": 2e-4, "text_encoder_lr": 0}
    assert (got.resolution, got.train_batch_size, got.save_precision) == (768, 2, "bf16")
    assert (config.prune.trigger, config.scrape.name, config.layout.repeats) == (
        "suzu",
        "suzu_v2",
        4,
    )
    assert any("save_every = 100" in entry for entry in draft.left_out)


def test_the_loss_without_the_trigger_of_ai_toolkit(tmp_path: Path) -> None:
    raw = json.loads(json.dumps(AI_TOOLKIT))
    train = raw["config"]["process"][0]["train"]
    train |= {
        "diff_output_preservation": True, "diff_output_preservation_multiplier": 0.5,
        "diff_output_preservation_class": "person",
    }  # fmt: skip
    config, draft, _ = imported(tmp_path, raw, "c.yaml")
    assert config.train.output_preservation == 0.5
    assert config.train.output_preservation_share == 1
    assert any("class person: there it replaces the trigger" in note for note in draft.notes)
    assert not any("output_preservation" in entry for entry in draft.left_out)
    train["diff_output_preservation"] = False
    config, draft, _ = imported(tmp_path, raw, "c.yaml")
    assert not config.train.output_preservation


def dataset(*subsets: dict[str, Any], **general: Any) -> dict[str, Any]:
    return {"general": general, "datasets": [{"resolution": 512, "subsets": list(subsets)}]}


def test_class_tokens_make_concepts(tmp_path: Path) -> None:
    raw = dataset(
        {"image_dir": "a/main", "num_repeats": 3, "class_tokens": "yuzu"},
        {"image_dir": "b/hat", "num_repeats": 3, "class_tokens": "yuzu hat"},
        {"image_dir": "b/hat/", "num_repeats": 9, "class_tokens": "again"},
    )
    config, draft, _ = imported(tmp_path, raw, "d.toml")
    assert {f.path: f.concept for f in config.scrape.folders} == {"a/main": "", "b/hat": "yuzu-hat"}
    concept = config.layout.concepts["yuzu-hat"]
    assert (concept.repeats, concept.caption_prefix) == (3, "hat")
    assert any("b/hat is named more than once" in note for note in draft.notes)


def test_regularization_is_what_is_marked(tmp_path: Path) -> None:
    pictures(tmp_path / "same/10_yuzu", "yuzu, smile")
    pictures(tmp_path / "same/1_1girl", "smile")
    same = (tmp_path / "same").as_posix()
    raw = dataset(
        {"image_dir": f"{same}/10_yuzu", "num_repeats": 10},
        {"image_dir": f"{same}/1_1girl", "is_reg": True, "class_tokens": "1girl"},
    )
    config, _, _ = imported(tmp_path, raw, "d.toml")
    assert config.train.reg_data_dir is None
    assert config.layout.reg.folder == f"{same}/1_1girl"
    assert config.layout.reg.class_tokens == "1girl"
    assert [folder.path for folder in config.scrape.folders] == [f"{same}/10_yuzu"]


def test_a_dataset_toml_beside_train_data_dir(tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(tomlkit.dumps(dataset({"image_dir": "a"})))
    raw = {"network_dim": 4, "train_data_dir": "b", "dataset_config": "d.toml"}
    config, draft, _ = imported(tmp_path, raw, "c.toml")
    assert [folder.path for folder in config.scrape.folders] == ["a"]
    assert any("train_data_dir does nothing beside" in note for note in draft.notes)


@pytest.mark.parametrize(
    ("path", "written", "trigger"),
    [
        ("C:\\sets\\5_yuzu", "C:/sets/5_yuzu", "yuzu"),
        ("\\\\nas\\share\\5_yuzu", "//nas/share/5_yuzu", "yuzu"),
        ("sets\\5_yuzu", "sets/5_yuzu", "yuzu"),
        ("~/sets/5_yuzu", f"{Path.home().as_posix()}/sets/5_yuzu", "yuzu"),
    ],
)
def test_paths_of_any_system(tmp_path: Path, path: str, written: str, trigger: str) -> None:
    config, _, _ = imported(tmp_path, {"network_dim": 4, "train_data_dir": path}, "c.toml")
    assert [folder.path for folder in config.scrape.folders] == [written]
    assert config.prune.trigger == trigger
    assert config.layout.repeats == 5, "a repeat folder itself"


def test_captions_without_a_trigger(tmp_path: Path) -> None:
    pictures(tmp_path / "t/5_yuzu", "1girl, solo, smile", "1girl, solo, hat")
    raw = {"network_dim": 4, "train_data_dir": (tmp_path / "t").as_posix(), "keep_tokens": 0,
           "caption_extension": ".txt"}  # fmt: skip
    config, draft, _ = imported(tmp_path, raw, "c.toml")
    assert config.prune.trigger == "yuzu"
    assert any("1girl, which is a common tag" in note for note in draft.notes)


def test_captions_mean_what_they_mean_there(tmp_path: Path) -> None:
    pictures(
        tmp_path / "5_yuzu", "yuzu, hat ||| smile;;;wink, sky\nsecond line", "yuzu, hat ||| sea"
    )
    raw = dataset(
        {"image_dir": (tmp_path / "5_yuzu").as_posix(), "num_repeats": 5},
        caption_extension=".txt", keep_tokens_separator="|||", secondary_separator=";;;",
        enable_wildcard=True,
    )  # fmt: skip
    config, draft, _ = imported(tmp_path, raw, "d.toml")
    assert sorted(draft.captions.values()) == ["yuzu, hat, sea", "yuzu, hat, smile, wink, sky"]
    assert (config.train.keep_tokens, config.prune.class_tokens) == (2, "hat")
    assert config.layout.candidates == ("lines",)
    said = "\n".join(draft.notes)
    for word in (
        "several lines",
        "secondary_separator",
        "enable_wildcard",
        "keep_tokens_separator",
    ):
        assert word in said


def test_a_separator_before_a_sentence_stays_one(tmp_path: Path) -> None:
    """As a number of tags in front it would be lost where captions differ, or have an end."""
    pictures(
        tmp_path / "5_yuzu",
        "yuzu, hat ||| smile;;;wink, sky|||She runs, fast.",
        "yuzu ||| sea ||| She swims, slowly.",
        "yuzu, plain",
    )
    raw = dataset(
        {"image_dir": (tmp_path / "5_yuzu").as_posix(), "num_repeats": 5}, caption_extension=".txt",
        keep_tokens_separator="|||", secondary_separator=";;;", shuffle_caption=True, keep_tokens=1,
    )  # fmt: skip
    config, draft, _ = imported(tmp_path, raw, "d.toml")
    assert (config.train.keep_tokens_separator, config.layout.keep_tokens_separator) == ("|||",) * 2
    assert config.train.keep_tokens == 1, "in force where a caption has no separator"
    assert sorted(draft.captions.values()) == [
        "yuzu ||| sea ||| She swims, slowly.",
        "yuzu, hat ||| smile, wink, sky ||| She runs, fast.",
        "yuzu, plain",
    ]
    assert any("1, 2 tags in front, and 2 captions have an end" in note for note in draft.notes)
    kohya_import.keep_captions(draft, tmp_path / "captions")
    for path in (tmp_path / "captions").iterdir():
        assert caption_edits.caption(path)[0] in draft.captions.values()
    raw["datasets"][0]["subsets"][0]["image_dir"] = (tmp_path / "elsewhere").as_posix()
    config, draft, _ = imported(tmp_path, raw, "e.toml")
    assert config.train.keep_tokens_separator == "|||"
    assert any("no captions can be seen" in note for note in draft.notes)


def test_a_folder_of_runs_is_a_sweep(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    base = {"net_dim": 16, "num_epochs": 3, "base_model": "m.safetensors", "img_folder": "imgs"}
    for name, changes in (
        ("a", {"unet_lr": 1e-4}),
        ("b", {"unet_lr": 2e-4}),
        ("c", {"net_dim": 8}),
    ):
        (runs / f"{name}.json").write_text(json.dumps(base | changes))
    text, _ = kohya_import.convert([runs])
    config = cfg.load(yaml.safe_load(text))
    variants = config.sweeps["runs"].variants
    assert [v["train.unet_lr"] for v in variants] == [1e-4, 2e-4, None]
    assert [v["train.network_dim"] for v in variants] == [16, 16, 8]
    for variant in variants:
        cfg.overlay(config, variant)
    (tmp_path / "one.json").write_text(json.dumps(base | {"multi_run_folder": "runs"}))
    assert kohya_import.convert([tmp_path / "one.json"])[0] == text
    (tmp_path / "empty").mkdir()
    with pytest.raises(BakeryError, match=r"holds no \.json"):
        kohya_import.convert([tmp_path / "empty"])


def test_our_own_config_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BakeryError, match="already: give it to snakemake"):
        imported(tmp_path, {"train": {"network_dim": 4}, "scrape": {"name": "a"}}, "c.yaml")


@pytest.mark.parametrize(
    "name", ["SomeThing", "DAdaptation", "prodigyplus.X", "a.b.CAME", "Lion8bit"]
)
def test_the_nearest_optimizer_is_one_of_ours(name: str) -> None:
    assert nearest.nearest_optimizer(name) in OPTIMIZERS


def test_betas_of_the_wrong_number_are_refused_with_the_config() -> None:
    wrong = {"train": {"optimizer_args": {"betas": [0.9, 0.99, 0.999]}}}
    with pytest.raises(BakeryError, match="AdamW takes 2 betas"):
        cfg.load(wrong)
    wrong["train"] |= {"optimizer_type": "CAME"}
    assert cfg.load(wrong).train.optimizer_type == "CAME"


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["", "0", "12.5", "1e-4", "True", "None", "a b=c", "C:\\x\\5_y", "512,512", "nan",
                     "\ud800", "\x07", "x: y # z", "1e999"]),
    st.lists(st.integers() | st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.dictionaries(
    st.sampled_from([*GUI, "vae", "reg_data_dir", "lr_scheduler_type", "network_args", "unknown",
                     "caption_separator", "lr_warmup_steps", "keep_tokens_separator"]),
    ODD, max_size=6))  # fmt: skip
@example(changes={"optimizer_args": "0\n0"})
def test_a_mutated_gui_json_is_always_a_config(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    """No traceback, whatever is in the fields; only a number that no computer holds is refused."""
    path = tmp_path_factory.mktemp("gui") / "c.json"
    path.write_text(json.dumps({**GUI, **changes}), encoding="utf-8")
    try:
        text, _ = kohya_import.convert([path])
    except BakeryError as refusal:
        said = str(refusal)
    else:
        cfg.load(yaml.safe_load(text))
        return
    assert "is a whole number of more than 64 bits" in said
    assert any(abs(number) >= 2**63 for number in numbers_in(changes))


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for one in value for number in numbers_in(one)]
    return [value] if isinstance(value, int | float) else []


@given(st.text())
def test_what_is_printed_can_be_read_back(text: str) -> None:
    plain = plain_values.printable(text)
    assert yaml.safe_load(json.dumps(plain, ensure_ascii=False)) == plain
