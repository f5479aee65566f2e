"""The vocabulary: its table, what is said of tags outside of it, and what a prompt may ask."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bakery.gate import gate
from bakery.io.errors import BakeryError
from bakery.tags import captions, tag_forms, vocabulary
from bakery.tags.tag_forms import Entry

TABLE = vocabulary.table()


def test_the_table_is_well_formed() -> None:
    assert len(TABLE.entries) > 8000
    for tag, entry in TABLE.entries.items():
        assert tag == captions.same(tag), "as captions spell it"
        assert entry.kind in vocabulary.KINDS[entry.topic], tag
        if entry.ask:
            assert (entry.topic, entry.kind) in {
                ("outfit", "garment"), ("scene", "place"), ("scene", "time"), ("expression", ""),
            }, tag  # fmt: skip
    for tag, wider in TABLE.implies.items():
        assert tag not in wider
        assert set(wider) <= set(TABLE.entries), tag


def test_the_table_is_sorted_for_review() -> None:
    topics = list(vocabulary.KINDS)
    order = [(topics.index(e.topic), e.kind, tag) for tag, e in TABLE.entries.items()]
    assert order == sorted(order)


def test_aliases_lead_to_the_table_and_hide_nothing_in_it() -> None:
    assert len(TABLE.aliases) > 1000
    for alias, tag in TABLE.aliases.items():
        assert alias == captions.same(alias)
        assert tag in TABLE.entries, alias
        assert alias not in TABLE.entries


def test_nothing_implies_itself_in_a_circle() -> None:
    everything = TABLE.entries.keys()
    for tag in everything:
        for wider in vocabulary.implied(tag, everything):
            assert tag not in vocabulary.implied(wider, everything), (tag, wider)


def test_reading_takes_a_moment() -> None:
    """A few times as long as the bare cells: some 15 ms."""
    lines = (vocabulary._HOME / "resources/vocabulary.csv").read_text("utf-8").splitlines()

    def seconds(read: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            read()
            times.append(time.process_time() - start)
        return min(times)

    bare = seconds(lambda: list(csv.reader(lines)))
    assert seconds(vocabulary.table.__wrapped__) < 12 * bare


def test_a_damaged_table_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(vocabulary, "_HOME", tmp_path)
    path = tmp_path / "resources" / "vocabulary.csv"
    path.parent.mkdir()
    path.write_text("tag,topic\n")
    with pytest.raises(BakeryError, match=r"vocabulary.csv does not begin with the columns tag"):
        vocabulary.table.__wrapped__()
    path.write_text("tag,topic,kind,ask,implies\nhalo,trait,halo,0,\nx, y,trait,halo,0,\n")
    with pytest.raises(BakeryError, match=r"line 3: 6 cells instead of 5; quote a tag"):
        vocabulary.table.__wrapped__()


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("red jacket", "outfit"), ("wet shirt", "outfit"), ("black thighhighs", "outfit"),
        ("witch hat", "outfit"), ("glasses", "outfit"), ("swimsuit", "outfit"),
        ("sleeveless", "outfit"), ("plaid", "outfit"), ("starry sky", "scene"),
        ("simple background", "scene"), ("yellow background", "scene"), ("outdoors", "scene"),
        ("smile", "expression"), ("closed eyes", "expression"), (":d", "expression"),
        ("blush", "expression"), ("pink hair", "trait"), ("hair ribbon", "trait"),
        ("blue eyes", "trait"), ("halo", "trait"), ("horse girl", "trait"), ("albino", "trait"),
        ("1girl", "people"), ("solo", "people"), ("child", "people"), ("loli", "sexual"),
        ("panties", "sexual"), ("sword", "object"), ("holding sword", "action"),
        ("upper body", "framing"), ("chibi", "style"), ("watermark", "meta"),
    ],
)  # fmt: skip
def test_topics_of_tags(tag: str, expected: str) -> None:
    assert vocabulary.of(tag).topic == expected
    assert vocabulary.listed(tag)


@pytest.mark.parametrize(
    ("alias", "tag"),
    [
        ("bunny_ears", "rabbit ears"), ("Silver Hair", "grey hair"), ("catgirl", "cat girl"),
        ("lab coat", "labcoat"), ("hand on own hip", "hand on hip"), ("sailor uniform", "serafuku"),
        ("stockings", "thighhighs"), ("grayscale", "greyscale"), ("2girl", "2girls"),
    ],
)  # fmt: skip
def test_other_names_mean_the_same(alias: str, tag: str) -> None:
    assert vocabulary.of(alias) == TABLE.entries[tag]
    assert vocabulary.implied(alias, {tag}) == {tag}


@pytest.mark.parametrize(
    ("tag", "topic", "kind"),
    [
        ("teal jacket", "outfit", "garment"), ("lilac long hair", "trait", "hair"),
        ("tardigrade ears", "trait", "ears"), ("scar on elbow", "trait", "mark"),
        ("hair over ear", "trait", "hair"), ("otter print", "outfit", "pattern"),
        ("bandaged knee", "outfit", "accessory"), ("no bracelet", "outfit", "cut"),
        ("no horns", "style", ""), ("hamster hair ornament", "trait", "ornament"),
        ("holding trowel", "action", ""), ("unworn cape", "object", ""), ("gold theme", "style", ""),
        ("in bathtub", "pose", ""), ("teal background", "scene", "background"),
        ("spoken lightbulb", "expression", ""), ("welsh text", "meta", "text"),
        ("somebody (cosplay)", "outfit", "garment"),
        ("monkey girl", "trait", "species"), ("teal thong", "sexual", ""),
        ("underwear on floor", "sexual", ""), ("12girls", "people", "several"),
        ("nobody's word", "", ""), ("mirael", "", ""),
    ],
)  # fmt: skip
def test_the_form_speaks_for_tags_outside_the_table(tag: str, topic: str, kind: str) -> None:
    assert not vocabulary.listed(tag)
    assert vocabulary.of(tag) == Entry(topic, kind, vocabulary.of(tag).ask)


def test_the_form_is_right_about_most_of_the_table() -> None:
    """Each tag of several words judged as if it were not listed: how good the rules are."""
    right = wrong = 0
    for tag, entry in TABLE.entries.items():
        if " " in tag:
            rest = {k: TABLE.entries[k] for k in _endings(tag) if k in TABLE.entries}
            topic = tag_forms.judge(tag, rest, TABLE.sexual).topic
            right += topic == entry.topic
            wrong += topic not in ("", entry.topic)
    assert right > 8 * wrong


def _endings(tag: str) -> list[str]:
    words = tag.split(" ")
    ends = [" ".join(words[place:]) for place in range(1, len(words))]
    return [*ends, f"{words[0]} ears", tag.partition(" (")[0]]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("red jacket", "outfit"), ("plaid shirt", "outfit"), ("teal sweater", "outfit"),
        ("school uniform", "outfit"), ("beach", "scene"), ("sad", "expression"),
        ("wet shirt", None), ("torn dress", None), ("open jacket", None), ("see-through shirt", None),
        ("dress lift", None), ("swimsuit", None), ("red swimsuit", None), ("white leotard", None),
        ("skirt", None), ("white background", None), ("bed", None), ("pink hair", None),
        ("wet teal jacket", None), ("teal wet jacket", None), ("red", None), ("", None),
    ],
)  # fmt: skip
def test_only_plain_and_harmless_things_are_asked(tag: str, expected: str | None) -> None:
    assert vocabulary.askable(tag) == expected


def test_a_garment_without_its_colour() -> None:
    assert vocabulary.plain("red jacket") == "jacket"
    assert vocabulary.plain("dark blue jacket") == "jacket"
    assert vocabulary.plain("polka dot dress") == "dress"
    assert vocabulary.plain("jacket") == ""
    assert vocabulary.plain("red hair") == ""
    assert vocabulary.plain("red bikini") == ""


def test_nothing_asked_is_sexual_or_about_children() -> None:
    """Over the whole table and the aliases, by the gate's own words."""
    for tag in [*TABLE.entries, *TABLE.aliases]:
        facts = gate.of_text(tag)
        if facts.adult or facts.named or facts.minor:
            assert not vocabulary.askable(tag), tag
        if facts.named:
            assert vocabulary.of(tag).topic in ("sexual", "people"), tag


WORDS = sorted({word for tag in TABLE.entries for word in tag.split(" ")})
ODD = st.sampled_from(["see-through", "torn", "micro", "wet", "naked", "open", "unbuttoned", "no"])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), ODD), min_size=1, max_size=4))
@example(["micro", "dress"])
@example(["red", "dress", "lift"])
@example(["plaid", "bikini"])
def test_of_made_up_tags_only_plain_garments_are_asked(words: list[str]) -> None:
    """Whatever is put together: what is asked is listed as such, or a colour before what is listed."""
    tag = " ".join(words)
    if not vocabulary.askable(tag):
        return
    if not vocabulary.listed(tag):
        rest = vocabulary.plain(tag)
        assert TABLE.entries[rest].ask
        assert set(tag.removesuffix(rest).split()) <= tag_forms.PLAIN_WORDS
    assert not gate.of_text(tag).adult


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_has_an_entry(text: str) -> None:
    entry = vocabulary.of(text)
    assert entry.topic == "" or entry.kind in vocabulary.KINDS[entry.topic]
    vocabulary.implied(text, TABLE.entries)
