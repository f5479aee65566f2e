"""What the tagger saw on a bake's scored pictures, read back for replays with fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bakery.io import tables
from bakery.report.results import Bake
from bakery.scoring import observations
from bakery.scoring.compared import Compared
from bakery.scoring.metric import ScoreInputs
from bakery.scoring.observations import TagMatrix
from bakery.settings.score import Score
from bakery.stages import score
from bakery.tags import tagging
from bakery.tags.trigger import Trigger


@dataclass(frozen=True)
class Seen:
    """What the tagger saw on the scored pictures of one bake."""

    label: str
    samples: pd.DataFrame
    """samples.csv with epoch (int), weight (float), nominal (bool)."""
    matrix: TagMatrix
    traits: Mapping[str, float]
    """Trait -> its share of the training pictures."""
    training: Mapping[str, float]
    """Tag -> the same."""
    pruned: Sequence[str]
    settings: Score

    @classmethod
    def read(cls, bake: Bake) -> Seen:
        """From the folders of a finished score: its tags.csv has all that counts."""
        folders = bake.folders
        samples = score.read_samples(folders["sample"] / "samples.csv")
        trigger = Trigger.read(folders["prune"])
        compared = Compared.read(folders["prune"], folders["scrape"], folders.get("layout"))
        training = score.training_shares(
            [path.name for path in compared.trained],
            tagging.read_tags(folders["tag"]).seen(trigger.decided),
        )
        of_score = {
            name.removeprefix("score."): value
            for name, value in bake.settings.items()
            if name.startswith("score.")
        }
        settings = Score.model_validate(of_score)
        traits = score.trait_shares(settings.min_trait_share, trigger.traits, training)
        words = tables.read(folders["tag"] / "vocabulary.csv", ("tag", "category"))
        limits = np.array([trigger.decided.of(category) for category in words["category"]])
        found = _probabilities(folders["score"] / "tags.csv", list(samples["image"]), words["tag"])
        general = (words["category"] == "general").to_numpy()
        matrix = TagMatrix(list(words["tag"]), general, found, found >= limits)
        return cls(bake.label, samples, matrix, traits, training, trigger.pruned, settings)

    def inputs(self, rows: np.ndarray) -> ScoreInputs:
        """The input of metrics, of the pictures (N,) bool that are chosen.

        What the trade-off does not ask for, nearness to training pictures for one, is NaN.
        """
        samples = self.samples[rows].reset_index(drop=True)
        matrix = TagMatrix(
            self.matrix.names, self.matrix.general, self.matrix.probabilities[rows],
            self.matrix.seen[rows],
        )  # fmt: skip
        seen = observations.gather(
            samples, matrix, list(self.traits), self.training,
            pruned=self.pruned, habit=self.settings.habit,
        )  # fmt: skip
        unknown = ("nearest", "nearest_bits", "memorised", "broken", "likeness")
        facts = pd.DataFrame({name: np.full(len(samples), np.nan) for name in unknown})
        return ScoreInputs(seen, facts, score.ceiling(self.traits), np.nan)


def _probabilities(path: Path, images: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(N, T) probabilities of a score's tags.csv; what is not listed there is 0."""
    table = tables.read(path, ("image", "tag", "probability"))
    values = tables.numbers(table["probability"], path).to_numpy(float)
    rows, columns = pd.Index(images), pd.Index(names)
    found = np.zeros((len(rows), len(columns)))
    found[rows.get_indexer(table["image"]), columns.get_indexer(table["tag"])] = values
    return found
