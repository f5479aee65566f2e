"""The lazy guide's own claims as numbers, on the bakes of `proof.py` and a few more.

    python benchmarks/guide.py prepare build/proof
    for c in build/proof/{unpruned,halo}*.yaml; do
        snakemake --cores all --directory build/proof --configfile $c; done
    python benchmarks/guide.py report build/proof

- "Prune what is inherent to the character": the default rate, with all tags left in the captions.
- "The second epoch is usually the best": over all bakes of the proof.
- "Put what gets lost into a folder of its own": a character whose halo is on one picture in five, with
  and without a folder `halo` that shows those pictures again.

All numbers come from the yardstick of `proof.py`, which the scores never see. Run `proof.py` first.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import proof
import yaml
from hardware import describe
from proof import Yardstick

from bakery.io import tables
from bakery.report.results import Bake
from bakery.tags import captions
from world import avatar, planting

RATE = 2e-3
"""The shipped config's, one of `proof.RATES`."""
HALO_SHARE = 0.2
"""Of the pictures on which the character wears its halo, where it is easily lost."""
HALO_PROMPTS = ("{trigger}, halo", "{trigger}, halo, beach", "{trigger}, halo, red shirt")


def prepare(folder: Path, pictures: int, seeds: Sequence[int] = proof.SEEDS) -> None:
    """Configs of the further bakes, and the pictures of the character that seldom wears its halo."""
    for name in planting.CAST:
        config = yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))
        config["prune"]["enabled"] = False
        config["sweeps"] = {"unpruned": {"grid": {"train.unet_lr": [RATE], "train.seed": [*seeds]}}}
        write(folder / f"unpruned-{name}.yaml", config)
    halo_pictures(folder / "pictures" / "halo", pictures)
    config = yaml.safe_load((folder / "mirael.yaml").read_text("utf-8"))
    config["scrape"] = {"name": "halo", "urls": [], "folders": ["pictures/halo"]}
    asked = [
        {"id": f"halo{i}", "prompt": text, "purpose": "flexibility"}
        for i, text in enumerate(HALO_PROMPTS)
    ]
    alone = {"id": "trigger", "prompt": "{trigger}", "purpose": "identity"}
    config["sample"] = {"prompts": [alone, *asked]}
    config["train"]["unet_lr"] = RATE
    config["sweeps"] = {
        "halo": {"grid": {"layout.details": [[], ["halo"]], "train.seed": [*seeds]}}
    }
    write(folder / "halo.yaml", config)


