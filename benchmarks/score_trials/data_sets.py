"""The pictures of a trial, the tags beside them, and what is true of the character."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from score_trials.design import DataSet, Design

from world import avatar, planting
from world.render import reduce

SIDE = 192
"""Pixels of a training picture."""
LARGE = 128
"""Pixels of the pictures that the base draws."""
KNOWN = 60
"""Further pictures of the character: from them follows what it always has, and which pictures are
whole. No bake sees them."""
CLASS = frozenset({"1girl", "1boy", "solo"})
OFTEN = 0.8
"""From this share of the pictures on, a tag is the character's."""
FACTS = "character.json"
WHOLE = "whole.npy"


class Sitter:
    """Draws the looks of a trial's character; `purpose` tells several draws apart."""

    def __init__(self, design: Design, purpose: int) -> None:
        number = int(design.name.removeprefix("t"))
        rng = np.random.default_rng([number, purpose])
        self.rng = rng
        self.gardener = planting.Gardener(rng, design.character, design.traits)
        self.data = design.data
        self.worn = design.traits["headwear"] or "cat ears"
        self.garment = str(rng.choice([g for g in avatar.GARMENTS if g != "dress"]))
        self.color = str(rng.choice(tuple(avatar.GARMENT_COLORS)))

    def look(self, index: int, *, any_outfit: bool = False) -> avatar.Look:
        """The look of picture `index`, in the data set's only outfit unless `any_outfit`."""
        fixed: dict[str, str | None] = {}
        if self.data.half_trait:
            fixed["headwear"] = self.worn if index % 2 == 0 else None
        if self.data.one_outfit and not any_outfit:
            fixed |= {"garment": self.garment, "garment_color": self.color}
        return self.gardener.look(**fixed)


def make(design: Design, folder: Path) -> None:
    """Writes `pictures/`, with a sidecar beside each if the captions are noisy, and the facts.

    `character.json` lists the tags that the character always has, by the renderer; `whole.npy` are
    further pictures of it, uint8 (KNOWN, LARGE, LARGE, 3).
    """
    place = folder / "pictures"
    place.mkdir(parents=True, exist_ok=True)
    sitter = Sitter(design, 0)
    for index in range(design.data.pictures):
        look = sitter.look(index)
        file = place / f"{index:03d}.png"
        avatar.render(look, SIDE).save(file)
        if design.data.noisy:
            tags = with_mistakes(avatar.tags(look), design.data, sitter.rng)
            told = {
                "tag_string_general": " ".join(t.replace(" ", "_") for t in tags),
                "rating": "g",
            }
            file.with_name(f"{file.name}.json").write_text(json.dumps(told), encoding="utf-8")
    sitter = Sitter(design, 1)
    looks = [sitter.look(index, any_outfit=True) for index in range(KNOWN)]
    own = always([avatar.tags(look) for look in looks])
    (folder / FACTS).write_text(json.dumps({"own": own}), encoding="utf-8")
    np.save(folder / WHOLE, drawn(looks))


def drawn(looks: Sequence[avatar.Look]) -> np.ndarray:
    """Pictures of these looks, uint8 (N, LARGE, LARGE, 3)."""
    return np.stack([reduce(avatar.render(look, SIDE), LARGE) for look in looks])


def always(said: Sequence[Sequence[str]]) -> list[str]:
    """The tags that are on `OFTEN` of the pictures or more; no class words."""
    counts = Counter(tag for tags in said for tag in set(tags))
    return sorted(t for t, n in counts.items() if n >= OFTEN * len(said) and t not in CLASS)


def with_mistakes(tags: Sequence[str], data: DataSet, rng: np.random.Generator) -> list[str]:
    """The tags as a careless person writes them: some are missing, some are others of their kind.

    Class words stay, as a booru's counts are nearly always right.
    """
    kinds = [group for name, group in avatar.GROUPS.items() if name != "other"]
    found = []
    for tag in tags:
        if tag in CLASS:
            found.append(tag)
            continue
        chance = rng.random()
        if chance < data.dropped:
            continue
        kind = next((group for group in kinds if tag in group), ())
        others = [other for other in kind if other != tag]
        if chance < data.dropped + data.wrong and others:
            tag = str(rng.choice(others))
        found.append(tag)
    return list(dict.fromkeys(found))
