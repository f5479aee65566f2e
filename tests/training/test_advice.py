"""What a bake tells its baker in time."""

import pytest
import torch
from PIL import Image

from bakery.dataset import buckets, repeat_folders
from bakery.io.errors import BakeryError
from bakery.settings.train import Train
from bakery.training import advice


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_advice(error):
    settings = Train(train_batch_size=2, resolution=160, network_dim=4)
    with (
        pytest.raises(BakeryError) as told,
        advice.out_of_memory(settings, advice.MemoryMeter("cpu")),
    ):
        raise error
    for word in ("train_batch_size (2", "resolution (160)", "network_dim (4)", "mixed_precision",
                 "gradient_checkpointing"):  # fmt: skip
        assert word in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_other_errors_are_not_called_memory():
    meter = advice.MemoryMeter("cpu")
    with pytest.raises(RuntimeError, match="something else"), advice.out_of_memory(Train(), meter):
        raise RuntimeError("something else")


def test_what_a_smaller_batch_would_need():
    """5 GiB rest, a batch of 8 took 12 more: 1.5 a picture."""
    settings = Train(train_batch_size=8, mixed_precision="bf16", gradient_checkpointing=True)
    assert advice.memory_sentence(settings, 5.0, 17.0, 16.0) == (
        "out of memory: a batch of 8 needs more than 17.0 GiB of 16.0: lower train_batch_size "
        "(8: 4 about 11.0 GiB, 1 about 6.5 GiB), resolution (128) or network_dim (16)"
    )
    single = advice.memory_sentence(Train(train_batch_size=1), 5.0, 17.0)
    assert "train_batch_size" not in single
    assert "gradient_checkpointing" in single


def test_the_meter_reckons_with_what_learning_will_take():
    meter = advice.MemoryMeter("cpu")
    meter.rest([])
    bare = meter.resting
    meter.rest([torch.nn.Parameter(torch.zeros(2**20))])  # 4 MiB: gradient, two moments
    assert meter.resting == pytest.approx(bare + 12 / 1024, abs=0.02)
    assert meter.total() is None


@pytest.mark.parametrize(
    ("message", "gib"),
    [
        ("Tried to allocate 2.50 GiB. GPU 0", 2.5),
        ("Tried to allocate 512.00 MiB", 0.5),
        ("you tried to allocate 1073741824 bytes", 1.0),
        ("no number", 0.0),
    ],
)
def test_what_an_allocator_was_asked_for(message, gib):
    assert advice._asked_gib(message) == gib


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shuffle_caption": False, "keep_tokens": 2}, True),
        ({"shuffle_caption": False, "keep_tokens": 0}, False),
        ({"shuffle_caption": True, "keep_tokens": 2}, False),
        ({"shuffle_caption": False, "keep_tokens": 2, "caption_tag_dropout_rate": 0.1}, False),
    ],
)
def test_keep_tokens_without_anything_to_keep_from(changes, told, caplog):
    advice.about_settings(Train(**changes))
    assert ("keep_tokens 2 does nothing" in caplog.text) == told


def pages(tmp_path, sizes):
    folder = tmp_path / "1_mirael"
    folder.mkdir()
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{i}.png")
    return repeat_folders.read_folders(tmp_path)


def test_one_square_bucket_is_told_with_its_price(tmp_path, caplog):
    """768/768/768 cuts a 1000x1414 page by 29%."""
    folders = pages(tmp_path, [(1000, 1414), (768, 768)])
    settings = Train(resolution=768, min_bucket_reso=768, max_bucket_reso=768, bucket_reso_steps=64)
    data = repeat_folders.arrange(folders, buckets.resolutions(768, 768, 768, 64))
    figures = advice.about_pictures(settings, folders, data)
    assert figures == {"mean": 0.1464, "worst": 0.2928}
    assert (
        "cropping removes 15% of the pixels, 29% of 0.png: min_bucket_reso 768 and "
        "max_bucket_reso 768 leave 1 size; wider limits lose less" in caplog.text
    )


def test_a_picture_that_nearly_vanishes_is_named(tmp_path, caplog):
    folders = pages(tmp_path, [(64, 64)] * 9 + [(20, 400)])
    data = repeat_folders.arrange(folders, buckets.resolutions(64, 48, 96, 16))
    figures = advice.about_pictures(Train(), folders, data)
    assert figures["worst"] > 0.8
    assert "of 9.png" in caplog.text


def test_well_fitting_pictures_are_no_news(tmp_path, caplog):
    folders = pages(tmp_path, [(64, 64), (128, 128)])
    data = repeat_folders.arrange(folders, buckets.resolutions(64, 48, 96, 16))
    assert advice.about_pictures(Train(), folders, data) == {"mean": 0.0, "worst": 0.0}
    assert caplog.text == ""
