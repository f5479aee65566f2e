"""The embedded world: tiny portrait busts with their exact danbooru-style tags.

The pictures are a remix of "ToonHead" by Johan Melin
(https://www.figma.com/community/file/1589627891082866389), licensed under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/), as packaged by DiceBear (https://www.dicebear.com),
with our own eyes, mouths, hair, garments, accessories and scenes (see drawing.py).

A `Look` holds every attribute of one picture. `tags` reads it, `render` draws it, so the tags
are ground truth by construction; the same Look always gives the same pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields

import numpy as np
import resvg_py
from PIL import Image

from world import drawing as d

_MAROON, _TONGUE = "#7a1020", "#ff6f6a"
MOUTHS = {
    "smile": d.stroke("M318 500Q384 574 450 500", _MAROON, 16),
    "open mouth": d.ellipse(384, 522, 38, 42, _MAROON, d.OUT)
    + d.ellipse(384, 546, 24, 15, _TONGUE),
    "laughing": (
        d.path("M308 484L460 484Q456 580 384 580Q312 580 308 484Z", _MAROON)
        + d.path("M316 488L452 488Q450 512 444 514L324 514Q318 512 316 488Z", "#ffffff", "")
        + d.ellipse(384, 560, 40, 16, _TONGUE)
    ),
    "sad": d.stroke("M322 552Q384 470 446 552", _MAROON, 17),
    "angry": (
        d.path("M322 496Q384 480 446 496Q466 522 446 548Q384 560 322 548Q302 522 322 496Z", "#fff")
        + d.stroke("M312 522L456 522M350 492L350 552M384 488L384 556M418 492L418 552", d.LINE, 7)
    ),
}
BLUSH = d.mirror(d.ellipse(258, 488, 46, 28, "#ff5a78", 'fill-opacity=".75"'))

_LENS = "M222 372Q222 354 242 354L344 354Q364 354 364 372L360 430Q354 476 300 476Q232 476 222 430Z"
_EYEWEAR = {
    "glasses": (
        d.mirror(
            d.path(_LENS, "#d8f0ff", 'fill-opacity=".14"')
            + d.stroke(_LENS, "#111111", 18)
            + d.stroke("M222 384L190 376", "#111111", 16)
        )
        + d.stroke("M362 388Q384 374 406 388", "#111111", 16)
    ),
    "sunglasses": (
        d.mirror(
            d.path(_LENS, "#16161d")
            + d.stroke("M222 372L186 366", "#16161d", 18)
            + d.stroke("M250 420L296 374M284 430L316 396", "#8fa3c8", 12)
        )
        + d.stroke("M356 376Q384 366 412 376", "#16161d", 20)
    ),
    "eyepatch": (
        d.stroke("M206 250L400 356M540 420L590 452", "#1b1b22", 16)
        + d.path("M384 352Q462 330 542 366Q548 470 466 486Q388 470 384 352Z", "#1b1b22")
        + d.stroke("M430 400L494 436M494 400L430 436", "#ffffff", 12)
    ),
}

_TORSO = "M40 740C46 640 130 600 300 566L468 566C638 600 722 640 728 740Z"


def _shirt(color: str) -> str:
    flap = d.path("M318 552L372 624L292 654L262 570Z", d.shade(color, 1.45))
    placket = d.stroke("M384 610L384 740", d.shade(color, 0.55), 9)
    buttons = d.circle(384, 660, 9, d.shade(color, 1.8))
    return d.path(_TORSO, color) + placket + d.mirror(flap) + buttons


def _jacket(color: str) -> str:
    inner = d.path("M290 566L478 566L500 740L268 740Z", "#ffffff")
    side = d.path("M40 740C46 640 130 600 306 556Q296 640 318 740Z", color)
    lapel = d.path("M306 556L250 580L232 640L268 648L322 740Q300 640 306 556Z", d.shade(color, 0.7))
    return inner + d.mirror(side + lapel)


def _dress(color: str) -> str:
    strap = d.path("M226 588L268 576L290 640L240 640Z", color)
    bodice = d.path(
        "M168 740Q184 650 222 604Q310 600 384 640Q458 600 546 604Q584 650 600 740Z", color
    )
    trim = "M226 612Q312 606 384 646Q456 606 542 612"
    return d.mirror(strap) + bodice + d.stroke(trim, d.LINE, 26) + d.stroke(trim, "#ffffff", 15)


def _sweater(color: str) -> str:
    dark = d.shade(color, 0.62)
    roll = d.path(
        "M262 540Q384 580 506 540Q524 590 506 640Q384 676 262 640Q244 590 262 540Z", color
    )
    ribs = d.stroke("M300 600L300 634M342 604L342 644M384 606L384 648M426 604L426 644", dark, 9)
    knit = d.stroke(
        "M96 684L150 656L200 684L250 656L300 684L468 684L518 656L568 684L618 656L672 684", dark, 9
    )
    return d.path(_TORSO, color) + knit + roll + ribs + d.stroke("M468 600L468 634", dark, 9)


GARMENTS = {"shirt": _shirt, "jacket": _jacket, "dress": _dress, "sweater": _sweater}
SCARF = (
    d.path("M462 590L528 586L548 700L478 708Z", "#ff7a1a")
    + d.stroke("M474 640L534 634M480 672L540 666", "#fff1d6", 12)
    + d.path("M234 540Q384 580 534 540Q556 574 534 608Q384 640 234 608Q212 574 234 540Z", "#ff7a1a")
    + d.stroke("M286 566L280 612M352 576L350 622M418 576L420 622M484 566L490 612", "#fff1d6", 12)
)


def bare_body(skin: str) -> str:
    """Neck and shoulders."""
    return f'<g transform="translate(0 -24)">{d.part("body", "body", skin=skin)}</g>'


HAIR_COLORS = {
    "black": "#38354a", "brown": "#7b4a25", "blonde": "#f7d64a", "red": "#d8262c",
    "pink": "#ff8fc4", "purple": "#8a3fd1", "blue": "#2f74ea", "green": "#2fb457",
    "white": "#f4f4fa",
}  # fmt: skip
EYE_COLORS = {
    "blue": "#1f8bff", "green": "#14b84b", "brown": "#7a431b", "red": "#f01f2d",
    "purple": "#9a2cf0", "yellow": "#ffc800",
}  # fmt: skip
GARMENT_COLORS = {
    "black": "#33333d", "white": "#f7f7fa", "red": "#dc2430", "blue": "#2a62e0",
    "green": "#2aa84a", "yellow": "#ffd42a", "pink": "#ff86bb", "purple": "#8a40d0",
}  # fmt: skip
PLAIN = {
    "white": "#ffffff", "grey": "#9a9aa2", "black": "#141418", "blue": "#7ab8ff",
    "pink": "#ffb3d6", "green": "#8fdc8a", "yellow": "#ffe97a", "purple": "#c29bf2",
}  # fmt: skip
SKINS = {"fair": "#ffe3d0", "light": "#f6ccae", "tan": "#e3ab84", "dark": "#8f5a3c"}
LENGTHS = ("short hair", "long hair")
GIRL_STYLES = ("wavy hair", "spiky hair", "hair bun", "twintails", "ponytail")
BOY_STYLES = ("spiky hair", "undercut")
EXPRESSIONS = {
    "smile": "smile", "open mouth": "open mouth", "laughing": ":d", "sad": "sad", "angry": "angry"
}  # fmt: skip
EYES = {"open": None, "closed": "closed eyes", "wink": "one eye closed"}
NOVEL = ("halo",)
HEADWEAR = ("cat ears", *(name for name in d.HEADWEAR if name not in NOVEL))
EYEWEAR = tuple(_EYEWEAR)
SCENES = tuple(d.SCENES)

GROUPS: dict[str, tuple[str, ...]] = {
    "hair color": tuple(f"{c} hair" for c in HAIR_COLORS),
    "hair style": (*LENGTHS, *GIRL_STYLES, "undercut"),
    "eye color": tuple(f"{c} eyes" for c in EYE_COLORS),
    "garment": (*GARMENTS, *(f"{c} {g}" for g in GARMENTS for c in GARMENT_COLORS)),
    "expression": (*EXPRESSIONS.values(), "closed eyes", "one eye closed", "blush"),
    "headwear": (*HEADWEAR, *NOVEL),
    "eyewear": EYEWEAR,
    "scene": SCENES,
    "background": ("simple background", *(f"{c} background" for c in PLAIN)),
    "other": ("1girl", "1boy", "solo", "scarf", "facial hair", "dark skin"),
}


@dataclass(frozen=True)
class Look:
    """Every attribute of one picture; dx and dy are fractions of the picture, tilt is degrees."""

    gender: str = "1girl"
    hair_color: str = "brown"
    hair_length: str = "long hair"
    hair_style: str | None = None
    eye_color: str = "blue"
    eyes: str = "open"
    expression: str = "smile"
    garment: str = "shirt"
    garment_color: str = "red"
    headwear: str | None = None
    eyewear: str | None = None
    scarf: bool = False
    blush: bool = False
    facial_hair: bool = False
    skin: str = "light"
    background: str = "white"
    dx: float = 0.0
    dy: float = 0.0
    zoom: float = 1.0
    tilt: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                listed = ", ".join(str(choice) for choice in allowed)
                raise ValueError(f"{name}={value!r} is not one of: {listed}.")
        for name, (low, high) in JITTER.items():
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name}={value!r} is not a number in {low}..{high}.")
        for clash, sentence in _CLASHES:
            if clash(self):
                raise ValueError(sentence)


_FLAG = (False, True)
CHOICES: dict[str, tuple] = {
    "gender": ("1girl", "1boy"),
    "hair_color": tuple(HAIR_COLORS),
    "hair_length": LENGTHS,
    "hair_style": (None, *GIRL_STYLES, "undercut"),
    "eye_color": tuple(EYE_COLORS),
    "eyes": tuple(EYES),
    "expression": tuple(EXPRESSIONS),
    "garment": tuple(GARMENTS),
    "garment_color": tuple(GARMENT_COLORS),
    "headwear": (None, *HEADWEAR, *NOVEL),
    "eyewear": (None, *EYEWEAR),
    "scarf": _FLAG,
    "blush": _FLAG,
    "facial_hair": _FLAG,
    "skin": tuple(SKINS),
    "background": (*SCENES, *PLAIN),
    "flip": _FLAG,
}
JITTER = {"dx": (-0.03, 0.03), "dy": (-0.03, 0.03), "zoom": (0.96, 1.04), "tilt": (-3.0, 3.0)}

_CLASHES = (
    (
        lambda k: k.gender == "1boy" and k.hair_style not in BOY_STYLES,
        "A 1boy has hair_style 'spiky hair' or 'undercut' only.",
    ),
    (lambda k: k.gender == "1boy" and k.hair_length != "short hair", "A 1boy has short hair only."),
    (lambda k: k.gender == "1boy" and k.garment == "dress", "A 1boy never wears a dress here."),
    (lambda k: k.gender == "1girl" and k.hair_style == "undercut", "A 1girl has no undercut."),
    (lambda k: k.gender == "1girl" and k.facial_hair, "A 1girl has no facial hair."),
    (
        lambda k: k.eyes != "open" and k.eyewear == "sunglasses",
        "Sunglasses hide the eyes, so eyes must be 'open'.",
    ),
    (
        lambda k: k.eyes == "wink" and k.eyewear == "eyepatch",
        "A wink with an eyepatch shows no eye, so choose one of them.",
    ),
)
# Attributes that together say whether a Look is a boy's; tried in this order when gender is free.
_GIRL_ONLY = {
    "hair_length": ("long hair",),
    "hair_style": (None, *(s for s in GIRL_STYLES if s not in BOY_STYLES)),
    "garment": ("dress",),
}
_BOY_ONLY = {"hair_style": ("undercut",), "facial_hair": (True,)}


def _gender(rng: np.random.Generator, fixed: dict) -> str:
    """80% girls, unless a fixed attribute settles it."""
    drawn = "1girl" if rng.random() < 0.8 else "1boy"
    for gender, only in (("1girl", _GIRL_ONLY), ("1boy", _BOY_ONLY)):
        if any(name in fixed and fixed[name] in values for name, values in only.items()):
            return gender
    return drawn


def _optional(rng: np.random.Generator, values: tuple, none: float) -> str | None:
    """None with probability `none`, else one of `values`."""
    return None if rng.random() < none else str(rng.choice(values))


def _draw(rng: np.random.Generator, gender: str, novel: bool) -> dict:
    """Every attribute, drawn independently but for what a boy cannot have."""
    boy = gender == "1boy"
    garments = tuple(g for g in GARMENTS if not (boy and g == "dress"))
    scene = rng.random() < 0.5
    return {
        "gender": gender,
        "hair_color": str(rng.choice(tuple(HAIR_COLORS))),
        "hair_length": "short hair" if boy else str(rng.choice(LENGTHS)),
        "hair_style": str(rng.choice(BOY_STYLES)) if boy else _optional(rng, GIRL_STYLES, 0.25),
        "eye_color": str(rng.choice(tuple(EYE_COLORS))),
        "eyes": str(rng.choice(tuple(EYES), p=(0.76, 0.12, 0.12))),
        "expression": str(rng.choice(tuple(EXPRESSIONS))),
        "garment": str(rng.choice(garments)),
        "garment_color": str(rng.choice(tuple(GARMENT_COLORS))),
        "headwear": _optional(rng, (*HEADWEAR, *NOVEL) if novel else HEADWEAR, 0.5),
        "eyewear": _optional(rng, EYEWEAR, 0.65),
        "scarf": bool(rng.random() < 0.15),
        "blush": bool(rng.random() < 0.3),
        "facial_hair": bool(boy and rng.random() < 0.6),
        "skin": str(rng.choice(tuple(SKINS))),
        "background": str(rng.choice(SCENES if scene else tuple(PLAIN))),
        **{name: float(rng.uniform(*span)) for name, span in JITTER.items()},
        "flip": bool(rng.random() < 0.5),
    }


def random_look(rng: np.random.Generator, novel: bool = False, **fixed) -> Look:
    """A random Look; `fixed` attributes override, and `novel` admits the NOVEL headwear."""
    known = {field.name for field in fields(Look)}
    for name in fixed:
        if name not in known:
            raise ValueError(f"{name!r} is not an attribute of a Look: {', '.join(sorted(known))}.")
    values = _draw(rng, fixed.get("gender") or _gender(rng, fixed), novel) | fixed
    # What covers an eye and what closes it exclude each other: the one that is free gives way.
    hidden = {"sunglasses": ("closed", "wink"), "eyepatch": ("wink",)}
    if values["eyes"] in hidden.get(values["eyewear"], ()):
        values["eyewear" if "eyes" in fixed else "eyes"] = None if "eyes" in fixed else "open"
    return Look(**(values | fixed))


def tags(look: Look) -> list[str]:
    """The tags of a Look, most important first."""
    sees_eyes = look.eyes != "closed" and look.eyewear != "sunglasses"
    plain = look.background in PLAIN
    optional = [
        look.gender,
        "solo",
        f"{look.hair_color} hair",
        look.hair_length,
        look.hair_style,
        f"{look.eye_color} eyes" if sees_eyes else None,
        f"{look.garment_color} {look.garment}",
        look.garment,
        EXPRESSIONS[look.expression],
        EYES[look.eyes],
        look.headwear,
        look.eyewear,
        "facial hair" if look.facial_hair else None,
        "scarf" if look.scarf else None,
        "blush" if look.blush else None,
        "dark skin" if look.skin == "dark" else None,
        "simple background" if plain else None,
        f"{look.background} background" if plain else look.background,
    ]
    return [tag for tag in optional if tag]


def _head(look: Look) -> str:
    """The head in front of the body, on the toon-head canvas."""
    boy = look.gender == "1boy"
    hair, skin = HAIR_COLORS[look.hair_color], SKINS[look.skin]
    return "".join(
        (
            d.part("head", "head", skin=skin),
            d.beard(hair, skin) if look.facial_hair else "",
            BLUSH if look.blush else "",
            MOUTHS[look.expression],
            d.eyes(look.eyes, EYE_COLORS[look.eye_color], boy),
            d.front_hair(look.hair_style, look.hair_length, hair, boy),
            d.brows(look.expression, hair, boy),
            _EYEWEAR.get(look.eyewear, ""),
            d.headwear(look.headwear, hair),
        )
    )


def svg(look: Look) -> str:
    """The whole picture as an SVG document of 640 x 640 units."""
    back = d.SCENES.get(look.background) or d.rect(0, 0, 640, 640, PLAIN.get(look.background, ""))
    hair = HAIR_COLORS[look.hair_color]
    rear = d.rear_hair(look.hair_style, look.hair_length, hair, look.gender == "1boy")
    # The head shrinks a little and moves up, so that headwear and garment both fit.
    place = '<g transform="translate(19.2 5) scale(.95)">'
    body = bare_body(SKINS[look.skin]) + GARMENTS[look.garment](GARMENT_COLORS[look.garment_color])
    scarf = SCARF if look.scarf else ""
    side = "scale(-1 1)" if look.flip else ""
    move = (
        f"translate({320 + 640 * look.dx:.2f} {360 + 640 * look.dy:.2f}) rotate({look.tilt:.2f}) "
        f"scale({look.zoom:.4f}) {side} translate(-384 -400)"
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 640" fill="none">'
        f'{back}<g transform="{move}">{place}{rear}</g>{body}{scarf}{place}{_head(look)}</g></g>'
        "</svg>"
    )


def render(look: Look, size: int = 96) -> Image.Image:
    """The picture as an RGB image of size x size pixels."""
    png = resvg_py.svg_to_bytes(
        svg_string=svg(look), width=size, height=size, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(png)).convert("RGB")
