"""Is the score right? Bakes whose truth is known, measured with a yardstick that the score never sees.

Several characters of the embedded world are baked over rates from underbaked to burnt, with several
seeds. The yardstick is a second tagger, trained from another seed on other renders, and knows from the
renderer what the character and the prompts ask for. What it sees counts on whole pictures alone, which
are told from broken ones without any tagger (`eigenpictures.py`). Truth is measured on other pictures
than the score: other seeds, and more prompts. From the repository's root:

    python benchmarks/proof.py prepare build/proof
    for c in mirael velka torrin; do
        snakemake --cores all --directory build/proof --configfile build/proof/$c.yaml
        snakemake --cores all --directory build/proof --configfile build/proof/truth-$c.yaml \\
            --until sample; done
    python -m world.render --count 8000 --seed 101 build/proof/base
    python -m world.render --count 8000 --seed 102 --novel build/proof/novel
    python -m world.fit_tagger build/proof/base build/proof/novel resources/world/base/vae \\
        build/proof/yardstick --seed 7
    python benchmarks/eigenpictures.py build/proof
    python benchmarks/proof.py report build/proof [--plot proof.png]

`report` prints a table: the rank correlation of score and truth over all epochs of a trial, how often
the recommendation is within 5% of the truly best, what is lost by it, and the width of the noise band. A
trial is one character and one seed: the choice among all rates and epochs. A second table says how well
the doubt behind clarity tells broken pictures from whole ones.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from eigenpictures import FILE, Eigenpictures, shown_by_the_vae, training_pictures  # noqa: E402
from hardware import describe  # noqa: E402
from scipy.stats import mannwhitneyu, spearmanr  # noqa: E402

from bakery.graph import build, summary  # noqa: E402
from bakery.io import tables  # noqa: E402
from bakery.io.images import open_rgb  # noqa: E402
from bakery.report import recommendation  # noqa: E402
from bakery.report.results import Bake, BakeResult, read_bake  # noqa: E402
from bakery.scoring import bootstrap  # noqa: E402
from bakery.settings import config as cfg  # noqa: E402
from bakery.stages import compare  # noqa: E402
from bakery.tags import captions  # noqa: E402
from bakery.vision.tagger import Tagger  # noqa: E402
from world import avatar, planting  # noqa: E402
from world.render import reduce  # noqa: E402

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 1e-2)
SEEDS = (23, 24)
UNSEEN = {
    "seeds": [101, 102, 103, 104],
    "auto": {"identity": 4, "flexibility": 6, "recreate": 0, "bleed": 0},
}
"""The pictures on which truth is measured; none of them is scored."""
CLASS = frozenset({"1girl", "1boy", "solo"})
SURE = 0.5
"""Probability from which the yardstick believes; not the score's threshold."""
NEAR = 0.05
"""A choice is good within this share of the truly best."""


@dataclass(frozen=True)
class Yardstick:
    """What sees the truth: a tagger, and an eye for broken pictures of one character."""

    tagger: Tagger
    eye: Eigenpictures | None = None
    limit: float = math.inf
    """Distance up to which a picture is whole (`Eigenpictures.limit`)."""

    @classmethod
    def read(cls, folder: Path) -> Yardstick:
        return cls(Tagger.load(folder / "yardstick"), Eigenpictures.read(folder / FILE))

    def of(self, pictures: Path) -> Yardstick:
        """The yardstick for the character with these training pictures."""
        if self.eye is None:
            return self
        return replace(self, limit=self.eye.limit(shown_by_the_vae(training_pictures(pictures))))

    def whole(self, folder: Path, images: Sequence[str]) -> np.ndarray:
        """(N,) bool: which pictures of a sample folder are whole."""
        if self.eye is None:
            return np.ones(len(images), bool)
        side = self.eye.side
        pictures = [reduce(open_rgb(folder / "images" / image), side) for image in images]
        return self.eye.distances(np.stack(pictures)) <= self.limit

    def look(self, folder: Path, images: Sequence[str]) -> dict[str, set[str]]:
        """The tags on each picture of a sample folder; none on a broken one."""
        rows = self.tagger.tag([folder / "images" / image for image in images], open=open_rgb)
        names = [captions.same(name) for name in self.tagger.names]
        return {
            image: {names[i] for i in np.flatnonzero(row >= SURE)} if whole else set()
            for image, row, whole in zip(images, rows, self.whole(folder, images), strict=True)
        }


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
    others: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """What plainer rules would choose: the highest trade-off, the earliest epoch within its noise."""

    @property
    def best(self) -> float:
        return max(self.truth.values())

    @property
    def loss(self) -> float:
        return self.loss_of(self.choice)

    def loss_of(self, choice: tuple[str, int]) -> float:
        """What a choice lacks of the truly best, as a share of it."""
        return 1 - self.truth[choice] / self.best if self.best else 0.0


def prepare(
    folder: Path,
    pictures: int,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
    epochs: int = 4,
) -> None:
    """Pictures of each character, what they always show, and configs with the sweep.

    One for what is scored, and one for the pictures of the same bakes on which truth is measured.
    """
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
            "sample": shipped["sample"] | {"weights": []},
            "sweeps": {name: {"grid": {"train.unet_lr": list(rates), "train.seed": list(seeds)}}},
        }
        unseen = config | {"sample": config["sample"] | UNSEEN}
        for file, chosen in ((f"{name}.yaml", config), (f"truth-{name}.yaml", unseen)):
            text = yaml.safe_dump(chosen, sort_keys=False)
            (folder / file).write_text(text, encoding="utf-8")


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


