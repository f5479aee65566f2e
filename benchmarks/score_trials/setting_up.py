"""Configs of the trials, and the command that bakes one.

A config has two sweeps of the same bakes. `scored` draws what a page is made from, `unseen` the pictures
on which truth is measured: other seeds, more prompts, the nominal weight alone. Nothing but their
pictures is made of the second, and no page of either.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from score_trials import data_sets
from score_trials.design import Design

from bakery.graph import build, summary
from bakery.graph.nodes import Graph, Node
from bakery.io import manifest
from bakery.report.results import Bake
from bakery.settings import config as cfg

ROOT = Path(__file__).parents[2]
SCORED, UNSEEN = "scored", "unseen"
COST = "cost.jsonl"
"""In a trial's folder: a line for each time that it was baked, or baked on."""
SHOWINGS = 240
"""Of an epoch, about, however few pictures there are: so all trials take as many steps."""
UNSEEN_SAMPLE = {
    "sample.seeds": [101, 102, 103, 104],
    "sample.auto": {"identity": 4, "flexibility": 6, "recreate": 0, "bleed": 0},
}


@dataclass(frozen=True)
class Base:
    """A base that trials are baked on."""

    folder: str
    """As `train.base` has it."""
    rates: Sequence[float]
    """From underbaked to burnt; the UNet's, or the transformer's."""
    text_encoder: float
    """The text encoder's rate as a part of the UNet's: it learns the trigger, so it has to be underbaked
    and burnt as well."""
    train: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)


BASES = {
    "sd": Base("resources/world/base", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), text_encoder=0.6),
    "anima": Base(
        "resources/world/anima",
        (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        text_encoder=0,
        train={
            "output_preservation": 0,
            "timestep_sampling": "sigmoid",
            "resolution": 64,
            "min_bucket_reso": 48,
            "max_bucket_reso": 96,
            "bucket_reso_steps": 16,
        },
        sample={"sampler": "Euler", "steps": 20, "width": 64, "height": 64},
    ),
}
"""The embedded bases by family; `--base-folder` names another place."""


def prepare(trials: Sequence[Design], base: Base, folder: Path, epochs: int = 4) -> None:
    """A folder for each trial, with its pictures and `config.yaml`.

    A folder that has a config already keeps it: bakes of another design would be mixed with it.
    """
    if not (ROOT / base.folder).exists() and not Path(base.folder).exists():
        raise SystemExit(f"there is no base at {base.folder}: train it first, or name another one")
    for design in trials:
        place = folder / design.name
        if (place / "config.yaml").is_file():
            continue
        data_sets.make(design, place)
        text = yaml.safe_dump(config_of(design, base, epochs), sort_keys=False)
        (place / "config.yaml").write_text(text, encoding="utf-8")


def config_of(design: Design, base: Base, epochs: int) -> dict[str, Any]:
    """The shipped config, changed to what the trial asks for."""
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    bakes = [
        {"train.unet_lr": rate, "train.text_encoder_lr": round(rate * base.text_encoder, 8)}
        for rate in base.rates
    ]
    prune = {"trigger": design.character} | ({"source": "booru"} if design.data.noisy else {})
    repeats = max(1, round(SHOWINGS / design.data.pictures))
    train = {"base": base.folder, "num_epochs": epochs, "seed": design.seed, **base.train}
    return shipped | {
        "scrape": {"name": design.character, "urls": [], "folders": ["pictures"]},
        "prune": shipped["prune"] | prune,
        "layout": shipped["layout"] | {"repeats": repeats},
        "train": shipped["train"] | train,
        "sample": shipped["sample"] | {"weights": [], "auto": {"recreate": 0}, **base.sample},
        "sweeps": {
            SCORED: {"variants": bakes},
            UNSEEN: {"variants": [bake | UNSEEN_SAMPLE for bake in bakes]},
        },
    }


def graph_of(place: Path) -> Graph:
    """The graph of the trial in the folder `place`."""
    raw = yaml.safe_load((place / "config.yaml").read_text("utf-8"))
    return build.build(cfg.load(raw), (place, ROOT))


def drawn_by(place: Path) -> tuple[Path, int]:
    """The folder of the VAE that a trial's pictures come from, and their side in pixels."""
    raw = yaml.safe_load((place / "config.yaml").read_text("utf-8"))
    side = raw["sample"].get("width", data_sets.LARGE)
    return ROOT / raw["train"]["base"] / "vae", side  # an absolute base stays as it is


def targets(made: Graph) -> list[str]:
    """What has to be made: the scores of what is scored, the pictures of what is not."""
    wanted = []
    for page in made.of("compare"):
        stage = "score" if page.readable == SCORED else "sample"
        wanted += [leaf.above(stage).manifest for leaf in page.parents]
    return wanted


def is_finished(place: Path) -> bool:
    """Whether everything that the trial's report needs is there."""
    return all((place / one).is_file() for one in targets(graph_of(place)))


def bakes(place: Path, sweep: str) -> list[Bake]:
    """The bakes of a trial's sweep."""
    (page,) = (one for one in graph_of(place).of("compare") if one.readable == sweep)
    return [replace(one, label=one.label.split(",")[0]) for one in bakes_of(page, place)]


def bakes_of(page: Node, place: Path) -> list[Bake]:
    """The bakes of a page, whose results are in the folder `place`."""
    return [
        Bake(one["label"], {stage: place / path for stage, path in one["folders"].items()},
             one["settings"])
        for one in summary.bakes_of(page)
    ]  # fmt: skip


def bake(place: Path, cores: str) -> int:
    """Bakes the trial in `place`, or what is missing of it; the exit status of snakemake.

    What it took is added to `cost.jsonl`.
    """
    wanted = targets(graph_of(place))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", cores,
         "--workflow-profile", ROOT / "profiles/default", "--directory", place,
         *wanted, "--configfile", place / "config.yaml"],
        check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    with (place / COST).open("a", encoding="utf-8") as file:
        line = {"cpu_seconds": round(seconds, 1), "done": done.returncode == 0}
        file.write(json.dumps(line) + "\n")
    return done.returncode


def cpu_seconds(place: Path) -> float:
    """What baking the trial took so far, in seconds of a CPU."""
    if not (place / COST).is_file():
        return 0.0
    lines = (place / COST).read_text("utf-8").splitlines()
    return sum(json.loads(line)["cpu_seconds"] for line in lines)


def steps(place: Path) -> int:
    """Training steps of the trial's bakes, as their manifests have them."""
    folders = [one.folders["train"] for one in bakes(place, SCORED)]
    return sum(int(manifest.read(folder)["summary"]["steps"]) for folder in folders)
