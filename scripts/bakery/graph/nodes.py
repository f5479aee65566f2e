"""The graph that a config asks for: nodes, each one run of one stage, and the rungs of halving.

A node's folder is `results/<stage>/<readable>-<key>/`. What decides a key, and how the nodes of a
config are found, is in `build.py`; how halving lays rungs, in `halving.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bakery.graph import finished
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.sections import Section
from bakery.settings.train import Train

CODE_VERSIONS = dict.fromkeys(cfg.STAGES, 1) | {
    "scrape": 2,
    "filter": 2,
    "tag": 2,
    "prune": 2,
    "layout": 2,
    "train": 2,
    "sample": 3,
    "score": 4,
    "compare": 5,
    "halve": 1,
}
"""Raised by hand when a stage's code gives other results: that stage and all below are remade.

`tests/test_code_versions.py` notices when a stage's code changed and its version did not.
"""

LOOKED_AT = {
    "prune": ("prune.html",),
    "sample": ("grid.png",),
    "compare": ("index.html", "report.html", "grid.jpg"),
}
"""What people open, besides the manifest: asked for by name, so that a deleted one is remade."""


@dataclass(frozen=True)
class Node:
    """One run of one stage."""

    stage: str
    key: str
    readable: str
    settings: Section
    parents: tuple[Node, ...] = field(repr=False)
    labels: tuple[str, ...] = ()
    """Of a page: what its sweep calls each of its parents (one bake may stand on several pages)."""
    others: tuple[finished.FinishedBake, ...] = field(default=(), repr=False)
    """Of a page: finished bakes that `compare.with` puts beside its own."""
    rung: Rung | None = field(default=None, repr=False)
    """Of a bake in a sweep with halving: which piece of it this is."""

    @property
    def name(self) -> str:
        return f"{self.readable}-{self.key}"

    @property
    def folder(self) -> str:
        return f"results/{self.stage}/{self.name}"

    @property
    def manifest(self) -> str:
        return f"{self.folder}/manifest.json"

    @property
    def wanted(self) -> list[str]:
        """The files that the workflow has to leave."""
        looked_at = [f"{self.folder}/{name}" for name in LOOKED_AT.get(self.stage, ())]
        best = (
            [f"results/best/{self.readable}/from-{self.name}.json"]
            if self.stage == "compare"
            else []
        )
        return [self.manifest, *looked_at, *best]

    @property
    def baked(self) -> Node:
        """The node in whose folder this one is baked."""
        return self.rung.bake if self.rung else self

    def above(self, stage: str) -> Node:
        """This node or the one of `stage` that it stands on (a bake's chain is a line)."""
        node = self
        while node.stage != stage:
            (node,) = node.parents
        return node

    def about(self) -> dict[str, Any]:
        """What the door and the manifest need to know, as plain JSON values."""
        return {
            "stage": self.stage,
            "key": self.key,
            "code_version": CODE_VERSIONS[self.stage],
            "settings": self.settings.model_dump(mode="json"),
            "above": {parent.name: parent.stage for parent in self.parents}
            | {other.score.name: "score" for other in self.others if other.is_local},
        } | ({"rung": self.rung.about()} if self.rung else {})


@dataclass(frozen=True)
class Graph:
    """All nodes of a config, by stage and folder name."""

    nodes: dict[str, dict[str, Node]]

    def node(self, stage: str, name: str) -> Node:
        try:
            return self.nodes[stage][name]
        except KeyError:
            raise BakeryError(
                f"results/{stage}/{name} is no part of this config: "
                f"known are {', '.join(self.nodes.get(stage, {})) or 'none'}"
            ) from None

    def group(self, bake: Node) -> list[Node]:
        """Nodes of `bake`'s stage, train or sample, that could share a process, itself among them.

        In the config's order, so that each of them has the same group.
        """
        return [node for node in self.of(bake.stage) if _fit_together(node, bake)]

    def of(self, stage: str) -> list[Node]:
        return list(self.nodes[stage].values())


def _fit_together(one: Node, other: Node) -> bool:
    if (one.rung and one.rung.cohort) != (other.rung and other.rung.cohort):
        return False
    if one.stage == "train":
        return one.parents == other.parents and _bake(one).fits_beside(_bake(other))
    return (  # the same prompts on the same base: only the LoRAs differ
        one.settings == other.settings
        and one.above("prune") is other.above("prune")
        and _bake(one).drawn_beside(_bake(other))
    )


def _bake(node: Node) -> Train:
    settings = node.above("train").settings
    assert isinstance(settings, Train)
    return settings


@dataclass(frozen=True)
class Rung:
    """A piece of a bake, and of what is drawn and scored of it."""

    until: int
    """Its last epoch."""
    bake: Node
    """The same stage of the bake without halving."""
    before: Node | None
    """The same stage one rung earlier."""
    verdict: Node | None
    """Who goes on behind that rung."""

    def at(self, stage: str) -> Rung | None:
        """The rung of another stage of the bake; None for those above, which know no rungs."""
        if cfg.STAGES.index(stage) < cfg.STAGES.index("train"):
            return None
        before = self.before and self.before.above(stage)
        return replace(self, bake=self.bake.above(stage), before=before)

    @property
    def cohort(self) -> tuple[int, str]:
        """Equal for bakes that are trained at the same time."""
        return self.until, self.verdict.key if self.verdict else ""

    def identity(self) -> dict[str, Any]:
        """What decides the result of a rung of the train stage besides its settings."""
        above = [node.key for node in (self.before, self.verdict) if node is not None]
        return {"until": self.until, "above": above}

    def about(self) -> dict[str, Any]:
        """What a manifest says of it."""
        earlier = {"before": self.before, "verdict": self.verdict}
        return {"until": self.until} | {k: node and node.name for k, node in earlier.items()}
