"""The trigger: one record, one file, one way to put it in front."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.io.errors import BakeryError
from bakery.settings.prune import Prune
from bakery.settings.tag import Thresholds
from bakery.tags import captions, trigger
from bakery.tags.trigger import Trigger

WHOLE = Trigger(
    "mirael",
    "1girl, solo",
    pruned=("pink hair", "halo"),
    traits=("pink hair",),
    outfits={"mirael gala": ("red dress", "tiara")},
    thresholds=Thresholds(general=0.35, character=0.85),
)


def test_there_and_back(tmp_path):
    WHOLE.write(tmp_path)
    assert Trigger.read(tmp_path) == WHOLE
    assert list(json.loads((tmp_path / trigger.NAME).read_text())) == [
        "trigger", "class_tokens", "pruned", "traits", "outfits", "thresholds",
    ]  # fmt: skip


def test_the_config_says_it_until_the_prune_stage_has_run(tmp_path):
    said = Trigger.of(Prune(trigger="ada", class_tokens="1girl", outfits={"ada gala": ["tiara"]}))
    assert said == Trigger("ada", "1girl", outfits={"ada gala": ("tiara",)})
    with pytest.raises(ValueError, match="without thresholds"):
        said.write(tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        {"trigger": ...}, {"class_tokens": ...}, {"pruned": None}, {"pruned": "halo"}, {"traits": 3},
        {"outfits": []}, {"outfits": {"gala": "tiara"}}, {"thresholds": None},
        {"thresholds": {"general": 0.35}}, {"thresholds": {"general": "x", "character": 0.85}},
    ],
)  # fmt: skip
def test_a_broken_file_is_one_sentence(broken, tmp_path):
    WHOLE.write(tmp_path)
    path = tmp_path / trigger.NAME
    facts = json.loads(path.read_text()) | broken
    path.write_text(json.dumps({key: value for key, value in facts.items() if value is not ...}))
    with pytest.raises(
        BakeryError, match=r"trigger.json does not hold a trigger as .*: delete its"
    ):
        Trigger.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "3", "{"])
def test_a_file_of_something_else_is_the_same_sentence(text, tmp_path):
    (tmp_path / trigger.NAME).write_text(text)
    with pytest.raises(BakeryError, match=r"trigger.json does not hold a trigger"):
        Trigger.read(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(BakeryError, match=r"trigger.json does not exist: run the prune stage"):
        Trigger.read(tmp_path)


@pytest.mark.parametrize(
    ("caption", "fronted"),
    [
        ("", "mirael, 1girl, solo"),
        ("snow, smile", "mirael, 1girl, solo, snow, smile"),
        ("snow, 1Girl, Mirael", "mirael, 1girl, solo, snow"),
        ("mirael, 1girl, solo, snow", "mirael, 1girl, solo, snow"),
    ],
)
def test_the_front_is_said_once(caption, fronted):
    assert WHOLE.front(caption) == fronted


words = st.text("abc _", min_size=1).map(str.strip).filter(bool)


@given(words, st.lists(words), st.lists(words))
def test_what_is_in_front_once_stays_as_it_is(word, class_tokens, tags):
    called = Trigger(word, ", ".join(class_tokens))
    caption = called.front(captions.join(tags))
    assert called.front(caption) == caption
    assert caption.startswith(called.activation_text)
    assert {captions.same(t) for t in tags} <= {captions.same(t) for t in captions.split(caption)}


def test_class_tokens_follow_the_trigger():
    assert Trigger("mirael").activation_text == "mirael"
    assert Trigger("mirael", "1girl,solo").activation_text == "mirael, 1girl, solo"


ANIMA = ("quality", "rating", "class", "trigger", "series", "tags", "sentence")


@pytest.mark.parametrize(
    ("order", "text"),
    [(ANIMA, "1girl, solo, mirael"), (("trigger", "class", "tags"), "mirael, 1girl, solo"),
     (("trigger", "tags"), "mirael, 1girl, solo"), ((), "mirael, 1girl, solo")],
)  # fmt: skip
def test_prompts_follow_the_order_of_captions(order, text, tmp_path):
    settings = Prune(trigger="mirael", class_tokens="1girl, solo", caption_order=order)
    called = replace(Trigger.of(settings), thresholds=WHOLE.thresholds)
    assert called.activation_text == text
    assert called.call("{trigger}, snow") == f"{text}, snow"
    assert called.front("snow, mirael") == f"{text}, snow"
    assert called.bare(f"{text}, snow") == "1girl, solo, snow"
    called.write(tmp_path)
    assert ("class_first" in (tmp_path / trigger.NAME).read_text()) == (order == ANIMA)
    assert Trigger.read(tmp_path) == called
    assert settings.keyed({}) == ({"ordered_prompts": 1} if order == ANIMA else {})


def test_a_placeholder_that_is_empty_leaves_no_comma():
    assert Trigger("mirael").call("{class_tokens}, snow") == "snow"
    assert Trigger("mirael", "1girl").call("{class_tokens}, snow") == "1girl, snow"
    assert Trigger("mirael").call("{trigger}, snow") == "mirael, snow"


def test_a_prompt_without_the_trigger_keeps_its_class_tokens():
    assert Trigger("mirael", "1girl").bare("Mirael, 1girl, snow") == "1girl, snow"
