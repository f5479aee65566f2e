"""What pruning absorbs of real characters, against a baker's judgement of each of their tags.

Each tag of `judged_characters.csv` was judged by hand before any code had decided about it. `absorbed`
is what the character is: hair, eyes, ears, marks, build, kind of being, and what it wears in the hair
whatever it wears besides. `kept` is what prompts must be able to change: clothes, jewellery, things, and
the words for the kind of subject (1girl).
"""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from bakery.settings.prune import Prune
from bakery.tags import captions, evidence, outfits, pruning
from bakery.tags.tagging import Vocabulary

PICTURES, SHOWN = 20, 17

with Path(__file__).with_name("judged_characters.csv").open(encoding="utf-8", newline="") as table:
    JUDGED = {row["character"]: (row["absorbed"], row["kept"]) for row in csv.DictReader(table)}


def test_there_are_enough_characters_and_each_tag_is_judged_once() -> None:
    assert len(JUDGED) >= 40
    for absorbed, kept in JUDGED.values():
        tags = [*captions.split(absorbed), *captions.split(kept)]
        assert len(tags) == len(set(tags))


@pytest.mark.parametrize("name", JUDGED)
def test_exactly_what_the_character_is_gets_absorbed(name: str) -> None:
    """All tags on 17 of 20 pictures, all equally rare elsewhere: only their meaning decides."""
    absorbed, kept = map(captions.split, JUDGED[name])
    tags = [*absorbed, *kept]
    shown = {f"{n}.png": tags if n < SHOWN else ["1girl"] for n in range(PICTURES)}
    rows = [(i, tag, "general", 0.9) for i, mine in shown.items() for tag in mine]
    seen = pd.DataFrame(rows, columns=["image", "tag", "category", "probability"])
    usual = dict.fromkeys(tags, 100)
    tagger = Vocabulary(dict.fromkeys(tags, "general"), usual, 10_000)
    found = evidence.gather(seen, list(shown), tagger, outfits.find({}))
    decided = pruning.decide(Prune(), found, {})
    assert {one.evidence.tag for one in decided if one.action == "prune"} == set(absorbed)
