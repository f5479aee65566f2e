"""results/gather: LoRAs for an image generator's folder, and what is published with them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from made_bakes import made_bake
from PIL import Image

from bakery.interop import infotext
from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.report.results import Bake
from bakery.settings.compare import Compare
from bakery.settings.gather import Gather
from bakery.sources import posts
from bakery.stages import compare, gather

BASE = (0.2, 0.8)
LOW, GOOD = [BASE, (0.3, 0.8), (0.4, 0.8)], [BASE, (0.9, 0.75), (0.5, 0.5)]
RECOMMENDED = ("mirael-dim4-e02", "mirael-dim8-e01")


def pair(root: Path, **more: Any) -> list[Bake]:
    return [made_bake(root, name, scores, name=f"mirael-{name}", **more)
            for name, scores in (("dim4", LOW), ("dim8", GOOD))]  # fmt: skip


def page(baked: Sequence[Bake], folder: Path, sweep: str = "dims") -> dict[str, Any]:
    """A finished page of `baked`, as the rule names it."""
    summary = compare.run(Compare(), bakes=baked, out=folder, sweep=sweep)
    manifest.write(folder, {"stage": "compare", "settings": {}, "above": {}}, summary)
    facts = [
        {"label": b.label, "name": b.name, "own": b.own, "settings": b.settings,
         "folders": {stage: str(path) for stage, path in b.folders.items()}}
        for b in baked
    ]  # fmt: skip
    return {"sweep": sweep, "dataset": "mirael", "folder": str(folder), "bakes": facts}


def loras(folder: Path) -> set[str]:
    return {path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors")}


def test_each_bake_leaves_its_recommended_epoch_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    said = gather.run(Gather(), pages=[page(pair(tmp_path), tmp_path / "p")], out=tmp_path / "out")
    folder = tmp_path / "out/mirael"
    assert loras(folder) == set(RECOMMENDED)
    assert {p.name for p in folder.iterdir()} == {
        *(f"{name}{end}" for name in RECOMMENDED
          for end in (".safetensors", ".json", ".preview.png", ".civitai.md")),
        "README.md", "README.seal", "images", "gathered-dims.json", "gathered-dims.seal",
    }  # fmt: skip
    for name in RECOMMENDED:
        assert name in said
        card = json.loads((folder / f"{name}.json").read_text("utf-8"))
        assert card["activation text"] == "mirael"
        assert card["preferred weight"] == 1
        assert card["description"].startswith(f"{name}, ")
        assert f"<lora:{name}:1>" in infotext.read_png(folder / f"{name}.preview.png")
        text = (folder / f"{name}.civitai.md").read_text("utf-8")
        assert f"`{name}.safetensors`" in text
        assert f"`<lora:{name}:1>, mirael`" in text
    record = json.loads((folder / "gathered-dims.json").read_text("utf-8"))
    assert set(record["files"]) == {
        p.name for p in folder.iterdir() if p.name.startswith("mirael-")
    }


def test_all_epochs_of_all_bakes_and_only_what_is_asked_for(tmp_path: Path) -> None:
    pages = [page(pair(tmp_path), tmp_path / "p")]
    folder = tmp_path / "out/mirael"
    gather.run(Gather(epochs="all"), pages=pages, out=folder.parent)
    every = {f"mirael-dim{dim}-e0{epoch}" for dim in (4, 8) for epoch in (1, 2)}
    assert loras(folder) == every
    (folder / "mine.safetensors").write_bytes(b"a LoRA of the user's")
    gather.run(Gather(epochs="all", bakes=("mirael-dim8",)), pages=pages, out=folder.parent)
    assert loras(folder) == {"mirael-dim8-e01", "mirael-dim8-e02", "mine"}


def test_sweeps_lie_side_by_side_and_keep_what_they_share(tmp_path: Path) -> None:
    baked = pair(tmp_path)
    other = made_bake(tmp_path, "lr", GOOD, name="mirael-lr0.1")
    dims, rates = page(baked, tmp_path / "p"), page([baked[1], other], tmp_path / "q", "rates")
    folder = tmp_path / "out/mirael"
    gather.run(Gather(), pages=[dims, rates], out=folder.parent)
    assert loras(folder) == {*RECOMMENDED, "mirael-lr0.1-e01"}
    shown = [e["output"]["url"] for e in ModelCard.load(folder / "README.md").data.widget]
    assert len(set(shown)) == len(shown) == 6, "two pictures of each LoRA, once"
    assert shown[0].startswith("images/mirael-dim8-e01-"), "the recommended one in front"
    gather.run(Gather(), pages=[page([other], tmp_path / "r", "rates")], out=folder.parent)
    assert loras(folder) == {*RECOMMENDED, "mirael-lr0.1-e01"}, "dim8 belongs to dims, too"
    gather.run(Gather(), pages=[page([baked[0]], tmp_path / "s", "dims")], out=folder.parent)
    assert loras(folder) == {RECOMMENDED[0], "mirael-lr0.1-e01"}


def test_a_web_ui_s_folder_gets_loras_and_loses_nothing(tmp_path: Path) -> None:
    pages = [page(pair(tmp_path), tmp_path / "p")]
    webui = tmp_path / "webui"
    webui.mkdir()
    (webui / "other.safetensors").write_bytes(b"other")
    given = Gather(to=str(webui), epochs="all")
    gather.run(given, pages=pages, out=tmp_path / "out")
    assert len(loras(webui)) == 5
    assert not list(webui.glob("*.md")), "what is published stays here"
    mine = webui / "mirael-dim8-e01.json"
    mine.write_text('{"notes": "my own"}')
    said = gather.run(given, pages=pages, out=tmp_path / "out")
    assert mine.read_text() == '{"notes": "my own"}'
    assert f"{mine} was changed by hand" in said
    gather.run(Gather(to=str(webui)), pages=pages, out=tmp_path / "out")
    assert len(loras(webui)) == 5


def test_a_lora_of_the_same_name_is_never_overwritten(tmp_path: Path) -> None:
    pages = [page(pair(tmp_path), tmp_path / "p")]
    theirs = tmp_path / "webui/mirael-dim8-e01.safetensors"
    theirs.parent.mkdir()
    theirs.write_bytes(b"another")
    with pytest.raises(
        BakeryError, match=r"mirael-dim8-e01\.safetensors is another LoRA.*gather\.to"
    ):
        gather.run(Gather(to=str(theirs.parent)), pages=pages, out=tmp_path / "out")
    assert theirs.read_bytes() == b"another"
    assert not list((tmp_path / "out/mirael").glob(".gathering-*"))


def test_a_lora_that_was_trained_anew_takes_its_place(tmp_path: Path) -> None:
    baked = pair(tmp_path)
    gather.run(Gather(), pages=[page(baked, tmp_path / "p")], out=tmp_path / "out")
    source = baked[1].folders["train"] / "mirael-000001.safetensors"
    gathered = tmp_path / "out/mirael/mirael-dim8-e01.safetensors"
    new = source.read_bytes().replace(b'"ss_epoch": "1"', b'"ss_epoch": "7"')
    source.unlink()
    source.write_bytes(new)
    about = manifest.read(source.parent)
    manifest.write(source.parent, about, about["summary"])
    gather.run(Gather(), pages=[page(baked, tmp_path / "p")], out=tmp_path / "out")
    assert gathered.read_bytes() == new


def test_a_bake_without_a_recommendation_is_named(tmp_path: Path) -> None:
    blind = made_bake(tmp_path, "x", [(math.nan, 0.5)] * 2, name="mirael-x")
    pages = [page([blind], tmp_path / "p")]
    said = gather.run(Gather(), pages=pages, out=tmp_path / "out")
    assert "mirael-x: its scores recommend no epoch; gather.epochs: all takes every epoch" in said
    assert not loras(tmp_path / "out/mirael")
    gather.run(Gather(epochs="all"), pages=pages, out=tmp_path / "out")
    assert loras(tmp_path / "out/mirael") == {"mirael-x-e01"}


def published(tmp_path: Path, version: str = "sd_v1", **settings: Any) -> Path:
    """The folder of a gathered bake with these settings, its pictures known, on a base that its LoRAs
    call `version`.
    """
    bake = made_bake(tmp_path, "dim8", GOOD, name="mirael-dim8", settings=settings)
    _on_base(bake.folders["train"], version)
    found = [
        posts.Post(image=f"{i}.png", url=url, licence=licence, tags_artist=artist)
        for i, (url, licence, artist) in enumerate([
            ("https://a.example/posts/1", "CC BY 4.0", "ann"), ("https://a.example/2", "", "ann"),
            ("home/me/x.png", "", ""), ("https://not.example/used", "", "zoe"),
        ])
    ]  # fmt: skip
    posts.write(bake.folders["scrape"] / "posts.csv", found)
    rows = [{"image": f"{i}.png", "kind": "picture"} for i in range(3)]
    rows.append({"image": "3.png", "kind": "reg"})
    tables.write(bake.folders["layout"] / "layout.csv", rows, ("image", "kind"))
    gather.run(Gather(), pages=[page([bake], tmp_path / "p")], out=tmp_path / "out")
    return tmp_path / "out/mirael"


def _on_base(train: Path, version: str) -> None:
    about = manifest.read(train)
    for file in train.glob("*.safetensors"):
        header = json.loads(file.read_bytes()[8:])
        header["__metadata__"]["ss_base_model_version"] = version
        raw = json.dumps(header).encode()
        file.write_bytes(len(raw).to_bytes(8, "little") + raw)
    manifest.write(train, about, about["summary"])


@pytest.mark.parametrize(
    ("version", "told", "called"), [("sd_v1", True, "1"), ("sdxl_base_v1-0", False, "2"),
                                     ("anima", False, None)]
)  # fmt: skip
def test_clip_skip_is_told_as_other_programs_call_it(
    tmp_path: Path, version: str, told: bool, called: str | None
) -> None:
    folder = published(tmp_path, version, **{"train.clip_skip": 1, "train.keep_tokens": 3})
    civitai = (folder / "mirael-dim8-e01.civitai.md").read_text("utf-8")
    card = (folder / "README.md").read_text("utf-8")
    asked = [line for line in civitai.splitlines() if line.startswith("| Clip skip")]
    assert asked == ([f"| Clip skip | {called} |"] if called else [])
    for text in (civitai, card):
        assert ("| clip_skip | 1 |" in text) == told
        assert "| keep_tokens | 3 |" in text


def test_civitai_is_told_what_its_form_asks(tmp_path: Path) -> None:
    text = (
        published(tmp_path, **{
            "train.base": "C:/secret/anime.safetensors", "train.clip_skip": 2,
            "prune.trigger": "mirael (saga)", "prune.outfits": {"mirael_red": ["red jacket", "hat"]},
        }) / "mirael-dim8-e01.civitai.md"
    ).read_text("utf-8")  # fmt: skip
    for line in (
        "| Trigger words | `mirael \\(saga\\)`, `mirael_red` |",
        "| Recommended strength | 1 |",
        "| Training epochs | 1 |",
        "| Clip skip | 2 |",
        "- `mirael_red`: red jacket, hat",
        "| network_dim | 16 |",
        "- Trained on 3 pictures: a.example (2), own pictures (1).",
        "- Licences: CC BY 4.0 (1).",
        "- Artists: ann.",
    ):
        assert line in text.splitlines(), line
    assert "anime.safetensors" in text
    assert "secret" not in text


def test_the_model_card_is_one_that_the_hub_reads(tmp_path: Path) -> None:
    settings = {"train.base": "owner/model@v1", "prune.class_tokens": "1girl"}
    folder = published(tmp_path, **settings)
    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data["base_model"] == "owner/model"
    assert {"text-to-image", "lora", "diffusers", "template:sd-lora"} <= set(data["tags"])
    assert data["instance_prompt"] == "mirael, 1girl"
    assert data["pipeline_tag"] == "text-to-image"
    for example in data["widget"]:
        with Image.open(folder / example["output"]["url"]) as picture:
            assert "<lora:mirael-dim8-e01:1>" in picture.info["parameters"]
        assert example["parameters"] == {"negative_prompt": "lowres"}
    assert data["widget"][0]["text"] == "mirael", "the character alone comes first"
    assert "<Gallery />" in card.text
    assert 'weight_name="mirael-dim8-e01.safetensors"' in card.text


def test_a_local_base_is_no_id_of_the_hub(tmp_path: Path) -> None:
    """The hub refuses a card whose base_model it does not know."""
    text = (published(tmp_path, **{"train.base": "models/a.safetensors"}) / "README.md").read_text()
    head = text.split("---\n")[1]
    assert "base_model" not in yaml.safe_load(head)
    assert "# base_model: the hub's id of a.safetensors" in head


def test_names_that_are_gathered_are_those_of_the_page(tmp_path: Path) -> None:
    baked = pair(tmp_path)
    pages = [page([*baked[:1], replace(baked[1], own=False)], tmp_path / "p")]
    html = (tmp_path / "p/index.html").read_text("utf-8")
    gather.run(Gather(epochs="all"), pages=pages, out=tmp_path / "out")
    for name in loras(tmp_path / "out/mirael"):
        assert f"&lt;lora:{name}:1&gt;, mirael" in html
