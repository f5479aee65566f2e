"""SVG pieces of the embedded world: DiceBear's toon-head parts plus our own overlays and scenes.

The base parts (head, body, some hair) are a remix of "ToonHead" by Johan Melin
(https://www.figma.com/community/file/1589627891082866389), CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/), as packaged by DiceBear. Everything else is ours.

Coordinates: head parts live on toon-head's 768 x 768 canvas (head x 186..581, y 139..591);
scenes live on a 640 x 640 canvas. Every function returns an SVG fragment.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

LINE = "#2a1a30"  # one dark outline colour for everything, so that shapes stay crisp at 96 px
OUT = f'stroke="{LINE}" stroke-width="8" stroke-linejoin="round" stroke-linecap="round"'


@cache
def _style() -> dict:
    """The parsed toon-head definition."""
    text = resources.files("dicebear_styles").joinpath("toon-head.json").read_text("utf-8")
    return json.loads(text)


def _element(node: dict) -> str:
    """One definition element as SVG, its colour references left as {name} slots."""
    attributes = "".join(
        f' {key}="{{{value["name"]}}}"' if isinstance(value, dict) else f' {key}="{value}"'
        for key, value in node.get("attributes", {}).items()
    )
    inner = "".join(_element(child) for child in node.get("children", []))
    return f"<{node['name']}{attributes}>{inner}</{node['name']}>"


@cache
def _template(component: str, variant: str, first: int) -> str:
    """A part with colour slots, placed on the canvas; elements before `first` are left out."""
    style = _style()
    elements = style["components"][component]["variants"][variant]["elements"][first:]
    place = next(e for e in style["canvas"]["elements"] if e["name"] == component)
    move = place["attributes"]["transform"]
    return f'<g transform="{move}" stroke-width="8">{"".join(map(_element, elements))}</g>'


def part(component: str, variant: str, *, first: int = 0, **colors: str) -> str:
    """A toon-head part in the given colours (hair=, skin=)."""
    return _template(component, variant, first).format(stroke=LINE, **colors)


def shade(color: str, factor: float) -> str:
    """`color` (#rrggbb) darkened (factor < 1) or mixed with white (factor > 1, at most 2)."""
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    light = max(factor - 1, 0)
    mixed = [round(c * min(factor, 1) + (255 - c) * light) for c in channels]
    return "#" + "".join(f"{c:02x}" for c in mixed)


def path(d: str, fill: str, extra: str = OUT) -> str:
    """A filled path, outlined unless `extra` says otherwise."""
    return f'<path d="{d}" fill="{fill}" {extra}/>'


def stroke(d: str, color: str, width: float) -> str:
    """An open path drawn with a round pen."""
    pen = f'stroke="{color}" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{d}" fill="none" {pen}/>'


def circle(x: float, y: float, r: float, fill: str, extra: str = "") -> str:
    """A filled circle."""
    return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}" {extra}/>'


def ellipse(x: float, y: float, rx: float, ry: float, fill: str, extra: str = "") -> str:
    """A filled ellipse."""
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}" {extra}/>'


def mirror(svg: str) -> str:
    """The fragment and its mirror image about the head's axis, x = 384."""
    return f'{svg}<g transform="matrix(-1 0 0 1 768 0)">{svg}</g>'


# --- hair -----------------------------------------------------------------------------------

