"""Is the score right? Bakes whose truth is known, measured with a yardstick that the score never sees.

Several characters of the embedded world are baked over rates from underbaked to burnt, with several
seeds. The yardstick is a second tagger, trained from another seed on other renders, and knows from the
renderer what the character and the prompts ask for. From the repository's root:

    python benchmarks/proof.py prepare build/proof
    for c in build/proof/*.yaml; do snakemake --cores all --directory build/proof --configfile $c; done
    python -m world.render --count 8000 --seed 101 build/proof/base
    python -m world.render --count 8000 --seed 102 --novel build/proof/novel
    python -m world.fit_tagger build/proof/base build/proof/novel resources/world/base/vae \\
        build/proof/yardstick --seed 7
    python benchmarks/proof.py report build/proof [--plot proof.png]

`report` prints a table: the rank correlation of score and truth over all epochs of a trial, how often
the recommendation is within 5% of the truly best, what is lost by it, and the width of the noise band. A
trial is one character and one seed: the choice among all rates and epochs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from hardware import describe  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from bakery import bootstrap, captions, compare, outlines, plan, tables, verdicts  # noqa: E402
from bakery import config as cfg  # noqa: E402
from bakery.bakes import Bake, Baked, read  # noqa: E402
from bakery.images import open_rgb  # noqa: E402
from bakery.tagger import Tagger  # noqa: E402
from world import avatar, planting  # noqa: E402

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 1e-2)
SEEDS = (23, 24)
CLASS = frozenset({"1girl", "1boy", "solo"})
SURE = 0.5
"""Probability from which the yardstick believes; not the score's threshold."""
NEAR = 0.05
"""A choice is good within this share of the truly best."""


@dataclass(frozen=True)
class Trial:
    """One choice: what is true of every epoch, and which one the score recommends."""

    name: str
    truth: Mapping[tuple[str, int], float]
    """(bake, epoch) -> truth."""
    scores: Mapping[tuple[str, int], float]
    """(bake, epoch) -> trade-off."""
    choice: tuple[str, int]
    band: float
    """Standard error of the trade-off's difference between the best epoch and the next."""

    @property
    def best(self) -> float:
        return max(self.truth.values())

    @property
    def loss(self) -> float:
        """What the choice lacks of the truly best, as a share of it."""
        return 1 - self.truth[self.choice] / self.best if self.best else 0.0


def prepare(
    folder: Path,
    pictures: int,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
    epochs: int = 4,
) -> None:
    """Pictures of each character, what they always show, and a config with the sweep."""
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    for number, name in enumerate(planting.CAST):
        gardener = planting.Gardener(np.random.default_rng([5, number]), name)
        place = folder / "pictures" / name
        place.mkdir(parents=True, exist_ok=True)
        said = []
        for index in range(pictures):
            look = gardener.look()
            avatar.render(look, 192).save(place / f"{index:03d}.png")
            said.append(avatar.tags(look))
        (folder / f"{name}.json").write_text(json.dumps(always(said)), encoding="utf-8")
        config = shipped | {
            "scrape": {"name": name, "urls": [], "folders": [f"pictures/{name}"]},
            "prune": shipped["prune"] | {"trigger": name},
            "train": shipped["train"] | {"num_epochs": epochs},
            "sweeps": {name: {"grid": {"train.unet_lr": list(rates), "train.seed": list(seeds)}}},
        }
        text = yaml.safe_dump(config, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def always(said: Iterable[Sequence[str]], share: float = 0.8) -> list[str]:
    """The tags that a character (nearly) always has, by the renderer; no class words."""
    said = list(said)
    counts = Counter(tag for tags in said for tag in set(tags))
    return sorted(t for t, n in counts.items() if n >= share * len(said) and t not in CLASS)


def truth(
    samples: Iterable[Mapping[str, str]], seen: Mapping[str, set[str]], own: Sequence[str]
) -> dict[int, float]:
    """Epoch -> harmonic mean of two shares, by the yardstick, at the nominal weight.

    How many of the character's `own` tags are on identity pictures; how many of the tags asked by
    flexibility prompts are there, of those that the base shows on their references (at most 1).
    """
    shown: dict[int, list[int]] = {}
    for row in samples:
        if row["nominal"] != "1":
            continue
        own_found, own_asked, found, known = shown.setdefault(int(row["epoch"]), [0, 0, 0, 0])
        if row["purpose"] == "identity":
            own_found += sum(tag in seen[row["image"]] for tag in own)
            own_asked += len(own)
        elif row["purpose"] == "flexibility":
            asked = [captions.same(tag) for tag in tables.split(row["asked"])]
            found += sum(tag in seen[row["image"]] for tag in asked)
            known += sum(tag in seen[row["reference"]] for tag in asked)
        shown[int(row["epoch"])] = [own_found, own_asked, found, known]
    result = {}
    for epoch, (own_found, own_asked, found, known) in shown.items():
        identity = own_found / own_asked if own_asked else math.nan
        obedience = min(1.0, found / known) if known else math.nan
        total = identity + obedience
        result[epoch] = 2 * identity * obedience / total if total else 0.0
    return result


def look(yardstick: Tagger, folder: Path, images: Sequence[str]) -> dict[str, set[str]]:
    """What the yardstick sees on each picture."""
    rows = yardstick.tag([folder / "images" / image for image in images], open=open_rgb)
    names = [captions.same(name) for name in yardstick.names]
    return {
        image: {names[i] for i in np.flatnonzero(row >= SURE)}
        for image, row in zip(images, rows, strict=True)
    }


def own_tags(folder: Path, name: str) -> list[str]:
    """What `prepare` noted that the character always has."""
    return [captions.same(t) for t in json.loads((folder / f"{name}.json").read_text("utf-8"))]


def truth_of(bake: Bake, own: Sequence[str], yardstick: Tagger) -> dict[int, float]:
    """Epoch -> truth of a finished bake, the base (0) among them."""
    samples = tables.read(bake.folders["sample"] / "samples.csv", ("image", "reference"))
    seen = look(yardstick, bake.folders["sample"], list(samples["image"]))
    return truth(samples.to_dict("records"), seen, own)


def trials(folder: Path, name: str, yardstick: Tagger) -> list[Trial]:
    """A trial for each seed of the character's sweep."""
    raw = yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))
    own = own_tags(folder, name)
    (page,) = plan.build(cfg.load(raw), (folder, ROOT)).of("compare")
    by_seed: dict[int, list[Bake]] = {}
    for planned in outlines.bakes_of(page):
        folders = {stage: folder / path for stage, path in planned["folders"].items()}
        bake = Bake(planned["label"], folders, planned["settings"])
        by_seed.setdefault(int(bake.settings["train.seed"]), []).append(bake)
    found = []
    for seed, bakes in by_seed.items():
        known = {
            (bake.label, epoch): value
            for bake in bakes
            for epoch, value in truth_of(bake, own, yardstick).items()
            if epoch
        }
        found.append(trial(f"{name}, seed {seed}", [read(bake) for bake in bakes], known))
    return found


