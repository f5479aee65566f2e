"""The short form: some cases of every kind of attack, and the runner that counts them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.fuzz import runner
from tests.fuzz.__main__ import kinds


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds())
def test_attacks_end_well(kind: str) -> None:
    count = importlib.import_module(f"tests.fuzz.{kind}").SHORT
    tally = runner.run(kind, 0, count)
    assert tally.failed == []
    assert sum(tally.endings.values()) == count


CASES = '''
import os, time
from tests.fuzz.outcome import Outcome

def attack(seed, folder):
    if seed == 2: time.sleep(60)
    if seed == 3: os._exit(9)
    if seed == 4: raise ValueError("five")
    if seed == 5: bytearray(4 * 2**30)
    print("noise")
    return Outcome("taken")
'''  # fmt: skip


@pytest.fixture
def made_kind(monkeypatch: pytest.MonkeyPatch) -> str:
    module = Path(__file__).with_name("made_for_this_test.py")
    module.write_text(CASES)
    yield module.stem
    module.unlink()
    sys.modules.pop(f"tests.fuzz.{module.stem}", None)


def test_what_hangs_dies_raises_or_takes_all_memory_is_counted_and_the_rest_goes_on(
    made_kind: str,
) -> None:
    tally = runner.run(made_kind, 0, 8, seconds=2)
    assert dict(tally.endings) == {"taken": 4, "hangs": 1, "dies": 1, "failed": 2}
    assert [seed for seed, _ in tally.failed] == [2, 3, 4, 5]
    assert "five" in tally.failed[2][1]
    assert "MemoryError" in tally.failed[3][1]
