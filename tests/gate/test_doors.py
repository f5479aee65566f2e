"""Every door asks the gate: what must stay out comes neither in nor through. Plain pictures, labels."""

from __future__ import annotations

import json
import os

import pytest
from made_booru import ADA, small_booru
from PIL import Image, PngImagePlugin
from tiny_tagger import draw, tiny_tagger

from bakery.dataset import repeat_folders
from bakery.gate import gate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.sampling import prompts
from bakery.settings import config
from bakery.settings.filter import Filter
from bakery.settings.layout import Layout
from bakery.settings.prune import Prune
from bakery.settings.sample import Sample
from bakery.settings.scrape import Scrape
from bakery.settings.tag import Tag, Thresholds
from bakery.settings.train import Train
from bakery.sources import folders, posts
from bakery.sources.posts import Post
from bakery.stages import filter, layout, prune, scrape, tag
from bakery.tags import tagging
from bakery.tags.trigger import Trigger
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("own_home")
RED = Image.new("RGB", (96, 96), (200, 40, 30))
REFUSED = {gate.FORBIDDEN: 1}


def picture(path, colour=(200, 40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (96, 96), colour).save(path, **options)
    return path


def scraped(tmp_path, *, booru=None, **settings):
    """The summary, the posts by id or picture, and everything that lies in store and images."""
    summary = scrape.run(
        Scrape(minimum_share=0, **settings), booru=booru or tmp_path, out=tmp_path / "scrape",
        store=tmp_path / "store",
    )  # fmt: skip
    rows = posts.read(tmp_path / "scrape" / "posts.csv")
    return summary, rows


# --- scrape ---------------------------------------------------------------------------------


def test_scrape_from_a_booru(tmp_path):
    changes = {
        "p2": {"tag_string_general": "1girl loli"},
        "p3": {"tag_string": "1girl ada shota"},  # flat, beside categories that do not say it
        "p4": {"tags_lore": "young", "rating": "e"},
        "p5": {"tags_species": ["cub"]},
        "p6": {"rating": "e", "tag_string_general": "1girl child"},
        "p7": {"tag_string_general": "1girl loli", "is_deleted": True},
        "p8": {"tag_string_general": "1girl child"},  # general: stays
        "p9": {"tag_string_general": "1girl lolita_fashion", "rating": "e"},
        "p10": {"tag_string_general": "1girl shota", "file_url": None},
    }
    booru = small_booru(tmp_path, **changes)
    inside = PngImagePlugin.PngInfo()
    inside.add_text("parameters", "1girl, loli\nSteps: 20")
    RED.save(booru / "files" / f"{1:032x}.jpg", format="PNG", pnginfo=inside)
    summary, rows = scraped(tmp_path, booru=booru, urls=ADA)
    bare = {row.id for row in rows if row == posts.refused(row.id)}
    assert bare == {"1", "2", "3", "4", "5", "6", "7", "10"}
    assert {row.id for row in rows if row.image} == {"8", "9", "11", "12"}
    assert summary["reasons"] == {gate.FORBIDDEN: 8}
    names = {
        path.name.split(".")[0] for path in (tmp_path / "store").rglob("*.*") if path.is_file()
    }
    assert names == {"embedded-8", "embedded-9", "embedded-11", "embedded-12", ""}, (
        "nor in the store"
    )


def test_what_was_fetched_before_its_tags_changed_leaves_the_store(tmp_path):
    scraped(tmp_path, booru=small_booru(tmp_path, 2), urls=ADA)
    listed = json.loads((tmp_path / "booru/posts.json").read_text())
    listed[0]["tag_string_general"] += " loli"
    (tmp_path / "booru/posts.json").write_text(json.dumps(listed))
    _, rows = scraped(tmp_path, booru=tmp_path / "booru", urls=ADA)
    assert [bool(row.image) for row in rows] == [True, False]
    assert not list((tmp_path / "store").rglob("embedded-1.*"))


ENCODED = {
    "utf-16": "1girl, loli".encode("utf-16"),
    "utf-16 without its mark": "1girl, loli".encode("utf-16-le"),
    "shift-jis": "ロリ".encode("shift-jis"),
    "latin-1": "café, loli".encode("latin-1"),
    "a wrong guess": "萝莉, 1girl".encode("gb18030"),
    "nul behind it": b"1girl, loli\0\0\0",
}


@pytest.mark.parametrize("case", ENCODED)
def test_other_encodings_are_read_too(tmp_path, case):
    picture(tmp_path / "a/x.png")
    (tmp_path / "a/x.txt").write_bytes(ENCODED[case])
    picture(tmp_path / "a/y.png", "blue")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [(row.status, row.reason) for row in rows] == [("skipped", "forbidden_tag"), ("ok", "")]


BROKEN = {
    "in the second": ("x.png.txt", b"\xff\xfe\xfa"),
    "upper case": ("X.TXT", b"\xff\xfe\xfa"),
    "json": ("x.json", b"{"),
    "lines of json": ("x.jsonl", b"{\n"),
    "xmp": ("x.xmp", b"\xff\xfe<rdf>"),
    "number": ("x.json", b"\x80\x81"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_keeps_its_picture_out(tmp_path, case):
    name, content = BROKEN[case]
    picture(tmp_path / "a/x.png")
    (tmp_path / "a/x.txt").write_text("1girl")
    (tmp_path / "a" / name).write_bytes(content)
    picture(tmp_path / "a/y.png", "blue")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    (lost,) = [row for row in rows if row.status == "failed"]
    assert [row.image for row in rows if row.image] == ["y.png"]
    assert lost.url == "a/x.png"
    assert name.lower() in lost.reason.lower()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_in_a_sidecar_s_place(tmp_path, make):
    picture(tmp_path / "a/x.png")
    picture(tmp_path / "a/y.png", "blue")
    make(tmp_path / "a/x.txt")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [(row.status, row.image) for row in rows] == [("failed", ""), ("ok", "y.png")]
    assert "x.txt" in rows[0].reason


def test_a_pipe_in_a_picture_s_place_is_not_waited_for(tmp_path):
    picture(tmp_path / "a/x.png")
    os.mkfifo(tmp_path / "a/y.png")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.status for row in rows] == ["ok", "failed"]


def _exif(tag: int, value: object, ifd: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    (exif.get_ifd(ifd) if ifd else exif)[tag] = value
    return exif


INSIDE = {
    "description": ("x.jpg", {"exif": _exif(0x010E, "1girl, loli")}),
    "user comment": (
        "x.jpg", {"exif": _exif(0x9286, b"UNICODE\0" + "loli".encode("utf-16-be"), 0x8769)},
    ),
    "user comment, little": (
        "x.jpg", {"exif": _exif(0x9286, b"UNICODE\0" + "1girl, ロリ".encode("utf-16-le"), 0x8769)},
    ),
    "keywords": ("x.jpg", {"exif": _exif(0x9C9E, "1girl;loli".encode("utf-16-le"))}),
    "webp": ("x.webp", {"exif": _exif(0x010E, "shota")}),
    "comment": ("x.jpg", {"comment": b"1girl, loli"}),
    "xmp": ("x.jpg", {"xmp": b"<rdf:li>loli</rdf:li>"}),
    "xmp of webp": ("x.webp", {"xmp": b"<rdf:li>loli</rdf:li>"}),
    "tiff": ("x.tiff", {"description": "loli"}),
}  # fmt: skip


@pytest.mark.parametrize("case", INSIDE)
def test_what_is_written_inside_a_picture(tmp_path, case):
    name, options = INSIDE[case]
    picture(tmp_path / "a" / name, **options)
    picture(tmp_path / "a/y.png", "blue")
    summary, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.image for row in rows] == ["", "y.png"]
    assert summary["reasons"] == REFUSED


def test_a_text_behind_a_png_s_pixels(tmp_path):
    path = picture(tmp_path / "a/x.png")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "1girl, loli")
    picture(tmp_path / "b.png", pnginfo=chunks)
    said = (tmp_path / "b.png").read_bytes()
    start = said.index(b"tEXt") - 4
    chunk = said[start : start + 12 + int.from_bytes(said[start : start + 4], "big")]
    plain = path.read_bytes()
    path.write_bytes(plain[:-12] + chunk + plain[-12:])
    picture(tmp_path / "a/y.png", "blue")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.image for row in rows] == ["", "y.png"]


