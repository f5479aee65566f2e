"""Layout: kohya's repeat folder, as sd-scripts will read it."""

import glob
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakery.dataset import caption_forms, entries, repeat_folders
from bakery.io import images, tables
from bakery.io.errors import BakeryError
from bakery.io.files import unreserved
from bakery.settings.layout import Layout
from bakery.settings.tag import Thresholds
from bakery.sources import caption_files, posts
from bakery.sources.posts import Post
from bakery.stages import layout
from bakery.tags import picture_sentences
from bakery.tags.trigger import Trigger

RED = Image.new("RGB", (8, 6), (200, 30, 40))


@pytest.fixture
def world(tmp_path):
    (tmp_path / "scrape" / "images").mkdir(parents=True)
    (tmp_path / "prune").mkdir()
    Trigger("mirael", thresholds=Thresholds(0.35, 0.85)).write(tmp_path / "prune")
    return tmp_path


def _picture(world, name, image=RED, **options):
    image.save(world / "scrape" / "images" / name, **options)
    return name


def _run(world, names, name="mirael", *, of=None, edits=None, found=None, captions=None, **options):
    """The summary and layout.csv of a run on `names`; `of` leads from names to concepts, `found` is the
    filter's folder."""
    captions = captions or {image: f"mirael, {i}" for i, image in enumerate(names)}
    rows = [{"image": image, "caption": captions[image]} for image in names]
    tables.write(world / "prune" / "captions.csv", rows, ("image", "caption"))
    lineage = [Post(image=image, concept=(of or {}).get(image, "")) for image in names]
    posts.write(world / "scrape" / "posts.csv", lineage)
    summary = layout.run(
        Layout(**options),
        scrape=world / "scrape",
        tag=world / "tag",
        prune=world / "prune",
        out=world / "out",
        name=name,
        edits=edits,
        filter=found,
    )
    table = tables.read(world / "out" / "layout.csv", layout.COLUMNS)
    return summary, table.set_index("image")


def _edits(world, **captions):
    """The edits of a dataset with a rewritten caption for each stem."""
    folder = world / "edits" / "captions"
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in captions.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"{stem}.txt").write_bytes(content)
    return {"captions": str(folder)}


