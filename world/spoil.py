"""What happens to pictures on the way to a booru: file formats, copies, panels, lost colour.

Formats take a picture and give bytes; the others take pictures and give a picture.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

REFUSED_LABELS = ("loli", "shota")
"""Labels under which the filter must refuse a post whatever it shows; nothing is drawn for them."""


def _bytes(image: Image.Image, kind: str, **options) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


# --- formats --------------------------------------------------------------------------------


def jpeg(image: Image.Image, quality: int = 86) -> bytes:
    return _bytes(image, "JPEG", quality=quality, optimize=True)


def png(image: Image.Image) -> bytes:
    return _bytes(image.quantize(64).convert("RGB"), "PNG", optimize=True)


def webp(image: Image.Image) -> bytes:
    return _bytes(image, "WEBP", quality=84)


def png_palette(image: Image.Image) -> bytes:
    return _bytes(image.quantize(64), "PNG", optimize=True)


def png_alpha(image: Image.Image) -> bytes:
    """Transparent outside of a wide ellipse, with dark pixels hidden under the transparency."""
    alpha = Image.new("L", image.size, 0)
    width, height = image.size
    y, x = np.mgrid[:height, :width]
    inside = ((x / width - 0.5) / 0.62) ** 2 + ((y / height - 0.5) / 0.62) ** 2 < 1
    alpha = Image.fromarray((inside * 255).astype(np.uint8))
    under = image.quantize(48).convert("RGB")
    under.paste((10, 20, 10), mask=ImageOps.invert(alpha))
    under.putalpha(alpha)
    return _bytes(under, "PNG", optimize=True)


def png_16bit(image: Image.Image) -> bytes:
    """RGB with 16 bits a channel, which Pillow reads but does not write."""
    pixels = np.asarray(image.quantize(32).convert("RGB")).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_rotated(image: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF note (orientation 6) that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _bytes(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=86, exif=exif)


def jpeg_cmyk(image: Image.Image) -> bytes:
    return _bytes(image.convert("CMYK"), "JPEG", quality=84)


def gif(frames: list[Image.Image]) -> bytes:
    first, *others = [frame.quantize(32) for frame in frames]
    return _bytes(first, "GIF", save_all=True, append_images=others, duration=400, loop=0)


def webp_animated(frames: list[Image.Image]) -> bytes:
    first, *others = frames
    return _bytes(first, "WEBP", save_all=True, append_images=others, duration=400, quality=70)


# --- copies ---------------------------------------------------------------------------------


def shrunk(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(image.width * rng.uniform(0.55, 0.85))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Up to 8% cut from each side."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0.01, 0.08, 4)
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.crop(tuple(int(edge) for edge in box))


def brightened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(float(rng.choice([0.88, 1.12])))


# --- panels and lost colour -----------------------------------------------------------------


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Two portraits as one wide picture."""
    width, height = pictures[0].size
    wide = Image.new("RGB", (width * len(pictures), height))
    for number, picture in enumerate(pictures):
        wide.paste(picture, (width * number, 0))
    return wide.resize((int(width * 1.4), int(height * 0.7)), Image.Resampling.LANCZOS)


def panels(pictures: list[Image.Image]) -> Image.Image:
    """Four portraits as a page of two rows, with white gutters and black frames."""
    framed = [ImageOps.expand(picture, 1, "black") for picture in pictures]
    side = framed[0].width
    page = Image.new("RGB", (2 * side + 3, 2 * side + 3), "white")
    for number, picture in enumerate(framed):
        page.paste(picture, (1 + (side + 1) * (number % 2), 1 + (side + 1) * (number // 2)))
    return page


def sepia(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), "#2a1c10", "#f6e6c8")


def sketch(image: Image.Image) -> Image.Image:
    """Pencil lines on paper."""
    lines = image.convert("L").filter(ImageFilter.FIND_EDGES)
    border = Image.new("L", lines.size, 0)
    border.paste(lines.crop((2, 2, lines.width - 2, lines.height - 2)), (2, 2))
    return ImageOps.colorize(
        ImageOps.invert(border.point(lambda v: min(v, 190))), "#3a3a44", "#fbf8f0"
    )


def colorless(tags: list[str]) -> list[str]:
    """The tags without those that name a colour, which is no longer there to be seen."""
    words = ("black", "brown", "blonde", "red", "pink", "purple", "blue", "green", "white",
             "yellow", "grey")  # fmt: skip
    return [tag for tag in tags if tag.split()[0] not in words]