# Left halves (mirrored) of the hair behind the head, by style and length.
_REAR = {
    "plain long": "M384 200L180 250C130 420 130 580 92 760L384 760Z",
    "plain short": "M384 200L185 250C120 370 110 520 160 572Q250 585 384 560Z",
    "wavy long": (
        "M384 200L190 220Q60 270 135 345Q30 410 112 485Q20 555 100 625Q30 690 70 770L384 770Z"
    ),
    "wavy short": "M384 200L190 220Q70 265 135 335Q45 395 120 460Q55 520 130 560Q170 600 384 560Z",
    "spiky long": "M384 200L170 260L70 350L130 360L50 470L112 478L36 600L100 600L40 760L384 760Z",
    "spiky short": "M384 200L180 300L90 400L150 410L85 500L150 500L120 590L220 545L384 560Z",
}
# Left-hand locks in front of the shoulders (mirrored).
_LOCKS = {
    "plain long": "M186 300C150 430 165 560 118 760L222 760C262 640 228 500 232 380Z",
    "plain short": "M186 300C140 400 140 500 168 570Q232 545 236 470Q226 420 232 370Z",
    "wavy long": (
        "M190 280Q90 340 150 410Q80 480 140 550Q70 620 118 690L110 760L225 760"
        "Q275 690 215 630Q270 560 212 495Q250 430 230 360Z"
    ),
    "wavy short": (
        "M190 280Q90 340 150 400Q80 460 140 520Q120 580 190 580Q262 560 216 490Q250 430 230 360Z"
    ),
    "spiky long": "M186 330L120 470L165 470L110 620L160 610L120 760L235 620L228 400Z",
}
_TAILS = {
    "long hair": (
        "M186 250C60 215 30 350 62 470C80 550 40 640 20 740C120 740 190 660 190 560"
        "C190 470 150 400 196 300Z"
    ),
    "short hair": "M186 255C80 200 30 290 48 390C56 440 40 470 24 500C110 510 170 460 172 400Z",
}
_PONY = {
    "long hair": (
        "M520 150C640 60 745 160 728 320C716 430 690 500 738 640C640 640 596 560 606 450"
        "C614 360 640 290 560 240Z"
    ),
    "short hair": "M520 150C620 50 735 130 722 270C716 340 706 370 722 420C640 420 610 350 560 240",
}
_BANGS = (
    "M176 440C150 230 230 100 384 100C538 100 618 230 592 440Q566 420 562 370Q556 320 536 282"
    "Q522 306 500 318Q496 280 476 256Q458 300 424 318Q420 284 398 254Q374 302 336 318"
    "Q330 286 312 258Q294 300 262 314Q256 296 240 280Q212 320 206 370Q202 420 176 440Z"
)
_WAVES = (
    "M172 430Q130 380 160 330Q130 270 180 230Q180 165 245 150Q270 95 340 108Q384 80 428 108"
    "Q498 95 523 150Q588 165 588 230Q638 270 608 330Q638 380 596 430Q560 400 560 350"
    "Q520 350 500 296Q460 330 420 280Q384 318 348 280Q308 330 268 296Q248 350 208 350"
    "Q208 400 172 430Z"
)
_GLOSS = "M236 240Q260 165 330 150"


def _key(style: str | None, length: str) -> str:
    """The name in the tables of a style with this length; most styles share the plain shapes."""
    name = f"{style} {length}".replace(" hair", "")
    return name if name in _REAR else f"plain {length}".removesuffix(" hair")


def rear_hair(style: str | None, length: str, color: str, boy: bool) -> str:
    """Everything of the hair that lies behind the head and the body."""
    dark = shade(color, 0.72)
    if boy:
        return ""
    if style == "twintails":
        tie = circle(182, 272, 26, "#ff4d6d", OUT)
        strand = "M110 310Q90 380 100 440" + ("Q100 520 84 600" if length == "long hair" else "")
        return mirror(path(_TAILS[length], color) + stroke(strand, dark, 10) + tie)
    if style == "ponytail":
        tail = path(_PONY[length], color) + stroke("M640 190C690 260 660 330 672 400", dark, 10)
        return tail + circle(572, 196, 30, "#ff4d6d", OUT)
    buns = ""
    if style == "hair bun":
        swirl = stroke("M150 236Q160 206 190 222Q196 250 168 256", dark, 10)
        buns = mirror(circle(160, 226, 72, color, OUT) + swirl)
    return mirror(path(_REAR[_key(style, length)], dark)) + buns


def front_hair(style: str | None, length: str, color: str, boy: bool) -> str:
    """Fringe, and the locks that fall over the shoulders."""
    gloss = stroke(_GLOSS, shade(color, 1.35), 20)
    if boy:
        return part("hair", "spiky" if style == "spiky hair" else "undercut", hair=color) + gloss
    key = _key(style, length)
    tied = style in ("twintails", "ponytail") or key not in _LOCKS
    locks = "" if tied else mirror(path(_LOCKS[key], color))
    tops = {
        "spiky hair": lambda: part("hair", "spiky", hair=color),
        "hair bun": lambda: part("hair", "bun", first=1, hair=color),
        "ponytail": lambda: part("hair", "sideComed", hair=color),
        "wavy hair": lambda: path(_WAVES, color),
    }
    return locks + (tops[style]() if style in tops else path(_BANGS, color)) + gloss


