from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_base import tiny_sd1

from bakery import base as bases
from bakery import dataset
from bakery.buckets import Fit, fit, resolutions
from bakery.errors import BakeryError

SIZES = resolutions(64, 32, 96, 32)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return bases.load(str(tiny_sd1(tmp_path_factory.mktemp("base"))))


def draw(path, size=(64, 64), colour=(200, 30, 90)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def layout(tmp_path):
    """Two repeat folders, one folder that is none, and files that are no pictures."""
    for i, size in enumerate([(64, 64), (70, 60), (40, 96)]):
        draw(tmp_path / "5_mirael" / f"{i}.png", size)
        (tmp_path / "5_mirael" / f"{i}.txt").write_text(f"mirael, Smile, tag {i}\n")
    draw(tmp_path / "2_mirael 1girl" / "a.JPG")
    draw(tmp_path / "2_mirael 1girl" / "b.webp")
    (tmp_path / "2_mirael 1girl" / "b.caption").write_text("mirael,\nsmile\n", encoding="utf-8-sig")
    draw(tmp_path / "sketches" / "x.png")
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "5_mirael" / "3.gif").write_bytes(b"GIF89a")
    return tmp_path


def test_repeat_folders(layout):
    found = dataset.read(layout)
    assert found.ignored == ("5_mirael/3.gif", "sketches")
    assert [(i.image.name, i.folder, i.repeats) for i in found.items] == [
        ("a.JPG", "2_mirael 1girl", 2),
        ("b.webp", "2_mirael 1girl", 2),
        ("0.png", "5_mirael", 5),
        ("1.png", "5_mirael", 5),
        ("2.png", "5_mirael", 5),
    ]
    assert [i.caption for i in found.items[:3]] == [
        "mirael 1girl",  # no caption: class tokens
        "mirael, smile",
        "mirael, Smile, tag 0",
    ]


def test_facts_for_the_metadata(layout):
    found = dataset.read(layout)
    assert found.directories() == {
        "2_mirael 1girl": {"n_repeats": 2, "img_count": 2},
        "5_mirael": {"n_repeats": 5, "img_count": 3},
    }
    frequency = found.tag_frequency()  # once a picture, not once a repeat
    assert frequency["5_mirael"] == {"mirael": 3, "smile": 3, "tag 0": 1, "tag 1": 1, "tag 2": 1}
    assert frequency["2_mirael 1girl"] == {"mirael 1girl": 1, "mirael": 1, "smile": 1}


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(BakeryError, match="there is no dataset folder"):
        dataset.read(tmp_path / "nowhere")
    (tmp_path / "5_empty").mkdir()
    draw(tmp_path / "0_never" / "a.png")
    draw(tmp_path / "top.png")
    with pytest.raises(BakeryError, match="has no pictures in a folder named <repeats>_<name>"):
        dataset.read(tmp_path)


def test_two_pictures_of_one_caption(layout):
    draw(layout / "5_mirael" / "0.jpg")
    with pytest.raises(BakeryError, match=r"0\.jpg and 0\.png share one caption file"):
        dataset.read(layout)


def test_caption_in_another_encoding(layout):
    (layout / "5_mirael" / "1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BakeryError, match=r"1\.txt is not UTF-8"):
        dataset.read(layout)


def test_broken_picture_is_named(layout, base):
    (layout / "5_mirael" / "1.png").write_bytes(b"nothing")
    with pytest.raises(BakeryError, match=r"1\.png"):
        dataset.encode(dataset.read(layout), SIZES, base, 23)


def test_latents_lie_in_buckets(layout, base):
    data = dataset.encode(dataset.read(layout), SIZES, base, 23)
    assert [place.bucket for place in data.fits] == [(64, 64)] * 4 + [(32, 96)]
    assert data.bucket_counts() == {(32, 96): 5, (64, 64): 14}
    assert [tuple(latent.shape) for latent in data.latents] == [(4, 8, 8)] * 4 + [(4, 12, 4)]
    assert all(latent.dtype == torch.float32 for latent in data.latents)
    again = dataset.encode(dataset.read(layout), SIZES, base, 23)
    other = dataset.encode(dataset.read(layout), SIZES, base, 24)
    assert all(map(torch.equal, data.latents, again.latents))
    assert not torch.equal(data.latents[0], other.latents[0])


@torch.no_grad()
def test_a_latent_is_a_scaled_draw_of_the_vae(layout, base):
    folders = dataset.read(layout)
    pixels = dataset.picture(folders.items[2].image, fit((64, 64), SIZES))[None]
    spread = base.vae.encode(pixels).latent_dist
    draws = torch.stack(
        [dataset.encode(folders, SIZES, base, seed).latents[2] for seed in range(20)]
    )
    deviation = (draws / 0.5 - spread.mean[0]) / spread.std[0]  # 0.5: tiny_sd1's scaling factor
    assert abs(deviation.mean()) < 0.1
    assert abs(deviation.std() - 1) < 0.1


def test_pixels_are_cropped_around_the_centre(tmp_path):
    stripes = np.zeros((60, 100, 3), dtype=np.uint8)
    stripes[:, 20:80] = 255  # only the margins to be cropped are black
    Image.fromarray(stripes).save(tmp_path / "x.png")
    pixels = dataset.picture(tmp_path / "x.png", Fit((30, 30), (50, 30), 0.0))
    assert pixels.shape == (3, 30, 30)
    assert pixels.min() == pixels.max() == 1.0


@pytest.mark.parametrize(("side", "overshoots"), [(32, False), (128, True)])
def test_area_to_shrink_and_lanczos_to_enlarge(tmp_path, side, overshoots):
    """Only Lanczos rings at an edge."""
    edge = np.full((64, 64, 3), 60, dtype=np.uint8)
    edge[:, 32:] = 190
    Image.fromarray(edge).save(tmp_path / "x.png")
    pixels = dataset.picture(tmp_path / "x.png", Fit((side, side), (side, side), 0.0))
    levels = (pixels + 1) * 127.5
    assert (levels.min() < 58) == overshoots
    assert (levels.max() > 192) == overshoots


def pictures(repeats, buckets):
    items = tuple(dataset.Item(None, "f", "", r) for r in repeats)
    fits = tuple(Fit((64, 32 * b), (64, 32 * b), 0.0) for b in buckets)
    return dataset.Dataset(items, fits, ())


@settings(deadline=None)
@given(
    shown=st.lists(
        st.tuples(st.integers(min_value=1, max_value=6), st.integers(min_value=1, max_value=3)),
        min_size=1,
        max_size=20,
    ),
    batch=st.integers(min_value=1, max_value=7),
    seed=st.integers(min_value=0, max_value=9),
)
def test_an_epoch_shows_each_picture_as_often_as_it_repeats(shown, batch, seed):
    repeats, buckets = zip(*shown, strict=True)
    data = pictures(repeats, buckets)
    batches = data.batches(batch, seed, 1)
    assert Counter(i for b in batches for i in b) == dict(enumerate(repeats))
    assert len(batches) == data.steps_per_epoch(batch)
    assert all(1 <= len(b) <= batch for b in batches)
    assert all(len({buckets[i] for i in b}) == 1 for b in batches)
    assert batches == data.batches(batch, seed, 1)


def test_epochs_differ():
    data = pictures([1] * 30, [1] * 30)
    orders = [data.batches(4, 23, epoch) for epoch in (1, 2)] + [data.batches(4, 24, 1)]
    assert len({str(order) for order in orders}) == 3
