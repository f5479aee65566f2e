"""The memory that one picture costs the stages that open it, for the worst of each kind.

`python benchmarks/picture_memory.py` makes them, each of 89 million pixels or as many as its kind may
have (a minute and 3 GB for each), and measures each in a process of its own, the peak as Linux
tells it (VmHWM):

- filter: everything that it measures of a picture;
- tag: the picture as the tagger is given it, and its tags (of the embedded tagger, 20 MB);
- layout: how it is laid out, which for most of them means to be written again as a PNG.

`--only FILE` measures one file, `--kinds` some of them, `--stages` some stages.
"""

from __future__ import annotations

import argparse
import re
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

from bakery.dataset import entries  # noqa: E402
from bakery.io import images  # noqa: E402
from bakery.pages import contact_sheet  # noqa: E402
from bakery.sources.posts import Post  # noqa: E402
from bakery.stages import filter as stage  # noqa: E402

SIDE = 9400
FAST: dict[str, object] = {"compress_level": 1}


def _rgb(width: int = SIDE, height: int = SIDE) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height))


def _grey(kind: str) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE), 300, kind))


def _made(mode: str, width: int = SIDE, height: int = SIDE) -> Image.Image:
    picture = _rgb(width, height)
    return picture.quantize(64) if mode == "P" else picture.convert(mode)


CASES: dict[str, tuple[Callable[[], Image.Image], dict[str, object]]] = {
    "rgb.png": (_rgb, FAST),
    "rgba.png": (partial(_made, "RGBA"), FAST),
    "palette.png": (partial(_made, "P"), FAST | {"transparency": 3}),
    "deep.png": (partial(_grey, "uint16"), FAST),
    "strip.png": (partial(_made, "RGBA", 1365, 65_535), FAST),
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


def of_filter(path: Path) -> str:
    """What became of the picture, in a few words; so do the others."""
    return stage.measure(Post(url=path.name), path, [], contact_sheet.coding(1)).detail or "read"


def of_tag(path: Path) -> str:
    from bakery.vision.tagger import Tagger

    loaded = Tagger.load(ROOT / "resources/world/tagger", threads=1)
    next(loaded.rows([path], 1, images.open_rgb, lambda _: True))
    return "tagged"


def of_layout(path: Path) -> str:
    entry = entries.Entry(path.name, path, "", "a caption")
    with tempfile.TemporaryDirectory() as folder:
        _, why = entries._place(entry, Path(folder) / path.stem, entries.Tally())
    return f"written as PNG: {why}" if why else "linked"


STAGES: dict[str, Callable[[Path], str]] = {"filter": of_filter, "tag": of_tag, "layout": of_layout}


def measured(path: Path, name: str) -> str:
    """Peak megabytes of this process after the stage `name` opened `path`, and what became of it."""
    try:
        said = STAGES[name](path)
    except images.UnreadableImage as problem:
        said = problem.reason
    return f"{_peak():.0f} {said}"


def _peak() -> float:
    """Megabytes. `ru_maxrss` would count the process that started this one, too."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=Path, help="measure this file alone")
    parser.add_argument("--kinds", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    chosen = parser.parse_args()
    if chosen.only:
        print(measured(chosen.only, chosen.stages[0]))
        return
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as folder:
        for kind in chosen.kinds:
            make, options = CASES[kind]
            path = Path(folder) / kind
            make().save(path, **options)
            for name in chosen.stages:
                done = subprocess.run(
                    [sys.executable, __file__, "--stages", name, "--only", path],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                print(f"{kind:16} {name:8} {done.stdout.strip()}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
