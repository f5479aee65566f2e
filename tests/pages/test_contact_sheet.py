"""The contact sheet: what it shows, and the lists that it hands back, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bakery.dataset import checks
from bakery.edits import image_edits
from bakery.edits.image_edits import Line
from bakery.pages import contact_sheet
from bakery.pages.contact_sheet import Item
from bakery.pages.page import Subject
from bakery.stages import filter

NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'
ORDER = checks.REASONS


def item(number: int, *reasons: str, kept: bool | None = None, **about: Any) -> Item:
    picture = Image.new("RGB", (300, 200 + number), (number * 20, 90, 90))
    small = contact_sheet.thumbnail(picture, contact_sheet.coding(9))
    decided = not reasons if kept is None else kept
    return Item(f"site-{number}.jpg", decided, reasons, size=(300, 200), thumbnail=small, **about)


ITEMS = [
    item(1), item(2), item(3, concept="halo"), item(4),
    item(5, "excluded", by_hand="exclude"),
    item(6, "duplicate", duplicate_of="site-1.jpg"),
    item(7, "too_small", "blurry"),
    item(8, "blurry", kept=True, by_hand="include"),
    Item("site-9.jpg", False, ("unreadable",), final=True, note="truncated"),
]  # fmt: skip
LINES = {
    image_edits.EXCLUDE: (
        Line("# of last week"), Line("site-5.jpg  # bad hands", "site-5.jpg", ("site-5.jpg",)),
        Line("gone.jpg", "gone.jpg"),
    ),
    image_edits.INCLUDE: (Line("b" * 32, "b" * 32, ("site-8.jpg",)),),
}  # fmt: skip


def made(items=ITEMS, lines=LINES, dataset="mirael") -> str:
    return contact_sheet.page(items, lines=lines, subject=Subject(dataset), order=ORDER)


@pytest.mark.slow
def test_the_sheet_shows_both_halves():
    sheet = contact_sheet.draw(ITEMS)
    assert sheet.width > 1000
    assert sheet.height > 250
    assert contact_sheet.draw([]).height < 120
    many = [item(n % 9) for n in range(contact_sheet.MOST + 1)]
    assert contact_sheet.draw(many).height < contact_sheet.draw(many[:-1]).height


def test_the_same_items_give_the_same_page():
    assert made() == made()


def test_nothing_in_the_data_can_become_markup():
    nasty = Item(QUOTED, False, (NASTY,), duplicate_of=NASTY, concept=QUOTED, note=NASTY)
    lines = {image_edits.EXCLUDE: (Line(NASTY), Line(QUOTED, QUOTED, (QUOTED,)))}
    page = contact_sheet.page([nasty], lines=lines, subject=Subject(NASTY, QUOTED), order=(NASTY,))
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', '""', page))


def test_a_picture_that_is_kept_by_itself_is_told_from_one_that_is_not():
    kept = {one.image: one.kept_by_itself for one in ITEMS}
    assert kept["site-5.jpg"]  # excluded by hand only
    assert not kept["site-8.jpg"]  # included by hand
    assert not kept["site-6.jpg"]


# --- in a real browser ----------------------------------------------------------------------


@pytest.fixture
def opened(opened_page: Any, tmp_path: Path) -> Iterator[Any]:
    """The page; every request and message is held against it."""
    path = tmp_path / "contact_sheet.html"
    path.write_text(made(), encoding="utf-8")
    with opened_page(path, width=700, may_ask=True) as (page, asked):
        yield page
    assert {u for u in asked if not u.startswith(("data:", "blob:"))} == {path.as_uri()}


def card(page: Any, number: int) -> Any:
    return page.locator(f"[data-image='site-{number}.jpg']")


def state(page: Any, number: int) -> str:
    return card(page, number).locator(".state").inner_text()


def listed(page: Any, name: str) -> list[str]:
    return page.locator(f"[data-text='{name}.txt'] textarea").input_value().splitlines()


def unsaved(page: Any) -> str:
    return page.locator("#unsaved span").inner_text()


def shown(page: Any) -> str:
    names = page.locator(".card:visible .name").all_inner_texts()
    return "".join(re.findall(r"\d", "".join(names)))


AS_THEY_WERE = {
    "exclude": ["# of last week", "site-5.jpg  # bad hands", "gone.jpg"],
    "include": ["b" * 32],
}


def test_browser_the_lists_start_as_they_are(opened: Any) -> None:
    page = opened
    for name, lines in AS_THEY_WERE.items():
        assert listed(page, name) == lines
    assert page.locator("h1").inner_text() == "5 of 9 pictures kept"
    assert [state(page, n) for n in range(1, 10)] == [
        "kept", "kept", "kept", "kept", "excluded by hand", "dropped", "dropped",
        "included by hand", "dropped",
    ]  # fmt: skip
    assert not page.locator("#unsaved").is_visible()
    assert page.locator("code", has_text="config/edits/mirael/").is_visible()


def test_browser_a_click_overrules_and_another_takes_it_back(opened: Any) -> None:
    page = opened
    card(page, 2).click()
    card(page, 7).click()
    assert (state(page, 2), state(page, 7)) == ("excluded by hand", "included by hand")
    assert listed(page, "exclude") == [*AS_THEY_WERE["exclude"], "site-2.jpg"]
    assert listed(page, "include") == [*AS_THEY_WERE["include"], "site-7.jpg"]
    assert unsaved(page) == "2 decisions not saved yet, kept in this browser."
    assert page.locator("#kept").inner_text() == "5"
    card(page, 2).click()
    card(page, 7).click()
    for name, lines in AS_THEY_WERE.items():
        assert listed(page, name) == lines
    card(page, 5).click()  # a line that was there goes, the others stay
    card(page, 8).click()
    assert listed(page, "exclude") == ["# of last week", "gone.jpg"]
    assert listed(page, "include") == []
    assert (state(page, 5), state(page, 8)) == ("kept", "dropped")


def test_browser_what_no_edit_keeps_cannot_be_included(opened: Any) -> None:
    page = opened
    card(page, 9).click(force=True)
    assert state(page, 9) == "dropped"
    assert listed(page, "include") == AS_THEY_WERE["include"]
    assert page.locator("#status").inner_text() == "site-9.jpg: cannot be kept by hand"


def test_browser_by_keyboard_alone(opened: Any) -> None:
    page = opened
    focused = "document.activeElement.dataset.image"
    assert page.locator(".card[tabindex='0']").count() == 1
    card(page, 1).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "site-2.jpg"
    page.keyboard.press("Enter")
    assert state(page, 2) == "excluded by hand"
    page.keyboard.press("Space")
    assert state(page, 2) == "kept"
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")  # four in a row, and one below
    assert page.evaluate(focused) == "site-8.jpg"
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "site-1.jpg"
    page.keyboard.press("ArrowRight")
    assert state(page, 2) == "excluded by hand"
    page.keyboard.press("u")
    assert state(page, 2) == "kept"
    page.keyboard.press("i")
    assert listed(page, "include") == [*AS_THEY_WERE["include"], "site-2.jpg"]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # the edge
    assert page.evaluate(focused) == "site-1.jpg"
    card(page, 6).focus()
    page.keyboard.press("x")  # a dropped one, so that it stays dropped whatever the settings
    assert state(page, 6) == "excluded by hand"


def test_browser_hands_back_files_that_are_read_as_meant(opened: Any, tmp_path: Path) -> None:
    page = opened
    card(page, 1).click()
    card(page, 6).click()
    files = {}
    for name in ("exclude.txt", "include.txt"):
        with page.expect_download() as download:
            page.locator(f"[data-list='{name}'] .download").click()
        assert download.value.suggested_filename == name
        files[name] = tmp_path / name
        download.value.save_as(files[name])
    assert unsaved(page) == "2 decisions handed over: save the file and run again."
    assert files["exclude.txt"].read_text().splitlines() == listed(page, "exclude")
    rows = [filter.Post(image=one.image, md5="b" * 32 if one.image == "site-8.jpg" else "")
            for one in ITEMS]  # fmt: skip
    found = image_edits.match_images(files, rows)
    assert found.of("exclude.txt") == {"site-1.jpg", "site-5.jpg"}
    assert found.of("include.txt") == {"site-6.jpg", "site-8.jpg"}
    assert found.unmatched() == ["gone.jpg"]


def test_browser_copies_a_list(opened: Any, copied: Callable[[Any, Any], str]) -> None:
    page = opened
    card(page, 3).click()
    expected = "\n".join([*AS_THEY_WERE["exclude"], "site-3.jpg"]) + "\n"
    assert copied(page, page.locator("[data-list='exclude.txt'] .copy")) == expected
    assert "not saved yet" in unsaved(page)  # one of two
    text = copied(page, page.locator("[data-list='include.txt'] .copy"))
    assert text.splitlines() == AS_THEY_WERE["include"]
    assert "handed over" in unsaved(page)


def test_browser_a_reload_keeps_unsaved_decisions_until_they_are_discarded(
    opened: Any, with_another_tab: Callable
) -> None:
    page = with_another_tab(opened)
    card(page, 2).click()
    card(page, 5).click()
    page.reload()
    assert (state(page, 2), state(page, 5)) == ("excluded by hand", "kept")
    assert listed(page, "exclude") == ["# of last week", "gone.jpg", "site-2.jpg"]
    assert unsaved(page) == "2 decisions not saved yet, kept in this browser."
    page.locator("#unsaved button").click()
    assert listed(page, "exclude") == AS_THEY_WERE["exclude"]
    page.reload()
    assert (state(page, 2), state(page, 5)) == ("kept", "excluded by hand")
    assert not page.locator("#unsaved").is_visible()


def test_browser_without_storage_a_tab_with_unsaved_changes_asks_before_it_goes(
    opened: Any,
) -> None:
    page = opened
    asked = []
    page.on("dialog", lambda dialog: asked.append(dialog.type) or dialog.accept())
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('none') } }")
    card(page, 2).click()
    assert unsaved(page) == "1 decision not saved yet: this browser keeps nothing."
    page.reload()
    assert asked == ["beforeunload"]
    assert state(page, 2) == "kept"


def test_browser_the_lists_are_always_in_sight(opened: Any) -> None:
    page = opened
    for height in (900, 300):
        page.set_viewport_size({"width": 700, "height": height})
        for button in page.locator("#edits .buttons button").all():
            box = button.bounding_box()
            assert 0 < box["y"] < height - box["height"]


def test_browser_shows_what_is_asked_for(opened: Any) -> None:
    page = opened
    assert shown(page) == "123485679"
    page.check("[name=show][value=kept]")
    assert shown(page) == "12348"
    page.check("[name=show][value=hand]")
    assert shown(page) == "85"
    page.check("[name=show][value=all]")
    page.select_option("[name=reason]", "blurry")
    assert shown(page) == "87"
    page.select_option("[name=reason]", "")
    page.select_option("[name=concept]", "=halo")
    assert shown(page) == "3"
    assert card(page, 3).get_attribute("tabindex") == "0"
    page.select_option("[name=concept]", "=")
    assert shown(page) == "12485679"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_fits_a_phone_and_can_be_read(opened: Any, browser: Any, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.goto(opened.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colors = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    lightness = [sum(map(int, re.findall(r"\d+", color)[:3])) / 765 for color in colors]
    assert abs(lightness[0] - lightness[1]) > 0.7
    page.close()
