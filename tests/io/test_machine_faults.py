"""Faults of the machine are sentences that name the file and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from bakery.io import files, machine_faults

PLACE = Path("results/train/mirael")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; make room"),
        (errno.EDQUOT, "your quota on this disk is used up; make room"),
        (errno.EROFS, "the disk is read-only; make it writable"),
        (errno.EFBIG, "larger than files may be here; raise that limit"),
        (errno.EIO, "the disk failed; check the disk"),
        (errno.EMFILE, "too many files are open; raise that limit"),
    ],
)
def test_a_disk_that_refuses_is_a_sentence_with_the_file(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number), "results/tag/mirael/tags.csv.part")
    said = machine_faults.sentence(error, PLACE)
    assert said is not None
    assert said.startswith("results/tag/mirael/tags.csv could not be written: ")
    assert words in said
    assert said.endswith("run the same command again to go on")


def test_a_full_disk_is_seen_behind_another_librarys_error() -> None:
    """torch says only that a position in the file is unexpected."""
    with pytest.raises((RuntimeError, OSError)) as caught, open("/dev/full", "wb") as full:
        torch.save({"weights": torch.zeros(100_000)}, full)
    said = machine_faults.sentence(caught.value, PLACE)
    assert said is not None
    assert said.startswith(f"{PLACE} could not be written: the disk is full")


def test_a_file_on_a_full_disk_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("before")
    (tmp_path / "tags.csv.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_text(path, "after")
    assert caught.value.filename == str(path)
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_too_little_memory_is_said(error: Exception) -> None:
    said = machine_faults.sentence(error, PLACE)
    assert said is not None
    assert said.startswith("the memory is used up")
    assert str(PLACE) in said


def test_a_missing_permission_is_said_and_a_bug_is_none() -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", "results/tag")
    said = machine_faults.sentence(denied, PLACE)
    assert said is not None
    assert said.startswith("results/tag may not be read or written by this user")
    for bug in (
        KeyError("x"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        RuntimeError(),
    ):
        assert machine_faults.sentence(bug, PLACE) is None


def test_a_folder_with_room_is_no_fault(tmp_path: Path) -> None:
    assert machine_faults.of_folder(tmp_path / "not" / "there" / "yet") is None


def test_a_disk_that_is_full_or_read_only_is_seen_before_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    values = list(real)
    for place, value, words in ((4, 1, "is full: make room"), (8, os.ST_RDONLY, "is read-only")):
        faked = os.statvfs_result([*values[:place], value, *values[place + 1 :]])
        monkeypatch.setattr(os, "statvfs", lambda path, faked=faked: faked)
        said = machine_faults.of_folder(tmp_path)
        assert said is not None
        assert f"the disk of {tmp_path} {words}" in said
