"""Where the layout puts the separator."""

from __future__ import annotations

import pytest

from bakery.dataset.caption_marks import CaptionMarks

SAID = "She walks, slowly, along a road."
MARKS = CaptionMarks("|||", frozenset({"mirael", "1girl"}), {"a.png": SAID})


@pytest.mark.parametrize(
    ("caption", "marked"),
    [
        (f"mirael, 1girl, hat, smile, {SAID}", f"mirael, 1girl ||| hat, smile ||| {SAID}"),
        (
            f"safe, 1girl, mirael, @nameko, hat, {SAID}",
            f"safe, 1girl, mirael ||| @nameko, hat ||| {SAID}",
        ),
        (f"hat, {SAID}, mirael, 1girl, smile", f"||| hat ||| {SAID}, mirael, 1girl, smile"),
        (f"{SAID}, mirael, 1girl, hat, smile", f"{SAID}, mirael, 1girl ||| hat, smile"),
        (f"mirael, {SAID}, hat", f"mirael, {SAID} ||| hat"),
        (f"mirael, 1girl, {SAID}", f"mirael, 1girl, {SAID}"),
        (SAID, SAID),
        ("mirael, 1girl, hat, smile", "mirael, 1girl, hat, smile"),
        (f"mirael ||| hat, {SAID}", f"mirael ||| hat, {SAID}"),
    ],
)
def test_around_the_tags(caption, marked):
    assert MARKS.of("a.png", caption) == marked
    assert MARKS.of("a.png", marked) == marked
    assert CaptionMarks("", frozenset(), {}).of("a.png", caption) == caption


def test_a_sentence_by_hand_is_found_by_itself():
    caption = "mirael, hat, smile, She sits on a bench and reads a book."
    marked = MARKS.of("other.png", caption)
    assert marked == "mirael ||| hat, smile ||| She sits on a bench and reads a book."


def test_counts():
    assert MARKS.summary([f"mirael ||| hat ||| {SAID}", "mirael, hat"]) == {
        "separated": {"captions": 1, "others": 1}
    }
    assert CaptionMarks("", frozenset(), {}).summary(["mirael, hat"]) == {}
