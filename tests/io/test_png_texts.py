"""PNGs with more text, or a larger profile, than Pillow reads are pictures, and bombs cost little."""

from __future__ import annotations

import io
import resource
import struct
import zlib

import pytest
from PIL import Image, ImageCms

from bakery.gate import sidecars
from bakery.io import images, png_texts

WORKFLOW = b'{"nodes": [' + b'{"type": "KSampler", "pos": [1, 2]}, ' * 50_000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ztxt(keyword: bytes, text: bytes) -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


def itxt(keyword: bytes, text: bytes, packed: bool = True) -> bytes:
    text = zlib.compress(text) if packed else text
    return chunk(b"iTXt", keyword + (b"\0\1\0" if packed else b"\0\0\0") + b"en\0Name\0" + text)


def png(path, *chunks: bytes, late: bytes = b"", image=None):
    """A PNG with `chunks` before its pixels and `late` behind them."""
    buffer = io.BytesIO()
    (image or Image.new("RGB", (60, 40), (10, 120, 200))).save(buffer, "PNG")
    plain = buffer.getvalue()
    path.write_bytes(plain[:33] + b"".join(chunks) + plain[33:-12] + late + plain[-12:])
    return path


@pytest.mark.parametrize(
    "chunks",
    [
        [ztxt(b"workflow", WORKFLOW)],
        [itxt(b"workflow", WORKFLOW)],
        [itxt(b"workflow", WORKFLOW, packed=False)],
        [chunk(b"tEXt", b"k%d\0" % n + b"x" * 3_000_000) for n in range(25)],
        [ztxt(b"k%d" % n, b"x" * 1_000_000) for n in range(70)],
        [chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 2_000_000))],
        [chunk(b"zTXt", b"damaged\0\0" + b"\1\2\3")],
    ],
    ids=["zTXt", "iTXt", "plain iTXt", "25 tEXt", "70 zTXt", "iCCP", "damaged"],
)
def test_the_picture_is_read(tmp_path, chunks):
    path = png(tmp_path / "a.png", *chunks)
    assert images.size_of(path) == (60, 40)
    assert images.real_format(path) == "png"
    assert images.open_rgb(path).getpixel((5, 5)) == (10, 120, 200)
    late = png(tmp_path / "late.png", late=b"".join(chunks))
    assert images.open_rgb(late).getpixel((5, 5)) == (10, 120, 200)


@pytest.mark.parametrize("write", [ztxt, itxt])
@pytest.mark.parametrize("place", ["first", "late"])
def test_its_texts_are_read_to_the_end(tmp_path, write, place):
    text = write(b"workflow", WORKFLOW + '"größe": "the end"'.encode())
    chunks = ([text], b"") if place == "first" else ([], text)
    path = png(tmp_path / "a.png", *chunks[0], late=chunks[1])
    texts = images.written_inside(path)
    assert any(text.endswith('"größe": "the end"') for text in texts.values())


def test_a_word_in_a_large_text_keeps_the_picture_out(tmp_path):
    path = png(tmp_path / "a.png", ztxt(b"notes", b"smile, " * 300_000 + b"loli"))
    assert sidecars.inside(path).refused
    several = [ztxt(b"notes", b"smile, " * 300_000 + end) for end in (b"", b"shota", b"")]
    assert sidecars.inside(png(tmp_path / "b.png", *several)).refused, "a keyword may be repeated"
    assert not sidecars.inside(png(tmp_path / "c.png", several[0])).refused
    small = [chunk(b"tEXt", b"parameters\0" + text) for text in (b"1girl, loli", b"1girl")]
    assert sidecars.inside(png(tmp_path / "d.png", *small)).refused


def test_small_texts_stay_pillow_s(tmp_path):
    path = png(tmp_path / "a.png", itxt(b"parameters", b"1girl\nSteps: 20"))
    assert png_texts.large_chunks(path) == []
    assert images.written_inside(path) == {"parameters": "1girl\nSteps: 20"}


def test_a_large_profile_is_heeded(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path = png(tmp_path / "a.png", chunk(b"iCCP", b"p\0\0" + zlib.compress(profile + bytes(2**21))))
    large = png_texts.large_chunks(path)
    assert png_texts.profile(path, large).startswith(profile)


def test_a_bomb_costs_little_memory(tmp_path):
    engine = zlib.compressobj(9)
    packed = b"".join(engine.compress(bytes(2**20)) for _ in range(600)) + engine.flush()
    path = png(tmp_path / "a.png", chunk(b"zTXt", b"bomb\0\0" + packed))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert images.open_rgb(path).size == (60, 40)
    with pytest.raises(png_texts.TooMuchText):
        images.written_inside(path)
    with pytest.raises(sidecars.BrokenSidecar, match=r"a\.png holds more than 32 MB of text"):
        sidecars.inside(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 450 * 1024, "KiB: 600 MB would be 614,400"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heixmif1", "HEIC"),
    ],
)
def test_a_kind_that_is_not_read_says_what_to_do(tmp_path, head, kind):
    (tmp_path / "a.png").write_bytes(head + bytes(200))
    with pytest.raises(images.UnreadFormat, match=f"{kind} is not read here: convert"):
        images.open_rgb(tmp_path / "a.png")
