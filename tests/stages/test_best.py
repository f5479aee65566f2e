"""results/best: the recommended LoRA with sidecar and preview, remade as the recommendation changes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from made_bakes import made_bake

from bakery.interop import infotext
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.report import results
from bakery.settings.compare import Compare
from bakery.stages import best, compare

LOW = [(0.2, 0.8), (0.3, 0.8), (0.4, 0.8)]
GOOD = [(0.2, 0.8), (0.9, 0.75), (0.5, 0.5)]


def page_of(baked: list[results.Bake], folder: Path) -> Path:
    summary = compare.run(Compare(), bakes=baked, out=folder, sweep="lr")
    manifest.write(folder, {"stage": "compare", "settings": {}, "above": {}}, summary)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_recommended_epoch_is_set_apart(tmp_path: Path) -> None:
    baked = [made_bake(tmp_path, "a", LOW), made_bake(tmp_path, "b", GOOD, name="mirael-dim8")]
    out = tmp_path / "results/best/mirael/lr"
    mark = best.place(baked, page=page_of(baked, tmp_path / "lr-1"), out=out)
    assert names(out) == {
        "mirael-dim8-e01.safetensors", "mirael-dim8-e01.json", "mirael-dim8-e01.preview.png",
        "from-lr-1.json", "from-lr-1.seal",
    }  # fmt: skip
    source = baked[1].folders["train"] / "mirael-000001.safetensors"
    assert (out / "mirael-dim8-e01.safetensors").read_bytes() == source.read_bytes()
    card = json.loads((out / "mirael-dim8-e01.json").read_text("utf-8"))
    assert card["description"].startswith("mirael-dim8-e01, ")
    assert card["activation text"] == "mirael"
    assert card["preferred weight"] == 1
    assert card["negative text"] == "lowres"
    assert "b, epoch 1" in card["notes"]
    said = infotext.parse(infotext.read_png(out / "mirael-dim8-e01.preview.png"))
    assert list(said.loras) == ["mirael-dim8-e01"], "as the file beside it is called"
    assert said.settings["Lora hashes"].startswith("mirael-dim8-e01: ")
    assert json.loads((out / "from-lr-1.json").read_text("utf-8")) == mark
    assert mark["page"] == "lr-1"
    assert mark["best_lora"] == "mirael-dim8-e01"
    assert mark["files"]["mirael-dim8-e01.safetensors"] == manifest.digest(source)


def test_a_new_recommendation_takes_the_place_of_the_old(tmp_path: Path) -> None:
    out = tmp_path / "best"
    good = made_bake(tmp_path, "b", GOOD, settings={"scrape.name": "older"})
    best.place([good], page=page_of([good], tmp_path / "lr-1"), out=out)
    (out / "mine.txt").write_text("a note of the user's")
    low = made_bake(tmp_path, "a", LOW)
    best.place([low], page=page_of([low], tmp_path / "lr-2"), out=out)
    assert names(out) == {
        "mirael-e02.safetensors", "mirael-e02.json", "mirael-e02.preview.png", "from-lr-2.json",
        "from-lr-2.seal", "mine.txt",
    }  # fmt: skip
    source = low.folders["train"] / "mirael.safetensors"
    assert (out / "mirael-e02.safetensors").read_bytes() == source.read_bytes()
    assert (good.folders["train"] / "mirael-000001.safetensors").exists()


def test_without_a_recommendation_nothing_stale_stays(tmp_path: Path) -> None:
    out = tmp_path / "best"
    good = made_bake(tmp_path, "b", GOOD)
    best.place([good], page=page_of([good], tmp_path / "lr-1"), out=out)
    blind = made_bake(tmp_path, "c", [(math.nan, 0.5)] * 2)
    mark = best.place([blind], page=page_of([blind], tmp_path / "lr-2"), out=out)
    assert names(out) == {"from-lr-2.json", "from-lr-2.seal"}
    assert mark["files"] == {}


def test_a_folder_under_another_readable_name_is_the_same_bake(tmp_path: Path) -> None:
    key = "0123456789ab"
    good = made_bake(tmp_path, "b", GOOD)
    train = good.folders["train"].rename(good.folders["train"].with_name(f"old-{key}"))
    before = replace(good, folders={**good.folders, "train": train})
    page = page_of([before], tmp_path / "lr-1")
    after = replace(
        good, folders={**good.folders, "train": train.rename(f"{train.parent}/new-{key}")}
    )
    assert best.place([after], page=page, out=tmp_path / "best")["files"]


def test_a_lora_that_is_gone_is_said(tmp_path: Path) -> None:
    good = made_bake(tmp_path, "b", GOOD)
    page = page_of([good], tmp_path / "lr-1")
    (good.folders["train"] / "mirael-000001.safetensors").unlink()
    with pytest.raises(BakeryError, match=r"mirael-000001.safetensors does not exist"):
        best.place([good], page=page, out=tmp_path / "best")
