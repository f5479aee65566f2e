"""Are the metadata of our LoRA files what kohya's own functions compute?

    python benchmarks/kohya/metadata.py --sd-scripts PATH LORA... [--base FILE]

PATH is a checkout of https://github.com/kohya-ss/sd-scripts; its functions run, taken out of their
files, so its requirements need not be installed. --base is the checkpoint that the LoRAs were baked on.
Prints what was compared, and which of its ss_* entries ours lack; ends with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Union

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import safetensors.torch
from webui.prompts import check, taken

from bakery.lora import lora_file


def functions(folder: Path) -> SimpleNamespace:
    library = folder / "library"
    hashes = taken(
        library / "train_util.py",
        {"precalculate_safetensors_hashes", "addnet_hash_legacy", "addnet_hash_safetensors",
         "model_hash", "calculate_sha256"},
        safetensors=safetensors, BytesIO=BytesIO, hashlib=hashlib,
    )  # fmt: skip
    version = taken(library / "model_util.py", {"get_model_version_str_for_sd1_sd2"})
    text = (library / "sai_model_spec.py").read_text(encoding="utf-8")
    constants = set(re.findall(r"^((?:ARCH|ADAPTER|IMPL|PRED)_\w+) =", text, re.MULTILINE))
    spec = taken(
        library / "sai_model_spec.py",
        {"determine_architecture", "determine_implementation", "determine_resolution", *constants},
        Union=Union,
    )
    return SimpleNamespace(**vars(hashes) | vars(version) | vars(spec))


def compare(file: Path, theirs: SimpleNamespace, base: Path | None) -> set[str]:
    """Hold one file against their functions; returns the names of its metadata."""
    state, metadata = lora_file.read_lora(file)
    model_hash, legacy = theirs.precalculate_safetensors_hashes(state, metadata)
    sdxl = metadata["ss_base_model_version"].startswith("sdxl")
    v = metadata["modelspec.prediction_type"] == theirs.PRED_TYPE_V
    version = "sdxl_base_v1-0" if sdxl else theirs.get_model_version_str_for_sd1_sd2(False, v)
    size = tuple(map(int, re.findall(r"\d+", metadata["ss_resolution"])))
    expected = {
        "sshs_model_hash": model_hash,
        "sshs_legacy_hash": legacy,
        "ss_base_model_version": version,
        "modelspec.architecture": theirs.determine_architecture(False, v, sdxl, True, False),
        "modelspec.implementation": theirs.determine_implementation(True, False, sdxl),
        "modelspec.resolution": theirs.determine_resolution(size, sdxl),
    }
    if base is not None:
        expected["ss_sd_model_hash"] = theirs.model_hash(base)
        expected["ss_new_sd_model_hash"] = theirs.calculate_sha256(base)
    for name, value in expected.items():
        check(name, value, metadata.get(name), str(file))
    print(f"{file.name}: {', '.join(expected)} are equal")
    return set(metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loras", type=Path, nargs="+", metavar="LORA")
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--base", type=Path)
    given = parser.parse_args()
    theirs = functions(given.sd_scripts)
    ours = set.union(*(compare(file, theirs, given.base) for file in given.loras))
    script = (given.sd_scripts / "train_network.py").read_text(encoding="utf-8")
    written = set(re.findall(r'"(ss_\w+)"', script))
    print("not written here:", ", ".join(sorted(written - ours)))


if __name__ == "__main__":
    main()
