"""The documents name everything that a config can choose from, as its record does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from bakery.dataset.checks import CHECKS, Check
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.sample import Sampler
from bakery.settings.train import OptimizerType

ROOT = Path(__file__).parents[1]
CURATING, INTEROP, CONFIG = (
    (ROOT / name).read_text("utf-8")
    for name in ("docs/curating.md", "docs/interop.md", "config/README.md")
)


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """First cell (in backticks) -> the others, of the tables of a section."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = (line.strip("| ").split(" | ") for line in section.splitlines() if line[:3] == "| `")
    return {first.strip("`"): rest for first, *rest in cells}


def test_every_filter_check_is_in_its_place() -> None:
    assert list(rows(CURATING, "Filter")) == [check.reason for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.reason)
def test_a_filter_check_is_described_as_it_is(check: Check) -> None:
    meaning, cure = rows(CURATING, "Filter")[check.reason]
    assert meaning == check.meaning
    assert cure.replace("`", "") == (check.cure or "nothing")
    if check.cure.startswith("filter."):
        name = check.cure.removeprefix("filter.").partition(":")[0]
        assert f"| `{name}` |" in CONFIG.split("\n## filter\n")[1].split("\n## ")[0]


def test_every_optimizer_is_described_as_it_is() -> None:
    told = {name: record.about for name, record in OPTIMIZERS.items()}
    assert rows(INTEROP, "Optimizers and samplers") == {n: [about] for n, about in told.items()}
    assert list(get_args(OptimizerType)) == list(OPTIMIZERS)
    assert all(f"`{name}`" in rows(CONFIG, "train")["optimizer_type"][0] for name in OPTIMIZERS)


def test_every_sampler_is_named() -> None:
    section = INTEROP.split("\n## Optimizers and samplers\n")[1].split("\n## ")[0]
    listed = re.findall(r"`([^`]+)`", section.partition("`sample.sampler` takes")[2])
    assert listed == list(get_args(Sampler))
    for name in get_args(Sampler):
        assert f"`{name}`" in rows(CONFIG, "sample")["sampler"][0]
