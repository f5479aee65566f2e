"""OpenCV's cascades as face detectors, with a tiny cascade of the tests' own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from documents import ROOT
from PIL import Image
from tiny_cascade import spots, tiny_cascade

from bakery.dataset import details
from bakery.graph import build
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.config import load
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.stages import filter
from bakery.vision import cascade, critics
from bakery.vision.cascade import Cascade

PLACES = {"none.png": (), "one.png": ((60, 60),), "two.png": ((60, 60), (150, 60))}
SIZE = (220, 120)


@pytest.fixture
def opencv():
    return pytest.importorskip("cv2", reason=f"needs pip install '{cascade.REQUIREMENT}'")


@pytest.mark.usefixtures("opencv")
def test_a_cascade_finds_each_face_where_it_is(tmp_path):
    model = Cascade(tiny_cascade(tmp_path / "faces.xml"))
    for middles in PLACES.values():
        boxes = model.look(spots(SIZE, *middles))
        assert boxes.shape == (len(middles), 4)
        for (x, y), (left, upper, right, lower) in zip(middles, boxes.tolist(), strict=True):
            assert 0 <= left < x < right <= SIZE[0]
            assert 0 <= upper < y < lower <= SIZE[1]
            assert abs((left + right) / 2 - x) < 4
            assert abs((upper + lower) / 2 - y) < 4
    assert model.look(Image.new("RGB", (8, 8))).shape == (0, 4), "smaller than the cascade's window"


@pytest.mark.usefixtures("opencv")
def test_a_cascade_gives_the_same_boxes_each_time(tmp_path):
    path = tiny_cascade(tmp_path / "faces.xml")
    many = spots((600, 400), *((x, y) for x in (100, 300, 500) for y in (100, 300)))
    first = Cascade(path).look(many)
    assert len(first) == 6
    for _ in range(3):
        np.testing.assert_array_equal(Cascade(path).look(many), first)


@pytest.mark.usefixtures("opencv")
def test_light_and_contrast_make_no_difference(tmp_path):
    """The grey values are equalised."""
    model = Cascade(tiny_cascade(tmp_path / "faces.xml"))
    picture = spots(SIZE, (60, 60), (150, 60))
    faint = picture.point(lambda value: 100 + value // 8)
    np.testing.assert_array_equal(model.look(faint), model.look(picture))


def test_the_smallest_face_grows_with_the_picture():
    assert cascade.smallest_face((300, 900)) == cascade.smallest_face((512, 512)) == 24
    assert cascade.smallest_face((1024, 4000)) == 48
    assert cascade.smallest_face((4096, 4096)) == 192


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize(
    "content",
    ["", "<html>not found", '<?xml version="1.0"?>\n<opencv_storage><a>1</a></opencv_storage>'],
)
def test_a_file_that_is_no_cascade_is_one_sentence(tmp_path, content):
    path = tmp_path / "faces.xml"
    path.write_text(content)
    with pytest.raises(
        BakeryError, match=r"faces\.xml cannot be loaded as an OpenCV cascade"
    ) as caught:
        Cascade(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (None, r"which is not installed: pip install 'opencv-python-headless<5'"),
        (
            SimpleNamespace(__version__="5.0.0"),
            r"OpenCV 5\.0\.0 has no cascades any more: pip install",
        ),
    ],
)
def test_without_opencv_4_one_sentence_says_what_to_install(tmp_path, monkeypatch, module, says):
    monkeypatch.setitem(sys.modules, "cv2", module)
    with pytest.raises(BakeryError, match=says):
        Cascade(tiny_cascade(tmp_path / "faces.xml"))


def scraped(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir(parents=True)
    for name, middles in PLACES.items():
        spots(SIZE, *middles).save(tmp_path / "images" / name)
    rows = [Post(image=name, status="ok", tags_general="1girl") for name in PLACES]
    posts.write(tmp_path / "posts.csv", rows)
    return tmp_path


def settings(**model):
    raw = {"path": "faces.xml", "kind": "face_count", "min": 1, "max": 1} | model
    return load({"filter": {"max_blur": 1, "duplicate_distance": -1, "models": [raw]}}).filter


@pytest.mark.usefixtures("opencv")
def test_a_cascade_counts_faces_and_leaves_boxes(tmp_path):
    path = tiny_cascade(tmp_path / "faces.xml")
    filter.run(settings(), scrape=scraped(tmp_path / "scrape"), out=tmp_path / "out", models=[path])
    table = tables.read(tmp_path / "out" / "decisions.csv", filter.COLUMNS).set_index("image")
    assert table["reasons"].to_dict() == {
        "none.png": "face_count", "one.png": "", "two.png": "face_count",
    }  # fmt: skip
    assert table["detail"].tolist() == ["face_count 0", "face_count 1", "face_count 2"]
    boxes = tables.read(tmp_path / "out" / "boxes.csv", details.BOX_COLUMNS)
    assert boxes["image"].tolist() == ["one.png", "two.png", "two.png"]
    assert set(boxes["tag"]) == {"face"}
    one = details.read_found(tmp_path / "out")["one.png", "face"]
    assert one[0] < 60 < one[2]
    assert one[1] < 60 < one[3]


@pytest.mark.usefixtures("opencv")
def test_no_model_for_faces_leaves_no_boxes(tmp_path):
    off = load({"filter": {"max_blur": 1, "duplicate_distance": -1}}).filter
    filter.run(off, scrape=scraped(tmp_path / "scrape"), out=tmp_path / "out")
    assert not (tmp_path / "out" / "boxes.csv").exists()
    assert details.read_found(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {"kind": "aesthetic"},
            "models.0 has an .xml file, an OpenCV cascade, but is of the kind aes",
        ),
        (
            {"path": "F.XML", "side": 64},
            "has an .xml file, for which side does nothing: leave it out",
        ),
        ({"confidence": 0.5}, "for which confidence does nothing"),
    ],
)
def test_settings_that_do_nothing_for_a_cascade_are_refused(model, says):
    with pytest.raises(BakeryError, match=says):
        settings(**model)


def test_a_cascade_counts_by_its_content(tmp_path):
    raw = {"filter": {"models": [{"path": "models/faces.xml", "kind": "face_count", "max": 1}]}}
    with pytest.raises(BakeryError, match=r"names models/faces\.xml, which does not exist"):
        build.build(load(raw), [tmp_path, ROOT])
    (tmp_path / "models").mkdir()
    path = tiny_cascade(tmp_path / "models" / "faces.xml")
    (before,) = build.build(load(raw), [tmp_path, ROOT]).of("filter")
    path.write_text(path.read_text().replace("0.5", "0.4"))
    (after,) = build.build(load(raw), [tmp_path, ROOT]).of("filter")
    assert before.key != after.key


def test_an_onnx_models_boxes_are_in_pixels_of_the_picture():
    """The model sees the picture in the centre of a white square."""
    answer = np.float32([[32, 24, 16, 8, 0.9], [8, 8, 4, 4, 0.1]]).T  # in an input of 64 pixels
    model = SimpleNamespace(look=lambda image: answer, side=64)
    wide = critics.FaceDetector(model, 0.3).look(Image.new("RGB", (128, 64)))
    assert wide.tolist() == [[48, 40 - 32, 80, 56 - 32]]
    tall = critics.FaceDetector(model, 0.3).look(Image.new("RGB", (64, 128)))
    assert tall.tolist() == [[48 - 32, 40, 80 - 32, 56]]
    assert critics.FaceDetector(model, 0.95).look(Image.new("RGB", (64, 64))).shape == (0, 4)
