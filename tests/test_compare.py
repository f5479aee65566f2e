"""Compare: the table, the verdict, and the page as a browser shows it."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_bakes import made_bake
from PIL import Image

from bakery import compare, tables
from bakery.config import Compare
from bakery.errors import BakeryError

BASE = (0.2, 0.8)
LOW = [BASE, (0.3, 0.8), (0.4, 0.8)]
GOOD = [BASE, (0.6, 0.75), (0.9, 0.7)]
NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'


def sweep(folder: Path, **changes: Any) -> list[compare.Bake]:
    shared = {"train.network_dim": 16, "prune.trigger": "mirael", "sample.lora_weight": 1.0}
    return [
        made_bake(folder / "a", "unet_lr 0.0003", LOW, settings={**shared, "train.unet_lr": 3e-4},
                  **changes),
        made_bake(folder / "b", "unet_lr 0.002", GOOD, settings={**shared, "train.unet_lr": 2e-3},
                  **changes),
    ]  # fmt: skip


def page_of(bakes: list[compare.Bake], out: Path, **settings: Any) -> str:
    compare.run(Compare(**settings), bakes=bakes, out=out, sweep="lr")
    return (out / "index.html").read_text(encoding="utf-8")


def test_results_hold_a_row_for_each_bake_and_epoch(tmp_path: Path) -> None:
    summary = compare.run(Compare(), bakes=sweep(tmp_path), out=tmp_path / "out", sweep="lr")
    assert summary == {
        "bakes": 2,
        "verdict": "unet_lr 0.002, epoch 2",
        "best_bake": "unet_lr 0.002",
        "best_epoch": 2,
        "best_file": "mirael.safetensors",
        "best_balance": 0.7875,
    }
    table = tables.read(tmp_path / "out" / "results.csv", ())
    assert list(table.columns) == [
        "label", "train.unet_lr", "epoch", "fidelity", "flexibility", "file", "sshs_model_hash",
    ]  # fmt: skip
    assert len(table) == 6
    row = table.iloc[4].to_dict()
    assert row["label"] == "unet_lr 0.002"
    assert row["train.unet_lr"] == "0.002"
    assert (row["epoch"], row["fidelity"], row["flexibility"]) == ("1", "0.6", "0.75")
    assert row["file"] == "mirael-000001.safetensors"
    assert len(row["sshs_model_hash"]) == 64
    assert table.iloc[3]["epoch"] == "0"
    assert table.iloc[3]["file"] == ""


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    bakes = sweep(tmp_path)
    assert page_of(bakes, tmp_path / "1") == page_of(bakes, tmp_path / "2")
    assert str(tmp_path) not in page_of(bakes, tmp_path / "3")


def test_a_base_that_all_bakes_share_is_shown_once(tmp_path: Path) -> None:
    baked = [compare.read(bake) for bake in sweep(tmp_path)]
    table = compare.rows(baked, 32, ["1", "2"])
    assert [(row.bake, row.epoch.number) for row in table] == [
        (compare.BASE, 0), (0, 1), (0, 2), (1, 1), (1, 2),
    ]  # fmt: skip
    assert all(len(cell) == 2 for row in table for cell in row.cells)


def test_bakes_of_different_bases_show_each_its_own(tmp_path: Path) -> None:
    baked = [
        compare.read(made_bake(tmp_path / "a", "x", LOW)),
        compare.read(made_bake(tmp_path / "b", "y", LOW, hue=90)),  # other pixels
    ]
    assert not compare.same_base(*baked)
    table = compare.rows(baked, 32, ["1"])
    assert [(row.bake, row.epoch.number) for row in table][:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    other = made_bake(tmp_path / "c", "z", LOW, prompts={"trigger": "mirael", "beach": "snow"})
    assert not compare.same_base(baked[0], compare.read(other))  # another prompt


def test_prompts_and_seeds_that_only_one_bake_has_leave_cells_empty(tmp_path: Path) -> None:
    bakes = [
        made_bake(tmp_path / "a", "x", LOW, prompts={"trigger": "mirael"}),
        made_bake(tmp_path / "b", "y", LOW, prompts={"night": "mirael, night"}, seeds=(2, 3)),
    ]
    table = compare.rows([compare.read(bake) for bake in bakes], 32, ["1", "2", "3"])
    assert [[len(cell) for cell in row.cells] for row in table] == [[2, 0]] * 3 + [[0, 2]] * 3
    assert page_of(bakes, tmp_path / "out").count('class="shot"') == 12


def test_only_settings_that_differ_are_highlighted(tmp_path: Path) -> None:
    bakes = sweep(tmp_path)
    assert compare.differences(bakes) == ["train.unet_lr"]
    page = page_of(bakes, tmp_path / "out")
    assert '<th scope="col" class="differs">train.unet_lr</th>' in page
    assert "3 settings are the same in every bake" in page
    values = [True, None, 0.002, 1e-5, 16, "a b", ["1", 2]]
    assert [compare.shown(v) for v in values] == [
        "true", "null", "0.002", "1e-05", "16", "a b", '["1", 2]',
    ]  # fmt: skip


def pictures(page: str, attribute: str = "src") -> list[Image.Image]:
    found = re.findall(rf'{attribute}="data:image/webp;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_pictures_are_inlined_faithfully_and_small_ones_once(tmp_path: Path) -> None:
    page = page_of(sweep(tmp_path), tmp_path / "out", thumbnail=32)
    shots = page.split('id="pictures"')[1]
    assert len(pictures(shots)) == 5 * 2 * 2
    assert not pictures(page, "data-full")
    first = pictures(shots)[0]
    assert first.size == (24, 24)
    seen = first.convert("RGB").getpixel((12, 12))
    assert max(abs(a - b) for a, b in zip(seen, (0, 0, 60), strict=True)) < 8


def test_large_pictures_get_a_thumbnail_and_the_whole(tmp_path: Path) -> None:
    bakes = [made_bake(tmp_path / "a", "x", LOW, size=(120, 160), seeds=(1,))]
    shots = page_of(bakes, tmp_path / "out", thumbnail=32).split('id="pictures"')[1]
    assert {picture.size for picture in pictures(shots)} == {(48, 64)}
    assert {picture.size for picture in pictures(shots, "data-full")} == {(120, 160)}


def test_the_number_of_seeds_on_the_page_is_limited(tmp_path: Path) -> None:
    page = page_of(sweep(tmp_path, seeds=(1, 2, 3)), tmp_path / "out", seeds=2)
    assert 'data-seed="2"' in page
    assert 'data-seed="3"' not in page
    assert "1 more seeds are in the sample folders" in page


def test_three_bakes_of_seven_rows_and_six_prompts_stay_under_5_mb(tmp_path: Path) -> None:
    """With pictures of pure noise, which no codec can make small."""
    prompts = {f"p{n}": f"mirael, {n}" for n in range(6)}
    bakes = []
    for name in "abc":
        bake = made_bake(tmp_path / name, name, [BASE] * 7, prompts=prompts, seeds=(1,))
        for picture in (bake.sample / "images").iterdir():
            text = Image.open(picture).info["parameters"]
            noise = Image.effect_noise((96, 96), 60).convert("RGB")
            compare.infotext.save_png(noise, picture, compare.infotext.parse(text))
        bakes.append(bake)
    assert len(page_of(bakes, tmp_path / "out").encode()) < 5_000_000


def test_nothing_in_the_data_can_become_markup(tmp_path: Path) -> None:
    prompts = {"trigger": NASTY, "beach": QUOTED}
    bakes = [
        made_bake(tmp_path / n, f"{NASTY} {n}", GOOD, prompts=prompts, missing=(QUOTED,),
                  settings={"train.base": f"{QUOTED} {n}", "prune.trigger": NASTY})
        for n in "ab"
    ]  # fmt: skip
    compare.run(Compare(title=NASTY), bakes=bakes, out=tmp_path, sweep=QUOTED)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', '""', page))


def test_what_does_not_fit_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(BakeryError, match="sweep lr holds no bake"):
        compare.run(Compare(), bakes=[], out=tmp_path, sweep="lr")
    (bake, other) = sweep(tmp_path)
    (bake.train / "epochs.csv").write_text(
        "epoch,step,file,sshs_model_hash,loss\n1,1,a.safetensors,00,0.1\n"
    )
    with pytest.raises(BakeryError, match="do not both know epoch 2"):
        compare.run(Compare(), bakes=[bake], out=tmp_path / "out", sweep="lr")
    lines = (other.score / "scores.csv").read_text().splitlines()
    (other.score / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(BakeryError, match=r"does not score e2_beach_s2.png"):
        compare.run(Compare(), bakes=[other], out=tmp_path / "out", sweep="lr")
    (other.score / "scores.csv").write_text("\n".join(lines) + "\n")
    (other.sample / "images" / "e2_beach_s2.png").unlink()
    with pytest.raises(BakeryError, match=r"e2_beach_s2.png"):
        compare.run(Compare(), bakes=[other], out=tmp_path / "out", sweep="lr")


def test_without_scores_there_is_a_page_but_no_verdict(tmp_path: Path) -> None:
    bakes = [made_bake(tmp_path / "a", "x", [(math.nan, 0.5), (math.nan, 0.6)])]
    summary = compare.run(Compare(), bakes=bakes, out=tmp_path / "out", sweep="lr")
    assert summary["verdict"] == "No verdict"
    assert summary["best_file"] is None
    page = (tmp_path / "out" / "index.html").read_text()
    assert "say nothing about fidelity" in page
    assert 'class="shot"' in page
    assert 'width="nan"' not in page


# The page in a real browser.

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of a sweep with hostile names; every request and message is held against it."""
    folder = tmp_path_factory.mktemp("page")
    prompts = {"trigger": "mirael", "beach": f"mirael, {NASTY}"}
    bakes = sweep(folder, prompts=prompts, missing=(QUOTED,))
    page_of(bakes, folder, title=f"Bakery {NASTY}")
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    url = (folder / "index.html").as_uri()
    page.goto(url)
    yield page
    assert [u for u in asked if not u.startswith("data:")] == [url]
    assert said == []
    context.close()


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.querySelector('img')?.alt")


