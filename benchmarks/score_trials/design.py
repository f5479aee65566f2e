"""The design of the trials: who is baked from which pictures, and which trials may be looked at when.

A trial is one choice, that of the best among the epochs of all rates of one character. Its data set is
made as people's are: few or many pictures, one outfit or several, a trait on half of them, captions
with mistakes. Weights and rule are settled on the half `SETTLE`. The half `JUDGE` is looked at once,
when they are settled: no character is in both.

All of this follows from `SEED`, so it was fixed before anything was baked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from world import avatar, planting

SETTLE, JUDGE = "settle", "judge"
SEED = 2026
NAMES = ("ondrel", "kessa", "brivo", "talune", "zimra", "hestor", "quilla", "fenro", "odaine")
"""Of the characters that are drawn at random; no word of them is a tag."""
KNOWN_BEFORE = ("velka", "torrin")
"""Characters on whose bakes the shipped weights were chosen: not fit to judge them."""
Traits = Mapping[str, str | None]


@dataclass(frozen=True)
class DataSet:
    """What the pictures of a trial are like."""

    name: str
    pictures: int
    one_outfit: bool = False
    """Whether all pictures show the same clothes."""
    half_trait: bool = False
    """Whether the character's headwear is on every other picture only."""
    dropped: float = 0.0
    """Share of a caption's tags that are missing."""
    wrong: float = 0.0
    """Share of a caption's tags that are another tag of the same kind."""

    @property
    def noisy(self) -> bool:
        return self.dropped > 0 or self.wrong > 0


DATA_SETS = (
    DataSet("3 pictures", 3),
    DataSet("10 pictures", 10),
    DataSet("30 pictures", 30),
    DataSet("90 pictures", 90),
    DataSet("one outfit", 30, one_outfit=True),
    DataSet("a trait on half", 30, half_trait=True),
    DataSet("noisy captions", 30, dropped=0.2, wrong=0.1),
    DataSet("10 pictures, one outfit", 10, one_outfit=True),
    DataSet("30 pictures, a second time", 30),
    DataSet("90 pictures, a second time", 90),
    DataSet("a trait on half of 10", 10, half_trait=True),
    DataSet("noisier captions", 30, dropped=0.3, wrong=0.1),
)
"""Each is in both halves once."""


@dataclass(frozen=True)
class Design:
    """One trial."""

    name: str
    """Of its folder: t01 ..."""
    half: str
    character: str
    traits: Traits
    data: DataSet
    seed: int
    """Of the training; pictures and captions are drawn by name and number."""


def cast() -> dict[str, Traits]:
    """Name -> attributes of a `Look` that the character always has: the world's three and others.

    No two share both hair and eye colour. A third of the others wear something the base knows, a
    third the halo that it does not know.
    """
    rng = np.random.default_rng([SEED, 1])
    found: dict[str, Traits] = dict(planting.CAST)
    for name in NAMES:
        taken = {(traits["hair_color"], traits["eye_color"]) for traits in found.values()}
        while True:
            look = avatar.random_look(rng, headwear=None)
            if (look.hair_color, look.eye_color) not in taken:
                break
        worn = (None, "halo", str(rng.choice(avatar.HEADWEAR)))[int(rng.integers(3))]
        found[name] = {
            "gender": look.gender, "hair_color": look.hair_color, "hair_length": look.hair_length,
            "hair_style": look.hair_style, "eye_color": look.eye_color, "headwear": worn,
            "skin": look.skin,
        }  # fmt: skip
    return found


def halves() -> dict[str, list[str]]:
    """Half -> its characters, six each."""
    rng = np.random.default_rng([SEED, 2])
    free = [name for name in cast() if name not in KNOWN_BEFORE]
    drawn = [str(name) for name in rng.permutation(free)]
    return {SETTLE: [*KNOWN_BEFORE, *drawn[:4]], JUDGE: drawn[4:]}


def designs() -> list[Design]:
    """All trials. In each half every character has two of the data sets."""
    traits, made = cast(), []
    for number, (half, characters) in enumerate(halves().items()):
        rng = np.random.default_rng([SEED, 3, number])
        order = rng.permutation(len(DATA_SETS))
        half_of = len(DATA_SETS) // len(characters)
        for place, index in enumerate(order):
            character, count = characters[place // half_of], len(made) + 1
            made.append(
                Design(
                    f"t{count:02d}",
                    half,
                    character,
                    traits[character],
                    DATA_SETS[index],
                    100 + count,
                )
            )
    return made


def table(trials: list[Design]) -> list[str]:
    """The design as Markdown, a row a trial."""
    rows = ["| trial | half | character | always | data set | captions | training seed |",
            "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for one in trials:
        always = ", ".join(str(one.traits[k]) for k in ("hair_color", "eye_color", "headwear"))
        noise = f"{one.data.dropped:.0%} missing, {one.data.wrong:.0%} wrong"
        captions = noise if one.data.noisy else "the tagger's"
        rows.append(
            f"| {one.name} | {one.half} | {one.character} | {always} | {one.data.name} | "
            f"{captions} | {one.seed} |"
        )
    return rows
