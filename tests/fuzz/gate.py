"""The gate, in spellings, encodings and places drawn by chance: what names such a picture never passes.

Words and shapes are those of `gate_cases`; here they are combined with cases of letters, invisible
signs, full width, entities, weights, encodings, archives, folders, names and the texts of a config.
What passes is a failure.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from gate_cases import ADULTS, MINORS, NAMED, SHAPES, plain_picture

from bakery.gate import gate
from bakery.io.errors import BakeryError
from bakery.settings import config
from bakery.sources import folders, posts
from tests.fuzz.outcome import Outcome

LONG, SHORT = 2000, 80
PLAIN = ("1girl", "solo", "smile", "blue_eyes", "beach", "hat", "café", "星", "looking_at_viewer")
_INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\ufeff\u180e\u202e\u2066"
_MARKS = "\u0301\u0308\u0336\u0327\u20e3"


def _latin(word: str) -> bool:
    return word.isascii() and word.isprintable()


def _hidden(word: str, rng: random.Random) -> str:
    """Signs that show nothing, anywhere in it."""
    letters = list(word)
    for _ in range(rng.randrange(1, 4)):
        letters.insert(rng.randrange(1, len(letters) + 1), rng.choice(_INVISIBLE))
    return "".join(letters)


def _marked(word: str, rng: random.Random) -> str:
    """Accents and strokes on its letters."""
    return "".join(
        c + rng.choice(_MARKS[:4]) if c.isalpha() and rng.random() < 0.5 else c for c in word
    )


def _wide(word: str, _: random.Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in word)


def _entities(word: str, rng: random.Random) -> str:
    return "".join(f"&#{ord(c)};" if rng.random() < 0.4 else c for c in word)


def _escaped(word: str, rng: random.Random) -> str:
    return "".join(f"%{ord(c):02x}" if rng.random() < 0.4 else c for c in word)


def _weighted(word: str, rng: random.Random) -> str:
    form = rng.choice(
        ["({}:1.2)", "(({}))", "[{}]", "{{{}}}", "({}:0.05)", "{}::1.3", "<{}>", "'{}'", '"{}"']
    )
    return form.format(word)


def _prefixed(word: str, rng: random.Random) -> str:
    return rng.choice(
        ["#{}", "general:{}", "tag:{}", "{}.", "{}!", "- {}", "*{}*", "_{}_", "({})"]
    ).format(word)


def spelled(word: str, rng: random.Random) -> str:
    """The word in another spelling, which a reader takes for the same."""
    ways: list[Callable[[str, random.Random], str]] = [
        lambda w, _: w,
        lambda w, _: w.upper(),
        _hidden,
    ]
    if _latin(word) and word != "cub":
        ways += [_marked, _wide, _entities, _escaped]
    if word not in ("cub",) and "::" not in word:
        ways += [_weighted, _prefixed]
    return rng.choice(ways)(word, rng)


def encoded(folder: Path, rng: random.Random) -> None:
    """Some of the sidecars in another encoding, as their mark says."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".png" and rng.random() < 0.3:
            text = path.read_bytes().decode("utf-8")
            path.write_bytes(text.encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"])))


def a_picture(rng: random.Random, folder: Path) -> Outcome:
    """A picture with sidecars of any shape, in a folder or an archive, with innocent neighbours."""
    if rng.random() < 0.5:
        words, rating = [spelled(rng.choice(NAMED), rng)], rng.choice(["", "g", "safe", "general"])
    else:
        words, rating = [spelled(rng.choice(MINORS), rng)], rng.choice(ADULTS)
    tags = [*rng.sample(PLAIN, rng.randrange(0, 4)), *words]
    rng.shuffle(tags)
    root = folder / "in"
    inner = root / rng.choice(["", "deep", "5_hoshi", "a/b"])
    picture = plain_picture(inner / rng.choice(["x.png", "星.png", "x y.png", "x.y.png"]))
    plain_picture(inner / "neighbour.png")
    shape = rng.choice(sorted(SHAPES))
    SHAPES[shape](picture, tags, rating)
    if rng.random() < 0.3:
        encoded(root, rng)
    if rng.random() < 0.2:
        with zipfile.ZipFile(folder / "in.zip", "w") as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root))
        root = folder / "in.zip"
    said = f"{shape}: {tags!r} rated {rating!r}"
    try:
        found = folders.collect(root, folder / "unpacked")
    except BakeryError as problem:
        return Outcome("failed", f"{said}: {problem}")
    came = [path.name for post, path in found if post.status == posts.FETCHED]
    if picture.name in came:
        return Outcome("failed", f"{said}: came in")
    if "neighbour.png" not in came:
        return Outcome("failed", f"{said}: and its neighbour did not come in")
    if any(post.url or post.tags() for post, _ in found if post.reason == gate.FORBIDDEN):
        return Outcome("failed", f"{said}: refused, and described")
    return Outcome("recorded", said)


