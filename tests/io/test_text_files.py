"""Text files are read in whatever encoding their editor left them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.io import text_files
from bakery.io.text_files import UnreadableText

LEGACY = {
    "Shift-JIS": ("cp932", ["hoshi, 1girl, ドレス", "青い髪, 笑顔", "公園に立っている女の子。"]),
    "EUC-JP": ("euc_jp", ["hoshi, 1girl, ドレス", "青い髪の女の子"]),
    "EUC-KR": ("cp949", ["hoshi, 1girl, 드레스", "파란 머리, 미소, 소녀"]),
    "GB18030": ("gb18030", ["hoshi, 1girl, 连衣裙", "蓝色头发, 微笑", "猫耳，女仆，尾巴"]),
    "Big5": ("big5", ["hoshi, 1girl, 連衣裙", "一個藍色頭髮的女孩站在公園裡。"]),
    "Windows-1251": ("cp1251", ["девушка, улыбка", "1girl, платье"]),
    "Windows-1252": ("cp1252", ["café, 1girl", "größe, Mädchen", "it’s a “girl” – été", "niña"]),
}


@pytest.mark.parametrize(
    ("name", "codec", "text"),
    [(name, codec, text) for name, (codec, texts) in LEGACY.items() for text in texts],
)
def test_older_encodings(name, codec, text):
    read = text_files.decode(text.encode(codec))
    assert (read.text, read.encoding) == (text, name)


def test_a_guess_hands_out_what_else_it_could_be():
    read = text_files.decode("萝莉".encode("gb18030"))
    assert "萝莉" in (read.text, *read.others)
    assert text_files.decode("萝莉".encode()).others == ()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")))
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_comes_through(codec, text):
    assert text_files.decode(text.encode(codec)).text == text


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=2))
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark(codec, text):
    assert text_files.decode(text.encode(codec)).text == text


def test_line_ends_and_nuls():
    assert text_files.decode(b"a\rb\r\nc\nd\0\0").text == "a\nb\nc\nd"
    assert text_files.decode("\ufeffa\r\n\ufeffb".encode()).text == "a\nb"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe\xfa", "UTF-16"), (b"\0" * 40, "nothing but NUL"), (b"\x80\x81", "save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "save it as UTF-8"), (bytes(range(256)), "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_text(data, says):
    with pytest.raises(UnreadableText, match=says):
        text_files.decode(data)
