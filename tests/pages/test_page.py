"""The compare page in a real browser: clicks, keys, holding, small screens, no network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_bakes import made_bake

from bakery.interop import prompt_syntax
from bakery.settings.compare import Compare
from bakery.stages import compare

BASE = (0.2, 0.8)
LOW = [BASE, (0.3, 0.85), (0.4, 0.8)]
GOOD = [BASE, (0.6, 0.75), (0.9, 0.7)]
NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'
PROMPTS = {"trigger": "mirael", "beach": f"mirael, {NASTY}", "nobody": "beach"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep with hostile names; its pictures are larger than a thumbnail."""
    folder = tmp_path_factory.mktemp("made")
    more = {"leak": (0.0, 0.1, 0.2), "tradeoff": (0.3, 0.4, 0.5)}
    better = more | {"tradeoff": (0.3, 0.6, 0.7)}
    bakes = [
        made_bake(folder, "unet_lr 0.0003", LOW, settings={"train.unet_lr": 3e-4}, more=more,
                  prompts=PROMPTS, missing=(QUOTED,), size=(80, 96)),
        made_bake(folder, "unet_lr 0.002", GOOD, settings={"train.unet_lr": 2e-3}, more=better,
                  prompts=PROMPTS, missing=(QUOTED,), size=(80, 96)),
    ]  # fmt: skip
    settings = Compare(title=f"Bakery {NASTY}", thumbnail=32)
    compare.run(settings, bakes=bakes, out=folder / "results/compare/lr-1", sweep="lr")
    return folder / "results/compare/lr-1"


HOLD = 220
"""Milliseconds from a click to a hold, as in compare.js."""


def stop_clock(page: Any) -> None:
    """The page's timers stand still from here on: a press is short however slow the machine is."""
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))


@pytest.fixture(scope="module")
def opened(opened_page: Any, made: Path) -> Iterator[Any]:
    """The page, once for all tests; every request and message is held against it."""
    took = (
        made.parents[1] / "took" / f"{made.name}.svg"
    )  # lies beside a page that was made by a run
    took.parent.mkdir()
    took.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    file = made / "index.html"
    with opened_page(file) as (page, asked):
        stop_clock(page)
        yield page
    assert {u for u in asked if not u.startswith("data:")} == {file.as_uri(), took.as_uri()}


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    """The opened page, its tools put back afterwards."""
    yield opened
    if opened.locator("#viewer").is_visible():
        opened.keyboard.press("Escape")
    for name, value in (("group", "bake"), ("seed", "0"), ("against", "base")):
        opened.check(f"[name={name}][value='{value}']")
    opened.select_option("[name=sort]", "")
    for box in opened.locator("[name=purpose]").all():
        box.check()


def cell(page: Any, bake: int, prompt: int, epoch: int) -> Any:
    return page.locator(
        f"tr[data-row][data-bake='{bake}'][data-prompt='{prompt}'] .shot[data-epoch='{epoch}']"
    )


def text(page: Any, selector: str) -> str:
    return page.locator(selector).inner_text()


def wait_until_focused(page: Any, label: str) -> None:
    """Until what has this beginning of a label is focused: a dialog tells later that it is closed."""
    page.locator(f':focus[aria-label^="{label}"]').wait_for()


def shown_name(page: Any) -> str:
    return text(page, "#viewer-shot figcaption")


