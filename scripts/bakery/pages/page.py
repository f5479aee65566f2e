"""A web page in one file: everything it shows is inside, and nothing is ever fetched.

Text is inserted by jinja2 with autoescape; the script's data is in blocks without any `<`. A
content security policy lists the hashes of the page's own script and style, so even a mistake there
could run nothing and load nothing from a network. Pictures are in the page itself or, if they did
not fit, in the files next to it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from bakery.io import quantities
from bakery.io.files import sayable
from bakery.io.images import open_rgb

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL_QUALITY = 75
"""WebP quality of a thumbnail that only shows what kind of picture it is."""


@dataclass(frozen=True)
class InlineImage:
    """A thumbnail as a data URI, with its size in pixels."""

    src: str
    width: int
    height: int


@dataclass(frozen=True)
class Subject:
    """What a page with decisions is about."""

    dataset: str
    folder: str = ""
    """Name of the result's folder, with its key: a browser keeps unsaved decisions under it."""


def thumbnail(path: Path, side: int) -> InlineImage:
    """The picture at `path`, small: its longer side has at most `side` pixels, its colours are near.

    For pages that show hundreds of pictures: some two kilobytes each.
    """
    small = open_rgb(path)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
    return InlineImage(_data_uri(small, THUMBNAIL_QUALITY), *small.size)


def render(name: str, *, tile: int, columns: int = 1, **context: Any) -> str:
    """`name`.html.j2 with house.css, `name`.css and, if there is one, house.js and `name`.js inside.

    `tile` is the CSS length `--tile` in pixels, `columns` the number `--columns`. What UTF-8 cannot
    say (half a surrogate pair) becomes `?`.
    """
    sizes = f":root {{ --tile: {tile}px; --columns: {columns}; }}\n"
    style = sizes + _text("house.css") + _text(f"{name}.css")
    script = _text("house.js") + _text(f"{name}.js") if (TEMPLATES / f"{name}.js").is_file() else ""
    policy = (
        "default-src 'none'; img-src data: file: 'self'; base-uri 'none'; form-action 'none'; "
        f"style-src {_source(style)}; script-src {_source(script)}"
    )
    html = (
        _environment()
        .get_template(f"{name}.html.j2")
        .render(policy=policy, style=Markup(style), script=Markup(script), tile=tile, **context)
    )
    return sayable(html)


def data(value: Any) -> Markup:
    """`value` as JSON for a `<script type="application/json">`: no text in it can end the block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def percent(share: float) -> str:
    """`83%`; a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.0f}%"


def fixed(value: float, digits: int = 2) -> str:
    """`0.83`; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


@functools.cache  # compiling a template takes longer than filling it
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "fixed": fixed, "data": data, "address": _address}
    environment.filters |= {"duration": quantities.duration, "size": quantities.size}
    environment.filters |= {"memory": quantities.memory, "clock": quantities.clock}
    return environment


def _address(path: str) -> str:
    """`path` in an address."""
    return quote(path, errors="replace")


def _data_uri(picture: Image.Image, quality: int) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, format="WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """The policy's source expression for exactly this inline text."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
