"""Paths in the config: home folders, Windows' paths, and sentences for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakery.graph import build
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.named_files import (
    Model,
    NamedFile,
    OwnFolder,
    PictureFolder,
    expanded,
    locate,
    named_in,
)
from bakery.settings.tag import Tag

HUB = "SmilingWolf/wd-swinv2-tagger-v3"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    for name in ("models/base", "pics/hoshi", "home/pics"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pics/all.zip").write_bytes(b"x")
    (tmp_path / "pics/a.png").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PICS", "pics")
    return tmp_path


OWN = OwnFolder()


def sentence(root: Path, text: str, mark: NamedFile = OWN) -> str:
    with pytest.raises(BakeryError) as caught:
        mark.find(text, [root], "scrape.folders")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_home_folder(root):
    assert OwnFolder().find("~/pics", [root], "x") == root / "home/pics"
    assert locate("~/pics", [root], "x") == root / "home/pics"
    assert expanded("~root/pics") == Path("/root/pics")
    assert "which does not exist" in sentence(root, "~nobody-of-this-name/pics")
    assert "$PICS/hoshi, which does not exist" in sentence(root, "$PICS/hoshi")


@pytest.mark.parametrize("text", ["pics\\hoshi", ".\\pics\\hoshi", "pics\\hoshi\\"])
def test_a_path_as_windows_writes_it(root, text):
    assert OwnFolder().find(text, [root], "x").samefile(root / "pics/hoshi")
    assert expanded(text, root) != Path(text)


@pytest.mark.parametrize(
    "text", ["C:\\Users\\me\\pics", "\\\\server\\pics", "D:/pics", "gone\\pics"]
)
@pytest.mark.parametrize("mark", [OwnFolder(), PictureFolder(), Model()])
def test_a_windows_path_that_leads_nowhere(root, text, mark):
    says = sentence(root, text, mark)
    assert f"names {text}, which does not exist" in says
    assert "Windows" in says
    assert "hub" not in says


def test_an_archive_is_a_picture_folder_only(root):
    assert PictureFolder().find("pics/all.zip", [root], "x") == root / "pics/all.zip"
    assert "is not a folder: give its folder" in sentence(root, "pics/all.zip")
    assert "is not a folder: give its folder" in sentence(root, "pics/a.png", PictureFolder())


def test_a_near_name_is_offered(root):
    assert sentence(root, "pics/hoshy").endswith("did you mean pics/hoshi?")


@pytest.mark.parametrize(
    "text",
    [
        "./models/x", "../x", "models/x", "models/x/y", "/models/x", "~/models/x", "models/x/", "pics/x",
        "checkpoints/mine", "owner/mine.safetensors", "owner/vae.pt", "Models/x", "a/b/c",
    ],
)  # fmt: skip
def test_a_missing_path_is_not_told_to_be_a_hub_id(root, text):
    says = sentence(root, text, Model())
    assert f"names {text}, which does not exist" in says
    assert "hub" not in says


def test_what_may_be_a_hub_id(root):
    assert locate(HUB, [root], "tag.model") is None
    assert locate(f"{HUB}@v2.0", [root], "tag.model") is None
    assert "or a hub id such as" in sentence(root, "wd-swinv2-tagger-v3", Model())


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"train": {"base": "./models/x"}}, "train.base names ./models/x"),
        (
            {"train": {"base": {"checkpoint": "models/base", "vae": "./vae/x.pt"}}},
            "train.base.vae names",
        ),
        ({"tag": {"model": "~/taggers/x"}}, "tag.model names ~/taggers/x"),
        ({"scrape": {"folders": "~/gone"}}, "scrape.folders names ~/gone"),
        (
            {"train": {"base": "models/base", "reg_data_dir": "gone"}},
            "train.reg_data_dir names gone",
        ),
    ],
)
def test_every_setting_that_names_a_path(root, raw, where):
    raw = {"train": {"base": "models/base"}, "tag": {"model": "pics"}} | raw
    raw = {"scrape": {"folders": "pics/hoshi"}} | raw
    with pytest.raises(BakeryError, match=r"which does not exist: check the path") as caught:
        build.build(cfg.load(raw), [root])
    assert where in str(caught.value)


def test_a_captioner_is_a_file_of_the_tag_section() -> None:
    named = [(one.where, one.text) for one in named_in(Tag(captioner="models/florence"))]
    assert ("captioner", "models/florence") in named
    assert [one.where for one in named_in(Tag())] == ["model"]
