"""The WD tagger: loading, preparing pictures, running the model in batches."""

import csv
import json
import logging
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import huggingface_hub.constants
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from tiny_tagger import draw, probability, tiny_tagger

from bakery.io.errors import BakeryError
from bakery.vision import tagger
from bakery.vision.tagger import Tagger, prepare

TAGS = ["pink hair", "smile", "halo", ">_<", "beach", "mirael", "general"]
CATEGORIES = {"mirael": "character", "general": "rating"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_tagger(tmp_path_factory.mktemp("tagger"), TAGS, categories=CATEGORIES)


def test_names_are_caption_words_with_their_categories(folder):
    loaded = Tagger.load(folder)
    assert loaded.names == tuple(TAGS)
    assert loaded.categories == (*["general"] * 5, "character", "rating")
    assert loaded.side == 32


def test_tag_sees_what_is_drawn(folder):
    seen = {"smile": 0.7, "mirael": 0.9, ">_<": 0.3}
    (row,) = Tagger.load(folder).tag([draw(TAGS, seen)])
    assert row.dtype == np.float32
    assert dict(zip(TAGS, row, strict=True)) == pytest.approx(
        {tag: seen.get(tag, probability(0)) for tag in TAGS}, abs=0.02
    )


def test_no_pictures_give_no_rows(folder):
    assert Tagger.load(folder).tag([]).shape == (0, len(TAGS))


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_batches_do_not_change_the_tags(tmp_path, batch):
    """`batch` fixes the model's first dimension, as in the v1.4 models."""
    loaded = Tagger.load(tiny_tagger(tmp_path, TAGS, batch=batch))
    pictures = [draw(TAGS, dict.fromkeys(TAGS[: i % 7], 0.5 + 0.05 * i)) for i in range(9)]
    whole = loaded.tag(pictures)
    assert whole.shape == (9, len(TAGS))
    for batch_size in (1, 2, 16):
        np.testing.assert_allclose(loaded.tag(iter(pictures), batch_size), whole, atol=1e-6)


def test_pictures_are_drawn_from_the_iterable_as_they_are_needed(folder):
    drawn = []

    def pictures():
        for number in range(40):
            drawn.append(number)
            yield draw(TAGS, {})

    rows = Tagger.load(folder).rows(pictures(), batch_size=2)
    next(rows)
    assert len(drawn) <= 8  # the batch at hand, the next three, and no more
    rows.close()


def test_what_goes_wrong_while_reading_ahead_comes_out(folder):
    def pictures():
        yield draw(TAGS, {})
        raise BakeryError("a broken picture")

    with pytest.raises(BakeryError, match="a broken picture"):
        Tagger.load(folder).tag(pictures(), batch_size=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([16, 32]), st.integers(0, 9))
def test_prepare_pads_white_around_the_centre_then_resizes(width, height, side, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    longest = max(width, height)
    square = np.full((longest, longest, 3), 255, np.uint8)
    top, left = (longest - height) // 2, (longest - width) // 2
    square[top : top + height, left : left + width] = pixels
    expected = np.asarray(
        Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC), np.float32
    )
    result = prepare(Image.fromarray(pixels), side)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[:, :, ::-1], expected)  # BGR


def test_prepare_keeps_values_of_a_picture_of_the_right_size():
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    np.testing.assert_array_equal(prepare(Image.fromarray(pixels), 16), pixels[:, :, ::-1])


@pytest.mark.slow
def test_a_very_long_strip_is_shrunk_before_it_is_padded():
    strip = prepare(Image.new("RGB", (30, 60_000), (255, 0, 0)), 64)
    assert strip.shape == (64, 64, 3)
    assert (strip[:, 0] == 255).all()  # white beside the strip


