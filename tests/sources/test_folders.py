"""Folders as download managers, operating systems and people leave them."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from bakery.io import manifest
from bakery.settings.scrape import Scrape
from bakery.sources import caption_files, folders, posts
from bakery.stages import scrape


def picture(path: Path, color="red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), color).save(path)
    return path


def read(place: Path) -> dict[str, tuple[str, str]]:
    found = folders.collect(place, place.parent / "unpacked")
    return {post.url: (post.status, post.reason) for post, _ in found}


def test_each_file_and_folder_by_its_reason(tmp_path):
    for name in ("a.png", "5_hoshi/b.png", "5_hoshi/deep/c.png", "rejected/d.png", "_Trash/e.png",
                 ".thumbs/f.png", "__MACOSX/._a.png", "@eaDir/a.png"):  # fmt: skip
        picture(tmp_path / "in" / name)
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "a.npz", ".hidden.png",
                 "notes.docx", "workflow.json", "readme.txt"):  # fmt: skip
        (tmp_path / "in" / name).write_bytes(b"{}")
    system, own = "left by an operating system", "give it as an entry of its own to use it"
    assert read(tmp_path / "in") == {
        "in/a.png": ("ok", ""),
        "in/5_hoshi/b.png": ("ok", ""),
        "in/5_hoshi/deep/c.png": ("ok", ""),
        "in/rejected": ("skipped", f"a folder named rejected: {own}"),
        "in/_Trash": ("skipped", f"a folder named _Trash: {own}"),
        "in/.thumbs": ("skipped", "hidden folder"),
        "in/__MACOSX": ("skipped", system),
        "in/@eaDir": ("skipped", system),
        "in/._a.png": ("skipped", system),
        "in/.DS_Store": ("skipped", system),
        "in/Thumbs.db": ("skipped", system),
        "in/desktop.ini": ("skipped", system),
        "in/a.npz": ("skipped", "a trainer's cache or model"),
        "in/.hidden.png": ("skipped", "hidden file"),
        "in/notes.docx": ("skipped", "not a picture: its content is not of a known image format"),
        "in/workflow.json": ("skipped", "no metadata that we know"),
        "in/readme.txt": ("skipped", "text that belongs to no picture"),
    }
    assert read(tmp_path / "in/rejected") == {"rejected/d.png": ("ok", "")}, "named, it is read"


def test_links_are_followed_and_loops_are_not(tmp_path):
    picture(tmp_path / "elsewhere/b.png")
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/sub/c.png")
    for name, target in {
        "linked": "../elsewhere", "again": "../elsewhere", "self": ".", "up": "..", "sub/root": "..",
        "real": "sub", "lost": "nowhere",
    }.items():  # fmt: skip
        (tmp_path / "in" / name).symlink_to(target)
    (tmp_path / "in/one").symlink_to("two")
    (tmp_path / "in/two").symlink_to("one")
    found = read(tmp_path / "in")
    assert {name for name, (status, _) in found.items() if status == "ok"} == {
        "in/a.png", "in/sub/c.png", "in/again/b.png",
    }  # fmt: skip
    already = "a link to a folder that is read already"
    assert found["in/linked"] == found["in/real"] == found["in/self"] == ("skipped", already)
    assert found["in/up"] == ("skipped", "a link to a folder that it is in")
    assert found["in/lost"][0] == found["in/one"][0] == "failed"


def test_a_folder_that_cannot_be_read_is_on_record(tmp_path, monkeypatch):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/locked").mkdir()
    real = Path.iterdir

    def refuse(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert read(tmp_path / "in")["in/locked"] == ("failed", "cannot be read: Permission denied")


NAMES = [
    "cafe\u0301 01.png", "caf\u00e9 01.png", "星\U0001f31f.png", "星.png", "-rf.png", "50%_{x}.png",
    "shot_1_2_3_4.png", "twin.png", "twin.jpg", "Twin.webp", "TWIN.png", "n" * 250 + ".png", "con.png",
    "a b.png", "a_b.png", "picture-2.png", "'; rm.png", "a\nb.png", "NUL.jpg",
]  # fmt: skip


def test_each_picture_has_a_safe_name_of_its_own(tmp_path, own_home):
    for number, name in enumerate(NAMES):
        picture(tmp_path / "in" / name, (number * 10, 80, 80))
    rows = []
    for run in ("one", "two"):
        scrape.run(Scrape(folders=(str(tmp_path / "in"),)), booru=tmp_path, out=tmp_path / run,
                   store=tmp_path / f"store-{run}")  # fmt: skip
        rows.append(posts.read(tmp_path / run / "posts.csv"))
    assert rows[0] == rows[1]
    images = [row.image for row in rows[0]]
    stems = {Path(name).stem.casefold() for name in images}
    assert len(stems) == len(images) == len(NAMES)
    assert all(re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,70}", name) for name in images)
    assert not stems & {"con", "nul"}
    assert len({row.url for row in rows[0]}) == len(NAMES)


def test_folders_are_enough(tmp_path, own_home, caplog):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/Thumbs.db").write_bytes(b"x")
    (tmp_path / "in/b.rar").write_bytes(b"x")
    summary = scrape.run(
        Scrape(folders=(str(tmp_path / "in"),)),
        booru=tmp_path,
        out=tmp_path / "out",
        store=tmp_path / "s",
    )
    assert (summary["images"], summary["skipped"], len(summary["sources"])) == (1, 2, 1)
    assert "left alone: 1 left by an operating system; 1 .rar archives are not read" in caplog.text
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.startswith("tmp")]


@pytest.mark.parametrize(
    ("head", "kind"), [(b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC")]
)
@pytest.mark.parametrize("ending", [".heic", ".jpg", ""])
def test_a_kind_that_is_not_read_says_what_to_do(tmp_path, head, kind, ending):
    picture(tmp_path / "in/a.png")
    (tmp_path / f"in/b{ending}").write_bytes(head + bytes(200))
    assert read(tmp_path / "in")[f"in/b{ending}"] == (
        "skipped", f"{kind} is not read here: convert the picture to PNG or JPEG",
    )  # fmt: skip


def test_undecodable_names_are_addresses_all_the_same(tmp_path):
    picture(tmp_path / "in/a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff.png"))
    assert read(tmp_path / "in") == {"in/?.png": ("ok", "")}


def test_masks_are_no_pictures(tmp_path):
    for name in ("a.png", "a-masklabel.png", "a-condlabel.png", "b-masklabel.png"):
        picture(tmp_path / "in" / name)
    assert read(tmp_path / "in") == {
        "in/a.png": ("ok", ""),
        "in/a-masklabel.png": ("skipped", "a mask of a.png"),
        "in/a-condlabel.png": ("skipped", "a mask of a.png"),
        "in/b-masklabel.png": ("ok", ""),
    }


def test_a_file_belongs_to_the_first_entry_that_holds_it(tmp_path, own_home, monkeypatch):
    for number, name in enumerate(("in/a.png", "in/hat/b.png", "in/hat/c.png")):
        picture(tmp_path / name, (number * 60, 80, 80))
    with zipfile.ZipFile(tmp_path / "in/set.zip", "w") as packed:
        packed.write(picture(tmp_path / "d.png", (200, 200, 0)), "d.png")
    monkeypatch.chdir(tmp_path)
    entries = ({"path": str(tmp_path / "in/hat"), "concept": "hat", "limit": 1}, "in", "in/set.zip",
               str(tmp_path / "in/"))  # fmt: skip
    scrape.run(Scrape(folders=entries), booru=tmp_path, out=tmp_path / "out", store=tmp_path / "s")
    found = {row.url: row.concept for row in posts.read(tmp_path / "out" / "posts.csv")}
    assert found == {"hat/b.png": "hat", "in/a.png": "", "in/hat/c.png": "", "in/set.zip/d.png": ""}


def test_what_is_no_text_is_recorded_and_the_rest_goes_on(tmp_path, own_home):
    """Names, captions and JSON that UTF-8 cannot say; tables and manifests can be written."""
    for name, caption in {"a": "1girl, smile", "b": "(" * 30_000, "d": "hat"}.items():
        picture(tmp_path / f"in/{name}.png")
        (tmp_path / f"in/{name}.txt").write_text(caption)
    picture(tmp_path / "in/c.png")
    (tmp_path / "in/c.json").write_text(
        r'{"tags": "1girl \ud800x", "source": "\udfff", "rating": "g"}'
    )
    odd = os.fsencode(tmp_path / "in") + b"/\xe9\xff\r"
    os.rename(tmp_path / "in/d.png", odd + b".png")
    os.rename(tmp_path / "in/d.txt", odd + b".txt")
    with open(odd + b"z.json", "wb") as file:
        file.write(b"{")
    picture(tmp_path / "in/e.png")
    (tmp_path / "in/e.json").write_text('{"tags":' * 400 + '"hat"' + "}" * 400)
    summary = scrape.run(
        Scrape(folders=(str(tmp_path / "in"),), minimum_share=0),
        booru=tmp_path, out=tmp_path / "out", store=tmp_path / "s",
    )  # fmt: skip
    manifest.write(tmp_path / "out", {}, summary)
    rows = {row.url: row for row in posts.read(tmp_path / "out/posts.csv")}
    assert {url for url, row in rows.items() if row.image} == {
        "in/a.png", "in/c.png", "in/e.png", "in/??\n.png",
    }  # fmt: skip
    assert "b.txt holds a caption of 30,000 letters" in rows["in/b.png"].reason
    assert "z.json is not JSON" in rows["in/??\nz.json"].reason
    assert rows["in/c.png"].tags_general == "1girl ?x"
    own = caption_files.read(tmp_path / "out" / caption_files.NAME)
    assert sorted(own.values()) == ["1girl, smile", "hat"]


def test_kohyas_folder_of_regularization_pictures_is_left_alone(tmp_path):
    for name in ("img/5_hoshi/a.png", "reg/1_girl/r.png", "more/reg/b.png"):
        picture(tmp_path / "in" / name)
    found = read(tmp_path / "in")
    assert {url for url, (status, _) in found.items() if status == "ok"} == {
        "in/img/5_hoshi/a.png", "in/more/reg/b.png",
    }  # fmt: skip
    assert found["in/reg"][1].startswith("regularization pictures: give the folder as layout.reg")
    assert read(tmp_path / "in/reg") == {"reg/1_girl/r.png": ("ok", "")}, "named, it is read"


def test_a_table_that_is_read_is_not_left_alone(tmp_path):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/metadata.jsonl").write_text('{"file_name": "a.png", "text": "hoshi, hat"}\n')
    assert read(tmp_path / "in") == {"in/a.png": ("ok", "")}
    (tmp_path / "in/metadata.jsonl").write_text('{"file_name": "b.png", "text": "hoshi, hat"}\n')
    assert read(tmp_path / "in")["in/metadata.jsonl"] == (
        "skipped", "a table that names no picture here",
    )  # fmt: skip
