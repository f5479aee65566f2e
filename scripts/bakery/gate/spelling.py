"""Plain forms of a text, in which a word is found however it was written.

A form is in lower case and without accents; ` , ` stands between tags, `-` where a mark separated two
words, and a space where space did. `x; (Loli:1.2), #LOLI_girl` is ` , x , loli-1-2 , loli-girl , `.
"""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BREAKS = re.compile(r"[,;|\n\r\v\f\t\x1c-\x1e\x85\u2028\u2029、，；。！？<>]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]+")
_MARKS = re.compile(r"[\W_]+")
_EIGHTEEN = re.compile(r"\b18\s*\+|\+\s*18\b|🔞")
_START, _END = r"(?<![^\W_])", r"(?![^\W_])"
"""Where a word begins and ends; `_` is between words."""
_STARRED = (
    (re.compile(rf"{_START}l[*#@.]li"), "loli"),
    (re.compile(rf"{_START}sh[*#@.]ta"), "shota"),
    (re.compile(rf"{_START}lol[!|]|{_START}l[o0]\|i{_END}|{_START}\|oli{_END}"), "loli"),
    (re.compile(rf"\$h[o0]ta{_END}"), "shota"),
)
_LATIN = re.compile(r"[a-zа-яα-ωіјѕһӏ\u0250-\u02af\u1d00-\u1d7f\ua731]+")
_BESIDE = re.compile(r"(?<=[a-z0-9])(?=[^\W\d_a-z])|(?<=[^\W\d_a-z])(?=[a-z0-9])")
_NUMBERED = re.compile(r"\b(?=[a-z0-9]*[a-z])(?=[a-z0-9]*[013457])[a-z0-9]+\b")

_ROUNDS = 4
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Letters of the category Cf that may stand inside of an escape."""
# The kana's voicing marks are combining, too, but make another letter: they stay.
_VOICING = {"\u3099", "\u309a"}
# Letters that show nothing and are not of the category Cf.
_UNSEEN = {"\u115f", "\u1160", "\u3164", "\uffa0"}
# Letters of other scripts that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһӏкмтвнгοιαερτυνκχʟᴏɪꜱʜᴛᴀᴄᴜʙᴅᴇɴɢɩɑɡıłø",
    "aeopcyxijshlkmtbhroiaeptuvkxloishtacubdengiagilo",
)
# Letters in black squares, black circles, and those of flags.
_BADGES = {start + n: chr(ord("a") + n) for start in (0x1F170, 0x1F150, 0x1F1E6) for n in range(26)}
_DIGITS = (str.maketrans("013457", "oieast"), str.maketrans("013457", "oleast"))


def forms(text: str) -> tuple[str, ...]:
    """The plain forms of `text`, each once: as it is, and with words and digits read in other ways."""
    text = _unescaped(text)
    found = dict.fromkeys(map(_plain, dict.fromkeys((text, _CAMEL.sub(" ", text)))))
    for form in list(found):
        if _NUMBERED.search(form):
            found |= dict.fromkeys(_read_as_letters(form, digits) for digits in _DIGITS)
    return tuple(found)


def _unescaped(text: str) -> str:
    """Entities, percent and `\\u` escapes read, compatibility letters (full width) made usual ones.

    One may hide another: each is read until nothing changes, or `_ROUNDS` times.
    """
    for _ in range(_ROUNDS):
        before = text
        if not text.isascii():
            text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text.translate(_BADGES)))
        if "&" in text:
            text = html.unescape(text)
        if "%" in text:
            text = unquote(text)
        if "\\u" in text:
            text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        if text == before:
            break
    return text


def _plain(text: str) -> str:
    text = text.casefold()
    if text.isascii():
        text = _CONTROLS.sub("", text)
    else:
        text = "".join(filter(_shows, unicodedata.normalize("NFKD", text)))
        text = _LATIN.sub(_as_latin, unicodedata.normalize("NFC", text))
    text = _EIGHTEEN.sub(" r18 ", text)
    for starred, word in _STARRED:
        text = starred.sub(word, text)
    tags = (
        _MARKS.sub(_separator, _BESIDE.sub("_", tag)).strip(" -") for tag in _BREAKS.split(text)
    )
    return f" , {' , '.join(filter(None, tags))} , "


def _shows(letter: str) -> bool:
    """Whether a letter of a decomposed text is more than an accent, a control or nothing at all."""
    if letter in _VOICING:
        return True
    if letter in _UNSEEN:
        return False
    kind = unicodedata.category(letter)
    return kind not in {"Mn", "Me", "Cf"} and (kind != "Cc" or letter.isspace())


def _as_latin(word: re.Match[str]) -> str:
    """A word in which other scripts' letters stand among Latin ones, in Latin; others as they are."""
    letters = word[0]
    mixed = any(letter.isascii() for letter in letters) and not letters.isascii()
    small_capitals = any(letter in "ʟᴏɪꜱʜᴛᴀᴄᴜʙᴅᴇɴɢɩɑ" for letter in letters)
    return letters.translate(_LOOKALIKES) if mixed or small_capitals else letters


def _separator(marks: re.Match[str]) -> str:
    return " " if any(mark.isspace() for mark in marks[0]) else "-"


def _read_as_letters(form: str, digits: dict[int, int]) -> str:
    return _NUMBERED.sub(lambda match: match[0].translate(digits), form)
