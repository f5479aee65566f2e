"""Reads pictures of any kind as what the bakery works with: upright sRGB on white.

The main functions:

- `real_format` and `is_animated` look at the bytes, never at the file's name;
- `written_inside` reads what cameras and generators wrote into the file;
- `open_rgb` decodes the whole picture, so that everything it accepts can be trained on.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import (
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    IptcImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from bakery.io import picture_bounds, png_texts, regular_files
from bakery.io.errors import BakeryError

Size = tuple[int, int]
"""(width, height) in pixels."""

REAL_EXTENSIONS: dict[str, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "gif": ".gif",
    "bmp": ".bmp",
    "tiff": ".tiff",
    "avif": ".avif",
}
"""Format name of `real_format` -> the extension that a file of it should carry."""

_EXIF_IFD = 0x8769
# Make, model, artist, copyright, author, and what is binary: the maker's note, profiles, thumbnails.
_EXIF_UNREAD = {0x010F, 0x0110, 0x013B, 0x8298, 0x9C9D, 0x927C, 0x8773, 0x8649, 0x015B, 0x0201}
# Only these decoders are tried: some of Pillow's others start programs (EPS) or read vectors.
_DECODERS = tuple(name.upper() for name in REAL_EXTENSIONS)
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, RuntimeError, AssertionError, AttributeError, ArithmeticError, struct.error, zlib.error,
)  # fmt: skip


class UnreadableImage(BakeryError):
    """A file that is not a complete picture; `reason` is a few words on why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a usable picture: {reason}; replace or remove the file")
        self.reason = reason


class NoPicture(UnreadableImage):
    """A file that does not begin as any picture does: whatever it holds, it must not be copied."""


class UnreadFormat(UnreadableImage):
    """A picture of a kind that is not read here; `reason` says what to do."""


def open_rgb(path: Path) -> Image.Image:
    """The first frame of a picture as it should be seen: upright, sRGB, alpha over white.

    Any bit depth, colour model and ICC profile comes out as 8-bit sRGB; every pixel has been
    decoded. Raises
    `UnreadableImage` for a file that is missing, no picture, truncated, corrupt or too large.
    """
    path = Path(path)
    with opened(path) as image:
        if too_large := picture_bounds.too_large(image):
            raise UnreadableImage(path, too_large)
        image.load()
        _turn_upright(image)
        picture = picture_bounds.in_bands(image, lambda band: _flatten(_in_srgb(band), path))
    if len(picture.info.get("icc_profile") or b"") > ImageFile.SAFEBLOCK:
        del picture.info["icc_profile"]  # saved with it, Pillow would not open the picture again
    return picture


def real_format(path: Path) -> str:
    """`jpeg`, `png`, `webp`, `gif`, `bmp`, `tiff` or `avif`, by content; else `UnreadableImage`."""
    with opened(Path(path)) as image:
        return _format_name(image)


def is_animated(path: Path) -> bool:
    """Whether the file holds more than one frame; raises `UnreadableImage` like `real_format`."""
    with opened(Path(path)) as image:
        # A camera's multi-picture JPEG carries previews, not an animation.
        return _format_name(image) != "jpeg" and _has_second_frame(image)


def _has_second_frame(image: ImageFile.ImageFile) -> bool:
    """Without counting: a file of megabytes may hold millions of empty frames."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(getattr(image, "is_animated", False))
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as seen, after EXIF rotation, from the header alone."""
    with opened(Path(path)) as image:
        # Pillow decodes a PNG to look for its EXIF
        readable = not picture_bounds.too_large(image)
        turned = readable and image.getexif().get(0x0112) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def quantization(path: Path) -> list[int] | None:
    """The 64 luminance steps that a JPEG file was quantised with; None for other formats."""
    with opened(Path(path)) as image:
        tables = getattr(image, "quantization", None) if _format_name(image) == "jpeg" else None
        return list(tables[min(tables)]) if tables else None


def written_inside(path: Path) -> dict[str, str]:
    """The texts in a picture's file, by name: PNG's chunks, EXIF, XMP, IPTC, comments.

    From the header alone, unless a PNG has texts behind its pixels. Raises `UnreadableImage` as
    `real_format` does, and `png_texts.TooMuchText`; EXIF that is damaged is left out.
    """
    path = Path(path)
    with opened(path) as image:
        small = not picture_bounds.too_large(image)
        if image.format == "PNG" and small and _has_late_texts(path):
            image.load()
        found: dict[str, object] = {str(name): value for name, value in image.info.items()}
        if image.format == "PNG":
            found |= png_texts.texts(path)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            found |= {f"tiff {tag}": value for tag, value in image.tag_v2.items()
                      if tag not in _EXIF_UNREAD}  # fmt: skip
        found |= _exif_texts(image) if small else {}
        with contextlib.suppress(*_DECODE_ERRORS):
            found |= {f"iptc {tag}": value
                      for tag, value in (IptcImagePlugin.getiptcinfo(image) or {}).items()}  # fmt: skip
    for binary in ("icc_profile", "exif", "transparency"):
        found.pop(binary, None)
    return {
        f"{name} {number}" if number else name: text
        for name, value in found.items()
        for number, text in enumerate(_readings(value))
    }


