"""The scores' formulas: from what was seen on the pictures to numbers between 0 and 1.

N pictures, K tags; `times` (D, N) says how often each picture counts (`bootstrap`), and each
formula gives D numbers, the first of them what was measured. A share over nothing is NaN.
Definitions in words: docs/scores.md. `metrics` chooses the pictures for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from bakery.scoring.bootstrap import Resample

SUREST = (5e-5, 1 - 5e-5)
"""Probabilities are not taken to be nearer to 0 or 1 than this: they are stored with four
decimals."""
ROOM = 0.05
"""Smallest distance between the base and the ceiling at which bleed can be measured."""


def recall(times: np.ndarray, found: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Found tags over asked tags, (N,) each, all pictures pooled.

    recall = sum over pictures of found / sum over pictures of asked
    """
    return over(times @ found, times @ asked)


def fidelity(times: np.ndarray, found: np.ndarray, asked: np.ndarray, ceiling: float) -> np.ndarray:
    """How much of the character the trigger alone brings back.

    fidelity = min(1, recall of the traits on identity pictures / ceiling); the ceiling is the mean
    share of the training pictures on which the tagger sees a trait, the most that can be expected.
    """
    return np.minimum(1.0, over(recall(times, found, asked), ceiling))


def flexibility(times: np.ndarray, found: np.ndarray, base_found: np.ndarray) -> np.ndarray:
    """How much of what the base can draw the LoRA still draws when asked.

    flexibility = min(1, asked tags found / asked tags found on the base's pictures of the same
    prompts without the trigger, on the same noise); NaN when the base shows none of them.
    """
    return np.minimum(1.0, over(times @ found, times @ base_found))


def leak(
    times: np.ndarray, seen: np.ndarray, base: np.ndarray, open_: np.ndarray, pull: np.ndarray
) -> np.ndarray:
    """How much of the training set's outfits and scenery appears unasked.

    leak = min(1, sum over habits of max(0, r - b) / max(1, sum over habits of pull))

    `seen`, `base` (N, K): the habit is on the picture, on the base's picture of the same cell;
    `open_` (N, K): the prompt does not ask for it. r and b are its shares of the open pictures.
    `pull` (K,) is the habit's share of the training pictures less b. So 1 means that the training
    set's habits appear as often as in it, and a training set without habits leaks nothing.
    """
    count = times @ open_  # (D, K)
    excess = over(times @ (open_ * (seen.astype(float) - base)), count)
    total = np.nansum(np.maximum(excess, 0.0), axis=1)
    measured = np.minimum(1.0, total / max(1.0, float(pull.sum())))
    return np.where(times.sum(axis=1) > 0, measured, np.nan)


def bleed(
    times: np.ndarray, seen: np.ndarray, base: np.ndarray, open_: np.ndarray, ceiling: float
) -> np.ndarray:
    """How far pictures without the trigger move from the base towards the character.

    bleed = (r - b) / (ceiling - b), between 0 and 1, where r is the mean share of the traits (N, K)
    on bleed pictures and b the same on the base's pictures of these cells; traits that a prompt
    asks for (`open_` is 0) are left out. NaN when the base is already within `ROOM` of the ceiling.
    """
    asked = times @ open_.sum(axis=1)
    r, b = (over(times @ (open_ * x).sum(axis=1), asked) for x in (seen, base))
    room = np.where(ceiling - b > ROOM, ceiling - b, np.nan)
    return np.clip((r - b) / room, 0.0, 1.0)


def doubt(probabilities: np.ndarray) -> np.ndarray:
    """Bits of doubt of each picture, (N,): the summed binary entropies of its tags (N, K).

    doubt = - sum over tags of p log2 p + (1 - p) log2 (1 - p)

    A tagger that recognises a picture is sure of most tags, one way or the other: the first half
    of the inception score (Salimans et al., Improved Techniques for Training GANs, 2016), for many
    tags at once.
    """
    p = np.clip(probabilities, *SUREST)
    bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return np.where(probabilities > 0, bits, 0.0).sum(axis=1)


def clarity(
    times: np.ndarray,
    doubts: np.ndarray,
    tags: np.ndarray,
    base_doubts: np.ndarray,
    base_tags: np.ndarray,
) -> np.ndarray:
    """Whether the pictures are as clear as the base's: the tagger is unsure about frayed ones.

    clarity = min(1, doubt per tag on the base's pictures of the same cells / doubt per tag)

    (N,) each: bits of doubt, and how many tags are to be expected (the sum of their probabilities),
    on the pictures and on the base's. NaN where the tagger expects none.
    """
    own, base = over(times @ doubts, times @ tags), over(times @ base_doubts, times @ base_tags)
    return np.minimum(1.0, over(base, own))


def mean(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of `values` (N,): drift, and the shares of memorised and broken pictures."""
    return over(times @ values, times.sum(axis=1))


def superiority(
    times: np.ndarray, own: np.ndarray, other_times: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """How often a picture's number is below that of another: 0.5 where neither tends to be.

    superiority = mean over pairs of 1 if own < other, 1/2 if they are equal, else 0

    `own` (N,) counts `times` (D, N), `others` (M,) count `other_times` (D, M). It is Mann and Whitney's
    U over the number of pairs (Annals of Mathematical Statistics 18, 1947, 50-60).
    """
    below = (own[:, None] < others) + 0.5 * (own[:, None] == others)  # (N, M)
    return over(
        ((times @ below) * other_times).sum(axis=1), times.sum(axis=1) * other_times.sum(axis=1)
    )


def variety(
    draws: Resample, groups: Iterable[np.ndarray], own: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """Whether the pictures of one prompt still differ from seed to seed.

    variety = min(1, mean distance of two pictures of one prompt / the same of the base)

    `groups` are the indices of each prompt's pictures; `own` and `base` (N, K) are the tagger's
    probabilities on the pictures and on the base's pictures of the same cells, without the traits,
    which are meant to stay the same. The distance is `ruzicka`.
    """
    sums = np.zeros((2, len(draws.times)))
    for group in groups:
        for one, other in itertools.combinations(group, 2):
            weight = draws.prompts[:, one] * draws.seeds[:, one] * draws.seeds[:, other]
            sums[0] += weight * ruzicka(own[one], own[other])
            sums[1] += weight * ruzicka(base[one], base[other])
    return np.minimum(1.0, over(sums[0], sums[1]))


def likeness(times: np.ndarray, cosines: np.ndarray, ceiling: float) -> np.ndarray:
    """Mean cosine (N,) to the character's centre, relative to the training pictures' own."""
    return np.clip(over(mean(times, cosines), ceiling), 0.0, 1.0)


def harmonic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Harmonic mean of two numbers from 0 on; 0 where both are 0."""
    total = one + other
    return np.where(total == 0, 0.0, 2 * one * other / np.where(total == 0, 1.0, total))


def ruzicka(p: np.ndarray, q: np.ndarray) -> float:
    """Ruzicka distance of two vectors from 0 on: 0 equal, 1 nothing in common.

    1 - sum min(p, q) / sum max(p, q); two vectors of zeros are equal. For sets it is the Jaccard
    distance. Source: Deza and Deza, Encyclopedia of Distances, chapter 17.1.
    """
    either = float(np.maximum(p, q).sum())
    return 1 - float(np.minimum(p, q).sum()) / either if either else 0.0


def over(part: np.ndarray, whole: np.ndarray | float) -> np.ndarray:
    """part / whole, NaN where `whole` is 0."""
    whole = np.asarray(whole, float)
    return np.where(whole == 0, np.nan, part / np.where(whole == 0, 1.0, whole))