def beard(color: str, skin: str) -> str:
    """A bold full beard with a clear patch of skin around the mouth."""
    half = (
        "M384 446Q318 440 284 500Q250 500 214 400L182 396Q186 470 210 520L200 540L230 548L228 576"
        "L262 578L266 606L302 602L314 630L346 618L384 648Z"
    )
    whole = mirror(path(half, color)) + f'<path d="M372 452h24v180h-24Z" fill="{color}"/>'
    return whole + ellipse(384, 522, 80, 48, skin)


# --- face -----------------------------------------------------------------------------------


def _open_eye(iris: str, boy: bool) -> str:
    """The viewer's left eye, open."""
    height = 46 if boy else 56
    white = ellipse(304, 410, 54, height, "#fffdf8")
    ball = ellipse(308, 412, 40, height - 8, shade(iris, 0.6))
    ball += ellipse(308, 420, 34, height - 18, iris)
    shine = ellipse(308, 414, 15, 18, "#180c1c") + circle(322, 394, 14, "#ffffff")
    shine += circle(294, 436, 8, "#ffffff")
    lid = stroke(f"M252 {404 - height // 8}Q300 {322 if not boy else 344} 356 392", LINE, 17)
    lash = "" if boy else stroke("M254 396L226 376M262 380L244 354", LINE, 13)
    return white + ball + shine + lid + lash


def _closed_eye(boy: bool) -> str:
    """The viewer's left eye, closed in a happy arc."""
    lash = "" if boy else stroke("M256 424L228 410M268 402L246 382", LINE, 12)
    return stroke("M252 430Q304 366 356 430", LINE, 18) + lash


def eyes(state: str, iris: str, boy: bool) -> str:
    """Both eyes; a wink closes the viewer's left one."""
    left = _open_eye(iris, boy) if state == "open" else _closed_eye(boy)
    right = _closed_eye(boy) if state == "closed" else _open_eye(iris, boy)
    return left + f'<g transform="matrix(-1 0 0 1 768 0)">{right}</g>'


_BROWS = {"angry": "M246 306L346 348", "sad": "M246 346Q300 330 340 296"}
_BROW = "M250 330Q300 298 344 322"


def brows(expression: str, color: str, boy: bool) -> str:
    """Both brows in the shade of the hair, far thicker for boys."""
    bold = expression in _BROWS
    width = 26 if boy else 18 if bold else 12
    return mirror(stroke(_BROWS.get(expression, _BROW), shade(color, 0.5), width))


# --- accessories ----------------------------------------------------------------------------


def _ears(hair: str) -> str:
    outer = path("M196 250Q170 110 196 52Q300 76 352 150Z", hair)
    return mirror(outer + path("M222 210Q204 130 214 92Q276 112 312 154Z", "#ff9fb5", ""))


