"""What must never be written down: names, passwords and keys of accounts.

- `hide` removes them from a text;
- `in_address` and `in_options` find them in a config, so that it can be refused;
- `values` lists the secrets of gallery-dl's own configuration, so that they can be removed
  wherever a site or a message repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PARAMETER = re.compile(
    r"((?<![A-Za-z])(?:api_?key|access_?token|auth|key|login|password|passwd|pass|sig|signature"
    r"|token|user_?id)=)[^&#'\"\s]+",
    re.IGNORECASE,
)
# Narrower: `user_id` and `key` also say what is looked for.
_SECRET_PARAMETER = re.compile(
    r"[?&;](?:api_?key|access_?token|auth|auth_?token|password(?:_hash)?|passwd|pass|pass_hash|sig"
    r"|signature|token)=[^&#]",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_SECRET_OPTION = re.compile(
    r"user(name)?|login|email|pass(word|wd)?|(.*[-_])?(api-?key|secret|token|bearer|session(id)?|pin)"
    r"|client-?id|cookies?|authorization|auth|credentials?|netrc|sid",
)
_SHORTEST = 4
"""Shorter secrets are ignored: removing them would remove half of every text."""


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with each of `secrets`, and with what addresses say of accounts, blotted out."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _USERINFO.sub("***@", _PARAMETER.sub(r"\1***", text))


def in_address(url: str) -> bool:
    """Whether `url` holds a user, a password or a key."""
    return bool(_USERINFO.search(url) or _SECRET_PARAMETER.search(url))


def in_options(options: Mapping[str, Any]) -> str:
    """The dotted name of the first option that holds an account, "" when there is none."""
    return next((path for path, name, value in _walk(options) if _is_secret(name, value)), "")


def values(options: Mapping[str, Any]) -> set[str]:
    """The texts of `options` that are secrets by their name."""
    found = set()
    for _, name, value in _walk(options):
        if _is_secret(name, value):
            found |= {piece for piece in _texts(value) if len(piece) >= _SHORTEST}
    return found


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "", False) or value == {} or value == []:
        return False
    named = _SECRET_OPTION.fullmatch(name.lower().replace("_", "-"))
    return bool(named) or any(in_address(text) for text in _texts(value))


def _walk(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted path, name, value) of every option, the outer ones first."""
    for name, value in options.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            # `cookies: {name: value}` is a secret as a whole, `extractor: {...}` is not
            if _SECRET_OPTION.fullmatch(str(name).lower()):
                yield here, str(name), value
            yield from _walk(value, here)
        else:
            yield here, str(name), value


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else []
