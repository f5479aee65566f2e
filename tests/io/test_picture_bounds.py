"""A picture costs at most 1 GB: measured on the worst that are read, refused by the header otherwise."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakery.io import images, picture_bounds
from bakery.io.images import UnreadableImage

ROOT = Path(__file__).parents[2]
MOST_MB = 1024


def png(path: Path, size: tuple[int, int], color: int, depth: int = 8) -> Path:
    """All zeros; `color` is PNG's number of a colour model."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    row = bytes(1 + size[0] * channels * depth // 8)
    engine = zlib.compressobj(1)
    pixels = b"".join(engine.compress(row) for _ in range(size[1])) + engine.flush()
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    path.write_bytes(images.png_texts.SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    ))  # fmt: skip
    return path


@pytest.mark.slow
def test_the_worst_that_is_read_stays_below_a_gigabyte(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", (9400, 9400), 6)
    measure = [sys.executable, ROOT / "benchmarks/picture_memory.py", "--only", path]
    done = subprocess.run(measure, capture_output=True, text=True, check=True)
    megabytes, *said = done.stdout.split()
    assert said == ["read"]
    assert 600 < float(megabytes) < MOST_MB, "two pictures of 337 MB, and what Python takes"


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGBA", {}), ("LA", {}), ("I;16", {}), ("P", {"transparency": 3}), ("L", {}), ("RGB", {})],
)
def test_bands_give_what_the_whole_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: dict
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 4), np.uint8)
    picture = Image.fromarray(noise)
    if mode == "I;16":
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 250)
    elif mode == "P":
        picture = picture.convert("RGB").quantize(16)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.png", **options)
    whole = images.open_rgb(tmp_path / "a.png")
    monkeypatch.setattr(picture_bounds, "_BAND", 7 * 40)
    bands = images.open_rgb(tmp_path / "a.png")
    assert bands.tobytes() == whole.tobytes()
    assert bands.info == whole.info


def lying(path: Path, kind: str, **options: object) -> Path:
    """A small picture in whose header 9000 x 9000 is written."""
    Image.new("RGB", (64, 64)).convert(str(options.pop("mode", "RGB"))).save(path, kind, **options)
    data = bytearray(path.read_bytes())
    at = next(n for n in range(len(data)) if data[n : n + 2] in (b"\xff\xc0", b"\xff\xc2"))
    data[at + 5 : at + 9] = struct.pack(">HH", 9300, 9300)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "options", [{"progressive": True, "subsampling": 0}, {"mode": "CMYK", "progressive": True}]
)
def test_what_a_decoder_would_need_more_for_is_refused_by_its_header(
    tmp_path: Path, options: dict
) -> None:
    path = lying(tmp_path / "a.jpg", "JPEG", **options)
    with pytest.raises(UnreadableImage, match="86 million pixels of this kind of JPEG take"):
        images.open_rgb(path)


def test_a_side_longer_than_any_jpegs_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", (1, 65_536), 0)
    with pytest.raises(UnreadableImage, match="a side of more than 65535 pixels"):
        images.open_rgb(path)
    assert images.open_rgb(png(path, (1, 65_535), 0)).size == (1, 65_535)


def test_a_long_picture_becomes_no_square_of_its_length() -> None:
    assert picture_bounds.shortened(Image.new("RGB", (8192, 5)), 8192).size == (8192, 5)
    assert picture_bounds.shortened(Image.new("RGB", (3, 65_535)), 8192).size == (1, 8192)


def test_frames_are_not_counted(tmp_path: Path) -> None:
    page = Image.new("1", (1, 1))
    page.save(tmp_path / "a.tiff", save_all=True, append_images=[page] * 2)
    page.save(tmp_path / "b.tiff")
    assert images.is_animated(tmp_path / "a.tiff")
    assert not images.is_animated(tmp_path / "b.tiff")
