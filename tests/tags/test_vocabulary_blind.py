"""The table against labels that somebody else gave without having seen it."""

from __future__ import annotations

import csv
from pathlib import Path

from bakery.tags import vocabulary

LABELS = Path(__file__).with_name("blind_labels.csv")
LEAST = 0.95


def labels() -> list[dict[str, str]]:
    with LABELS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_topics_agree() -> None:
    rows = labels()
    assert len(rows) >= 300
    different = [
        (row["tag"], row["topic"], vocabulary.of(row["tag"]).topic)
        for row in rows
        if vocabulary.of(row["tag"]).topic != row["topic"]
    ]
    assert len(different) <= (1 - LEAST) * len(rows), different


def test_kinds_of_traits_and_outfits_agree() -> None:
    rows = [row for row in labels() if row["topic"] in ("trait", "outfit")]
    assert rows
    different = [
        (row["tag"], row["kind"], vocabulary.of(row["tag"]).kind)
        for row in rows
        if vocabulary.of(row["tag"])[:2] != (row["topic"], row["kind"])
    ]
    assert len(different) <= (1 - LEAST) * len(rows), different