def _as_trainers_read(world, folder):
    """Picture -> caption, by the rules of sd-scripts: known extensions, not hidden, same stem."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(str(world / "out" / folder)), "*"))):
        stem, extension = os.path.splitext(path)
        if extension in (".png", ".jpg", ".jpeg", ".webp", ".bmp"):
            found[os.path.basename(path)] = Path(stem + ".txt").read_text(encoding="utf-8").strip()
    return found


def test_the_folder_says_repeats_and_name(world):
    summary, table = _run(world, [_picture(world, "a.png"), _picture(world, "b.jpg")], repeats=7)
    assert summary["folders"] == {"7_mirael": {"images": 2, "shown": 14, "share": 1.0}}
    assert table["file"].to_dict() == {"a.png": "7_mirael/a.png", "b.jpg": "7_mirael/b.jpg"}
    assert set(table["repeats"]) == {"7"}
    assert table["caption"].to_dict() == {"a.png": "mirael, 0", "b.jpg": "mirael, 1"}
    captions = _as_trainers_read(world, "7_mirael")
    assert captions == {"a.png": "mirael, 0", "b.jpg": "mirael, 1"}
    made = sorted(path.name for path in (world / "out").iterdir())
    assert made == ["7_mirael", "captions.html", "layout.csv"]


def test_loadable_pictures_are_linked_not_copied(world):
    grey = Image.new("L", (5, 5), 9)
    names = [
        _picture(world, "a.png"),
        _picture(world, "b.jpeg"),
        _picture(world, "c.webp", lossless=True),
        _picture(world, "d.bmp"),
        _picture(world, "e.png", grey),
    ]
    summary, table = _run(world, names)
    assert summary["reencoded"] == {}
    for name in names:
        laid_out = world / "out" / table.loc[name, "file"]
        assert laid_out.samefile(world / "scrape" / "images" / name)


def test_where_links_do_not_work_pictures_are_copied(world, monkeypatch):
    def no_links(*args, **kwargs):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    source = world / "scrape" / "images" / _picture(world, "a.png")
    _run(world, ["a.png"])
    copy = world / "out" / "5_mirael" / "a.png"
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.samefile(source)


def _rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("name", "image", "options", "why"),
    [
        ("a.png", Image.new("RGBA", (8, 6), (0, 0, 255, 90)), {}, "transparency"),
        ("a.png", RED, {"transparency": (200, 30, 40)}, "transparency"),
        ("a.webp", Image.new("RGBA", (8, 6), (0, 0, 255, 90)), {}, "transparency"),
        ("a.png", RED.quantize(4), {}, "colour mode P"),
        ("a.png", Image.fromarray(np.full((4, 4), 40_000, np.uint16)), {}, "colour mode I;16"),
        ("a.jpg", RED.convert("CMYK"), {}, "colour mode CMYK"),
        ("a.jpg", RED, {"exif": _rotated()}, "EXIF rotation"),
        ("a.gif", RED, {}, "gif is not read by trainers"),
        ("a.webp", RED, {"save_all": True, "append_images": [RED.rotate(90)]}, "animated"),
        ("a.png", RED, {"save_all": True, "append_images": [RED.rotate(90)]}, "animated"),
        (
            "a.png",
            RED,
            {"icc_profile": bytes(2 * 2**20)},
            "more text or a larger colour profile than trainers read",
        ),
    ],
)
def test_what_trainers_would_see_differently_is_a_png_of_what_is_meant(
    world, name, image, options, why
):
    _picture(world, name, image, **options)
    summary, table = _run(world, [name])
    assert summary["reencoded"] == {why: 1}
    assert table.loc[name, "file"] == "5_mirael/a.png"
    with Image.open(world / "out" / "5_mirael" / "a.png") as written:
        assert (written.format, written.mode) == ("PNG", "RGB")
        meant = images.open_rgb(world / "scrape" / "images" / name)
        np.testing.assert_array_equal(np.asarray(written), np.asarray(meant))
    if why == "EXIF rotation":
        assert meant.size == (6, 8)


def test_a_wrong_or_odd_extension_is_put_right(world):
    _picture(world, "jpeg.png", format="JPEG")
    _picture(world, "shout.PNG", format="PNG")
    _picture(world, "none", format="WEBP")
    _, table = _run(world, ["jpeg.png", "shout.PNG", "none"])
    assert table["file"].to_dict() == {
        "jpeg.png": "5_mirael/jpeg.jpg",
        "shout.PNG": "5_mirael/shout.png",
        "none": "5_mirael/none.webp",
    }
    assert (world / "out" / "5_mirael" / "jpeg.jpg").samefile(
        world / "scrape" / "images" / "jpeg.png"
    )


def test_pictures_of_one_stem_keep_their_own_captions(world):
    names = [_picture(world, name) for name in ("a.png", "a.jpg", "A.png", "a-2.png")]
    _, table = _run(world, names)
    captions = _as_trainers_read(world, "5_mirael")
    assert len(captions) == 4
    for name in names:
        assert captions[Path(table.loc[name, "file"]).name] == table.loc[name, "caption"]


def test_weird_names_are_found_by_trainers(world):
    names = [".hidden.png", "a b [x] (1).png", "*?.png", "mirael_1_2_3_4.png", "顔.png", "x,y.png"]
    names += ["..png.png", "-.png", "n" * 240 + ".png", "a\nb.png"]
    for name in names:
        _picture(world, name, format="PNG")
    summary, table = _run(world, names)
    assert len(_as_trainers_read(world, "5_mirael")) == len(names)
    files = {name: Path(table.loc[name, "file"]).name for name in names}
    assert files["mirael_1_2_3_4.png"] == "mirael-1-2-3-4.png"
    assert files["顔.png"] == "顔.png"
    assert summary["renamed"] == len(names) - 1


@pytest.mark.slow
@given(st.lists(st.text(min_size=1).filter(lambda name: "/" not in name), unique=True))
def test_stems_are_safe_and_differ(names):
    stems = entries.file_stems(names)
    assert list(stems) == sorted(names)
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
    for stem in stems.values():
        assert re.fullmatch(r"[\w.+-]+", stem)
        assert not stem.startswith(".")
        assert not re.search(r"(_\d+){4}$", stem)
        assert len(stem.encode()) < 200
    assert stems == entries.file_stems(list(reversed(names)))


@given(st.lists(st.from_regex(r"[A-Za-z0-9]{1,9}", fullmatch=True), unique_by=str.casefold))
def test_plain_names_stay(stems):
    stems = [stem for stem in stems if unreserved(stem) == stem]
    expected = {f"{stem}.png": stem for stem in stems}
    assert entries.file_stems(list(expected)) == expected


def test_a_half_written_folder_ends_right(world):
    names = [_picture(world, "a.png"), _picture(world, "b.png")]
    out = world / "out"
    for stray in ("5_mirael", "3_old", "unfinished_mirael"):
        (out / stray).mkdir(parents=True)
        (out / stray / "stray.png").write_bytes(b"half")
        (out / stray / "a.txt").write_text("an old caption")
    (out / "stage.log").write_text("kept")
    (out / "layout.csv").write_text("old")
    _run(world, names)
    made = sorted(path.name for path in out.iterdir())
    assert made == ["5_mirael", "captions.html", "layout.csv", "stage.log"]
    assert sorted(path.name for path in (out / "5_mirael").iterdir()) == [
        "a.png", "a.txt", "b.png", "b.txt",
    ]  # fmt: skip
    assert _as_trainers_read(world, "5_mirael")["a.png"] == "mirael, 0"


def test_runs_give_the_same_bytes(world):
    names = [_picture(world, "a.png", RED.convert("RGBA")), _picture(world, "b.gif")]

    def laid_out():
        _run(world, names)
        return {p: p.read_bytes() for p in (world / "out").rglob("*") if p.is_file()}

    assert laid_out() == laid_out()


def test_captions_are_utf_8_with_the_extension_asked_for(world):
    edits = _edits(world, a="mirael, ☆, 顔")
    names = [_picture(world, "a.png")]
    _run(world, names, "x", edits=edits, caption_extension=".caption")
    text = (world / "out" / "5_x" / "a.caption").read_bytes()
    assert text.decode("utf-8") == "mirael, ☆, 顔\n"


def test_missing_pictures_and_empty_tables_are_named(world):
    with pytest.raises(BakeryError, match=r"gone\.png"):
        _run(world, ["gone.png"])
    assert not (world / "out" / "layout.csv").exists()
    with pytest.raises(BakeryError, match=r"captions\.csv lists no picture"):
        _run(world, [])


def test_concepts_have_folders_repeats_and_prefixes_of_their_own(world):
    names = [_picture(world, name) for name in ("a.png", "b.png", "h1.png", "h2.png")]
    summary, table = _run(
        world,
        names,
        of={"h1.png": "halo", "h2.png": "halo"},
        repeats=6,
        concepts={"halo": {"repeats": 2, "caption_prefix": "mirael, halo"}},
    )
    assert summary["folders"] == {
        "6_mirael": {"images": 2, "shown": 12, "share": 0.75},
        "2_halo": {"images": 2, "shown": 4, "share": 0.25},
    }
    assert _as_trainers_read(world, "6_mirael") == {"a.png": "mirael, 0", "b.png": "mirael, 1"}
    assert _as_trainers_read(world, "2_halo") == {
        "h1.png": "mirael, halo, 2",  # the trigger is not said twice
        "h2.png": "mirael, halo, 3",
    }
    assert table["concept"].to_dict() == {
        "a.png": "", "b.png": "", "h1.png": "halo", "h2.png": "halo",
    }  # fmt: skip
    assert table["repeats"].to_dict()["h1.png"] == "2"


def test_posts_of_another_version_are_refused(world):
    _picture(world, "a.png")
    _run(world, ["a.png"])
    tables.write(world / "scrape" / "posts.csv", [{"image": "a.png"}], ("image",))
    with pytest.raises(BakeryError, match=r"posts.csv has no column .*: it was written by another"):
        layout.run(
            Layout(), scrape=world / "scrape", tag=world, prune=world / "prune", out=world / "out",
            name="mirael",
        )  # fmt: skip


def test_one_name_in_two_concepts_keeps_both(world):
    names = [_picture(world, name) for name in ("a.png", "a.jpg")]
    _, table = _run(world, names, of={"a.jpg": "halo"})
    assert table["file"].to_dict() == {"a.png": "5_mirael/a.png", "a.jpg": "5_halo/a.jpg"}
    assert _as_trainers_read(world, "5_mirael") == {"a.png": "mirael, 0"}
    assert _as_trainers_read(world, "5_halo") == {"a.jpg": "mirael, 1"}


def test_a_wished_share_decides_the_repeats(world):
    names = [_picture(world, f"{i}.png") for i in range(10)]
    of = {"8.png": "halo", "9.png": "halo"}
    summary, _ = _run(world, names, of=of, concepts={"halo": {"share": 0.2}})
    assert summary["folders"] == {
        "5_mirael": {"images": 8, "shown": 40, "share": 0.8},
        "5_halo": {"images": 2, "shown": 10, "share": 0.2, "wished": 0.2},
    }


def test_a_share_that_whole_repeats_cannot_reach_is_said(world, caplog):
    names = [_picture(world, f"{i}.png") for i in range(4)]
    of = dict.fromkeys(["2.png", "3.png"], "halo")
    _run(world, names, of=of, repeats=1, concepts={"halo": {"share": 0.1}})
    assert "1_halo gets 50% of the showings where 10% were requested" in caplog.text


def test_a_rewritten_caption_replaces_the_picture_s_own(world):
    names = [_picture(world, name) for name in ("a.png", "b.png", "h.png")]
    edits = _edits(world, a="mirael,  with a cat ,\nsleeping\n", h="\ufeffas it stands")
    summary, table = _run(
        world, names, edits=edits, of={"h.png": "halo"},
        concepts={"halo": {"caption_prefix": "halo"}},
    )  # fmt: skip
    assert _as_trainers_read(world, "5_mirael") == {
        "a.png": "mirael, with a cat, sleeping",
        "b.png": "mirael, 1",
    }
    assert _as_trainers_read(world, "5_halo") == {"h.png": "as it stands"}
    assert table["by_hand"].to_dict() == {"a.png": "true", "b.png": "false", "h.png": "true"}
    assert (summary["rewritten"], summary["unused_edits"]) == (2, 0)


def test_captions_of_the_table_replace_those_of_files_and_the_page_shows_all(world, caplog):
    names = [_picture(world, name) for name in ("a.png", "b.png", "h.png")]
    edits = _edits(world, a="of a file", b="file, too")
    (world / "edits" / "captions.csv").write_text(
        'image,caption\na.png,"of the table, hat"\nh.png,"halo, hand"\ngone.png,x\n'
    )
    edits["captions.csv"] = str(world / "edits" / "captions.csv")
    summary, table = _run(
        world, names, edits=edits, of={"h.png": "halo"},
        concepts={"halo": {"caption_prefix": "halo"}},
    )  # fmt: skip
    assert table["caption"].to_dict() == {
        "a.png": "of the table, hat", "b.png": "file, too", "h.png": "halo, hand",
    }  # fmt: skip
    assert set(table["by_hand"]) == {"true"}
    assert (summary["rewritten"], summary["unused_edits"]) == (3, 2)
    assert "captions/a.txt is not used" in caplog.text
    assert "line 4 names 'gone.png', which is not laid out" in caplog.text
    page = (world / "out" / "captions.html").read_text("utf-8")
    cards = re.findall(r'data-image="(.*?)" data-automatic="(.*?)" data-given="(.*?)"(.*?)>', page)
    assert cards == [
        ("a.png", "mirael, 0", "of the table, hat", ""),
        ("b.png", "mirael, 1", "file, too", " data-file"),
        ("h.png", "halo, mirael, 2", "halo, hand", ""),
    ]
    sources = re.findall(r'<img src="(.*?)"', page)
    assert all((world / "out" / source).is_file() for source in sources)
    assert len(sources) == 3


def test_an_edit_of_no_picture_is_counted_and_said(world, caplog):
    _picture(world, "mirael_12.png")
    edits = _edits(world, mirael_13="x")
    Path(edits["captions"], "notes.md").write_text("mine")
    summary, _ = _run(world, ["mirael_12.png"], edits=edits)
    assert summary["unused_edits"] == 2
    assert "belongs to no picture that is laid out; did you mean mirael_12.txt?" in caplog.text
    assert "notes.md is not used" in caplog.text
    assert _as_trainers_read(world, "5_mirael") == {"mirael_12.png": "mirael, 0"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"mirael, \x80\x81", "a.txt is not UTF-8"),
        (b" ,\n , ", "a.txt is empty"),
        (b"tag, " * 900, "a.txt is 4498 characters long"),
    ],
)
def test_a_bad_rewritten_caption_is_one_sentence_and_loses_nothing(world, text, words):
    names = [_picture(world, "a.png")]
    _run(world, names)
    before = {p: p.read_bytes() for p in (world / "out").rglob("*") if p.is_file()}
    with pytest.raises(BakeryError, match=words) as caught:
        _run(world, names, edits=_edits(world, a=text))
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in (world / "out").rglob("*") if p.is_file()} == before


def _reg(world, **files):
    folder = world / "class"
    (folder / "more").mkdir(parents=True)
    for name in ("one.png", "two.png", "more/one.png"):
        RED.save(folder / name)
    (folder / "one.txt").write_text("1girl, smile")
    return folder


def test_regularization_pictures_lie_beside_where_trainers_look_for_them(world):
    names = [_picture(world, "a.png")]
    folder = _reg(world)
    reg = {"folder": str(folder), "class_tokens": "1girl, solo", "repeats": 2}
    summary, table = _run(world, names, reg=reg)
    assert summary["reg"] == {"2_1girl-solo": 3}
    assert summary["folders"]["5_mirael"]["share"] == 1, "they are no part of the dataset"
    assert _as_trainers_read(world, "reg/2_1girl-solo") == {
        "one.png": "1girl, solo",  # of more/
        "one-2.png": "1girl, smile",
        "two.png": "1girl, solo",
    }
    assert set(table.loc[table["kind"] == "reg", "repeats"]) == {"2"}
    laid_out = world / "out" / "reg" / "2_1girl-solo" / "two.png"
    assert laid_out.read_bytes() == (folder / "two.png").read_bytes()
    assert not laid_out.samefile(folder / "two.png"), "the user's own files stay apart"
    _run(world, names)
    assert not (world / "out" / "reg").exists(), "what an earlier run left would be trained on"


def test_regularization_pictures_pass_the_same_bars(world):
    names = [_picture(world, "a.png")]
    folder = _reg(world)
    (folder / "one.txt").unlink()
    (folder / "one.json").write_text('{"tags": ["loli"], "rating": "g"}')
    (folder / "two.json").write_text('{"tags": ["1girl"], "rating": "explicit"}')
    (folder / "broken.png").write_bytes(b"no picture")
    reg = {"folder": str(folder), "class_tokens": "1girl"}
    summary, _ = _run(world, names, reg=reg)
    assert list(_as_trainers_read(world, "reg/1_1girl")) == ["one.png"]
    reasons = summary["reg_dropped"]
    assert reasons.pop("forbidden_tag") == reasons.pop("rating") == 1
    assert list(reasons.values()) == [1]
    assert "not a picture" in next(iter(reasons))


def _tagged(world, rows):
    """The tag and prune stages' files: rows are (image, tag, probability)."""
    (world / "tag").mkdir()
    cells = [
        {"image": image, "tag": tag, "category": "general", "probability": probability}
        for image, tag, probability in rows
    ]
    tables.write(world / "tag" / "tags.csv", cells, ("image", "tag", "category", "probability"))
    (world / "tag" / "tagger.json").write_text('{"model": "a tagger", "unreadable": {}}')
    (world / "tag" / "vocabulary.csv").write_text("tag,category,count\n")
    limits = Thresholds(general=0.35, character=0.85)
    Trigger("mirael", "1girl", thresholds=limits).write(world / "prune")


