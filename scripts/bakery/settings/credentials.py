"""What must never be written down: names, passwords and keys of accounts.

- `hide` removes them from a text, also where they are written in another encoding;
- `in_address` and `in_options` find them in a config, so that it can be refused;
- `values` lists the secrets of gallery-dl's own configuration, so that they can be removed
  wherever a site or a message repeats them.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import permutations
from typing import Any
from urllib.parse import unquote

_JOINT = r"(?:[_-]|%(?:25)*(?:5f|2d))?"
"""What is between two words of a name, perhaps percent-encoded."""
_EQUALS = r"(?:=|%(?:25)*3d)"
_SECRET_NAMES = "|".join(
    word.replace("_", _JOINT)
    for word in (
        "api_key", "access_key", "access_token", "refresh_token", "auth_token", "auth_key", "auth",
        "authorization", "bearer", "client_secret", "secret_key", "secret", "private_key", "key",
        "token", "jwt", "login", "username", "user_name", "password_hash", "pass_hash", "password",
        "passwd", "pass", "pwd", "session_id", "session_key", "session", "sess", "sid", "sig",
        "signature", "csrf_token", "csrf", "cookie", "credential", "credentials", "otp",
    )
)  # fmt: skip
_PARAMETER = re.compile(
    rf"((?<![A-Za-z])(?:{_SECRET_NAMES}|user{_JOINT}id|email){_EQUALS})"
    r"(?:(?!%(?:25)*(?:26|23))[^&#;'\"\s<>\\])+",
    re.IGNORECASE,
)
# Narrower: `user_id` also says whose pictures are looked for.
_SECRET_PARAMETER = re.compile(rf"(?<![A-Za-z])(?:{_SECRET_NAMES}){_EQUALS}[^&#\s]", re.IGNORECASE)
_USERINFO = re.compile(
    r"(?<=://)[^/?#@\s'\"]+@|(?<=%3A%2F%2F)[^/?#@\s'\"]+?(?:@|%40)", re.IGNORECASE
)
_SECRET_OPTION = re.compile(
    r"user(-?name)?|login|e-?mail|pass(word|wd)?s?|pwd|(.*-)?(api-?key|secret|token|bearer|jwt|csrf"
    r"|session(-?id)?|pin|pass-?hash|password(-?hash)?|access-?key|private-?key)"
    r"|x-.*-key|key|client-?id|.*cookies?|(.*-)?authorization|auth|credentials?|netrc|sid|fb-dtsg|lsd",
)
_OPEN = frozenset({"forward-cookies"})
"""Named like an account, and none."""
_SHORTEST = 4
"""Shorter secrets are ignored: removing them would remove half of every text."""
_MOST_JOINED = 12
"""Of so many secrets at most, pairs are looked for as `Authorization: Basic` joins them."""


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with each of `secrets`, and with what addresses say of accounts, blotted out.

    A secret is found as it is, with any of its characters percent-encoded however often, or escaped as
    in JSON or HTML; in base64, alone and as a pair `name:password`; and in hexadecimal.
    """
    if wanted := frozenset(one for one in secrets if one):
        text = _pattern(wanted).sub("***", text)
    return _USERINFO.sub("***@", _PARAMETER.sub(r"\1***", text))


@lru_cache(maxsize=64)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    """Every way in which a secret is looked for, the longest secret first."""
    longest = sorted(secrets, key=lambda one: (-len(one), one))
    whole = [text for secret in longest for text in _as_bytes(secret)]
    pairs = permutations(longest, 2) if len(longest) <= _MOST_JOINED else ()
    whole += [_base64(":".join(pair)) for pair in pairs]
    whole.sort(key=len, reverse=True)
    spelled = ["".join(map(_spelled, secret)) for secret in longest]
    return re.compile("|".join([*map(re.escape, whole), *spelled]))


def _spelled(character: str) -> str:
    """A pattern for one character of a secret, in each way in which it may be written."""
    data = character.encode("utf-8", "replace")
    percent = "".join(f"%(?:25)*{_any_case(f'{byte:02X}')}" for byte in data)
    halves = character.encode("utf-16-be", "surrogatepass").hex(" ", 2).upper().split()
    escaped = "".join(rf"\\+u{_any_case(half)}" for half in halves)
    ways = [re.escape(character), percent, escaped]
    ways += [f"&#0*{ord(character)};", f"&#[xX]0*{_any_case(f'{ord(character):X}')};"]
    if (entity := html.escape(character)) != character:
        ways.append(entity)
    if character in '"\\/':
        ways.append(r"\\+" + re.escape(character))
    if character == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _any_case(digits: str) -> str:
    return "".join(f"[{one}{one.lower()}]" if one.isalpha() else one for one in digits)


def _as_bytes(secret: str) -> set[str]:
    """A secret in base64 and in hexadecimal; without padding."""
    data = secret.encode("utf-8", "replace")
    url_safe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    return {_base64(secret), url_safe, data.hex(), data.hex().upper()}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")


def in_address(url: str) -> bool:
    """Whether `url` holds a user, a password or a key, also percent-encoded."""
    forms = {url, unquote(url), unquote(unquote(url))}
    return any(_USERINFO.search(one) or _SECRET_PARAMETER.search(one) for one in forms)


def in_options(options: Mapping[str, Any]) -> str:
    """The dotted name of the first option that holds an account, "" when there is none."""
    found = (path for path, name, value in _walk(options) if _is_secret(name, value))
    return hide(next(found, ""))


def values(options: Mapping[str, Any]) -> set[str]:
    """The texts of `options` that are secrets by their name, and those inside of addresses."""
    found: set[str] = set()
    for _, name, value in _walk(options):
        texts = list(_texts(value))
        if names_account(name):
            found |= set(texts)
        found |= {part for text in texts for part in _in_userinfo(text)}
    # `Bearer abc` is also repeated without its first word
    found |= {text.partition(" ")[2] for text in found if text.startswith(("Bearer ", "Basic "))}
    return {text for text in found if len(text) >= _SHORTEST}


def names_account(name: str) -> bool:
    """Whether an option of this name holds an account, or a part of one."""
    plain = name.lower().replace("_", "-")
    return bool(_SECRET_OPTION.fullmatch(plain)) and plain not in _OPEN


def _in_userinfo(text: str) -> Iterator[str]:
    for found in re.findall(r"://([^/?#@\s]+)@", text):
        for part in found.split(":", 1):
            yield part
            yield unquote(part)


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "", False) or value == {} or value == []:
        return False
    return names_account(name) or in_address(name) or any(map(in_address, _texts(value)))


def _walk(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted path, name, value) of every option, the outer ones first; also of those in lists."""
    for name, value in options.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            # `cookies: {name: value}` is a secret as a whole, `extractor: {...}` is not
            if names_account(str(name)):
                yield here, str(name), value
            yield from _walk(value, here)
        else:
            yield here, str(name), value
            for inner in value if isinstance(value, (list, tuple)) else ():
                if isinstance(inner, Mapping):
                    yield from _walk(inner, here)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else []
