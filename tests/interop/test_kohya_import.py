"""kohya's files become configs of ours, and ours become theirs again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from bakery.interop import kohya_files, kohya_import, kohya_terms
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.filter import Filter
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import FLOW, LrScheduler, OptimizerType, Train
from bakery.stages import scrape

GUIDE = {
    "base_model": "models/nai.safetensors", "img_folder": "imgs", "output_folder": "out",
    "change_output_name": "shiroko", "net_dim": 128, "alpha": 128,
    "scheduler": "cosine_with_restarts", "cosine_restarts": 3, "scheduler_power": 1,
    "warmup_lr_ratio": 0.1, "learning_rate": 16e-5, "text_encoder_lr": 3e-5, "unet_lr": 16e-5,
    "num_workers": 1, "persistent_workers": True, "batch_size": 2, "num_epochs": 6,
    "save_at_n_epochs": 1, "shuffle_captions": False, "keep_tokens": 1, "max_steps": None,
}  # fmt: skip
"""The guide's own settings, as its script saves them."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder one stands in, with `imgs/5_shiroko` and `imgs/2_halo` in it."""
    for name, count in (("5_shiroko", 3), ("2_halo", 1), ("notes", 1)):
        (tmp_path / "imgs" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / "imgs" / name / f"{name} {i}.png")
            caption = tmp_path / "imgs" / name / f"{name} {i}.txt"
            caption.write_text(f"shiroko, 1girl, tag {i}, beach\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(path: Path, raw: dict[str, Any]) -> tuple[cfg.Config, kohya_import.Draft, str]:
    """The config that a file with this content becomes, read back from its YAML."""
    text = json.dumps(raw) if path.suffix == ".json" else tomlkit.dumps(raw)
    path.write_text(text, encoding="utf-8")
    written, draft = kohya_import.convert([path])
    return cfg.load(yaml.safe_load(written)), draft, written


def paths(config: cfg.Config) -> dict[str, str]:
    """Folder -> its concept."""
    return {folder.path: folder.concept for folder in config.scrape.folders}


def test_the_guide(here: Path) -> None:
    config, draft, text = imported(here / "guide.json", GUIDE)
    assert config.scrape.name == "shiroko"
    assert config.scrape.urls == ()
    assert config.layout.repeats == 5
    assert config.prune.trigger == "shiroko"
    assert config.prune.class_tokens == "", "keep_tokens 1 keeps no more than the trigger"
    two, _, _ = imported(here / "two.json", GUIDE | {"keep_tokens": 2})
    assert two.prune.class_tokens == "1girl"
    train = config.train.model_dump()
    expected = {
        "base": "models/nai.safetensors", "network_dim": 128, "network_alpha": 128,
        "lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3,
        "lr_warmup_ratio": 0.1, "learning_rate": 16e-5, "unet_lr": 16e-5, "text_encoder_lr": 3e-5,
        "train_batch_size": 2, "num_epochs": 6, "save_every_n_epochs": 1, "shuffle_caption": False,
        "keep_tokens": 1, "max_steps": 0,
        # what the guide leaves alone
        "clip_skip": 2, "seed": 23, "mixed_precision": "fp16", "optimizer_type": "AdamW8bit",
        "resolution": 512, "min_bucket_reso": 320, "max_bucket_reso": 960, "bucket_reso_steps": 64,
        "max_token_length": 150, "prior_loss_weight": 1.0,
    }  # fmt: skip
    assert {name: train[name] for name in expected} == expected
    assert "# net_dim" in text
    assert not draft.left_out
    assert paths(config) == {"imgs/5_shiroko": "", "imgs/2_halo": "halo"}
    assert {name: c.repeats for name, c in config.layout.concepts.items()} == {"halo": 2}


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("frobnicate", 3, "left out"),
        ("color_aug", True, "left out"),
        ("network_module", "lycoris.kohya", "notes"),
        ("optimizer_type", "DAdaptation", "left out"),
        ("xformers", True, "notes"),
        ("flip_aug", True, "train"),
        ("xformers", False, "switched off"),
        ("mem_eff_attn", None, "nothing"),
        ("frobnicate", False, "switched off"),
    ],
)
def test_no_key_goes_without_a_word(here: Path, key: str, value: object, where: str) -> None:
    config, draft, text = imported(here / "guide.json", GUIDE | {key: value})
    found = {
        "left out": any(key in entry for entry in draft.left_out),
        "notes": any(note.startswith(key) for note in draft.notes),
        "switched off": key in draft.switched_off,
        "train": getattr(config.train, key, None) == value and value is not None,
    }
    assert [name for name, here in found.items() if here] == ([where] if where != "nothing" else [])
    assert (key in text) == (where != "nothing")


