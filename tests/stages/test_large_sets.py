"""Large sets: pictures do not gather in memory, and pages stay small enough to be opened.

What is counted are pictures that are alive at once, which says the same for 8 of them as for 10,000.
"""

from __future__ import annotations

import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_samples import PICTURES, TAGS, sample_stage, stages
from PIL import Image
from tiny_base import tiny_sd1
from tiny_tagger import tiny_tagger

from bakery.dataset import repeat_folders
from bakery.dataset.repeat_folders import View
from bakery.families import registry
from bakery.pages import contact_sheet
from bakery.settings.filter import Filter
from bakery.settings.score import Score
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.stages import filter, score
from bakery.training import latents
from bakery.training.cache import Store
from bakery.vision import duplicates


def noise(seed: int, side: int = 64) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def most_alive(monkeypatch: pytest.MonkeyPatch):
    """How many small copies were alive at once."""
    made: list[weakref.ref[Image.Image]] = []
    counts = [0]
    prepare = duplicates.prepare

    def counted(image: Image.Image) -> Image.Image:
        small = prepare(image)
        made.append(weakref.ref(small))
        counts.append(sum(one() is not None for one in made))
        return small

    monkeypatch.setattr(duplicates, "prepare", counted)
    return lambda: max(counts)


def test_the_filter_holds_no_pictures_but_the_one_it_measures(tmp_path: Path, most_alive) -> None:
    (tmp_path / "images").mkdir()
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        noise(number // 2).save(tmp_path / "images" / name)  # in pairs
    posts.write(tmp_path / "posts.csv", [Post(image=name, status="ok") for name in names])
    made = filter.run(Filter(min_side=32, max_blur=1), scrape=tmp_path, out=tmp_path / "out")
    assert made["reasons"]["duplicate"] == 4, "pictures in a spool are compared as others are"
    assert most_alive() <= 2
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"decisions.csv", "untagged.json", "contact_sheet.html", "contact_sheet.jpg"}


def test_the_score_holds_its_samples_and_no_training_pictures(tmp_path: Path, most_alive) -> None:
    model = tmp_path / "tagger"
    tiny_tagger(model, TAGS)
    shots = [(epoch, "p", "identity", "", 1, {"pink hair": 0.9}) for epoch in (0, 1)]
    folder = sample_stage(tmp_path / "sample", shots)
    above = score.InputFolders(folder, **stages(tmp_path))
    score.run(Score(), above, out=tmp_path / "out", model=model, threads=1)
    assert most_alive() <= len(shots) + 2 < len(shots) + len(PICTURES)


def test_a_shelf_gives_back_what_was_put_on_it(tmp_path: Path) -> None:
    small = [duplicates.prepare(noise(number)) for number in range(5)]
    with duplicates.Spool(tmp_path) as spool:
        for picture in small:
            spool.append(picture)
        assert len(spool) == 5
        assert list(spool) == small
        assert spool[3] == small[3], "in any order"
        spool.append(small[0])
        assert spool[5] == small[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_latents_keep_no_draws(tmp_path: Path) -> None:
    """A sweep would keep one for each picture and seed; each is the same when drawn again."""
    (tmp_path / "1_mirael").mkdir()
    noise(1).save(tmp_path / "1_mirael" / "a.png")
    data = repeat_folders.arrange(repeat_folders.read_folders(tmp_path), ((64, 64),))
    kept = latents.Latents(
        registry.load(str(tiny_sd1(tmp_path / "base"))), data, Store(None), threads=1
    )
    view = View(0, *data.fits[0].centre, False)
    kept.prepare([view])
    first = kept.draw(view, 23)
    numbers, gone = first.tolist(), weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    assert kept.draw(view, 23).tolist() == numbers


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_thumbnails_of_more_pictures_are_no_finer(one: int, other: int) -> None:
    few, many = (contact_sheet.coding(number) for number in sorted((one, other)))
    assert all(a >= b for a, b in zip(few, many, strict=True))


def test_a_contact_sheet_of_ten_thousand_pictures_can_be_opened() -> None:
    """A drawing with more detail than most, so that 10,000 of them are an upper bound."""
    picture = noise(3, side=512)
    sizes = {}
    for count in (100, 10_000):
        small = contact_sheet.thumbnail(picture, contact_sheet.coding(count))
        sizes[count] = len(small) * 4 / 3 * count
        with Image.open(io.BytesIO(small)) as shown:
            assert shown.format == "WEBP"
            assert max(shown.size) >= 96
    assert sizes[10_000] < 40e6
