"""Writes docs/licences.md: the licence of every package that a bake, its tests or a GPU bring along.

`make docs` writes it. Direct are the packages in requirements*.txt; the others are what these need
on the machine that writes the file, as the packages themselves declare it.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"
FILES = {
    "requirements.txt": "a bake",
    "requirements-gpu.txt": "a bake on an NVIDIA GPU",
    "requirements-dev.txt": "tests and upkeep",
}
"""File of direct dependencies -> what needs it; the first that brings a package counts."""
BESIDES = ("torch",)
"""Installed by the Makefile, for the machine at hand."""
LOOKED_UP = {
    "onnxruntime-gpu": "MIT",
    "dicebear-styles": "MIT; each style's pictures under its own licence",
    "resvg-py": "MIT",
}
"""Licences of packages that not every machine can install, and of those that declare none."""
HEAD = """\
# Licences

LoRA Bakery itself is under the MIT licence ([LICENSE](../LICENSE)), but for one part:
`scripts/gallery_driver/` is under GPL-2.0-only ([its licence](../scripts/gallery_driver/LICENSE)).

gallery-dl is GPL-2.0-only. That small program imports it and builds on its classes, so it is put under
the same licence. The library imports neither of them. It starts the program as a process of its own and
exchanges lines of JSON with it, a plain protocol that its module documents: two separate works that are
distributed side by side. Whoever passes on LoRA Bakery together with gallery-dl passes that on under the
GPL; whoever wants none of it can bake from local folders (`scrape.folders`) without gallery-dl.

No package is part of this repository: pip fetches them. What they declare as their licence:

(Written by `make docs` from the packages' own metadata. `nvidia-*` packages, which only PyTorch's CUDA
build brings, are under NVIDIA's own terms.)

| package | licence | needed by |
| --- | --- | --- |
"""
_NAMES = {
    "Apache Software License": "Apache-2.0", "MIT License": "MIT", "BSD License": "BSD",
    "Python Software Foundation License": "PSF-2.0", "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "The Unlicense (Unlicense)": "Unlicense",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}  # fmt: skip
"""Classifiers in the names of SPDX."""


def direct(file: str) -> dict[str, str]:
    """Package -> pinned version, of one of `FILES`."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def brought_along() -> dict[str, str]:
    """Every package -> what needs it: one of `FILES`' purposes, or the package that requires it."""
    found: dict[str, str] = {}
    for file, purpose in FILES.items():
        own = [*direct(file), *(BESIDES if file == "requirements.txt" else ())]
        found |= {name: purpose for name in own if name not in found}
    waiting = [*found]
    while waiting:
        name = waiting.pop(0)
        for needed in _needed_by(name):
            if needed not in found:
                found[needed] = name
                waiting.append(needed)
    return found


def _needed_by(name: str) -> list[str]:
    """The installed packages that an installed one requires on this machine, extras left out."""
    try:
        requirements = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:
        return []
    wanted = [Requirement(text) for text in requirements]
    names = [
        canonicalize_name(one.name)
        for one in wanted
        if one.marker is None or one.marker.evaluate({"extra": ""})
    ]
    return sorted(one for one in names if _is_installed(one) and not one.startswith("nvidia-"))


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def licence(name: str) -> str:
    """What a package declares; raises LookupError where it declares nothing."""
    if name in LOOKED_UP and not _declared(name):
        return LOOKED_UP[name]
    if told := _declared(name):
        return told
    raise LookupError(f"{name} declares no licence: look it up, and add it to LOOKED_UP")


def _declared(name: str) -> str:
    if not _is_installed(name):
        return ""
    about = metadata.metadata(name)
    if "License-Expression" in about:
        return about["License-Expression"]
    classes = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    written = " ".join(about["License"].split()) if "License" in about else ""
    if written and len(written) < 60 and not re.search(r"license|licence", written, re.IGNORECASE):
        return written
    named = " AND ".join(_NAMES.get(one, one) for one in classes)
    return named or _first_line(name) or (written if len(written) < 60 else written[:57] + "...")


def _first_line(name: str) -> str:
    """The heading of a package's licence file, where it is a licence's name."""
    for file in metadata.files(name) or []:
        if re.match(r"(licen[cs]e|copying)", file.name, re.IGNORECASE):
            lines = file.read_text(encoding="utf-8").split("\n")
            first = next((line.strip("# ").strip() for line in lines if line.strip()), "")
            if (known := _NAMES.get(first)) or re.fullmatch(r"[\w -]+ [Ll]icense", first):
                return known or first
    return ""


def page() -> str:
    found = brought_along()
    pins = {name: version for file in FILES for name, version in direct(file).items()}
    rows = [
        f"| {name}{f' {pins[name]}' if name in pins else ''} | {licence(name)} | {why} |"
        for name, why in sorted(found.items())
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} lists what is installed\n")
