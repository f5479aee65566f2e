"""The gate: sexualised minors stay out, however and wherever it is written; innocent words stay in."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from gate_cases import ADULTS, INNOCENT, MINORS, NAMED, SHAPES, plain_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.gate import gate
from bakery.sources import folders, posts

PLAIN = ("1girl", "solo", "smile", "blue_eyes", "beach", "looking_at_viewer")

# What the gate drops of the 6,909 general tags of a WD v1.4 tagger.
WD_NAMED = {"loli", "shota", "onee-shota", "oppai_loli", "child_on_child", "onee-loli"}
WD_MINORS = {
    "aged_down", "child", "female_child", "male_child", "baby", "randoseru", "kindergarten_uniform",
    "age_regression", "baby_bottle", "tomoeda_elementary_school_uniform",
    "nanairogaoka_middle_school_uniform", "tokyo-3_middle_school_uniform",
}  # fmt: skip
# Tags of the same tagger that begin, end or sound alike, and ages and sizes that are no child's.
WD_STAY = (
    "lolita_fashion", "gothic_lolita", "wa_lolita", "lolita_hairband", "lollipop",
    "holding_lollipop", "swirl_lollipop", "cowboy_shot", "wide_shot", "very_wide_shot",
    "pantyshot", "shotgun", "shotgun_shell", "splattershot_(splatoon)",
    "partially_underwater_shot", "screenshot", "fake_screenshot", "cube", "ice_cube",
    "sugar_cube", "cube_hair_ornament", "minigirl", "miniboy", "tomboy", "magical_girl",
    "demon_girl", "monster_girl", "cat_girl", "catgirl", "girl_sandwich", "aged_up",
    "age_difference", "age_progression", "age_comparison", "old_woman", "sisters", "brothers",
    "mother_and_daughter", "mother_and_son", "father_and_daughter", "father_and_son",
    "brother_and_sister", "teacher_and_student", "school_uniform", "school_swimsuit",
    "old_school_swimsuit", "school_desk", "school_bag", "sakuragaoka_high_school_uniform",
    "kita_high_school_uniform", "a_certain_high_school_uniform", "meiji_schoolgirl_uniform",
    "tracen_school_uniform", "st._gloriana's_school_uniform", "school_hat", "child_drawing",
    "babydoll", "baby's-breath", "pacifier", "diaper", "pregnant", "small_breasts", "flat_chest",
    "petite", "little_red_riding_hood_(grimm)_(cosplay)", "mini_hat", "mini_crown", "miniskirt",
    "playboy_bunny", "bear_girl", "cute_&_girly_(idolmaster)", "multiple_girls", "1girl", "1boy",
    "6+girls", "game_boy", "cow_boy", "cowboy_hat",
)  # fmt: skip


@pytest.mark.parametrize("word", NAMED)
def test_named_in_any_spelling(word):
    assert gate.of_text(f"1girl, {word}, smile").refused
    assert gate.of_text(word).named


@pytest.mark.parametrize("word", MINORS)
def test_words_for_children_are_refused_only_beside_a_rating_or_sex(word):
    assert not gate.of_text(f"1girl, {word}").refused
    assert (gate.of_text(word) | gate.of_rating("e")).refused
    assert not (gate.of_text(word) | gate.of_rating("sensitive")).refused
    assert all(gate.of_text(f"1girl, {word}, {adult}").refused for adult in ADULTS)


@pytest.mark.parametrize("word", INNOCENT)
def test_innocent_words_stay_whatever_the_rating(word):
    assert gate.of_text(word) == gate.NOTHING
    assert not (gate.of_text(f"1girl, {word}, nude") | gate.of_rating("explicit")).refused


def test_the_tags_of_a_real_tagger():
    assert {tag for tag in WD_NAMED | WD_MINORS | {*WD_STAY} if gate.of_text(tag).named} == WD_NAMED
    found = {tag for tag in WD_MINORS | {*WD_STAY} if gate.of_text(tag).minor}
    assert found == WD_MINORS
    explicit = gate.of_rating("explicit")
    assert all((gate.of_text(tag) | explicit).refused for tag in WD_NAMED | WD_MINORS)
    assert len(WD_STAY) >= 75


def _pile(root, cases):
    """Writes every case (shape, tags, rating) beside a plain picture of its own; the pictures' posts."""
    for number, (shape, tags, rating) in enumerate(cases):
        picture = plain_picture(root / f"p{number:05}.png")
        SHAPES[shape](picture, list(tags), rating)
    found = folders.collect(root, root.parent / "unpacked")
    return {path.stem: post for post, path in found if path.suffix == ".png"}