def test_a_rate_that_the_script_would_not_pass_on(here: Path) -> None:
    config, _, _ = imported(here / "guide.json", GUIDE | {"unet_lr": 0, "text_encoder_lr": None})
    assert config.train.rates == {"unet_lr": 16e-5, "text_encoder_lr": 16e-5}


def test_max_steps_win_in_the_guide_and_epochs_in_sd_scripts(here: Path) -> None:
    config, _, _ = imported(here / "guide.json", GUIDE | {"max_steps": 900})
    assert config.train.max_steps == 900
    raw = {"network_dim": 4, "max_train_steps": 900, "max_train_epochs": 3}
    config, draft, _ = imported(here / "c.toml", raw)
    assert (config.train.max_steps, config.train.num_epochs) == (0, 3)
    assert any("max_train_steps is left out" in note for note in draft.notes)


def test_a_vae_without_a_base_is_left_out_with_a_word(here: Path) -> None:
    _, draft, _ = imported(here / "c.toml", {"network_dim": 4, "vae": "x.safetensors"})
    assert any(entry.startswith("vae = 'x.safetensors'") for entry in draft.left_out)
    _, draft, _ = imported(here / "c.toml", {"network_dim": 4, "vae": ""})
    assert not any("vae" in entry for entry in draft.left_out)


def test_sd_scripts_defaults_are_not_ours(here: Path) -> None:
    raw = {"pretrained_model_name_or_path": "a.safetensors", "train_data_dir": "imgs"}
    config, _, _ = imported(here / "c.toml", raw)
    got = config.train
    assert (got.network_dim, got.network_alpha, got.max_token_length) == (4, 1, 75)
    assert (got.lr_scheduler, got.max_steps, got.enable_bucket) == ("constant", 1600, False)
    assert (got.save_precision, got.shuffle_caption, got.keep_tokens) == ("float", False, 0)


def test_sections_of_a_config_toml_do_not_matter(here: Path) -> None:
    flat = {"network_dim": 8, "max_train_epochs": 2, "learning_rate": 1e-4}
    nested = {"network": {"network_dim": 8}, "rest": {"max_train_epochs": 2, "learning_rate": 1e-4}}
    assert imported(here / "a.toml", flat)[0] == imported(here / "b.toml", nested)[0]


def test_steps_of_warm_up_become_a_share(here: Path) -> None:
    raw = {"network_dim": 8, "max_train_steps": 1950, "lr_scheduler": "cosine",
           "lr_warmup_steps": 195}  # fmt: skip
    config, _, _ = imported(here / "a.toml", raw)
    assert int(1950 * config.train.lr_warmup_ratio) == 195
    more = raw | {"train_data_dir": "imgs", "max_train_epochs": 2, "train_batch_size": 2}
    more.pop("max_train_steps")
    config, _, _ = imported(here / "b.toml", more | {"lr_warmup_steps": 3})
    assert int(18 * config.train.lr_warmup_ratio) == 3, "5 x 3 + 2 pictures are 9 steps an epoch"
    more.pop("train_data_dir")
    config, _, _ = imported(here / "c.toml", more | {"lr_warmup_steps": 3})
    assert config.train.lr_warmup_ratio == 0
    assert config.train.lr_warmup_steps == 3, "the number of all steps is not known"


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_share_gives_the_steps_back(steps: int, total: int) -> None:
    assert int(total * kohya_terms.warmup_share(steps, total)) == min(steps, total)