def test_click_arrows_seeds_and_escape(page: Any) -> None:
    viewer = page.locator("#viewer")
    assert not viewer.is_visible()
    cell(page, 0, 0, 1).click()
    assert viewer.is_visible()
    assert text(page, "#viewer-title") == "trigger, seed 1"
    assert shown_name(page) == "unet_lr 0.0003, epoch 1"
    assert text(page, "#viewer-other figcaption") == "base"
    assert "<lora:mirael-e01:1>" in text(page, "#viewer-infotext")
    page.keyboard.press("ArrowRight")
    assert shown_name(page) == "unet_lr 0.0003, epoch 2"
    page.keyboard.press("ArrowRight")  # the edge
    assert shown_name(page) == "unet_lr 0.0003, epoch 2"
    page.keyboard.press("ArrowDown")
    assert text(page, "#viewer-title") == "beach, seed 1"
    assert prompt_syntax.escape(NASTY) in text(page, "#viewer-infotext")
    assert text(page, "#viewer-tags .missing").strip().startswith(QUOTED)
    assert "red jacket" in text(page, "#viewer-tags .leaked")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")  # over the heading of the next bake
    assert shown_name(page) == "unet_lr 0.002, epoch 2"
    page.keyboard.press("2")
    assert text(page, "#viewer-title") == "trigger, seed 2"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    wait_until_focused(page, "unet_lr 0.002, epoch 2: trigger, seed 2; 1 of 2 requested tags")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    wait_until_focused(page, "unet_lr 0.0003, epoch 1: nobody, seed 2")
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    page.locator("[data-close]").click()
    assert not viewer.is_visible()


def test_a_viewer_shows_the_whole_picture(page: Any) -> None:
    cell(page, 1, 0, 2).click()
    size = """(async () => {
        const image = document.querySelector("%s img");
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    })()"""
    assert page.evaluate(size % "#viewer-shot") == [80, 96]
    thumb = "tr[data-bake='1'][data-prompt='0'] .shot[data-epoch='2']"
    page.wait_for_selector(f"{thumb} img[src]", state="attached")
    assert page.evaluate(size % thumb) == [53, 64]


def test_the_base_stands_alone(page: Any) -> None:
    cell(page, 0, 0, 0).click()
    assert shown_name(page) == "base"
    assert not page.locator("#viewer-other").is_visible()
    assert page.locator("[data-step='-1,0']").is_disabled()
    page.locator("[data-step='0,1']").click()
    assert page.locator("#viewer-other").is_visible()


def test_holding_flips_to_the_base_and_back(page: Any) -> None:
    """With the mouse and with the space bar, in the table and in the viewer; aloud, too."""
    shot = cell(page, 1, 1, 2)
    shot.scroll_into_view_if_needed()
    source = "s => document.querySelector(s).src"
    selector = "tr[data-bake='1'][data-prompt='1'] .shot[data-epoch='%d'] img"
    for epoch in (0, 2):
        page.wait_for_selector(f"{selector % epoch}[src]")
    own = page.evaluate(source, selector % 2)
    base = page.evaluate(source, selector % 0)
    assert own != base
    shot.hover()
    page.mouse.down()
    page.clock.run_for(HOLD - 1)
    assert page.locator(".shot.flipped").count() == 0
    page.clock.run_for(1)
    assert page.locator(".shot.flipped").count() == 1
    assert page.evaluate(source, selector % 2) == base
    assert text(page, "#status") == "Now base: beach, seed 1"
    page.mouse.up()
    assert page.evaluate(source, selector % 2) == own
    assert not page.locator("#viewer").is_visible(), "a hold is no click"
    shot.focus()
    page.keyboard.down(" ")
    page.clock.run_for(HOLD)
    assert page.locator(".shot.flipped").count() == 1
    page.keyboard.up(" ")
    assert page.evaluate(source, selector % 2) == own
    assert text(page, "#status") == "Back to unet_lr 0.002, epoch 2"
    page.keyboard.press(" ")  # short: a click
    assert page.locator("#viewer").is_visible()
    large = page.evaluate(source, "#viewer-shot img")
    page.keyboard.down(" ")
    page.clock.run_for(HOLD)
    assert shown_name(page) == "base"
    assert page.evaluate(source, "#viewer-shot img") == page.evaluate(source, "#viewer-other img")
    page.keyboard.up(" ")
    assert page.evaluate(source, "#viewer-shot img") == large
    assert shown_name(page) == "unet_lr 0.002, epoch 2"


