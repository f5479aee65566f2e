"""Topics: what is worn, where it is, what face is made; and what a prompt may ask."""

from __future__ import annotations

import pytest

from bakery.tags.topics import askable, garment, topic


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("red jacket", "outfit"),
        ("wet shirt", "outfit"),
        ("black thighhighs", "outfit"),
        ("witch hat", "outfit"),
        ("glasses", "outfit"),
        ("swimsuit", "outfit"),
        ("starry sky", "scene"),
        ("simple background", "scene"),
        ("yellow background", "scene"),
        ("outdoors", "scene"),
        ("smile", "expression"),
        ("closed eyes", "expression"),
        (":d", "expression"),
        ("blush", "expression"),
        ("pink hair", None),
        ("hair ribbon", None),  # a trait
        ("blue eyes", None),
        ("halo", None),
        ("1girl", None),
        ("solo", None),
    ],
)
def test_topics_of_tags(tag: str, expected: str | None) -> None:
    assert topic(tag) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("red jacket", "outfit"),
        ("plaid shirt", "outfit"),
        ("school uniform", "outfit"),
        ("beach", "scene"),
        ("sad", "expression"),
        ("wet shirt", None),
        ("torn dress", None),
        ("open jacket", None),
        ("see-through shirt", None),
        ("dress lift", None),
        ("swimsuit", None),
        ("skirt", None),  # a portrait does not show it
        ("white background", None),
        ("bed", None),
        ("pink hair", None),
    ],
)
def test_only_plain_and_harmless_things_are_asked(tag: str, expected: str | None) -> None:
    assert askable(tag) == expected


def test_a_garment_without_its_colour() -> None:
    assert garment("red jacket") == "jacket"
    assert garment("dark blue jacket") == ""
    assert garment("jacket") == ""
    assert garment("red hair") == ""
