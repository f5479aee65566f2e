"""The run of minutes on a GPU keeps its time and loses nothing; items record what the table shows."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_base import tiny_sd1

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import models  # noqa: E402
import on_a_gpu  # noqa: E402
from gpu import bounded, drawing, smoke, steps, table, worker  # noqa: E402
from gpu.items import ITEMS, Item  # noqa: E402
from gpu.workshop import Workshop  # noqa: E402

from bakery.training import compiling  # noqa: E402

BY_NAME = {item.name: item for item in ITEMS}


class Told:
    """A worker on a clock of its own: each item takes the seconds and gives the answer it is told."""

    device = "cpu"

    def __init__(
        self, told: dict[str, tuple[float, dict[str, Any] | Exception]], path: Path
    ) -> None:
        self.told, self.path = told, path
        self.now, self.opened, self.ended = 0.0, 0, 0
        self.seen: list[str] = []

    def open(self) -> Told:
        self.opened += 1
        self.now += 2
        return self

    def ask(self, name: str, seconds: float) -> dict[str, Any]:
        states = {
            item["name"]: item["state"] for item in json.loads(self.path.read_text())["items"]
        }
        assert states[name] == "running"
        assert all(states[before] not in ("waiting", "running") for before in self.seen)
        self.seen.append(name)
        took, answer = self.told[name]
        self.now += min(took, seconds)
        if took > seconds:
            raise bounded.TooLong(f"it took longer than {seconds:.0f} s")
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def end(self) -> None:
        self.ended += 1


def run_of(
    told: dict[str, tuple[float, Any]], path: Path, ends: float, estimate: float = 10
) -> tuple[Told, dict[str, dict[str, Any]]]:
    """The worker afterwards, and the records by item."""
    fake = Told(told, path)
    items = [Item(name, "", estimate if name != "small" else 1, 30) for name in told]
    bounded.Bounded(items, fake.open, path, ends, {"minutes": 1}, clock=lambda: fake.now).run()
    return fake, {item["name"]: item for item in json.loads(path.read_text())["items"]}


DONE = {"state": "done", "result": {"x": 1}}


def test_what_fails_or_takes_too_long_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    told = {
        "good": (5, DONE),
        "bad": (1, {"state": "failed", "why": "because", "ends": False}),
        "slow": (99, DONE),
        "dead": (1, bounded.Broken("its process ended with -9")),
        "out of order": (1, {"state": "failed", "why": "CUDA error", "ends": True}),
        "not here": (1, {"state": "left out", "why": "no GPU"}),
        "last": (5, DONE),
    }
    fake, records = run_of(told, tmp_path / "record.json", ends=500)
    assert {name: record["state"] for name, record in records.items()} == {
        "good": "done", "bad": "failed", "slow": "over its limit", "dead": "failed",
        "out of order": "failed", "not here": "left out", "last": "done",
    }  # fmt: skip
    assert records["good"]["result"] == {"x": 1}
    assert records["slow"]["why"] == "it took longer than 30 s"
    assert records["slow"]["seconds"] == 30
    assert records["dead"]["why"] == "its process ended with -9"
    assert fake.opened == 4  # the first, and one after each that was ended
    assert fake.ended == 4


def test_what_does_not_fit_is_not_begun_and_smaller_ones_are(tmp_path: Path) -> None:
    told = {"first": (20, DONE), "second": (5, DONE), "small": (0.5, DONE)}
    fake, records = run_of(told, tmp_path / "record.json", ends=30)  # 3 in reserve, 2 to start
    assert records["first"]["state"] == "done"
    assert records["second"]["state"] == "no time left"
    assert records["second"]["why"] == "5 s were left"
    assert records["small"]["state"] == "done"
    assert fake.seen == ["first", "small"]
    assert fake.now <= 30


def test_a_worker_is_not_waited_for_beyond_the_end(tmp_path: Path) -> None:
    fake, records = run_of({"slow": (99, DONE)}, tmp_path / "record.json", ends=20)
    assert records["slow"]["state"] == "over its limit"
    assert fake.now == 20 - bounded.RESERVE
    assert [*tmp_path.iterdir()] == [tmp_path / "record.json"]


ANSWERS = """
import json, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
print("child", child.pid, file=sys.stderr, flush=True)
print(json.dumps({"device": "cpu"}), flush=True)
for line in sys.stdin:
    if line == "dies\\n":
        sys.exit(7)
    if line == "hangs\\n":
        time.sleep(600)
    print(json.dumps({"state": "done", "result": "x" * 200_000}), flush=True)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[bounded.Worker]:
    made = bounded.Worker([sys.executable, "-c", ANSWERS], tmp_path / "log", os.environ)
    yield made
    made.end()


def test_a_worker_answers_at_any_length_and_its_end_is_noticed(process: bounded.Worker) -> None:
    assert len(process.ask("good", 60)["result"]) == 200_000
    with pytest.raises(bounded.Broken, match="ended with 7"):
        process.ask("dies", 60)


