"""Whole or broken? How far a picture is from everything that the embedded world's renderer can draw.

The renders' principal components span what pictures of this world look like; what a picture has besides
is its distance from them, as Turk and Pentland told faces from other things (Eigenfaces for Recognition,
1991). It sees no tags, and no tagger. A picture is whole if it is no farther out than the character's
own training pictures are, all but the farthest twentieth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from diffusers import AutoModel

from world.fit_tagger import through_vae
from world.render import reduced

ROOT = Path(__file__).absolute().parents[2]
VAE = ROOT / "resources/world/base/vae"
INSIDE = 0.95
"""Share of the character's own pictures that are taken for whole."""


@dataclass(frozen=True)
class Eigenpictures:
    """The world's mean picture (P,) and principal components (P, K), pixels in 0..1."""

    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, renders: np.ndarray, count: int) -> Eigenpictures:
        """The first `count` components of uint8 pictures (N, H, W, 3), N at least `count`."""
        rows = _flat(renders)
        mean = rows.mean(axis=0)
        rows = rows - mean
        # through the (N, N) products: there are more pixels than pictures
        _, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
        components = rows.T @ vectors[:, -count:].astype(np.float32)
        return cls(mean, components / np.linalg.norm(components, axis=0))

    @classmethod
    def read(cls, path: Path) -> Eigenpictures:
        with np.load(path) as file:
            return cls(file["mean"], file["components"])

    def write(self, path: Path) -> None:
        np.savez(path, mean=self.mean, components=self.components)

    @property
    def side(self) -> int:
        """Of the pictures it compares, in pixels."""
        return math.isqrt(len(self.mean) // 3)

    def distances(self, pictures: np.ndarray) -> np.ndarray:
        """(N,) root mean square of what the components do not explain, of 0..1."""
        rows = _flat(pictures) - self.mean
        rest = rows - (rows @ self.components) @ self.components.T
        return np.sqrt((rest**2).mean(axis=1))

    def limit(self, pictures: np.ndarray) -> float:
        """The distance up to which a picture of the character in `pictures` is whole."""
        return float(np.quantile(self.distances(pictures), INSIDE))


def shown_by_the_vae(pictures: np.ndarray, vae: Path = VAE) -> np.ndarray:
    """Uint8 pictures (N, H, W, 3) of the size that a base draws, as its VAE in the folder `vae` gives
    them back, reduced: nothing that is sampled is any sharper."""
    return reduced(through_vae(AutoModel.from_pretrained(str(vae)).eval(), pictures, 0.0, 1))


def _flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255
