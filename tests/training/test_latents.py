"""Latents: what the VAE sees of a picture, and what is kept of its answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_base import tiny_sd1

from bakery.dataset import repeat_folders
from bakery.dataset.buckets import Fit, fit
from bakery.dataset.repeat_folders import View
from bakery.families import registry
from bakery.families.family import LATENTS
from bakery.io.errors import BakeryError
from bakery.training import latents
from bakery.training.cache import Store

SIZES = ((32, 64), (64, 64))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return registry.load(str(tiny_sd1(tmp_path_factory.mktemp("base"))))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "1_mirael"
    folder.mkdir()
    for i, size in enumerate([(64, 64), (72, 60), (30, 70)]):
        noise = np.random.default_rng(i).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return repeat_folders.arrange(repeat_folders.read_folders(tmp_path), SIZES)


def seen(base, data, store=None, **how):
    return latents.Latents(base, data, store or Store(None), threads=1, **how)


def centred(data, flipped=False):
    return [View(i, *place.centre, flipped) for i, place in enumerate(data.fits)]


def test_latents_lie_in_buckets(base, data):
    kept = seen(base, data)
    kept.prepare(centred(data))
    drawn = [kept.draw(view, 23) for view in centred(data)]
    assert [tuple(x.shape) for x in drawn] == [(4, 8, 8), (4, 8, 8), (4, 8, 4)]
    assert all(x.dtype == torch.float32 for x in drawn)
    again = seen(base, data)
    again.prepare(centred(data))
    assert all(torch.equal(x, again.draw(v, 23)) for x, v in zip(drawn, centred(data), strict=True))
    assert not torch.equal(drawn[0], again.draw(centred(data)[0], 24))


def test_what_is_kept_lies_in_one_block_a_bucket(base, data):
    """Kept one by one it would hold the heap apart (`latents._room`)."""
    kept = seen(base, data)
    kept.prepare(centred(data) + centred(data, flipped=True))
    means = [moments.mean for moments in kept._moments.values()]
    blocks = {mean.untyped_storage().data_ptr() for mean in means}
    assert (len(means), len(blocks)) == (6, 2)


@torch.no_grad()
def test_a_latent_is_a_scaled_draw_of_the_vae(base, data):
    kept = seen(base, data)
    view = centred(data)[0]
    kept.prepare([view])
    place = data.fits[0]
    pixels = latents.picture(data.items[0].image, place, place.centre)
    base.need(LATENTS)
    spread = base.vae.encode(pixels[None]).latent_dist
    draws = torch.stack([kept.draw(view, seed) for seed in range(20)])
    deviation = (draws / 0.5 - spread.mean[0]) / spread.std[0]  # 0.5: tiny_sd1's scaling factor
    assert abs(deviation.mean()) < 0.1
    assert abs(deviation.std() - 1) < 0.1


@pytest.mark.parametrize("workers", [0, 3])
def test_a_hit_gives_what_a_miss_gave(base, data, tmp_path, workers):
    views = centred(data) + centred(data, flipped=True) + [View(1, 3, 0)]
    first = seen(base, data, Store(tmp_path / "cache"), workers=workers)
    first.prepare(views)
    second = seen(base, data, Store(tmp_path / "cache"))
    second.prepare(views)
    assert (first.store.misses, second.store.hits, second.store.misses) == (7, 7, 0)
    plain = seen(base, data)
    plain.prepare(views)
    for view in views:
        assert torch.equal(first.draw(view, 5), second.draw(view, 5))
        assert torch.equal(first.draw(view, 5), plain.draw(view, 5))


def test_other_pictures_and_other_threads_are_other_entries(base, data, tmp_path):
    store = Store(tmp_path / "cache")
    seen(base, data, store).prepare(centred(data)[:1])
    latents.Latents(base, data, store, threads=2).prepare(centred(data)[:1])
    Image.new("RGB", (64, 64)).save(data.items[0].image)
    seen(base, data, store).prepare(centred(data)[:1])
    assert (store.hits, store.misses) == (0, 3)


def test_crops_and_flips_are_encoded_on_their_own(base, data):
    kept = seen(base, data)
    left, right, mirrored = View(1, 0, 0), View(1, 12, 0), View(1, 0, 0, True)
    kept.prepare([left, right, mirrored])
    drawn = [kept.draw(view, 1) for view in (left, right, mirrored)]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    kept.prepare([right], forget=True)
    assert set(kept._moments) == {right}
    assert torch.equal(kept.draw(right, 1), drawn[1])


class BrokenVAE(torch.nn.Module):
    dtype = torch.float32

    def __init__(self, vae):
        super().__init__()
        self.vae, self.config = vae, vae.config

    def encode(self, pixels):
        return self.vae.encode(pixels * torch.nan)


def test_a_vae_that_gives_nan_is_told_with_the_picture(base, data):
    base.need(LATENTS)
    broken = replace(base, vae=BrokenVAE(base.vae))
    with pytest.raises(BakeryError, match=r"0\.png into NaN: set mixed_precision"):
        seen(broken, data).prepare(centred(data)[:1])


def test_workers_are_capped_and_kept_if_asked(base, data):
    kept = seen(base, data, workers=10_000, persistent=True)
    kept.prepare(centred(data))
    assert 1 <= kept.workers < 10_000
    pool = kept._pool
    kept.prepare(centred(data, flipped=True))
    assert kept._pool is pool is not None
    assert seen(base, data, workers=1)._pool is None
    pool.shutdown()


def test_pixels_are_cropped_where_asked(tmp_path):
    stripes = np.zeros((60, 100, 3), dtype=np.uint8)
    stripes[:, 20:80] = 255  # only the margins to be cropped are black
    stripes[:, 30:40] = 128
    Image.fromarray(stripes).save(tmp_path / "x.png")
    place = Fit((30, 30), (50, 30), 0.0)
    pixels = latents.picture(tmp_path / "x.png", place, place.centre)
    assert pixels.shape == (3, 30, 30)
    assert (pixels.min(), pixels.max()) == (pytest.approx(128 / 127.5 - 1, abs=1e-3), 1.0)
    assert latents.picture(tmp_path / "x.png", place, (0, 0)).min() == -1.0
    mirrored = latents.picture(tmp_path / "x.png", place, place.centre, flipped=True)
    assert torch.equal(mirrored, pixels.flip(2))
    assert not torch.equal(mirrored, pixels)


@pytest.mark.parametrize(("side", "overshoots"), [(32, False), (128, True)])
def test_area_to_shrink_and_lanczos_to_enlarge(tmp_path, side, overshoots):
    """Only Lanczos rings at an edge."""
    edge = np.full((64, 64, 3), 60, dtype=np.uint8)
    edge[:, 32:] = 190
    Image.fromarray(edge).save(tmp_path / "x.png")
    place = fit((64, 64), [(side, side)])
    levels = (latents.picture(tmp_path / "x.png", place, (0, 0)) + 1) * 127.5
    assert (levels.min() < 58) == overshoots
    assert (levels.max() > 192) == overshoots