def test_an_accepted_detail_gets_a_folder_of_the_surest_pictures(world):
    names = [_picture(world, name) for name in ("a.png", "b.png", "c.png")]
    _tagged(world, [("a.png", "halo", 0.9), ("b.png", "halo", 0.2), ("c.png", "halo", 0.5)])
    summary, table = _run(world, names, details=["halo"])
    assert summary["folders"] == {
        "5_mirael": {"images": 3, "shown": 15, "share": 0.7895},
        "2_halo": {"images": 2, "shown": 4, "share": 0.2105},
    }
    assert _as_trainers_read(world, "2_halo") == {
        "a.png": "mirael, 1girl, halo, 0",
        "c.png": "mirael, 1girl, halo, 2",
    }
    assert list(table["kind"]) == ["picture"] * 3 + ["detail"] * 2
    summary, _ = _run(world, names, details=["halo"], concepts={"halo": {"repeats": 1}})
    assert "1_halo" in summary["folders"]


def test_a_known_box_is_cropped(world):
    picture = Image.new("RGB", (90, 120), "white")
    picture.paste((200, 30, 40), (40, 20, 50, 26))
    names = [_picture(world, "a.png", picture), _picture(world, "b.png")]
    _tagged(world, [("a.png", "halo", 0.9), ("b.png", "halo", 0.9)])
    boxes = world / "boxes.csv"
    boxes.write_text("image,tag,left,upper,right,lower\na.png,Halo,40,20,50,26\n")
    summary, _ = _run(world, names, details=["halo"], edits={"boxes.csv": str(boxes)})
    assert summary["reencoded"] == {"a crop": 1}
    assert _as_trainers_read(world, "2_halo") == {"a.png": "mirael, 1girl, halo"}
    with Image.open(world / "out" / "2_halo" / "a.png") as crop:
        assert crop.size == (30, 30)  # a third of the picture's shorter side
        colours = {colour: count for count, colour in crop.getcolors()}
    assert colours == {(200, 30, 40): 60, (255, 255, 255): 840}

    boxes.write_text("image,tag,left,upper,right,lower\na.png,halo,40,20,50,999\n")
    with pytest.raises(BakeryError, match="ends at 50, 999, but the picture at 90, 120"):
        _run(world, names, details=["halo"], edits={"boxes.csv": str(boxes)})


