import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.dataset.buckets import batches_per_epoch, fit, resolutions
from bakery.io.errors import BakeryError
from bakery.settings import config

# kohya's sizes for SD1.5: resolution 512, sides 320 to 960 in steps of 64
SD15 = resolutions(512, 320, 960, 64)

sides = st.integers(min_value=1, max_value=4000)


def test_one_square_cuts_a_page_by_29_percent():
    """768/768/768 of the guide's settings leaves one bucket."""
    (only,) = resolutions(768, 768, 768, 64)
    page = fit((1000, 1414), [only])
    assert (page.resized, page.spare) == ((768, 1086), (0, 318))
    assert page.lost == pytest.approx(0.29, abs=0.005)
    assert fit((768, 768), [only]).lost == 0


def test_golden_buckets():
    tall = {(320, 704), (320, 768), (384, 640), (448, 576), (512, 512)}
    assert set(SD15) == tall | {(h, w) for w, h in tall}
    assert list(SD15) == sorted(SD15)


def test_golden_fit():
    page = fit((1000, 1414), SD15)
    assert (page.bucket, page.resized) == ((448, 576), (448, 633))
    assert page.centre == (0, 28)
    assert page.aspect_error == pytest.approx(448 / 576 - 1000 / 1414)


def test_one_square_when_the_limits_meet_the_resolution():
    assert resolutions(768, 768, 768, 64) == ((768, 768),)
    page = fit((1000, 1414), ((768, 768),))
    assert page.resized == (768, 1086)
    lost = 1 - page.bucket[1] / page.resized[1]
    assert lost == pytest.approx(0.29, abs=0.005)


def test_a_picture_of_a_bucket_size_is_left_alone():
    assert fit((320, 704), SD15).resized == (320, 704)


@pytest.mark.parametrize("limits", [(64, 96, 160, 32), (64, 192, 160, 32)])
def test_resolution_outside_the_limits(limits):
    with pytest.raises(BakeryError, match=r"train\.resolution is 64, outside"):
        resolutions(*limits)


def test_steps_too_large():
    with pytest.raises(BakeryError, match=r"train\.bucket_reso_steps 128"):
        resolutions(96, 64, 160, 128)


@settings(deadline=None)
@given(
    resolution=st.integers(min_value=64, max_value=1024),
    below=st.integers(min_value=0, max_value=512),
    above=st.integers(min_value=0, max_value=1024),
    step=st.sampled_from([8, 16, 32, 64]),
)
def test_buckets_keep_their_promises(resolution, below, above, step):
    low, high = max(step, resolution - below), resolution + above
    if low > resolution:
        return
    try:
        buckets = resolutions(resolution, low, high, step)
    except BakeryError:
        assert resolution < step
        return
    assert {(h, w) for w, h in buckets} == set(buckets)
    for width, height in buckets:
        assert width % step == height % step == 0
        assert width * height <= resolution**2
        assert max(width, height) <= high
        # only the square of the resolution itself may fall below the minimum, by rounding down
        assert min(width, height) >= low or width == height == resolution // step * step


@settings(deadline=None)
@given(width=sides, height=sides)
def test_every_picture_covers_its_bucket(width, height):
    place = fit((width, height), SD15)
    assert place.resized[0] >= place.bucket[0]
    assert place.resized[1] >= place.bucket[1]
    assert place.resized[0] == place.bucket[0] or place.resized[1] == place.bucket[1]
    assert min(place.spare) == 0
    for start, spare in zip(place.centre, place.spare, strict=True):
        assert 0 <= start <= spare - start <= start + 1  # in the middle
    assert 0 <= place.lost < 1
    assert all(
        place.aspect_error <= abs(w / h - width / height) + 1e-12 for w, h in SD15
    )  # the nearest


def test_golden_steps():
    assert batches_per_epoch([130 * 5], 2) == 325
    assert batches_per_epoch([101 * 5, 17 * 5, 12 * 5], 2) == 326


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(min_value=1, max_value=500), min_size=1, max_size=9),
    batch=st.integers(min_value=1, max_value=64),
)
def test_steps_lie_between_one_bucket_and_all_short(counts, batch):
    steps = batches_per_epoch(counts, batch)
    assert math.ceil(sum(counts) / batch) <= steps <= sum(counts) // batch + len(counts)
    assert batches_per_epoch(counts, 1) == sum(counts)


def test_the_config_refuses_what_no_bucket_fits():
    with pytest.raises(
        BakeryError, match=r"config: train resolution 512 is outside min_bucket_reso"
    ):
        config.load({"train": {"resolution": 512}})
    limits = {"min_bucket_reso": 320, "max_bucket_reso": 960, "bucket_reso_steps": 64}
    train = config.load({"train": {"resolution": 512, **limits}}).train
    assert resolutions(512, train.min_bucket_reso, train.max_bucket_reso, 64) == SD15
    assert config.load({"train": {"resolution": 512, "enable_bucket": False}})
