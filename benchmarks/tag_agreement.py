"""Does the tag stage write the tags that kohya's tag script writes?

    python benchmarks/tag_agreement.py --sd-scripts path/to/sd-scripts [--python path/to/its/python]

Steps: make a tagger of random weights with the interface of the WD models (448 pixels, NHWC, four
ratings in front); draw pictures of many sizes, modes and formats; let sd-scripts' own
`finetune/tag_images_by_wd14_tagger.py` tag them, and the tag stage's code; compare tag by tag. What
differs is explained: the step of the reference that, put into our pipeline, makes both alike.

`--python` is an interpreter in which sd-scripts runs (its requirements, onnx and onnxruntime).
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bakery.io import images
from bakery.tags import captions
from bakery.vision import tagger

SIDE, GENERAL, CHARACTER = 448, 8106, 2751
RATINGS = ("general", "sensitive", "questionable", "explicit")
GENERAL_THRESHOLD = 0.35
SEPARATOR = "\n@@"  # no tag holds it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sd-scripts", type=Path, required=True, help="a checkout of sd-scripts")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs it")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--character-threshold", type=float, default=0.85, help="above 1: no character tags"
    )
    parser.add_argument("--threads", type=int, default=0, help="of our tagger; 0 takes all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(options.seed)
        names = write_model(folder / "models" / "random_wd", rng)
        kinds = write_pictures(folder / "pictures", options.images, rng)
        reference = run_reference(options, folder)
        ours = tagger.Tagger.load(folder / "models" / "random_wd", options.threads)
        limits = {"general": GENERAL_THRESHOLD, "character": options.character_threshold}
        least = np.array([limits.get(category, 2.0) for category in ours.categories])  # no ratings
        report(compare(folder / "pictures", kinds, reference, ours, names, least), names)


# --- the tagger and the pictures ------------------------------------------------------------------


def write_model(folder: Path, rng: np.random.Generator) -> list[str]:
    """model.onnx and selected_tags.csv; gives the raw names of all tags."""
    folder.mkdir(parents=True)
    kaomoji = sorted(captions.KAOMOJI)
    general = kaomoji + [f"general_tag_{n}" for n in range(GENERAL - len(kaomoji))]
    names = [*RATINGS, *general, *(f"character_{n}_(series)" for n in range(CHARACTER))]
    numbers = [9] * len(RATINGS) + [0] * GENERAL + [4] * CHARACTER
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        rows = zip(range(len(names)), names, numbers, [1000] * len(names), strict=True)
        csv.writer(file).writerows([("tag_id", "name", "category", "count"), *rows])
    channels, cells = 8, 7
    kernel = rng.normal(0, 1 / 5, (channels, 3, 5, 5)).astype(np.float32) / 255
    weight = rng.normal(0, 0.35, (channels * cells * cells, len(names))).astype(np.float32)
    bias = np.full(len(names), -6, np.float32)
    nodes = [
        helper.make_node("Transpose", ["input"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "kernel"], ["edges"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["edges"], ["seen"]),
        helper.make_node(
            "AveragePool", ["seen"], ["means"], kernel_shape=[32, 32], strides=[32, 32]
        ),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "random_wd",
        [value("input", TensorProto.FLOAT, ["batch_size", SIDE, SIDE, 3])],
        [value("output", TensorProto.FLOAT, ["batch_size", len(names)])],
        [
            numpy_helper.from_array(array, name)
            for name, array in (("kernel", kernel), ("weight", weight), ("bias", bias))
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    return names


def write_pictures(folder: Path, count: int, rng: np.random.Generator) -> dict[str, str]:
    """Pictures of every kind in turn; gives file name -> kind."""
    folder.mkdir()
    kinds: dict[str, Callable[[Image.Image, Path], None]] = {
        "jpg": lambda picture, path: picture.save(path.with_suffix(".jpg"), quality=88),
        "png": lambda picture, path: picture.save(path.with_suffix(".png")),
        "webp": lambda picture, path: picture.save(path.with_suffix(".webp"), quality=85),
        "bmp": lambda picture, path: picture.save(path.with_suffix(".bmp")),
        "grey png": lambda picture, path: picture.convert("L").save(path.with_suffix(".png")),
        "alpha png": lambda picture, path: _alpha(picture).save(path.with_suffix(".png")),
        "grey alpha png": lambda picture, path: (
            _alpha(picture).convert("LA").save(path.with_suffix(".png"))
        ),
        "alpha webp": lambda picture, path: _alpha(picture).save(
            path.with_suffix(".webp"), lossless=True
        ),
        "palette png": lambda picture, path: picture.quantize(32).save(path.with_suffix(".png")),
        "transparent palette png": lambda picture, path: picture.quantize(32).save(
            path.with_suffix(".png"), transparency=3
        ),
        "1-bit png": lambda picture, path: picture.convert("1").save(path.with_suffix(".png")),
        "cmyk jpg": lambda picture, path: picture.convert("CMYK").save(path.with_suffix(".jpg")),
        "16-bit png": lambda picture, path: _deep(picture).save(path.with_suffix(".png")),
        "rotated jpg": lambda picture, path: _turned(picture, path.with_suffix(".jpg")),
    }
    written = {}
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        path = folder / f"{number:03}"
        kinds[kind](_draw(rng), path)
        (made,) = folder.glob(f"{number:03}.*")
        written[made.name] = kind
    return written


def _draw(rng: np.random.Generator) -> Image.Image:
    """Shapes, gradients and noise, from thumbnails to comic strips; some just as the model wants."""
    width, height = (
        (SIDE, SIDE)
        if rng.random() < 0.05
        else (int(2 ** rng.uniform(5, 11)), int(2 ** rng.uniform(5, 11)))
    )
    ramp = np.linspace(0, 1, height)[:, None, None] * rng.integers(0, 256, 3)
    ramp = ramp + np.linspace(1, 0, width)[None, :, None] * rng.integers(0, 256, 3)
    noise = rng.normal(0, rng.uniform(0, 40), (height, width, 3))
    picture = Image.fromarray((ramp / 2 + noise).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 25)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        wide, tall = rng.integers(1, width + 1), rng.integers(1, height + 1)
        shape = (pen.ellipse, pen.rectangle)[rng.integers(2)]
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        shape((x - wide // 2, y - tall // 2, x + wide // 2, y + tall // 2), colour)
    return picture


def _alpha(picture: Image.Image) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(picture.size)
    return Image.merge("RGBA", (*picture.split(), ramp))


def _deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def _turned(picture: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, quality=90, exif=exif)


# --- both taggers ---------------------------------------------------------------------------------


def run_reference(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """File name -> tags, as sd-scripts' own script writes them beside the pictures."""
    pictures = folder / "pictures"
    command = [
        options.python, "finetune/tag_images_by_wd14_tagger.py", pictures, "--onnx",
        "--model_dir", folder / "models", "--repo_id", "random/wd", "--batch_size", 4,
        "--remove_underscore", "--general_threshold", GENERAL_THRESHOLD, "--character_threshold",
        options.character_threshold, "--caption_separator", SEPARATOR,
    ]  # fmt: skip
    script = Path(options.sd_scripts) / "finetune" / "tag_images_by_wd14_tagger.py"
    if not script.is_file():
        sys.exit(f"{script} does not exist: --sd-scripts is a checkout of kohya-ss/sd-scripts")
    done = subprocess.run(
        list(map(str, command)), cwd=options.sd_scripts, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"sd-scripts could not tag the pictures:\n{done.stderr[-2000:]}")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in pictures.glob("*.txt")}
    return {stem: [t for t in text.strip().split(SEPARATOR) if t] for stem, text in texts.items()}