def test_a_negative_prompt_inside_keeps_nothing_out(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "1girl\nNegative prompt: loli, child\nSteps: 20, Sampler: DDIM")
    picture(tmp_path / "a/x.png", pnginfo=chunks)
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.image for row in rows] == ["x.png"]


def test_folders_names_and_tables_of_several_pictures_speak_too(tmp_path):
    for name in ("loli/x.png", "b/y.png", "b/z.png", "b/ok.png", "c/k.png"):
        picture(tmp_path / "a" / name, (hash(name) % 256, 90, 90))
    (tmp_path / "a/b/metadata.jsonl").write_text('{"file_name": "y.png", "text": "1girl, shota"}\n')
    (tmp_path / "a/tags.csv").write_text("b/z.png,loli\nb/ok.png,1girl\n")
    (tmp_path / "a/meta_cap.json").write_text('{"/data/c/k": {"tags": "1girl, loli"}}')
    summary, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.image for row in rows if row.image] == ["ok.png"]
    assert summary["reasons"][gate.FORBIDDEN] == 4


def test_a_sidecar_speaks_of_its_own_picture_only(tmp_path):
    for name in ("x.png", "x.2.png", "x2.png"):
        picture(tmp_path / "a" / name, (len(name) * 20, 90, 90))
    (tmp_path / "a/x.2.txt").write_text("1girl, loli")
    _, rows = scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
    assert [row.image for row in rows if row.image] == ["x.png", "x2.png"]


