"""What the workflow itself costs: our dry run and no-op against a bare Snakefile of as many jobs.

`python benchmarks/workflow/overhead.py` prints a markdown table. Both run in alternation in one session,
as whole processes; figures are medians. No job is executed: the results are empty files.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

HOME = Path(__file__).parents[2]
sys.path[:0] = [str(HOME / "scripts"), str(HOME / "benchmarks")]

from hardware import describe  # noqa: E402

from bakery.graph import build  # noqa: E402
from bakery.settings import config as cfg  # noqa: E402

VARIANTS = 18  # with the five shared stages and the page: 60 jobs
BARE = """
rule all:
    input: {wanted!r}
rule job:
    output: "bare/{{name}}/manifest.json"
    shell: "touch {{output}}"
"""


def commands(place: Path) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """The two workflows' commands, and the files that each one makes."""
    rates = [1e-4 * (i + 1) for i in range(VARIANTS)]
    config = {"sweeps": {"lr": {"grid": {"train.unet_lr": rates}}}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    made = build.build(cfg.load(config), [place, HOME])
    wanted = [file for stage in cfg.STAGES for node in made.of(stage) for file in node.wanted]
    bare = [f"bare/{i}/manifest.json" for i in range(sum(len(made.of(s)) for s in cfg.STAGES))]
    (place / "bare.smk").write_text(BARE.format(wanted=bare))
    start = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
    ours = [*start, "--snakefile", str(HOME / "Snakefile"), "--configfile", "config.yaml",
            "--workflow-profile", str(HOME / "profiles/default")]  # fmt: skip
    return {"bare": [*start, "--snakefile", "bare.smk"], "ours": ours}, wanted, bare


def seconds(command: list[str], place: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(what: dict[str, list[str]], place: Path, runs: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(runs):
        for name, command in what.items():
            times[name].append(seconds(command, place))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        both, wanted, bare = commands(place)
        dry = {name: [*command, "--dry-run"] for name, command in both.items()}
        rows = {f"dry run of {len(bare)} jobs": measure(dry, place, args.runs)}
        for name in [*wanted, *bare]:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).touch()
        rows[f"no-op, {len(bare)} jobs done"] = measure(both, place, args.runs)
    print(f"{describe()}, medians of {args.runs}\n")
    print("| | bare Snakemake | LoRA Bakery | difference |\n| --- | --- | --- | --- |")
    for name, row in rows.items():
        ours, bare_time = row["ours"], row["bare"]
        print(f"| {name} | {bare_time:.2f} s | {ours:.2f} s | {ours - bare_time:.2f} s |")


if __name__ == "__main__":
    main()