def test_easy_training_scripts(here: Path) -> None:
    raw = {
        "general_args": {
            "args": {"pretrained_model_name_or_path": "a.safetensors", "seed": 7, "clip_skip": 2,
                     "max_train_epochs": 4, "mixed_precision": "bf16", "sdxl": True},
            "dataset_args": {"resolution": 768, "batch_size": 3},
        },
        "network_args": {"args": {"network_dim": 16, "network_alpha": 8.0,
                                  "network_args": {"conv_dim": 4, "algo": "loha"}}},
        "optimizer_args": {"args": {"optimizer_type": "Prodigy", "learning_rate": 1.0,
                                    "lr_scheduler": "cosine", "warmup_ratio": 0.05,
                                    "optimizer_args": {"weight_decay": "0.01", "decouple": "True"}}},
        "saving_args": {"args": {"output_name": "halo", "save_precision": "bf16"}},
        "bucket_args": {"dataset_args": {"enable_bucket": True, "min_bucket_reso": 256,
                                         "max_bucket_reso": 1024, "bucket_reso_steps": 64}},
        "noise_args": {"args": {"noise_offset": 0.05, "multires_noise_iterations": 6}},
        "subsets": [{"name": "subset 1", "image_dir": "imgs/5_shiroko", "num_repeats": 4,
                     "caption_extension": ".txt", "shuffle_caption": True, "keep_tokens": 1}],
        "train_mode": {"train_mode": "lora"},
    }  # fmt: skip
    config, draft, _ = imported(here / "easy.toml", raw)
    got = config.train
    assert (got.optimizer_type, got.learning_rate, got.lr_warmup_ratio) == ("Prodigy", 1.0, 0.05)
    assert got.optimizer_args == {"weight_decay": 0.01, "decouple": True}
    assert (got.conv_dim, got.noise_offset, got.resolution, got.seed) == (4, 0.05, 768, 7)
    assert (got.train_batch_size, got.shuffle_caption, got.keep_tokens) == (3, True, 1)
    assert config.layout.repeats == 4
    assert (config.scrape.name, config.prune.trigger) == ("halo", "shiroko")
    assert draft.left_out == ["network_args.algo = 'loha'", "multires_noise_iterations = 6"]
    assert any(note.startswith("sdxl") for note in draft.notes)


def test_dataset_toml(here: Path) -> None:
    raw = {
        "general": {"shuffle_caption": True, "caption_extension": ".txt", "flip_aug": True},
        "datasets": [
            {"resolution": [512, 768], "batch_size": 2, "enable_bucket": True, "subsets": [
                {"image_dir": "imgs/5_shiroko", "num_repeats": 3, "class_tokens": "shiroko 1girl"},
                {"image_dir": "imgs/2_halo", "num_repeats": 1, "color_aug": True},
                {"image_dir": "reg/1_1girl", "num_repeats": 1, "is_reg": True},
            ]},
        ],
    }  # fmt: skip
    config, draft, _ = imported(here / "dataset.toml", raw)
    assert paths(config) == {"imgs/5_shiroko": "", "imgs/2_halo": "2_halo"}
    assert config.layout.concepts["2_halo"].repeats == 1
    assert config.layout.repeats == 3
    assert config.train.resolution == 624  # sqrt(512 * 768), a multiple of 8
    assert config.train.flip_aug
    assert config.train.reg_data_dir == "reg"
    assert any("color_aug = True of the folder imgs/2_halo" in note for note in draft.notes)


@pytest.mark.parametrize(("side", "preset", "rate"), [(512, "sd15", 1.6e-4), (1024, "sdxl", 1e-4)])
def test_a_dataset_toml_alone_is_trained_as_a_preset(
    here: Path, side: int, preset: str, rate: float
) -> None:
    """Its trainer's own defaults (2e-6, rank 4, one file in 999999 epochs) are nobody's settings."""
    subset = {"image_dir": "imgs/2_halo", "num_repeats": 2}
    raw = {
        "general": {"clip_skip": 3},
        "datasets": [{"resolution": side, "batch_size": 3, "subsets": [subset]}],
    }
    config, draft, text = imported(here / "dataset.toml", raw)
    got = config.train
    assert got.clip_skip == 3, "what the file says stays, wherever it stands"
    assert (got.unet_lr, got.num_epochs, got.save_every_n_epochs) == (rate, 6, 1)
    assert (got.resolution, got.train_batch_size, got.shuffle_caption) == (side, 3, False)
    assert f"num_epochs: 6                           # from config/{preset}.yaml" in text
    assert any("says what is trained on, not how" in note for note in draft.notes)
    (here / "dataset.toml").rename(here / "d.toml")
    config, draft, _ = imported(here / "c.toml", {"network_dim": 8, "dataset_config": "d.toml"})
    assert (config.train.network_dim, config.train.max_token_length) == (8, 75)
    assert not any("not how" in note for note in draft.notes)


