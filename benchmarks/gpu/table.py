"""The record of a run as Markdown, for docs/benchmarks.md. This takes the standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpu.bounded import STATES

Record = Mapping[str, Any]
STEPS = ("base", "bakes", "seconds a step", "images a second", "throughput over one after another",
         "what arithmetic allows", "share of a matrix product's speed", "peak GiB",
         "peak GiB of one alone", "throughput over solo kohya runs")  # fmt: skip
CHANGED = ("change", "base", "bakes", "seconds a step as usual", "with it", "times as fast",
           "spread of as usual", "seconds to begin", "loss differs by", "peak GiB as usual",
           "with it")  # fmt: skip
APART = ("bake", "first loss", "largest of losses", "LoRA", "worst tensor", "up to rounding")


def markdown(record: Record) -> str:
    """All that was measured, and what was not and why."""
    done = {item["name"]: item["result"] for item in record["items"] if item["state"] == "done"}
    parts = [_heading(record, done), _speeds(done.get("matrix product"))]
    parts += [_steps(done.values()), _changes(done.values())]
    parts += [_sampling(done.get("sampling")), _smoke(done.get("smoke bake"))]
    parts.append(_not_done(record["items"]))
    return "\n\n".join(part for part in parts if part)


def _heading(record: Record, done: Record) -> str:
    machine = done.get("machine", {})
    words = [machine.get("summary", record["began"])]
    if machine.get("device") == "cuda":
        words += [f"{machine['gpu_memory_gib']:.0f} GiB", f"driver {machine['driver']}"]
        words += [f"CUDA {machine['cuda']}"]
    if machine.get("project"):
        words.append(f"LoRA Bakery {machine['project']}")
    count = f"{len(done)} of {len(record['items'])} items in {record['minutes']:g} minutes"
    rehearsal = "A rehearsal at tiny sizes: no figure says anything about a GPU. "
    return f"{rehearsal * bool(record['tiny'])}{', '.join(words)}; {count}."


def _speeds(found: Record | None) -> str:
    if found is None:
        return ""
    rates = [(name, rate) for name, rate in found["operations"].items() if rate is not None]
    listed = ", ".join(f"{rate / 1e12:.4g} TFLOP/s in {name}" for name, rate in rates)
    return f"A large matrix product reaches {listed}; a copy {found['copied'] / 1e9:.4g} GB/s."


def _steps(results: Iterable[Record]) -> str:
    rows = []
    for found in results:
        if "fits" not in found:
            continue
        if not found["fits"]:
            rows.append([found["base"], f"{found['bakes']}", "does not fit"])
            continue
        kohya = f"{found['kohya']:.2f}, {found['kohya_when']}" if "kohya" in found else ""
        rows.append([
            found["base"], f"{found['bakes']}", f"{found['seconds']:.4f}",
            f"{found['images_per_second']:.1f}", f"{found['gain']:.2f}", f"{found['allowed']:.2f}",
            f"{found['share']:.0%}", _gib(found["peak_gib"].get("bakes")),
            _gib(found["peak_gib"].get("solo")), kohya,
        ])  # fmt: skip
    return _table(STEPS, rows)


def _changes(results: Iterable[Record]) -> str:
    rows = [
        [
            found["change"], found["base"], f"{found['bakes']}", f"{found['seconds']:.4f}",
            f"{found['seconds_changed']:.4f}", f"{found['gain']:.2f}", f"{found['spread']:.0%}",
            f"{found['seconds_to_begin']:.1f}", f"{found['loss_differs']:.1g}",
            _gib(found["peak_gib"]), _gib(found["peak_gib_changed"]),
        ]
        for found in results
        if "change" in found
    ]  # fmt: skip
    return _table(CHANGED, rows)


def _sampling(found: Record | None) -> str:
    if found is None:
        return ""
    what = f"{found['pictures']} pictures of {found['side']} px, {found['steps']} steps"
    rows = [
        [
            way, f"{seconds:.3f}", f"{found['pictures'] / seconds:.2f}",
            f"{found['operations'] / seconds / found['ceiling']:.0%}",
        ]
        for way, seconds in found["seconds"].items()
    ]  # fmt: skip
    columns = (what, "seconds", "pictures a second", "share of a matrix product's speed")
    return _table(columns, rows)


def _smoke(found: Record | None) -> str:
    if found is None:
        return ""
    name = {"cuda": "the GPU", "cpu": "a CPU in its place"}[found["device"]]
    rounding = found["equal_up_to_rounding"]
    rows = [
        [
            bake.replace("device", name), *(f"{apart[key]:.1e}" for key in
            ("first_loss", "largest_of_losses", "lora", "worst_tensor")),
            {True: "yes", False: "no", None: "the yardstick"}[rounding.get(bake)],
        ]
        for bake, apart in found["beside_the_cpu"].items()
    ]  # fmt: skip
    pictures = [
        f"{way.replace('the device', name)}: {apart['mean']:.2g} of 255 on average, "
        f"{apart['largest']} at most"
        for way, apart in found["pictures"].items()
    ]
    same = "gave the same bytes" if found["same_bytes_twice"] else "did not give the same bytes"
    return (
        f"A bake of the embedded world, {found['steps']} steps, and its relative differences from "
        f"the CPU's:\n\n{_table(APART, rows)}\n\nThe same seed twice on {name} {same}. Pictures differ: "
        f"{'; '.join(pictures)}."
    )


def _not_done(items: Iterable[Record]) -> str:
    rows = [
        [item["name"], item["state"], item.get("why") or STATES[item["state"]]]
        for item in items
        if item["state"] != "done"
    ]
    return _table(("not measured", "", "why"), rows)


def _gib(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows may be shorter than the heading; no rows, no table."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns)]
    lines += [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