# --- filter, tag, prune ---------------------------------------------------------------------


def test_filter_and_include_txt(tmp_path):
    picture(tmp_path / "scrape/images/a.png")
    picture(tmp_path / "scrape/images/b.png", "blue")
    rows = [posts.Post(image="a.png", id="1", tags_general="1girl (Loli:1.2)", status="ok"),
            posts.Post(image="b.png", id="2", tags_general="1girl", status="ok")]  # fmt: skip
    posts.write(tmp_path / "scrape/posts.csv", rows)
    (tmp_path / "include.txt").write_text("a.png\nb.png\n")
    settings = Filter(min_side=0, max_blur=1, min_jpeg_quality=0, monochrome=False, ratings=())
    summary = filter.run(
        settings, scrape=tmp_path / "scrape", out=tmp_path / "filter",
        edits={"include.txt": tmp_path / "include.txt"},
    )  # fmt: skip
    assert summary["kept"] == 1
    assert summary["reasons"][gate.FORBIDDEN] == 1


TAGS = ["smile", "loli", "child", "nude", "general", "explicit", "beach"]
KINDS = {"general": "rating", "explicit": "rating"}


def tagged(tmp_path, seen, told=None):
    """The scrape, filter and tag stages' folders for pictures in which a tagger sees `seen`."""
    for name, tags in seen.items():
        (tmp_path / "scrape/images").mkdir(parents=True, exist_ok=True)
        draw(TAGS, tags).save(tmp_path / "scrape/images" / name)
    rows = [(told or {}).get(name, posts.Post()) for name in seen]
    for name, row in zip(seen, rows, strict=True):
        row.image = name
    posts.write(tmp_path / "scrape/posts.csv", rows)
    (tmp_path / "filter").mkdir()
    kept = [{"image": name, "kept": "true"} for name in seen]
    tables.write(tmp_path / "filter/decisions.csv", kept, ("image", "kept"))
    tiny_tagger(tmp_path / "model", TAGS, categories=KINDS)
    return tag.run(
        Tag(), scrape=tmp_path / "scrape", filter=tmp_path / "filter", out=tmp_path / "tag",
        model=tmp_path / "model",
    )  # fmt: skip


def pruned(tmp_path, **settings):
    summary = prune.run(
        Prune(**settings), scrape=tmp_path / "scrape", filter=tmp_path / "filter",
        tag=tmp_path / "tag", out=tmp_path / "prune",
    )  # fmt: skip
    table = tables.read(tmp_path / "prune/captions.csv", ("image", "caption"))
    return summary, dict(zip(table["image"], table["caption"], strict=True))


def test_tag_believes_its_tagger(tmp_path):
    seen = {
        "a.png": {"loli": 0.5, "smile": 0.9},
        "b.png": {"loli": 0.1, "smile": 0.9, "general": 0.9},
        "c.png": {"child": 0.6, "explicit": 0.8, "smile": 0.9},
        "d.png": {"child": 0.6, "general": 0.9, "smile": 0.9},
        "e.png": {"child": 0.6, "nude": 0.6, "general": 0.9},
    }
    summary = tagged(tmp_path, seen)
    assert summary["reasons"] == {gate.FORBIDDEN: 3}
    assert summary["tagged"] == 2
    assert set(tables.read(tmp_path / "tag/tags.csv", tagging.COLUMNS)["image"]) == {
        "b.png",
        "d.png",
    }
    assert set(json.loads((tmp_path / "tag/tagger.json").read_text())["refused"]) == {
        "a.png", "c.png", "e.png",
    }  # fmt: skip
    _, captions = pruned(tmp_path)
    assert set(captions) == {"b.png", "d.png"}