def test_browser_click_arrows_seeds_and_escape(opened: Any) -> None:
    page = opened
    viewer = page.locator("#viewer")
    assert not viewer.is_visible()
    page.locator("tr[data-bake='0'][data-epoch='1'] .shot:visible").first.click()
    assert viewer.is_visible()
    title, name = page.locator("#viewer-title"), page.locator("#viewer-name")
    assert (title.inner_text(), name.inner_text()) == ("trigger, seed 1", "unet_lr 0.0003, epoch 1")
    assert "<lora:mirael-000001:1>" in page.locator("#viewer-infotext").inner_text()
    assert page.locator("#viewer-base").get_attribute("alt") == "base, trigger, seed 1"
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == "beach, seed 1"
    assert NASTY in page.locator("#viewer-infotext").inner_text()
    assert page.locator("#viewer-tags .missing").inner_text().strip().startswith(QUOTED)
    page.keyboard.press("ArrowRight")  # the edge
    assert title.inner_text() == "beach, seed 1"
    page.keyboard.press("ArrowDown")
    assert name.inner_text() == "unet_lr 0.0003, epoch 2"
    page.keyboard.press("ArrowDown")  # over the heading of the next bake
    assert name.inner_text() == "unet_lr 0.002, epoch 1"
    page.keyboard.press("2")
    assert title.inner_text() == "beach, seed 2"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert focused(page) == "unet_lr 0.002, epoch 1, beach, seed 2"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    assert focused(page) == "unet_lr 0.0003, epoch 2, trigger, seed 2"
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    assert title.inner_text() == "trigger, seed 2"
    page.locator("[data-close]").click()
    assert not viewer.is_visible()
    page.locator("[name=seed]").first.check()


