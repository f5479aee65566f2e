"""The yardstick: what sees the truth, and what no score ever sees.

A second tagger, trained from another seed on other renders than the one that scores, and an eye for
broken pictures that knows no tags (`eigenpictures`). On a broken picture no tag counts.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from score_trials.data_sets import LARGE
from score_trials.eigenpictures import ROOT, VAE, Eigenpictures, shown_by_the_vae

from bakery.io.images import open_rgb
from bakery.tags import captions
from bakery.vision.tagger import Tagger
from world.render import reduce

FOLDER = "yardstick"
COMPONENTS = "components.npz"
RENDERS = 6000
"""Of each kind that the tagger is trained on; of both together, two thirds of as many are the eye's."""
COUNT = 200
"""Principal components."""
SURE = 0.5
"""Probability from which the yardstick believes; not the score's threshold."""


@dataclass(frozen=True)
class Yardstick:
    """What sees the truth: a tagger, and an eye for broken pictures of one character."""

    tagger: Tagger
    eye: Eigenpictures | None = None
    limit: float = math.inf
    """Distance up to which a picture is whole (`Eigenpictures.limit`)."""

    @classmethod
    def read(cls, folder: Path) -> Yardstick:
        """From the trials' folder, as `make` wrote it."""
        place = folder / FOLDER
        return cls(Tagger.load(place), Eigenpictures.read(place / COMPONENTS))

    def of(self, pictures: np.ndarray, vae: Path = VAE, side: int = LARGE) -> Yardstick:
        """The yardstick that takes nearly all of these pictures of a character for whole, as a base
        draws them that has `side` pixels and the VAE in that folder; uint8 (N, LARGE, LARGE, 3)."""
        if self.eye is None:
            return self
        drawn = np.stack([reduce(Image.fromarray(one), side) for one in pictures])
        return replace(self, limit=self.eye.limit(shown_by_the_vae(drawn, vae)))

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


def is_made(folder: Path) -> bool:
    """Whether the trials' folder has a yardstick."""
    return (folder / FOLDER / COMPONENTS).is_file()


def make(folder: Path, renders: int = RENDERS, steps: int = 3000) -> None:
    """Draws pictures, trains the tagger on them, and fits the eye: half an hour of a core, or more."""
    if find_spec("onnx") is None:
        raise SystemExit("the tagger is written with onnx: pip install -r requirements-dev.txt")
    drawn = [folder / "base", folder / "novel"]
    for seed, (place, more) in enumerate(zip(drawn, ((), ("--novel",)), strict=True), start=101):
        _run("render", "--count", renders, "--seed", seed, "--side", LARGE, *more, place)
    _run("fit_tagger", *drawn, VAE, folder / FOLDER, "--seed", 7, "--steps", steps)
    files = [np.load(f"{place}.npy", mmap_mode="r") for place in drawn]
    some = np.concatenate([file[: renders // 3] for file in files])
    Eigenpictures.fit(shown_by_the_vae(some), min(COUNT, len(some))).write(
        folder / FOLDER / COMPONENTS
    )


def _run(program: str, *args: object) -> None:
    subprocess.run(
        [sys.executable, "-m", f"world.{program}", *map(str, args)], cwd=ROOT, check=True
    )
