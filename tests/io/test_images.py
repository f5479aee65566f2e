"""Whatever a booru serves comes out upright, RGB and on white, or is refused by name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from bakery.io import images
from bakery.io.errors import BakeryError
from bakery.io.images import UnreadableImage, is_animated, open_rgb, real_format, size_of


def picture(width=40, height=30) -> Image.Image:
    """Left half red, right half blue, a green corner at the top left: no symmetry at all."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (220, 30, 30)
    pixels[:, width // 2 :] = (30, 30, 220)
    pixels[: height // 2, : width // 4] = (30, 200, 30)
    return Image.fromarray(pixels)


def near(image: Image.Image, other: Image.Image, levels: float = 12) -> bool:
    if image.size != other.size:
        return False
    return np.abs(np.asarray(image, int) - np.asarray(other, int)).mean() < levels


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}), ("a.jpg", {"quality": 95}), ("a.webp", {"lossless": True}),
        ("a.bmp", {}), ("a.tiff", {}), ("a.gif", {}),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_picture(tmp_path, name, options):
    picture().save(tmp_path / name, **options)
    opened = open_rgb(tmp_path / name)
    assert opened.mode == "RGB"
    assert near(opened, picture())


def test_transparency_lies_over_white_whatever_is_hidden_under_it(tmp_path):
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.uint8([0] * 20 + [255] * 20), (30, 1))))
    for name in ("a.png", "a.webp"):
        image.save(tmp_path / name, lossless=True)
        opened = np.asarray(open_rgb(tmp_path / name))
        assert (opened[:, :20] == 255).all()
        assert (opened[:, 20:] == (30, 30, 220)).all()


def test_palette_with_a_transparent_color(tmp_path):
    image = picture().quantize(8)
    red = image.getpixel((15, 25))
    image.save(tmp_path / "a.png", transparency=red)
    opened = open_rgb(tmp_path / "a.png")
    assert opened.getpixel((15, 25)) == (255, 255, 255)
    assert opened.getpixel((35, 5)) == (30, 30, 220)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "CMYK", "P", "RGBA"])
def test_color_models(tmp_path, mode):
    name = "a.jpg" if mode == "CMYK" else "a.png"
    picture().convert(mode).save(tmp_path / name)
    opened = open_rgb(tmp_path / name)
    assert opened.mode == "RGB"
    expected = picture().convert(mode).convert("RGB")
    assert near(opened, expected, 20)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (8, 1))).save(tmp_path / "a.png")
    opened = np.asarray(open_rgb(tmp_path / "a.png"))
    assert np.abs(opened[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = picture()
    if orientation in undo:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert near(open_rgb(tmp_path / "a.jpg"), picture())
    assert size_of(tmp_path / "a.jpg") == picture().size


def test_damaged_exif_does_not_lose_the_picture(tmp_path):
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken", quality=95)
    assert near(open_rgb(tmp_path / "a.jpg"), picture())


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableImage, match=name) as refusal:
        open_rgb(tmp_path / name)
    assert isinstance(refusal.value, BakeryError)
    assert str(tmp_path) not in refusal.value.reason


@pytest.mark.parametrize(
    "content",
    [b"<html>503</html>", b"\xff\xd8\xff\xe0" + b"noise" * 99, b"%!PS-Adobe-3.0 EPSF-3.0\n",
     b"RIFF\x10\0\0\0WEBPVP8 ", b"GIF89a"],
)  # fmt: skip
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.jpg"):
        open_rgb(tmp_path / "a.jpg")


def test_missing_file_and_folder(tmp_path):
    for path, words in (tmp_path / "gone.png", "no such file"), (tmp_path, "it is a folder"):
        with pytest.raises(UnreadableImage, match=words):
            open_rgb(path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    for limit in (700, 300):  # Pillow warns up to twice the limit, and raises above
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadableImage, match="million pixels"):
            open_rgb(tmp_path / "a.png")


def icc_profile(red=(0.1431, 0.0606, 0.7141), blue=(0.4361, 0.2225, 0.0139)) -> bytes:
    """An ICC profile (version 2, matrix and gamma 1) of sRGB's primaries, red and blue exchanged."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"curv\0\0\0\0" + struct.pack(">I", 1) + struct.pack(">H", 563) + b"\0\0"  # 2.2
    text = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"swapped\0" + b"\0" * 78
    green = (0.3851, 0.7169, 0.0971)
    tags = {b"desc": text, b"wtpt": xyz(0.9642, 1, 0.8249), b"rXYZ": xyz(*red),
            b"gXYZ": xyz(*green), b"bXYZ": xyz(*blue), b"rTRC": curve, b"gTRC": curve,
            b"bTRC": curve}  # fmt: skip
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I", 128 + len(rest)) + b"\0" * 4 + b"\x02\x10\0\0" + b"mntrRGB XYZ "
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + rest


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("png", "RGB"), ("png", "RGBA"), ("png", "P"), ("jpg", "RGB"), ("webp", "RGB"),
     ("webp", "RGBA")],
)  # fmt: skip
def test_an_icc_profile_is_heeded(tmp_path, mode, ending):
    path = tmp_path / f"a.{ending}"
    image = picture() if mode == "RGB" else picture().convert(mode)
    if mode == "RGBA":
        image.paste((0, 0, 0, 0), (0, 15, 10, 30))
    image.save(path, icc_profile=icc_profile(), quality=95)
    opened = open_rgb(path)
    assert opened.mode == "RGB"
    for place, (red, _, blue) in {(35, 5): (220, 30, 30), (15, 25): (30, 30, 220)}.items():
        seen = opened.getpixel(place)
        assert abs(seen[0] - red) + abs(seen[2] - blue) < 40, place
    if mode == "RGBA":
        assert opened.getpixel((5, 22)) == (255, 255, 255)


@pytest.mark.parametrize("profile", [b"not a profile", icc_profile()[:200]])
def test_a_damaged_icc_profile_is_ignored(tmp_path, profile):
    picture().save(tmp_path / "a.png", icc_profile=profile)
    assert near(open_rgb(tmp_path / "a.png"), picture())


def test_a_profile_of_another_color_model_is_ignored(tmp_path):
    picture().convert("CMYK").save(tmp_path / "a.jpg", icc_profile=icc_profile(), quality=95)
    assert near(open_rgb(tmp_path / "a.jpg"), picture(), 20)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UnreadableImage, match="floating-point"):
        open_rgb(tmp_path / "a.tiff")


@pytest.mark.parametrize("kind", sorted(images.REAL_EXTENSIONS))
def test_the_real_format_is_told_by_content(tmp_path, kind):
    liar = tmp_path / "liar.dat"
    picture().save(liar, kind)
    assert real_format(liar) == kind


def test_animation_is_told_by_its_frames(tmp_path):
    frames = [picture(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert is_animated(tmp_path / name)
        assert near(open_rgb(tmp_path / name), frames[0])
        frames[0].save(tmp_path / name)
        assert not is_animated(tmp_path / name)


def test_a_camera_s_previews_are_no_animation(tmp_path):
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture(20, 15)])
    assert real_format(tmp_path / "a.jpg") == "jpeg"
    assert not is_animated(tmp_path / "a.jpg")