def _refused(every, rng, number):
    """(shape, tags, rating) that must be refused, drawn from all combinations."""
    named = itertools.product(SHAPES, NAMED, [""])
    minors = itertools.product(SHAPES, MINORS, ADULTS)
    both = [*rng.sample(list(named), number // 2), *rng.sample(list(minors), number // 2)]
    return [(shape, (*rng.sample(PLAIN, 2), word), rating) for shape, word, rating in both]


@pytest.mark.slow
def test_none_of_many_combinations_comes_in(tmp_path):
    rng = random.Random(20)
    cases = _refused(SHAPES, rng, 2200)
    found = _pile(tmp_path, cases)
    through = [cases[int(stem[1:])] for stem, post in found.items() if post.status == posts.FETCHED]
    assert len(found) == len(cases) >= 2000
    assert through == []
    reasons = {post.reason for post in found.values()}
    assert reasons == {gate.FORBIDDEN}, "neither unreadable nor anything else: the gate itself"
    assert not any(post.tags() or post.url for post in found.values()), "not described"


@pytest.mark.slow
def test_as_many_innocent_ones_do(tmp_path):
    rng = random.Random(21)
    ratings = ["", "general", "g", "safe", "sensitive", "rating:general", "s"]
    every = list(itertools.product(SHAPES, INNOCENT, [*ratings, *ADULTS]))
    every += itertools.product(SHAPES, MINORS, ratings)
    cases = [(shape, (*rng.sample(PLAIN, 2), word), rating)
             for shape, word, rating in rng.sample(every, 2200)]  # fmt: skip
    found = _pile(tmp_path, cases)
    kept_out = {stem: post.reason for stem, post in found.items() if post.status != posts.FETCHED}
    assert {cases[int(stem[1:])]: why for stem, why in kept_out.items()} == {}


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([word for word in NAMED if word != "cub"]),
    st.lists(st.sampled_from(PLAIN), max_size=4),
    st.lists(st.sampled_from(PLAIN), max_size=4),
    st.sampled_from([", ", ",", "\n", "; ", " | ", ",  ", "、", "\r\n", "\t"]),
    st.sampled_from([str, str.upper, str.title]),
)
def test_wherever_it_stands_in_a_list(word, before, after, between, case):
    assert gate.of_text(between.join([*before, case(word), *after])).refused
    assert (gate.of_json({"post": [{"about": between.join([*before, word, *after])}]})).refused


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_to_the_end(text):
    gate.of_text(text)
    gate.of_rating(text)
    assert gate.of_text(f"{text}, loli").named or "loli" not in f"{text}, loli".split(", ")


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_json_of_any_shape_is_read(data):
    gate.of_json(data)
    assert gate.of_json({"tags": [data, "shota"]}).named


@pytest.mark.parametrize(
    ("rating", "above"),
    [
        ("g", False), ("general", False), ("safe", False), ("s", False), ("sensitive", False),
        ("", False), (None, False), ("q", True), ("e", True), ("Explicit", True), ("R-18", True),
        ("questionable", True), ("sketchy", True), ("unsafe", True), ("mature", True),
        (["safe", "explicit"], True), (["general"], False), ("4.5", False), (5, False),
        ({"general": 0.9, "explicit": 0.1}, False), ({"general": 0.1, "explicit": 0.9}, True),
        ("rating:safe", False), ("rating:explicit", True), ({"name": "explicit"}, True),
    ],
)  # fmt: skip
def test_ratings(rating, above):
    assert gate.of_rating(rating).adult == above
    assert gate.of_json({"tags": "child", "rating": rating}).refused == above


def test_the_worst_of_several_ratings_counts():
    assert gate.of_json({"tags": ["child", "rating:explicit"], "rating": "safe"}).refused
    assert gate.of_json({"tags": ["child"], "rating": "g", "nsfw": True}).refused
    assert gate.of_json({"tags": ["child"], "rating": "g", "x_restrict": 1}).refused
    assert not gate.of_json(
        {"tags": ["child"], "rating": "g", "nsfw": False, "x_restrict": 0}
    ).refused


@pytest.mark.parametrize(
    "data",
    [
        {"search_tags": "1girl -loli", "tags": "1girl"},
        {"negative_prompt": "loli, child", "rating": "explicit", "prompt": "1girl"},
        {"Comment": json.dumps({"prompt": "1girl", "uc": "loli, shota"})},
        {"v4_negative_prompt": {"caption": "loli"}, "prompt": "1girl"},
        {"parameters": "1girl, nude\nNegative prompt: loli, child,\nkid\nSteps: 20, Sampler: DDIM"},
        {"has_children": True, "children": [], "rating": "e", "tags": "1girl"},
        {"uploader": "child_of_light", "rating": "e", "tags": "1girl"},
        {"tags": {"1girl": 0.99, "loli": 0.02, "child": 0.1}, "rating": "explicit"},
        {"loli": 0.01, "1girl": 0.98},
        {"tags": {"loli": False, "1girl": True}},
        {"artist": "lolimura", "source": "https://example.com/childrens-hospital", "rating": "e"},
    ],
)
def test_what_is_not_said_of_the_picture_keeps_nothing_out(data):
    assert not gate.of_json(data).refused


@pytest.mark.parametrize(
    "data",
    [
        {"parameters": "1girl, loli\nNegative prompt: blurry\nSteps: 20"},
        {
            "parameters": "1girl\nNegative prompt: blurry, loli"
        },  # no infotext: a text like any other
        {"artist": "loli", "tags": "1girl"},
        {"file_url": "https://example.com/1girl%20loli%20123.jpg"},
        {"loli": 0.9},
        {"loli": True},
        {"pool": {"name": "shota"}},
        {"artist_commentary": {"original_description": "可愛いロリ"}},
        {"tags": [["general", "loli"]]},
    ],
)
def test_what_is_said_elsewhere_does(data):
    assert gate.of_json(data).refused


def _graph(positive: str, negative: str) -> dict:
    def text(words: str) -> dict:
        return {"class_type": "CLIPTextEncode", "inputs": {"text": words, "clip": ["4", 1]}}

    sampler = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "seed": 1}
    return {"3": {"class_type": "KSampler", "inputs": sampler}, "6": text(positive), "7": text(negative),
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.ckpt"}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}}  # fmt: skip


def test_of_a_graph_of_nodes_only_what_was_asked_counts():
    assert not gate.of_json({"prompt": json.dumps(_graph("1girl", "loli, child"))}).refused
    assert gate.of_json({"prompt": json.dumps(_graph("1girl, loli", "blurry"))}).refused


def test_a_tagger_is_believed_from_its_threshold_on():
    def seen(**tags):
        rows = [
            (tag, "general", p) for tag, p in tags.items() if tag not in ("general", "explicit")
        ]
        ratings = [(tag, "rating", tags[tag]) for tag in ("general", "explicit") if tag in tags]
        return [*rows, *ratings]

    assert gate.of_tagger(seen(loli=0.36)).refused
    assert not gate.of_tagger(seen(loli=0.02, child=0.3, nude=0.9)).refused
    assert gate.of_tagger(seen(loli=0.2), {"general": 0.15}).refused, "what goes into captions"
    assert gate.of_tagger(seen(loli=0.5), {"general": 1.0}).refused, "no threshold opens the gate"
    assert gate.of_tagger(seen(child=0.5, general=0.1, explicit=0.8)).refused
    assert not gate.of_tagger(seen(child=0.5, general=0.4, explicit=0.45)).refused, "not sure"
    assert gate.of_tagger(seen(child=0.5, nude=0.5, general=0.9)).refused


def test_a_name_that_stands_twice_hides_nothing():
    assert gate.of_note('{"tags": "loli", "tags": "1girl"}').refused
    assert gate.of_note('{"tags": "child", "rating": "e", "rating": "g"}').refused


def test_facts_add_up():
    child, nude = gate.of_text("child"), gate.of_text("nude")
    assert not child.refused
    assert not nude.refused
    assert (child | nude).refused


@given(st.integers(0, 60_000), st.integers(0, 60_000), st.sampled_from([", ", "\n", " ", "x"]))
@settings(max_examples=30, deadline=None)
def test_a_word_anywhere_in_a_long_text(before, after, between):
    unit = "smile" + between
    text = unit * (before // len(unit)) + " loli " + unit * (after // len(unit))
    assert gate.of_text(text).named
    assert not gate.of_text(text.replace(" loli ", " lolita fashion ")).named


@pytest.mark.parametrize(
    "text",
    ["%26%23108;oli", "＆＃１０８；ｏｌｉ", "&#10\u200b8;oli", "&\u2066#108;oli", "&#%3108;oli",
     "&amp;amp;#108;oli", "1girl_l*li", "_$hota_", "x_sh#ta"],
)  # fmt: skip
def test_one_disguise_below_another(text: str) -> None:
    assert gate.of_text(f"hat, {text}, smile").named