def test_any_cell_can_be_pinned_and_held_against(page: Any) -> None:
    cell(page, 0, 1, 1).focus()
    page.keyboard.press("p")
    assert page.locator(".shot.pinned").count() == 1
    assert page.is_checked("[name=against][value=pinned]")
    cell(page, 1, 0, 2).click()
    assert text(page, "#viewer-other figcaption") == "unet_lr 0.0003, epoch 1"
    page.keyboard.press("Escape")
    cell(page, 0, 1, 1).focus()
    page.keyboard.press("p")
    assert page.locator(".shot.pinned").count() == 0
    assert page.is_checked("[name=against][value=base]")
    page.check("[name=against][value=best]")
    cell(page, 0, 0, 1).click()
    assert text(page, "#viewer-other figcaption") == "unet_lr 0.002, epoch 2"


def test_one_tab_stop_for_all_pictures(page: Any) -> None:
    assert page.locator(".shot[tabindex='0']").count() == 1
    assert page.locator(".shot[tabindex='-1']").count() == 17


def order(page: Any) -> list[str]:
    rows = page.locator("#pictures tbody tr:visible th").all_inner_texts()
    return [row.split("\n")[0].strip() for row in rows]


def test_rows_by_prompt_and_back(page: Any) -> None:
    first, second = "unet_lr 0.0003", "unet_lr 0.002"
    by_bake = [first, "trigger", "beach", "nobody", second, "trigger", "beach", "nobody"]
    assert order(page) == by_bake
    page.check("[name=group][value=prompt]")
    found = order(page)
    assert found[1:3] + found[4:6] + found[7:] == [first, second] * 3
    assert [row.split()[0] for row in found[::3]] == ["trigger", "beach", "nobody"]
    cell(page, 0, 0, 1).click()
    page.keyboard.press("ArrowDown")  # goes by what is seen
    assert shown_name(page) == "unet_lr 0.002, epoch 1"
    assert text(page, "#viewer-title") == "trigger, seed 1"
    page.keyboard.press("Escape")
    page.check("[name=group][value=bake]")
    assert order(page) == by_bake


def test_prompts_can_be_filtered_by_purpose(page: Any) -> None:
    assert page.locator("[name=purpose]").evaluate_all("b => b.map(x => x.value)") == [
        "identity", "flexibility", "bleed",
    ]  # fmt: skip
    page.uncheck("[name=purpose][value=flexibility]")
    page.uncheck("[name=purpose][value=bleed]")
    assert order(page) == ["unet_lr 0.0003", "trigger", "unet_lr 0.002", "trigger"]
    cell(page, 0, 0, 1).click()
    page.keyboard.press("ArrowDown")
    assert shown_name(page) == "unet_lr 0.002, epoch 1"


def test_bakes_sort_by_any_score(page: Any) -> None:
    def bakes() -> list[str]:
        return [t.split("\n")[0] for t in page.locator("#bakes tbody th").all_inner_texts()]

    page.select_option("[name=sort]", "fidelity")
    assert bakes()[0].startswith("unet_lr 0.002")
    assert order(page)[0] == "unet_lr 0.002"
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Fidelity")
    page.locator("[data-sort=flexibility]").click()
    assert bakes()[0] == "unet_lr 0.0003"
    assert text(page, "#status") == "Sorted by Flexibility"
    page.locator("[data-sort=flexibility]").click()
    assert page.locator("th[aria-sort=descending]").count() == 0


