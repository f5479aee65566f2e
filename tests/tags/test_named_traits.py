"""Traits that kept captions name, and what is said of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakery.settings.prune import Prune
from bakery.tags import named_traits

TAGGED = (
    "suzu, 1girl, pink_hair, halo, hat",
    "1girl, Pink Hair, halo, beach",
    "1girl, pink hair, solo",
)


def prune(**more) -> Prune:
    return Prune(trigger="suzu", class_tokens="1girl", source="captions", **more)


def test_traits_that_most_captions_name_come_by_number() -> None:
    assert named_traits.find(TAGGED, prune()) == ["pink hair", "halo"]
    assert named_traits.find(TAGGED, prune(min_frequency=0.9)) == ["pink hair"]
    assert named_traits.find([], prune()) == []


def test_what_the_config_has_decided_is_not_asked_again() -> None:
    assert named_traits.find(TAGGED, prune(always=("pink_hair",))) == ["halo"]
    assert named_traits.find(TAGGED, prune(never=("halo",))) == ["pink hair"]
    assert named_traits.advice(TAGGED, prune(always=("pink hair", "halo"))) == ""
    assert named_traits.advice(TAGGED, prune(enabled=False)) == ""


def test_the_advice_can_be_copied_into_the_config() -> None:
    assert "`always: [pink hair, halo]` below prune" in named_traits.advice(TAGGED, prune())
    assert (
        named_traits.advice(["suzu, smile, hat", "A girl with pink hair on a beach."], prune())
        == ""
    )


def test_captions_are_read_as_the_scrape_reads_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.png", "deep/b.png", "c.png", ".hidden/d.png"):
        Image.new("1", (4, 4)).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("1girl, (pink_hair:1.2)")
    (tmp_path / "deep/b.caption").write_text("halo")
    (tmp_path / "c.txt").write_bytes(b"\x00\x01\x02\xff")
    (tmp_path / ".hidden/d.txt").write_text("wings")
    (tmp_path / "notes.txt").write_text("horns")
    assert named_traits.beside_pictures([tmp_path, tmp_path / "gone"]) == [
        "1girl, pink hair",
        "halo",
    ]
