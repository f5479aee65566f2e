"""What a machine without a network lacks, carried as a folder of wheels.

`pack` downloads what the worker imports, in the versions that are installed here, with what those need;
torch, numpy and what comes with torch have to be there. `install` unpacks the folder next to the run.
This takes the standard library and `packaging` alone, `install` only the former.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

PYTHON = "3.12"
PLATFORMS = tuple(
    f"manylinux{version}_x86_64"
    for version in ("_2_28", "_2_27", "_2_24", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")
)
ROOTS = (
    "accelerate", "diffusers", "huggingface-hub", "pandas", "peft", "pillow", "psutil", "pydantic",
    "pyyaml", "safetensors", "tokenizers", "tomlkit", "transformers",
)  # fmt: skip
"""What the library's training and sampling import, and the benchmarks."""
FOR_KOHYA = {
    "accelerate": "1.6.0", "diffusers": "0.32.1", "einops": "0.7.0", "huggingface-hub": "0.34.3",
    "imagesize": "1.4.1", "tokenizers": "0.21.4", "toml": "0.10.2", "transformers": "4.54.1",
    "voluptuous": "0.15.2",
}  # fmt: skip
"""What sd-scripts' training is written for, in a folder of its own; it also needs OpenCV, which is large
and not carried."""
THERE = {"torch", "numpy", "triton", "setuptools", "pip"}
"""Never carried."""
LARGEST = 60 * 10**6
"""Bytes of a folder of wheels."""


class TooMuch(Exception):
    """The message says of what, and what to do."""


class NotHere(Exception):
    """A package that is to be carried is not installed here; the message says what to do."""


@dataclass
class Needs:
    """What some packages need, theirs included, by normal name."""

    versions: dict[str, str] = field(default_factory=dict)
    """As installed here."""
    wanted_by: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name -> who needs it, and at which versions (`>=1.2,<3`)."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(roots: Iterable[str]) -> Needs:
    """`roots` and all that they need on Linux with `PYTHON`, less what torch brings."""
    from packaging.requirements import Requirement

    given = with_torch()
    found, open_ends = Needs(), [normal(root) for root in roots]
    while open_ends:
        name = open_ends.pop()
        if name in found.versions or name in given:
            continue
        try:
            found.versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise NotHere(
                f"{name} is to be carried in the version that is installed here, and none is: run "
                "`pip install -r requirements.txt -r requirements-dev.txt`"
            ) from None
        for line in metadata.requires(name) or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate(_there()):
                other = normal(wanted.name)
                found.wanted_by.setdefault(other, {})[name] = str(wanted.specifier)
                open_ends.append(other)
    return found


def with_torch() -> set[str]:
    """torch, and what every installation of it has."""
    from packaging.requirements import Requirement

    found, open_ends = set(THERE), ["torch"]
    while open_ends:
        for line in metadata.requires(open_ends.pop()) or ():
            wanted = Requirement(line)
            name = normal(wanted.name)
            plain = wanted.marker is None or wanted.marker.evaluate(_there())
            if plain and name not in found and not name.startswith(("nvidia-", "cuda-")):
                found.add(name)
                open_ends.append(name)
    return found


def _there() -> dict[str, str]:
    """The machine that the wheels are for, in the words of markers."""
    return {
        "python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "sys_platform": "linux",
        "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix", "extra": "",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip


def missing(wanted: Needs, there: Mapping[str, str]) -> dict[str, str]:
    """What of `wanted` to carry to a machine that has `there`: name -> version.

    What is there stays if its version is good for all that need it. A package that is carried in
    another version than the one there brings along those that need it: they may not know it.
    """
    from packaging.specifiers import SpecifierSet

    carried: set[str] = set()
    while True:
        more = {
            name
            for name in wanted.versions
            if name not in there
            or any(
                not SpecifierSet(spec).contains(there[name], prereleases=True)
                for who, spec in wanted.wanted_by.get(name, {}).items()
                if who in carried
            )
            or any(
                other in carried and other in there
                for other, whos in wanted.wanted_by.items()
                if name in whos
            )
        }
        if more <= carried:
            return {name: wanted.versions[name] for name in sorted(carried)}
        carried |= more


def installed_there(listing: Path) -> dict[str, str]:
    """What a machine has, from its `pip list --format=freeze`."""
    pairs = (line.strip().partition("==") for line in listing.read_text("utf-8").splitlines())
    return {normal(name): version for name, _, version in pairs if version}


def pack(folder: Path, carried: Mapping[str, str], largest: int = LARGEST) -> list[tuple[str, int]]:
    """Download the wheels; (file, bytes), largest first. `TooMuch` above `largest` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--python-version", PYTHON, "--implementation", "cp", *platforms, "--dest", str(folder),
        *(f"{name}=={version}" for name, version in carried.items()),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    sizes = [(path.name, path.stat().st_size) for path in folder.glob("*.whl")]
    if sum(size for _, size in sizes) > largest:
        raise TooMuch(
            f"{folder} has {sum(size for _, size in sizes) / 1e6:.0f} MB of wheels, more than "
            f"{largest / 1e6:.0f}: say with --have what the machine has already"
        )
    return sorted(sizes, key=lambda pair: -pair[1])


def install(folder: Path, target: Path) -> None:
    """Unpack the wheels in `folder` to `target`, which goes on the path before all else."""
    wheels = sorted(folder.glob("*.whl"))
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile",
        "--no-cache-dir", "--disable-pip-version-check", "--target", str(target), *map(str, wheels),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=120)
