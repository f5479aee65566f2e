"""A sample as the preview of a LoRA file that has another name than when the picture was drawn.

The picture's infotext calls the LoRA by its file's name (`<lora:mirael-000002:1>`), so it is changed
with it: a prompt taken from the preview loads the file beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image, PngImagePlugin

from bakery.interop import infotext
from bakery.io.files import whole

SUFFIX = ".preview.png"
"""What follows the LoRA's name, for A1111, its forks, and ComfyUI's managers."""


def renamed(text: str, old: str, new: str) -> str:
    """The infotext `text` with the LoRA `old` called `new`, in its prompt and among its hashes."""
    if not old or old == new:
        return text
    text = text.replace(f"<lora:{old}:", f"<lora:{new}:")
    return re.sub(
        rf'(Lora hashes: "(?:[^"]*, )?){re.escape(old)}(?=: )', lambda m: m[1] + new, text
    )


def write(sample: Path, target: Path, text: str) -> None:
    """Write the picture of `sample` to `target`, pixel by pixel, with the infotext `text`."""
    infotext.read_png(sample)  # says what is wrong with a broken one
    chunks = PngImagePlugin.PngInfo()
    if text.isascii():
        chunks.add_text(infotext.CHUNK, text)
    elif text:
        chunks.add_itxt(infotext.CHUNK, text)
    with Image.open(sample) as picture, whole(target) as part:
        picture.save(part, format="PNG", pnginfo=chunks)
