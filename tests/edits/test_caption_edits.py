"""The table of captions by hand: what is read, what is refused, what is not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakery.edits import caption_edits
from bakery.edits.caption_edits import CaptionEdits
from bakery.io.errors import BakeryError

NONE = CaptionEdits({}, ())


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / caption_edits.TABLE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_names_pictures_and_gives_their_captions(tmp_path: Path) -> None:
    table = '\ufeffimage,caption,note\r\na.png,"mirael, ""hi"",\nhat",x\r\ncafe\u0301.png,tree,\r\n'
    edits = caption_edits.with_table(NONE, written(tmp_path, table), ["a.png", "caf\xe9.png"])
    assert edits.captions == {"a.png": 'mirael, "hi", hat', "caf\xe9.png": "tree"}
    assert edits.strangers == ()
    assert caption_edits.with_table(NONE, None, ["a.png"]) is NONE


def test_two_pictures_of_one_stem_have_captions_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path, "image,caption\ntwin.png,one\ntwin.jpg,other\n")
    edits = caption_edits.with_table(NONE, path, ["twin.png", "twin.jpg"])
    assert edits.captions == {"twin.png": "one", "twin.jpg": "other"}


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "image,caption\nhal.png,x\na.png,new\n")
    files = CaptionEdits({"a.png": "old", "b.png": "b"}, ("s",), frozenset({"a.png", "b.png"}))
    edits = caption_edits.with_table(files, path, ["a.png", "b.png", "halo.png"])
    assert edits.captions == {"a.png": "new", "b.png": "b"}
    assert edits.in_files == {"b.png"}
    assert edits.strangers[0] == "s"
    assert (
        "line 2 names 'hal.png', which is not laid out; did you mean halo.png?"
        in (edits.strangers[1])
    )
    assert "captions/a.txt is not used" in edits.strangers[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("picture,caption\na.png,x\n", "no column 'image'"),
        ("", "no column 'image'"),
        ("image,caption\na.png,\n", "line 2 is empty: write the caption"),
        ("image,caption\na.png\n", "line 2 is empty"),
        ("image,caption\na.png,x\na.png,y\n", "two captions of a.png: delete line 3"),
        ("image,caption\na.png," + "x" * 4001 + "\n", "line 2 is 4001 characters long"),
        (b"image,caption\na.png,\xff\xfe\n", "in UTF-8"),
        ('image,caption\na.png,"x"y\n', "cannot be read as a table"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    with pytest.raises(BakeryError) as caught:
        caption_edits.with_table(NONE, written(tmp_path, content), ["a.png"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