def test_browser_the_base_stands_alone(opened: Any) -> None:
    page = opened
    page.locator("tr[data-epoch='0'] .shot:visible").first.click()
    assert page.locator("#viewer-name").inner_text() == "base"
    assert not page.locator("#viewer-base").is_visible()
    assert page.locator("[data-step='-1,0']").is_disabled()
    page.locator("[data-step='1,0']").click()
    assert page.locator("#viewer-base").is_visible()
    page.keyboard.press("Escape")


def test_browser_one_tab_stop_for_all_pictures(opened: Any) -> None:
    assert opened.locator(".shot[tabindex='0']").count() == 1
    assert opened.locator(".shot[tabindex='-1']").count() == 19


def test_browser_order_by_epoch_and_back(opened: Any) -> None:
    page = opened

    def order() -> list[str]:
        rows = page.locator("#pictures tbody tr:visible")
        return [text.split("\n")[0].strip() for text in rows.all_inner_texts()]

    by_bake = order()
    assert by_bake == [
        "Base", "unet_lr 0.0003", "Epoch 1", "Epoch 2", "unet_lr 0.002", "Epoch 1", "Epoch 2 best",
    ]  # fmt: skip
    page.check("[name=order][value=epoch]")
    assert order() == [
        "Base", "Epoch 1", "unet_lr 0.0003", "unet_lr 0.002", "Epoch 2", "unet_lr 0.0003",
        "unet_lr 0.002 best",
    ]  # fmt: skip
    page.locator("tr[data-bake='0'][data-epoch='1'] .shot:visible").first.click()
    page.keyboard.press("ArrowDown")  # goes by what is seen
    assert page.locator("#viewer-name").inner_text() == "unet_lr 0.002, epoch 1"
    page.keyboard.press("Escape")
    page.check("[name=order][value=bake]")
    assert order() == by_bake


def test_browser_copy_buttons_fill_the_clipboard(opened: Any) -> None:
    page = opened
    page.locator(".verdict .copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == "<lora:mirael:1>"
    assert page.locator("#status").inner_text() == "Copied"
    page.locator(".files .copy").nth(1).click()
    assert len(page.evaluate("navigator.clipboard.readText()")) == 64


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
    # the headings of the picture table stay in sight
    page.evaluate("document.querySelector('#pictures').scrollTop = 300")
    frame, head = (page.locator(f"#pictures{s}").bounding_box() for s in ("", " thead th >> nth=1"))
    assert abs(head["y"] - frame["y"]) < 3
    page.close()


def test_browser_without_scripts_the_pictures_are_there(opened: Any, browser: Any) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(opened.url)
    assert page.locator(".shot:visible").count() == 10
    page.close()