def _area(picture: Image.Image, side: int) -> Image.Image:
    """Mean over each target pixel's area, as OpenCV's INTER_AREA; Lanczos where it enlarges."""
    if picture.width < side:
        return picture.resize((side, side), Image.Resampling.LANCZOS)
    edges = np.linspace(0, picture.width, side + 1)
    pixel = np.arange(picture.width)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weight = overlap.clip(0) / (picture.width / side)  # (side, width)
    mean = np.einsum("yh,hwc,xw->yxc", weight, np.asarray(picture, float), weight, optimize=True)
    return Image.fromarray(np.rint(mean).clip(0, 255).astype(np.uint8))


def decode(path: Path, steps: frozenset[str]) -> Image.Image:
    """The picture as RGB: ours, with some steps as the reference does them."""
    with Image.open(path) as file:
        file.load()
        if "16 bits are clipped" in steps and file.mode.startswith("I"):
            return file.convert("RGB")
        if "EXIF rotation is ignored" in steps and file.getexif().get(0x0112, 1) != 1:
            return images.open_rgb(path).transpose(Image.Transpose.ROTATE_90)
        if "alpha is rounded otherwise" in steps and file.has_transparency_data:
            seen = file.convert("RGBA")
            white = Image.new("RGB", seen.size, (255, 255, 255))
            white.paste(seen, mask=seen.getchannel("A"))
            return white
    return images.open_rgb(path)


