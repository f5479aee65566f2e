"""The second look: what the tagger sees of pictures without booru tags, by the filter's rules."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.dataset import checks, decisions, second_look
from bakery.dataset.checks import Candidate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.filter import Filter
from bakery.sources.posts import Post
from bakery.tags import content, tagging

GENERAL = "general"


def tagged(
    folder: Path, pictures: dict[str, dict[str, float]], **categories: str
) -> tagging.Tagging:
    """What the tag stage leaves; `categories` of the tags that are not general."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"image": image, "tag": tag, "category": categories.get(tag, GENERAL), "probability": share}
        for image, tags in pictures.items()
        for tag, share in tags.items()
    ]
    tables.write(folder / "tags.csv", rows, tagging.COLUMNS)
    tables.write(folder / "vocabulary.csv", [], tagging.VOCABULARY)
    (folder / "tagger.json").write_text(json.dumps({"model": "t", "unreadable": {}}))
    return tagging.read_tags(folder)


def looked(folder: Path, tags: dict[str, float], least: float | None = 0.5, **options):
    """The judgement about one picture without booru tags; `options` are the filter's."""
    candidates = [Candidate(Post(image="a.png"), size=(9, 9))]
    second_look.leave_open(Filter(**options), candidates, folder)
    return second_look.look(folder, tagged(folder / "tag", {"a.png": tags}), ["a.png"], least)


# --- what is left open --------------------------------------------------------------------------


def left_open(folder: Path, *candidates: Candidate, **options) -> dict:
    count = second_look.leave_open(Filter(**options), candidates, folder)
    path = folder / second_look.NAME
    told = json.loads(path.read_text()) if path.is_file() else {"images": []}
    assert count == len(told["images"])
    return told


def test_pictures_without_booru_tags_are_left_open(tmp_path):
    plain, dropped, included = (
        Candidate(Post(image=f"{name}.png"), size=(9, 9))
        for name in ("plain", "dropped", "included")
    )
    dropped.reasons, included.by_hand = ["blurry"], "include"
    booru = Candidate(Post(image="booru.png", tags_general="1girl smile"), size=(9, 9))
    told = left_open(tmp_path, plain, dropped, included, booru)
    assert told["images"] == ["plain.png"]
    assert told["reasons"] == ["extra_character", "monochrome", "text_heavy", "ai_generated"]


def test_what_is_switched_off_is_not_asked(tmp_path):
    plain = Candidate(Post(image="a.png"), size=(9, 9))
    told = left_open(tmp_path, plain, extra_characters=False, unwanted_tags=("cosplay",))
    assert told["reasons"] == ["unwanted_tag", "monochrome", "text_heavy", "ai_generated"]
    assert told["unwanted_tags"] == ["cosplay"]
    off = dict.fromkeys(("extra_characters", "monochrome", "text_heavy", "ai_generated"), False)
    assert left_open(tmp_path / "off", plain, **off) == {"images": []}
    assert left_open(tmp_path / "off") == {"images": []}


@pytest.mark.parametrize(
    ("fields", "is_tagged"),
    [
        ({}, False),
        ({"tags_general": "sylvie blue_dress smile"}, False),
        ({"tags_general": "a_picture_of_two_girls,"}, False),
        ({"tags_artist": "somebody", "tags_copyright": "original"}, False),
        ({"tags_general": "sylvie 1girl blue_dress"}, True),
        ({"tags_general": "Solo"}, True),
        ({"tags_general": "6+girls"}, True),
        ({"tags_general": "multiple_boys"}, True),
        ({"tags_general": "scenery no_humans"}, True),
        ({"tags_character": "sylvie"}, True),
        ({"tags_meta": "highres"}, True),
    ],
)
def test_a_caption_of_ones_own_is_no_booru_tags(fields, is_tagged):
    assert content.is_tagged(Post(**fields)) == is_tagged