def test_a_detail_that_is_seen_nowhere_is_one_sentence(world):
    names = [_picture(world, "a.png")]
    _tagged(world, [("a.png", "halo", 0.9)])
    with pytest.raises(BakeryError, match="names hallo, which no picture shows; did you mean"):
        _run(world, names, details=["hallo"])
    with pytest.raises(BakeryError, match="there is a concept halo with pictures of its own"):
        _run(world, names, details=["halo"], of={"a.png": "halo"})


def test_faces_that_the_filter_found_are_a_detail(world):
    picture = Image.new("RGB", (90, 120), "white")
    names = [_picture(world, f"{name}.png", picture) for name in "abc"]
    _tagged(world, [("a.png", "halo", 0.9)])
    with pytest.raises(
        BakeryError, match=r"names face, which no picture shows; a model of the kind"
    ):
        _run(world, names, details=["face"])
    columns = "image,tag,left,upper,right,lower\n"
    (world / "filter").mkdir()
    (world / "filter" / "boxes.csv").write_text(
        f"{columns}a.png,face,10,10,40,40\na.png,face,60,60,70,70\nb.png,face,0,0,20,20\n"
        "dropped.png,face,0,0,20,20\n"
    )
    summary, _ = _run(world, names, details=["face"], found=world / "filter")
    assert summary["folders"]["2_face"]["images"] == 2
    assert _as_trainers_read(world, "2_face") == dict.fromkeys(
        ("a.png", "b.png"), "mirael, 1girl, face"
    )
    with Image.open(world / "out" / "2_face" / "a.png") as crop:
        assert crop.size == (60, 60), "the larger face, with as much room again"

    mine = world / "boxes.csv"
    mine.write_text(f"{columns}a.png,face,50,50,70,90\nb.png,face,,,,\n")
    edits = {"boxes.csv": str(mine)}
    summary, _ = _run(world, names, details=["face"], edits=edits, found=world / "filter")
    assert set(_as_trainers_read(world, "2_face")) == {"a.png"}
    with Image.open(world / "out" / "2_face" / "a.png") as crop:
        assert crop.size == (80, 80)


