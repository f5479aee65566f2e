"""FROM as people give it: addresses of all kinds, paths of another system, folders without pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakery.io.errors import BakeryError
from bakery.sources import glance
from bakery.starting import given_source


@pytest.mark.parametrize(
    ("source", "held"),
    [
        ("https://danbooru.donmai.us/posts?tags=suzu", None),
        ("danbooru.donmai.us/posts?tags=suzu", "https://danbooru.donmai.us/posts?tags=suzu"),
        (" https://gelbooru.com/index.php?page=post&s=list&tags=suzu ", None),
        ("https://yande.re/post?tags=suzu", None),
        ("https://danbooru.donmai.us/posts/123", None),
        ("Danbooru:http://127.0.0.1:8000/posts?tags=suzu", None),
    ],
)
def test_a_booru_s_address_is_taken_without_a_word(source: str, held: str | None) -> None:
    assert given_source.is_address(source)
    assert given_source.address(source) == (held or source.strip(), [])


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("https://www.instagram.com/p/Cabc/", "instagram"),
        ("https://www.pixiv.net/en/users/123", "pixiv"),
        ("x.com/somebody", "twitter"),
    ],
)
def test_of_a_site_that_is_no_booru_it_is_told_what_is_missing(source: str, site: str) -> None:
    _, (note,) = given_source.address(source)
    assert note.startswith(f"{site} is no booru: its posts have no booru tags")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://danbooru.donmai.us", "the front page of a site: search there"),
        ("https://danbooru.donmai.us/", "the front page of a site: search there"),
        ("https://drive.google.com/drive/folders/abc", "knows no such page"),
        ("https://huggingface.co/datasets/a/b", "download by hand and give the folder"),
        ("https://me:secret@danbooru.donmai.us/posts?tags=a", "with a password or key"),
    ],
)
def test_an_address_that_gives_nothing_is_refused(source: str, said: str) -> None:
    assert given_source.is_address(source)
    with pytest.raises(BakeryError) as caught:
        given_source.address(source)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["pics", "./my pics", "~/pics", "C:\\pics", "pics.v2", "/mnt/c/a"]
)
def test_a_path_is_no_address(source: str) -> None:
    assert not given_source.is_address(source)


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("C:\\Users\\me\\my pics", "/mnt/c/Users/me/my pics"),
        (".\\pics\\suzu", "pics/suzu"),
        ("pics\\", "pics"),
    ],
)
def test_a_path_of_windows_is_given_as_it_is_here(tmp_path: Path, source: str, here: str) -> None:
    said = given_source.no_folder(source, tmp_path / source)
    assert said == f"FROM names {source}, a path as Windows writes it: here it is {here}"


def test_photos_of_a_phone_are_to_be_saved_as_something_else(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    said = given_source.no_picture(tmp_path, glance.at([tmp_path]))
    assert said.endswith("holds no picture (3 .heic): save them as .jpg or .png first, since Apple's "
                         "format is not read")  # fmt: skip
