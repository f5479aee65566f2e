"""A folder at a glance."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakery.sources import glance


def test_what_is_counted(tmp_path: Path) -> None:
    for name, size in (("a.png", (3, 4)), ("sub/b.JPG", (5, 6)), (".trash/c.png", (7, 8)),
                       ("._d.png", (1, 1)), ("e.webp", (9, 9))):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "f.jpeg").write_bytes(b"\xff\xd8 cut off")
    for name, text in (
        ("a.txt", "1boy, hat"),
        ("sub/b.TXT", "1boy"),
        ("e.webp.caption", "1girl"),
        ("alone.txt", "1girl"),
        ("notes.md", "x"),
        ("g.psd", ""),
        ("h.psd", ""),
    ):
        (tmp_path / name).write_text(text)
    seen = glance.at([tmp_path])
    assert seen == glance.Glance(((3, 4), (9, 9), (5, 6)), 1, 3, "1boy", ((".psd", 2), (".md", 1)))
    assert seen.pictures == 3
    assert glance.at([]) == glance.Glance()