def test_a_worker_that_hangs_is_ended_with_all_it_started(
    process: bounded.Worker, tmp_path: Path
) -> None:
    with pytest.raises(bounded.TooLong, match="longer than 1 s"):
        process.ask("hangs", 1)
    child = int((tmp_path / "log").read_text().split()[1])
    assert psutil.pid_exists(child)
    process.end()
    until = time.monotonic() + 60
    while lives(child) and time.monotonic() < until:
        time.sleep(0.05)
    if lives(child):
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child outlived the worker")


def lives(process: int) -> bool:
    """Neither gone nor dead, with nobody to ask how it ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_worker_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(bounded.Broken, match=r"ended with 1; .*log says more"):
        bounded.Worker(
            [sys.executable, "-c", "import nothing_like_it"], tmp_path / "log", os.environ
        )
    assert "nothing_like_it" in (tmp_path / "log").read_text()


def test_items_are_in_order_of_worth_and_each_can_be_called() -> None:
    assert [*BY_NAME] == [
        "machine", "smoke bake", "matrix product", "sd15, K = 1", "sd15, K = 4", "sd15, K = 8",
        "sd15, K = 16", "sdxl, K = 1", "sdxl, K = 4", "compiled, K = 1",
        "compiled with CUDA graphs, K = 1", "CUDA graphs alone, K = 1", "pinned batches, K = 4",
        "channels_last, K = 4", "sampling", "kohya beside",
    ]  # fmt: skip
    for item in ITEMS:
        module, _, function = item.measure.partition(":")
        assert callable(getattr(__import__(f"gpu.{module}").__dict__[module], function))
        assert item.estimate < item.limit
        assert item.given.get("change", "compiled") in steps.CHANGES
    whole = sum(item.estimate for item in ITEMS[: [*BY_NAME].index("compiled, K = 1")])
    assert whole < 60 * 6  # of eight minutes: the first ones have slower machines' time to spare


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Workshop]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "REPEATS", 50)
        yield Workshop(tmp_path_factory.mktemp("shop"), "cpu", tiny=True, threads=1)


def recorded(item: Item, shop: Workshop) -> dict[str, Any]:
    """What an item records, as the run would write it."""
    return json.loads(json.dumps(worker.measured(shop, item)))


def shown(item: str, result: dict[str, Any]) -> str:
    """The tables of a run that measured this alone."""
    made = {"name": item, "state": "done", "result": result}
    return table.markdown({"began": "2026", "tiny": True, "minutes": 1, "items": [made]})


@pytest.mark.slow
def test_the_machine_and_its_products(shop: Workshop) -> None:
    facts = recorded(BY_NAME["machine"], shop)["result"]
    assert facts["device"] == "cpu"
    assert {"torch", "numpy"} <= facts["packages"].keys()
    speeds = recorded(BY_NAME["matrix product"], shop)["result"]
    assert speeds["operations"]["tf32"] is None
    assert min(speeds["operations"][name] for name in ("bf16", "fp16", "fp32")) > 0
    assert "TFLOP/s in fp32; a copy" in shown("matrix product", speeds)


@pytest.mark.slow
def test_bakes_side_by_side_and_what_a_change_brings(shop: Workshop) -> None:
    two = replace(BY_NAME["sd15, K = 4"], given={"model": "sd15", "count": 2})
    found = recorded(two, shop)["result"]
    assert found["bakes"] == 2
    assert found["images_per_second"] == pytest.approx(2 * 2 / found["seconds"])
    assert "| tiny, 32 px, batch 2 | 2 | " in shown("sd15, K = 2", found)
    one = replace(BY_NAME["channels_last, K = 4"], given={"change": "channels_last", "count": 1})
    last = recorded(one, shop)["result"]
    assert last["loss_differs"] < 1e-4
    assert last["gain"] == pytest.approx(last["seconds"] / last["seconds_changed"])
    assert "| channels_last | tiny, 32 px, batch 2 | 1 |" in shown("channels_last, K = 1", last)
    core = shop.bench("sd15").context.base.core
    assert all(weight.is_contiguous() for weight in core.parameters())


@pytest.mark.slow
def test_a_step_that_cannot_be_compiled_says_why(shop: Workshop, monkeypatch) -> None:
    @contextmanager
    def fails(*_: Any) -> Iterator[bool]:
        compiling.log.warning("torch.compile does not work here (%s)", "no compiler")
        yield False

    monkeypatch.setattr(compiling, "compiled", fails)
    found = recorded(BY_NAME["compiled, K = 1"], shop)
    assert found == {
        "state": "failed",
        "why": "RuntimeError: torch.compile does not work here (no compiler)",
        "ends": False,
    }


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("compiled with CUDA graphs, K = 1", "only a GPU has that"),
        ("CUDA graphs alone, K = 1", "only a GPU has that"),
        ("pinned batches, K = 4", "only a GPU has that"),
        ("kohya beside", "were not carried"),
    ],
)
def test_what_is_not_there_is_left_out(shop: Workshop, item: str, why: str) -> None:
    found = recorded(BY_NAME[item], shop)
    assert found["state"] == "left out"
    assert why in found["why"]


@pytest.mark.slow
def test_pictures_a_second(shop: Workshop, monkeypatch) -> None:
    drawn = []  # the stock pipeline takes seconds to import
    monkeypatch.setattr(drawing, "stock", lambda *_: lambda: drawn.append(1))
    found = recorded(BY_NAME["sampling"], shop)["result"]
    assert [*found["seconds"]] == [
        "the base alone", "a LoRA", "4 LoRAs in a batch", "a LoRA, stock pipeline",
    ]  # fmt: skip
    assert found["operations"] > 0
    assert len(drawn) == 3
    assert "| a LoRA, stock pipeline | " in shown("sampling", found)


@pytest.mark.slow
def test_a_bake_of_the_world_beside_itself(shop: Workshop, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        models, "WORLD_BASE", tiny_sd1(tmp_path / "base", prediction_type="epsilon")
    )
    smaller = {
        "resolution": 48,
        "min_bucket_reso": 32,
        "bucket_reso_steps": 16,
        "text_encoder_lr": 0.0,
    }
    monkeypatch.setattr(smoke, "SETTINGS", smoke.SETTINGS | smaller)
    monkeypatch.setattr(smoke, "PROMPTS", smoke.PROMPTS[:1])
    found = recorded(BY_NAME["smoke bake"], shop)["result"]
    assert found["same_bytes_twice"] is True
    assert found["equal_up_to_rounding"] == {"device": True, "device again": True}
    assert found["beside_the_cpu"]["device"]["lora"] == 0
    assert found["pictures"]["each its own LoRA"] == {"mean": 0, "largest": 0}
    captions = sorted((shop.scratch / "world").rglob("*.txt"))
    assert len(captions) == 4
    assert all(path.read_text("utf-8").startswith("mirael, 1girl") for path in captions)
    assert not any("pink hair" in path.read_text("utf-8") for path in captions)
    assert "gave the same bytes" in shown("smoke bake", found)


def test_another_bake_is_not_rounding() -> None:
    yardstick = {"first_loss": 0.0, "lora": 1e-6}
    assert smoke.is_rounding({"first_loss": 1e-6, "lora": 5e-6}, yardstick)
    assert not smoke.is_rounding({"first_loss": 1e-3, "lora": 5e-6}, yardstick)
    assert not smoke.is_rounding({"first_loss": 1e-6, "lora": 5e-5}, yardstick)
    assert not smoke.is_rounding({"first_loss": float("nan"), "lora": 0.0}, yardstick)


def test_the_table_of_a_gpu() -> None:
    machine = {"summary": "2027-01-01, a GPU", "device": "cuda", "gpu_memory_gib": 139.8,
               "driver": "580.1", "cuda": "13.0", "project": None}  # fmt: skip
    step = {"base": "sd15, 512 px, batch 2, bf16", "bakes": 4, "fits": True, "seconds": 0.2,
            "images_per_second": 40.0, "gain": 3.1, "allowed": 3.2, "share": 0.41, "rounds": 15,
            "peak_gib": {"solo": 6.0, "bakes": 11.5, "one bake": 11.0}, "kohya": 4.5,
            "kohya_when": "in turns"}  # fmt: skip
    records = [
        {"name": "machine", "state": "done", "result": machine},
        {"name": "sd15, K = 4", "state": "done", "result": step},
        {"name": "sd15, K = 16", "state": "done", "result": step | {"bakes": 16, "fits": False}},
        {"name": "sdxl, K = 1", "state": "no time left", "why": "12 s were left"},
        {"name": "sampling", "state": "running"},
    ]
    lines = table.markdown(
        {"began": "", "tiny": False, "minutes": 8, "items": records}
    ).splitlines()
    assert lines[0] == (
        "2027-01-01, a GPU, 140 GiB, driver 580.1, CUDA 13.0; 3 of 5 items in 8 minutes."
    )
    assert (
        "| sd15, 512 px, batch 2, bf16 | 4 | 0.2000 | 40.0 | 3.10 | 3.20 | 41% | 11.50 | 6.00 | "
        "4.50, in turns |"
    ) in lines
    assert "| sd15, 512 px, batch 2, bf16 | 16 | does not fit |  |  |  |  |  |  |  |" in lines
    assert "| sdxl, K = 1 | no time left | 12 s were left |" in lines
    assert "| sampling | running | the run was cut off in it |" in lines
    assert len({line.count("|") for line in lines if line.startswith("| sd15")}) == 1


def test_a_cpu_is_only_for_rehearsals(tmp_path: Path) -> None:
    fake = Told({}, tmp_path)
    assert on_a_gpu.first(fake.open, tiny=True) is fake
    with pytest.raises(SystemExit, match="rehearse with --tiny"):
        on_a_gpu.first(fake.open, tiny=False)
    assert fake.ended == 1