def prepare(picture: Image.Image, steps: frozenset[str]) -> np.ndarray:
    """(448, 448, 3): ours, or resized as the reference does."""
    if "interpolation" not in steps:
        return tagger.prepare(picture, SIDE)
    longest = max(picture.size)
    left, top = (longest - picture.width) // 2, (longest - picture.height) // 2
    border = (left, top, longest - picture.width - left, longest - picture.height - top)
    square = ImageOps.expand(picture, border, (255, 255, 255))
    if longest != SIDE:
        square = _area(square, SIDE)
    return np.asarray(square, np.float32)[:, :, ::-1]


# --- the comparison -------------------------------------------------------------------------------

EXPLANATIONS = (
    frozenset(),
    frozenset({"interpolation"}),
    frozenset({"interpolation", "alpha is rounded otherwise"}),
    frozenset({"interpolation", "EXIF rotation is ignored"}),
    frozenset({"interpolation", "16 bits are clipped"}),
)


def compare(
    folder: Path,
    kinds: dict[str, str],
    reference: dict[str, list[str]],
    ours: tagger.Tagger,
    names: list[str],
    limits: np.ndarray,
) -> list[dict]:
    """A record for each picture: how many tags agree, and which steps explain the rest."""
    columns = {_reference_name(name): column for column, name in enumerate(names)}
    records = []
    for name, kind in kinds.items():
        theirs = {columns[tag] for tag in reference[Path(name).stem]}
        for steps in EXPLANATIONS:
            square = prepare(decode(folder / name, steps), steps)
            row = ours.tag([Image.fromarray(square[:, :, ::-1].astype(np.uint8))])[0]
            mine = set(np.flatnonzero(row >= limits).tolist())
            if not steps:
                first, shares = mine, row
            if mine == theirs:
                break
        else:
            steps = frozenset({"unexplained"})
        far = max((abs(shares[c] - limits[c]) for c in first ^ theirs), default=0.0)
        records.append(
            {"kind": kind, "theirs": len(theirs), "ours": len(first), "both": len(first & theirs),
             "steps": steps, "far": float(far)}
        )  # fmt: skip
    return records


def _reference_name(name: str) -> str:
    """The reference keeps underscores in names of up to three letters only."""
    return name.replace("_", " ") if len(name) > 3 else name


def report(records: list[dict], names: list[str]) -> None:
    total = {key: sum(r[key] for r in records) for key in ("theirs", "ours", "both")}
    same = sum(not r["steps"] for r in records)
    print(f"{len(records)} pictures, {len(names)} tags.\n")
    print("| | tags |\n| --- | --- |")
    print(
        f"| reference | {total['theirs']} |\n| ours | {total['ours']} |\n| both | {total['both']} |"
    )
    print(
        f"\n{same} pictures have exactly the same tags. Of the others, alike once ours did this too:\n"
    )
    print(
        "| the reference's step | pictures | of the kinds | other tags | farthest from the threshold |"
    )
    print("| --- | --- | --- | --- | --- |")
    for steps in sorted({r["steps"] for r in records if r["steps"]}, key=sorted):
        mine = [r for r in records if r["steps"] == steps]
        kinds = ", ".join(
            f"{kind} {n}" for kind, n in sorted(Counter(r["kind"] for r in mine).items())
        )
        words = " + ".join(sorted(steps))
        other = sum(r["theirs"] + r["ours"] - 2 * r["both"] for r in mine)
        of = sum(r["theirs"] + r["ours"] - r["both"] for r in mine)
        far = max(r["far"] for r in mine)
        print(f"| {words} | {len(mine)} | {kinds} | {other} of {of} | {far:.4f} |")
    print(f"\n{_spelling(names)}")


def _spelling(names: Iterable[str]) -> str:
    other = [name for name in names if captions.normalise(name) != _reference_name(name)]
    return f"Written otherwise: {', '.join(other) or 'none'} (we keep the underscore of emoticons)."


if __name__ == "__main__":
    main()
