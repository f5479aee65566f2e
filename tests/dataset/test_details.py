"""Details: traits that the samples miss, and the pictures that show them again."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.dataset import details
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.tags.trigger import Trigger


def row(epoch: int, found: list[str], purpose: str = "identity") -> dict:
    asked = ["halo", "pink hair"]
    return {"epoch": epoch, "purpose": purpose, "asked": asked, "found": found}


SHARES = {"pink hair": 0.98, "halo": 0.9}


def test_what_no_epoch_brings_back_is_proposed() -> None:
    rows = [row(1, ["pink hair"]), row(1, []), row(2, ["pink hair"]), row(2, ["halo"])]
    rows += [row(2, []), row(2, [])]
    halo, hair = details.propose(SHARES, rows, SHARES)
    assert (halo["trait"], halo["in_samples"], halo["epoch"]) == ("halo", 0.25, 2)
    assert "on 90% of the training pictures" in halo["proposal"]
    assert "on more than 25% of the samples" in halo["proposal"]
    assert "layout.details: [halo]" in halo["proposal"]
    assert (hair["trait"], hair["in_samples"], hair["epoch"]) == ("pink hair", 0.5, 1)
    assert hair["proposal"] == ""


def test_a_trait_on_no_sample_is_said_so() -> None:
    table = details.propose(SHARES, [row(1, ["pink hair"])], SHARES)
    assert table[0]["proposal"].startswith(
        "halo is on 90% of the training pictures, but on no sample:"
    )


def test_what_the_captions_name_needs_no_folder_but_pruning() -> None:
    table = details.propose(SHARES, [row(1, []), row(2, [])], ["Halo"])
    assert {line["trait"]: bool(line["proposal"]) for line in table} == {
        "halo": True,
        "pink hair": False,
    }
    said = details.in_captions(table, ["Halo"])
    assert said.startswith("the samples hardly show pink hair: the captions name")
    assert "prune.always: [pink hair]" in said
    assert details.in_captions(table, SHARES) == ""
    shown = details.propose(SHARES, [row(1, ["halo", "pink hair"])], [])
    assert details.in_captions(shown, []) == ""
    assert details.in_captions(details.propose(SHARES, [row(0, [])], []), []) == ""


def test_a_bake_that_misses_most_of_the_character_gets_no_advice_about_details() -> None:
    lost = details.propose(SHARES, [row(1, []), row(2, [])], SHARES)
    assert all(line["proposal"] for line in lost)
    (said,) = details.advice(lost, SHARES)
    assert said.startswith("the samples miss most of the character (pink hair, halo): ")
    one = details.propose(SHARES, [row(1, ["pink hair"])], SHARES)
    assert details.advice(one, SHARES) == [one[0]["proposal"]]
    alone = details.propose({"halo": 0.9}, [row(1, [])], ["halo"])
    assert details.advice(alone, ["halo"]) == [alone[0]["proposal"]]
    named = details.propose(SHARES, [row(1, [])], ["halo"])
    assert len(details.advice(named, ["halo"])) == 2, "pink hair is in the captions"


def test_the_base_and_other_prompts_do_not_count() -> None:
    everything = [row(1, ["halo", "pink hair"])]
    rows = [row(0, []), row(0, []), row(1, [], "flexibility"), *everything]
    assert [line["proposal"] for line in details.propose(SHARES, rows, SHARES)] == ["", ""]
    assert all(
        math.isnan(line["in_samples"]) for line in details.propose(SHARES, [row(0, [])], SHARES)
    )


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=1), st.floats(0.5, 1))
def test_far_below_is_half_of_what_the_data_shows(seen: list[bool], share: float) -> None:
    rows = [row(1, ["halo"] if one else []) for one in seen]
    (line,) = details.propose({"halo": share}, rows, ["halo"])
    assert bool(line["proposal"]) == (sum(seen) / len(seen) < share / 2)


def seen(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image", "tag", "probability"])


def test_the_surest_pictures_are_chosen() -> None:
    rows = [(f"{i:02}.png", "halo", 0.3 + 0.02 * i) for i in range(35)]
    chosen = details.choose("Halo", seen(rows), [f"{i:02}.png" for i in range(34)], {})
    assert [detail.image for detail in chosen] == [f"{i:02}.png" for i in range(33, 9, -1)]
    assert len(chosen) == details.MOST


def test_where_boxes_are_known_only_these_are_shown() -> None:
    rows = [("a.png", "halo", 0.9), ("b.png", "halo", 0.9)]
    boxes = {("b.png", "halo"): (1, 2, 3, 4), ("gone.png", "halo"): (1, 2, 3, 4)}
    chosen = details.choose("halo", seen(rows), ["a.png", "b.png"], boxes)
    assert chosen == [details.Detail("b.png", (1, 2, 3, 4))]


def test_a_persons_boxes_come_first_and_found_ones_fill_up() -> None:
    names = [f"{i:02}.png" for i in range(40)]
    found = {(name, "face"): (0, 0, 10 + i, 10) for i, name in enumerate(names)}
    mine = {("03.png", "face"): (1, 1, 2, 2), ("39.png", "face"): None}
    chosen = details.choose("face", seen([]), names, mine, found)
    assert len(chosen) == details.MOST
    assert details.Detail("03.png", (1, 1, 2, 2)) in chosen
    others = [detail.image for detail in chosen if detail.image != "03.png"]
    assert others == names[39 - (details.MOST - 1) : 39], "the largest, and not where there is none"
    many = {(name, "face"): (0, 0, 1, 1) for name in names}
    assert len(details.choose("face", seen([]), names, many, found)) == 40


def test_boxes_are_cut_to_the_picture() -> None:
    boxes = [(-3.6, 2.4, 5.5, 9.9), (0, 0, 50, 50), (20, 20, 30, 30), (9.8, 1, 10.2, 5)]
    assert details.within(boxes, (20, 10)) == [(0, 0, 20, 10), (0, 2, 6, 10)]


def test_captions_name_the_trait_behind_trigger_and_class() -> None:
    front = Trigger("mirael", "1girl")
    written = "mirael, 1girl, beach, halo"
    assert details.caption("halo", written, front, cropped=False) == "mirael, 1girl, halo, beach"
    assert details.caption("halo", written, front, cropped=True) == "mirael, 1girl, halo"


@settings(max_examples=80)
@given(st.data())
def test_a_crop_holds_its_box_and_stays_inside(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(2, 400)), data.draw(st.integers(2, 400))
    left, upper = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, lower = (
        data.draw(st.integers(left + 1, width)),
        data.draw(st.integers(upper + 1, height)),
    )
    x0, y0, x1, y1 = details.around((left, upper, right, lower), (width, height))
    assert 0 <= x0 <= left < right <= x1 <= width
    assert 0 <= y0 <= upper < lower <= y1 <= height


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.png,halo,1,2,three,4", "line 2: 1, 2, three, 4 are not four numbers"),
        ("a.png,halo,1,2,,4", "line 2: 1, 2, , 4 are not four numbers"),
        ("a.png,halo,1,2,nan,4", "line 2: 1, 2, nan, 4 are not four numbers"),
        ("a.png,halo,3,2,1,4", "line 2: the box 3, 2, 1, 4 is empty"),
        ("a.png,halo,-3,2,1,4", "none below 0"),
        ("a.png,halo,1,2,3,4\na.png,Halo,1,2,3,4", "line 3: a.png has a second box for Halo"),
    ],
)
def test_a_line_that_is_no_box_is_one_sentence(tmp_path, line: str, words: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"{','.join(details.BOX_COLUMNS)}\n{line}\n")
    with pytest.raises(BakeryError, match=words):
        details.read_boxes(path)


def test_boxes_are_found_by_any_spelling(tmp_path) -> None:
    path = tmp_path / "boxes.csv"
    rows = [dict(zip(details.BOX_COLUMNS, ("a.png", "Pink_Hair", 1, 2, 3.4, 4), strict=True))]
    tables.write(path, rows, details.BOX_COLUMNS)
    assert details.read_boxes(path) == {("a.png", "pink hair"): (1, 2, 3, 4)}
    assert details.read_boxes(None) == {}
    path.write_text(f"{','.join(details.BOX_COLUMNS)}\na.png,halo,,,,\n")
    assert details.read_boxes(path) == {("a.png", "halo"): None}
    path.write_text("image,tag\n")
    with pytest.raises(BakeryError, match="no column 'left'"):
        details.read_boxes(path)
