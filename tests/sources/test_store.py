"""The store of downloads: only what was fetched whole, and is the site's file, is taken on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from made_booru import ADA, md5_of, small_booru
from PIL import Image

from bakery.io import seals
from bakery.settings.scrape import Scrape
from bakery.sources import posts, store
from bakery.stages import scrape

pytestmark = pytest.mark.usefixtures("own_home")


def fetched(tmp_path: Path, folder: Path, out: str = "out") -> list[posts.Post]:
    """What a scrape of Ada's posts has."""
    settings = Scrape(urls=ADA, minimum_share=0.5)
    scrape.run(settings, booru=folder, out=tmp_path / out, store=tmp_path / "store")
    return posts.read(tmp_path / out / "posts.csv")


@pytest.mark.parametrize("what", ["flipped", "cut", "another", "empty", "swapped", "note", "seal"])
def test_what_was_altered_in_the_store_is_fetched_again(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_booru(tmp_path)
    before = fetched(tmp_path, folder)
    place = tmp_path / "store/embedded"
    file, other = place / "embedded-4.jpg", place / "embedded-5.jpg"
    content, spoilt = file.read_bytes(), bytearray(file.read_bytes())
    spoilt[len(spoilt) // 2] ^= 4
    path = {"note": place / "embedded-4.jpg.json", "seal": place / "embedded-4.jpg.seal"}
    new = {"flipped": bytes(spoilt), "cut": content[:-40], "another": other.read_bytes(),
           "empty": b"", "swapped": other.read_bytes(), "note": b'{"md5": "', "seal": b"x"}  # fmt: skip
    if what == "swapped":
        other.unlink()
        other.write_bytes(content)
    target = path.get(what, file)
    target.unlink()
    target.write_bytes(new[what])
    assert fetched(tmp_path, folder, "again") == before
    assert "embedded-4.jpg" in caplog.text
    assert "fetching it again" in caplog.text
    for number in (4, 5):
        got = (tmp_path / f"again/images/embedded-{number}.jpg").read_bytes()
        assert got == (folder / f"files/{number:032x}.jpg").read_bytes()


def test_another_picture_under_the_post_s_md5_is_not_kept(tmp_path: Path) -> None:
    folder = small_booru(tmp_path)
    file = folder / f"files/{4:032x}.jpg"
    right = file.read_bytes()
    Image.new("RGB", (64, 64)).save(file)
    rows = {row.id: row for row in fetched(tmp_path, folder)}
    assert (rows["4"].status, rows["4"].reason, rows["4"].image) == (
        posts.FAILED, store.OTHER, "",
    )  # fmt: skip
    assert not list((tmp_path / "store").rglob("embedded-4.*"))
    file.write_bytes(right)
    assert all(row.status == posts.FETCHED for row in fetched(tmp_path, folder, "again"))


def test_a_broken_picture_of_a_site_without_md5_is_asked_for_again(tmp_path: Path) -> None:
    folder = small_booru(tmp_path, p4={"md5": None}, p5={"md5": "no md5"})
    for number in (4, 5):
        file = folder / f"files/{number:032x}.jpg"
        whole = file.read_bytes()
        file.write_bytes(whole[:-60])
    rows = {row.id: row for row in fetched(tmp_path, folder)}
    for number in ("4", "5"):
        assert rows[number].status == posts.FAILED
        assert rows[number].reason.startswith("what came is truncated, and the site names no md5")
        (folder / f"files/{int(number):032x}.jpg").write_bytes(whole)
    assert all(row.status == posts.FETCHED for row in fetched(tmp_path, folder, "again"))


def test_a_store_of_an_earlier_version_is_taken_on_if_it_is_what_the_site_means(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_booru(tmp_path)
    fetched(tmp_path, folder)
    place = tmp_path / "store/embedded"
    for seal in place.glob(f"*{seals.ENDING}"):
        seal.unlink()
    wrong = place / "embedded-4.jpg"
    wrong.unlink()
    Image.new("RGB", (64, 64)).save(wrong)
    untouched = (place / "embedded-5.jpg").stat().st_ino
    fetched(tmp_path, folder, "again")
    assert "embedded-4.jpg has no seal" in caplog.text
    assert md5_of(wrong) == json.loads((folder / "posts.json").read_text())[3]["md5"]
    assert (place / "embedded-5.jpg").stat().st_ino == untouched
    assert len(list(place.glob(f"*{seals.ENDING}"))) == 12


def test_an_md5_in_capitals_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    assert store.refused(path, hashlib.md5(b"x").hexdigest().upper()) == ""


def test_a_damaged_copy_of_an_own_picture_is_copied_again(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    Image.new("RGB", (64, 64), (9, 9, 9)).save(own / "a.png")
    settings = Scrape(urls=(), folders=(str(own),))
    for out in ("one", "two"):
        scrape.run(settings, booru=tmp_path, out=tmp_path / out, store=tmp_path / "store")
        (copy,) = (tmp_path / "store" / store.FOLDERS).glob("*.png")
        assert copy.read_bytes() == (own / "a.png").read_bytes()
        assert store.named_for(copy) == md5_of(copy)
        copy.write_bytes(b"damaged")
