"""The dry bake as people see it: the table, the CSV, and the page in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_plans import baked, done, filtered, outlined

from bakery.dataset import details
from bakery.io import tables
from bakery.stages import plan

SCRIPTS = Path(__file__).parents[2] / "scripts"
NASTY = '<script>fetch("http://evil.example/")</script>'


def sweep(folder: Path) -> list[dict[str, Any]]:
    """Two bakes of one dataset, the first one done, its samples without halos."""
    bakes = [
        outlined(
            folder,
            f"unet_lr {rate:g}",
            train={"unet_lr": rate, "text_encoder_lr": 4e-4},
            sample={"prompts": [{"id": "a", "prompt": "{trigger}", "purpose": "identity"}]},
        )
        for rate in (3e-4, 2e-3)
    ]
    filtered(bakes[0], [(64, 64)] * 20 + [(60, 90)] * 5)
    baked(bakes[0], 2.0, memory=1.5, size=3 * 2**20)
    done(bakes[0], "sample", "score")
    scored(bakes[0], halo="0.1", hair="")
    return bakes


def scored(bake: dict[str, Any], **missed: str) -> None:
    """The score stage found these traits missing, each to be seen on that share of the samples."""
    done(bake, "score")
    rows = [
        {"trait": trait, "in_samples": share or 1,
         "proposal": f"{trait} is missed, {share}" if share else ""}
        for trait, share in missed.items()
    ]  # fmt: skip
    tables.write(Path(bake["folders"]["score"]) / "details.csv", rows, details.COLUMNS)


def run(bakes: list[dict[str, Any]], folder: Path) -> str:
    return plan.run(bakes, out=folder / "plan", trained=folder / "train")


def test_the_table_and_the_csv_say_what_will_happen(tmp_path: Path) -> None:
    text = run(sweep(tmp_path), tmp_path)
    lines = text.splitlines()
    # 100 showings of squares are 25 batches of 4, 25 of the tall ones are 7
    assert re.search(r"^sweep +unet_lr 0.0003 +25 +125 +32 +6 +192 +19 +0 s +1.5 GiB", text, re.M)
    assert re.search(r"unet_lr 0.002 .* 96 s +1.5 GiB  tag prune layout train sample score$", text,
                     re.M)  # fmt: skip
    assert "Pictures: as kept by the filter; the layout has not run." in lines
    assert "+ halo is missed, 0.1." in lines
    table = tables.read(tmp_path / "plan" / "plan.csv", plan.COLUMNS)
    assert table["steps"].tolist() == ["192", "192"]
    assert table["seconds"].tolist() == ["0.0", "96.0"]
    assert table["cached"].tolist() == ["scrape filter train sample score", "scrape filter"]


def test_when_nothing_is_there_it_says_how_to_find_out(tmp_path: Path) -> None:
    text = run([outlined(tmp_path, scrape={"limit": 40})], tmp_path)
    assert "at most 40 posts will be requested. To find out, run `snakemake" in text
    assert re.search(r"sweep +bake +\? +\? +\? +\? +\? +\? +unknown +\?", text)
    assert "Time and memory: not known before a first bake of this kind has run here." in text
    row = tables.read(tmp_path / "plan" / "plan.csv", ()).to_dict("records")[0]
    assert (row["steps"], row["known_from"], row["seconds"]) == ("", "", "")
    assert "--until layout" in (tmp_path / "plan" / "index.html").read_text()


def test_only_what_every_bake_of_a_page_misses_is_proposed(tmp_path: Path) -> None:
    bakes = sweep(tmp_path)
    scored(bakes[1], halo="0.4", hair="")
    assert "halo is missed, 0.4." in run(bakes, tmp_path), "in the words of the better one"
    scored(bakes[1], halo="", hair="0.2")
    assert "is missed" not in run(bakes, tmp_path)
    bakes[1]["page"] = "another sweep"
    text = run(bakes, tmp_path)
    assert "halo is missed, 0.1." in text
    assert "hair is missed, 0.2." in text


def test_an_accepted_detail_is_not_proposed_again(tmp_path: Path) -> None:
    bakes = sweep(tmp_path)
    bakes[0]["settings"]["layout"]["details"] = ["halo"]
    assert "halo is missed" not in run(bakes, tmp_path)


def test_a_foot_gun_of_one_bake_names_it(tmp_path: Path) -> None:
    bakes = sweep(tmp_path)
    bakes[1]["settings"]["train"] |= {"shuffle_caption": False}
    text = run(bakes, tmp_path)
    assert "! keep_tokens 1 does nothing: tags are neither shuffled (shuffle_caption) nor left out "
    assert "(caption_tag_dropout_rate). (unet_lr 0.002)" in text
    bakes[0]["settings"]["train"] |= {"shuffle_caption": False}
    assert "(caption_tag_dropout_rate).\n" in run(bakes, tmp_path)


@pytest.mark.slow
def test_no_torch_is_needed() -> None:
    code = (
        "import sys, bakery.stages.plan; print(sorted({'torch', 'transformers'} & {*sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(SCRIPTS)},
    )  # fmt: skip
    assert run.stdout == "[]\n"


# The page in a real browser.


@pytest.fixture(scope="module")
def opened(opened_page: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of two bakes, one with a hostile name; requests and messages are held against it."""
    folder = tmp_path_factory.mktemp("page")
    bakes = sweep(folder)
    bakes[1]["label"] = f"unet_lr {NASTY}"
    run(bakes, folder)
    file = folder / "plan" / "index.html"
    with opened_page(file) as (page, asked):
        yield page
    assert [u for u in asked if not u.startswith("data:")] == [file.as_uri()]


def test_browser_shows_bakes_pictures_rates_and_stages(opened: Any) -> None:
    assert opened.locator("h1").inner_text() == "2 bakes, 6 stages to run"
    rows = opened.locator("table.bakes tbody tr")
    assert rows.count() == 2
    assert "done" in rows.nth(0).inner_text()
    assert f"unet_lr {NASTY}" in rows.nth(1).inner_text()
    folders, buckets = (opened.locator(".pair table").nth(i) for i in (0, 1))
    assert "5_mirael" in folders.inner_text()
    assert "128×128" in buckets.inner_text()
    assert opened.locator("svg.chart path.line").count() == 3  # two rates, and one they share
    box = opened.locator("svg.chart path.line").first.bounding_box()
    assert box["height"] > 50, "the curve goes up and down"
    assert opened.locator("table.stages td.done").count() == 7
    assert "halo is missed" in opened.locator("main").inner_text()


def test_browser_files_open_with_the_keyboard(opened: Any) -> None:
    second = opened.locator("details").nth(1)
    second.locator("summary").focus()
    opened.keyboard.press("Enter")
    text = second.inner_text()
    assert "6 LoRA files of 3.1 MB" in text
    assert "mirael-000001.safetensors" in text
    assert "28 pictures and grid.png" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_browser_fits_the_window_and_can_be_read(
    opened: Any, browser: Any, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(opened.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper, ink = page.evaluate(
        "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (paper, ink)]
    assert abs(lightness[0] - lightness[1]) > 0.7
    assert (lightness[0] > 0.5) == (scheme == "light")
    page.close()
