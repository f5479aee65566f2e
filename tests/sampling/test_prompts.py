"""Prompts: derived by rule from captions and vocabulary, and crossed with the seeds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tagger import tiny_tagger

from bakery.gate import gate
from bakery.io.errors import BakeryError
from bakery.sampling import prompts
from bakery.settings import config as cfg
from bakery.settings.sample import Auto, Prompt, Sample
from bakery.tags import captions, tagger_list, vocabulary
from bakery.tags.trigger import Trigger

WORDS = {
    "1girl": 900, "pink hair": 80, "shirt": 500, "white shirt": 90, "blue shirt": 95, "jacket": 400,
    "red jacket": 60, "dress": 300, "wet shirt": 999, "beach": 70, "forest": 75, "snow": 60,
    "indoors": 800, "smile": 700, "sad": 40, "angry": 45, "swimsuit": 999,
}  # fmt: skip
TEXTS = [
    "mirael, 1girl, red jacket, jacket, shirt, snow, smile",
    "mirael, 1girl, red jacket, jacket, shirt, beach, smile",
    "mirael, 1girl, red jacket, jacket, smile",
    "mirael, 1girl, dress, forest, sad",
]


def derived(own: tuple[str, ...] = ("mirael", "1girl"), **wanted: int) -> dict[str, str]:
    found, _ = prompts.derive(Auto(**wanted), TEXTS, WORDS, own)
    return {entry.prompt.id: entry.prompt.prompt for entry in found}


def test_what_the_captions_say_least_is_asked() -> None:
    assert derived(flexibility=3, bleed=1) == {
        "trigger": "{trigger}",
        "white": "{trigger}, simple background, white background",
        # never said: blue shirt before white shirt, which the tagger met less; of the places all
        # are said once: the one that the tagger met most
        "forest": "{trigger}, blue shirt, shirt, forest, angry",
        "beach": "{trigger}, dress, beach, sad",  # said once
        "snow": "{trigger}, jacket, snow, smile",  # said three times, as red jacket is: met more
        "recreate": "{trigger}, jacket, red jacket, shirt",
        "forest-bleed": "{class_tokens}, blue shirt, shirt, forest, angry",
    }


def test_the_reasons_are_on_record() -> None:
    found, lacking = prompts.derive(Auto(), TEXTS, WORDS, ["mirael"])
    reasons = {entry.prompt.id: entry.why for entry in found}
    assert reasons["forest"] == (
        "blue shirt (on 0 of 4 training pictures), forest (on 1 of 4 training pictures), "
        "angry (on 0 of 4 training pictures)"
    )
    assert reasons["recreate"] == "jacket is on 3 of 4 training pictures"
    assert reasons["forest-bleed"] == "forest without the trigger"
    assert lacking == []


def test_what_the_trigger_absorbed_is_not_asked() -> None:
    texts = ["mirael, 1girl, snow"]
    given_prompts = Sample(auto=Auto(flexibility=1))
    trigger = Trigger("mirael", "1girl", ("blue shirt", "white shirt", "shirt", "forest"))
    found, _ = prompts.resolve(given_prompts, texts, WORDS, trigger)
    (asked,) = [e.prompt.prompt for e in found if e.prompt.purpose == "flexibility"]
    assert asked == "{trigger}, jacket, beach, smile"


def test_a_second_outfit_is_looked_for_on_the_other_pictures() -> None:
    found = derived(recreate=3)
    assert found["recreate2"] == "{trigger}, dress"
    assert "recreate3" not in found  # no picture is left


def test_what_cannot_be_derived_is_said() -> None:
    found, lacking = prompts.derive(Auto(), ["mirael, smile"], {"smile": 5, "horns": 3}, ["mirael"])
    assert [e.prompt.prompt for e in found if e.prompt.purpose == "flexibility"] == [
        "{trigger}, smile"
    ]  # four would be four times the same
    assert len({e.prompt.id for e in found}) == len(found)
    assert lacking == [
        "the tagger knows no outfit that a prompt could ask, so none is asked",
        "the tagger knows no scene that a prompt could ask, so none is asked",
        "no caption names an outfit that a prompt could ask, so there is no recreate prompt",
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(sorted(WORDS)), max_size=6), max_size=8),
    st.randoms(use_true_random=False),
    st.integers(0, 6),
)
def test_prompts_depend_on_the_set_alone_and_ask_only_what_may_be_asked(
    said: list[list[str]], random, number: int
) -> None:
    texts = [captions.join(["mirael", *dict.fromkeys(tags)]) for tags in said]
    words = list(WORDS.items())
    wanted = Auto(flexibility=number)
    found, _ = prompts.derive(wanted, texts, WORDS, ["mirael"])
    random.shuffle(texts)
    random.shuffle(words)
    again, _ = prompts.derive(wanted, texts, dict(words), ["mirael"])
    assert found == again
    flexible = [e.prompt for e in found if e.prompt.purpose == "flexibility"]
    assert len({prompt.prompt for prompt in flexible}) == len(flexible)
    assert min(number, 1) <= len(flexible) <= number
    for prompt in flexible:
        asked = [tag for tag in captions.split(prompt.prompt) if tag != "{trigger}"]
        assert asked
        assert all(vocabulary.askable(tag) for tag in asked)


EVERY = sorted(vocabulary.table().entries)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(EVERY), max_size=12), min_size=1, max_size=6),
    st.integers(0, 39),
)
def test_whatever_is_said_nothing_but_what_may_be_asked_is_asked(
    said: list[list[str]], first: int
) -> None:
    """Captions say anything at all, and the tagger knows that and each fortieth tag of the table."""
    said = [[tag for tag in dict.fromkeys(tags) if "," not in tag] for tags in said]
    texts = [captions.join(["mirael", *tags]) for tags in said]
    words = dict.fromkeys([*EVERY[first::40], *itertools.chain(*said)], 1)
    found, _ = prompts.derive(Auto(flexibility=6, recreate=3), texts, words, ["mirael"])
    for entry in found:
        asked = [t for t in captions.split(entry.prompt.prompt) if not t.startswith("{")]
        assert not gate.of_text(entry.prompt.prompt).adult
        if entry.prompt.purpose != "identity":
            assert all(map(vocabulary.askable, asked)), asked


def test_cells_cross_prompts_and_seeds() -> None:
    asked = [
        Prompt(id="a", prompt="{trigger}", purpose="identity"),
        Prompt(id="b", prompt="{trigger}, Blue_Shirt, ;d", purpose="flexibility"),
        Prompt(id="b-base", prompt="{trigger}, hat", purpose="recreate", seeds=1),
        Prompt(id="c", prompt="{class_tokens}, snow", purpose="bleed", seeds=1),
        Prompt(id="d", prompt="{trigger}, snow", purpose="flexibility"),
    ]
    cells = prompts.cells(asked, (5, 6), Trigger("mirael", "1girl"))
    assert [(c.prompt_id, c.purpose, c.prompt, c.asked, c.seed, c.reference) for c in cells] == [
        ("a", "identity", "mirael, 1girl", (), 5, ""),
        ("a", "identity", "mirael, 1girl", (), 6, ""),
        ("b", "flexibility", "mirael, 1girl, Blue_Shirt, ;d", ("Blue Shirt", ";d"), 5, "b-base2"),
        ("b", "flexibility", "mirael, 1girl, Blue_Shirt, ;d", ("Blue Shirt", ";d"), 6, "b-base2"),
        ("b-base", "recreate", "mirael, 1girl, hat", ("hat",), 5, ""),
        ("c", "bleed", "1girl, snow", ("snow",), 5, ""),
        ("d", "flexibility", "mirael, 1girl, snow", ("snow",), 5, "c"),
        ("d", "flexibility", "mirael, 1girl, snow", ("snow",), 6, "d-base"),
        # the name b-base is the user's
        ("b-base2", "base", "1girl, Blue_Shirt, ;d", ("Blue Shirt", ";d"), 5, ""),
        ("b-base2", "base", "1girl, Blue_Shirt, ;d", ("Blue Shirt", ";d"), 6, ""),
        ("d-base", "base", "1girl, snow", ("snow",), 6, ""),
    ]


def test_a_bleed_prompt_must_not_ask_for_the_trigger() -> None:
    raw = {"sample": {"prompts": [{"id": "a", "prompt": "{trigger}, snow", "purpose": "bleed"}]}}
    with pytest.raises(BakeryError, match="bleed prompt shows the LoRA without it"):
        cfg.load(raw)
    with pytest.raises(BakeryError, match="null derives them"):
        cfg.load({"sample": {"prompts": []}})


def test_the_vocabulary_has_general_tags_with_their_counts(tmp_path: Path) -> None:
    tags = ["pink hair", "null", "mirael (game)"]
    folder = tiny_tagger(tmp_path / "a", tags, categories={"mirael (game)": "character"})
    assert tagger_list.read_counts(folder) == {"pink hair": 1000, "null": 1000}
    path = folder / tagger_list.FILE
    path.write_text("name,category\nlong_hair,0\n^_^,0\ngeneral,9\n")
    assert tagger_list.read_counts(folder) == {"long hair": 0, "^_^": 0}
    path.write_text("name,category\ngeneral,9\n")
    with pytest.raises(BakeryError, match="has no general tag"):
        tagger_list.read_counts(folder)
