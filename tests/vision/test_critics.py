"""Models of the user's own: tiny ONNX files with the real interfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from documents import ROOT
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from bakery.dataset import decisions
from bakery.graph import build
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.config import load
from bakery.settings.filter import Filter
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.stages import filter
from bakery.vision import critics

SIDE = 8


def save(path: Path, nodes, shape, out, **constants: np.ndarray) -> Path:
    """A model with one input `x` and one output `y`."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def mean_color(path: Path, side=SIDE) -> Path:
    """(1, 3, side, side) -> (1, 3): how red, green and blue the picture is. An embedding."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    return save(path, [node], [1, 3, side, side], [1, 3])


def redness(path: Path) -> Path:
    """(1, side, side, 3) -> (1, 1): a score."""
    weights = np.float32([[1], [0], [0]])
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
             helper.make_node("MatMul", ["mean", "w"], ["y"])]  # fmt: skip
    return save(path, nodes, [1, SIDE, SIDE, 3], [1, 1], w=weights)


def detector(path: Path) -> Path:
    """(1, 3, side, side) -> (1, 5, side * side): a box a pixel, as sure as the pixel is dark."""
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, 1, -1).astype(np.float32)
    boxes = np.concatenate([x, y, np.ones_like(x), np.ones_like(x)])[None]  # (1, 4, N)
    nodes = [helper.make_node("ReduceMax", ["x"], ["light"], axes=[1], keepdims=1),
             helper.make_node("Reshape", ["light", "flat"], ["row"]),
             helper.make_node("Sub", ["one", "row"], ["dark"]),
             helper.make_node("Concat", ["boxes", "dark"], ["y"], axis=1)]  # fmt: skip
    return save(path, nodes, [1, 3, SIDE, SIDE], [1, 5, SIDE * SIDE], boxes=boxes,
                flat=np.int64([1, 1, -1]), one=np.float32(1))  # fmt: skip


def dotted(*places: tuple[int, int], side=64) -> Image.Image:
    image = Image.new("RGB", (side, side), "white")
    step = side // SIDE
    for x, y in places:
        box = (x * step, y * step, (x + 1) * step - 1, (y + 1) * step - 1)
        ImageDraw.Draw(image).rectangle(box, "black")
    return image


def test_a_detector_counts_what_stands_apart(tmp_path):
    model = critics.ImageModel(detector(tmp_path / "a.onnx"), "face_count")
    for places in ((), ((2, 2),), ((1, 1), (5, 5), (1, 6))):
        assert critics.faces(model.look(dotted(*places)), 0.6) == len(places)


def test_boxes_of_one_face_are_one():
    boxes = np.float32([[10, 10, 4, 4, 0.9], [10.2, 10, 4, 4, 0.8], [30, 10, 4, 4, 0.7],
                        [50, 10, 4, 4, 0.1]])  # fmt: skip
    assert critics.faces(boxes, 0.3) == critics.faces(boxes.T, 0.3) == 2
    assert critics.faces(boxes[:3], 0.3) == critics.faces(boxes[:3].T, 0.3) == 2
    assert critics.faces(boxes, 0.95) == critics.faces(boxes[:0], 0.3) == 0


def test_pixels_arrive_as_promised(tmp_path):
    """Padded to a centred white square, RGB, (0..1 - mean) / std."""
    wide = Image.new("RGB", (64, 32), (255, 0, 0))
    first = critics.ImageModel(mean_color(tmp_path / "a.onnx"), "same_character")
    assert first.look(wide) == pytest.approx([1, 0.5, 0.5], abs=0.01)
    normed = critics.ImageModel(
        mean_color(tmp_path / "a.onnx"), "same_character", mean=0.5, std=0.25
    )
    assert normed.look(wide) == pytest.approx([2, 0, 0], abs=0.02)
    last = critics.ImageModel(redness(tmp_path / "b.onnx"), "aesthetic")
    assert critics.score(last.look(wide)) == pytest.approx(1, abs=0.01)
    open_side = critics.ImageModel(
        mean_color(tmp_path / "c.onnx", side="side"), "same_character", side=16
    )
    assert open_side.look(wide) == pytest.approx([1, 0.5, 0.5], abs=0.01)


def test_scores_and_likeness():
    assert critics.score(np.float32([0.7])) == pytest.approx(0.7)
    assert critics.score(np.float32([1, 0, 0])) == 1
    assert critics.score(np.float32([0, 0.5, 0.5])) == pytest.approx(0.25)
    assert critics.score(np.float32([9, -9, -9])) == pytest.approx(1, abs=1e-3)  # logits
    table = np.float32([[1, 0], [2, 0], [0, 3]])
    assert critics.likeness(table, [True, True, False]) == pytest.approx([1, 1, 0])
    assert critics.likeness(table[:2], [False, False]) == pytest.approx([1, 1])


def dataset(tmp_path: Path, *colors: tuple[int, int, int]) -> Path:
    (tmp_path / "images").mkdir()
    rows = []
    for number, color in enumerate(colors):
        image = Image.new("RGB", (96, 96), color)
        ImageDraw.Draw(image).rectangle((9 * number, 30, 9 * number + 20, 70), "black")
        image.save(tmp_path / "images" / f"p{number}.png")
        rows.append(Post(image=f"p{number}.png", status="ok"))
    posts.write(tmp_path / "posts.csv", rows)
    return tmp_path


def test_models_give_reasons_and_leave_their_numbers(tmp_path):
    red, blue = (250, 20, 20), (20, 20, 250)
    scrape = dataset(tmp_path, red, red, red, blue)
    (scrape / "images" / "p2.png").write_bytes(b"broken")
    same, score = mean_color(tmp_path / "same.onnx"), redness(tmp_path / "score.onnx")
    settings = load({"filter": {"duplicate_distance": -1, "models": [
        {"path": "same.onnx", "kind": "same_character", "min": 0.9},
        {"path": "score.onnx", "kind": "aesthetic", "min": 0.2, "max": 1},
    ]}}).filter  # fmt: skip
    filter.run(settings, scrape=scrape, out=tmp_path / "out", models=[same, score])
    table = tables.read(tmp_path / "out" / "decisions.csv", filter.COLUMNS).set_index("image")
    assert table["reasons"].tolist() == ["", "", "unreadable", "same_character;aesthetic"]
    assert decisions.kept(tmp_path / "out") == ["p0.png", "p1.png"]
    assert table["detail"]["p3.png"].startswith("same_character 0.")
    assert "; aesthetic 0.0" in table["detail"]["p3.png"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({}, "models.0.path is"),
        ({"path": "a.onnx", "kind": "beauty", "min": 1}, "models.0.kind is 'beauty'"),
        ({"path": "a.onnx", "kind": "aesthetic"}, "models.0 has no limit: give it min, max or"),
        ({"path": "a.onnx", "kind": "aesthetic", "min": 2, "max": 1}, "min above its max"),
    ],
)
def test_models_that_cannot_be_meant(model, says):
    with pytest.raises(BakeryError, match=says):
        load({"filter": {"models": [model]}})


def test_a_model_counts_by_its_content(tmp_path):
    raw = {"filter": {"models": [{"path": "models/a.onnx", "kind": "aesthetic", "min": 0.5}]}}
    with pytest.raises(BakeryError, match=r"filter.models names models/a.onnx"):
        build.build(load(raw), [tmp_path, ROOT])
    (tmp_path / "models").mkdir()
    redness(tmp_path / "models" / "a.onnx")
    (before,) = build.build(load(raw), [tmp_path, ROOT]).of("filter")
    assert build.files_of(before, "filter.models", [tmp_path]) == [
        str(tmp_path / "models" / "a.onnx")
    ]
    mean_color(tmp_path / "models" / "a.onnx")
    (after,) = build.build(load(raw), [tmp_path, ROOT]).of("filter")
    assert before.key != after.key


def test_files_that_are_no_such_model(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(BakeryError, match=r"text.onnx cannot be loaded as an ONNX model"):
        critics.ImageModel(tmp_path / "text.onnx", "aesthetic")
    odd = helper.make_node("Identity", ["x"], ["y"])
    save(tmp_path / "odd.onnx", [odd], [1, 7], [1, 7])
    with pytest.raises(BakeryError, match=r"the input of .*odd.onnx has the shape \[1, 7\]"):
        critics.ImageModel(tmp_path / "odd.onnx", "aesthetic")
    with pytest.raises(BakeryError, match=r"leaves the size of its input open: give its side"):
        critics.ImageModel(mean_color(tmp_path / "open.onnx", side="side"), "aesthetic")
    wrong = critics.ImageModel(mean_color(tmp_path / "a.onnx"), "face_count")
    with pytest.raises(
        BakeryError, match=r"gives a \(1, 3\) array, which is no answer of the kind"
    ):
        wrong.look(Image.new("RGB", (9, 9)))
    assert Filter().models == ()
