"""Prune's evidence and decisions on characters whose traits are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.settings.prune import Prune
from bakery.sources import posts
from bakery.tags import captions, evidence, outfits, pruning, vocabulary
from bakery.tags.tagging import Vocabulary
from world import avatar
from world.planting import CAST

NOBODY = Vocabulary({}, {}, 0)


def usual_tags(size: int = 3000) -> Vocabulary:
    """How often the world's tags usually are, counted on random looks."""
    rng = np.random.default_rng(11)
    counts: dict[str, int] = {}
    for _ in range(size):
        for tag in avatar.tags(avatar.random_look(rng, novel=True)):
            counts[tag] = counts.get(tag, 0) + 1
    categories = dict.fromkeys(counts, "general") | {"general": "rating"}
    return Vocabulary(categories, counts | {"general": size}, size)


USUAL = usual_tags()
HEADWEAR = (None, "halo", "horns", "cat ears", "hair bow", "hair flower")


def character(rng: np.random.Generator) -> dict:
    """What never changes: as CAST describes its characters."""
    boy = rng.random() < 0.25
    styles = avatar.BOY_STYLES if boy else (None, *avatar.GIRL_STYLES)
    fixed = {
        "gender": "1boy" if boy else "1girl",
        "hair_color": str(rng.choice(tuple(avatar.HAIR_COLORS))),
        "hair_length": "short hair" if boy else str(rng.choice(avatar.LENGTHS)),
        "hair_style": styles[rng.integers(len(styles))],
        "eye_color": str(rng.choice(tuple(avatar.EYE_COLORS))),
        "headwear": HEADWEAR[rng.integers(len(HEADWEAR))],
        "skin": str(rng.choice(tuple(avatar.SKINS))),
    }
    return fixed | ({"facial_hair": bool(rng.random() < 0.5)} if boy else {})


def traits_of(fixed: dict) -> set[str]:
    planted = {
        f"{fixed['hair_color']} hair", fixed["hair_length"], fixed["hair_style"],
        f"{fixed['eye_color']} eyes", fixed["headwear"],
        "dark skin" if fixed["skin"] == "dark" else None,
        "facial hair" if fixed.get("facial_hair") else None,
    }  # fmt: skip
    return {tag for tag in planted if tag and vocabulary.of(tag).trait}


def pictures(rng: np.random.Generator, fixed: dict, count: int, wardrobe: int, noise: float):
    """Image -> tags: what the looks say, some of it missed, some of it made up by a poor tagger.

    `wardrobe` 0: other clothes on every picture; else so many outfits, the last one rare.
    """
    dresses = tuple(g for g in avatar.GARMENTS if fixed["gender"] == "1girl" or g != "dress")
    closet = [(g, str(rng.choice(tuple(avatar.GARMENT_COLORS)))) for g in rng.permutation(dresses)]
    shares = np.array([1.0] * (wardrobe - 1) + [0.2]) if wardrobe else np.array([])
    world = sorted({tag for group in avatar.GROUPS.values() for tag in group})
    tagged = {}
    for number in range(count):
        worn = {}
        if wardrobe:
            pick = rng.choice(wardrobe, p=shares / shares.sum())
            worn = dict(zip(("garment", "garment_color"), closet[pick], strict=True))
            worn["scarf"] = bool(pick == 0)
        rare = {"eyes": str(rng.choice(tuple(avatar.EYES), p=(0.86, 0.07, 0.07))), "eyewear": None}
        look = avatar.random_look(rng, novel=True, **(fixed | rare | worn))
        seen = {tag for tag in avatar.tags(look) if rng.random() >= noise}
        tagged[f"{number:03}.png"] = seen | {
            str(t) for t in rng.choice(world, rng.poisson(noise * 10))
        }
    return tagged


def table(tagged: dict) -> pd.DataFrame:
    rows = [
        {"image": image, "tag": tag, "category": "general", "probability": 0.9}
        for image, tags in tagged.items()
        for tag in sorted(tags)
    ]
    return pd.DataFrame(rows, columns=["image", "tag", "category", "probability"])


def decide(tagged: dict, known: Vocabulary = USUAL, by_hand=None, **options):
    worn = outfits.find(tagged)
    found = evidence.gather(table(tagged), list(tagged), known, worn)
    decided = pruning.decide(Prune(**options), found, by_hand or {})
    return {one.evidence.tag: one for one in decided}


def pruned(decided: dict) -> set[str]:
    return {tag for tag, one in decided.items() if one.action == "prune"}


@pytest.mark.parametrize("name", CAST)
@pytest.mark.parametrize("wardrobe", [0, 3])
def test_the_cast_loses_exactly_its_planted_traits(name: str, wardrobe: int) -> None:
    rng = np.random.default_rng(3)
    fixed = {"facial_hair": False, **CAST[name]}  # free in CAST: a coin that shows 60% beards
    decided = decide(pictures(rng, fixed, 80, wardrobe, noise=0.03))
    assert pruned(decided) == traits_of(CAST[name])
    assert ("halo" in pruned(decided)) == (name == "mirael")


