"""Durations and sizes are the same words everywhere."""

import pytest

from bakery.io import quantities


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0:00"), (8.4, "0:08"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")],
)
def test_a_measured_time_is_a_clock(seconds: float, said: str) -> None:
    assert quantities.clock(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "unknown"), (0, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5960, "99 min"),
     (6000, "1 h 40 min"), (100_000, "27 h 47 min")],
)  # fmt: skip
def test_a_time_that_is_about_right_is_in_round_words(seconds: float | None, said: str) -> None:
    assert quantities.duration(seconds) == said


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [(None, "unknown"), (0, "0 kB"), (400, "0.4 kB"), (12_400, "12 kB"), (999_700, "1.0 MB"),
     (9.96e6, "10 MB"), (12.4e6, "12 MB"), (1.42e9, "1.4 GB"), (2e12, "2.0 TB")],
)  # fmt: skip
def test_sizes_are_read_at_a_glance(bytes_: float | None, said: str) -> None:
    assert quantities.size(bytes_) == said


@pytest.mark.parametrize(
    ("bytes_", "said"), [(None, "?"), (0.66 * 2**30, "0.7 GiB"), (140 * 2**30, "140 GiB")]
)
def test_memory_is_in_the_units_of_a_gpu(bytes_: float | None, said: str) -> None:
    assert quantities.memory(bytes_) == said