def write(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def halo_pictures(place: Path, pictures: int) -> None:
    """Pictures of the proof's first character, on `HALO_SHARE` of them with its halo."""
    gardener = planting.Gardener(np.random.default_rng([6, 0]), "mirael")
    place.mkdir(parents=True, exist_ok=True)
    every = round(1 / HALO_SHARE)
    for index in range(pictures):
        look = gardener.look(headwear="halo" if index % every == 0 else None)
        avatar.render(look, 192).save(place / f"{index:03d}.png")


def measured(
    folder: Path, config: str, name: str, yardstick: Yardstick
) -> dict[str, dict[int, float]]:
    """Label -> epoch -> truth, of the bakes of `config`."""
    own, eye = proof.own_tags(folder, name), yardstick.of(folder / "pictures" / name)
    return {b.label: proof.truth_of(b, own, eye) for b in proof.bakes_in(folder, config)}


def pruning(folder: Path, yardstick: Yardstick) -> list[str]:
    """A row a character: truth of each bake's best epoch, with pruned and with all tags."""
    rows = ["| character | pruned | all tags left in | bakes |", "| --- | --- | --- | --- |"]
    pairs = []
    for name in planting.CAST:
        pruned = measured(folder, name, name, yardstick)
        at_rate = [best(t) for label, t in pruned.items() if f"unet_lr {RATE}" in label]
        unpruned = [best(t) for t in measured(folder, f"unpruned-{name}", name, yardstick).values()]
        pairs.append((statistics.mean(at_rate), statistics.mean(unpruned)))
        rows.append(f"| {name} | {pairs[-1][0]:.2f} | {pairs[-1][1]:.2f} | {len(unpruned)} each |")
    with_, without = (statistics.mean(column) for column in zip(*pairs, strict=True))
    rows.append(f"| all | {with_:.2f} | {without:.2f} | |")
    return rows


def best(by_epoch: Mapping[int, float]) -> float:
    return max(value for epoch, value in by_epoch.items() if epoch)


def second_epoch(folder: Path, yardstick: Yardstick) -> list[str]:
    """A row a rate: how often each epoch is the bake's best, and what the second lacks of it."""
    found: dict[str, list[dict[int, float]]] = {}
    for name in planting.CAST:
        for label, by_epoch in measured(folder, f"truth-{name}", name, yardstick).items():
            found.setdefault(label.split(",")[0], []).append(by_epoch)
    epochs = sorted({epoch for bakes in found.values() for one in bakes for epoch in one if epoch})
    rows = [
        f"| rate | {' | '.join(f'epoch {epoch} is best' for epoch in epochs)} | the second lacks |",
        "| --- " * (len(epochs) + 2) + "|",
    ]
    every = [one for bakes in found.values() for one in bakes]
    for label, bakes in [*found.items(), ("all", every)]:
        wins = Counter(max(epochs, key=lambda epoch: (one[epoch], -epoch)) for one in bakes)
        lacks = statistics.mean(1 - one[2] / best(one) for one in bakes)
        shares = " | ".join(f"{wins[epoch]} of {len(bakes)}" for epoch in epochs)
        rows.append(f"| {label} | {shares} | {lacks:.0%} |")
    return rows


def halo(folder: Path, yardstick: Yardstick) -> list[str]:
    """A row without and one with the folder: on how many pictures the halo is, at the last epoch."""
    rows = ["| | halo where it is asked | halo where it is not | the other traits | bakes |",
            "| --- | --- | --- | --- | --- |"]  # fmt: skip
    own = set(proof.own_tags(folder, "mirael")) - {"halo"}
    shares: dict[bool, list[tuple[float, float, float]]] = {}
    yardstick = yardstick.of(folder / "pictures" / "halo")
    for bake in proof.bakes_in(folder, "halo"):
        asked, alone, others = zip(*_halos(bake, own, yardstick), strict=True)
        means = tuple(float(np.nanmean(column)) for column in (asked, alone, others))
        shares.setdefault(bool(bake.settings["layout.details"]), []).append(means)
    for with_folder, found in sorted(shares.items()):
        asked, alone, others = (statistics.mean(column) for column in zip(*found, strict=True))
        name = "with a halo folder" if with_folder else "one folder"
        rows.append(f"| {name} | {asked:.2f} | {alone:.2f} | {others:.2f} | {len(found)} |")
    return rows


def _halos(bake: Bake, own: set[str], yardstick: Yardstick) -> Iterator[tuple[float, float, float]]:
    """Of each picture of the last epoch: halo if asked, halo if not, share of the other traits."""
    place = bake.folders["sample"]
    samples = tables.read(place / "samples.csv", ("image", "epoch", "prompt", "nominal"))
    last = max(map(int, samples["epoch"]))
    rows = samples[(samples["epoch"].astype(int) == last) & (samples["nominal"] == "1")]
    seen = yardstick.look(place, list(rows["image"]))
    for image, prompt in zip(rows["image"], rows["prompt"], strict=True):
        shown = float("halo" in seen[image])
        wanted = "halo" in [captions.same(tag) for tag in prompt.split(", ")]
        share = len(own & seen[image]) / len(own)
        yield (shown, np.nan, share) if wanted else (np.nan, shown, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=("prepare", "report", "pictures"),
        help="pictures draws those of the halo into the folder, for config/experiments",
    )  # fmt: skip
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=60, help="of the character with the halo")
    args = parser.parse_args()
    if args.what == "pictures":
        halo_pictures(args.folder, args.pictures)
        return
    if args.what == "prepare":
        prepare(args.folder, args.pictures)
        return
    yardstick = Yardstick.read(args.folder)
    print(f"{describe()}\n")
    for table in (pruning, second_epoch, halo):
        print("\n".join(table(args.folder, yardstick)) + "\n")


if __name__ == "__main__":
    main()