def trial(name: str, baked: Sequence[Baked], known: Mapping[tuple[str, int], float]) -> Trial:
    """What the score chooses among `baked`, and what is true of that."""
    judged = compare.judge(baked)
    if judged.best is None:
        raise SystemExit(f"{name}: the scores allow no verdict; see the page")
    bake, epoch = judged.best
    scores = {
        (one.bake.label, e.number): e.score("tradeoff").value for one in baked for e in one.epochs
    }
    scores = {key: value for key, value in scores.items() if key[1]}
    values = {}
    for one in baked:
        draws = verdicts.read_draws(one.bake.folders["score"] / "draws.csv")
        for e in one.epochs:
            key = (one.bake.label, e.number)
            drawn = draws.get(e.number, {}).get("tradeoff", np.empty(0))
            values[key] = np.concatenate([[e.score("tradeoff").value], drawn])
    first, second = sorted(scores, key=lambda key: -scores[key])[:2]
    _, band = bootstrap.lag(values[first], values[second])
    return Trial(name, known, scores, (baked[bake].bake.label, epoch), band)


def lines(found: Sequence[Trial]) -> list[str]:
    """The report as a Markdown table, a row a trial and one for all."""
    table = ["| trial | epochs | rank correlation | chosen | truth | best | lost | band |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    ranks = []
    for one in found:
        keys = list(one.truth)
        rank = spearmanr([one.truth[k] for k in keys], [one.scores[k] for k in keys]).statistic
        ranks.append(float(rank))
        label, epoch = one.choice
        table.append(
            f"| {one.name} | {len(keys)} | {rank:.2f} | {label}, epoch {epoch} | "
            f"{one.truth[one.choice]:.2f} | {one.best:.2f} | {one.loss:.0%} | {one.band:.2f} |"
        )
    good = sum(one.loss <= NEAR for one in found)
    table.append(
        f"| all {len(found)} | | {statistics.mean(ranks):.2f} | within {NEAR:.0%} of the best: "
        f"{good} of {len(found)} | | | {statistics.mean(one.loss for one in found):.0%} | "
        f"{statistics.mean(one.band for one in found):.2f} |"
    )
    return table


def plot(found: Sequence[Trial], path: Path) -> None:
    """Score against truth of every epoch, a panel a character, a colour a rate; rings are choices."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    names = list(dict.fromkeys(one.name.split(",")[0] for one in found))
    figure, panels = pyplot.subplots(
        1, len(names), figsize=(4.2 * len(names), 4.2), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    rates = sorted({rate_of(label) for one in found for label, _ in one.truth})
    colours = dict(zip(rates, pyplot.cm.viridis(np.linspace(0, 0.92, len(rates))), strict=True))
    for name, panel in zip(names, panels[0], strict=True):
        own = [one for one in found if one.name.split(",")[0] == name]
        for rate in rates:
            keys = [(one, key) for one in own for key in one.truth if rate_of(key[0]) == rate]
            panel.scatter(
                [one.truth[key] for one, key in keys], [one.scores[key] for one, key in keys],
                color=colours[rate], s=22, label=f"{rate:g}",
            )  # fmt: skip
        chosen = [(one.truth[one.choice], one.scores[one.choice]) for one in own]
        panel.scatter(*zip(*chosen, strict=True), s=130, facecolors="none", edgecolors="black")
        panel.set(title=name, xlabel="truth")
    panels[0][0].set_ylabel("score")
    panels[0][0].legend(title="unet_lr", frameon=False, loc="upper left")
    figure.savefig(path, dpi=110)


def rate_of(label: str) -> float:
    """The learning rate that a bake's label says."""
    return float(label.split(",")[0].removeprefix("unet_lr "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("prepare", "report"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=60, help="of each character")
    parser.add_argument("--plot", type=Path, help="picture to write with the report")
    args = parser.parse_args()
    if args.what == "prepare":
        prepare(args.folder, args.pictures)
        return
    yardstick = Tagger.load(args.folder / "yardstick")
    found = [t for name in planting.CAST for t in trials(args.folder, name, yardstick)]
    print(f"{describe()}\n")
    print("\n".join(lines(found)))
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
