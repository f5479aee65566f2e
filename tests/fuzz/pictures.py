"""Pictures of all formats: cut off, altered, lying, as bombs of pixels, frames, texts and tags.

They go through the readings of a bake: the folder's, the filter's, the layout's. Taken is what is read
to the last pixel; recorded, what is left out with a reason.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from bakery.dataset import trainer_formats
from bakery.gate import sidecars
from bakery.io import images
from bakery.pages import contact_sheet
from bakery.sources.folders import collect
from bakery.sources.posts import FETCHED, Post
from bakery.stages import filter as stage
from tests.fuzz.outcome import Outcome

LONG, SHORT = 1000, 12
TEXT_SIZES = (10**6, 70 * 10**6, 200 * 10**6)
MOST_ROWS = 50_000_000
"""Bytes of a picture's rows that are really there."""


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    path = folder / f"a{rng.choice(ENDINGS)}"
    if seed < 0:
        for size in TEXT_SIZES:  # made once: what a bomb costs its maker is not what is measured
            _packed(size)
        _zeros(MOST_ROWS)
        path.write_bytes(_good()["png"])
    elif rng.random() < 0.25:
        path.write_bytes(rng.choice(BOMBS)(rng))
    else:
        path.write_bytes(_altered(rng))
    return _judged(path, folder)


def _judged(path: Path, folder: Path) -> Outcome:
    other = folder / "b.png"
    other.write_bytes(_good()["png"])
    found = {at.name: post for post, at in collect(folder, folder / "unpacked")}
    if found[other.name].status != FETCHED:
        return Outcome("failed", f"a good picture beside it is {found[other.name].reason}")
    post = found.get(path.name)
    if post is None or (post.status != FETCHED and not (post.reason or post.facts.refused)):
        return Outcome("failed", "a file is neither taken nor on record")
    try:
        sidecars.inside(path)
    except sidecars.BrokenSidecar as problem:
        if post.status == FETCHED:
            return Outcome("failed", f"taken, although {problem}")
    candidate = stage.measure(Post(url="a"), path, [], contact_sheet.coding(1))
    if not candidate.readable:
        return Outcome("recorded" if candidate.detail else "failed", candidate.detail)
    if not all(0 <= number <= 100 for number in (candidate.blur, candidate.jpeg_quality)):
        return Outcome("failed", f"blur {candidate.blur}, quality {candidate.jpeg_quality}")
    trainer_formats.why_reencode(path)
    images.open_rgb(path).save(folder / "c.png")
    images.open_rgb(folder / "c.png")
    return Outcome("taken")


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, format=kind, **options)
    return content.getvalue()


@cache
def _good() -> dict[str, bytes]:
    """Small pictures of every format and colour model, with metadata."""
    noise = np.random.default_rng(0)
    rgb = Image.fromarray(noise.integers(0, 255, (48, 64, 3), np.uint8))
    alpha = Image.fromarray(noise.integers(0, 255, (48, 64, 4), np.uint8))
    deep = Image.fromarray(noise.integers(0, 65535, (48, 64), np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a girl"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0smile"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "1girl, smile", zip=True)
    texts.add_itxt("Comment", "ein Mädchen")
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    frames = {"save_all": True, "append_images": [alpha.rotate(90 * n) for n in range(1, 4)]}
    return {
        "png": _saved(rgb, "PNG", pnginfo=texts, exif=exif, icc_profile=icc),
        "alpha": _saved(alpha, "PNG"),
        "deep": _saved(deep, "PNG"),
        "apng": _saved(alpha, "PNG", **frames),
        "palette": _saved(rgb.quantize(16), "PNG", transparency=3),
        "grey": _saved(rgb.convert("LA"), "PNG"),
        "jpeg": _saved(rgb, "JPEG", exif=exif, icc_profile=icc, comment=b"hello"),
        "progressive": _saved(rgb, "JPEG", progressive=True),
        "cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "webp": _saved(rgb, "WEBP", exif=exif),
        "lossless": _saved(alpha, "WEBP", lossless=True),
        "frames": _saved(alpha, "WEBP", **frames),
        "gif": _saved(rgb.quantize(16), "GIF"),
        "moving": _saved(
            rgb.quantize(16), "GIF", save_all=True, append_images=[rgb.quantize(8)] * 5
        ),
        "bmp": _saved(rgb, "BMP"),
        "tiff": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "raw": _saved(rgb, "TIFF"),
        "pages": _saved(rgb, "TIFF", save_all=True, append_images=[rgb] * 3),
        "deflate": _saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        "avif": _saved(rgb, "AVIF", exif=exif),
        "jpeg in tiff": _saved(rgb, "TIFF", compression="jpeg"),
    }


ENDINGS = (".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff", ".avif", ".tif", ".jpeg", ".PNG")


def _altered(rng: random.Random) -> bytes:
    data = bytearray(_good()[rng.choice(sorted(_good()))])
    match rng.randrange(8):
        case 0 | 1:
            for _ in range(rng.choice((1, 1, 4, 40))):
                data[rng.randrange(len(data))] = rng.choice((0, 255, 127, rng.randrange(256)))
        case 2:
            del data[rng.randrange(len(data)) :]
        case 3:  # the header: sizes, offsets, counts
            at = rng.randrange(min(len(data), 120) - 4)
            data[at : at + 4] = rng.choice(
                (
                    b"\xff" * 4,
                    b"\0" * 4,
                    b"\x7f" + b"\xff" * 3,
                    b"\0\0\x80\0",
                    struct.pack("<I", len(data)),
                    b"\x01\0\0\0",
                )
            )
        case 4:
            at = rng.randrange(len(data))
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 1000))))
        case 5:
            other = _good()[rng.choice(sorted(_good()))]
            data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
        case 6:
            start = rng.randrange(len(data))
            del data[start : start + rng.choice((1, 2, 16, 200))]
        case 7:
            return _rechecked(rng, data)
    return bytes(data)


