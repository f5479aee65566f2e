"""Likeness: cosines to a character's centre, by a tiny ONNX model that averages colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from documents import ROOT
from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from onnx import TensorProto, helper
from PIL import Image
from tiny_tagger import tiny_tagger

from bakery.graph import build
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.score import Score
from bakery.settings.sections import Deviation, Mean
from bakery.stages import score
from bakery.vision import likeness
from tests.fuzz import made_onnx

SIDE = 8


def tiny_embedder(path: Path, shape: list[int | str], *, axes: tuple[int, ...] = (2, 3)) -> Path:
    """Mean red, green and blue of a picture."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["output"], axes=list(axes), keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny_embedder",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    return path


def embedder(path: Path, mean: Mean = 0.0, std: Deviation = 1.0) -> likeness.Embedder:
    return likeness.Embedder(path, mean=mean, std=std, threads=1)


def colour(*rgb: int) -> Image.Image:
    return Image.new("RGB", (20, 12), rgb)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (["batch", 3, SIDE, SIDE], (2, 3)),
        (["batch", 3, "height", "width"], (2, 3)),
        (["batch", SIDE, SIDE, 3], (1, 2)),
        ([4, 3, SIDE, SIDE], (2, 3)),  # a fixed batch
    ],
)
def test_pictures_become_directions(
    shape: list[int | str], axes: tuple[int, ...], tmp_path: Path
) -> None:
    made = embedder(tiny_embedder(tmp_path / "a.onnx", shape, axes=axes))
    pictures = [colour(255, 0, 0), colour(0, 51, 0), colour(51, 51, 0)] * 3
    vectors = made.embed(pictures)
    assert vectors.shape == (9, 3)
    expected = [[1, 0, 0], [0, 1, 0], [0.5**0.5, 0.5**0.5, 0]] * 3
    assert vectors == pytest.approx(np.array(expected), abs=1e-5)


def test_pixels_are_normalised_first(tmp_path: Path) -> None:
    path = tiny_embedder(tmp_path / "a.onnx", ["batch", 3, SIDE, SIDE])
    (vector,) = embedder(path, mean=0.5, std=0.5).embed([colour(255, 0, 0)])
    assert vector == pytest.approx(np.array([1, -1, -1]) / 3**0.5, abs=1e-5)


@pytest.mark.parametrize("kind", ["float", "half"])
def test_each_channel_is_normalised_by_its_own(kind: str, tmp_path: Path) -> None:
    path = made_onnx.mean(tmp_path / "a.onnx", ["batch", 3, SIDE, SIDE], kind=kind)
    given = Score(embedding_mean=[0.5, 0.25, 0], embedding_std=[0.5, 0.25, 0.125])
    pixels = embedder(path, mean=given.embedding_mean, std=given.embedding_std)
    (vector,) = pixels.embed([colour(255, 0, 0)])
    assert vector == pytest.approx(np.array([1, -1, 0]) / 2**0.5, abs=1e-3)


@pytest.mark.parametrize("deviation", [0, [0.5, 0, 0.5], [0.5, 0.5]])
def test_a_deviation_is_one_or_three_numbers_above_0(deviation: object) -> None:
    with pytest.raises(BakeryError, match=r"config: score\.embedding_std is .*a list of three"):
        cfg.load({"score": {"embedding_std": deviation}})


def test_the_ceiling_is_what_training_pictures_have_with_the_others() -> None:
    training = np.array([[1.0, 0], [0, 1.0]])
    mine, top = likeness.cosines(np.array([[1.0, 0], [0.5**0.5, 0.5**0.5]]), training)
    assert top == 0  # each to the other
    assert mine == pytest.approx([0.5**0.5, 1])
    assert likeness.cosines(training, training[:1])[1] == 1


def test_likeness_is_scored_where_there_is_a_model(tmp_path: Path) -> None:
    both = {"pink hair": 0.9, "halo": 0.9}
    shots: list[Shot] = [
        (epoch, "trigger", "identity", "", seed, both if epoch else {"beach": 0.9})
        for epoch in (0, 1)
        for seed in (1, 2)
    ]
    folders, sample = stages(tmp_path), sample_stage(tmp_path / "sample", shots)
    model = tiny_tagger(tmp_path / "tagger", TAGS, categories=CATEGORIES)
    path = tiny_embedder(tmp_path / "a.onnx", ["batch", 3, SIDE, SIDE])
    out = tmp_path / "score"
    score.run(
        Score(embedding_mean=0.0, embedding_std=1.0), score.InputFolders(sample, **folders),
        out=out, model=model, embedding=path, threads=1,
    )  # fmt: skip
    epochs = pd.read_csv(out / "epochs.csv").set_index("epoch")
    assert epochs["likeness"].between(0, 1).all()
    # pink hair and halo are two of the colours of the training pictures
    assert epochs.loc[1, "likeness"] > epochs.loc[0, "likeness"]
    rows = pd.read_csv(out / "scores.csv")
    assert rows["likeness"].between(0, 1).all()


def test_a_model_that_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BakeryError, match="cannot be loaded as an ONNX model"):
        embedder(tmp_path / "none.onnx")
    path = tiny_embedder(tmp_path / "flat.onnx", ["batch", 3, SIDE], axes=(2,))
    with pytest.raises(BakeryError, match="expected \\[batch, 3, side, side\\]"):
        embedder(path)
    path = tiny_embedder(tmp_path / "map.onnx", ["batch", 3, SIDE, SIDE], axes=(3,))
    with pytest.raises(BakeryError, match="of a larger one, the feature part"):
        embedder(path).embed([colour(1, 2, 3)])


def test_the_models_content_is_part_of_the_key(tmp_path: Path) -> None:
    def key(content: bytes) -> str:
        (tmp_path / "e.onnx").write_bytes(content)
        for name in ("tagger", "pictures"):
            (tmp_path / name).mkdir(exist_ok=True)
        raw = {
            "scrape": {"urls": [], "folders": ["pictures"]}, "tag": {"model": "tagger"},
            "train": {"base": str(ROOT / "resources/world/base")},
            "score": {"embedding_model": "e.onnx"},
        }  # fmt: skip
        (node,) = build.build(cfg.load(raw), [tmp_path]).of("score")
        assert build.file_of(node, "score.embedding_model", [tmp_path]) == str(tmp_path / "e.onnx")
        return node.key

    assert key(b"one") != key(b"two")