def test_where_nothing_is_refused_tagger_json_says_nothing_of_it(tmp_path):
    summary = tagged(tmp_path, {"a.png": {"smile": 0.9}})
    assert "reasons" not in summary
    assert "refused" not in json.loads((tmp_path / "tag/tagger.json").read_text())


def test_prune_adds_up_what_posts_sidecars_and_tagger_say(tmp_path):
    seen = {
        "a.png": {"smile": 0.9, "explicit": 0.9},  # a sidecar said child
        "b.png": {"smile": 0.9, "child": 0.5},  # its site said explicit
        "c.png": {"smile": 0.9, "beach": 0.9},
        "d.png": {"smile": 0.9, "loli": 0.2},  # believed by these settings
    }
    told = {
        "a.png": posts.Post(facts=gate.Facts(minor=True)),
        "b.png": posts.Post(rating="explicit"),
    }
    tagged(tmp_path, seen, told)
    assert (tmp_path / "scrape" / posts.GATE).is_file()
    summary, captions = pruned(tmp_path, general_threshold=0.15)
    assert set(captions) == {"c.png"}
    assert summary["images"] == 1
    assert summary["reasons"] == {gate.FORBIDDEN: 3}


def test_no_threshold_of_prune_opens_the_gate(tmp_path):
    tagged(tmp_path, {"a.png": {"smile": 0.9}, "b.png": {"smile": 1.0}})
    rows = tables.read(tmp_path / "tag/tags.csv", tagging.COLUMNS).to_dict("records")
    rows.append({"image": "a.png", "tag": "loli", "category": "general", "probability": "0.5"})
    tables.write(tmp_path / "tag/tags.csv", rows, tagging.COLUMNS)  # of an older tag stage
    summary, captions = pruned(tmp_path, general_threshold=0.9)
    assert set(captions) == {"b.png"}
    assert summary["reasons"] == REFUSED


@pytest.mark.parametrize("source", ["booru", "union"])
def test_prune_reads_what_the_booru_says(tmp_path, source):
    told = {
        "a.png": posts.Post(tags_general="1girl lolidom"),
        "b.png": posts.Post(tags_general="1girl"),
    }
    tagged(tmp_path, {name: {"smile": 0.9} for name in told}, told)
    _, captions = pruned(tmp_path, source=source)
    assert set(captions) == {"b.png"}


# --- layout and train -----------------------------------------------------------------------


def laid_out(tmp_path, captions, *, rewritten=None, ratings=None, concept_of=None, **settings):
    for name in captions:
        picture(tmp_path / "scrape/images" / name)
    rows = [
        Post(image=n, rating=(ratings or {}).get(n, ""), concept=(concept_of or {}).get(n, ""))
        for n in captions
    ]
    posts.write(tmp_path / "scrape/posts.csv", rows)
    (tmp_path / "prune").mkdir(exist_ok=True)
    Trigger("ada", thresholds=Thresholds(0.35, 0.85)).write(tmp_path / "prune")
    rows = [{"image": name, "caption": text} for name, text in captions.items()]
    tables.write(tmp_path / "prune/captions.csv", rows, ("image", "caption"))
    edits = tmp_path / "edits/captions"
    edits.mkdir(parents=True, exist_ok=True)
    for stem, text in (rewritten or {}).items():
        (edits / f"{stem}.txt").write_text(text)
    summary = layout.run(
        Layout(**settings), scrape=tmp_path / "scrape", tag=tmp_path / "tag", prune=tmp_path / "prune",
        out=tmp_path / "layout", name="ada", edits={"captions": str(edits)} if rewritten else {},
    )  # fmt: skip
    texts = sorted(path.stem for path in (tmp_path / "layout").rglob("*.txt"))
    return summary, texts


def test_layout_reads_the_captions(tmp_path):
    captions = {
        "a.png": "ada, loli",
        "b.png": "ada, smile",
        "c.png": "ada, child",
        "d.png": "ada, child",
    }
    summary, texts = laid_out(tmp_path, captions, ratings={"c.png": "explicit"})
    assert texts == ["b", "d"]
    assert summary["reasons"] == {gate.FORBIDDEN: 2}