def test_missing_folder_and_files_are_named(tmp_path, folder):
    with pytest.raises(BakeryError, match=r"no folder .*nowhere"):
        Tagger.load(tmp_path / "nowhere")
    for name in ("model.onnx", "selected_tags.csv"):
        broken = tiny_tagger(tmp_path / name, TAGS)
        (broken / name).unlink()
        for load in (Tagger.load, lambda path: tagger.fetch(str(path))):
            with pytest.raises(BakeryError, match=f"has no {name}"):
                load(broken)


def test_tags_of_another_model_are_refused(tmp_path):
    tiny_tagger(tmp_path, TAGS)
    tiny_tagger(tmp_path / "other", TAGS[:-2])
    (tmp_path / "other" / "selected_tags.csv").replace(tmp_path / "selected_tags.csv")
    with pytest.raises(BakeryError, match=r"lists 5 tags, but model\.onnx gives 7 values"):
        Tagger.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a model at all", "cannot be loaded as an ONNX model"),
        (b"", "cannot be loaded as an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
    ],
)
def test_a_broken_model_is_named(tmp_path, content, message):
    tiny_tagger(tmp_path, TAGS)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BakeryError, match=message) as caught:
        Tagger.load(tmp_path)
    assert str(tmp_path / "model.onnx") in str(caught.value)


def test_a_truncated_model_is_named(tmp_path):
    model = tiny_tagger(tmp_path, TAGS) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-40])
    with pytest.raises(BakeryError, match="cannot be loaded as an ONNX model"):
        Tagger.load(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("tag_id,word,category\n1,a,0\n", "no column name"),
        ("name,category\na,7\n", "category '7'"),
        ("name,category,count\na,0,many\n", "count 'many' where a whole number"),
        ("", "cannot be read as a table"),
        ('name,category\n"a', "cannot be read as a table|category"),
    ],
)
def test_a_broken_tag_list_is_named(tmp_path, table, message):
    tiny_tagger(tmp_path, ["a"])
    (tmp_path / "selected_tags.csv").write_text(table)
    with pytest.raises(BakeryError, match=message):
        Tagger.load(tmp_path)


def test_tags_called_like_missing_values_keep_their_names(tmp_path):
    names = ["null", "nan", "NA", "39", 'quote "x"']
    assert Tagger.load(tiny_tagger(tmp_path, names)).names == tuple(names)


def _save_model(path, shape, node, output):
    graph = helper.make_graph(
        [node],
        "other",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )


def test_a_model_for_another_kind_of_input_is_refused(tmp_path):
    tiny_tagger(tmp_path, ["a"])
    flatten = helper.make_node("Flatten", ["input"], ["output"])
    _save_model(tmp_path / "model.onnx", ["n", 3, 32, 32], flatten, ["n", 3072])
    with pytest.raises(BakeryError, match=r"expected \[batch, side, side, 3\]"):
        Tagger.load(tmp_path)


def test_a_model_without_a_sigmoid_is_refused(tmp_path):
    names = [f"t{i}" for i in range(12)]
    tiny_tagger(tmp_path, names)
    flatten = helper.make_node("Flatten", ["input"], ["output"])
    _save_model(tmp_path / "model.onnx", ["n", 2, 2, 3], flatten, ["n", "any"])
    with pytest.raises(BakeryError, match="not probabilities"):
        Tagger.load(tmp_path).tag([Image.new("RGB", (2, 2), "white")])


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime has CUDA, so that nothing falls back",
)
def test_falling_back_from_cuda_to_the_cpu_is_said(folder, monkeypatch, caplog):
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="CUDA"):
        loaded = Tagger.load(folder)
    assert loaded.provider == "CPUExecutionProvider"
    assert "CUDA could not be started" in caplog.text
    assert loaded.tag([draw(TAGS, {"smile"})])[0][TAGS.index("smile")] > 0.9


def test_fetch_gives_back_a_local_folder(folder):
    assert tagger.fetch(str(folder)) == folder


