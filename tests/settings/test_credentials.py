"""No spelling of a secret is left in a text."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.io.errors import BakeryError
from bakery.settings import config, credentials

SECRETS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=6, max_size=30
)


def spellings(secret: str) -> dict[str, str]:
    data = secret.encode()
    every = "".join(f"%{byte:02x}" for byte in data)
    return {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "percent, lower case": quote(secret, safe="").lower() if secret.islower() else every,
        "form": quote_plus(secret),
        "twice": quote(quote(secret, safe=""), safe=""),
        "thrice": quote(quote(quote(secret, safe=""), safe=""), safe=""),
        "every byte": every.upper(),
        "underscores": quote(secret, safe="").replace("_", "%5F").replace("-", "%2D"),
        "JSON": json.dumps(secret)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(secret))[3:-3],
        "HTML": html.escape(secret),
        "numbered": "".join(f"&#{ord(one)};" for one in secret),
        "base64": base64.b64encode(data).decode(),
        "base64 for addresses": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "hexadecimal": data.hex(),
        "HEXADECIMAL": data.hex().upper(),
        "Basic": base64.b64encode(b"the baker:" + data).decode(),
    }


@given(SECRETS)
@settings(max_examples=20, deadline=None)
def test_a_secret_is_hidden_in_every_spelling(secret: str) -> None:
    for name, spelled in spellings(secret).items():
        shown = credentials.hide(f"before ({spelled}) after", {secret, "the baker"})
        assert spelled.rstrip("=") not in shown, name
        assert shown.startswith("before (")
        assert shown.endswith(") after")


NAMES = (
    "api_key", "apikey", "api-key", "api%5Fkey", "api%255Fkey", "session", "session_id", "key", "jwt",
    "token", "access_token", "pass_hash", "password_hash", "login", "auth", "sid", "sig", "secret",
    "client_secret", "LOGIN", "Api_Key", "refresh%2Dtoken",
)  # fmt: skip
SHAPES = (
    "https://x.org/a?{}=hunter2&b=1",
    "https://x.org/a#{}=hunter2",
    "https://x.org/a;{}=hunter2",
    "https://x.org/a?b=1&{}%3Dhunter2%26c",
)


def test_what_an_address_says_of_an_account_is_found_and_hidden() -> None:
    for name in NAMES:
        for shape in SHAPES:
            address = shape.format(name)
            assert "hunter2" not in credentials.hide(f"'403' for '{address}'"), address
            assert credentials.in_address(address), address


@pytest.mark.parametrize("shape", SHAPES)
def test_an_address_with_a_key_is_refused_and_not_repeated(shape: str) -> None:
    with pytest.raises(BakeryError, match="urls") as refusal:
        config.load({"scrape": {"urls": [shape.format("api%5Fkey")]}})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    ["https://me:hunter2@x.org/", "https://hunter2@x.org/", "Danbooru:http://a:hunter2@h/posts?tags=x",
     "https%3A%2F%2Fme:hunter2%40x.org"],
)  # fmt: skip
def test_userinfo_is_hidden_and_refused(address: str) -> None:
    assert "hunter2" not in credentials.hide(address)
    assert credentials.in_address(address)


@pytest.mark.parametrize(
    "address",
    ["https://x.org/posts?tags=key_visual+monkey", "https://x.org/?user_id=7", "https://x.org/keys/1",
     "https://x.org/posts?tags=pass%20the%20token", "https://x.org/@someone/media"],
)  # fmt: skip
def test_a_search_is_no_account(address: str) -> None:
    assert not credentials.in_address(address)


@pytest.mark.parametrize(
    "options",
    [
        {"extractor": {"tags": ["https://x.org/?api_key=hunter2"]}},
        {"extractor": {"a": {"b": {"c": {"pass_hash": "hunter2"}}}}},
        {"extractor": {"urls": [{"deep": [{"token": "hunter2"}]}]}},
        {"extractor": {"headers": {"X-Api-Key": "hunter2"}}},
        {"extractor": {"https://me:hunter2@x.org": {"tags": 1}}},
        {"extractor": {"proxy": {"http": "http://me:hunter2@x.org"}}},
        {"extractor": {"cookies": "~/hunter2.txt"}},
        {"extractor": {"tags": "https://x.org/#access%5Ftoken=hunter2"}},
    ],
)  # fmt: skip
def test_accounts_anywhere_in_options_are_refused_and_not_repeated(options: dict) -> None:
    with pytest.raises(BakeryError, match="gallery_dl") as refusal:
        config.load({"scrape": {"gallery_dl": options}})
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