def _exif_texts(image: Image.Image) -> dict[str, object]:
    """EXIF's fields that hold text, by number."""
    try:
        exif = image.getexif()
        fields = {**exif, **exif.get_ifd(_EXIF_IFD)}
    except Exception:  # Pillow's EXIF parser raises whatever the bytes lead it to
        return {}
    return {f"exif {tag}": value for tag, value in fields.items() if tag not in _EXIF_UNREAD}


def _readings(value: object) -> list[str]:
    """What bytes or a text may mean: programs seldom record how they encode it."""
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return _readings(bytes(value))  # older EXIF readers' form of XPKeywords
        return [text for one in value for text in _readings(one)]
    if isinstance(value, str):
        try:  # UTF-8 that was read as Latin-1, as PNG and EXIF ask for
            return list(dict.fromkeys((value, value.encode("latin-1").decode("utf-8"))))
        except UnicodeError:
            return [value]
    if not isinstance(value, bytes):
        return []
    if value[:8] in (b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0"):  # EXIF's UserComment
        value = value[8:]
    if b"\0" in value.rstrip(b"\0"):
        codes: tuple[str, ...] = ("utf-16-le", "utf-16-be", "utf-8")
    else:
        try:
            return [value.decode("utf-8").rstrip("\0")]
        except UnicodeDecodeError:
            codes = ("utf-8", "shift-jis")
    return [value.decode(code, "ignore").replace("\0", " ") for code in codes]


def _has_late_texts(path: Path) -> bool:
    """Whether a PNG has text chunks after its pixels; Pillow reads those only with the pixels."""
    with regular_files.open_binary(path) as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(length + 4, io.SEEK_CUR)
    return False


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The file opened by Pillow; whatever goes wrong inside becomes `UnreadableImage`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            large = png_texts.large_chunks(path)
            with (
                (
                    png_texts.without(path, large) if large else regular_files.open_binary(path)
                ) as file,
                Image.open(file, formats=_DECODERS) as image,
            ):
                if profile := png_texts.profile(path, large):
                    image.info["icc_profile"] = profile
                yield image
    except UnreadableImage:
        raise
    except (FileNotFoundError, IsADirectoryError):
        raise UnreadableImage(path, "there is no such file") from None
    except regular_files.Unopened as problem:
        raise NoPicture(path, f"it is {problem}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        assert Image.MAX_IMAGE_PIXELS is not None  # without a limit there is no such error
        limit = f"more than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise UnreadableImage(path, limit) from None
    except UnidentifiedImageError:
        if kind := _foreign_kind(path):
            raise UnreadFormat(
                path, f"{kind} is not read here: convert the picture to PNG or JPEG"
            ) from None
        raise NoPicture(path, "its content is not of a known image format") from None
    except _DECODE_ERRORS as problem:
        cut = "truncated" in str(problem).lower()
        raise UnreadableImage(path, "truncated" if cut else "corrupt") from None


def _foreign_kind(path: Path) -> str:
    """The kind of a picture that needs a decoder which is not here, by its first bytes; else empty."""
    with regular_files.open_binary(path) as file:
        head = file.read(64)
    if head[:2] == b"\xff\x0a" or head[4:12] == b"JXL \r\n\x87\n":
        return "JPEG XL"
    if head[4:8] == b"ftyp":  # ISO base media: the brands say what is in it
        brands = {head[at : at + 4] for at in range(8, 64, 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}:
            return "HEIC"
    return ""


def _format_name(image: Image.Image) -> str:
    return "jpeg" if image.format == "MPO" else str(image.format).lower()


def _turn_upright(image: Image.Image) -> None:
    """The EXIF rotation applied in place; damaged EXIF data is no reason to lose a whole picture."""
    with contextlib.suppress(*_DECODE_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)


def _in_srgb(image: Image.Image) -> Image.Image:
    """The colours of an embedded ICC profile as sRGB; what is damaged or does not fit is ignored."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        if image.mode in ("P", "PA", "LA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
        assert converted is not None  # it is only where the picture is changed in place
        return converted
    except (ImageCms.PyCMSError, *_DECODE_ERRORS):
        return image


def _flatten(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage(path, "its pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):
        # Pillow clips 16 bits to 8; what is meant is the upper 8 of them.
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()
