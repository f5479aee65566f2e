"""Batches: full, of one length, and a LoRA's own wherever it has pictures enough."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.sampling.batches import arrange

LOOKS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 2)), max_size=60)


@settings(max_examples=60)
@given(LOOKS, st.integers(1, 9))
def test_each_picture_once_in_batches_of_one_length(looks, size) -> None:
    batches = arrange(looks, size)
    assert sorted(place for batch in batches for place in batch) == list(range(len(looks)))
    shared = Counter()
    counts = Counter(looks)
    for batch in batches:
        assert 0 < len(batch) <= size
        (length,) = {looks[place][1] for place in batch}
        kinds = {looks[place] for place in batch}
        if any(2 * counts[kind] >= size for kind in kinds):
            assert len(kinds) == 1
            assert 2 * len(batch) >= size
        elif len(batch) < size:
            shared[length] += 1
    assert all(count == 1 for count in shared.values()), "only the last may be smaller"


@settings(max_examples=40)
@given(LOOKS, LOOKS, st.integers(1, 9))
def test_a_lora_s_own_batches_are_the_same_in_any_group(mine, others, size) -> None:
    mine = [("mine", length) for _, length in mine]
    alone = arrange(mine, size)
    counts = Counter(mine)
    together = [
        [place - len(others) for place in batch]
        for batch in arrange([*others, *mine], size)
        if batch[-1] >= len(others)
    ]
    for batch in alone:
        if 2 * counts[mine[batch[0]]] >= size:
            assert batch in together


def test_as_few_and_as_equal_as_can_be() -> None:
    sizes = [len(batch) for batch in arrange([("a", 1)] * 34, 8)]
    assert sizes == [6, 7, 7, 7, 7]
