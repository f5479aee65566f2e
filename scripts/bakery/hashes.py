"""64-bit perceptual hashes, and an exact search for those that are near each other.

`perceptual` is the hash of Zauner, "Implementation and benchmarking of perceptual image hash
functions" (2010), as the package imagehash has it: the 8 x 8 lowest frequencies of a 32 x 32 grey
copy, each above the median or not.

`near` is the multi-index hashing of Norouzi, Punjani and Fleet, "Fast search in Hamming space with
multi-index hashing" (CVPR 2012). Cut 64 bits into m bands: of two hashes at most d bits apart, some
band differs in at most d // m bits. So each band of the one is looked up, with up to that many bits
flipped, in a table of that band of the others; whatever meets there is compared in full. The search
is exact for any cut. Bands come from bits dealt out by how evenly they fall, so that bits that all
hashes share (those of a common border, say) do not fill a band of their own: a band that everybody
shares would bring every hash to every other. Where the hashes of a set share most of their bits, the
buckets fill all the same, and the search nears the quadratic cost of comparing all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy import fft

BITS = 64
SIDE = 32
"""Pixels a side of the grey copy that is hashed."""
_LOW = 8
_MOST = 1 << 22  # pairs held at once, so that memory stays bounded
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
    bands = _bands(len(table), distance)
    if bands:
        table, queries = (_dealt(hashes, _evenness(table)) for hashes in (table, queries))
    search = _banded(table, queries, distance, bands) if bands else _all(table, queries)
    found = []
    for left, right in search:
        close = np.bitwise_count(queries[left] ^ table[right]) <= distance
        found.append(left[close] * len(table) + right[close])
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return pairs // len(table), pairs % len(table)


def _bands(size: int, distance: int) -> int:
    """The number of bands that costs the fewest steps a query; 0 to compare with every hash."""
    best, choice = float(size), 0
    for bands in range(4, BITS + 1):
        width, flips = math.ceil(BITS / bands), distance // bands
        if width > _WIDEST or flips >= width:
            continue
        probes = bands * sum(math.comb(width, flipped) for flipped in range(flips + 1))
        steps = probes * (4 + 2 * size / 2**width)
        if steps < best:
            best, choice = steps, bands
    return choice


def _evenness(table: np.ndarray) -> np.ndarray:
    """The bits (64,) in the order in which they split `table`, most evenly first."""
    shares = np.array([((table >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(BITS)])
    return np.argsort(np.abs(shares - 0.5), kind="stable")


def _dealt(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The same hashes with bit `order[i]` moved to place i."""
    dealt = np.zeros_like(hashes)
    for place, bit in enumerate(order):
        dealt |= ((hashes >> np.uint64(bit)) & np.uint64(1)) << np.uint64(place)
    return dealt


def _band(hashes: np.ndarray, number: int, bands: int) -> np.ndarray:
    """Every `bands`-th bit from `number` on, side by side, as int64 (N,)."""
    values = np.zeros(len(hashes), np.int64)
    for place, bit in enumerate(range(number, BITS, bands)):
        values |= ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.int64) << place
    return values


def _banded(
    table: np.ndarray, queries: np.ndarray, distance: int, bands: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices that meet in a band with at most `distance // bands` bits flipped."""
    for number in range(bands):
        width = len(range(number, BITS, bands))
        values = _band(table, number, bands)
        members = np.argsort(values, kind="stable")
        starts = np.zeros(2**width + 1, np.int64)
        np.cumsum(np.bincount(values, minlength=2**width), out=starts[1:])
        looked = _band(queries, number, bands)
        for flipped in range(distance // bands + 1):
            for places in itertools.combinations(range(width), flipped):
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