def a_name(rng: random.Random, folder: Path) -> Outcome:
    """A picture whose own name or folder says it."""
    word = rng.choice(
        [word for word in NAMED if "/" not in word and word not in ("cub", "e621:cub")]
    )
    name = f"{rng.choice(['', '1girl_', 'pic '])}{word}"
    inside = rng.random() < 0.5
    path = folder / "in" / (name if inside else "a") / ("x.png" if inside else f"{name}.png")
    plain_picture(path)
    plain_picture(folder / "in/neighbour.png")
    came = [
        p
        for post, p in folders.collect(folder / "in", folder / "u")
        if post.status == posts.FETCHED
    ]
    if [p.name for p in came] != ["neighbour.png"]:
        return Outcome("failed", f"a picture named {path.relative_to(folder)} came in")
    return Outcome("recorded", name)


TEXTS = (
    lambda text: {"prune": {"trigger": text}},
    lambda text: {"prune": {"outfits": {"worn": [text]}}},
    lambda text: {"layout": {"details": [text]}},
    lambda text: {"prune": {"class_tokens": text}},
    lambda text: {"sample": {"prompts": [{"id": "a", "prompt": text, "purpose": "bleed"}]}},
    lambda text: {"layout": {"concepts": {"a": {"caption_prefix": text}}}},
    lambda text: {"layout": {"reg": {"folder": "x", "class_tokens": text}}},
)


def a_setting(rng: random.Random, folder: Path) -> Outcome:
    """A text of a config: a trigger, a prompt, a caption's prefix."""
    word = spelled(rng.choice(NAMED), rng)
    if rng.random() < 0.4:
        word = f"{spelled(rng.choice(MINORS), rng)}, {rng.choice(ADULTS)}"
    text = ", ".join([*rng.sample(PLAIN, rng.randrange(0, 3)), word])
    raw = rng.choice(TEXTS)(text)
    try:
        config.load(raw)
    except BakeryError as problem:
        if "speaks of sexualised minors" in str(problem):
            return Outcome("refused", str(problem))
        return Outcome("failed", f"{raw} is refused for another reason: {problem}")
    return Outcome("failed", f"a config may say {raw}")


def a_text(rng: random.Random, folder: Path) -> Outcome:
    """A caption, a note or metadata that the gate is asked about itself."""
    word = spelled(rng.choice(NAMED), rng)
    between = rng.choice([", ", ",", "\n", "; ", " | ", "、", "\t", "\r\n", " , "])
    text = between.join([*rng.sample(PLAIN, 3), word, *rng.sample(PLAIN, 2)])
    data = rng.choice([
        {"a": [{"b": {"c": text}}]}, {"tags": {"general": [word]}}, [text], {"prompt": text},
        {"tags": [{"name": word}]}, {word: 0.9}, {"post": {"tag_string": text}},
    ])  # fmt: skip
    if gate.of_text(text).refused and gate.of_json(data).refused:
        return Outcome("refused", text)
    return Outcome("failed", f"neither {text!r} nor {data!r} may pass")


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    return rng.choice([a_picture, a_picture, a_picture, a_name, a_setting, a_text])(rng, folder)
