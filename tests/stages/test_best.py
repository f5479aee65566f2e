"""results/best: the recommended LoRA with sidecar and preview, remade as the recommendation changes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from made_bakes import made_bake

from bakery.interop import infotext
from bakery.io import manifest, tables
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
    baked = [made_bake(tmp_path, "a", LOW), made_bake(tmp_path, "b", GOOD)]
    out = tmp_path / "results/best/lr"
    mark = best.place(baked, page=page_of(baked, tmp_path / "lr-1"), out=out)
    assert names(out) == {
        "mirael.safetensors", "mirael.json", "mirael.preview.png", "from-lr-1.json",
    }  # fmt: skip
    source = baked[1].folders["train"] / "mirael-000001.safetensors"
    assert (out / "mirael.safetensors").read_bytes() == source.read_bytes()
    card = json.loads((out / "mirael.json").read_text("utf-8"))
    assert card["activation text"] == "mirael"
    assert card["preferred weight"] == 1
    assert card["negative text"] == "lowres"
    assert "b, epoch 1" in card["notes"]
    assert "<lora:mirael-000001:1>" in infotext.read_png(out / "mirael.preview.png")
    assert json.loads((out / "from-lr-1.json").read_text("utf-8")) == mark
    assert mark["page"] == "lr-1"
    assert mark["files"]["mirael.safetensors"] == manifest.digest(source)


def test_a_new_recommendation_takes_the_place_of_the_old(tmp_path: Path) -> None:
    out = tmp_path / "best"
    good = made_bake(tmp_path, "b", GOOD, settings={"scrape.name": "older"})
    best.place([good], page=page_of([good], tmp_path / "lr-1"), out=out)
    (out / "mine.txt").write_text("a note of the user's")
    low = made_bake(tmp_path, "a", LOW)
    best.place([low], page=page_of([low], tmp_path / "lr-2"), out=out)
    assert names(out) == {
        "mirael.safetensors", "mirael.json", "mirael.preview.png", "from-lr-2.json", "mine.txt",
    }  # fmt: skip
    source = low.folders["train"] / "mirael.safetensors"
    assert (out / "mirael.safetensors").read_bytes() == source.read_bytes()
    assert (good.folders["train"] / "mirael-000001.safetensors").exists()


def test_without_a_recommendation_nothing_stale_stays(tmp_path: Path) -> None:
    out = tmp_path / "best"
    good = made_bake(tmp_path, "b", GOOD)
    best.place([good], page=page_of([good], tmp_path / "lr-1"), out=out)
    blind = made_bake(tmp_path, "c", [(math.nan, 0.5)] * 2)
    mark = best.place([blind], page=page_of([blind], tmp_path / "lr-2"), out=out)
    assert names(out) == {"from-lr-2.json"}
    assert mark["files"] == {}


def test_the_preview_is_the_best_identity_picture_of_the_first_seed(tmp_path: Path) -> None:
    prompts = {"beach": "mirael, beach", "trigger": "mirael", "jacket": "mirael, red jacket"}
    bake = made_bake(tmp_path, "a", LOW, prompts=prompts)
    path = bake.folders["score"] / "scores.csv"
    table = tables.read(path, ())
    table.loc[table["image"] == "e2_trigger_s2.png", "score"] = "1.0"
    table.loc[table["image"] == "e2_beach_s1.png", "score"] = "0.9"
    tables.write(path, table.to_dict("records"), list(table.columns))
    assert best.preview(results.read_bake(bake), 2).path.name == "e2_trigger_s1.png"
    with pytest.raises(BakeryError, match="no picture of epoch 7"):
        best.preview(results.read_bake(bake), 7)


def test_a_lora_that_is_gone_is_said(tmp_path: Path) -> None:
    good = made_bake(tmp_path, "b", GOOD)
    page = page_of([good], tmp_path / "lr-1")
    (good.folders["train"] / "mirael-000001.safetensors").unlink()
    with pytest.raises(BakeryError, match=r"mirael-000001.safetensors does not exist"):
        best.place([good], page=page, out=tmp_path / "best")
