"""What becomes of a caption in one showing: front, tags that are shuffled or left out, end."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.settings.layout import Layout
from bakery.settings.train import Train
from bakery.tags import captions
from bakery.tags.shuffling import Shuffling

words = st.text("abcdefgh ", min_size=1).map(str.strip).filter(bool)
SPEAKS = "mirael, 1girl ||| smile, red hat, indoors ||| She walks, slowly, along a road."
SHOWN_BY_SD_SCRIPTS = [
    (
        SPEAKS,
        {"shuffled": True},
        1,
        "mirael, 1girl, red hat, indoors, smile, She walks, slowly, along a road.",
    ),
    (
        SPEAKS,
        {"shuffled": True, "keep_tokens": 4},
        2,
        "mirael, 1girl, red hat, indoors, smile, She walks, slowly, along a road.",
    ),
    (SPEAKS, {"tag_dropout": 0.5}, 3, "mirael, 1girl, red hat, She walks, slowly, along a road."),
    (
        SPEAKS,
        {"shuffled": True, "tag_dropout": 0.5},
        4,
        "mirael, 1girl, She walks, slowly, along a road.",
    ),
    (SPEAKS, {"tag_dropout": 1.0}, 5, "mirael, 1girl, She walks, slowly, along a road."),
    (
        SPEAKS,
        {"shuffled": True, "dropout": 0.5},
        6,
        "mirael, 1girl, indoors, red hat, smile, She walks, slowly, along a road.",
    ),
    (SPEAKS, {"shuffled": True, "dropout": 0.5}, 8, ""),
    (
        "mirael|||smile,hat,|||A girl, smiling.",
        {"shuffled": True},
        7,
        "mirael, smile, hat, A girl, smiling.",
    ),
    ("||| smile, hat, mirael", {"shuffled": True, "keep_tokens": 2}, 9, "smile, mirael, hat"),
    ("mirael, smile ||| ", {"shuffled": True, "tag_dropout": 1.0}, 10, "mirael, smile"),
    ("a ||| b, c ||| d ||| e, f", {"shuffled": True}, 11, "a, b, c, d ||| e, f"),
    (
        "mirael, smile, hat, indoors",
        {"shuffled": True, "keep_tokens": 1},
        12,
        "mirael, smile, indoors, hat",
    ),
    (
        "mirael, smile, hat, indoors",
        {"shuffled": True, "keep_tokens": 9, "tag_dropout": 0.9},
        13,
        "mirael, smile, hat, indoors",
    ),
    (
        "mirael $$ smile;;;hat, indoors, sky",
        {"shuffled": True, "separator": "$$"},
        14,
        "mirael, indoors, sky, smile;;;hat",
    ),
    (
        "mirael ||| smile, hat, indoors",
        {"shuffled": True, "separator": "", "keep_tokens": 1},
        15,
        "mirael ||| smile, indoors, hat",
    ),
]
"""Caption, settings, seed, and what sd-scripts' process_caption (48d368f) makes of it: the cases of
benchmarks/kohya/captions.py that tell most. `dropout` is caption_dropout_rate."""


@pytest.mark.parametrize(("caption", "how", "seed", "expected"), SHOWN_BY_SD_SCRIPTS)
def test_shown_as_by_sd_scripts(caption, how, seed, expected):
    dropout = {"dropout": 0.0} | how
    how = {"separator": "|||"} | {name: value for name, value in how.items() if name != "dropout"}
    assert Shuffling(**how).shown(caption, random.Random(seed), dropout["dropout"]) == expected


def test_where_nothing_changes_the_separator_goes_and_nothing_is_drawn():
    rng = random.Random(1)
    plain = "mirael, 1girl, smile, red hat, indoors, She walks, slowly, along a road."
    assert Shuffling(keep_tokens=1, separator="|||").shown(SPEAKS, rng) == plain
    assert Shuffling(separator="|||").still(plain) == plain
    assert Shuffling().shown(" kept,as  it is ", rng) == " kept,as  it is "
    assert rng.random() == random.Random(1).random()


@given(st.lists(words), st.lists(words), st.lists(words), st.integers())
def test_front_and_end_stay_and_nothing_is_lost(front, tags, end, seed):
    caption = " ||| ".join(", ".join(part) for part in (front, tags, end))
    how = Shuffling(keep_tokens=3, separator="|||", shuffled=True)
    shown = captions.split(how.shown(caption, random.Random(seed)))
    assert shown[: len(front)] == front
    assert shown[len(shown) - len(end) :] == end
    assert Counter(shown) == Counter([*front, *tags, *end])


def test_shuffle_reaches_every_order_of_the_rest():
    orders = set(shown(200, keep_tokens=1, shuffled=True))
    assert len(orders) == 6
    assert {order[0] for order in orders} == {"t"}


def shown(times=400, dropout=0.0, **how):
    rng = random.Random(1)
    return [Shuffling(**how).shown("t, a, b, c", rng, dropout) for _ in range(times)]


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


@pytest.mark.parametrize(
    ("how", "ways"),
    [({}, 1), ({"shuffled": True}, 6), ({"tag_dropout": 0.5}, 8),
     ({"shuffled": True, "tag_dropout": 0.5}, 16)],
)  # fmt: skip
def test_ways_count_what_can_be_shown(how, ways):
    made = Shuffling(separator="|||", keep_tokens=9, **how)
    rng = random.Random(2)
    assert made.ways(SPEAKS) == ways == len({made.shown(SPEAKS, rng) for _ in range(800)})


@pytest.mark.parametrize("section", [Layout, Train])
@pytest.mark.parametrize(
    ("text", "words"), [(",", "mean something else"), ("{|}", "mean something else"), (" ", "sign")]
)
def test_a_separator_that_captions_cannot_have_is_refused(section, text, words):
    with pytest.raises(ValueError, match=words):
        section(keep_tokens_separator=text)
    assert section(keep_tokens_separator=" ||| ").keep_tokens_separator == "|||"
