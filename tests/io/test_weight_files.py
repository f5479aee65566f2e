"""A file of weights that cannot be read is called by what it is, whoever asks for it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from bakery.families import recognise
from bakery.families.weights import tensor_files
from bakery.interop import sidecar
from bakery.interop.readers import trained_lora
from bakery.io import weight_files
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.sampling import pipeline

WHOLE = save({"a": torch.zeros(3, 4), "b": torch.ones(2)}, {"note": "1"})
HEADER = int.from_bytes(WHOLE[:8], "little")


def of_header(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def pickled(zipped: bool, size: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.zeros(size)}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def long_header(damaged: bool = True) -> bytes:
    """A header of 0x80 + 0x02 * 256 bytes and more: its length begins as a pickle does."""
    header = json.dumps({"__metadata__": {"note": 1 if damaged else "1"}}).encode()
    return (0x10280).to_bytes(8, "little") + header.ljust(0x10280)


ODD: dict[str, tuple[bytes, str]] = {
    "git's pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer"),
    "login page": (b"<!DOCTYPE html><html>", "a web page"),
    "pickle": (pickled(zipped=False), "a pickle with a safetensors file's name"),
    "pickle in a zip": (pickled(zipped=True), "a pickle with a safetensors file's name"),
    "zip": (b"PK\x03\x04" + b"pictures" * 9, "a zip archive"),
    "nothing": (b"", "is empty"),
    "zeros": (bytes(99), "nothing but zeros (99 bytes)"),
    "cut": (WHOLE[:-5], f"({len(WHOLE) - 5} bytes instead of {len(WHOLE)})"),
    "cut in the header": (WHOLE[:40], f"(40 bytes instead of more than {8 + HEADER})"),
    "more behind it": (WHOLE + b"x", f"({len(WHOLE) + 1} bytes instead of {len(WHOLE)})"),
    "header too long": ((10**9).to_bytes(8, "little") + b"{}", "(header too large)"),
    "metadata no text": (of_header({"__metadata__": {"ss_seed": 7}}), "('ss_seed' in its metadata is"),
    "metadata no table": (of_header({"__metadata__": [7]}), "(invalid JSON in header"),
    "no JSON": (of_header(7), "(invalid JSON in header"),
    "length like a pickle's": (long_header(), "('note' in its metadata is no text)"),
}  # fmt: skip
READERS: dict[str, Callable[[Path], object]] = {
    "metadata": weight_files.metadata,
    "base": lambda path: recognise.header(str(path)),
    "base's weights": lambda path: tensor_files.read(str(path), path),
    "baked LoRA": sidecar.metadata_of,
    "LoRA": lora_file.read_lora,
    "LoRA to draw with": pipeline._read,
    "imported LoRA": trained_lora.header,
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_the_same(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "x.safetensors"
    for kind, (content, words) in ODD.items():
        path.write_bytes(content)
        with pytest.raises(BakeryError) as caught:
            READERS[reader](path)
        sentence = str(caught.value)
        assert str(path) in sentence, kind
        assert words in sentence.replace(",", ""), kind
        assert "\n" not in sentence


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, reader: str) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", "missing.safetensors"):
        with pytest.raises(BakeryError, match=name):
            READERS[reader](tmp_path / name)


def test_the_sentence_names_the_setting_and_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(WHOLE[:-5])
    with (
        pytest.raises(BakeryError) as caught,
        weight_files.opened(path, "bake it again", where="train.base: "),
    ):
        pass
    assert str(caught.value).startswith(f"train.base: {path} is damaged")
    assert str(caught.value).endswith("): bake it again")


def test_whole_files_are_read_whatever_their_length_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (WHOLE, long_header(damaged=False)):
        path.write_bytes(content)
        assert weight_files.metadata(path) == {"note": "1"}
    path.write_bytes(save({"a": torch.zeros(1)}))
    assert weight_files.metadata(path) == {}