def test_a_config_toml_brings_its_dataset(here: Path) -> None:
    (here / "d.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "imgs/2_halo"\nnum_repeats = 2\n'
    )
    config = imported(here / "c.toml", {"network_dim": 4, "dataset_config": "d.toml"})[0]
    assert paths(config) == {"imgs/2_halo": ""}
    config, draft, _ = imported(here / "c.toml", {"network_dim": 4, "dataset_config": "gone.toml"})
    assert config.train.network_dim == 4
    assert any("dataset_config gone.toml is not here" in note for note in draft.notes)


def test_captions_can_be_kept(here: Path) -> None:
    config, draft, _ = imported(here / "guide.json", GUIDE)
    assert config.prune.source == "captions", "as there, where captions are trained on as they are"
    target = here / "config/edits/shiroko/captions"
    assert kohya_import.keep_captions(draft, target) == 4
    assert (target / "5_shiroko_1.txt").read_text() == "shiroko, 1girl, tag 1, beach\n"
    with pytest.raises(BakeryError, match="not empty"):
        kohya_import.keep_captions(draft, target)


def test_captions_of_any_encoding_and_case(here: Path) -> None:
    first = here / "imgs/5_shiroko"
    (first / "5_shiroko 1.txt").rename(first / "5_shiroko 1.TXT")
    (first / "5_shiroko 1.TXT").write_bytes("shiroko, 1girl, ドレス".encode("cp932"))
    _, draft, _ = imported(here / "guide.json", GUIDE)
    assert any("in Shift-JIS, not in UTF-8" in note for note in draft.notes)
    assert "shiroko, 1girl, ドレス" in draft.captions.values()


def test_captions_are_named_as_the_pictures_will_be(here: Path) -> None:
    config, draft, _ = imported(here / "guide.json", GUIDE)
    scrape.run(config.scrape, booru=here, out=here / "out", store=here / "store")
    stems = {path.stem for path in (here / "out/images").iterdir()}
    assert stems == set(draft.captions)


def test_no_check_of_the_filter_drops_what_kohya_trains_on() -> None:
    """A new check has to be thought of here."""
    own = {"ratings", "unwanted_tags", "animation", "models", "max_pictures", "max_pictures_seed"}
    assert set(kohya_import.EVERY_PICTURE) | own == set(Filter.model_fields)


def test_a_regularization_folder(here: Path) -> None:
    (here / "reg/1_1girl").mkdir(parents=True)
    config, _, _ = imported(here / "guide.json", GUIDE | {"reg_img_folder": "reg"})
    assert config.train.reg_data_dir == "reg"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "{", "neither JSON nor TOML"),
        ("a.toml", "a = [", "neither JSON nor TOML"),
        ("a.json", '{"a": 1}', "no config known here"),
        ("a.toml", 'title = "shopping"', "no config known here"),
        ("a.yaml", "a: [", "is no YAML"),
        ("a.toml", 'datasets = 3', "datasets is no list of tables"),
    ],
)  # fmt: skip
def test_a_strange_file_is_one_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BakeryError, match=sentence):
        kohya_import.convert([tmp_path / name])


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BakeryError, match="does not exist"):
        kohya_import.convert([tmp_path / "gone.json"])


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"net_dim": 8}, kohya_files.GUIDE),
        ({"general_args": {"args": {"seed": 1}}}, kohya_files.EASY),
        ({"datasets": [{"subsets": []}]}, kohya_files.DATASET),
        ({"a": {"network_module": "networks.lora"}}, kohya_files.ARGUMENTS),
    ],
)
def test_files_are_known_by_what_stands_in_them(raw: dict, kind: str) -> None:
    for name in ("x.json", "x.toml", "x.txt"):
        assert kohya_files.recognise(raw, Path(name)) == kind


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """The base, and the LoRA on it."""
    conv = draw(st.none() | st.integers(1, 64))
    return {
        "base": draw(st.sampled_from(["a/b.safetensors", "owner/name"])),
        "v_parameterization": draw(st.none() | st.booleans()),
        "zero_terminal_snr": draw(st.none() | st.booleans()),
        "network_dim": draw(st.integers(1, 128)),
        "network_alpha": draw(st.floats(0, 128)),
        "conv_dim": conv,
        "conv_alpha": draw(st.none() | st.floats(0, 64)) if conv else None,
        "network_dropout": draw(st.sampled_from([0.0, 0.1])),
        "scale_weight_norms": draw(st.none() | st.just(1.0)),
        "network_train_unet_only": draw(st.booleans()),
    }  # fmt: skip