SAID = "mirael sits on a wall, smiling."


def _spoken(world, names, *, candidates, lines=None, sentences=None, edits=None, **options):
    """A run whose captions hold a sentence and whose prune stage knows the lines of files."""
    said = dict.fromkeys(names, SAID) if sentences is None else sentences
    rows = [{"image": n, "sentence": text, "source": "caption"} for n, text in said.items()]
    picture_sentences.write(world / "prune" / picture_sentences.NAME, rows)
    if lines:
        caption_files.write_candidates(world / "prune" / caption_forms.NAME, lines.items())
    captions = {n: f"mirael, hat{', ' + said[n] if n in said else ''}" for n in names}
    return _run(
        world, names, captions=captions, candidates=candidates, edits=edits, **options
    )  # fmt: skip


def _files(world, folder="5_mirael"):
    return {path.stem: path.read_text() for path in (world / "out" / folder).glob("*.txt")}


def test_several_captions_a_picture(world):
    names = [_picture(world, "a.png"), _picture(world, "b.png")]
    forms = ("tags", "sentence", "both")
    summary, table = _spoken(world, names, candidates=forms, sentences={"a.png": SAID})
    assert _files(world) == {
        "a": f"mirael, hat\n{SAID}\nmirael, hat, {SAID}\n",
        "b": "mirael, hat\n",
    }
    assert summary["candidates"] == {"several": 1, "one": 1, "captions": 4}
    assert table.loc["a.png", "caption"] == f"mirael, hat, {SAID}"
    listed = tables.read(world / "out" / caption_forms.NAME, caption_forms.COLUMNS)
    assert list(listed["file"]) == ["5_mirael/a.png"] * 3 + ["5_mirael/b.png"]
    items = repeat_folders.read_folders(world / "out").items
    assert items[0].candidates == tuple(_files(world)["a"].splitlines())
    assert items[1].candidates == ()


