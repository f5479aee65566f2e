"""Text files whose encoding nobody wrote down: bytes in, text out.

In this order: a byte order mark decides (UTF-8, UTF-16, UTF-32); else what is strictly UTF-8 is UTF-8;
else NUL bytes in every second place are UTF-16 without its mark; else the legacy encoding whose usual
letters the bytes fit best (`LEGACY`). Captions are short, so a detector that counts letter frequencies
guesses wrongly; the ranges of everyday letters are a better sign. A guess is always reported.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bakery.io import regular_files

UTF8 = "UTF-8"
LEAST_FIT = 0.6
"""Share (0..1) of the letters beyond ASCII that must be usual ones; below, no encoding is guessed."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
"""Mark, codec, name. UTF-32 comes before UTF-16, whose little-endian mark it begins with."""
_LINE_END = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_TYPOGRAPHY = "‘’“”„–—…•€™©®°·«»¡¿´"
_ACCENTED = "[À-ÖØ-öø-ÿŠšŽžŒœŸ]{1,2}"
_WESTERN = re.compile(  # in a word of ASCII letters, or one of the few words of one letter
    rf"(?<=[A-Za-z]){_ACCENTED}(?![^\x00-\x7f])|(?<![^\x00-\x7f]){_ACCENTED}(?=[A-Za-z])|"
    rf"(?<![^\x00-\x7f])[àáéêèíóôúåøÀÉ](?![^\x00-\x7f])|[{_TYPOGRAPHY}]"
)
_KANA = re.compile(r"[ぁ-ゖァ-ヺー]")
_CYRILLIC = re.compile(r"(?<![A-Za-z])[А-ЯЁа-яё][а-яё]*(?![A-Za-z])")
_HANGUL = re.compile(r"[가-힣]")


class UnreadableText(Exception):
    """The bytes are no text that can be read; the message says why and what to do."""


@dataclass(frozen=True)
class DecodedText:
    """The content of a text file."""

    text: str
    """Lines end with a line feed; there is no byte order mark and no NUL."""
    encoding: str = UTF8
    """Its name for people; anything but `UTF8` is worth a word."""
    others: tuple[str, ...] = ()
    """Where the encoding was guessed, the bytes as the other encodings read them: for a check that
    must not depend on the guess."""


def read(path: Path, largest: int = regular_files.LARGEST_TEXT) -> DecodedText:
    """The text of a file of at most `largest` bytes.

    Raises `UnreadableText` when its bytes are no text, or OSError, as `regular_files` does.
    """
    return decode(regular_files.read_bytes(path, largest))


def decode(data: bytes) -> DecodedText:
    """The text in `data`. Raises `UnreadableText` when there is none."""
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            return DecodedText(_plain(_strictly(data[len(mark) :], codec, name)), name)
    stripped = data.rstrip(b"\0")  # a file system leaves these after a crash
    if data and not stripped:
        raise UnreadableText("holds nothing but NUL bytes: write it anew, as UTF-8")
    text = _try(stripped, "utf-8")
    if text is not None and not _CONTROL.search(text):
        return DecodedText(_plain(text))
    if b"\0" in stripped:
        return DecodedText(_plain(_unmarked_utf16(data)), "UTF-16")
    if text is not None:  # UTF-8 with control characters
        return DecodedText(_plain(_CONTROL.sub("", text)))
    return _legacy(stripped)


def _strictly(data: bytes, codec: str, name: str) -> str:
    try:
        return data.decode(codec).rstrip("\0")
    except UnicodeDecodeError:
        raise UnreadableText(
            f"begins like {name}, but its bytes are damaged: save it as UTF-8"
        ) from None


def _try(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _unmarked_utf16(data: bytes) -> str:
    """UTF-16 without its mark: the NULs of ASCII letters tell where the upper bytes are."""
    upper = "le" if data[1::2].count(0) >= data[0::2].count(0) else "be"
    text = _try(data, f"utf-16-{upper}")
    if text is None or _CONTROL.search(text.rstrip("\0")):
        raise UnreadableText("is not UTF-8 text, nor any other: save it as UTF-8")
    return text.rstrip("\0")


@dataclass(frozen=True)
class _Encoding:
    name: str
    codec: str
    usual: Callable[[str], int]
    """How many of a text's letters beyond ASCII are everyday ones of this encoding."""


def _leads(codec: str, first: int, last: int, *more: str) -> Callable[[str], int]:
    """Counts letters whose first byte lies in first..last (the level of everyday ideographs of the
    standard behind `codec`) and second byte is as there; and those that the patterns match."""
    patterns = [re.compile(one) for one in more]

    def usual(letter: str) -> bool:
        code = letter.encode(codec, "replace")
        common = len(code) == 2 and first <= code[0] <= last
        return common or any(pattern.match(letter) for pattern in patterns)

    return lambda text: sum(usual(letter) for letter in _BEYOND_ASCII.findall(text))


def _matching(pattern: re.Pattern[str]) -> Callable[[str], int]:
    return lambda text: sum(len(found[0]) for found in pattern.finditer(text))


_PUNCTUATION = "[、。，．・：；？！（）「」『』【】～ー　☆★♪♥]"
# Where the standards put their first level: JIS X 0208 rows 16 to 47, GB 2312 rows 16 to 55, KS X
# 1001 rows 16 to 40, Big5 A4 to C6.
LEGACY = (
    _Encoding(
        "Shift-JIS", "cp932", _leads("cp932", 0x88, 0x97, r"[ぁ-ゖァ-ヺ々０-９Ａ-ｚ]", _PUNCTUATION)
    ),
    _Encoding(
        "EUC-JP",
        "euc_jp",
        lambda text: (
            _leads("euc_jp", 0xB0, 0xCF, r"[ぁ-ゖァ-ヺ々]", _PUNCTUATION)(text)
            if _KANA.search(text)
            else 0
        ),
    ),
    _Encoding("EUC-KR", "cp949", _matching(re.compile(rf"{_HANGUL.pattern}|{_PUNCTUATION}"))),
    _Encoding("GB18030", "gb18030", _leads("gb18030", 0xB0, 0xD7, _PUNCTUATION)),
    _Encoding("Big5", "big5", _leads("big5", 0xA4, 0xC6, _PUNCTUATION)),
    _Encoding("Windows-1251", "cp1251", _matching(_CYRILLIC)),
    _Encoding("Windows-1252", "cp1252", _matching(_WESTERN)),
)
"""Of equally good fits the first is taken: a text that is Hangul throughout is so by chance in no
other encoding, while Chinese takes nearly all pairs of bytes for ideographs."""


def _legacy(data: bytes) -> DecodedText:
    read = {one: text for one in LEGACY if (text := _try(data, one.codec)) is not None}
    fits = {one: one.usual(text) / _beyond_ascii(text) for one, text in read.items()}
    best = max(fits, key=lambda one: fits[one], default=None)
    if best is None or fits[best] < LEAST_FIT or _CONTROL.search(read[best]):
        raise UnreadableText("is not UTF-8 text, nor in a known older encoding: save it as UTF-8")
    others = tuple(_plain(text) for one, text in read.items() if one is not best)
    return DecodedText(_plain(read[best]), best.name, others)


def _beyond_ascii(text: str) -> int:
    """How many letters are no ASCII ones; half-width kana count as unusual ones."""
    return max(1, len(_BEYOND_ASCII.findall(text)))


def _plain(text: str) -> str:
    return _LINE_END.sub("\n", text.replace("\ufeff", ""))
