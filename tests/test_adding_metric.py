"""A metric more is a record and, where it costs something, a weight: all else follows from them."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMPUTE = '''
def _missed(inputs) -> np.ndarray:
    """(N,) 1 where a picture shows nothing of what was asked; NaN where nothing was."""
    seen = inputs.seen
    return np.where(seen.asked_count > 0, seen.found_count == 0, math.nan)


def _misses(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select("flexibility")
    return formulas.mean(draws.times, _missed(chosen)[at])


def _presence(chosen: PictureSet) -> np.ndarray:
    draws, at = chosen.select("identity")
    return formulas.mean(draws.times, chosen.seen.found_count[at] / 10)


'''
RECORDS = """    Metric(
        name="misses",
        heading="Misses",
        meaning="pictures that show nothing of what was asked",
        formula="share of the flexibility pictures on which no asked tag is found",
        good=0,
        compute=_misses,
        cost="misses_weight",
        by_weight=True,
        chart="Pictures that disregard the whole prompt. Lower is better.",
        headline=True,
        against=("prompts",),
        columns=(
            PictureColumn(
                "missed", _missed, lambda m, rows: float(_missed(m)[rows].mean()), whole=True
            ),
        ),
        remark=Remark(
            0.4,
            lambda value, tags: f"It disregards {value:.0%} of the prompts.",
            lambda value, tags: "disregards more prompts",
        ),
    ),
    Metric(
        name="presence",
        heading="Presence",
        meaning="how many traits come together",
        formula="mean number of traits on identity pictures / 10",
        compute=_presence,
        interval=False,
    ),
"""
WEIGHT = '''    misses_weight: Annotated[float, Field(ge=0)] = 0.2
    """How much misses cost in the trade-off."""
'''


def insert(path: Path, before: str, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    assert old.count(before) == 1, before
    path.write_text(old.replace(before, text + before), encoding="utf-8")


def add_metric(scripts: Path) -> None:
    metrics = scripts / "bakery" / "scoring" / "metrics.py"
    insert(metrics, "METRICS = (\n", COMPUTE)
    insert(metrics, '    Metric(\n        name="drift",\n', RECORDS)
    insert(scripts / "bakery" / "settings" / "score.py", "    embedding_model:", WEIGHT)


@dataclass(frozen=True)
class Scored:
    """What score and compare wrote, before and after the metrics were added."""

    folder: Path
    scripts: Path
    bare: Path

    def table(self, name: str, folder: Path | None = None) -> pd.DataFrame:
        return pd.read_csv((folder or self.folder) / name)

    @property
    def html(self) -> str:
        return (self.folder / "page" / "index.html").read_text(encoding="utf-8")


def score_and_compare(scripts: Path, folder: Path) -> Path:
    folder.mkdir()
    paths = os.pathsep.join((str(scripts), str(ROOT / "tests/support")))
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/scored_page.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ran.returncode, ran.stderr
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("metric")
    scripts = folder / "scripts"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts" / "bakery", scripts / "bakery", ignore=ignored)
    (scripts.parent / "resources").symlink_to(ROOT / "resources")
    bare = score_and_compare(scripts, folder / "bare")
    add_metric(scripts)
    return Scored(score_and_compare(scripts, folder / "added"), scripts, bare)


def test_two_files_are_touched(made: Scored) -> None:
    files = [path.relative_to(made.scripts) for path in made.scripts.rglob("*.*") if path.is_file()]
    same, changed, missing = filecmp.cmpfiles(ROOT / "scripts", made.scripts, files, shallow=False)
    assert sorted(map(str, changed)) == ["bakery/scoring/metrics.py", "bakery/settings/score.py"]
    assert not missing
    assert len(same) > 100


def test_it_is_in_the_tables_with_its_interval(made: Scored) -> None:
    epochs = made.table("score/epochs.csv").set_index("epoch")
    assert epochs["misses"].tolist() == [0, 0.5, 0]
    assert epochs.loc[1, ["misses_low", "misses_high"]].tolist() == [0, 1]
    assert epochs["presence"].tolist() == [0, 0.2, 0.2]
    assert "presence_low" not in epochs, "it has none"
    before = made.table("score/epochs.csv", made.bare)
    added = ["misses", "misses_low", "misses_high", "presence"]
    assert [c for c in epochs.reset_index() if c not in added] == list(before)
    weights = made.table("score/weights.csv").set_index("epoch")
    assert weights["misses"].to_dict() == {1: 0.5, 2: 0}
    results = made.table("page/results.csv").set_index("epoch")
    assert results["misses"].tolist() == [0, 0.5, 0]
    assert results["misses_high"].tolist()[1] == 1
    assert results["presence"].tolist() == [0, 0.2, 0.2]


def test_single_pictures_and_cells_have_its_column(made: Scored) -> None:
    pictures = made.table("score/scores.csv").set_index("image")
    assert pictures.loc["e1_beach_s1.png", "missed"] == 0
    assert pictures.loc["e1_beach_s2.png", "missed"] == 1
    cells = made.table("score/cells.csv").set_index(["epoch", "prompt_id"])
    assert cells.loc[(1, "beach"), "missed"] == 0.5


def test_it_costs_in_the_trade_off_and_in_the_draws(made: Scored) -> None:
    """Harmonic mean of 1 and 1/2 less 0.2 x 1/2 in epoch 1; the second misses nothing."""
    before = made.table("score/epochs.csv", made.bare).set_index("epoch")["tradeoff"]
    after = made.table("score/epochs.csv").set_index("epoch")["tradeoff"]
    assert before.loc[[1, 2]].tolist() == pytest.approx([2 / 3, 2 / 3], abs=1e-4)
    assert after.loc[[1, 2]].tolist() == pytest.approx([2 / 3 - 0.1, 2 / 3], abs=1e-4)
    draws = made.table("score/draws.csv")
    first = draws[draws["epoch"] == 1]
    assert set(first["misses"]) == {0, 0.5, 1}
    balance = 2 * (1 - first["misses"]) / (2 - first["misses"])
    expected = (balance - 0.2 * first["misses"]).clip(lower=0)
    assert first["tradeoff"].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_page_shows_it(made: Scored) -> None:
    bare = (made.bare / "page" / "index.html").read_text(encoding="utf-8")
    html = made.html
    assert "Misses" not in bare
    assert '<span title="pictures that show nothing of what was asked">Misses</span>' in html
    assert "<dt>Misses</dt><dd>0%<small>base 0%</small></dd>" in html, "beside the recommendation"
    assert "<b>Misses</b> Pictures that disregard the whole prompt. Lower is better." in html
    assert "only, epoch 1: misses 50% (0% to 100%)" in html, "a point of its chart"
    assert "<dd>pictures that show nothing of what was asked. Lower is better.</dd>" in html
    assert "less leak, bleed, what clarity lacks and misses." in html
    assert re.search(r'<td class="number">0\.50<small>0\.00–1\.00</small></td>', html)
    assert '<span title="how many traits come together">Presence</span>' in html
    assert "<b>Presence</b>" not in html, "it has no chart"
    assert re.search(r'<td class="number">0\.20</td>', html), "and no interval"


def test_the_recommendation_speaks_of_it(made: Scored) -> None:
    said = (made.folder / "reasons.txt").read_text(encoding="utf-8")
    assert "It disregards 50% of the prompts." in said
    assert "Epoch 2 adds nothing beyond noise and disregards more prompts." in said
    assert "disregards" not in (made.bare / "reasons.txt").read_text(encoding="utf-8")
