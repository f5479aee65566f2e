"""Reads the tag stage's results: each picture's tags, and how frequent tags usually are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from bakery.gate import gate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.tag import Thresholds
from bakery.tags import captions

COLUMNS = ("image", "tag", "category", "probability")
VOCABULARY = ("tag", "category", "count")


@dataclass(frozen=True)
class Vocabulary:
    """The tagger's own list: every tag it knows, and on how many pictures it learnt each."""

    categories: Mapping[str, str]
    counts: Mapping[str, int]
    """Empty if the list has no counts."""
    pictures: int
    """Pictures the tagger learnt from: each has exactly one rating, so the ratings' counts add up to
    it. 0 when there are none to add."""

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return {captions.same(tag): tag for tag in self.categories}

    def find(self, tag: str) -> str | None:
        """The vocabulary's spelling of `tag`, or None."""
        return self._spellings.get(captions.same(tag))

    def usual(self, tag: str) -> float:
        """Share (0..1) of the pictures of the booru that carry `tag`; NaN when that is not known."""
        known = self.find(tag)
        if known is None or not self.pictures or known not in self.counts:
            return math.nan
        return min(1.0, self.counts[known] / self.pictures)


@dataclass(frozen=True)
class Tagging:
    """Tags of the kept pictures with their probabilities; readers apply thresholds."""

    rows: pd.DataFrame
    """tags.csv (image, tag, category, probability), including rows below any threshold."""
    model: str
    """The tagger, as the config calls it."""
    unreadable: Mapping[str, str]
    """Kept pictures that could not be tagged -> why."""
    vocabulary: Vocabulary
    refused: frozenset[str] = frozenset()
    """Kept pictures that the gate refused by what the tagger sees."""

    def facts(self, limits: Thresholds) -> dict[str, gate.Facts]:
        """What the gate makes of each picture's tags; it believes them from `limits` on, or earlier."""
        least = {"general": limits.general, "character": limits.character}
        rows = self.rows[self.rows["probability"] >= min(*least.values(), *gate.BELIEVED.values())]
        return {
            str(image): gate.of_tagger(
                zip(mine["tag"], mine["category"], mine["probability"], strict=True), least
            )
            for image, mine in rows.groupby("image")
        }

    @property
    def ratings(self) -> pd.DataFrame:
        """Each picture's likeliest rating, a row (image, tag, category, probability) each."""
        rows = self.rows[self.rows["category"] == "rating"]
        likeliest = rows.sort_values("probability", ascending=False, kind="stable")
        return likeliest.drop_duplicates("image")

    def seen(self, limits: Thresholds) -> pd.DataFrame:
        """The rows at or above their category's threshold; of ratings, each picture's likeliest."""
        rating = self.rows["category"] == "rating"
        least = self.rows["category"].map(limits.of)
        tags = self.rows[~rating & (self.rows["probability"] >= least)]
        return pd.concat([tags, self.ratings])


def read_tags(folder: Path) -> Tagging:
    """The tag stage's folder. Raises `BakeryError` when a file is missing or not its own."""
    path = folder / "tags.csv"
    rows = tables.read(path, COLUMNS)
    rows["probability"] = tables.numbers(rows["probability"], path).astype(float)
    facts_path = folder / "tagger.json"
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        model, unreadable = str(facts["model"]), dict(facts["unreadable"])
        refused = frozenset(facts.get("refused", ()))
    except FileNotFoundError:
        raise BakeryError(f"{facts_path} does not exist: run the tag stage again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BakeryError(
            f"{facts_path} does not say which tagger it was ({problem!r}); "
            "delete its folder and run the tag stage again"
        ) from None
    return Tagging(rows, model, unreadable, _vocabulary(folder / "vocabulary.csv"), refused)


def _vocabulary(path: Path) -> Vocabulary:
    table = tables.read(path, VOCABULARY)
    counts = tables.numbers(table["count"], path)
    ratings = counts[table["category"] == "rating"].sum()
    known = counts.notna()
    return Vocabulary(
        dict(zip(table["tag"], table["category"], strict=True)),
        {tag: int(n) for tag, n in zip(table.loc[known, "tag"], counts[known], strict=True)},
        int(ratings),
    )
