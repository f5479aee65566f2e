"""The graph that a config asks for: nodes, each one run of one stage, and the rungs of halving.

A node's folder is `results/<stage>/<readable>-<key>/`. `build.py` computes keys and finds the nodes
of a config; `halving.py` makes rungs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bakery.graph import finished, short_names
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.scrape import Scrape
from bakery.settings.sections import Section
from bakery.settings.train import Train

CODE_VERSIONS = dict.fromkeys(cfg.STAGES, 1) | {
    "scrape": 5,
    "filter": 4,
    "tag": 2,
    "prune": 3,
    "layout": 2,
    "train": 3,
    "sample": 4,
    "score": 7,
    "compare": 8,
    "halve": 1,
}
"""Raised by hand when a stage's code gives different results: that stage and all later ones are
rerun.

`tests/test_code_versions.py` notices when a stage's code changed and its version did not.
"""

LOOKED_AT = {
    "prune": ("prune.html",),
    "layout": ("captions.html",),
    "sample": ("grid.png",),
    "compare": ("index.html", "report.html", "grid.jpg"),
}
"""Files that people open, besides the manifest: declared by name, so that a deleted one is
remade."""


@dataclass(frozen=True)
class Node:
    """One run of one stage."""

    stage: str
    key: str
    readable: str
    settings: Section
    parents: tuple[Node, ...] = field(repr=False)
    labels: tuple[str, ...] = ()
    """Of a page: its sweep's label of each parent (one bake may be on several pages)."""
    names: tuple[str, ...] = ()
    """Of a page: what the LoRA files of each bake, its own and the others, are called where they
    leave: `mirael-lr0.002`."""
    others: tuple[finished.FinishedBake, ...] = field(default=(), repr=False)
    """Of a page: finished bakes that `compare.with` adds to its own."""
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
        """The files that the workflow has to produce."""
        looked_at = [f"{self.folder}/{name}" for name in LOOKED_AT.get(self.stage, ())]
        best = [f"{self.best}/from-{self.name}.json"] if self.stage == "compare" else []
        return [self.manifest, *looked_at, *best]

    @property
    def dataset(self) -> str:
        """The name of the dataset; of a page with several, all their names."""
        if self.stage == "scrape":
            assert isinstance(self.settings, Scrape)
            return self.settings.name
        return short_names.dataset_folder(parent.dataset for parent in self.parents)

    @property
    def best(self) -> str:
        """Of a page: where its recommended LoRA is put."""
        return f"results/best/{self.dataset}/{self.readable}"

    @property
    def baked(self) -> Node:
        """The node in whose folder this one is baked."""
        return self.rung.bake if self.rung else self

    def above(self, stage: str) -> Node:
        """This node or the one of `stage` that it depends on (a bake's chain is a line)."""
        node = self
        while node.stage != stage:
            (node,) = node.parents
        return node

    def stands_on(self) -> Iterator[Node]:
        """The nodes that it is made from; a rung also stands on the bake without halving, on the rung
        before it and on that one's verdict."""
        yield from self.parents
        if self.rung is not None:
            yield self.rung.bake
            yield from filter(None, (self.rung.before, self.rung.verdict))

    def about(self) -> dict[str, Any]:
        """Facts for the door and the manifest, as plain JSON values."""
        return {
            "stage": self.stage,
            "key": self.key,
            "code_version": CODE_VERSIONS[self.stage],
            "settings": self.settings.recorded(),
            "above": {parent.name: parent.stage for parent in self.parents}
            | {other.score.name: "score" for other in self.others if other.is_local},
        } | ({"rung": self.rung.about()} if self.rung else {})


@dataclass(frozen=True)
class Graph:
    """All nodes of a config, by stage and folder name."""

    nodes: dict[str, dict[str, Node]]
    _groups: dict[str, dict[str, list[Node]]] = field(default_factory=dict, init=False, repr=False)
    """Stage -> name of a node -> its group, once that has been asked for."""
    _samples: dict[str, list[Node]] = field(default_factory=dict, init=False, repr=False)
    """Folder of a bake -> its sample nodes, once they have been asked for."""

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
        if bake.stage not in self._groups:
            self._groups[bake.stage] = _groups(self.of(bake.stage))
        return self._groups[bake.stage][bake.name]

    def groups_at_once(self) -> int:
        """Groups of bakes that may be trained at the same time: of halving's rungs, the first."""
        nodes = [node for node in self.of("train") if node.rung is None or not node.rung.before]
        return len({id(self.group(node)) for node in nodes})

    def samples_of(self, bake: Node) -> list[Node]:
        """What is drawn of `bake`, a node of train; of halving's rungs, what is drawn of each."""
        if not self._samples:
            for node in self.of("sample"):
                folder = node.above("train").baked.folder
                self._samples.setdefault(folder, []).append(node)
        return self._samples.get(bake.baked.folder, [])

    def of(self, stage: str) -> list[Node]:
        return list(self.nodes[stage].values())


def _groups(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Name -> group: each node is compared with one of each group that has the same captions."""
    found: dict[str, list[Node]] = {}
    by_captions: dict[str, list[list[Node]]] = {}
    for node in nodes:
        beside = by_captions.setdefault(node.above("prune").name, [])
        group = next((one for one in beside if _fit_together(one[0], node)), None)
        if group is None:
            beside.append(group := [])
        group.append(node)
        found[node.name] = group
    return found


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
    """The verdict after that rung."""

    def at(self, stage: str) -> Rung | None:
        """The rung of another stage of the bake; None for earlier stages, which have no rungs."""
        if cfg.STAGES.index(stage) < cfg.STAGES.index("train"):
            return None
        before = self.before and self.before.above(stage)
        return replace(self, bake=self.bake.above(stage), before=before)

    @property
    def cohort(self) -> tuple[int, str]:
        """Equal for bakes that are trained at the same time."""
        return self.until, self.verdict.key if self.verdict else ""

    def identity(self) -> dict[str, Any]:
        """Everything except settings that decides the result of a train rung."""
        above = [node.key for node in (self.before, self.verdict) if node is not None]
        return {"until": self.until, "above": above}

    def about(self) -> dict[str, Any]:
        """Its entry in a manifest."""
        earlier = {"before": self.before, "verdict": self.verdict}
        return {"until": self.until} | {k: node and node.name for k, node in earlier.items()}
