"""ONNX models that are no good: a fault and one sentence, never a number, and an end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakery.io.errors import BakeryError
from bakery.vision import critics, likeness, onnx_model
from bakery.vision.onnx_model import OnnxModel
from bakery.vision.tagger import Tagger
from tests.fuzz import made_onnx
from tests.fuzz.made_onnx import SIDE, constant, mean

PICTURE = Image.new("RGB", (20, 12), "red")
SHAPE = [1, 3, SIDE, SIDE]
SCRIPTS = Path(__file__).parents[2] / "scripts"


def look(path: Path, kind: str) -> np.ndarray:
    if kind == "likeness":
        return likeness.Embedder(path, mean=0, std=1, threads=1).embed([PICTURE, PICTURE])
    return critics.ImageModel(path, kind).look(PICTURE)


@pytest.mark.parametrize("kind", ["face_count", "same_character", "aesthetic", "likeness"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.full((1, 6, 9), np.nan, np.float32), "gives NaN or infinite numbers"),
        (np.full((1, 4), np.inf, np.float32), "gives NaN or infinite numbers"),
        (np.ones((1, 4), np.int64), "gives int64 instead of floating-point numbers"),
        (np.array([["smile"]], dtype=object), "instead of floating-point numbers"),
        (np.zeros((1, 0), np.float32), "array, which is no answer|where a vector for each"),
        (np.zeros((5, 3, 2), np.float32), "array, which is no answer|where a vector for each"),
    ],
)
def test_what_is_no_number_is_no_answer(
    tmp_path: Path, kind: str, answer: np.ndarray, words: str
) -> None:
    path = constant(tmp_path / "a.onnx", answer, SHAPE)
    with pytest.raises(BakeryError, match=words) as caught:
        look(path, kind)
    assert str(path) in str(caught.value)


def test_half_precision_is_as_good(tmp_path: Path) -> None:
    path = mean(tmp_path / "a.onnx", SHAPE, kind="half")
    assert look(path, "same_character") == pytest.approx([1, 0.4, 0.4], abs=0.01)


def test_what_has_no_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "PATIENCE", 0.3)
    model = OnnxModel(made_onnx.endless(tmp_path / "a.onnx"), "filter.models", threads=1)
    begun = time.monotonic()
    with pytest.raises(BakeryError, match=r"had no answer after 0.3 s and was stopped; wait less"):
        model.run("x", np.zeros((1, 3, SIDE, SIDE), np.float32), "wait less")
    assert time.monotonic() - begun < 300


LOAD = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from bakery.jobs.job import LoggedJob
from bakery.vision import onnx_model
onnx_model.LOADING = 0.5
with LoggedJob(SimpleNamespace(log=[sys.argv[3]]), "filter"):
    onnx_model.OnnxModel(onnx_model.Path(sys.argv[2]), "filter.models", threads=1)
"""


def test_what_takes_for_ever_to_load_ends_the_job(tmp_path: Path) -> None:
    path, log = made_onnx.slow_to_load(tmp_path / "a.onnx"), tmp_path / "filter.log"
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, SCRIPTS, path, log],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    said = f"filter.models: {path} is not loaded after 0.5 s; take another model"
    assert (ran.returncode, ran.stderr) == (1, f"\nfilter: {said}\n\n")
    assert log.read_text("utf-8").endswith(f" ERROR {said}\n")


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ([1, 3, 100_000, 100_000], "float", "takes pictures of 100000 pixels a side"),
        ([10**6, 3, SIDE, SIDE], "float", "takes 1000000 pictures at once"),
        (SHAPE, "uint8", r"takes tensor\(uint8\) instead of floating-point pixels"),
        ([1, 3, SIDE, 2 * SIDE], "float", r"has the shape \[1, 3, 8, 16\]"),
        ([1, 1, SIDE, SIDE], "float", r"has the shape \[1, 1, 8, 8\]"),
    ],
)
def test_inputs_that_are_no_picture(
    tmp_path: Path, shape: list[int], kind: str, words: str
) -> None:
    path = constant(tmp_path / "a.onnx", np.ones((1, 3), np.float32), shape, kind)
    with pytest.raises(BakeryError, match=words):
        critics.ImageModel(path, "aesthetic")


def test_confidences_go_from_0_to_1(tmp_path: Path) -> None:
    boxes = np.full((1, 6, 9), 7, np.float32)
    path = constant(tmp_path / "a.onnx", boxes, SHAPE)
    detector = critics.FaceDetector(critics.ImageModel(path, "face_count"), 0.3)
    with pytest.raises(BakeryError, match="gives confidences from 7 to 7, which go from 0 to 1"):
        detector.look(PICTURE)


def test_thousands_of_faces_are_none(tmp_path: Path) -> None:
    places = np.arange(9000, dtype=np.float32) * 10
    ones = np.ones_like(places)
    boxes = np.stack([places, places, ones, ones, ones])[None]
    path = constant(tmp_path / "a.onnx", boxes, SHAPE)
    detector = critics.FaceDetector(critics.ImageModel(path, "face_count"), 0.3)
    with pytest.raises(BakeryError, match="finds more than 1000 faces in a picture"):
        detector.look(PICTURE)


def test_a_row_for_each_picture(tmp_path: Path) -> None:
    made_onnx.tiny_tagger(tmp_path, made_onnx.TAGS, side=32)
    width = len(made_onnx.TAGS)
    for answer, words in (
        (np.full((1, 1, width), 0.5, np.float32), r"gives a \(1, 1, 7\) array for 2 pictures"),
        (np.full((1, width), 0.5, np.float32), r"gives a \(1, 7\) array for 2 pictures"),
        (np.full((2, width), 2, np.float32), "gives values outside 0..1"),
        (np.full((2, width), np.nan, np.float32), "gives NaN"),
    ):
        constant(tmp_path / "model.onnx", answer, ["n", 32, 32, 3])
        with pytest.raises(BakeryError, match=words):
            Tagger.load(tmp_path, threads=1).tag([PICTURE, PICTURE])
