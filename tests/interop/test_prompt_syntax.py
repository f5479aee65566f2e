"""What is escaped for A1111 is read there as it was meant; `webui_reader` reads by its rules."""

from __future__ import annotations

import pytest
import webui_reader
from hypothesis import example, given
from hypothesis import strategies as st

from bakery.interop import infotext, prompt_syntax
from bakery.interop.infotext import Infotext

SETTINGS = {"Steps": "20", "Sampler": "DDIM", "CFG scale": "4"}
ESCAPED = {
    "mirael, 1girl": "mirael, 1girl",
    "shiroko (blue archive), 1girl": r"shiroko \(blue archive\), 1girl",
    "2b (nier:automata)": r"2b \(nier:automata\)",
    r"\(^o^)/": r"\\\(^o^\)/",
    r"\m/, \||/": r"\\m/, \\||/",
    "[pixiv]": r"\[pixiv\]",
    ":d, ;), :)": r":d, ;\), :\)",
    "1girl, :3": r"1girl, :\3",  # at the very end it would be a weight
    "1girl, :3, smile": "1girl, :3, smile",
    "<|>_<|>, <o>_<o>, |_|": "<|>_<|>, <o>_<o>, |_|",
    "<lora:x:1>": r"<\lora:x:1>",
    "cats AND dogs, BREAK dance": r"cats A\ND dogs, B\REAK dance",
    "ANDROID, BREAKFAST, and": "ANDROID, BREAKFAST, and",
    "Negative prompt: none": r"\Negative prompt: none",
}
"""Literal text -> what A1111 has to be given."""

pieces = st.sampled_from(
    ["(", ")", "[", "]", "\\", ":", "<", ">", "|", "_", " ", ", ", "AND", "BREAK", "lora:", "1.5", ":3",
     "girl", "smile", "Negative prompt:", "d", ".", "-", "^", "日本"],
)  # fmt: skip
texts = st.lists(pieces, max_size=12).map("".join).map(str.strip)


@pytest.mark.parametrize("text", ESCAPED)
def test_the_escape_is_what_people_write(text: str) -> None:
    assert prompt_syntax.escape(text) == ESCAPED[text]
    assert prompt_syntax.unescape(ESCAPED[text]) == text


@given(texts)
@example("a :\\3")
@example("\\")
def test_a1111_reads_the_literal_text(text: str) -> None:
    read = webui_reader.read_prompt(prompt_syntax.escape(text))
    assert read.networks == []
    assert read.literal == text
    assert prompt_syntax.unescape(prompt_syntax.escape(text)) == text


@given(texts, texts)
def test_a1111_reads_an_infotext_as_it_was_meant(prompt: str, negative: str) -> None:
    written = infotext.write(Infotext(prompt, negative, SETTINGS, {"a b": 0.5}))
    read = webui_reader.read_infotext(written)
    conditions = webui_reader.read_prompt(read.prompt)
    assert conditions.networks == ["<lora:a b:0.5>"]
    assert conditions.literal.strip() == prompt
    assert webui_reader.read_prompt(read.negative).literal == negative
    assert read.settings == SETTINGS


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
@example('say "x": y,\nz')
@example('"a')
@example("a\\")
def test_a1111_reads_any_value(value: str) -> None:
    if value.strip():
        written = infotext.write(Infotext("a", "", {**SETTINGS, "Note": value}))
        assert webui_reader.read_infotext(written).settings["Note"] == value


def test_a_persons_prompt_is_read_literally() -> None:
    text = (
        r"shiroko \(blue archive\), (smile:1.2), <lora:shiroko:0.8:0.5>, <lora:other>"
        "\nNegative prompt: \\[text\\]\nSteps: 20, Sampler: Euler a, CFG scale: 7"
    )
    info = infotext.parse(text)
    assert info.prompt == "shiroko (blue archive), (smile:1.2),,"
    assert info.negative_prompt == "[text]"
    assert info.loras == {"shiroko": 0.8, "other": 1.0}


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (r"shiroko \(blue archive\)", True),
        ("(smile:1.2), cat", True),
        ("[cat: 0.5]", True),
        ("2b (nier:automata), :3, (o)_(o)", False),
    ],
)
def test_what_looks_like_a1111s_syntax(text: str, marked: bool) -> None:
    assert prompt_syntax.is_marked(text) == marked


def test_comfyui_reads_a_name_with_brackets_the_same() -> None:
    """It knows two escapes, of round brackets, and nothing else."""
    text = "shiroko (blue archive), 2b (nier:automata), :d"
    escaped = prompt_syntax.escape(text)
    assert escaped.replace(r"\(", "(").replace(r"\)", ")") == text
    bare = escaped.replace(r"\(", "").replace(r"\)", "")
    assert not set("()") & set(bare)
