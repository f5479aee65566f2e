"""Which pictures sd-scripts loads as they are meant, and by which extensions it finds them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakery.io import images, png_texts

EXTENSIONS = {"png": (".png",), "jpeg": (".jpg", ".jpeg"), "webp": (".webp",), "bmp": (".bmp",)}
"""Formats that sd-scripts loads -> the extensions by which it finds them; the first is usual."""

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright


def why_reencode(path: Path) -> str | None:
    """Why sd-scripts would not load the picture as `images.open_rgb` does; None if it would."""
    kind = images.real_format(path)
    if kind not in EXTENSIONS:
        return f"{kind} is not read by trainers"
    if images.is_animated(path):
        return "animated"
    if kind == "png" and png_texts.large_chunks(path):
        return "more text or a larger colour profile than trainers read"
    with images.opened(path) as image:
        if image.has_transparency_data:
            return "transparency"
        if image.mode not in ("RGB", "L"):
            return f"colour mode {image.mode}"
        return _exif_trouble(image)


def _exif_trouble(image: Image.Image) -> str | None:
    """Not all trainers apply EXIF rotation."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # Pillow's EXIF parser raises whatever the bytes lead it to
        return "damaged EXIF"
    return "EXIF rotation" if turned else None
