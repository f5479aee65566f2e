"""A person's own captions go into training as they were written, with the trigger in front."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.sources.caption_grammar import parse
from bakery.tags import captions, own_captions
from bakery.tags.trigger import Trigger

HOSHI = Trigger("hoshi", "1girl", outfits={"hoshi gala": ("red dress",)})
PARK = "A girl with blue hair stands in a park, smiling at the viewer."


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("hoshi, 1girl, smile, pink hair", "hoshi, 1girl, smile, pink hair"),
        ("smile, Hoshi, solo", "hoshi, 1girl, smile, solo"),
        ("smile, 1girl", "hoshi, 1girl, smile"),
        (PARK, f"hoshi, 1girl, {PARK}"),
        (f"1girl, smile, {PARK}", f"hoshi, 1girl, smile, {PARK}"),
        ("Hoshi stands in a park, smiling at the viewer.", None),
        ("A girl named hoshi stands in a park. smile, hat", None),
        ("A girl named hoshiko stands in a park.",
         "hoshi, 1girl, A girl named hoshiko stands in a park."),
        ("{trigger}, smile, a photo of {trigger} in a park",
         "hoshi, 1girl, smile, a photo of hoshi in a park"),
        ("hat, halo, smile", "hoshi, 1girl, hat, smile"),
        (f"halo, {PARK} She has a halo.", f"hoshi, 1girl, {PARK} She has a halo."),
        ("hoshi", "hoshi, 1girl"),
    ],
)  # fmt: skip
def test_kept_captions(written, kept):
    assert own_captions.keep(written, HOSHI, {"halo"}).text == (written if kept is None else kept)


def test_tags_for_the_evidence_leave_out_words_and_sentences():
    written = f"hoshi, hoshi gala, {{trigger}}, 1girl, Blue Hair, {PARK}"
    assert own_captions.tags(written, HOSHI) == ["1girl", "Blue Hair"]
    assert own_captions.named({"a": written, "b": "blue hair, blue_hair"}, HOSHI) == {
        "1girl": 1, "blue hair": 2,
    }  # fmt: skip


@given(st.lists(st.sampled_from(["1girl", "smile", "blue hair", ":d", ">_<", "hat (cap)", "solo"])))
def test_tags_are_kept_in_their_order_and_the_trigger_leads_once(tags):
    kept = own_captions.keep(parse(", ".join([*tags, "hoshi"])).text, HOSHI, set())
    assert captions.split(kept.text) == ["hoshi", "1girl", *(tag for tag in tags if tag != "1girl")]
    again = own_captions.keep(kept.text, HOSHI, set())
    assert again == kept