def test_a_beard_on_more_than_half_of_the_pictures_is_a_question_of_min_frequency() -> None:
    tagged = pictures(np.random.default_rng(3), CAST["torrin"], 80, 0, noise=0.03)
    assert pruned(decide(tagged)) == traits_of(CAST["torrin"]) | {"facial hair"}
    assert pruned(decide(tagged, min_frequency=0.75)) == traits_of(CAST["torrin"])


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2, 3]), st.sampled_from([0.0, 0.05, 0.15]))
def test_any_character_loses_exactly_its_planted_traits(
    seed: int, wardrobe: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    fixed = character(rng)
    decided = decide(pictures(rng, fixed, 90, wardrobe, noise))
    assert pruned(decided) == traits_of(fixed)
    for one in decided.values():
        assert one.reason
        assert not math.isnan(one.evidence.lift)


def test_what_is_worn_with_one_outfit_stays_its_word() -> None:
    """A bow on every picture of the outfit that most pictures show, and a trait that all show."""
    tagged = {
        f"{n}.png": {"pink hair", "1girl", "red dress", "dress", "hair bow"} for n in range(12)
    }
    tagged |= {f"{n}.png": {"pink hair", "1girl", "blue shirt", "shirt"} for n in range(12, 19)}
    decided = decide(tagged)
    assert pruned(decided) == {"pink hair"}
    bow = decided["hair bow"]
    assert bow.evidence.share > 0.5
    assert bow.evidence.outfit == "red dress"
    assert (bow.evidence.outfits, bow.evidence.of_outfits) == (1, 2)
    assert "with one outfit only (red dress): it is that outfit's word" in bow.reason
    assert decided["pink hair"].evidence.outfit == ""
    assert decided["blue shirt"].evidence.outfit == "blue shirt"
    assert pruned(decide(tagged, always=("hair bow",))) == {"pink hair", "hair bow"}


def test_a_rare_outfit_is_still_an_outfit() -> None:
    tagged = {f"{n}.png": {"halo", "red dress", "dress"} for n in range(96)}
    tagged |= {f"{n}.png": {"halo", "kimono", "obi", "hair flower"} for n in range(96, 100)}
    worn = outfits.find(tagged)
    assert [(one.label, len(one.images)) for one in worn] == [("red dress", 96), ("kimono, obi", 4)]
    decided = decide(tagged, NOBODY)
    assert decided["hair flower"].evidence.outfit == "kimono, obi"
    assert pruned(decided) == {"halo"}


def test_few_pictures_elsewhere_prove_nothing() -> None:
    """A trait that is often missed is not the main outfit's, for being missed on two others."""
    tagged = {f"{n}.png": {"dress"} | ({"tail"} if n % 5 < 3 else set()) for n in range(60)}
    tagged |= {f"{n}.png": {"coat"} for n in range(60, 63)}
    assert decide(tagged, NOBODY)["tail"].evidence.outfit == ""


def test_what_is_no_more_than_usual_says_nothing() -> None:
    known = Vocabulary(
        {"long hair": "general", "halo": "general"}, {"long hair": 700, "halo": 9}, 1000
    )
    tagged = {f"{n}.png": {"halo"} | ({"long hair"} if n < 6 else set()) for n in range(10)}
    decided = decide(tagged, known)
    assert pruned(decided) == {"halo"}
    assert "about its usual share: it says nothing" in decided["long hair"].reason
    assert pruned(decide(tagged, known, min_lift=0)) == {"halo", "long hair"}
    assert decided["halo"].evidence.lift == pytest.approx(1 / 0.009)
    assert "111 times its usual share" in decided["halo"].reason


def test_degrees_of_a_pruned_trait_go_with_it() -> None:
    tagged = {f"{n}.png": {"long hair", "animal ears", "hair ornament", "1girl"} for n in range(10)}
    for n in range(3):
        tagged[f"{n}.png"] |= {"very long hair", "absurdly long hair", "cat ears", "hair flower"}
    decided = decide(tagged, NOBODY)
    assert pruned(decided) == {
        "long hair", "very long hair", "absurdly long hair", "animal ears", "cat ears",
        "hair ornament",
    }  # fmt: skip
    assert "it says long hair more closely, and goes with it" in decided["very long hair"].reason
    assert decided["hair flower"].action == "keep"  # a thing of its own
    assert "cat ears" not in pruned(decide(tagged, NOBODY, never=("cat ears",)))
    assert decided["cat ears"].is_trait


def test_decisions_by_hand_overrule_everything() -> None:
    tagged = {f"{n}.png": {"halo", "pink hair", "smile"} for n in range(4)}
    decided = decide(tagged, NOBODY, {"halo": "keep", "smile": "prune"}, always=("halo",))
    assert pruned(decided) == {"pink hair", "smile"}
    assert decided["halo"].by == decided["smile"].by == "hand"
    assert decided["halo"].reason.startswith("decided by hand; otherwise: on 100%")
    assert not decided["halo"].is_trait
    assert decided["pink hair"].by == "rule"
    agreed = decide(tagged, NOBODY, {"halo": "prune"})["halo"]
    assert agreed.reason.startswith("decided by hand: on 100%")
    off = decide(tagged, NOBODY, {"halo": "keep", "smile": "prune"}, enabled=False)
    assert pruned(off) == set()
    assert {tag for tag, one in off.items() if one.is_trait} == {"pink hair"}


@pytest.mark.parametrize(
    ("tag", "wider"),
    [
        ("red jacket", {"jacket"}), ("very long hair", {"long hair"}), ("cat ears", {"animal ears"}),
        ("absurdly long hair", {"very long hair", "long hair"}), ("low twintails", {"twintails"}),
        ("fake animal ears", set()), ("no pants", set()), ("holding jacket", set()),
        ("unworn jacket", set()), ("jacket", set()), ("hairclip", {"hair ornament"}),
        ("short hair with long locks", set()), ("double bun", {"hair bun"}), ("fox tail", {"tail"}),
        ("wing collar", set()), ("hand on own tail", set()),
    ],
)  # fmt: skip
def test_what_a_tag_contains(tag: str, wider: set[str]) -> None:
    known = {
        "jacket", "long hair", "very long hair", "animal ears", "twintails", "pants", "tail",
        "hair ornament", "hair bun", "short hair",
    }  # fmt: skip
    assert vocabulary.implied(tag, known) == wider


@pytest.mark.parametrize(
    ("tag", "worn"),
    [
        ("red jacket", True), ("shirt", True), ("school uniform", True), ("thighhighs", True),
        ("no pants", False), ("holding shirt", False), ("beach", False), ("hair bow", False),
        ("dressing", False), ("long sleeves", False), ("unworn hat", False), ("glasses", True),
        ("plaid", False), ("hood down", False), ("swimsuit", True), ("necklace", True),
    ],
)  # fmt: skip
def test_what_is_a_garment(tag: str, worn: bool) -> None:
    assert outfits.garment(tag) == worn


WORN = st.sets(st.sampled_from(["shirt", "red shirt", "dress", "coat", "hat", "tree"]))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), WORN))
def test_outfits_are_groups_of_pictures_that_share_garments(tagged: dict) -> None:
    found = outfits.find(tagged)
    everyone = [image for one in found for image in one.images]
    assert len(everyone) == len(set(everyone))
    assert set(everyone) <= set(tagged)
    for one in found:
        assert len(one.images) >= outfits.FEWEST
        assert one.label
        assert all(outfits.garment(word) for word in one.label.split(", "))
    assert found == outfits.find(dict(reversed(tagged.items())))


