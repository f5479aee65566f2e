"""The short form: some cases of every kind of attack, and the runner that counts them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from tests.faults.cpu_time import Use
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
from pathlib import Path
from tests.fuzz.outcome import Outcome

def late_once():
    """Works for a while, as on a busy machine, and at its second try it does not."""
    tried = Path(os.environ["TRIED"])
    if not tried.exists():
        tried.touch()
        time.sleep(2.5)
        while True: pass

def attack(seed, folder):
    if seed == 2: time.sleep(600)
    if seed == 3: os._exit(9)
    if seed == 4: raise ValueError("five")
    if seed == 5: bytearray(4 * 2**30)
    if seed == 6: late_once()
    print("noise")
    return Outcome("taken")
'''  # fmt: skip


@pytest.fixture
def made_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Not beside the others: what reads all of the project meanwhile would meet it."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made/cases.py").write_text(CASES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return "made.cases"


def test_what_hangs_dies_raises_or_takes_all_memory_is_counted_and_the_rest_goes_on(
    made_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIED", str(tmp_path / "tried"))
    tally = runner.run(made_kind, 0, 8, seconds=4)
    assert dict(tally.endings) == {"taken": 4, "hangs": 1, "dies": 1, "failed": 2}
    assert [seed for seed, _ in tally.failed] == [2, 3, 4, 5]
    assert "five" in tally.failed[2][1]
    assert "MemoryError" in tally.failed[3][1]
    assert tally.again == [6], "a case that waits is not tried again, one that was slow once is"


def test_a_case_hangs_if_it_took_the_cpu_or_waited_for_none() -> None:
    assert runner.hangs(Use(cpu=10.5, queued=0), 10)
    assert runner.hangs(Use(cpu=0.1, queued=0.2), 10)
    assert not runner.hangs(Use(cpu=2, queued=8), 10)