@pytest.mark.parametrize(
    ("text", "rating"), [("ada, loli", ""), ("ada, a child", "explicit"), ("ada, ロリ", "")]
)
def test_layout_refuses_a_rewritten_caption(tmp_path, text, rating):
    with pytest.raises(BakeryError, match=r"captions/a\.txt") as caught:
        laid_out(tmp_path, {"a.png": "ada"}, rewritten={"a": text}, ratings={"a.png": rating})
    assert not list((tmp_path / "layout").rglob("*.png"))
    assert "\n" not in str(caught.value)


def test_layout_reads_a_prefix_with_its_pictures(tmp_path):
    captions = dict.fromkeys(("a.png", "b.png"), "ada, smile")
    settings = {"ratings": {"b.png": "explicit"}, "concepts": {"main": {"caption_prefix": "child"}}}
    tables_of = dict.fromkeys(captions, "main")
    summary, texts = laid_out(tmp_path, captions, concept_of=tables_of, **settings)
    assert texts == ["a"]
    assert summary["reasons"] == REFUSED
    with pytest.raises(BakeryError, match="caption_prefix speaks of sexualised minors"):
        config.load({"layout": {"concepts": {"gala": {"caption_prefix": "1girl, lolis"}}}})


def test_layout_reg_judges_all_that_is_said(tmp_path):
    reg = tmp_path / "class"
    for name in ("ok", "json", "txt", "both", "upper"):
        picture(reg / f"{name}.png")
    (reg / "json.json").write_text('{"tags": {"general": ["loli"]}}')
    (reg / "txt.json").write_text('{"tags": ["1girl"], "rating": "g"}')
    (reg / "txt.txt").write_text("1girl, shota")
    (reg / "both.json").write_text('{"tags": ["1girl"], "rating": "general"}')
    (reg / "both.txt").write_text("child, rating:explicit")
    (reg / "upper.TXT").write_text("loli")
    (reg / "ok.json").write_text('{"tags": ["1girl", "child"], "rating": "general"}')
    settings = {"reg": {"folder": str(reg), "class_tokens": "1girl"}}
    summary, texts = laid_out(tmp_path, {"a.png": "ada"}, **settings)
    assert texts == ["a", "ok"]
    assert summary["reg_dropped"] == {gate.FORBIDDEN: 4}
    picture(reg / "pipe.png")
    os.mkfifo(reg / "pipe.txt")
    assert laid_out(tmp_path, {"a.png": "ada"}, **settings)[1] == ["a", "ok"]


