"""The search for near hashes finds what comparing all with all finds."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bakery.vision import hashes


def by_brute_force(table, queries, distance) -> list[tuple[int, int]]:
    apart = np.bitwise_count(queries[:, None] ^ table[None])
    return list(zip(*(side.tolist() for side in np.nonzero(apart <= distance)), strict=True))


def found(table, queries, distance) -> list[tuple[int, int]]:
    return list(
        zip(*(side.tolist() for side in hashes.near(table, queries, distance)), strict=True)
    )


def crowd(seed: int, size: int, shared: int) -> np.ndarray:
    """Hashes of which `shared` bits are the same in all, many of them near each other."""
    rng = np.random.default_rng(seed)
    free = ~np.uint64(0) << np.uint64(shared) if shared < 64 else np.uint64(0)
    table = rng.integers(0, 2**64, size, dtype=np.uint64) & free
    flips = np.uint64(1) << rng.integers(0, 64, (size // 2, 4), dtype=np.uint64)
    table[: size // 2] = table[size // 2 :][: size // 2] ^ np.bitwise_or.reduce(flips, axis=1)
    return table


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shared=st.sampled_from([0, 20, 50, 60]),
    distance=st.integers(0, 40),
    bands=st.sampled_from([None, 0, 5, 7, 16, 64]),
)
def test_the_search_is_exact_for_every_cut_into_bands(seed, shared, distance, bands):
    table, queries = crowd(seed, 60, shared), crowd(seed + 1, 40, shared)
    queries[:10] = table[:10]
    with pytest.MonkeyPatch.context() as patch:
        if bands is not None:
            patch.setattr(hashes, "_bands", lambda size, distance, telling: min(bands, telling))
        patch.setattr(hashes, "_MOST", 300)  # so that the pieces are cut, too
        assert found(table, queries, distance) == by_brute_force(table, queries, distance)


def test_large_tables_are_cut_into_bands_and_searched_exactly():
    rng = np.random.default_rng(5)
    table = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    table[:200] = table[200:400] ^ np.uint64(0b10110)
    assert hashes._bands(len(table), 6, 64) > 0
    pairs = found(table, table[:400], 6)
    assert pairs == by_brute_force(table, table[:400], 6)
    assert len(pairs) >= 800


def test_bits_that_all_share_are_in_no_band():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2**40, 5000, dtype=np.uint64)  # 24 bits are 0
    table[:10] |= np.uint64(1 << 50)  # and one is nearly always
    assert sorted(hashes._telling(table)) == list(range(40))
    assert hashes._telling(np.full(9, 7, np.uint64)) == []
    assert found(table, table[:50], 4) == by_brute_force(table, table[:50], 4)


def test_nothing_is_near_nothing():
    nothing, some = np.zeros(0, np.uint64), np.ones(3, np.uint64)
    for table, queries in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert found(table, queries, 6) == []


def test_hashes_are_those_of_imagehash():
    rng = np.random.default_rng(3)
    for _ in range(10):
        image = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).resize((90, 70))
        small = image.resize((32, 32), Image.Resampling.LANCZOS)
        expected = int(str(imagehash.phash(image)), 16)
        assert int(hashes.perceptual(np.asarray(small, np.float64))) == expected
