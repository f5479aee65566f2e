"""Lists of pictures, by hand."""

from __future__ import annotations

import pytest

from bakery.edits import image_edits
from bakery.io.errors import BakeryError
from bakery.sources.posts import Post

POSTS = [Post(image="site-1.jpg", md5="a" * 32), Post(image="site-2.png", md5="b" * 32),
         Post(image="copy.png", md5="b" * 32), Post(image="own.png")]  # fmt: skip


def matched(tmp_path, **lists: str | bytes) -> image_edits.ImageEdits:
    files = {}
    for name, text in lists.items():
        files[f"{name}.txt"] = tmp_path / f"{name}.txt"
        data = text if isinstance(text, bytes) else text.encode()
        files[f"{name}.txt"].write_bytes(data)
    return image_edits.match_images(files, POSTS)


def test_a_picture_is_named_by_its_name_or_its_md5(tmp_path):
    found = matched(tmp_path, exclude="site-1.jpg\n", include=f"{'B' * 32}\n  own.png  # mine\n")
    assert found.of(image_edits.EXCLUDE) == {"site-1.jpg"}
    assert found.of(image_edits.INCLUDE) == {"site-2.png", "copy.png", "own.png"}
    assert found.unmatched() == []


def test_comments_blanks_and_unknown_entries_are_kept_as_lines(tmp_path):
    text = b"\xef\xbb\xbf# of last week\r\n\r\ngone.jpg # left the search\r\nsite-1.jpg"
    found = matched(tmp_path, exclude=text)
    assert [line.text for line in found.lines[image_edits.EXCLUDE]] == [
        "# of last week", "", "gone.jpg # left the search", "site-1.jpg",
    ]  # fmt: skip
    assert found.unmatched() == ["gone.jpg"]
    assert found.of(image_edits.EXCLUDE) == {"site-1.jpg"}


def test_no_lists_no_edits():
    found = image_edits.match_images({}, POSTS)
    assert found.of(image_edits.EXCLUDE) == found.of(image_edits.INCLUDE) == set()
    assert found.unmatched() == []


@pytest.mark.parametrize("include", ["site-2.png", "b" * 32])
def test_one_picture_in_both_lists_is_an_error(tmp_path, include):
    with pytest.raises(
        BakeryError, match=r"exclude.txt and include.txt both name site-2.png: take"
    ):
        matched(tmp_path, exclude="site-2.png", include=include)


def test_a_list_that_is_no_text(tmp_path):
    with pytest.raises(BakeryError, match=r"exclude.txt is not UTF-8 text: save it as UTF-8"):
        matched(tmp_path, exclude=b"\xff\xfes\0i\0t\0e\0")
    with pytest.raises(BakeryError, match=r"cannot be read"):
        image_edits.match_images({"exclude.txt": tmp_path}, POSTS)
