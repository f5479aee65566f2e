"""How a picture was made, in AUTOMATIC1111's notation, inside the PNG itself.

The text chunk `parameters` holds up to three parts: the prompt, a line `Negative prompt: ...` and a
last line of `Name: value` pairs. Image boards, A1111's "PNG info" tab and model sites read it.
An `Infotext` holds literal text: `write` escapes it (`prompt_syntax`), and `parse` un-escapes what it
reads. `parse` gives back what `write` was given, but for blanks around the prompts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, PngImagePlugin

from bakery.interop import prompt_syntax
from bakery.io.errors import BakeryError
from bakery.io.files import sayable, whole

CHUNK = "parameters"
"""Keyword of the PNG text chunk."""
FEWEST = 3
"""Settings a last line must have to be taken for settings; A1111 counts the same."""
_NEGATIVE = "Negative prompt:"
_NAME = re.compile(r"[A-Za-z0-9][\w /-]+")
_PAIR = re.compile(rf'\s*({_NAME.pattern}):\s*("(?:\\.|[^"\\])*"|[^,"]*)\s*(?:,|$)')
_LORA = re.compile(r"\s*<lora:([^:<>]+)(?::([^<>]*))?>")
_MUST_QUOTE = re.compile(r'[,:"\\\x00-\x1f]')


@dataclass(frozen=True)
class Infotext:
    """What was drawn: literal prompts, and the settings in the order in which they are written."""

    prompt: str
    negative_prompt: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    loras: dict[str, float] = field(default_factory=dict)
    """Name and weight of each LoRA; A1111 has them in the prompt, as `<lora:name:weight>`."""


def lora_token(name: str, weight: float = 1.0) -> str:
    """The prompt token that loads a LoRA file: `<lora:mirael-000002:1>`."""
    return f"<lora:{name}:{weight:g}>"


def write(info: Infotext) -> str:
    """The infotext as one string, the LoRAs at the end of the prompt.

    Values with a comma, colon, quote or line break are quoted the JSON way, as A1111 does.
    Raises `ValueError` for a setting without a proper name or without a value, neither of which
    A1111 reads, and for fewer than `FEWEST` settings.
    """
    if len(info.settings) < FEWEST:
        raise ValueError(f"an infotext needs {FEWEST} settings or more, not {len(info.settings)}")
    for name, value in info.settings.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a setting's name in an infotext")
        if not value.strip():
            raise ValueError(f"{name} has no value: leave it out of the infotext")
    tokens = (lora_token(name, weight) for name, weight in info.loras.items())
    lines = [" ".join(filter(None, [prompt_syntax.escape(info.prompt.strip()), *tokens]))]
    if info.negative_prompt.strip():
        lines.append(f"{_NEGATIVE} {prompt_syntax.escape(info.negative_prompt.strip())}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in info.settings.items()))
    return "\n".join(lines)


def parse(text: str) -> Infotext:
    """The parts of an infotext, ours or a person's.

    A last line that is no list of settings belongs to the prompt. Emphasis stays as written,
    `(smile:1.2)`.
    """
    lines = [line.strip() for line in text.strip().split("\n")]
    settings = _settings(lines[-1])
    if settings:
        lines.pop()
    starts = [i for i, line in enumerate(lines) if line.startswith(_NEGATIVE)]
    cut = starts[0] if starts else len(lines)
    negative = "\n".join(lines[cut:]).removeprefix(_NEGATIVE)
    prompt = "\n".join(lines[:cut])
    return Infotext(
        prompt=prompt_syntax.unescape(_LORA.sub("", prompt).strip()),
        negative_prompt=prompt_syntax.unescape(negative.strip()),
        settings=settings,
        loras={name: _weight(options) for name, options in _LORA.findall(prompt)},
    )


def save_png(picture: Image.Image, path: Path, info: Infotext) -> None:
    """Writes `picture` as a PNG with `info`; never leaves half a picture at `path`."""
    chunks = PngImagePlugin.PngInfo()
    text = sayable(write(info))
    if text.isascii():
        chunks.add_text(CHUNK, text)
    else:  # tEXt is Latin-1 only
        chunks.add_itxt(CHUNK, text)
    # rivals: two sweeps may keep one bake's pictures (`SampleSpec.mirror`)
    with whole(path, rivals=True) as part:
        picture.save(part, format="PNG", pnginfo=chunks)


def read_png(path: Path) -> str:
    """The infotext of the PNG at `path`, "" when it has none."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return str(picture.info.get(CHUNK, ""))
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: run the sample stage again") from None
    except (OSError, SyntaxError, ValueError) as problem:
        raise BakeryError(
            f"{path} is not a readable PNG ({problem}): delete its folder and sample again"
        ) from None


def _weight(options: str) -> float:
    """The first number after a LoRA's name, 1 where there is none, as A1111 takes it."""
    try:
        return float(options.partition(":")[0])
    except ValueError:
        return 1.0


def _quoted(value: str) -> str:
    plain = value == value.strip() and not _MUST_QUOTE.search(value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _settings(line: str) -> dict[str, str]:
    """The pairs of the last line; {} unless the line is nothing but enough pairs."""
    pairs, position = {}, 0
    while position < len(line):
        match = _PAIR.match(line, position)
        if not match:
            return {}
        name, value = match.groups()
        value = value.strip()
        pairs[name] = json.loads(value) if value.startswith('"') else value
        position = match.end()
    return pairs if len(pairs) >= FEWEST else {}
