"""Captions: splitting, joining and spelling of tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.io.errors import BakeryError
from bakery.tags import captions

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(
    lambda tag: "," not in tag and tag.strip() == tag
)


@given(st.lists(words))
def test_split_gives_back_what_was_joined(tags):
    assert captions.split(captions.join(tags)) == tags


@pytest.mark.slow
@given(st.text())
def test_a_split_caption_is_a_fixed_point(caption):
    tags = captions.split(caption)
    assert all(tag and tag == tag.strip() and "," not in tag for tag in tags)
    assert captions.split(",".join(tags)) == tags


def test_split_bears_untidy_captions():
    assert captions.split(" mirael ,1girl,, long hair,\n") == ["mirael", "1girl", "long hair"]
    assert captions.split("") == []


@pytest.mark.parametrize("tag", ["a, b", "a\nb", "", "  ", "a\u2028b"])
def test_what_cannot_stand_in_a_caption_is_refused(tag):
    with pytest.raises(BakeryError, match="cannot stand in a caption"):
        captions.join(["mirael", tag])


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        ("long_hair", "long hair"),
        ("  hatsune_miku_(cosplay) ", "hatsune miku (cosplay)"),
        (">_<", ">_<"),
        ("||_||", "||_||"),
        ("o_o", "o_o"),
        (":d", ":d"),
        ("o_o_x", "o o x"),
    ],
)
def test_underscores_are_spaces_but_in_kaomoji(tag, word):
    assert captions.normalise(tag) == word


@given(st.one_of(words, st.sampled_from(sorted(captions.KAOMOJI))))
def test_normalise_is_idempotent_and_leaves_an_underscore_only_to_kaomoji(tag):
    word = captions.normalise(tag)
    assert captions.normalise(word) == word
    assert ("_" in word) == (tag.strip() in captions.KAOMOJI)


def test_spellings_of_one_tag_are_the_same():
    assert captions.same("Pink_Hair") == captions.same(" pink  hair") == "pink hair"
    assert captions.same("pink hair") != captions.same("pinkhair")
