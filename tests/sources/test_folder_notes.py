"""What is written of a picture in its own files and in tables of many pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakery.gate.sidecars import BrokenSidecar
from bakery.sources.folder_notes import NOT_KNOWN, NOT_READ, Notes


@pytest.fixture
def folder(tmp_path):
    """A folder with pictures, of which only the names count."""
    for name in ("a.png", "b.jpg", "sub/c.png", "sub/deep/d.webp", "twin.png", "twin.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def tags(folder: Path, name: str, md5: str = "") -> str:
    return Notes(folder).of(folder / name, md5).post.tags_general


def put(folder: Path, name: str, data: object) -> None:
    (folder / name).write_text(
        data if isinstance(data, str) else json.dumps(data), encoding="utf-8"
    )


@pytest.mark.parametrize("name", ["a.png.json", "a.json", ".a_meta.json", "A.JSON", "a.PNG.Json"])
def test_its_own_metadata(folder, name):
    put(folder, name, {"tags": ["solo"]})
    assert tags(folder, "a.png") == "solo"


def test_what_one_does_not_say_another_does(folder):
    put(folder, "a.png.json", {"id": 3, "score": 5, "rating": "q"})
    put(folder, "a.txt", "1girl, blue hair")
    put(folder, "meta_cap.json", {"a": {"tags": "other", "caption": "A girl."}})
    note = Notes(folder).of(folder / "a.png", "")
    assert (note.post.id, note.post.rating, note.post.tags_general) == (
        "3",
        "questionable",
        "1girl blue_hair",
    )
    assert (note.post.own.file, note.post.own.caption.text) == ("a.txt", "1girl, blue hair")


def test_unknown_json_is_told_and_the_rest_counts(folder):
    put(folder, "a.json", {"nodes": [], "version": 0.4})
    put(folder, "a.txt", "solo")
    note = Notes(folder).of(folder / "a.png", "")
    assert (note.post.tags_general, note.remark) == ("solo", NOT_KNOWN)
    put(folder, "a.png.json", {"tags": "solo"})
    assert Notes(folder).of(folder / "a.png", "").remark == ""


def test_broken_json_is_an_error(folder):
    put(folder, "a.json", "{")
    with pytest.raises(BrokenSidecar, match=r"a\.json is not JSON"):
        tags(folder, "a.png")


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.tsv"])
def test_tags_that_are_longer_than_any_caption_are_told(folder, name):
    data = json.dumps({"tags": ["x" * 21_000]}) if name.endswith(".json") else "x" * 21_000 + ","
    put(folder, name, data)
    with pytest.raises(BrokenSidecar, match=rf"{name} holds a caption of 21,\d\d\d letters"):
        tags(folder, "a.png")


def test_of_several_posts_its_own(folder):
    posts = [{"id": n, "md5": f"{n:032x}", "tags": f"tag{n}"} for n in (1, 2, 3)]
    put(folder, "a.json", posts)
    assert tags(folder, "a.png", md5=f"{2:032x}") == "tag2"
    assert tags(folder, "a.png", md5="") == ""
    (folder / "site_3.png").write_bytes(b"x")
    put(folder, "site_3.json", {"posts": posts})
    assert tags(folder, "site_3.png") == "tag3"


TABLES = {
    "kohya": ("meta_cap.json", {"a": {"tags": "of a"}, "c": {"tags": "of c"}}),
    "kohya, full path": ("meta_lat.json", {
        "/data/train/a.png": {"tags": "of a", "train_resolution": [512, 512]},
        "/data/train/sub/c.png": {"tags": "of c"}}),
    "Windows' path": ("meta.json", {"C:\\train\\a.png": {"tags": "of a,"},
                                    "sub\\c.png": {"tags": "of c,"}}),
    "a tree": ("all.json", {"a.png": {"tags": ["of a"]}, "sub": {"c.png": {"tags": ["of c"]}}}),
    "a tree of lists": ("all.json", {"a.png": ["of a"], "sub": {"c.png": ["of c"]}}),
    "a tree of texts": ("all.json", {"x": {"a.png": "of a,"}, "sub": {"c.png": "of c,"}}),
    "a list": ("data.json", [{"file_name": "a.png", "text": "of a"},
                             {"image_path": "/x/sub/c.png", "caption": "of c"}]),
    "an editor's": ("project.json", {"version": 2, "images": [
        {"filename": "a", "extension": "png", "tags": ["of a"]}, {"file": "c.png", "tags": ["of c"]}]}),
    "lines": ("metadata.jsonl", '{"file_name": "a.png", "text": "of a"}\n'
              '{"file_name": "sub/c.png", "text": "of c"}\n'),
    "csv": ("tags.csv", "filename,tags\na.png,of a\nsub/c.png,of c\n"),
    "csv without headings": ("tags.csv", 'a.png,"of a, x"\nsub/c.png,"of c, x"\n'),
    "csv of cells": ("tags.csv", "a.png,of a,x\nc.png,of c,x\n"),
    "csv of probabilities": ("tags.csv", "image,tag,prob\na.png,of a,0.9\na.png,hat,0.1\n"
                             "a.png,x,.8\nc.png,of c,0.9\n"),
    "semicolons": ("tags.csv", "path;tags\na.png;of a, x\nc.png;of c, x\n"),
    "tsv": ("tags.tsv", "image\tcaption\na.png\tof a, x\nc.png\tof c, x\n"),
}  # fmt: skip


@pytest.mark.parametrize("shape", TABLES)
def test_a_table_of_many_pictures(folder, shape):
    put(folder, *TABLES[shape])
    assert tags(folder, "a.png").split()[0] == "of_a"
    assert tags(folder, "sub/c.png").split()[0] == "of_c"
    assert "hat" not in tags(folder, "a.png")
    assert tags(folder, "b.jpg") == tags(folder, "sub/deep/d.webp") == ""


def test_the_nearest_and_most_exact_table_counts(folder):
    put(folder, "meta.json", {"c": {"tags": "far"}, "sub/d.webp": {"tags": "wrong place"}})
    put(folder / "sub", "meta.json", {"c.png": {"tags": "near"}, "d": {"tags": "stem"},
                                      "deep/d.webp": {"tags": "exact"}})  # fmt: skip
    assert tags(folder, "sub/c.png") == "near"
    assert tags(folder, "sub/deep/d.webp") == "exact"
    put(folder, "twins.json", {"twin.png": {"tags": "png"}, "twin.jpg": {"tags": "jpg"}})
    assert (tags(folder, "twin.png"), tags(folder, "twin.jpg")) == ("png", "jpg")


def test_a_caption_in_a_table_is_its_own(folder):
    put(folder, "meta_cap.json", {"a": {"caption": "A girl smiles.", "tags": "1girl, smile"}})
    note = Notes(folder).of(folder / "a.png", "")
    assert note.post.own.file == "meta_cap.json"
    assert note.post.own.caption.text == "A girl smiles. 1girl, smile"
    assert note.post.tags_general == "1girl smile"


def test_what_says_nothing_of_any_picture(folder):
    put(folder, "workflow.json", {"nodes": []})
    put(folder, "broken.json", "{")
    put(folder, "readme.txt", "hello")
    put(folder, "b.txt", "solo")
    put(folder, "meta.json", {"a": {"tags": "x"}})
    put(folder, "long.csv", '"' + "x" * 200_000)
    put(folder, "others.jsonl", '{"file_name": "x.png", "text": "hat"}')
    put(folder, "b.urls.txt", "https://example.com/1")
    notes = Notes(folder)
    for name in ("a.png", "b.jpg"):
        notes.of(folder / name, "")
    assert {path.name: why for path, why in notes.strangers(folder)} == {
        "workflow.json": "no metadata that we know",
        "broken.json": "broken.json is not JSON (Expecting property name enclosed in double quotes: "
                       "line 1 column 2 (char 1)): repair or remove it",
        "readme.txt": "text that belongs to no picture",
        "others.jsonl": "a table that names no picture here",
        "b.urls.txt": NOT_READ,
        "long.csv": "long.csv is no CSV (field larger than field limit (131072)): repair or remove it",
    }  # fmt: skip


@pytest.mark.parametrize(
    "table",
    ["tag,score\nsolo,0.9\nhat,0.1\n", "Name;Confidence\nsolo;0.9\n", "solo,0.9\n", "tag\n"],
)
def test_headings_of_its_own_table_are_no_tags(folder, table):
    put(folder, "a.csv", table)
    assert tags(folder, "a.png") == ("tag" if table == "tag\n" else "solo")


@pytest.mark.parametrize("ending", [".tags", ".wd14", ".TEXT", ".cap", ".png.tag"])
def test_captions_of_taggers_have_endings_of_their_own(folder, ending):
    put(folder, f"a{ending}", "hoshi, 1girl")
    note = Notes(folder).of(folder / "a.png", "")
    assert note.post.own.caption.text == "hoshi, 1girl"
    put(folder, "a.txt", "hoshi, smile")
    assert Notes(folder).of(folder / "a.png", "").post.own.unused == (
        (f"a{ending}",) if not ending.startswith(".png") else ("a.txt",)
    )


PARK = "A girl with blue hair stands in a park, smiling at the viewer."
CAPTIONS = {
    "texts": ("captions.json", {"a.png": PARK, "sub/c.png": "hoshi, hat"}),
    "alternatives": ("captions.json", {"a.png": [PARK, "A girl."], "sub/c.png": ["hoshi, hat"]}),
    "columns": ("metadata.csv", f'file_name,text\na.png,"{PARK}"\nsub/c.png,"hoshi, hat"\n'),
    "cells": ("list.csv", f'a.png,"{PARK}"\nsub/c.png,"hoshi, hat"\n'),
    "rated lines": ("metadata.jsonl", "".join(
        json.dumps({"file_name": name, "text": text, "rating": "g"}) + "\n"
        for name, text in (("a.png", PARK), ("sub/c.png", "hoshi, hat")))),
    "COCO": ("captions_train.json", {
        "images": [{"id": 4, "file_name": "c.png"}, {"id": 7, "file_name": "a.png"}],
        "annotations": [{"image_id": 7, "id": 1, "caption": PARK},
                        {"image_id": 4, "id": 2, "caption": "hoshi, hat"}]}),
}  # fmt: skip


@pytest.mark.parametrize("shape", CAPTIONS)
def test_a_sentence_in_a_table_is_whole(folder, shape):
    put(folder, *CAPTIONS[shape])
    notes = Notes(folder)
    first, second = (notes.of(folder / name, "").post for name in ("a.png", "sub/c.png"))
    assert (first.own.caption.text, first.tags_general) == (PARK, "")
    assert (second.own.caption.text, second.tags_general) == ("hoshi, hat", "hoshi hat")
    assert second.own.file == f"../{CAPTIONS[shape][0]}"
    assert not list(notes.strangers(folder))


def test_what_the_tagger_of_a1111_remembers(folder):
    put(folder, "db.json", {
        "rating": {"general": [0.1, 1.99], "explicit": [0.9, 1.01]},
        "tag": {"1girl": [0.98, 1.97], "hat": [0.1, 1.8]},
        "query": {"ab12": ["/pictures/a.png", 0], "cd34": ["C:\\pictures\\b.jpg", 1]},
    })  # fmt: skip
    notes = Notes(folder)
    a, b = (notes.of(folder / name, "").post for name in ("a.png", "b.jpg"))
    assert (a.rating, a.tags_general) == ("explicit", "1girl")
    assert (b.rating, b.tags_general) == ("general", "1girl hat")


def test_ratings_in_cells(folder):
    put(folder, "a.csv", "tag,score\nexplicit,0.99\nhat,0.9\n")
    put(folder, "all.csv", "image,tag,prob\nb.jpg,rating:sensitive,0.99\nb.jpg,hat,0.9\n")
    notes = Notes(folder)
    found = [notes.of(folder / name, "").post for name in ("a.png", "b.jpg")]
    assert [(one.rating, one.tags_general) for one in found] == [
        ("explicit", "hat"), ("sensitive", "hat"),
    ]  # fmt: skip


def test_captions_named_as_hydrus_names_them(folder):
    put(folder, "a.png.tags.txt", "1girl\nhat\n")
    put(folder, "a.png.urls.txt", "https://example.com/1")
    notes = Notes(folder)
    assert notes.of(folder / "a.png", "").post.own.caption.text == "1girl, hat"
    assert [path.name for path, _ in notes.strangers(folder)] == ["a.png.urls.txt"]