def test_a_sentence_alone_is_led_by_the_trigger_unless_it_names_it(world):
    said = "A girl sits on a wall, smiling."
    _spoken(world, [_picture(world, "a.png")], candidates=("sentence", "tags", "tags"),
            sentences={"a.png": said})  # fmt: skip
    assert _files(world)["a"] == f"mirael, {said}\nmirael, hat\nmirael, hat\n"


def test_a_sentence_is_marked_in_the_files_and_nowhere_else(world):
    names = [_picture(world, f"{stem}.png") for stem in "abc"]
    edits = _edits(world, b="mirael ||| by hand, lamp")
    summary, table = _spoken(world, names, candidates=("both", "tags"), edits=edits,
                             sentences={"a.png": SAID}, keep_tokens_separator="|||")  # fmt: skip
    assert _files(world) == {
        "a": f"mirael ||| hat ||| {SAID}\nmirael, hat\n",
        "b": "mirael ||| by hand, lamp\n",
        "c": "mirael, hat\n",
    }
    assert summary["separated"] == {"captions": 2, "others": 1}
    assert table.loc["a.png", "caption"] == f"mirael ||| hat ||| {SAID}"
    page = (world / "out/captions.html").read_text()
    assert f"mirael, hat, {SAID}" in page
    assert f"||| {SAID}" not in page
    (item, *_) = repeat_folders.read_folders(world / "out").items
    assert item.candidates == tuple(_files(world)["a"].splitlines())
    found = repeat_folders.read_folders(world / "out").tag_frequency("|||")["5_mirael"]
    assert found["lamp"] == 1
    assert found["mirael"] == 3
    assert not any("|" in tag for tag in found)


