"""Scores a bake of two epochs, compares it on a page, and has two others judged.

    python scored_page.py FOLDER

A program of its own, so that a test can run it on another library (`PYTHONPATH`). Both epochs show the
whole character and half of what is asked: the first all of it on one picture and nothing on the other,
the second half of it on both. The others have a score of a metric that may not be there, called misses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from tiny_tagger import tiny_tagger

from bakery.io import tables
from bakery.report import recommendation
from bakery.report.results import Bake
from bakery.settings.compare import Compare
from bakery.settings.score import Score
from bakery.stages import compare, score

CHARACTER = {"pink hair": 0.9, "halo": 0.9}
ASKED = {"beach": 0.9, "smile": 0.9}
SHOWN = {0: (ASKED, ASKED), 1: (ASKED, {}), 2: ({"beach": 0.9}, {"beach": 0.9})}
"""Epoch -> what its flexibility picture shows, for each of two seeds."""


def main(folder: Path) -> None:
    shots: list[Shot] = []
    for epoch, seeds in SHOWN.items():
        own = CHARACTER if epoch else {}
        for seed, seen in enumerate(seeds, start=1):
            shots.append((epoch, "trigger", "identity", "", seed, own))
            shots.append((epoch, "beach", "flexibility", "beach; smile", seed, own | seen))
    folders = stages(folder)
    folders |= {name: folder / name for name in ("train", "sample", "score")}
    sample_stage(folders["sample"], shots)
    model = tiny_tagger(folder / "tagger", TAGS, categories=CATEGORIES)
    free = Score(leak_weight=0, bleed_weight=0, clarity_weight=0)
    given = {name: folders[name] for name in ("sample", "prune", "tag", "scrape")}
    score.run(free, score.InputFolders(**given), out=folders["score"], model=model)
    saved = [
        {"epoch": e, "file": f"{e}.safetensors", "sshs_model_hash": f"{e}" * 64, "loss": 0.1}
        for e in SHOWN
        if e
    ]
    folders["train"].mkdir()
    tables.write(folders["train"] / "epochs.csv", saved, list(saved[0]))
    compare.run(Compare(), bakes=[Bake("only", folders)], out=folder / "page", sweep="one")
    reasons = recommendation.recommend([[missing(1, 0.5, 0.8), missing(2, 0.9, 0.7)]]).reasons
    (folder / "reasons.txt").write_text("\n".join(reasons), encoding="utf-8")


def missing(number: int, misses: float, tradeoff: float) -> recommendation.EpochScore:
    scores = {"fidelity": 0.9, "flexibility": 0.9, "misses": misses, "tradeoff": tradeoff}
    return recommendation.EpochScore("a", number, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