# --- what the tagger's tags mean ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "reasons", "probability", "deciding"),
    [
        ({"2girls": 0.9, "smile": 0.99}, ("extra_character",), 0.9, ("2girls",)),
        ({"multiple girls": 0.8, "2girls": 0.6}, ("extra_character",), 0.8, ("multiple girls",)),
        ({"1girl": 0.9, "1boy": 0.7}, ("extra_character",), 0.7, ("1boy",)),
        ({"1girl": 0.99, "solo": 0.9, "multiple views": 0.8}, ("extra_character",), 0.8,
         ("multiple views",)),
        ({"comic": 0.9, "speech bubble": 0.6, "greyscale": 0.7},
         ("extra_character", "monochrome", "text_heavy"), 0.9, ("comic", "greyscale", "speech bubble")),
        ({"english text": 0.9, "watermark": 0.8, "dated": 0.7}, ("text_heavy",), 0.7, ("dated",)),
        ({"sketch": 0.5}, ("monochrome",), 0.5, ("sketch",)),
        ({"sketch": 0.49}, (), 0.49, ("sketch",)),
        ({"english text": 0.99, "watermark": 0.9}, (), 0, ()),
        ({"1girl": 0.99, "solo": 0.99, "smile": 0.9}, (), 0, ()),
        ({}, (), 0, ()),
    ],
)  # fmt: skip
def test_reasons_are_the_filters(tmp_path, tags, reasons, probability, deciding):
    (one,) = looked(tmp_path, tags)
    assert (one.reasons, one.probability, one.tags) == (reasons, probability, deciding)
    assert one.kept == (not reasons)


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"1girl": 0.6, "1boy": 0.55, "solo": 0.9}, True),  # one person of whom it is unsure
        ({"1girl": 0.6, "1boy": 0.55, "solo": 0.5}, False),
        ({"2girls": 0.6, "1girl": 0.7, "solo": 0.8}, True),
        ({"2girls": 0.8, "solo": 0.6}, False),
        ({"4koma": 0.7, "solo": 0.95}, False),  # one character, but several times
    ],
)
def test_a_surer_solo_denies_a_second_person(tmp_path, tags, kept):
    (one,) = looked(tmp_path, tags)
    assert one.kept == kept


def test_unwanted_tags_are_found_by_their_patterns(tmp_path):
    (one,) = looked(tmp_path, {"holding sword": 0.7}, unwanted_tags=("holding_*",))
    assert one.reasons == ("unwanted_tag",)
    (one,) = looked(tmp_path, {"holding sword": 0.7}, unwanted_tags=("sword",))
    assert one.kept


def test_names_and_ratings_are_no_reasons(tmp_path):
    tags = {"saber": 0.95, "artoria": 0.95, "comic": 0.9}
    second_look.leave_open(Filter(), [Candidate(Post(image="a.png"), size=(9, 9))], tmp_path)
    seen = tagged(tmp_path / "tag", {"a.png": tags}, saber="character", artoria="character",
                  comic="rating")  # fmt: skip
    (one,) = second_look.look(tmp_path, seen, ["a.png"], 0.5)
    assert one.kept
    assert one.probability == 0


def test_the_threshold_is_a_setting_and_null_looks_at_nothing(tmp_path):
    assert not looked(tmp_path, {"comic": 0.3}, least=0.2)[0].kept
    assert looked(tmp_path, {"comic": 0.3}, least=0.35)[0].kept
    assert looked(tmp_path, {"comic": 0.9}, least=None) == []


def test_without_the_filters_file_nothing_is_looked_at(tmp_path):
    seen = tagged(tmp_path / "tag", {"a.png": {"comic": 0.9}})
    assert second_look.look(tmp_path, seen, ["a.png"], 0.5) == []


def test_only_the_pictures_that_are_left_are_looked_at(tmp_path):
    open_ = [Candidate(Post(image=f"{name}.png"), size=(9, 9)) for name in "ab"]
    second_look.leave_open(Filter(), open_, tmp_path)
    seen = tagged(tmp_path / "tag", {f"{name}.png": {"comic": 0.9} for name in "abc"})
    judged = second_look.look(tmp_path, seen, ["b.png", "c.png"], 0.5)
    assert [one.image for one in judged] == ["b.png"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"images": []}', '{"images": [], "reasons": ["beauty"], "unwanted_tags": []}'],
)
def test_a_broken_file_is_one_sentence(tmp_path, text):
    (tmp_path / second_look.NAME).write_text(text)
    with pytest.raises(BakeryError, match=r"untagged\.json does not say .* run the filter stage"):
        second_look.look(tmp_path, tagged(tmp_path / "tag", {}), [], 0.5)


