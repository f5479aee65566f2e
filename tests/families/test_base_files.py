"""A file that cannot be a base is refused from outside, by one sentence, before torch is loaded."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_checkpoints import LORA, SD1, SDXL, checkpoint
from safetensors.torch import save_file

from bakery.families import recognise, registry
from bakery.families.weights import pickled
from bakery.io.errors import BakeryError

ROOT = Path(__file__).parents[2]


def refused(path: Path) -> str:
    with pytest.raises(BakeryError) as caught:
        registry.family_of(str(path))
    sentence = str(caught.value)
    assert sentence.startswith(f"train.base: {path} ")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2132\n",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html><head><title>Sign in", "web page"),
        (b"\n  <html lang='en'>", "web page"),
        (b'{"error":"Unauthorized","message":"needs an API key"}', "error message of a site"),
        (b"GGUF\x03\0\0\0", "quantised"),
        (b"Rar!\x1a\x07\x01\0", "unpack"),
        (b"", "is empty"),
        (b"\0" * 300, "nothing but zeros"),
        (b"\x10\0\0\0\0\0\0\0{not json}......", "damaged or not a safetensors file"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_what_a_browser_or_git_left_is_called_by_its_name(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if "safetensors file" in words and path.suffix == ".ckpt":
        words = "is damaged, or not a checkpoint"
    assert words in refused(path)


def test_a_lora_is_no_base_in_either_format(tmp_path: Path) -> None:
    assert "is a LoRA, not a model" in refused(checkpoint(tmp_path / "a.safetensors", LORA))
    torch.save({name: torch.zeros(2) for name in LORA}, tmp_path / "a.pt")
    assert "is a LoRA, not a model" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(("names", "family"), [(SD1, "sd1"), (SDXL, "sdxl")])
def test_a_pickle_shows_its_family(
    tmp_path: Path, names: tuple[str, ...], family: str, wrapped: bool, zipped: bool
) -> None:
    state: dict[str, Any] = {name: torch.zeros(3, 2, dtype=torch.bfloat16) for name in names}
    state["parameter"] = torch.nn.Parameter(torch.zeros(4))
    content = {"state_dict": state, "epoch": 3} if wrapped else state
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    header = recognise.header(str(tmp_path / "x.ckpt"))
    assert header is not None
    assert header.shapes == {name: tuple(value.shape) for name, value in state.items()}
    found = registry.family_of(str(tmp_path / "x.ckpt"))
    assert found is not None
    assert found.name == family


class Code:
    """Runs something when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.path)!r}, 'w')",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path, zipped: bool) -> None:
    torch.save({"state_dict": Code(tmp_path / "ran")}, tmp_path / "x.ckpt",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    assert "weights in it (__builtin__.exec)" in refused(tmp_path / "x.ckpt")
    assert not (tmp_path / "ran").exists()


@given(st.binary(max_size=200), st.booleans())
def test_a_damaged_pickle_is_broken_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, framed: bool
) -> None:
    path = tmp_path_factory.mktemp("pickle") / "x.ckpt"
    if framed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02" + tail)
    else:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C) + tail)
    try:
        found = pickled.shapes(path)
    except (pickled.Broken, pickled.NotPlain):
        return
    assert isinstance(found, str | dict)


def test_nothing_of_this_needs_torch(tmp_path: Path) -> None:
    torch.save({name: torch.zeros(2) for name in SD1}, tmp_path / "x.ckpt")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from bakery.families import registry\n"
        f"print(registry.family_of({str(tmp_path / 'x.ckpt')!r}).name, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"sd1 False\n", said.stdout), said.stdout


@pytest.mark.parametrize("ending", [".SAFETENSORS", ".CKPT"])
def test_a_name_in_capitals_is_as_good(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"X{ending}"
    if ending == ".CKPT":
        torch.save({name: torch.zeros(2) for name in SD1}, path)
    else:
        save_file({name: torch.zeros(2) for name in SD1}, path)
    found = registry.family_of(str(path))
    assert found is not None
    assert found.name == "sd1"
