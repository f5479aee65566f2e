"""Captions: splitting, joining, spelling and shuffling of tags."""

import random
from collections import Counter

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


@given(st.lists(words), st.integers(0, 12), st.integers())
def test_shuffle_keeps_the_front_and_loses_nothing(tags, keep_tokens, seed):
    before = list(tags)
    shuffled = captions.shuffle(tags, keep_tokens, random.Random(seed))
    assert shuffled[:keep_tokens] == tags[:keep_tokens]
    assert Counter(shuffled) == Counter(tags)
    assert tags == before
    assert shuffled == captions.shuffle(tags, keep_tokens, random.Random(seed))


def test_shuffle_reaches_every_order_of_the_rest():
    rng = random.Random(0)
    orders = {tuple(captions.shuffle(["t", "a", "b", "c"], 1, rng)) for _ in range(200)}
    assert len(orders) == 6
    assert {order[0] for order in orders} == {"t"}


def shown(times=400, **how):
    rng = random.Random(1)
    return [captions.shown("t, a, b, c", rng, **how) for _ in range(times)]


def test_nothing_asked_changes_nothing():
    assert set(shown(keep_tokens=1)) == {"t, a, b, c"}


def test_dropout_empties_a_caption_kept_tokens_and_all():
    said = shown(dropout=0.25, keep_tokens=4)
    assert set(said) == {"t, a, b, c", ""}
    assert 0.15 < said.count("") / len(said) < 0.35
    assert set(shown(dropout=1.0)) == {""}


def test_tag_dropout_spares_the_kept_tokens_and_the_order():
    said = [captions.split(caption) for caption in shown(tag_dropout=0.5, keep_tokens=2)]
    assert {tuple(tags) for tags in said} == {
        ("t", "a"), ("t", "a", "b"), ("t", "a", "c"), ("t", "a", "b", "c"),
    }  # fmt: skip
    kept = sum(len(tags) - 2 for tags in said) / (2 * len(said))
    assert 0.4 < kept < 0.6


def test_shuffled_and_thinned_at_once():
    said = [captions.split(caption) for caption in shown(tag_dropout=0.3, shuffled=True)]
    assert {tags[0] for tags in said if tags} == {"t", "a", "b", "c"}
    assert {len(tags) for tags in said} == {0, 1, 2, 3, 4}
