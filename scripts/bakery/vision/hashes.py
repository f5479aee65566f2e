"""64-bit perceptual hashes, and an exact search for those that are near each other.

`perceptual` is the hash of Zauner, "Implementation and benchmarking of perceptual image hash
functions" (2010), as in the package imagehash: the 8 x 8 lowest frequencies of a 32 x 32 grey
copy, each above the median or not.

`near` is the multi-index hashing of Norouzi, Punjani and Fleet, "Fast search in Hamming space with
multi-index hashing" (CVPR 2012). Cut 64 bits into m bands: of two hashes at most d bits apart, some
band differs in at most d // m bits. So each band of the one is looked up, with up to that many bits
flipped, in a table of that band of the others; whatever meets there is compared in full. The search
is exact for any cut, and for one that leaves bits out. So bits that (nearly) all hashes share, those
of a common border, say, are left out, because a band of them would bring every hash to every other;
the rest is dealt out by how evenly the bits fall. The fewer bits tell hashes apart, the fuller the
buckets: where most are shared, the search nears the cost of comparing all with all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft

BITS = 64
SIDE = 32
"""Pixels a side of the grey copy that is hashed."""
_LOW = 8
_MOST = 1 << 19  # pairs held at once, so that memory stays bounded: 25 MB
_UNEVEN = 0.49  # a bit that 99% share distinguishes almost nothing
_WIDEST = 20  # bits of a band; a table of it has 2**20 entries


def perceptual(pixels: np.ndarray) -> np.ndarray:
    """uint64 hashes (...,) of grey pixels (..., 32, 32)."""
    return of_frequencies(fft.dctn(pixels, axes=(-2, -1))[..., :_LOW, :_LOW])


def of_frequencies(low: np.ndarray) -> np.ndarray:
    """uint64 hashes (...,) of the lowest frequencies (..., 8, 8)."""
    flat = low.reshape(*low.shape[:-2], BITS)
    above = flat > np.median(flat, axis=-1, keepdims=True)
    return np.packbits(above, axis=-1).view(">u8")[..., 0].astype(np.uint64)


def near(table: np.ndarray, queries: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of `queries` (Q,) and `table` (N,), both uint64, at most `distance` bits apart.

    Gives the indices into `queries` and into `table`, sorted, each pair once.
    """
    if not len(table) or not len(queries):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    telling = _telling(table)
    if bands := _bands(len(table), distance, len(telling)):
        cut = [telling[number::bands] for number in range(bands)]
        search = _banded(table, queries, distance, cut)
    else:
        search = _all(table, queries)
    found = []
    for left, right in search:
        close = np.bitwise_count(queries[left] ^ table[right]) <= distance
        found.append(left[close] * len(table) + right[close])
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return pairs // len(table), pairs % len(table)


def _bands(size: int, distance: int, telling: int) -> int:
    """The number of bands with the fewest steps per query; 0 to compare with every hash."""
    best, choice = float(size), 0
    for bands in range(1, telling + 1):
        width, flips = math.ceil(telling / bands), distance // bands
        if width > _WIDEST or flips >= width:
            continue
        probes = bands * sum(math.comb(width, flipped) for flipped in range(flips + 1))
        steps = probes * (4 + 2 * size / 2**width)
        if steps < best:
            best, choice = steps, bands
    return choice


def _telling(table: np.ndarray) -> list[int]:
    """The bits that distinguish hashes, those that split `table` most evenly first."""
    shares = [((table >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(BITS)]
    uneven = {bit: abs(share - 0.5) for bit, share in enumerate(shares)}
    return sorted((bit for bit in uneven if uneven[bit] < _UNEVEN), key=uneven.__getitem__)


def _band(hashes: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """The given bits side by side, as int64 (N,)."""
    values = np.zeros(len(hashes), np.int64)
    for place, bit in enumerate(bits):
        values |= ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << place
    return values


def _banded(
    table: np.ndarray, queries: np.ndarray, distance: int, bands: Sequence[Sequence[int]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices that meet in a band (its bits) with few enough of them flipped."""
    for bits in bands:
        values = _band(table, bits)
        members = np.argsort(values, kind="stable")
        starts = np.zeros(2 ** len(bits) + 1, np.int64)
        np.cumsum(np.bincount(values, minlength=2 ** len(bits)), out=starts[1:])
        looked = _band(queries, bits)
        for flipped in range(distance // len(bands) + 1):
            for places in itertools.combinations(range(len(bits)), flipped):
                keys = looked ^ sum(1 << place for place in places)
                yield from _ragged(starts[keys], starts[keys + 1], members)


def _ragged(
    first: np.ndarray, last: np.ndarray, members: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(i, members[k]) for every i and every k of first[i] .. last[i], in bounded pieces."""
    hit = np.flatnonzero(last > first)
    ends = np.cumsum(last[hit] - first[hit])
    done = 0
    while done < len(hit):
        base = ends[done - 1] if done else 0
        stop = max(done + 1, int(np.searchsorted(ends, base + _MOST, "right")))
        part = hit[done:stop]
        counts = last[part] - first[part]
        offset = np.repeat(first[part] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        yield np.repeat(part, counts), members[offset + np.arange(len(offset))]
        done = stop


def _all(table: np.ndarray, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of indices, in bounded pieces."""
    size = max(1, _MOST // len(table))
    everyone = np.arange(len(table))
    for start in range(0, len(queries), size):
        some = np.arange(start, min(start + size, len(queries)))
        yield np.repeat(some, len(table)), np.tile(everyone, len(some))