def _rechecked(rng: random.Random, data: bytearray) -> bytes:
    """A PNG whose chunks were altered and have the right sums."""
    content = _good()[rng.choice(("png", "alpha", "deep", "apng", "palette", "grey"))]
    made, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], bytearray(content[at + 8 : at + 8 + length])
        at += 12 + length
        if body and rng.random() < 0.3:
            body[rng.randrange(len(body))] = rng.choice((0, 1, 255, rng.randrange(256)))
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
            made += _chunk(kind, bytes(body))
    return bytes(made)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(
    width: int, height: int, *, depth: int = 8, color: int = 2, middle: bytes = b"", rows: int = 1
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = _zeros(min(rows, MOST_ROWS))
    return (
        images.png_texts.SIGNATURE
        + _chunk(b"IHDR", header)
        + middle
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


@cache
def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 1)


@cache
def _packed(count: int) -> bytes:
    return zlib.compress(b"a" * count, 1)


def _large(rng: random.Random) -> bytes:
    """More pixels than may be, more than there are, or in a shape that nobody draws."""
    width, height = rng.choice(
        (
            (9400, 9400),
            (1, 89_000_000),
            (89_000_000, 1),
            (65_535, 1300),
            (2**31 - 1, 1),
            (2**31 - 1, 2**31 - 1),
            (0, 5),
            (20_000, 20_000),
            (3, 65_535),
        )
    )
    return _png(
        width,
        height,
        depth=rng.choice((8, 16)),
        color=rng.choice((0, 2, 4, 6)),
        rows=rng.choice((10, width * height * 3)),
    )


def _texts(rng: random.Random) -> bytes:
    size = rng.choice(TEXT_SIZES)
    kind = rng.choice(("zTXt", "iTXt", "iCCP", "many"))
    if kind == "many":
        middle = _chunk(b"zTXt", b"k\0\0" + _packed(1_000_000)) * rng.choice((10, 300))
    elif kind == "iTXt":
        middle = _chunk(b"iTXt", b"k\0\1\0\0\0" + _packed(size))
    else:
        middle = _chunk(kind.encode(), b"k\0\0" + _packed(size))
    return _png(64, 48, middle=middle, rows=48 * (64 * 3 + 1))


def _frames(rng: random.Random) -> bytes:
    """10,000 frames, said or there."""
    if rng.random() < 0.5:
        control = struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 10, 0, 0)
        middle = _chunk(b"acTL", struct.pack(">II", rng.choice((1, 10_000, 2**31 - 1)), 0))
        return _png(64, 48, middle=middle + _chunk(b"fcTL", control) * 10_000, rows=48 * 193)
    gif = _good()["moving"]
    start = gif.rindex(b"\x21\xf9")
    return gif[:start] + gif[start:-1] * 10_000 + b";"


def _tags(rng: random.Random) -> bytes:
    """A TIFF, or a JPEG's EXIF, whose tables lead back, to the end, or to millions of values."""
    entries = []
    for tag in (256, 257, 258, 259, 262, 273, 278, 279, 0x0112, 0x8769, 0x8825, 0x010E, 330, 34675):
        count = rng.choice((1, 1, 1, 3, 2**20, 2**32 - 1))
        value = rng.choice((8, 0, 1, 64, 48, 3, 2**31, 2**32 - 1, 65_535))
        entries.append(struct.pack("<HHII", tag, rng.randrange(1, 14), count, value))
    body = (
        struct.pack("<H", len(entries))
        + b"".join(entries)
        + struct.pack("<I", rng.choice((0, 8, 10, 9999)))
    )
    tiff = b"II*\0\x08\0\0\0" + body
    if rng.random() < 0.5:
        return tiff + b"\0" * 10_000
    segment = b"Exif\0\0" + tiff
    jpeg = _good()["jpeg"]
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def _no_picture(rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"",
            b"\0" * 1000,
            b"root:x:0:0::/root:/bin/sh\n",
            b"<svg/>",
            b"%!PS\n(x) run",
            b"<html>",
            b"version https://git-lfs",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBP",
            b"II*\0\xff\xff\xff\xff",
            b"BM" + b"\xff" * 60,
            b"\0\0\0\x20ftypavif" + b"\xff" * 99,
            b"\xff\xd8\xff\xe0" + b"\xff\xff" * 99,
            b"PK\x03\x04",
        )
    )


BOMBS: tuple[Callable[[random.Random], bytes], ...] = (
    _large,
    _texts,
    _frames,
    _tags,
    _tags,
    _no_picture,
)