def test_the_lines_of_a_file_and_of_a_hand_edit(world):
    names = [_picture(world, f"{stem}.png") for stem in "abc"]
    lines = {"a.png": ("mirael, {x}", "mirael waves."), "b.png": ("mirael, b", "mirael sits.")}
    edits = _edits(world, b="mirael, by hand\nmirael runs to us.\n")
    concepts = {"concepts": {"coat": {"caption_prefix": "best"}}, "of": {"a.png": "coat"}}
    _spoken(world, names, candidates=("lines",), lines=lines, edits=edits, **concepts)
    assert _files(world) == {
        "b": "mirael, by hand\nmirael runs to us.\n",
        "c": f"mirael, hat, {SAID}\n",
    }
    assert _files(world, "5_coat") == {"a": "best, mirael, {{x}}\nbest, mirael waves.\n"}
    texts = [item.texts for item in repeat_folders.read_folders(world / "out").items]
    assert ("best, mirael, {x}", "best, mirael waves.") in texts


def test_the_gate_reads_every_candidate(world):
    names = [_picture(world, "a.png"), _picture(world, "b.png")]
    lines = {"a.png": ("mirael, hat", "mirael, lol" + "i")}
    summary, table = _spoken(world, names, candidates=("lines",), lines=lines)
    assert summary["reasons"] == {"forbidden_tag": 1}
    assert list(table.index) == ["b.png"]


