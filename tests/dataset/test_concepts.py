"""Concepts: repeats, shares, and names that every file system takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.dataset import concepts
from bakery.io.errors import BakeryError
from bakery.settings.layout import Layout


def folders_of(
    counts: dict[str, int], name: str = "mirael", **options
) -> dict[str, concepts.RepeatFolder]:
    return {f.concept: f for f in concepts.folders(Layout(**options), counts, name)}


@settings(max_examples=60)
@given(
    main=st.integers(1, 300),
    halo=st.integers(1, 300),
    repeats=st.integers(1, 40),
    share=st.floats(0.01, 0.95),
)
def test_whole_repeats_come_as_near_the_share_as_they_can(main, halo, repeats, share) -> None:
    made = folders_of(
        {"": main, "halo": halo}, repeats=repeats, concepts={"halo": {"share": share}}
    )
    assert made[""].repeats == repeats
    n = made["halo"].repeats

    def reached(n: int) -> float:
        return halo * n / (halo * n + main * repeats)

    assert made["halo"].share == pytest.approx(reached(n))
    assert reached(n + 1) > share, "one more would be over it"
    assert n == 1 or reached(n - 1) < share, "and one less under it"


def test_several_shares_are_reached_together() -> None:
    wishes = {"halo": {"share": 0.2}, "uniform": {"share": 0.3}}
    made = folders_of({"": 100, "halo": 10, "uniform": 30}, concepts=wishes)
    assert {c: f.shown for c, f in made.items()} == {"": 500, "halo": 200, "uniform": 300}
    assert [f.share for f in made.values()] == [0.5, 0.2, 0.3]
    assert not any(f.trouble for f in made.values())


def test_balance_shows_each_concept_as_often_as_the_dataset() -> None:
    counts = {"": 60, "halo": 10, "uniform": 300, "own": 7}
    made = folders_of(counts, balance=True, concepts={"own": {"repeats": 3}})
    assert {c: f.repeats for c, f in made.items()} == {"": 5, "halo": 30, "uniform": 1, "own": 3}
    assert {c: f.repeats for c, f in folders_of(counts).items()} == dict.fromkeys(counts, 5)


def test_without_a_main_dataset_the_largest_concept_is_the_measure() -> None:
    made = folders_of({"halo": 10, "uniform": 40}, balance=True)
    assert {c: f.shown for c, f in made.items()} == {"halo": 200, "uniform": 200}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concepts": {"hallo": {}}}, "layout.concepts names hallo, .* did you mean halo"),
        ({"concepts": {"zzz": {}}}, "names zzz, which has no pictures to lay out; known: h"),
    ],
)
def test_settings_of_a_concept_without_pictures_are_refused(options, words) -> None:
    with pytest.raises(BakeryError, match=words):
        folders_of({"": 3, "halo": 1}, **options)


def test_shares_need_something_to_be_a_share_of() -> None:
    with pytest.raises(BakeryError, match="leave at least one concept without a share"):
        folders_of({"halo": 1}, concepts={"halo": {"share": 0.2}})


@pytest.mark.parametrize(
    "name", ["a b", 'it\'s "quoted"', "🐈", "../../etc", "x" * 300, "..", "a_1_2_3_4", "a/b", ""]
)
def test_any_name_makes_a_folder_inside(name: str) -> None:
    made = folders_of({"": 1, name: 1} if name else {"": 1}, name="mirael")
    for folder in made.values():
        assert re.fullmatch(r"5_[\w.+-]+", folder.folder)
        assert len(folder.folder.encode()) < 200
    assert len({folder.name for folder in made.values()}) == len(made)


def test_concepts_whose_names_look_alike_keep_folders_of_their_own() -> None:
    made = folders_of({"": 1, "Mirael": 1, "a b": 1, "a-b": 1})
    assert [f.name for f in made.values()] == ["mirael", "Mirael-2", "a-b", "a-b-2"]
