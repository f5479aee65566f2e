"""What the tag stage wrote down, as later stages read it: the tags seen on each picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bakery import tables
from bakery.errors import BakeryError


@dataclass(frozen=True)
class Tagging:
    """Tags of the kept pictures, with the thresholds from which they count as seen."""

    rows: pd.DataFrame
    """tags.csv (image, tag, category, probability): also what is below the thresholds."""
    general_threshold: float
    character_threshold: float
    unreadable: dict[str, str]
    """Kept pictures that could not be tagged -> why."""

    def threshold(self, category: str) -> float:
        return self.character_threshold if category == "character" else self.general_threshold

    def seen(self) -> pd.DataFrame:
        """The rows at or above their category's threshold; of ratings, each picture's likeliest."""
        rating = self.rows["category"] == "rating"
        limits = self.rows["category"].map(self.threshold)
        tags = self.rows[~rating & (self.rows["probability"] >= limits)]
        likeliest = self.rows[rating].sort_values("probability", ascending=False, kind="stable")
        return pd.concat([tags, likeliest.drop_duplicates("image")])


def read(folder: Path) -> Tagging:
    """The tag stage's folder. Raises `BakeryError` when a file is missing or not its own."""
    path = folder / "tags.csv"
    rows = tables.read(path, ("image", "tag", "category", "probability"))
    rows["probability"] = tables.numbers(rows["probability"], path).astype(float)
    facts_path = folder / "tagger.json"
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        return Tagging(
            rows,
            float(facts["general_threshold"]),
            float(facts["character_threshold"]),
            dict(facts.get("unreadable", {})),
        )
    except FileNotFoundError:
        raise BakeryError(f"{facts_path} does not exist: run the tag stage again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BakeryError(
            f"{facts_path} does not hold the tagger's thresholds ({problem!r}); "
            "delete its folder and run the tag stage again"
        ) from None
