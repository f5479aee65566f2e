"""The whole sweep as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_bakes import made_bake
from PIL import Image

from bakery.pages import grid
from bakery.report import results, sweep_grid
from bakery.settings.compare import Compare
from bakery.stages import compare

BASE = (0.2, 0.8)
TWO = [BASE, (0.3, 0.8), (0.4, 0.8)]


def color(shot: results.Shot) -> tuple[int, ...]:
    """Of a made sample, which is of one colour."""
    with Image.open(shot.path) as picture:
        return picture.convert("RGB").getpixel((0, 0))


def tiles(picture: Image.Image, rows: int, columns: int, side: int) -> list[list[tuple[int, ...]]]:
    """The colour in the middle of each tile; the tiles end at the lower right corner."""
    step = side + grid.MARGIN
    return [
        [
            picture.getpixel((
                picture.width - (columns - c) * step + side // 2,
                picture.height - (rows - r) * step + side // 2,
            ))
            for c in range(columns)
        ]
        for r in range(rows)
    ]  # fmt: skip


def test_each_bake_and_epoch_is_a_row_and_a_shared_base_comes_once(tmp_path: Path) -> None:
    baked = [results.read_bake(made_bake(tmp_path, label, TWO)) for label in ("low", "high")]
    picture = sweep_grid.draw(baked, "lr")
    expected = [
        [color(one.shots[epoch, prompt, "1"]) for prompt in ("trigger", "beach")]
        for one, epoch in (
            (baked[0], 0),
            (baked[0], 1),
            (baked[0], 2),
            (baked[1], 1),
            (baked[1], 2),
        )
    ]
    assert tiles(picture, 5, 2, grid.TILE) == expected


def test_bases_that_differ_are_both_shown_and_what_is_missing_is_left_empty(tmp_path: Path) -> None:
    one = results.read_bake(made_bake(tmp_path, "x", TWO, prompts={"trigger": "mirael"}))
    other = results.read_bake(made_bake(tmp_path, "y", TWO[:2], hue=90))
    found = tiles(sweep_grid.draw([one, other], "lr"), 5, 2, grid.TILE)
    assert found[0] == [color(one.shots[0, "trigger", "1"]), grid.FAINT]
    assert found[3] == [color(other.shots[0, p, "1"]) for p in ("trigger", "beach")]


def test_its_prompts_say_the_triggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def headings(*triggers: str) -> list[str]:
        made = [
            made_bake(
                tmp_path / trigger, trigger, TWO, settings={"prune.trigger": trigger},
                prompts={"trigger": trigger, "beach": f"{trigger}, beach"},
            )
            for trigger in triggers
        ]  # fmt: skip
        sweep_grid.draw([results.read_bake(bake) for bake in made], "lr")
        return said.pop()

    said: list[list[str]] = []
    draw = grid.draw
    monkeypatch.setattr(
        grid, "draw", lambda tiles, rows, columns, **how: said.append(columns) or draw(
            tiles, rows, columns, **how)
    )  # fmt: skip
    assert headings("mirael") == ["trigger: mirael", "beach: mirael, beach"]
    assert headings("mirael", "sylvie")[1] == "beach: mirael / sylvie, beach"
    assert headings("a", "b", "c", "d")[1] == "beach: their trigger, beach"


@pytest.mark.parametrize(("most", "side"), [(6 * 5 * 100**2, 100), (1, sweep_grid.SIDES[0])])
def test_a_large_sweep_gets_smaller_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, side: int
) -> None:
    prompts = {f"p{i}": f"mirael, {i}" for i in range(6)}
    made = [made_bake(tmp_path, x, TWO, prompts=prompts, size=(300, 200)) for x in ("a", "b")]
    monkeypatch.setattr(sweep_grid, "MOST_PIXELS", most)
    picture = sweep_grid.draw([results.read_bake(bake) for bake in made], "lr")
    height = 5 * (round(side * 2 / 3) + grid.MARGIN)
    assert picture.width == grid.MARGIN + grid.LABEL_WIDTH + 6 * (side + grid.MARGIN)
    assert height < picture.height < height + 120


def test_compare_leaves_it_beside_the_page(tmp_path: Path) -> None:
    made = [made_bake(tmp_path, label, TWO) for label in ("low", "high")]
    compare.run(Compare(), bakes=made, out=tmp_path / "out", sweep="lr")
    with Image.open(tmp_path / "out/grid.jpg") as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    exact = np.asarray(sweep_grid.draw([results.read_bake(bake) for bake in made], "lr")).astype(
        int
    )
    assert abs(drawn - exact).mean() < 5
    assert 'href="grid.jpg"' in (tmp_path / "out/index.html").read_text("utf-8")
    assert "grid.jpg" not in (tmp_path / "out/report.html").read_text("utf-8")