def test_more_distinct_sets_than_are_clustered_join_the_nearest(monkeypatch) -> None:
    monkeypatch.setattr(outfits, "_MOST", 2)
    tagged = {f"a{n}": {"shirt", "red shirt"} for n in range(4)}
    tagged |= {f"b{n}": {"coat", "boots", "belt"} for n in range(4)}
    tagged |= {f"c{n}": {"coat", "boots"} for n in range(2)}
    assert [len(one.images) for one in outfits.find(tagged)] == [6, 4]


def test_booru_tags_are_sure_and_win() -> None:
    seen = pd.DataFrame(
        [
            ("a.png", "smile", "general", 0.4),
            ("a.png", "mirael", "general", 0.9),
            ("b.png", "beach", "general", 0.5),
        ],
        columns=["image", "tag", "category", "probability"],
    )
    lineage = [
        posts.Post(image="a.png", tags_general="smile >_<", tags_character="mirael"),
        posts.Post(image="", tags_general="snow"),
        posts.Post(image="b.png", tags_artist="someone", tags_meta="highres"),
    ]
    assert evidence.with_booru(seen, lineage, "tagger") is seen
    told = evidence.with_booru(seen, lineage, "booru")
    assert told[["image", "tag", "category", "probability"]].values.tolist() == [
        ["a.png", "smile", "general", 1.0],
        ["a.png", ">_<", "general", 1.0],
        ["a.png", "mirael", "character", 1.0],
    ]
    both = evidence.with_booru(seen, lineage, "union")
    assert both.values.tolist() == [*told.values.tolist(), ["b.png", "beach", "general", 0.5]]
    assert captions.same("Smile") in set(both["tag"])
