"""A tiny real ONNX tagger whose answer is a known function of the picture.

The picture is cut into a grid of cells. Tag number i looks at one colour channel of one cell: the
brighter that channel is there, the surer the tagger is (a sigmoid of the mean, one half at medium
brightness). `draw` is the inverse: it draws the picture in which the tagger sees what you ask for.

    folder = tiny_tagger(tmp_path / "tagger", ["pink hair", "smile"])
    draw(["pink hair", "smile"], seen={"smile"}).save("a.png")     # smile .998, pink hair .002
    draw(["pink hair", "smile"], seen={"smile": 0.6}).save("b.png")  # smile about .6
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SHARPNESS = 12.0  # probability = sigmoid(SHARPNESS * (brightness - 1/2))
NUMBERS = {"general": 0, "character": 4, "rating": 9}


def tiny_tagger(
    folder: Path,
    tags: Sequence[str],
    *,
    categories: Mapping[str, str] | None = None,
    side: int = 32,
    batch: int | None = None,
) -> Path:
    """Writes model.onnx and selected_tags.csv into `folder` and returns it.

    `tags` are caption words (spaces become underscores in the file); `categories` says which are
    not general; `side` is the model's input; `batch` fixes the batch dimension as v1.4 models do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid = _grid(len(tags))
    assert side % grid == 0, f"side {side} is not a multiple of {grid} cells"
    write_tags(folder / "selected_tags.csv", tags, categories or {})
    onnx.save(_model(len(tags), grid, side, batch), folder / "model.onnx")
    return folder


def write_tags(path: Path, tags: Sequence[str], categories: Mapping[str, str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tag_id", "name", "category", "count"])
        for number, tag in enumerate(tags):
            category = NUMBERS[categories.get(tag, "general")]
            writer.writerow([number, tag.replace(" ", "_"), category, 1000])


def draw(
    tags: Sequence[str],
    seen: Collection[str] | Mapping[str, float],
    size: tuple[int, int] = (64, 64),
) -> Image.Image:
    """A square picture in which `tiny_tagger(..., tags)` sees `seen`, the rest not at all."""
    grid = _grid(len(tags))
    cells = np.zeros((grid, grid, 3), np.uint8)
    for number, tag in enumerate(tags):
        if tag in seen:
            wanted = seen[tag] if isinstance(seen, Mapping) else 1.0
            row, column, channel = _place(number, grid)
            cells[row, column, channel] = round(255 * _brightness(wanted))
    return Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)


def probability(brightness: float) -> float:
    """What the tagger says of a tag whose channel has this mean brightness (0..1)."""
    return 1 / (1 + math.exp(-SHARPNESS * (brightness - 0.5)))


def _brightness(wanted: float) -> float:
    wanted = min(max(wanted, 1e-6), 1 - 1e-6)
    return min(max(0.5 + math.log(wanted / (1 - wanted)) / SHARPNESS, 0.0), 1.0)


def _grid(tags: int) -> int:
    """Cells a side: a power of two, so that they divide the usual picture sizes."""
    return 2 ** math.ceil(math.log2(max(1, math.ceil(math.sqrt(tags / 3)))))


def _place(number: int, grid: int) -> tuple[int, int, int]:
    """(row, column, RGB channel) that a tag looks at."""
    cell, channel = divmod(number, 3)
    return *divmod(cell, grid), channel


def _model(tags: int, grid: int, side: int, batch: int | None) -> onnx.ModelProto:
    """NHWC BGR 0..255 -> mean of each cell and channel -> its tag's sigmoid."""
    weight = np.zeros((3 * grid * grid, tags), np.float32)
    for number in range(tags):
        row, column, channel = _place(number, grid)
        weight[(2 - channel) * grid * grid + row * grid + column, number] = SHARPNESS / 255
    bias = np.full(tags, -SHARPNESS / 2, np.float32)
    cell = side // grid
    nodes = [
        helper.make_node("Transpose", ["input"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["nchw"], ["means"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    first = batch if batch else "batch_size"
    graph = helper.make_graph(
        nodes,
        "tiny_tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [first, side, side, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [first, tags])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="tests"
    )
