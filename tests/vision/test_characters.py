"""Same character or not, by a tiny random model of CCIP's interface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_tagger import tiny_tagger

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.named_files import HubFolder
from bakery.settings.score import Score
from bakery.stages import score
from bakery.vision import characters, hub
from bakery.vision.characters import MEAN, STD, CharacterModel

SIDE, WIDTH = 384, 5
LENGTHS = np.random.default_rng(3).normal(size=(3, WIDTH)).astype(np.float32)


def _model(path: Path, nodes: list, given: list, shapes: tuple[list, list]) -> None:
    """The given shapes are those of `input` and `output`, as in the published files."""
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in zip(("input", "output"), shapes, strict=True)
    )
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=given)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def tiny_ccip(folder: Path, threshold: float = 0.2) -> Path:
    """Mean colours times random numbers as features; (1 - cosine) / 2 as the difference."""
    folder.mkdir(parents=True)
    node = helper.make_node
    _model(
        folder / "model_feat.onnx",
        [
            node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
            node("MatMul", ["mean", "lengths"], ["output"]),
        ],
        [numpy_helper.from_array(LENGTHS, "lengths")],
        (["batch", 3, SIDE, SIDE], ["batch", WIDTH]),
    )
    _model(
        folder / "model_metrics.onnx",
        [
            node("ReduceL2", ["input"], ["length"], axes=[1], keepdims=1),
            node("Div", ["input", "length"], ["unit"]),
            node("Transpose", ["unit"], ["turned"], perm=[1, 0]),
            node("MatMul", ["unit", "turned"], ["cosine"]),
            node("Sub", ["one", "cosine"], ["apart"]),
            node("Mul", ["apart", "half"], ["output"]),
        ],
        [
            numpy_helper.from_array(np.array(number, np.float32), name)
            for name, number in (("one", 1.0), ("half", 0.5))
        ],
        (["batch", WIDTH], ["batch", "batch"]),
    )
    (folder / "metrics.json").write_text(json.dumps({"f1_score": 0.9, "threshold": threshold}))
    return folder


def colour(*rgb: int) -> Image.Image:
    return Image.new("RGB", (20, 12), rgb)


def by_hand(*rgb: int) -> np.ndarray:
    features = (np.array(rgb) / 255 - MEAN) / STD @ LENGTHS
    return features / np.linalg.norm(features)


def test_differences_are_those_of_the_formula(tmp_path: Path) -> None:
    model = CharacterModel(tiny_ccip(tmp_path / "ccip"), threads=1)
    seen = [(255, 0, 0), (0, 51, 0), (9, 9, 200)] * 4
    others = [(250, 10, 0), (0, 0, 0)]
    apart = model.differences(
        model.features(colour(*one) for one in seen), model.features(colour(*one) for one in others)
    )
    expected = [[(1 - by_hand(*a) @ by_hand(*b)) / 2 for b in others] for a in seen]
    # the model adds up 147456 pixels in single precision
    assert apart == pytest.approx(np.array(expected), abs=1e-3)
    assert model.threshold == 0.2
    assert model.differences(np.zeros((0, WIDTH), np.float32), np.ones((2, WIDTH))).shape == (0, 2)


SHOTS: list[Shot] = [
    (epoch, prompt, purpose, "", seed, {"pink hair": 0.9, "halo": 0.9} if epoch else {"beach": 0.9})
    for epoch in (0, 1)
    for prompt, purpose in (("trigger", "identity"), ("wood", "bleed"))
    for seed in (1, 2)
]


def scored(root: Path, held: tuple[str, ...] = (), **models: Path) -> tuple[dict, Path]:
    """The summary and the folder of scores of `SHOTS`, with these of the pictures held out."""
    folders, sample = stages(root), sample_stage(root / "sample", SHOTS)
    layout = root / "layout"
    layout.mkdir()
    kinds = [
        {"image": name, "kind": "holdout" if name in held else "picture"}
        for name in ("a.png", "b.png", "c.png", "d.png")
    ]
    tables.write(layout / "layout.csv", kinds, ("image", "kind"))
    model = tiny_tagger(root / "tagger", TAGS, categories=CATEGORIES)
    above = score.InputFolders(sample, **folders, layout=layout)
    return score.run(Score(), above, out=root / "score", model=model, **models), root / "score"


def test_identity_pictures_are_judged_by_the_models_own_threshold(tmp_path: Path) -> None:
    summary, out = scored(tmp_path, likeness_model=tiny_ccip(tmp_path / "ccip", 0.02))
    rows = pd.read_csv(out / "scores.csv").set_index("image")
    mine = rows[rows["purpose"] == "identity"]
    assert set(mine["same_character"]) <= {0, 1}
    assert rows.loc[rows["purpose"] == "bleed", ["same_character", "difference"]].isna().all().all()
    epochs = pd.read_csv(out / "epochs.csv").set_index("epoch")
    for epoch in (0, 1):
        own = mine[mine["epoch"] == epoch]
        assert epochs.loc[epoch, "difference"] == pytest.approx(own["difference"].mean(), abs=1e-4)
        assert epochs.loc[epoch, "same_character"] == own["same_character"].mean()
    assert epochs.loc[1, "difference"] < epochs.loc[0, "difference"]
    assert "held_out" not in summary
    assert "nearer" not in epochs


def test_held_out_pictures_are_the_reference_of_what_is_repeated(tmp_path: Path) -> None:
    summary, out = scored(tmp_path, ("c.png", "d.png"))
    assert summary["held_out"]["images"] == 2
    rows = pd.read_csv(out / "scores.csv").set_index("image")
    called = rows[rows["purpose"] == "identity"]
    assert set(called["nearest"]) <= {"a.png", "b.png"}, "held-out pictures were not trained on"
    assert called["held_out_bits"].notna().all()
    assert rows.loc[rows["purpose"] == "bleed", "held_out_bits"].isna().all()
    epochs = pd.read_csv(out / "epochs.csv").set_index("epoch")
    assert epochs[["nearer", "nearer_low", "nearer_high"]].stack().between(0, 1).all()
    assert "difference" not in epochs


def test_without_either_the_tables_have_no_column_of_theirs(tmp_path: Path) -> None:
    _, out = scored(tmp_path)
    columns = {*pd.read_csv(out / "scores.csv"), *pd.read_csv(out / "epochs.csv")}
    assert not columns & {"held_out_bits", "nearer", "same_character", "difference"}


def test_a_folder_on_a_hub_is_fetched_by_its_files_alone(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def download(model: str, patterns: list[str], what: str) -> Path:
        asked.append((model, patterns))
        return tmp_path

    monkeypatch.setattr(hub, "download", download)
    usual, other = (tiny_ccip(tmp_path / name) for name in (characters.USUAL, "ccip-other"))
    assert characters.fetch("deepghs/ccip_onnx@abc") == usual
    assert characters.fetch("deepghs/ccip_onnx/ccip-other") == other
    assert [model for model, _ in asked] == ["deepghs/ccip_onnx@abc", "deepghs/ccip_onnx"]
    assert asked[1][1] == [f"ccip-other/{n}" for n in ("model_feat.onnx", "model_metrics.onnx",
                                                       "metrics.json")]  # fmt: skip
    mark = HubFolder()
    for name in ("deepghs/ccip_onnx", "deepghs/ccip_onnx/ccip-other"):
        assert mark.find(name, [tmp_path], "score.likeness_model") is None
    assert mark.find("ccip-other", [tmp_path], "score.likeness_model") == other
    for missing in ("models/ccip/gone", "gone"):
        with pytest.raises(BakeryError, match="does not exist"):
            mark.find(missing, [tmp_path], "score.likeness_model")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("metrics.json", b"{}", "gives no threshold"),
        ("metrics.json", b'{"threshold": -1}', "gives no threshold"),
        ("metrics.json", None, "has no metrics.json"),
        ("model_metrics.onnx", b"no model", "cannot be loaded as an ONNX model"),
        ("model_feat.onnx", None, "has no model_feat.onnx"),
    ],
)
def test_a_folder_that_is_none_is_one_sentence(
    tmp_path: Path, file: str, content: bytes | None, words: str
) -> None:
    folder = tiny_ccip(tmp_path / "ccip")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(BakeryError, match=words) as caught:
        CharacterModel(characters.fetch(str(folder)), threads=1)
    assert "score.likeness_model" in str(caught.value)


def test_a_features_model_in_the_place_of_the_other_is_told(tmp_path: Path) -> None:
    folder = tiny_ccip(tmp_path / "ccip")
    (folder / "model_metrics.onnx").write_bytes((folder / "model_feat.onnx").read_bytes())
    with pytest.raises(BakeryError, match=r"instead of \[pictures, features\]"):
        CharacterModel(folder, threads=1)
