"""Infotext: what is written can be read back, by us and by A1111's rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakery.interop import infotext
from bakery.interop.infotext import Infotext
from bakery.io.errors import BakeryError

SETTINGS = {"Steps": "20", "Sampler": "DDIM", "CFG scale": "4"}


def test_the_layout_is_a1111s() -> None:
    info = Infotext(
        "mirael, smile",
        "sad",
        {**SETTINGS, "Size": "96x96", "Lora hashes": "mirael-000002: 0123456789ab"},
        {"mirael-000002": 0.8},
    )
    assert infotext.write(info) == (
        "mirael, smile <lora:mirael-000002:0.8>\n"
        "Negative prompt: sad\n"
        "Steps: 20, Sampler: DDIM, CFG scale: 4, Size: 96x96, "
        'Lora hashes: "mirael-000002: 0123456789ab"'
    )


def test_an_infotext_of_a1111_is_understood() -> None:
    text = (
        "1girl, (smile:1.2),\nbeach <lora:a b:1> <lora:c:-0.5>\n"
        "Negative prompt: sad,\nblurry\n"
        "Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 12, Size: 512x768, "
        'Model hash: abc, Lora hashes: "a b: 11, c: 22", TI: "say \\"hi\\"", Version: v1.10.1'
    )
    info = infotext.parse(text)
    assert info.prompt == "1girl, (smile:1.2),\nbeach"
    assert info.negative_prompt == "sad,\nblurry"
    assert info.loras == {"a b": 1.0, "c": -0.5}
    assert info.settings["Sampler"] == "DPM++ 2M Karras"
    assert info.settings["Lora hashes"] == "a b: 11, c: 22"
    assert info.settings["TI"] == 'say "hi"'
    assert list(info.settings)[-1] == "Version"


@pytest.mark.parametrize("text", ["just a prompt", "a, b: c", "one: 1, two: 2", ""])
def test_a_prompt_alone_stays_a_prompt(text: str) -> None:
    assert infotext.parse(text) == Infotext(text)


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@given(
    prompt=words | st.just("Negative prompt: a"),
    negative=words,
    value=st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip),
)
def test_reading_undoes_writing(prompt: str, negative: str, value: str) -> None:
    settings = {**SETTINGS, "Note": value}
    info = Infotext(prompt.strip(), negative.strip(), settings, {"a": 0.5})
    assert infotext.parse(infotext.write(info)) == info


def test_settings_that_could_not_be_read_back_are_refused() -> None:
    with pytest.raises(ValueError, match="3 settings"):
        infotext.write(Infotext("a", "", {"Steps": "1"}))
    with pytest.raises(ValueError, match="cannot be a setting's name"):
        infotext.write(Infotext("a", "", {**SETTINGS, "a: b": "1"}))
    with pytest.raises(ValueError, match="Model has no value"):
        infotext.write(Infotext("a", "", {**SETTINGS, "Model": " "}))


@pytest.mark.parametrize("prompt", ["pink hair", "ピンク髪, smile"])
def test_a_png_carries_it(prompt: str, tmp_path: Path) -> None:
    info = Infotext(prompt, "", SETTINGS)
    path = tmp_path / "a.png"
    infotext.save_png(Image.new("RGB", (8, 8), "pink"), path, info)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert infotext.parse(infotext.read_png(path)) == info
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.convert("RGB").getpixel((3, 3)) == (
            255,
            192,
            203,
        )


def test_png_without_infotext_and_bad_files(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert infotext.read_png(tmp_path / "plain.png") == ""
    with pytest.raises(BakeryError, match=r"lost.png does not exist"):
        infotext.read_png(tmp_path / "lost.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "plain.png").read_bytes()[:40])
    with pytest.raises(BakeryError, match=r"cut.png is not a readable PNG"):
        infotext.read_png(tmp_path / "cut.png")