_HORN = path("M252 190Q172 150 196 62Q236 92 270 104Q330 126 338 158Z", "#fff0c8") + stroke(
    "M210 118L246 96M226 152L290 116", "#c8963c", 10
)
_BOW = path("M384 118Q250 20 222 60Q204 120 236 186Q300 190 384 138Z", "#12c4b4") + stroke(
    "M360 124Q300 104 262 92M360 136Q310 144 268 158", "#08766c", 10
)
_PETALS = "".join(
    f'<g transform="rotate({angle} 540 190)">{ellipse(540, 132, 38, 48, "#ffffff", OUT)}</g>'
    for angle in range(0, 360, 72)
)
_RING = "M212 122A172 44 0 1 0 556 122A172 44 0 1 0 212 122Z"
_BAND = "M176 390C140 170 230 74 384 74C538 74 628 170 592 390"
HEADWEAR = {
    "horns": mirror(_HORN),
    "hair bow": mirror(_BOW) + ellipse(384, 128, 36, 38, "#12c4b4", OUT),
    "hair flower": _PETALS + circle(540, 190, 32, "#ffb400", OUT),
    "witch hat": (
        path("M246 206Q300 120 330 60Q380 20 470 66Q430 70 436 92Q480 150 522 206Z", "#4b2a8c")
        + path("M246 206L262 172Q384 204 504 172L522 206Q384 250 246 206Z", "#ffc62b")
        + path("M92 238Q384 120 676 238Q560 276 384 268Q208 276 92 238Z", "#4b2a8c")
        + path("M262 190Q384 222 506 190L514 214Q384 240 254 214Z", "#ffc62b")
    ),
    "beanie": (
        circle(384, 82, 44, "#ffffff", OUT)
        + path("M178 250Q180 96 384 96Q588 96 590 250Z", "#2b6fd6")
        + path("M160 216Q384 150 608 216L612 276Q384 214 156 276Z", "#ffffff")
        + stroke("M230 214V252M306 196V236M384 190V230M462 196V236M538 214V252", "#9fb4d8", 9)
    ),
    "crown": (
        path("M236 206L216 84L300 140L384 62L468 140L552 84L532 206Q384 176 236 206Z", "#ffd02b")
        + circle(384, 152, 20, "#e0213a", OUT)
        + mirror(circle(286, 170, 15, "#2b8cff", OUT) + circle(216, 84, 15, "#e0213a", OUT))
    ),
    "headphones": (
        stroke(_BAND, LINE, 46)
        + stroke(_BAND, "#3b3f4c", 30)
        + mirror(
            f'<rect x="116" y="340" width="86" height="140" rx="38" fill="#ff3d8b" {OUT}/>'
            f'<rect x="140" y="370" width="38" height="80" rx="18" fill="#ffd1e4"/>'
        )
    ),
    "halo": (
        stroke(_RING, "#ffffff", 60)
        + stroke(_RING, LINE, 48)
        + stroke(_RING, "#ffcc1f", 32)
        + stroke("M240 104Q300 82 384 78", "#fff6bf", 12)
    ),
}


def headwear(name: str | None, hair: str) -> str:
    """Headwear by tag; cat ears take the colour of the hair."""
    return _ears(hair) if name == "cat ears" else HEADWEAR.get(name, "")


# --- scenes (640 x 640) ---------------------------------------------------------------------


def rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A filled rectangle."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def _sky(*stops: str) -> str:
    """A full-canvas vertical gradient of evenly spaced colours."""
    marks = "".join(
        f'<stop offset="{i / (len(stops) - 1):.3f}" stop-color="{c}"/>' for i, c in enumerate(stops)
    )
    gradient = f'<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">{marks}</linearGradient>'
    return gradient + rect(0, 0, 640, 640, "url(#sky)")


def _star(x: float, y: float, r: float) -> str:
    q = r * 0.24
    points = f"M{x} {y - r}L{x + q} {y - q}L{x + r} {y}L{x + q} {y + q}L{x} {y + r}"
    return path(f"{points}L{x - q} {y + q}L{x - r} {y}L{x - q} {y - q}Z", "#fff6c2", "")


def _pine(x: float, y: float, s: float, green: str, snow: str) -> str:
    """A pine of three tiers, its tip at (x, y), about s units wide, with snow on its tips."""
    tiers = ""
    for k in (2, 1, 0):
        top, low = y + k * s * 0.55, y + (k + 1.5) * s * 0.6
        half = s * (0.3 + 0.12 * k)
        tiers += path(f"M{x} {top}L{x + half} {low}L{x - half} {low}Z", green, "")
        tip = top + (low - top) * 0.45
        tiers += path(f"M{x} {top}L{x + half * 0.5} {tip}L{x - half * 0.5} {tip}Z", snow, "")
    return rect(x - s * 0.07, y + s * 1.9, s * 0.14, s * 0.5, "#6b4226") + tiers


