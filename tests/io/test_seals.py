"""Seals: nothing that was altered passes, in whatever way it was."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from bakery.io import manifest, seals
from bakery.io.errors import BakeryError


def spoilt(content: bytes, rng: random.Random) -> bytes:
    """`content` with a flipped bit, cut short, longer, or empty."""
    kind, at = rng.randrange(4), rng.randrange(len(content))
    if kind == 0:
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    return (content[:at], content + b"\n", b"")[kind - 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "results/train/mirael-0123456789ab"
    (place / "images").mkdir(parents=True)
    for name in ("epochs.csv", "images/a b.png", "grid.png", "grid.png.state", "progress.jsonl"):
        (place / name).write_text(f"what is in {name}\n")
    manifest.write(place, {"stage": "train", "key": "0123456789ab"}, {"loss": 0.25})
    return place


def test_a_whole_folder_passes_and_sha256sum_says_the_same(folder: Path) -> None:
    assert manifest.checked(folder) == folder
    assert list(seals.faults(folder / "manifest.json")) == []
    assert set(seals.read(folder / "manifest.json")) == {
        "manifest.json", "grid.png.state", "progress.jsonl",
    }  # fmt: skip
    assert set(manifest.read(folder)["files"]) == {"epochs.csv", "images/a b.png", "grid.png"}
    ran = subprocess.run(
        ["sha256sum", "-c", "--strict", "manifest.seal"], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_altered_is_noticed(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    path.write_bytes(spoilt(path.read_bytes(), rng))
    try:
        found = [*seals.faults(folder / "manifest.json"), *manifest.faults(folder)]
    except BakeryError:
        found = [*seals.faults(folder / "manifest.json")]
    assert found, path.name
    # what no stage reads, and the lines of the seal about it, are `verify`'s to find
    if path.name not in ("progress.jsonl", "grid.png.state", "manifest.seal"):
        with pytest.raises(BakeryError, match=r"to make it again, `rm -r .*mirael-0123456789ab`"):
            manifest.checked(folder)


def test_only_what_is_read_is_looked_at(folder: Path) -> None:
    (folder / "images/a b.png").write_text("another")
    assert manifest.checked(folder, "*.csv") == folder
    with pytest.raises(BakeryError, match=r"a b\.png is not as it was made"):
        manifest.checked(folder, "images/*.png")
    (folder / "images/a b.png").unlink()
    with pytest.raises(BakeryError, match=r"a b\.png is missing although manifest\.json lists it"):
        manifest.checked(folder)


def test_a_page_for_people_may_be_deleted(folder: Path) -> None:
    (folder / "prune.html").write_text("<p>")
    manifest.write(folder, {}, {})
    (folder / "prune.html").unlink()
    assert manifest.checked(folder) == folder
    assert [fault.path.name for fault in manifest.faults(folder)] == ["prune.html"]


def test_a_manifest_of_an_earlier_version_has_no_seal_and_counts(folder: Path) -> None:
    (folder / "manifest.seal").unlink()
    assert manifest.checked(folder) == folder


def test_a_seal_that_leads_outside_is_none(folder: Path) -> None:
    seal = folder / "manifest.seal"
    seal.write_text(seal.read_text() + f"{'0' * 64}  ../../secret\n")
    with pytest.raises(BakeryError, match=r"manifest\.seal is no seal"):
        manifest.read(folder)


@pytest.mark.parametrize("seed", range(30))
def test_a_file_that_vouches_for_itself(tmp_path: Path, seed: int) -> None:
    rng, path = random.Random(seed), tmp_path / "resume.state"
    path.write_bytes(rng.randbytes(rng.choice([0, 1, 31, 32, 5000])))
    seals.close(path)
    assert seals.is_whole(path)
    path.write_bytes(spoilt(path.read_bytes(), rng))
    assert not seals.is_whole(path)


def test_packed_data_belongs_to_its_name() -> None:
    content = seals.pack("a.cache", b"data")
    assert seals.unpack("a.cache", content) == b"data"
    with pytest.raises(BakeryError, match="sha256 differs"):
        seals.unpack("b.cache", content)
    rng = random.Random(1)
    for _ in range(50):
        with pytest.raises(BakeryError):
            seals.unpack("a.cache", spoilt(content, rng))
