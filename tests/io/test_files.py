"""Files: there whole or not at all, whoever else writes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from bakery.interop import infotext
from bakery.io import files

FACTS = {"Steps": "2", "Sampler": "Euler", "Seed": "1"}


@pytest.mark.parametrize("how", [{}, {"rivals": True}, {"lasting": False}])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path, how) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "before")

    def run_out_of_disk() -> None:
        with files.whole(path, **how) as part:
            part.write_text("hal")
            assert path.read_text() == "before"
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        run_out_of_disk()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_linked_to_itself_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "text")
    for _ in range(2):
        files.link(path, tmp_path / "b.txt")
        files.link(path, path)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {
        "a.txt": "text", "b.txt": "text"
    }  # fmt: skip
    assert path.samefile(tmp_path / "b.txt")


def test_two_processes_may_write_one_picture(tmp_path: Path) -> None:
    """As two sweeps do that have a bake in common, one of them with halving."""
    picture, info = Image.new("RGB", (8, 8), "pink"), infotext.Infotext("1girl", settings=FACTS)
    infotext.save_png(picture, tmp_path / "source.png", info)
    writers = {
        "drawn.png": lambda path: infotext.save_png(picture, path, info),
        "copied.png": lambda path: files.copy(tmp_path / "source.png", path),
    }
    for name, write in writers.items():
        halves = tmp_path / f"{name}.halves"
        halves.mkdir()
        (halves / f"{name}.part").write_text("half of what another process writes")
        (halves / f"{name}.1.part").write_text("half of what another process writes")
        write(halves / name)
        assert (halves / name).read_bytes() == (tmp_path / "source.png").read_bytes()
        (halves / name).unlink()
        assert {half.read_text() for half in halves.iterdir()} == {
            "half of what another process writes"
        }
        assert len(list(halves.iterdir())) == 2
        shutil.rmtree(halves)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("con", "con_"), ("CON.png", "CON_.png"), ("aux.tar.gz", "aux_.tar.gz"), ("nul", "nul_"),
        ("com1.v2", "com1_.v2"), ("LPT9", "LPT9_"), ("com¹", "com¹_"), ("conin$", "conin$_"),
        ("console", "console"), ("com10", "com10"), ("my con", "my con"), ("x.con", "x.con"), ("", ""),
    ],
)  # fmt: skip
def test_no_file_has_the_name_of_a_device(name: str, made: str) -> None:
    assert files.unreserved(name) == made
    assert files.unreserved(made) == made


def test_text_that_utf8_cannot_say_is_written_all_the_same(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "half \ud800, whole \U0001f600")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "half ?, whole \U0001f600"


def test_parts_of_dead_processes_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    dead = 2**30  # more than a system numbers its processes: none gets it meanwhile
    (tmp_path / "images").mkdir()
    for name in (f"a.png.{dead}.part", f"b.png.{os.getpid()}.part", "c.csv.part", "d.png"):
        (tmp_path / "images" / name).write_text("half")
    assert files.remove_parts(tmp_path) == 1
    left = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert left == [f"b.png.{os.getpid()}.part", "c.csv.part", "d.png"]