NAMES = (
    "1girl",
    "1boy",
    "solo",
    "2girls",
    "comic",
    "sketch",
    "english text",
    "watermark",
    "dated",
    "hat",
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seen=st.dictionaries(st.sampled_from(NAMES), st.floats(0.05, 1)),
    one=st.floats(0.05, 1),
    other=st.floats(0.05, 1),
)
def test_a_stricter_threshold_never_drops_more(tmp_path_factory, seen, one, other):
    folder = tmp_path_factory.mktemp("look")
    lower, higher = sorted((one, other))
    loose, strict = (looked(folder, seen, least)[0] for least in (lower, higher))
    assert set(strict.reasons) <= set(loose.reasons)
    assert strict.probability == loose.probability
    assert loose.kept == (loose.probability < lower)


# --- what becomes of it -------------------------------------------------------------------------

JUDGED = [
    second_look.Judged(
        "a.png", ("extra_character", "text_heavy"), 0.912, ("comic", "speech bubble")
    ),
    second_look.Judged("b.png", (), 0.3, ("sketch",)),
    second_look.Judged("c.png", ("extra_character",), 0.6, ("2girls",)),
]


def test_the_dropped_ones_are_on_record(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        left = second_look.leave_out(JUDGED, ["a.png", "b.png", "c.png", "d.png"], tmp_path)
    assert left == ["b.png", "d.png"]
    assert "2 of 3 pictures without booru tags are left out" in caplog.text
    assert "(extra_character 2, text_heavy 1)" in caplog.text
    table = tables.read(tmp_path / decisions.SECOND_LOOK, second_look.COLUMNS)
    assert tables.records(table)[0] == {
        "image": "a.png", "kept": "false", "reasons": "extra_character;text_heavy",
        "probability": "0.9120", "tags": "comic; speech bubble",
    }  # fmt: skip
    assert decisions.dropped_later(tmp_path) == {
        "a.png": ["extra_character", "text_heavy"], "c.png": ["extra_character"],
    }  # fmt: skip
    assert second_look.summary(JUDGED) == {"second_look": {
        "images": 3, "dropped": 2, "reasons": {"extra_character": 2, "text_heavy": 1},
    }}  # fmt: skip


def test_without_such_pictures_there_is_no_trace(tmp_path):
    assert second_look.leave_out([], ["a.png"], tmp_path) == ["a.png"]
    assert not list(tmp_path.iterdir())
    assert second_look.summary([]) == {}
    assert decisions.dropped_later(tmp_path) == {}


def test_when_nothing_is_left_it_says_what_to_change(tmp_path):
    with pytest.raises(
        BakeryError,
        match=r"against all of the 2 pictures \(extra_character 2, text_heavy 1; see second_look\.csv"
        r"\): set filter\.extra_characters: false or filter\.text_heavy: false, raise prune\.",
    ):
        second_look.leave_out(JUDGED, ["a.png", "c.png"], tmp_path)
    assert (tmp_path / decisions.SECOND_LOOK).is_file()


def test_every_check_by_tags_is_judged_again():
    """A check that reads nothing but tags must say by which, or it does nothing for plain folders."""
    named = {check.reason for check in checks.CHECKS if check.by_tags} | {second_look.UNWANTED}
    tags = "2girls sketch text_focus novelai cosplay"
    post, options = Post(tags_general=tags), {"unwanted_tags": ("cosplay",)}
    by_tags = {
        check.reason
        for check in checks.CHECKS
        if check.against(Filter(**options), Candidate(post, size=(99, 99)))
    }
    assert by_tags == named
    for check in checks.CHECKS:
        assert not check.by_tags or check.by_tags(tags.split())
        assert not check.by_tags or isinstance(getattr(Filter(), check.setting), bool)