@st.composite
def learning(draw: st.DrawFn, steps: int) -> dict[str, Any]:
    """Optimizer, schedule and rates of a training of `steps`, or of epochs (0)."""
    rate = st.floats(1e-7, 1.0)
    some = st.none() | rate
    scheduler = draw(st.sampled_from([name for name in get_args(LrScheduler) if name != "rex"]))
    optimizer = draw(st.sampled_from(get_args(OptimizerType)))
    one_rate = OPTIMIZERS[optimizer].finds_rate
    odd = dict(zip(OPTIMIZERS[optimizer].takes.split()[-2:], (True, "slow"), strict=True))
    betas = {"betas": [0.9, 0.99, 0.999][:count]} if (count := OPTIMIZERS[optimizer].betas) else {}
    given = {
        "learning_rate": draw(rate),
        "unet_lr": None if one_rate else draw(some),
        "text_encoder_lr": None if one_rate else draw(some | st.just(0.0)),
        "optimizer_type": optimizer,
        "optimizer_args": draw(st.sampled_from(
            [{}, {"weight_decay": 0.1, **betas}, odd])),
        "lr_scheduler": scheduler,
        "lr_scheduler_num_cycles": draw(st.integers(1, 9)),
        "lr_scheduler_power": draw(st.floats(0.1, 3)),
        "lr_warmup_ratio": 0.0 if scheduler == "constant" else draw(st.floats(0, 1)),
        "lr_warmup_steps": 0 if steps or scheduler == "constant" else draw(st.integers(0, 99)),
    }  # fmt: skip
    return given | ({"lr_warmup_ratio": 0.0} if given["lr_warmup_steps"] else {})


@st.composite
def showings(draw: st.DrawFn) -> dict[str, Any]:
    """Captions and sizes."""
    step = draw(st.sampled_from([8, 16, 64]))
    low, middle, high = sorted(draw(st.lists(st.integers(1, 40), min_size=3, max_size=3)))
    return {
        "shuffle_caption": draw(st.booleans()),
        "keep_tokens": draw(st.integers(0, 5)),
        "keep_tokens_separator": draw(st.sampled_from(["", "|||"])),
        "caption_dropout_rate": draw(st.floats(0, 1)),
        "caption_dropout_every_n_epochs": draw(st.integers(0, 5)),
        "caption_tag_dropout_rate": draw(st.floats(0, 1)),
        "resolution": 64 * middle,
        "enable_bucket": draw(st.booleans()),
        "min_bucket_reso": 64 * low,
        "max_bucket_reso": 64 * high,
        "bucket_reso_steps": step,
        "flip_aug": draw(st.booleans()),
        "random_crop": draw(st.booleans()),
    }  # fmt: skip


@st.composite
def trains(draw: st.DrawFn) -> Train:
    """Any bake that sd-scripts can be told in full."""
    steps = draw(st.sampled_from([0, 0, 900]))
    workers = draw(st.integers(0, 4))
    given = {
        **draw(networks()),
        **draw(learning(steps)),
        **draw(showings()),
        "train_batch_size": draw(st.integers(1, 16)),
        "gradient_accumulation_steps": draw(st.integers(1, 4)),
        "gradient_checkpointing": draw(st.booleans()),
        "torch_compile": draw(st.booleans()),
        "dynamo_backend": draw(st.sampled_from(["inductor", "cudagraphs", "aot_eager", "eager"])),
        "max_steps": steps,
        **({} if steps else {"num_epochs": draw(st.integers(1, 30))}),
        "prior_loss_weight": draw(st.floats(0, 2)),
        "clip_skip": draw(st.integers(1, 12)),
        "max_token_length": draw(st.sampled_from([75, 150, 225])),
        "min_snr_gamma": draw(st.none() | st.just(5.0)),
        "noise_offset": draw(st.sampled_from([0.0, 0.05])),
        "max_grad_norm": draw(st.sampled_from([0.0, 1.0])),
        "mixed_precision": draw(st.sampled_from(["no", "fp16", "bf16"])),
        "save_precision": draw(st.sampled_from(["float", "fp16", "bf16"])),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "validation_seed": draw(st.integers(0, 2**32 - 1)),
        "validate_every_n_epochs": draw(st.integers(1, 9)),
        "max_data_loader_n_workers": workers,
        "persistent_data_loader_workers": bool(workers) and draw(st.booleans()),
        "log_with": draw(st.none() | st.just("tensorboard")),
    }  # fmt: skip
    given["save_every_n_epochs"] = draw(st.integers(1, given.get("num_epochs", 9)))
    return Train(**given)


