"""How much memory a picture may take: at most 1 GB, whatever its file promises.

Pillow keeps 4 bytes of each pixel of a colour picture, so that one of `Image.MAX_IMAGE_PIXELS`, decoded
and once more as the result, are 720 MB. What needs more is done in bands, or the picture is refused by
what its decoder would take (`_DECODERS`, measured as `tests/io/test_picture_bounds.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageFile, TiffImagePlugin

LONGEST_SIDE = 65_535
"""Pixels, as many as a JPEG can have. Of a column of a million pixels, each row costs more than its
pixel."""
MOST_BYTES = 800 * 2**20
"""What decoding may take; the result, and what a stage needs besides, fit beside it."""
_PILLOWS = 4.0
"""Bytes of a pixel that Pillow keeps."""
_DECODERS = {"WEBP": 17.0, "AVIF": 20.0}
"""Format -> bytes a pixel, of decoders that make copies of the whole picture."""
_BITS, _COMPRESSION, _ROWS_OF_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 258, 259, 278, 322, 323
"""Numbers of TIFF's tags."""
_BAND = 2**22
"""Pixels that are converted at a time."""
SMALL = 2**23
"""Pixels of a picture of which several may be open at a time, and whose decoder is not looked at."""


def too_large(image: ImageFile.ImageFile) -> str:
    """Why an opened picture, not yet decoded, is not to be decoded, in a few words; "" if it is."""
    if max(image.size) > LONGEST_SIDE:
        return f"a side of more than {LONGEST_SIDE} pixels"
    pixels = image.width * image.height
    if pixels <= SMALL:
        return ""
    needed = pixels * _bytes_a_pixel(image)
    if needed <= MOST_BYTES:
        return ""
    return (
        f"{pixels / 1e6:.0f} million pixels of this kind of {image.format} take "
        f"{needed / 2**20:.0f} MB to decode, more than {MOST_BYTES / 2**20:.0f}: save it smaller"
    )


def shortened(image: Image.Image, longest: int) -> Image.Image:
    """`image` itself, or averaged down by a whole factor where a side is beyond `longest`."""
    factor = -(-max(image.size) // longest)
    return image if factor == 1 else image.reduce(factor)


def in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert(image)`, for a conversion to RGB that looks at each pixel alone.

    A large picture is converted in bands of rows, so that only one copy of it is made.
    """
    rows = max(1, _BAND // image.width)
    if image.height <= rows:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        whole.paste(band, (0, top))
        if top == 0:
            whole.info = band.info
    return whole


def _bytes_a_pixel(image: ImageFile.ImageFile) -> float:
    """What decoding takes at its peak, in bytes for each pixel, the decoded picture included."""
    if image.format in ("JPEG", "MPO"):
        return _PILLOWS + _coefficients(getattr(image, "layer", ()))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _PILLOWS if _is_raw(image) else 2 * _PILLOWS + _strip(image)
    return _DECODERS.get(image.format or "", _PILLOWS)


def _coefficients(layers: Sequence[tuple[int, int, int, int]]) -> float:
    """Of a JPEG in several scans, libjpeg keeps two bytes for each sample of each component.

    `layers` are (name, horizontal, vertical sampling, table), as Pillow has them.
    """
    full = max((h for _, h, _, _ in layers), default=1) * max(
        (v for _, _, v, _ in layers), default=1
    )
    return 2 * sum(h * v for _, h, v, _ in layers) / max(1, full)


def _is_raw(image: TiffImagePlugin.TiffImageFile) -> bool:
    return image.tag_v2.get(_COMPRESSION, 1) == 1


def _strip(image: TiffImagePlugin.TiffImageFile) -> float:
    """libtiff unpacks a whole strip or tile at a time, which may be the whole picture."""
    bits = image.tag_v2.get(_BITS, (8,))
    bits = sum(bits) if isinstance(bits, tuple) else bits
    rows = image.tag_v2.get(_ROWS_OF_STRIP, image.height)
    rows = max(rows if isinstance(rows, int) else image.height,
               _tile(image, _TILE_WIDTH) * _tile(image, _TILE_HEIGHT) / image.width)  # fmt: skip
    return max(4, bits / 8) * min(1, rows / image.height)


def _tile(image: TiffImagePlugin.TiffImageFile, tag: int) -> int:
    side = image.tag_v2.get(tag, 0)
    return side if isinstance(side, int) else 0