def test_candidates_that_are_none_are_told(world, caplog):
    caplog.set_level("WARNING")
    summary, _ = _spoken(
        world, [_picture(world, "a.png")], candidates=("sentence", "both"), sentences={}
    )
    assert summary["candidates"] == {"several": 0, "one": 1, "captions": 1}
    assert "no picture has more than one caption" in caplog.text


def _drawn(world, name, number):
    """A picture that resembles none with another number."""
    noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
    return _picture(world, name, Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC))


def test_held_out_pictures_lie_beside_and_are_trained_on_nowhere(world):
    names = [_drawn(world, f"{i}.png", i) for i in range(8)]
    captions = {name: f"mirael, halo, t{i}" for i, name in enumerate(names)}
    _tagged(world, [(name, "halo", 0.9) for name in names])
    summary, table = _run(world, names, captions=captions, holdout=0.25, details=["halo"])
    held = set(table.index[table["kind"] == "holdout"])
    assert summary["holdout"] == {"asked": 0.25, "images": 2, "folders": {"1_mirael": 2}}
    assert summary["folders"]["5_mirael"]["images"] == 6
    for name in held:
        assert list(table.loc[[name], "kind"]) == ["holdout"]  # no detail shows it, either
        assert table.loc[name, "file"] == f"holdout/1_mirael/{name}"
    trained = repeat_folders.read_folders(world / "out")
    assert trained.ignored == ()
    assert {item.image.name for item in trained.items} == set(names) - held
    kept = repeat_folders.read_holdout(world / "out").items
    assert {item.image.name: item.caption for item in kept} == {n: captions[n] for n in held}
    assert {item.repeats for item in kept} == {1}
    page = (world / "out" / "captions.html").read_text(encoding="utf-8")
    assert page.count('class="held"') == 2


def test_near_duplicates_are_held_out_together_and_so_are_copies_kept_by_hand(world, caplog):
    names = [_drawn(world, f"{i}.png", i) for i in range(6)]
    for i in range(6):  # each is there a second time, a little brighter
        image = Image.open(world / "scrape" / "images" / f"{i}.png")
        names.append(_picture(world, f"copy {i}.png", image.point(lambda level: level * 0.97)))
    _, table = _run(world, names, holdout=3)
    held = set(table.index[table["kind"] == "holdout"])
    assert len(held) == 2, "a pair fits, half of another does not"
    assert "2 pictures are held out where layout.holdout asks for 3" in caplog.text
    assert len({name[-5] for name in held}) == 1
    (world / "filter").mkdir()
    pair = [{"image": "0.png", "duplicate_of": "1.png"}]
    tables.write(world / "filter" / "decisions.csv", pair, ("image", "duplicate_of"))
    _, table = _run(world, names[:4], holdout=2, found=world / "filter")
    held = set(table.index[table["kind"] == "holdout"])
    assert len(held & {"0.png", "1.png"}) != 1


def test_without_a_holdout_nothing_of_it_is_there(world):
    summary, _ = _run(world, [_picture(world, "a.png"), _picture(world, "b.png")], holdout=0)
    assert "holdout" not in summary
    assert "holdout" not in Layout().recorded()
    assert not (world / "out" / "holdout").exists()


def test_a_holdout_that_is_switched_off_again_leaves_nothing(world):
    names = [_drawn(world, f"{i}.png", i) for i in range(4)]
    _run(world, names, holdout=1)
    assert (world / "out" / "holdout").is_dir()
    _run(world, names)
    assert not (world / "out" / "holdout").exists()
    assert len(repeat_folders.read_folders(world / "out").items) == 4


@pytest.mark.parametrize("holdout", [3, 0.7])
def test_a_holdout_too_large_is_one_sentence(world, holdout):
    names = [_picture(world, f"{i}.png") for i in range(4)]
    with pytest.raises(
        BakeryError, match=r"^layout\.holdout asks for 3 of 4 pictures, but at most"
    ):
        _run(world, names, holdout=holdout)


@pytest.mark.parametrize("holdout", [-1, 1.0, 1.5, True, "3"])
def test_a_holdout_is_a_whole_number_or_a_share(holdout):
    with pytest.raises(ValueError, match="holdout"):
        Layout(holdout=holdout)