def test_bakes_can_be_switched_off(page: Any) -> None:
    button = page.locator("[data-toggle='0']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert order(page) == ["unet_lr 0.002", "trigger", "beach", "nobody"]
    assert page.locator("[data-series='0']:visible").count() == 0
    assert page.locator("[data-series='1']:visible").count() > 3
    button.click()
    assert len(order(page)) == 8


def test_copy_buttons_fill_the_clipboard(page: Any, copied: Callable[[Any, Any], str]) -> None:
    assert copied(page, page.locator(".verdict .copy")) == "<lora:mirael-e02:1>, mirael"
    assert len(copied(page, page.locator(".files .copy").nth(1))) == 64


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [340, 1200])
def test_it_fits_the_window_and_can_be_read(
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
    # the headings of the picture table stay in sight, whether it scrolls with the page or in its frame
    page.set_viewport_size({"width": width, "height": 400})
    for size in ("48", "256"):
        page.locator("[name=size]").fill(size)
        whole = page.evaluate("document.querySelector('#pictures').classList.contains('whole')")
        assert whole == (size == "48" or width > 500)
        page.evaluate("document.querySelector('#pictures [data-row]').scrollIntoView()")
        page.evaluate("document.querySelector('#pictures').scrollTop = 300")
        frame, head = (
            page.locator(f"#pictures{s}").bounding_box() for s in ("", " thead th >> nth=1")
        )
        assert abs(head["y"] - (0 if whole else frame["y"])) < 3
    page.close()


def test_no_table_is_wider_than_a_usual_window(opened: Any, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(opened.url)
    page.locator("summary", has_text="The numbers").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    wider = """[...document.querySelectorAll(".scroll:not(.whole)")]
        .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.outerHTML.slice(0, 90))"""
    assert page.evaluate(wider) == []
    page.close()


def test_many_epochs_are_smaller_so_that_all_bakes_scroll_with_the_page(
    browser: Any, tmp_path: Path
) -> None:
    bakes = [made_bake(tmp_path, name, [BASE, *[(0.5, 0.5)] * 10]) for name in ("a", "b")]
    compare.run(Compare(), bakes=bakes, out=tmp_path / "out", sweep="lr")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "out" / "index.html").as_uri())
    whole = "document.querySelector('#pictures').classList.contains('whole')"
    assert page.evaluate(whole)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    narrow = cell(page, 0, 0, 1).bounding_box()["width"]
    assert 48 <= narrow < Compare().thumbnail
    page.set_viewport_size({"width": 1000, "height": 800})  # it hears of that with its next frame
    page.wait_for_function(f"document.querySelector('#pictures .shot').offsetWidth < {narrow}")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_function(f"document.querySelector('#pictures .shot').offsetWidth === {narrow}")
    page.locator("[name=size]").fill("128")
    assert not page.evaluate(whole), "chosen by the reader: it scrolls in a frame of its own"
    page.set_viewport_size({"width": 1200, "height": 800})
    assert cell(page, 0, 0, 1).bounding_box()["width"] == 128
    page.close()


def test_everything_that_can_be_pressed_has_a_name(page: Any) -> None:
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, select, [role=region], svg[role=img]")]
        .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
          || e.closest("label")?.textContent.trim() || e.textContent.trim()))
        .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_without_scripts_the_words_and_numbers_are_there(opened: Any, browser: Any) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(opened.url)
    assert page.locator("h1").inner_text() == "unet_lr 0.002, epoch 2"
    assert page.locator(".strip img").count() == 4
    assert page.locator(".chart").first.is_visible()
    assert "sample" in page.locator("noscript").inner_text()
    page.close()


SNAKEFILE = """
rule all:
    input: "report.html"
rule page:
    output: report("report.html", category="Comparison")
    shell: "cp {source} {{output}}"
"""


def test_it_works_inside_a_snakemake_report(browser: Any, made: Path, tmp_path: Path) -> None:
    """A report holds the page as a data URI in a frame, and Chromium refuses those above 2 MiB."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(source=made / "report.html"))
    for arguments in (["--cores", "1"], ["--report", "whole.html"]):
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--workflow-profile", "none", *arguments],
            cwd=tmp_path, check=True, capture_output=True, timeout=1200,
        )  # fmt: skip
    page = browser.new_page()
    page.goto((tmp_path / "whole.html").as_uri())
    page.get_by_text("Results").first.click()
    page.locator("td a").first.click()
    frame = page.frame_locator("iframe")
    frame.locator("#pictures:not([aria-busy])").wait_for()
    stop_clock(page)
    frame.locator("tr[data-bake='1'][data-prompt='0'] .shot[data-epoch='2']").click()
    assert frame.locator("#viewer-shot figcaption").inner_text() == "unet_lr 0.002, epoch 2"
    page.close()
