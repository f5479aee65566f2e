"""The memory that one picture costs the filter, for the worst picture of each kind that Pillow opens.

`python benchmarks/picture_memory.py` makes them, each of 89 million pixels or as many as its kind may
have (a minute and 3 GB for each), and measures each in a process of its own: everything that the filter
measures of a picture, the peak as `ru_maxrss`. `--only FILE` measures one file.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from bakery.pages import contact_sheet  # noqa: E402
from bakery.sources.posts import Post  # noqa: E402
from bakery.stages import filter as stage  # noqa: E402

SIDE = 9400


def _rgb(width: int = SIDE, height: int = SIDE) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height))


def _grey(kind: str) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE), 300, kind))


def _made(mode: str, width: int = SIDE, height: int = SIDE) -> Image.Image:
    picture = _rgb(width, height)
    return picture.quantize(64) if mode == "P" else picture.convert(mode)


CASES: dict[str, tuple[Callable[[], Image.Image], dict[str, object]]] = {
    "rgb.png": (_rgb, {}),
    "rgba.png": (partial(_made, "RGBA"), {}),
    "palette.png": (partial(_made, "P"), {"transparency": 3}),
    "deep.png": (partial(_grey, "uint16"), {}),
    "strip.png": (partial(_made, "RGBA", 1365, 65_535), {}),
    "baseline.jpg": (_rgb, {}),
    "progressive.jpg": (_rgb, {"progressive": True}),
    "full.jpg": (partial(_made, "RGB", 9100, 9100), {"progressive": True, "subsampling": 0}),
    "cmyk.jpg": (partial(_made, "CMYK", 8300, 8300), {"progressive": True, "subsampling": 0}),
    "rgb.gif": (partial(_made, "P"), {}),
    "rgb.bmp": (_rgb, {}),
    "raw.tiff": (_rgb, {}),
    "lzw.tiff": (_rgb, {"compression": "tiff_lzw"}),
    "one-strip.tiff": (partial(_made, "RGBA", 8000, 8000),
                       {"compression": "tiff_lzw", "strip_size": 2**31}),
    "deep.tiff": (partial(_grey, "int32"), {}),
    "rgb.webp": (partial(_made, "RGB", 7000, 7000), {"method": 0}),
    "lossless.webp": (partial(_made, "RGBA", 7000, 7000), {"lossless": True, "quality": 0, "method": 0}),
    "rgba.avif": (partial(_made, "RGBA", 6400, 6400), {"speed": 10, "subsampling": "4:4:4"}),
}  # fmt: skip
"""File -> how its picture is made, and how it is saved."""


def measured(path: Path) -> str:
    """Peak megabytes of this process after the filter measured `path`, and what became of it."""
    candidate = stage.measure(Post(url=path.name), path, [], contact_sheet.coding(1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{peak:.0f} {candidate.detail or 'read'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=Path, help="measure this file alone")
    only = parser.parse_args().only
    if only:
        print(measured(only))
        return
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, options) in CASES.items():
            path = Path(folder) / name
            make().save(path, **options)
            done = subprocess.run(
                [sys.executable, __file__, "--only", path],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(f"{name:16} {done.stdout.strip()}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
