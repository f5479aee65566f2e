"""All that is to be known of a GPU, in one command for the minutes that one is there.

    python benchmarks/on_a_gpu.py --minutes 8 --out DIR
    python benchmarks/on_a_gpu.py --tiny --minutes 3          a rehearsal, also without a GPU
    python benchmarks/on_a_gpu.py --table DIR/on_a_gpu.json   the record as Markdown

Measured are, in this order, until the time is over: facts of the machine; a bake of the embedded world
beside the CPU's; the speed of matrix products; SD1.5 at 512 px with 1, 4, 8 and 16 bakes side by side
and SDXL at 1024 px with 1 and 4; torch.compile, CUDA graphs, pinned batches and channels_last; pictures
a second; kohya's own script, from a checkout (`--kohya`). Models have the real shapes and random
weights, made on the spot: nothing is downloaded. What would not fit into the time that is left is left
out, what takes too long is ended, and what fails is recorded with its reason; the rest goes on. The
record is a file of JSON that is whole after each item.

It needs torch, of any version since 2.9. Other packages can be carried as wheels to a machine without
a network:

    python benchmarks/on_a_gpu.py --pack wheels [--have packages.txt]     here; packages.txt is what
                                                   `pip list --format=freeze` prints there
    python benchmarks/on_a_gpu.py --minutes 8 --wheels wheels             there
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu import bounded, table, wheels
from gpu.items import ITEMS

NAME = "on_a_gpu.json"
KOHYA = "kohya"
"""In a folder of wheels: the folder of those that are for kohya's scripts alone."""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8, help="for everything")
    parser.add_argument("--out", type=Path, default=Path(), help="a folder for the record")
    parser.add_argument("--tiny", action="store_true", help="tiny models: does it run?")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="instead of the best one here")
    parser.add_argument("--only", nargs="+", metavar="ITEM", help="these items alone")
    parser.add_argument("--wheels", type=Path, help="a folder of packages to run with")
    parser.add_argument(
        "--kohya",
        type=Path,
        help="a checkout of kohya-ss/sd-scripts; with --pack, its packages too",
    )
    parser.add_argument("--pack", type=Path, metavar="DIR", help="download the packages to there")
    parser.add_argument("--have", type=Path, help="with --pack: the packages that are there")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print a record as Markdown")
    given = parser.parse_args()
    unknown = sorted(set(given.only or ()) - {item.name for item in ITEMS})
    if unknown:
        names = ", ".join(repr(item.name) for item in ITEMS)
        parser.error(f"--only {unknown[0]!r} is no item: choose from {names}")
    for name in ("wheels", "kohya", "have", "table"):
        path = getattr(given, name)
        if path is not None and not path.exists():
            parser.error(f"--{name} {path} does not exist")
    return given


def main() -> None:
    began, given = time.monotonic(), parsed()
    if given.table is not None:
        print(table.markdown(json.loads(given.table.read_text("utf-8"))))
    elif given.pack is not None:
        pack(given)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the worker is ended, too
        measure(given, began + 60 * given.minutes)


def pack(given: argparse.Namespace) -> None:
    """Download what is missing there, and say what that is."""
    if any(given.pack.glob("**/*.whl")):
        sys.exit(
            f"{given.pack} has wheels already, and two versions of one would not do: name another"
        )
    there = wheels.installed_there(given.have) if given.have else {}
    try:
        carried = wheels.missing(wheels.needs(wheels.ROOTS), there)
        sizes = wheels.pack(given.pack, carried)
        if given.kohya is not None:
            left = wheels.LARGEST - sum(size for _, size in sizes)
            sizes += wheels.pack(given.pack / KOHYA, wheels.FOR_KOHYA, left)
    except (wheels.NotHere, wheels.TooMuch) as why:
        sys.exit(str(why))
    for name, size in sizes:
        print(f"{size / 1e6:7.2f} MB  {name}")
    whole = sum(size for _, size in sizes) / 1e6
    print(
        f"{whole:7.2f} MB  in {len(sizes)} wheels for Python {wheels.PYTHON}; torch is not carried"
    )


def measure(given: argparse.Namespace, ends: float) -> None:
    """The run."""
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "on_a_gpu.log"
    with tempfile.TemporaryDirectory() as scratch:
        packages = _unpacked(given.wheels, Path(scratch) / "packages")
        for_kohya = _unpacked(given.wheels and given.wheels / KOHYA, Path(scratch) / "for_kohya")
        asked = {
            "scratch": scratch, "device": given.device, "tiny": given.tiny,
            "kohya": given.kohya and str(given.kohya.absolute()),
            "kohya_packages": for_kohya and str(for_kohya),
        }  # fmt: skip

        def open_worker() -> bounded.Worker:
            return bounded.Worker.of(asked, log, packages)

        run = bounded.Bounded(
            [item for item in ITEMS if given.only is None or item.name in given.only],
            open_worker,
            given.out / NAME,
            ends,
            about=_about(given),
            tiny=given.tiny,
            worker=first(open_worker, given.tiny),
        )
        run.run()
    print(f"\n{table.markdown(json.loads((given.out / NAME).read_text('utf-8')))}")


def _unpacked(folder: Path | None, target: Path) -> Path | None:
    """`target` with the packages of a folder of wheels; None if there is no such folder."""
    if folder is None or not folder.is_dir():
        return None
    wheels.install(folder, target)
    return target


def first(open_worker: Any, tiny: bool) -> bounded.Worker:
    """A worker that is ready; ends the run where there is nothing to measure on."""
    try:
        worker = open_worker()
    except bounded.Broken as why:
        sys.exit(str(why))
    if worker.device != "cuda" and not tiny:
        worker.end()
        sys.exit("torch sees no GPU here, and a CPU would take hours: rehearse with --tiny")
    return worker


def _about(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": given.minutes,
        "tiny": given.tiny,
    }


if __name__ == "__main__":
    main()
