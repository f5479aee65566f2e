"""Zip archives: their pictures come with their sidecars, and nothing of them does harm."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from bakery.gate import gate
from bakery.io.errors import BakeryError
from bakery.sources import archives, folders, posts
from bakery.sources.archives import UnreadArchive


def png(color="red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, files: dict[str, bytes | str], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def flagged(path: Path, flag: int) -> Path:
    """Sets a bit of the general purpose flags of every member, in both headers."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        while at >= 0:
            (bits,) = struct.unpack_from("<H", data, at + place)
            struct.pack_into("<H", data, at + place, bits | flag)
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    return path


def read(place: Path, tmp_path: Path) -> dict[str, posts.Post]:
    """The posts by address; those that the gate refused as `refused`."""
    return {
        post.url or "refused": post for post, _ in folders.collect(place, tmp_path / "unpacked")
    }


@pytest.mark.parametrize("ending", [".zip", ".cbz", ".ZIP"])
def test_as_an_entry_and_in_a_folder(tmp_path, ending):
    files = {"a.png": png(), "sub/b.png": png("blue"), "sub/b.txt": "1girl, hat",
             "a.png.json": '{"tags": ["solo"], "rating": "q"}', "sub/": ""}  # fmt: skip
    place = archive(tmp_path / f"in/pics{ending}", files)
    (tmp_path / "in/c.png").write_bytes(png("green"))
    alone = read(place, tmp_path)
    assert {name: post.tags_general for name, post in alone.items()} == {
        f"pics{ending}/a.png": "solo", f"pics{ending}/sub/b.png": "1girl hat",
    }  # fmt: skip
    assert alone[f"pics{ending}/a.png"].rating == "questionable"
    beside = read(tmp_path / "in", tmp_path / "again")
    assert set(beside) == {"in/c.png", *(f"in/{name}" for name in alone)}
    assert all(post.status == posts.FETCHED for post in beside.values())


def test_nothing_is_written_outside(tmp_path):
    names = [
        "../evil.png",
        "/evil.png",
        "a/../../evil.png",
        "C:\\evil.png",
        "..\\..\\evil.png",
        "ok.png",
    ]
    place = archive(tmp_path / "in/bad.zip", {name: png() for name in names})
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = read(tmp_path / "in", tmp_path)
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert [path.name for path in new] == ["ok.png"]
    assert all(path.is_relative_to(tmp_path / "unpacked") for path in new)
    assert not Path("/evil.png").exists()
    reasons = [post.reason for post in found.values() if post.status == posts.SKIPPED]
    assert set(reasons) == {"its name leads out of the archive"}
    assert sum(post.status == posts.FETCHED for post in found.values()) == 1
    assert place.is_file()


def test_a_link_inside_is_not_followed(tmp_path):
    place = tmp_path / "in/a.zip"
    place.parent.mkdir()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(place, "w") as opened:
        opened.writestr(link, "/etc/passwd")
        opened.writestr("a.png", png())
    reasons = {post.reason for post in read(place, tmp_path).values()}
    assert reasons == {"", "a link inside an archive"}


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_pipe_or_device_inside_is_not_unpacked(tmp_path, kind):
    place = tmp_path / "in/a.zip"
    place.parent.mkdir()
    odd = zipfile.ZipInfo("odd.png")
    odd.external_attr = (kind | 0o666) << 16
    with zipfile.ZipFile(place, "w") as opened:
        opened.writestr(odd, png())
        opened.writestr("a.png", png())
    reasons = {post.reason for post in read(place, tmp_path).values()}
    assert reasons == {"", "a pipe or device inside an archive"}


