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

from bakery import images, layout, tables
from bakery.config import Layout
from bakery.errors import BakeryError

RED = Image.new("RGB", (8, 6), (200, 30, 40))


@pytest.fixture
def world(tmp_path):
    (tmp_path / "scrape" / "images").mkdir(parents=True)
    (tmp_path / "prune").mkdir()
    return tmp_path


def _picture(world, name, image=RED, **options):
    image.save(world / "scrape" / "images" / name, **options)
    return name


def _run(world, names, name="mirael", **options):
    rows = [{"image": image, "caption": f"mirael, {i}"} for i, image in enumerate(names)]
    tables.write(world / "prune" / "captions.csv", rows, ("image", "caption"))
    summary = layout.run(
        Layout(**options),
        scrape=world / "scrape",
        prune=world / "prune",
        out=world / "out",
        name=name,
    )
    table = tables.read(world / "out" / "layout.csv", layout.COLUMNS)
    return summary, table.set_index("image")


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
    assert summary["folder"] == "7_mirael"
    assert table["file"].to_dict() == {"a.png": "7_mirael/a.png", "b.jpg": "7_mirael/b.jpg"}
    assert set(table["repeats"]) == {"7"}
    assert table["caption"].to_dict() == {"a.png": "mirael, 0", "b.jpg": "mirael, 1"}
    captions = _as_trainers_read(world, "7_mirael")
    assert captions == {"a.png": "mirael, 0", "b.jpg": "mirael, 1"}
    assert sorted(path.name for path in (world / "out").iterdir()) == ["7_mirael", "layout.csv"]


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


@given(st.lists(st.text(min_size=1).filter(lambda name: "/" not in name), unique=True))
def test_stems_are_safe_and_differ(names):
    stems = layout.file_stems(names)
    assert list(stems) == sorted(names)
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
    for stem in stems.values():
        assert re.fullmatch(r"[\w.+-]+", stem)
        assert not stem.startswith(".")
        assert not re.search(r"(_\d+){4}$", stem)
        assert len(stem.encode()) < 200
    assert stems == layout.file_stems(list(reversed(names)))


@given(st.lists(st.from_regex(r"[A-Za-z0-9]{1,9}", fullmatch=True), unique_by=str.casefold))
def test_plain_names_stay(stems):
    expected = {f"{stem}.png": stem for stem in stems}
    assert layout.file_stems(list(expected)) == expected


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
    assert sorted(path.name for path in out.iterdir()) == ["5_mirael", "layout.csv", "stage.log"]
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
    rows = [{"image": _picture(world, "a.png"), "caption": "mirael, ☆, 顔"}]
    tables.write(world / "prune" / "captions.csv", rows, ("image", "caption"))
    layout.run(
        Layout(caption_extension=".caption"),
        scrape=world / "scrape",
        prune=world / "prune",
        out=world / "out",
        name="x",
    )
    text = (world / "out" / "5_x" / "a.caption").read_bytes()
    assert text.decode("utf-8") == "mirael, ☆, 顔\n"


def test_missing_pictures_and_empty_tables_are_named(world):
    with pytest.raises(BakeryError, match=r"gone\.png"):
        _run(world, ["gone.png"])
    assert not (world / "out" / "layout.csv").exists()
    with pytest.raises(BakeryError, match=r"captions\.csv lists no picture"):
        _run(world, [])
