"""A beginner's mistakes: each is answered by one sentence that says what to do, before a job starts.

From what people ask in the trackers of the peers: paths with typos, captions without pictures, a LoRA as
base, tabs, a comma in a number ... A row is a config as it would be typed, and what is said of it: by
reading the file, by building the graph (both end the run), or by the dry bake (which warns).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from documents import ROOT
from made_checkpoints import LORA, SD1, SDXL, checkpoint, world
from PIL import Image

from bakery.forecast import forecast
from bakery.forecast.forecast import PlannedBake
from bakery.graph import build, summary
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings import config_file

MINE = """\
scrape:
  name: suzu
  urls: []
  folders: [pics]
filter:
  min_side: 0
tag:
  model: owner/tagger
prune:
  trigger: suzu
train:
  base: sd.safetensors
  resolution: 512
  min_bucket_reso: 320
  max_bucket_reso: 960
  bucket_reso_steps: 64
"""
"""A config without a mistake."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a beginner has it, and the working directory."""
    world(tmp_path)
    monkeypatch.chdir(tmp_path)
    for folder in ("pics", "texts", "empty", "broken"):
        (tmp_path / folder).mkdir()
    for i in range(20):
        Image.new("1", (600, 700)).save(tmp_path / f"pics/{i}.png")
        (tmp_path / f"texts/{i}.txt").write_text("suzu, 1girl")
    (tmp_path / "broken/a.png").write_bytes(b"no picture")
    checkpoint(tmp_path / "sd.safetensors", SD1)
    checkpoint(tmp_path / "xl.safetensors", SDXL)
    checkpoint(tmp_path / "lora.safetensors", LORA)
    whole = (tmp_path / "sd.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-3])
    (tmp_path / "page.safetensors").write_bytes(b"<!doctype html><title>Log in")
    (tmp_path / "lfs.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    torch.save(
        {"state_dict": {"x": torch.zeros(1)}, "callbacks": pytest.Item}, tmp_path / "code.ckpt"
    )
    torch.save({"*": torch.zeros(1, 768)}, tmp_path / "embedding.pt")
    return tmp_path


def answers(desk: Path, text: str) -> tuple[str, list[str]]:
    """(what ends the run or "", what the dry bake warns of)"""
    path = desk / "my.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        made = build.build(cfg.load(config_file.read(path)), [desk])
    except BakeryError as refusal:
        return str(refusal), []
    warned = [
        sentence
        for bake in summary.planned_bakes(made, [desk])
        for sentence in forecast.make(PlannedBake(**bake, configs=[path], has_gpu=False),
                                      desk / "results/train").warnings
    ]  # fmt: skip
    return "", warned


def with_(old: str, new: str) -> str:
    assert old in MINE
    return MINE.replace(old, new)


REFUSED: dict[str, tuple[str, str]] = {
    "a folder with a typo": (with_("[pics]", "[pisc]"), r"scrape\.folders names pisc"),
    "a base with a typo": (with_("sd.safe", "ds.safe"), r"train\.base names ds\.safetensors.*not exist"),
    "a LoRA as base": (with_("sd.safe", "lora.safe"), r"lora\.safetensors is a LoRA, not a model"),
    "a download that was cut off": (with_("sd.safe", "cut.safe"), r"cut\.safetensors is damaged.*bytes"),
    "a login page as base": (with_("sd.safe", "page.safe"), "web page, not a model"),
    "a git-lfs pointer": (with_("sd.safe", "lfs.safe"), "git-lfs pointer.*git lfs pull"),
    "a pickle that could run code": (with_("sd.safetensors", "code.ckpt"), "run code.*safetensors"),
    "an embedding as base": (with_("sd.safetensors", "embedding.pt"), "is not a supported model"),
    "a folder as base": (with_("sd.safetensors", "pics"), r"pics has no model_index\.json"),
    "a trigger with a comma": (with_("trigger: suzu", "trigger: suzu, 1girl"), "commas and line breaks"),
    "a number with a comma": (
        with_("resolution: 512", "resolution: 512\n  unet_lr: 1,6e-4"),
        r"train\.unet_lr is '1,6e-4'.*write 1\.6e-4, with a point",
    ),
    "a tab": (with_("  name: suzu", "\tname: suzu"), r"my\.yaml, line 2 is indented with a tab"),
    "a key that is none": (
        with_("resolution: 512", "resolution: 512\n  learning_rates: 1"),
        "train.learning_rates is not a setting; did you mean learning_rate",
    ),
    "a setting of another section": (with_("name: suzu", "name: suzu\n  repeats: 5"), "scrape.repeats"),
    "a Windows path in double quotes": (
        with_("sd.safetensors", '"C:\\models\\new.safetensors"'),
        r"my\.yaml, line 12 has a backslash in double quotes",
    ),
    "a section twice": (MINE + "scrape:\n  limit: 9\n", "scrape is in line 1 and again in line 17"),
    "two sweeps of one name": (
        MINE + "sweeps:\n  a: {grid: {train.seed: [1]}}\n  a: {grid: {train.seed: [2]}}\n",
        "a is in line 18 and again in line 19",
    ),
    "an open quote": (with_("trigger: suzu", 'trigger: "suzu'), "line 10 opens a quote"),
    "a colon in a value": (with_("trigger: suzu", "trigger: suzu: hi"), "line 10 has a colon"),
    "buckets that do not hold the resolution": (with_("resolution: 512", "resolution: 1024"),
                                                "outside min_bucket_reso"),
    "an address for a folder": (with_("[pics]", "[https://x.y/z]"), r"scrape\.folders names https"),
}  # fmt: skip
WARNED: dict[str, tuple[str, str]] = {
    "1024 for SD 1.5": (
        with_("resolution: 512", "resolution: 1024").replace("960", "1024"),
        "resolution 1024 is far from the 512 that SD 1.x models",
    ),
    "512 for SDXL": (with_("sd.safe", "xl.safe"), "resolution 512 is far from the 1024 that SDXL"),
    "an empty folder": (with_("[pics]", "[empty]"), "the folders hold no picture"),
    "captions without pictures": (with_("[pics]", "[texts]"), "the folders hold no picture"),
    "pictures that are none": (with_("[pics]", "[broken]"), "1 more cannot be read"),
    "the example's name": (with_("name: suzu", "name: mirael"), "scrape.name is still mirael"),
    "the example's trigger": (with_("r: suzu", "r: mirael"), "prune.trigger is still mirael"),
    "the example's pictures": (
        with_("urls: []", 'urls: ["embedded://posts?tags=mirael"]'), "the example's pictures: remove it"
    ),
    "the example's base": (
        with_("sd.safetensors", "resources/world/base"), "train.base is still resources/world/base"
    ),
    "the example's tagger": (with_("owner/tagger", "resources/world/tagger"), "tag.model is still"),
    "fp16 without a GPU": (
        with_("resolution: 512", "resolution: 512\n  mixed_precision: fp16"), "fp16 needs a GPU"
    ),
    "repeats and epochs mistyped": (
        MINE + "layout:\n  repeats: 500\n", "an epoch shows 10,000 pictures, and 6 epochs 60,000"
    ),
    "a min_side above all pictures": (with_("min_side: 0", "min_side: 768"),
                                      "20 more are left out as too small"),
}  # fmt: skip


def test_a_config_without_a_mistake_is_neither_refused_nor_warned_of(desk: Path) -> None:
    refused, warned = answers(desk, MINE)
    assert refused == ""
    assert warned == []


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_ends_the_run_with_one_sentence(desk: Path, mistake: str) -> None:
    text, words = REFUSED[mistake]
    refused, _ = answers(desk, text)
    assert re.search(words, refused), refused
    assert refused.count("\n") == 0
    assert len(refused) < 400


@pytest.mark.parametrize("mistake", WARNED)
def test_a_slip_is_told_by_the_dry_bake(desk: Path, mistake: str) -> None:
    text, words = WARNED[mistake]
    refused, warned = answers(desk, text)
    assert refused == ""
    assert len([w for w in warned if words in w]) == 1, warned


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        (
            "resolution: 512",
            'resolution: 512\n  network_dim: "32 "',
            lambda c: c.train.network_dim == 32,
        ),
        ("resolution: 512", "resolution: 512\n  unet_lr: 1e-4", lambda c: c.train.unet_lr == 1e-4),
        (
            "resolution: 512",
            "resolution: 512\n  unet_lr: '1e-4'",
            lambda c: c.train.unet_lr == 1e-4,
        ),
        ("sd.safetensors", "'sd.safetensors'", lambda c: c.train.base == "sd.safetensors"),
    ],
)
def test_what_is_meant_clearly_is_taken(
    desk: Path, old: str, new: str, value: Callable[[cfg.Config], bool]
) -> None:
    (desk / "my.yaml").write_text(with_(old, new))
    assert value(cfg.load(config_file.read(desk / "my.yaml")))
    assert answers(desk, with_(old, new))[0] == ""


def test_two_configs_of_one_name_are_told(desk: Path) -> None:
    (desk / "other.yaml").write_text(MINE.replace("[pics]", "[texts]"))
    _, warned = answers(desk, MINE)
    assert any("other.yaml has the name suzu, too, and other pictures" in w for w in warned)
    (desk / "other.yaml").write_text(MINE.replace("trigger: suzu", "trigger: suzume"))
    assert not any("has the name" in w for w in answers(desk, MINE)[1]), "a variation of it"


@pytest.mark.parametrize("chore", ["new_config", "import_config", "export_config"])
def test_without_the_environment_a_chore_says_how_to_activate_it(chore: str) -> None:
    run = subprocess.run(
        [sys.executable, "-S", str(ROOT / f"scripts/{chore}.py"), "--help"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "run `source .venv/bin/activate` first" in run.stderr


@pytest.mark.parametrize("typed", ["suzu.yaml", "suzu.yml", "config/suzu.yml", "suzu"])
def test_a_config_that_is_there_under_almost_that_name_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/suzu.yaml").write_text(MINE)
    with pytest.raises(BakeryError) as caught:
        config_file.read(Path(typed))
    assert str(caught.value) == f"{typed} does not exist: did you mean config/suzu.yaml?"