def _tower(x: float, y: float, w: float, color: str) -> str:
    windows = "".join(
        rect(x + 16 + i * 40, y + 24 + j * 56, 24, 32, "#ffe27a")
        for i in range(int(w - 8) // 40)
        for j in range(int(640 - y) // 56)
    )
    return rect(x, y, w, 640 - y, color) + windows


_FRONDS = "".join(
    stroke(f"M84 150Q{84 + dx * 0.5} {110 + dy} {84 + dx} {150 + dy}", "#1d9a4c", 24)
    for dx, dy in ((-92, 60), (-80, 0), (96, 6), (104, 76), (14, 90))
)
_TREES = "".join(
    rect(x, 60, w, 580, "#6b4226" if w > 40 else "#4d3020")
    for x, w in ((20, 54), (126, 30), (480, 32), (566, 56))
)
_LEAVES = "".join(
    circle(x, y, r, c)
    for x, y, r, c in (
        (20, 40, 110, "#1f7a34"), (160, 10, 90, "#2f9a44"), (300, 0, 80, "#1f7a34"),
        (440, 0, 90, "#2f9a44"), (560, 20, 100, "#1f7a34"), (630, 110, 80, "#37ad50"),
        (0, 150, 60, "#37ad50"), (30, 610, 90, "#2f9a44"), (620, 600, 90, "#2f9a44"),
    )
)  # fmt: skip
_FLAKES = "".join(
    circle(x, y, r, "#ffffff")
    for x, y, r in (
        (40, 60, 17), (120, 150, 13), (60, 250, 18), (210, 50, 14), (320, 30, 16), (430, 60, 13),
        (530, 40, 18), (600, 150, 14), (520, 180, 16), (590, 270, 18), (30, 370, 14),
    )
)  # fmt: skip
_STARS = "".join(
    _star(*spot)
    for spot in (
        (220, 50, 30), (420, 40, 26), (560, 90, 44), (600, 230, 28), (40, 260, 34),
        (110, 350, 24), (540, 330, 26), (30, 450, 26), (610, 430, 34), (330, 24, 18),
    )
)  # fmt: skip
_CLOUD = circle(400, 60, 34, "#fff") + circle(440, 44, 42, "#fff") + circle(484, 60, 32, "#fff")
SCENES = {
    "beach": (
        _sky("#6fd0ff", "#d6f4ff") + circle(560, 84, 58, "#ffe14d")
        + rect(0, 330, 640, 130, "#12a5c8") + rect(0, 372, 640, 14, "#8fe6f2")
        + rect(0, 450, 640, 190, "#ffdf94") + rect(0, 446, 640, 16, "#ffffff")
        + stroke("M60 520Q40 330 84 150", "#8a5a2b", 28) + _FRONDS + _CLOUD
    ),
    "forest": _sky("#7cc95c", "#cdeb9a", "#3f9142") + _TREES + _LEAVES,
    "city": (
        _sky("#a9b8cf", "#e6dfe6") + _tower(0, 120, 104, "#5b6b88")
        + _tower(104, 250, 96, "#7f8ca6") + _tower(236, 40, 104, "#8c98b0")
        + _tower(430, 200, 96, "#7f8ca6") + _tower(526, 70, 114, "#4c5a76")
    ),
    "starry sky": (
        _sky("#0b1040", "#1d2a78", "#40379a") + circle(92, 104, 66, "#fff0a6")
        + circle(122, 88, 56, "#0f1650") + _STARS
    ),
    "sunset": (
        _sky("#5b2a86", "#d63a7a", "#ff8a3c", "#ffd65c") + circle(540, 330, 96, "#fff3a8")
        + rect(0, 400, 640, 240, "#6b1f5c")
        + stroke("M470 440L610 440M490 480L600 480M60 450L150 450M20 500L110 500", "#ff9a5c", 14)
        + stroke("M40 150L150 150M20 200L90 200M470 130L600 130", "#ffb07a", 16)
    ),
    "snow": (
        _sky("#9cc3e6", "#dcecf8")
        + _pine(70, 190, 150, "#2f7a6a", "#ffffff") + _pine(566, 150, 170, "#2f7a6a", "#ffffff")
        + path("M0 480Q160 410 330 470Q500 420 640 470L640 640L0 640Z", "#ffffff", "") + _FLAKES
    ),
}  # fmt: skip