def own_tags(folder: Path, name: str) -> list[str]:
    """What `prepare` noted that the character always has."""
    return [captions.same(t) for t in json.loads((folder / f"{name}.json").read_text("utf-8"))]


def truth_of(bake: Bake, own: Sequence[str], yardstick: Yardstick) -> dict[int, float]:
    """Epoch -> truth of a finished bake, the base (0) among them."""
    samples = tables.read(bake.folders["sample"] / "samples.csv", ("image", "reference"))
    seen = yardstick.look(bake.folders["sample"], list(samples["image"]))
    return truth(samples.to_dict("records"), seen, own)


def bakes_in(folder: Path, config: str) -> list[Bake]:
    """The bakes of a config's only sweep."""
    raw = yaml.safe_load((folder / f"{config}.yaml").read_text("utf-8"))
    (page,) = build.build(cfg.load(raw), (folder, ROOT)).of("compare")
    return [
        Bake(one["label"], {stage: folder / path for stage, path in one["folders"].items()},
             one["settings"])
        for one in summary.bakes_of(page)
    ]  # fmt: skip


def trials(folder: Path, name: str, yardstick: Yardstick) -> list[Trial]:
    """A trial for each seed of the character's sweep."""
    own = own_tags(folder, name)
    known: dict[int, dict[tuple[str, int], float]] = {}
    for bake in bakes_in(folder, f"truth-{name}"):
        mine = known.setdefault(int(bake.settings["train.seed"]), {})
        values = truth_of(bake, own, yardstick)
        mine |= {(bake.label, epoch): value for epoch, value in values.items() if epoch}
    scored: dict[int, list[BakeResult]] = {}
    for bake in bakes_in(folder, name):
        scored.setdefault(int(bake.settings["train.seed"]), []).append(read_bake(bake))
    return [trial(f"{name}, seed {seed}", scored[seed], mine) for seed, mine in known.items()]


def trial(name: str, baked: Sequence[BakeResult], known: Mapping[tuple[str, int], float]) -> Trial:
    """What the score chooses among `baked`, and what is true of that."""
    recommended = compare.recommend(baked)
    if recommended.best is None:
        raise SystemExit(f"{name}: the scores allow no verdict; see the page")
    bake, epoch = recommended.best
    scores = {
        (one.bake.label, e.number): e.score("tradeoff").value for one in baked for e in one.epochs
    }
    scores = {key: value for key, value in scores.items() if key[1]}
    values = {}
    for one in baked:
        draws = recommendation.read_draws(one.bake.folders["score"] / "draws.csv")
        for e in one.epochs:
            key = (one.bake.label, e.number)
            drawn = draws.get(e.number, {}).get("tradeoff", np.empty(0))
            values[key] = np.concatenate([[e.score("tradeoff").value], drawn])
    first, second = sorted(scores, key=lambda key: -scores[key])[:2]
    _, band = bootstrap.lag(values[first], values[second])
    near = [
        key
        for key in values
        if key[0] == first[0] and key[1] and bootstrap.close(values[first], values[key])
    ]
    plainer = {
        "the highest trade-off": first,
        "its bake's earliest epoch within noise": min(near, key=lambda key: key[1]),
    }
    return Trial(name, known, scores, (baked[bake].bake.label, epoch), band, plainer)


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
    for rule in found[0].others:
        losses = [one.loss_of(one.others[rule]) for one in found]
        good = sum(loss <= NEAR for loss in losses)
        table.append(
            f"| had we chosen {rule} | | | {good} of {len(found)} | | | "
            f"{statistics.mean(losses):.0%} | |"
        )
    return table


def broken(bakes: Iterable[Bake], yardstick: Yardstick) -> tuple[int, int, float]:
    """Pictures with a LoRA, how many are broken, and how often doubt is right about a pair.

    A pair is a broken and a whole picture, and doubt is right where the broken one has more of it:
    the area under the ROC curve (Mann and Whitney's U over the number of pairs); NaN without a pair.
    """
    doubts, whole = [], []
    for bake in bakes:
        rows = tables.read(bake.folders["score"] / "scores.csv", ("image", "epoch", "doubt"))
        rows = rows[(rows["epoch"] != "0") & (rows["doubt"] != "")]
        doubts.append(rows["doubt"].astype(float).to_numpy())
        whole.append(yardstick.whole(bake.folders["sample"], list(rows["image"])))
    doubt, fine = np.concatenate(doubts), np.concatenate(whole)
    pairs = int(fine.sum()) * int((~fine).sum())
    area = mannwhitneyu(doubt[~fine], doubt[fine]).statistic / pairs if pairs else math.nan
    return len(fine), int((~fine).sum()), float(area)


def doubts(folder: Path, yardstick: Yardstick) -> list[str]:
    """A row a character: what `broken` says."""
    rows = ["| character | pictures | broken | more in doubt than a whole one |",
            "| --- | --- | --- | --- |"]  # fmt: skip
    for name in planting.CAST:
        eye = yardstick.of(folder / "pictures" / name)
        count, bad, area = broken(bakes_in(folder, name), eye)
        rows.append(f"| {name} | {count} | {bad} | {area:.0%} of pairs |")
    return rows


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
    yardstick = Yardstick.read(args.folder)
    found = [
        trial
        for name in planting.CAST
        for trial in trials(args.folder, name, yardstick.of(args.folder / "pictures" / name))
    ]
    print(f"{describe()}\n")
    print("\n".join(lines(found)) + "\n")
    print("\n".join(doubts(args.folder, yardstick)))
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
