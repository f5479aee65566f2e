"""Blur and the traces of JPEG are measured, on drawings and on the embedded pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from bakery.io import images, tables
from bakery.settings.filter import Filter
from bakery.vision import quality

WORLD = Path(__file__).parents[2] / "resources" / "world" / "booru"


def drawing(seed: int = 0, side: int = 320) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(side // 5):
        x, y = rng.integers(0, side, 2).tolist()
        wide, high = rng.integers(side // 20, side // 4, 2).tolist()
        color = tuple(rng.integers(0, 256, 3).tolist())
        pen.ellipse((x, y, x + wide, y + high), color, "black", 3)
    return image


def recompressed(image: Image.Image, level: int) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=level)
    return Image.open(target).convert("RGB")


@pytest.fixture(scope="module")
def good() -> list[Image.Image]:
    """Pictures of the embedded booru that are to be kept, every fourth."""
    truth = tables.read(WORLD / "truth.csv", ("md5", "kind", "keep"))
    names = truth.loc[(truth["keep"] == "true") & (truth["kind"] != "wrong_extension"), "md5"]
    return [images.open_rgb(next((WORLD / "files").glob(f"{md5}.*"))) for md5 in names[::4]]


@pytest.mark.slow
def test_spoiled_pictures_are_told_from_good_ones(good, capsys):
    """Precision and recall of both measures at the default limits, by pixels alone."""
    limits = Filter()
    blur = ImageFilter.GaussianBlur
    kinds = {  # pictures, least and largest share that is blurry, the same for compressed
        "as they are": (good, (0, 0), (0, 0)),
        "blurred by 1.5% of the side": (
            [i.filter(blur(0.015 * max(i.size))) for i in good], (1, 1), (0, 1),
        ),
        "enlarged eightfold": (
            [i.resize((i.width // 8, i.height // 8), Image.Resampling.LANCZOS)
             .resize(i.size, Image.Resampling.BICUBIC) for i in good], (1, 1), (0, 1),
        ),
        **{
            f"JPEG of quality {level}": ([recompressed(i, level) for i in good], (0, 0), (0.95, 1))
            for level in (5, 10, 20)
        },
        "JPEG of quality 10, cut and saved at 95": (
            [recompressed(recompressed(i, 10).crop((3, 5, *i.size)), 95) for i in good],
            (0, 0), (0.9, 1),
        ),
        "JPEG of quality 50": ([recompressed(i, 50) for i in good], (0, 0), (0, 0)),
    }  # fmt: skip
    for kind, (pictures, blurry, compressed) in kinds.items():
        told = [
            (quality.blur(i) > limits.max_blur, quality.jpeg_quality(i) < limits.min_jpeg_quality)
            for i in pictures
        ]
        shares = np.mean(told, axis=0)
        with capsys.disabled():
            print(f"\n{kind}: blurry {shares[0]:.0%}, compressed {shares[1]:.0%}", end="")
        assert blurry[0] <= shares[0] <= blurry[1], kind
        assert compressed[0] <= shares[1] <= compressed[1], kind


@pytest.mark.parametrize("level", [12, 20, 30, 45])
def test_the_quality_behind_the_pixels_is_found(level):
    for seed in range(3):
        image = drawing(seed).filter(ImageFilter.GaussianBlur(1.2))
        assert abs(quality.jpeg_quality(recompressed(image, level)) - level) <= 2
        again = recompressed(recompressed(image, level).crop((3, 5, 320, 320)), 97)
        assert abs(quality.jpeg_quality(again) - level) <= 2


def test_crisp_drawings_and_small_ones_show_no_trace():
    for seed in range(4):
        for image in (drawing(seed), drawing(seed, 60), drawing(seed).resize((200, 200))):
            assert quality.jpeg_quality(image) == 100


def test_the_tables_of_a_jpeg_are_read(tmp_path):
    path = tmp_path / "a.jpg"
    for level in (5, 25, 50, 75, 90):
        drawing().save(path, quality=level)
        table = images.quantization(path)
        assert abs(quality.jpeg_quality(Image.new("RGB", (20, 20)), table) - level) <= 2
    own = quality.jpeg_quality(Image.new("RGB", (20, 20)), [7] * 64)  # no table of libjpeg's
    assert 50 < own < 90
    drawing().save(tmp_path / "a.png")
    assert images.quantization(tmp_path / "a.png") is None


def test_more_blur_is_more_and_nothing_to_see_is_none():
    levels = [quality.blur(drawing().filter(ImageFilter.GaussianBlur(r))) for r in (0, 1, 2, 4, 8)]
    assert levels == sorted(levels)
    assert levels[0] < 0.3
    assert levels[-1] > 0.7
    assert quality.blur(Image.new("RGB", (90, 90), "red")) == 0


def test_large_pictures_are_judged_as_a_bake_would_see_them():
    soft = drawing(side=1600).filter(ImageFilter.GaussianBlur(4))  # 1.3 pixels at 512
    assert quality.blur(soft) < 0.5 < quality.blur(soft.crop((0, 0, 400, 400)))


def test_pixel_art_is_not_taken_for_jpeg():
    tiny = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8))
    assert quality.jpeg_quality(tiny.resize((320, 320), Image.Resampling.NEAREST)) >= 30