FOREIGN = {
    "caption": ("5_ada/x.txt", "ada, loli"),
    "other caption": ("5_ada/x.caption", "ada, loli"),
    "json": ("5_ada/x.json", '{"tags": "ada", "rating": "q", "caption": "a child"}'),
    "upper case": ("5_ada/x.TXT", "shota"),
    "table": ("meta_cap.json", '{"5_ada/x": {"caption": "loli"}}'),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("as_reg", [False, True])
def test_train_refuses_a_foreign_layout(tmp_path, case, as_reg):
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    picture(own / "5_ada/a.png")
    picture(foreign / "5_ada/y.png")
    where = {"layout": own, "reg": foreign} if as_reg else {"layout": foreign}
    picture(foreign / "5_ada/x.png")
    assert len(repeat_folders.read_folders(**where).items) >= 2
    name, text = FOREIGN[case]
    (foreign / name).write_text(text)
    settings = Train(base="nowhere", **({"reg_data_dir": str(foreign)} if as_reg else {}))
    with pytest.raises(BakeryError, match=r"x\.png .*sexualised minors") as caught:
        Trainer(where["layout"]).fit_one(TrainSpec(settings, tmp_path / "out", "ada", {}))
    assert "loli" not in str(caught.value).replace(str(tmp_path), "")


def test_train_reads_class_tokens_and_what_lies_inside_the_pictures(tmp_path):
    picture(tmp_path / "a/5_ada loli/x.png")
    with pytest.raises(BakeryError, match="sexualised minors"):
        repeat_folders.read_folders(tmp_path / "a")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Description", "a little girl, nude")
    picture(tmp_path / "b/5_ada/x.png", pnginfo=chunks)
    with pytest.raises(BakeryError, match="sexualised minors"):
        repeat_folders.read_folders(tmp_path / "b")
    picture(tmp_path / "c/5_ada/x.png")
    (tmp_path / "c/5_ada/x.json").write_text("{")
    with pytest.raises(BakeryError, match=r"x\.json is not JSON"):
        repeat_folders.read_folders(tmp_path / "c")


# --- prompts and config ---------------------------------------------------------------------

TRIGGER = prompts.Trigger("ada", "1girl")
WORDS = {"smile": 9, "sad": 9, "beach": 9, "forest": 9, "kimono": 9, "dress": 9, "loli": 9}


def one(text: str) -> list[dict[str, str]]:
    return [{"id": "one", "prompt": text, "purpose": "identity"}]


@pytest.mark.parametrize(
    "raw",
    [
        {"prune": {"trigger": "loli"}}, {"prune": {"trigger": "Ada ショタ"}},
        {"prune": {"class_tokens": "1girl, l0li"}}, {"prune": {"class_tokens": "child, nude"}},
        {"prune": {"trigger": "ada the child", "class_tokens": "nude"}},
        {"prune": {"outfits": {"loli dress": ["red dress"]}}},
        {"prune": {"outfits": {"ada gala": ["lolibaba"]}}},
        {"layout": {"concepts": {"gala": {"caption_prefix": "shota"}}}},
        {"layout": {"concepts": {"loli": {"repeats": 2}}}}, {"layout": {"details": ["loli"]}},
        {"layout": {"reg": {"folder": "class", "class_tokens": "loli"}}},
        {"scrape": {"name": "loli"}}, {"scrape": {"folders": [{"path": "a", "concept": "shota"}]}},
        {"sample": {"prompts": one("{trigger}, loli")}}, {"sample": {"prompts": one("a child, nude")}},
        {"prune": {"trigger": "ada", "class_tokens": "child"},
         "sample": {"prompts": one("{trigger}, nude")}},
    ],
)  # fmt: skip
def test_the_config_is_refused_before_anything_runs(raw):
    with pytest.raises(
        BakeryError, match=r"^config: .* sexualised minors, which are never"
    ) as caught:
        config.load(raw)
    assert "\n" not in str(caught.value)


def test_a_sweep_is_read_as_well():
    with pytest.raises(BakeryError, match="sexualised minors"):
        config.overlay(config.Config(), {"prune.trigger": "loli"})


def test_the_config_may_ask_that_it_is_not_there():
    said = {"sample": {"negative_prompt": "loli, child, shota", "prompts": one("{trigger}, smile")}}
    assert config.load(said).sample.negative_prompt.startswith("loli")
    assert config.load({"prune": {"trigger": "Ada", "class_tokens": "child"}})


def test_sample_refuses_a_given_prompt_with_the_trigger_in_it():
    settings = Sample(prompts=one("{trigger}, nude"))
    assert prompts.resolve(settings, [], {}, TRIGGER)[0]
    with pytest.raises(BakeryError, match=r"sample\.prompts: one asks"):
        prompts.resolve(settings, [], {}, prompts.Trigger("ada", "child"))


def test_sample_auto_asks_for_nothing_that_the_gate_refuses():
    said = ["ada, school uniform, loli uniform", "ada, school uniform, kindergarten uniform"]
    found, _ = prompts.resolve(Sample(), said, WORDS, TRIGGER)
    asked = " ".join(one.prompt.prompt for one in found)
    assert "uniform" in asked
    assert "loli" not in asked
    assert "kindergarten" not in asked
    child = prompts.Trigger("ada", "child")
    found, _ = prompts.resolve(Sample(), ["ada, child, naked apron"], WORDS, child)
    assert found
    assert not any("naked" in one.prompt.prompt for one in found)
    refused = prompts.Trigger("ada", "loli")
    found, lacking = prompts.resolve(Sample(), ["ada, loli, apron"], WORDS, refused)
    assert not found
    assert lacking[-1].endswith("derived prompts are not asked: forbidden_tag")


def test_a_folder_whose_pictures_are_all_refused_says_so(tmp_path):
    picture(tmp_path / "a/x.png")
    (tmp_path / "a/x.txt").write_text("loli")
    assert [post for post, _ in folders.collect(tmp_path / "a", tmp_path)] == [posts.refused()]
    with pytest.raises(BakeryError, match="skipped on purpose"):
        scraped(tmp_path, urls=(), folders=(str(tmp_path / "a"),))