SD_SCRIPTS = {
    "pretrained_model_name_or_path", "v_parameterization", "zero_terminal_snr", "network_module",
    "network_dim", "network_alpha", "network_args", "network_dropout", "scale_weight_norms",
    "network_train_unet_only", "learning_rate", "unet_lr", "text_encoder_lr", "optimizer_type",
    "optimizer_args", "lr_scheduler", "lr_scheduler_num_cycles", "lr_scheduler_power",
    "lr_warmup_steps", "train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing",
    "torch_compile", "dynamo_backend", "max_train_epochs", "max_train_steps",
    "save_every_n_epochs", "prior_loss_weight", "clip_skip", "max_token_length", "min_snr_gamma",
    "noise_offset", "max_grad_norm", "mixed_precision", "save_precision", "seed",
    "max_data_loader_n_workers", "persistent_data_loader_workers", "log_with",
    "validation_seed", "validate_every_n_epochs",
}  # fmt: skip
"""Arguments of its train_network.py, version 0.10.1, that a bake of ours can use."""


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(trains())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, wanted: Train) -> None:
    """Our settings, sd-scripts' two files, a YAML of ours: the same settings, and all of them.

    But what only ours has: `fuse`, as sd-scripts bakes one at a time, `save_format`, as it has one of
    its own, `text_variants`, as it shuffles anew in each showing, and the loss without the trigger.
    Settings of flow models are in test_flow_terms.py.
    """
    elsewhere = {"num_epochs", "reg_data_dir", *kohya_terms.OURS_ALONE, *FLOW}
    assert wanted.model_fields_set | elsewhere == set(Train.model_fields)
    folder = tmp_path_factory.mktemp("toml")
    arguments, general = kohya_terms.to_kohya(wanted)
    assert set(arguments) <= SD_SCRIPTS
    arguments["dataset_config"] = "d.toml"
    (folder / "c.toml").write_text(tomlkit.dumps(arguments), encoding="utf-8")
    datasets = {
        "general": general,
        "datasets": [{"subsets": [{"image_dir": "x", "num_repeats": 2}]}],
    }
    (folder / "d.toml").write_text(tomlkit.dumps(datasets), encoding="utf-8")
    text, draft = kohya_import.convert([folder / "c.toml"])
    assert cfg.load(yaml.safe_load(text)).train == wanted
    assert not draft.left_out


@pytest.mark.parametrize("file", ["a.toml", "guide.json"])
def test_what_sd_scripts_has_not_is_left_out_with_a_word(here: Path, file: str) -> None:
    """A name that only ours has means nothing there, so it asks for nothing here either."""
    names = {
        "fuse": 3, "save_format": "diffusion_model", "text_variants": 4,
        "output_preservation": 2, "output_preservation_share": 0.3,
    }  # fmt: skip
    assert set(names) == kohya_terms.OURS_ALONE
    plain = GUIDE if file.endswith("json") else {"train_data_dir": "imgs", "network_dim": 8}
    without, _, _ = imported(here / file, plain)
    config, draft, _ = imported(here / file, plain | names)
    assert config == without
    assert {f"{name} = {value!r}" for name, value in names.items()} <= set(draft.left_out)


def test_the_defaults_of_other_programs_are_valid() -> None:
    for defaults in (kohya_terms.SD_SCRIPTS_DEFAULTS, kohya_terms.GUIDE_DEFAULTS):
        try:
            Train(**kohya_terms.to_ours(defaults))
        except ValidationError as error:
            pytest.fail(str(error))


@pytest.mark.parametrize(("share", "held"), [(0.1, 0.1), (0, 0), (0.8, 0)])
def test_a_share_for_validation_is_held_out(here: Path, share: float, held: float) -> None:
    raw = {
        "pretrained_model_name_or_path": "models/nai.safetensors", "train_data_dir": "imgs",
        "network_module": "networks.lora", "max_train_epochs": 2, "seed": 5,
        "validation_split": share, "validate_every_n_epochs": 2, "validate_every_n_steps": 50,
    }  # fmt: skip
    config, _, text = imported(here / "config.toml", raw)
    assert config.layout.holdout == held
    assert config.train.validate_every_n_epochs == 2
    assert "validate_every_n_steps" in text
    assert config.train.validation_seed == (5 if held else 23)
    assert ("validation_split = 0.8" in text) == (share == 0.8)
