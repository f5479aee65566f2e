"""Several captions in a file: what sd-scripts' enable_wildcard would draw, and how often."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.sources import candidates, caption_files

LINES = """masterpiece, safe, 1girl, mirael, @nameko, smile, {red|blue|green} hat

A girl called {trigger} stands in the rain, her {{umbrella}} is {open|closed}.
"""


def drawn_as_in_sd_scripts(text: str, rng: random.Random) -> str:
    """One showing by the documented rule: a line, then a word for each choice; `{{` is a brace."""
    line = rng.choice([line.strip() for line in text.split("\n") if line.strip()])
    line = line.replace("{{", "\0").replace("}}", "\1")
    line = re.sub(r"\{([^}]*\|[^}]*)\}", lambda m: rng.choice(m[1].split("|")), line)
    return line.replace("\0", "{").replace("\1", "}")


def test_candidates_are_as_frequent_as_sd_scripts_draws_them() -> None:
    mine = Counter(candidates.chosen(candidates.lines_of(LINES)))
    rng = random.Random(0)
    theirs = Counter(drawn_as_in_sd_scripts(LINES, rng) for _ in range(6000))
    assert set(mine) == set(theirs)
    total = sum(mine.values())
    assert all(abs(theirs[one] / 6000 - mine[one] / total) < 0.03 for one in mine)


def test_a_file_of_several_captions() -> None:
    found = candidates.parsed(LINES)
    assert Counter(found) == {
        "masterpiece, safe, 1girl, mirael, @nameko, smile, red hat": 2,
        "masterpiece, safe, 1girl, mirael, @nameko, smile, blue hat": 2,
        "masterpiece, safe, 1girl, mirael, @nameko, smile, green hat": 2,
        "A girl called {trigger} stands in the rain, her umbrella is open.": 3,
        "A girl called {trigger} stands in the rain, her umbrella is closed.": 3,
    }


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "hat, smile\n", "hat, smile\nhat, smile", "1girl | hat | smile", "{hat}, {trigger}",
     "aaa, bbb ||| ccc, ddd ||| eee"],
)  # fmt: skip
def test_one_caption_is_no_candidate(text: str) -> None:
    assert candidates.parsed(text) == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1girl, solo\nNegative prompt: bad\nworst quality, lowres\nSteps: 20, Sampler: x", ()),
        ("hat\nsmile\nNegative prompt: bad\nSteps: 20, Sampler: x", ("hat", "smile")),
        ("{red|blue} hat\nNegative prompt: {bad|worse}\nSteps: 20", ("red hat", "blue hat")),
        ("- 1girl\n- solo", ("1girl", "solo")),
        ("1. {red|blue} hat\n2. smile", ("red hat", "blue hat", "smile", "smile")),
        ('["1girl",\n "solo"]', ()),
        ('["{red|blue} hat",\n "solo"]', ("red hat, solo", "blue hat, solo")),
        ("tags: hat\nsmile", ("hat", "smile")),
        ("#hat #smile\n#sky #tree", ("hat, smile", "sky, tree")),
        ("{{red|blue}} hat\nsmile", ("red hat", "smile")),
    ],
)
def test_the_form_of_the_whole_text_is_no_candidate(text: str, found: tuple[str, ...]) -> None:
    assert candidates.parsed(text) == found


def test_lines_are_not_bounded() -> None:
    assert len(candidates.parsed("".join(f"hat, smile, tag {n}\n" for n in range(300)))) == 300


def test_more_choices_than_can_be_kept_apart_are_their_first_words() -> None:
    line = ", ".join(f"{{a{n}|b{n}}}" for n in range(7))
    first = ", ".join(f"a{n}" for n in range(7))
    assert candidates.chosen([line, "hat"]) == [first, "hat"]
    few = ["{a|b|c}", "{a|b|c|d|e|f|g}", "{a|b|c|d|e}"]
    assert len(candidates.chosen(few)) == 15, "each once, where even shares need too many"


CAPTION = st.text("ab, {}|.\u3042", min_size=1).map(str.strip).filter(bool)


@given(st.lists(CAPTION, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(captions: list[str]) -> None:
    text = candidates.written(captions)
    assert candidates.read(text) == tuple(captions)
    rng = random.Random(0)
    seen = {drawn_as_in_sd_scripts(text, rng) for _ in range(40)}
    assert seen <= set(captions), "sd-scripts finds no choice in it"


def test_a_scrape_keeps_the_captions_of_a_file_apart(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("hat, smile\nA girl wears a hat.\n")
    (tmp_path / "b.txt").write_text("hat, smile\n")
    files = caption_files.CaptionFiles()
    own = [(f"{stem}.png", "", files.of(tmp_path / f"{stem}.png")) for stem in "ab"]
    table = tmp_path / caption_files.CANDIDATES
    several = [(image, one.candidates) for image, _, one in own]
    caption_files.write_candidates(table, several)
    assert caption_files.read_candidates(table) == {"a.png": ("hat, smile", "A girl wears a hat.")}
    assert own[0][2].caption.text == "hat, smile, A girl wears a hat.", "as one caption, too"
    assert caption_files.summary([one for _, _, one in own], 2)["with_candidates"] == 1
    caption_files.write_candidates(table, several[1:])
    assert not table.exists()