def test_a_bomb_is_not_unpacked(tmp_path):
    place = archive(tmp_path / "bomb.zip", {"a.png": png()})
    with zipfile.ZipFile(place, "a", zipfile.ZIP_DEFLATED) as opened, opened.open(
        "zeros.bmp", "w", force_zip64=True
    ) as file:  # fmt: skip
        for _ in range(400):
            file.write(bytes(2**20))
    with pytest.raises(UnreadArchive, match="would grow from"):
        archives.unpack(place, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    with pytest.raises(BakeryError, match=r"bomb\.zip would grow from"):
        folders.collect(place, tmp_path)


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    place = archive(tmp_path / "a.zip", {f"{n}.png": png() for n in range(4)})
    with pytest.raises(UnreadArchive, match="holds 4 files, more than 3"):
        archives.unpack(place, tmp_path / "to")


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: flagged(archive(path, {"a.png": png()}), 1), "encrypted: unpack it with its"),
        (lambda path: path.write_bytes(b"Rar!\x1a\x07"), "cannot be unpacked"),
        (lambda path: path.write_bytes(archive(path, {"a.png": png()}).read_bytes()[:60]),
         "cannot be unpacked"),
        (lambda path: archive(path, {"000000.jpg": b"x", "000001.jpg": b"y", "animation.json": "{}"}),
         "frames of an animation"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_on_record_or_a_sentence(tmp_path, prepare, says):
    place = tmp_path / "in/x.zip"
    place.parent.mkdir()
    prepare(place)
    with pytest.raises(BakeryError, match=says) as caught:
        folders.collect(place, tmp_path / "unpacked")
    assert "\n" not in str(caught.value)
    (tmp_path / "in/c.png").write_bytes(png())
    found = read(tmp_path / "in", tmp_path)
    assert found["in/c.png"].status == posts.FETCHED
    assert found["in/x.zip"].status == posts.SKIPPED
    assert says.partition(":")[0] in found["in/x.zip"].reason


@pytest.mark.parametrize("name", ["a.rar", "b.7z", "c.cbr", "d.tar", "e.tar.gz", "f.CB7"])
def test_other_archives_are_on_record(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in/c.png").write_bytes(png())
    post = read(tmp_path / "in", tmp_path)[f"in/{name}"]
    assert post.status == posts.SKIPPED
    assert post.reason.endswith("archives are not read: unpack it")


def test_an_archive_in_an_archive(tmp_path):
    inner = archive(tmp_path / "inner.zip", {"a.png": png()}).read_bytes()
    place = archive(tmp_path / "in/x.zip", {"inner.zip": inner, "b.png": png()})
    found = read(place, tmp_path)
    assert found["x.zip/inner.zip"].reason == "an archive in an archive: unpack it"
    assert found["x.zip/b.png"].status == posts.FETCHED


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("星とリンゴ.png".encode("cp932"), "星とリンゴ.png"),
        ("星.png".encode(), "星.png"),
        ("café.png".encode("cp437"), "café.png"),
    ],
)
def test_names_without_the_mark_of_utf_8(tmp_path, raw, name):
    stand_in = "x" * (len(raw) - 4) + ".png"
    place = archive(tmp_path / "a.zip", {stand_in: png()})
    place.write_bytes(place.read_bytes().replace(stand_in.encode(), raw))
    assert list(read(place, tmp_path)) == [f"a.zip/{name}"]


def test_long_names_keep_their_sidecars(tmp_path):
    stem = "とても長い名前" * 15
    files = {f"{stem}.png": png(), f"{stem}.txt": "1girl", f"{stem}2.png": png("blue"),
             f"{stem}2.png.txt": "hat"}  # fmt: skip
    place = archive(tmp_path / "a.zip", files)
    found = read(place, tmp_path)
    assert {name: post.tags_general for name, post in found.items()} == {
        f"a.zip/{stem}.png": "1girl", f"a.zip/{stem}2.png": "hat",
    }  # fmt: skip


def test_a_name_that_is_there_twice(tmp_path):
    place = archive(tmp_path / "a.zip", {"a.png": png(), "b.png": png("blue")})
    place.write_bytes(place.read_bytes().replace(b"b.png", b"a.png"))
    found = [post for post, _ in folders.collect(place, tmp_path / "u")]
    assert [post.reason for post in found] == ["", "its name is in the archive twice"]


def test_a_sidecar_that_cannot_be_unpacked_costs_the_archive(tmp_path):
    place = archive(tmp_path / "in/a.zip", {"a.png": png(), "../a.txt": "1girl"})
    (tmp_path / "in/c.png").write_bytes(png())
    found = read(tmp_path / "in", tmp_path)
    assert "holds ../a.txt, and its name leads out" in found["in/a.zip"].reason
    assert place.is_file()


@pytest.mark.parametrize(
    "files",
    [
        {"pics.zip": {"a.txt": "1girl, loli"}},
        {"pics.zip": {"a.json": '{"tags": ["loli"]}'}},
        {"loli.zip": {}},
        {"pics.zip": {}, "pics.txt": "1girl, loli"},
        {"pics.zip": {}, "pics.zip.json": '{"tags": ["loli"]}'},
        {"pics.zip": {}, "metadata.jsonl": '{"file_name": "a.png", "text": "loli"}'},
        {"loli/pics.zip": {}},
        {"pics.zip": {"ComicInfo.xml": "<Tags>loli</Tags>"}},
        {"pics.zip": {"meta_cap.json": '{"a": {"tags": "loli"}}'}},
    ],
)
def test_the_gate_reads_what_is_in_and_around_it(tmp_path, files):
    for name, content in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            archive(path, {"a.png": png(), **content})
        else:
            path.write_text(content)
    (tmp_path / "in/z.png").write_bytes(png("blue"))
    found = folders.collect(tmp_path / "in", tmp_path / "u")
    refused = [post for post, _ in found if post.reason == gate.FORBIDDEN]
    assert refused == [posts.refused()]
    assert [post.url for post, _ in found if post.status == posts.FETCHED] == ["in/z.png"]


def test_a_long_name_is_judged_whole(tmp_path):
    stem = "x" * 150 + " loli " + "y" * 100
    place = archive(tmp_path / "in/a.zip", {f"{stem}.png": png(), "b.png": png("blue")})
    assert sorted(read(place, tmp_path)) == ["a.zip/b.png", "refused"]