@pytest.mark.parametrize("model", ["resources/world/nothing", "/nowhere", "tagger", ""])
def test_fetch_names_a_folder_that_is_not_there(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BakeryError, match=r"there is no folder|has no model.onnx"):
        tagger.fetch(model)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download of public files needs; `files` is set by the test."""

    files: ClassVar[dict[str, bytes]] = {}

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == f"/owner/tagger/resolve/{COMMIT}/{path.rsplit('/', 1)[-1]}":
            content = self.files.get(path.rsplit("/", 1)[-1])
            self._answer(content, {"X-Repo-Commit": COMMIT, "ETag": f'"{len(content or b"")}"'})
        elif path.startswith("/api/models/owner/tagger/tree/"):
            listing = [
                {"type": "file", "path": name, "size": len(content), "oid": str(len(content))}
                for name, content in self.files.items()
            ]
            self._answer(json.dumps(listing).encode())
        elif path in ("/api/models/owner/tagger", "/api/models/owner/tagger/revision/main"):
            siblings = [{"rfilename": name} for name in self.files]
            facts = {"id": "owner/tagger", "sha": COMMIT, "siblings": siblings}
            self._answer(json.dumps(facts).encode())
        elif path.startswith("/api/models/owner/tagger/revision/"):
            self._answer(None, {"X-Error-Code": "RevisionNotFound"})
        else:
            self._answer(None, {"X-Error-Code": "RepoNotFound"})

    def _answer(self, content, headers=None):
        self.send_response(404 if content is None else 200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", root)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", root + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 60)
    yield _Hub
    server.shutdown()
    server.server_close()


def test_fetch_downloads_a_hub_id_once(hub, folder, monkeypatch):
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.files["model.safetensors"] = b"not wanted"
    fetched = tagger.fetch("owner/tagger")
    assert sorted(path.name for path in fetched.iterdir()) == ["model.onnx", "selected_tags.csv"]
    assert Tagger.load(fetched).names == tuple(TAGS)
    assert tagger.fetch("owner/tagger") == fetched


def test_fetch_says_what_the_hub_lacks(hub, folder):
    hub.files = {"selected_tags.csv": (folder / "selected_tags.csv").read_bytes()}
    with pytest.raises(BakeryError, match=r"has no model\.onnx"):
        tagger.fetch("owner/tagger")
    with pytest.raises(BakeryError, match="owner/nothing is no folder here"):
        tagger.fetch("owner/nothing")
    with pytest.raises(BakeryError, match="has no revision v9"):
        tagger.fetch("owner/tagger@v9")


def test_an_unreachable_hub_is_one_sentence(hub, monkeypatch):
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", nobody)
    with pytest.raises(
        BakeryError, match=r"owner/tagger is no folder here.*check the name"
    ) as caught:
        tagger.fetch("owner/tagger")
    assert len(str(caught.value).splitlines()) == 1


def test_threads_are_as_many_as_asked(folder, monkeypatch):
    asked = []
    real = onnxruntime.InferenceSession

    def session(path, options, **rest):
        asked.append(options.intra_op_num_threads)
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    Tagger.load(folder, 3)
    Tagger.load(folder)
    assert asked == [3, 0]  # 0 is onnxruntime's word for all


def test_a_gpu_that_cannot_start_leaves_the_work_to_the_cpu(folder, monkeypatch, caplog):
    claimed = ["ROCMExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)
    real = onnxruntime.InferenceSession

    def session(path, options, providers):
        if providers[0] == "ROCMExecutionProvider":
            raise RuntimeError("no such library")
        return real(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with caplog.at_level(logging.WARNING):
        loaded = Tagger.load(folder)
    assert loaded.provider == "CPUExecutionProvider"
    assert "ROCM could not be started" in caplog.text


def test_the_tiny_tagger_is_what_it_says(tmp_path):
    tiny_tagger(tmp_path, ["a_b"], categories={"a_b": "rating"})
    with (tmp_path / "selected_tags.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"tag_id": "0", "name": "a_b", "category": "9", "count": "1000"}
        ]
    assert math.isclose(probability(0.5), 0.5)
