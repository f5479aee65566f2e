"""Configs as people bring them: odd encodings, names twice, other keyboards, settings in pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bakery.interop import kohya_import
from bakery.interop.config_draft import Draft
from bakery.io.errors import BakeryError

GUI = {
    "LoRA_type": "Standard",
    "pretrained_model_name_or_path": "m",
    "max_resolution": "512",
    "epoch": 3,
}


def draft(folder: Path, text: str | bytes | dict[str, Any], name: str = "a.json") -> Draft:
    if isinstance(text, dict):
        text = json.dumps(text)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return kohya_import.convert([folder / name])[1]


def says(found: Draft, *words: str) -> bool:
    lines = [*found.notes, *found.left_out]
    return any(all(word in line for word in words) for line in lines)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp932"])
def test_any_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    text = json.dumps({**GUI, "train_data_dir": "D:/ドレスの訓練"}, ensure_ascii=False)
    found = draft(tmp_path, text.encode(encoding))
    assert found.sections["scrape"]["folders"] == ["D:/ドレスの訓練"]
    assert says(found, "not UTF-8") == (encoding != "utf-8-sig")


def test_a_name_twice_is_told(tmp_path: Path) -> None:
    twice = json.dumps(GUI)[:-1] + ', "epoch": 5}'
    found = draft(tmp_path, twice)
    assert found.sections["train"]["num_epochs"] == 5
    assert says(found, "epoch", "more than once")
    process = "{type: sd_trainer, train: {steps: 1}, train: {steps: 9}, network: {linear: 8}}"
    found = draft(tmp_path, f"config: {{name: a, process: [{process}]}}", "a.yaml")
    assert found.sections["train"]["max_steps"] == 9
    assert says(found, "train is in a.yaml more than once")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", " \n", "is empty"),
        ("a.json", "[]", "holds no settings"),
        ("a.json", "null", "holds no settings"),
        ("a.yaml", "~", "holds no settings"),
        ("a.toml", 'train_data_dir = "D:\\my pictures"', "write paths with /"),
        ("a.json", b"\x81\x82\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_what_is_no_config_is_one_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    with pytest.raises(BakeryError, match=sentence):
        draft(tmp_path, text, name)


def test_a_list_of_one_is_that_one(tmp_path: Path) -> None:
    assert draft(tmp_path, json.dumps([GUI])).sections["train"]["num_epochs"] == 3


def test_a_path_in_double_quotes_is_as_it_was_typed(tmp_path: Path) -> None:
    text = 'train_data_dir = "D:\\new\\train"\nnetwork_dim = 8\n'
    text += 'pretrained_model_name_or_path = "C:\\base\\f.safetensors"\n'
    found = draft(tmp_path, text, "a.toml").sections
    assert found["scrape"]["folders"] == ["D:/new/train"]
    assert found["train"]["base"] == "C:/base/f.safetensors"


@pytest.mark.parametrize(
    ("written", "rate"), [("0,0002", 2e-4), ("2,5e-4", 2.5e-4), (",0002", 2e-4), ("2e-4 ", 2e-4)]
)
def test_a_decimal_comma(tmp_path: Path, written: str, rate: float) -> None:
    given = {**GUI, "learning_rate": written, "unet_lr": written, "text_encoder_lr": written}
    train = draft(tmp_path, given).sections["train"]
    assert [train[n] for n in ("learning_rate", "unet_lr", "text_encoder_lr")] == [rate] * 3


@pytest.mark.parametrize(
    "word",
    ["epoch", "learning_rate", "unet_lr", "lr_warmup", "lr_warmup_steps", "max_train_epochs"],
)
def test_what_is_no_number_is_told_and_what_is_empty_is_not(tmp_path: Path, word: str) -> None:
    assert says(draft(tmp_path, {**GUI, word: "1,000 or so"}), word, "cannot be read")
    assert not says(draft(tmp_path, {**GUI, word: ""}), word, "cannot be read")


def test_a_rate_for_each_text_encoder(tmp_path: Path) -> None:
    for text, name in (
        ({**GUI, "text_encoder_lr": [5e-5, 1e-5], "unet_lr": 1e-4}, "a.json"),
        ("network_dim = 8\nmax_train_epochs = 1\ntext_encoder_lr = [5e-5, 1e-5]\n", "a.toml"),
    ):
        found = draft(tmp_path, text, name)
        assert found.sections["train"]["text_encoder_lr"] == 5e-5
        assert says(found, "text_encoder_lr", "1e-05")
    assert not says(
        draft(tmp_path, {**GUI, "text_encoder_lr": [5e-5, 5e-5]}), "text_encoder_lr names"
    )


def test_onetrainer_s_second_text_encoder_and_augmentations(tmp_path: Path) -> None:
    image = {"enable_crop_jitter": True, "enable_random_flip": True, "enable_random_hue": False}
    found = draft(tmp_path, {
        "training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", "epochs": 9,
        "base_model_name": "m", "unet": {"stop_training_after": 5},
        "text_encoder": {"train": True}, "text_encoder_2": {"train": False},
        "concepts": [{"path": "/nowhere/p", "image": image}],
    })  # fmt: skip
    assert says(found, "text_encoder_2.train is False")
    assert says(found, "unet.stop_training_after = 5")
    assert says(found, "enable_crop_jitter = True")
    assert not says(found, "enable_random")
    assert says(found, "/nowhere/p is not here")


def test_a_second_dataset_of_another_size_is_told(tmp_path: Path) -> None:
    datasets = (
        "[{folder_path: /no/a, resolution: 512}, {folder_path: /no/b, resolution: [512, 768]}]"
    )
    process = f"{{type: sd_trainer, network: {{linear: 8}}, datasets: {datasets}}}"
    found = draft(tmp_path, f"config: {{name: a, process: [{process}]}}", "a.yaml")
    assert found.sections["train"]["resolution"] == 512
    assert says(found, "resolution 768 of /no/b")


def test_a_name_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    found = draft(tmp_path, {**GUI, "output_name": "星 v1"})
    assert found.sections["scrape"]["name"] == "v1"
    assert says(found, "the name 星 v1 becomes v1")


@pytest.mark.parametrize(
    ("ending", "content", "told"),
    [
        (".wd14", "ho5hi, 1girl", False),
        (".json", '{"caption": "ho5hi, 1girl"}', False),
        (".mine", "ho5hi, 1girl", True),
    ],
)
def test_captions_of_any_ending(tmp_path: Path, ending: str, content: str, told: bool) -> None:
    folder = tmp_path / "train" / "3_hoshi"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "x.png")
    (folder / f"x{ending}").write_text(content)
    text = f'train_data_dir = "{folder.parent.as_posix()}"\nnetwork_dim = 8\n'
    found = draft(tmp_path, f'{text}caption_extension = "{ending}"\n', "a.toml")
    assert found.sections["prune"]["trigger"] == "ho5hi"
    assert found.captions == {"x": "ho5hi, 1girl"}
    assert says(found, "no captions here", "--captions") == told


def test_a_folder_inside_another_comes_first(tmp_path: Path) -> None:
    subset = "[[datasets.subsets]]\nimage_dir = '/no/{}'\nnum_repeats = {}\n"
    text = "[[datasets]]\n" + subset.format("a", 5) + subset.format("a/hat", 2)
    found = draft(tmp_path, text, "a.toml")
    assert found.sections["scrape"]["folders"] == [{"path": "/no/a/hat", "concept": "hat"}, "/no/a"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '{"a": ' + "[" * 100_000, "is neither JSON nor TOML"),
        ("a.json", '{"a": ' + "[" * 100 + "]" * 100 + "}", "has more than 40 levels"),
        ("a.json", '{"seed": ' + "9" * 4000 + "}", "seed is a whole number of more than 64 bits"),
        ("a.json", '{"seed": ' + "9" * 5000 + "}", "is neither JSON nor TOML"),
        ("a.json", '{"a": [' + "1, " * 60_000 + "1]}", "a has 60001 values"),
        ("a.json", " " * 2_000_000 + "{}", "larger than 1 MB"),
        ("a.toml", "seed = 0x" + "f" * 5000, "seed is a whole number of more than 64 bits"),
        ("a.toml", "a = " + "[" * 100_000, "is neither JSON nor TOML"),
        ("a.toml", "b = 1\na" + ".a" * 300_000 + " = 1", "line 2 has more than 500 dots"),
        ("a.toml", "a" + '."a b"' * 100_000 + " = 1", "line 1 has more than 500 dots"),
        ("a.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*c]\n", "is no YAML"),
        ("a.yaml", "a: &a [x, *a]\n", "line 1 names with * the table or list that it is in"),
        ("a.yaml", "a: " + "{a: " * 10_000, "line 1 is more than 40 brackets"),
        ("a.yaml", "a: !!binary aGVsbG8=\n", "line 1 has the tag !!binary"),
    ],
)  # fmt: skip
def test_bombs_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(BakeryError) as caught:
        draft(tmp_path, text, name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_date_is_text_as_in_the_other_program(tmp_path: Path) -> None:
    process = "{type: sd_trainer, train: {steps: 9}, network: {linear: 8}}"
    found = draft(tmp_path, f"config: {{name: 2024-01-01, process: [{process}]}}", "a.yaml")
    assert found.sections["scrape"]["name"] == "2024-01-01"
