"""Held-out pictures: which are chosen, and that nothing of them is trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.dataset.holdout import Choosable, choose, groups, wanted
from bakery.io.errors import BakeryError
from bakery.settings.layout import HOLDOUT

NAMES = st.lists(st.integers(0, 999).map("{:03}.png".format), min_size=4, max_size=30, unique=True)


def alone(names):
    return groups(names, [])


@st.composite
def datasets(draw):
    """Pictures with outfits and concepts, near-duplicates among them, and a number to hold out."""
    names = draw(NAMES)
    pictures = [
        Choosable(
            name,
            draw(st.sampled_from(["", "", "halo"])),
            frozenset(draw(st.sets(st.sampled_from(["hat", "dress", "red coat"]), max_size=2))),
        )
        for name in names
    ]
    pairs = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=8))
    return pictures, pairs, draw(st.integers(1, len(names) // 2))


@given(datasets())
def test_near_duplicates_and_concepts_stay_whole_whatever_is_held_out(dataset):
    pictures, pairs, number = dataset
    try:
        held = choose(pictures, groups([one.image for one in pictures], pairs), number)
    except BakeryError:  # as below: a single group
        assert number < min(map(len, groups([one.image for one in pictures], pairs))) or any(
            one.concept for one in pictures
        )
        return
    assert 1 <= len(held) <= number
    assert not [pair for pair in pairs if len(held & set(pair)) == 1 and pair[0] != pair[1]]
    assert {one.concept for one in pictures if one.image not in held} == {
        one.concept for one in pictures
    }


@given(NAMES, st.data())
def test_the_same_are_held_out_in_any_order_and_another_picture_replaces_at_most_one(names, data):
    number = data.draw(st.integers(1, len(names) // 2))
    pictures = [Choosable(name) for name in names]
    held = choose(pictures, alone(names), number)
    assert len(held) == number
    mixed = data.draw(st.permutations(names))
    assert choose([Choosable(name) for name in mixed], alone(mixed), number) == held
    more = [*names, "new.png"]
    after = choose([Choosable(name) for name in more], alone(more), number)
    assert len(held - after) <= 1


def test_what_alone_shows_an_outfit_is_held_out_only_where_nothing_else_is_left():
    names = [f"{i}.png" for i in range(6)]
    worn = {"0.png": {"red coat"}, "1.png": {"red coat"}, "2.png": {"hat"}}
    pictures = [Choosable(name, "", frozenset(worn.get(name, ()))) for name in names]
    for number in (1, 2, 3, 4):
        held = choose(pictures, alone(names), number)
        assert "2.png" not in held
        assert not {"0.png", "1.png"} <= held
    few = [Choosable(name, "", frozenset({name})) for name in names]
    assert len(choose(few, alone(names), 2)) == 2


def test_a_chain_of_pairs_is_one_group():
    found = groups(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("a", "not there")])
    assert sorted(map(sorted, found)) == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("asked", "count", "number"),
    [(3, 10, 3), (5, 10, 5), (0.1, 10, 1), (0.25, 10, 2), (0.01, 10, 1)],
)
def test_a_number_or_a_share_is_asked_for(asked, count, number):
    assert wanted(asked, count) == number


@pytest.mark.parametrize(("asked", "count"), [(6, 10), (0.6, 10), (1, 1), (0.4, 1)])
def test_more_than_half_is_refused_in_one_sentence(asked, count):
    with pytest.raises(BakeryError, match="at most half of them") as caught:
        wanted(asked, count)
    assert "\n" not in str(caught.value)


def test_a_single_group_cannot_be_held_out():
    names = ["a", "b", "c"]
    with pytest.raises(BakeryError, match="none can be held out"):
        choose([Choosable(n) for n in names], groups(names, [("a", "b"), ("b", "c")]), 1)


def test_it_is_named_as_layouts_name_it():
    assert not HOLDOUT[0].isdigit()  # sd-scripts reads `<number>_<name>` only
