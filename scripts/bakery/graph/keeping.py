"""What a config stands on: the folders of results that must stay, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bakery.graph import keyed_folders
from bakery.graph.nodes import Graph, Node


@dataclass(frozen=True)
class Bake:
    """What uses the LoRA files of a bake, and what says which of them is recommended."""

    samples: tuple[str, ...]
    """Folders of the samples drawn from it."""
    pages: tuple[tuple[str, str], ...]
    """Folder of each page that it is on, and the name of its score there."""


@dataclass(frozen=True)
class Needed:
    """The results that a config, or several, need."""

    folders: frozenset[tuple[str, str]] = frozenset()
    """`identity` of every folder."""
    bakes: dict[str, Bake] = field(default_factory=dict)
    """Folder of a bake without halving -> what uses it."""
    in_rungs: frozenset[str] = frozenset()
    """Folders in which bakes of a sweep with halving are trained: another verdict continues them."""

    def __or__(self, other: Needed) -> Needed:
        bakes = dict(self.bakes)
        for folder, bake in other.bakes.items():
            mine = bakes.get(folder, Bake((), ()))
            bakes[folder] = Bake(
                tuple(dict.fromkeys(mine.samples + bake.samples)),
                tuple(dict.fromkeys(mine.pages + bake.pages)),
            )
        return Needed(self.folders | other.folders, bakes, self.in_rungs | other.in_rungs)

    def has(self, stage: str, name: str) -> bool:
        """Whether the folder `name` of `stage` is among them."""
        return identity(stage, name) in self.folders


def identity(stage: str, name: str) -> tuple[str, str]:
    """What makes a folder the one that a node means: its key, and of a sweep's own its name as well,
    as two sweeps with the same bakes have the same key."""
    return stage, name if stage in ("compare", "halve") else keyed_folders.key_of(name)


def needed(made: Graph) -> Needed:
    """What the config of this graph stands on, with all that its nodes were made from."""
    waiting = [node for stage in made.nodes for node in made.of(stage)]
    nodes: dict[tuple[str, str], Node] = {}
    folders: set[tuple[str, str]] = set()
    while waiting:
        node = waiting.pop()
        if identity(node.stage, node.name) in nodes:
            continue
        nodes[identity(node.stage, node.name)] = node
        waiting += node.stands_on()
        for other in node.others:
            folders |= {identity(stage, folder.name) for stage, folder in other.folders.items()}
    bakes: dict[str, Bake] = {}
    for node in made.of("sample"):
        if node.rung is None:
            mine = bakes.get(node.above("train").folder, Bake((), ()))
            bakes[node.above("train").folder] = replace(mine, samples=(*mine.samples, node.folder))
    for page in made.of("compare"):
        for leaf in page.parents:
            train, place = leaf.above("train").folder, (page.folder, leaf.name)
            if train in bakes:
                bakes[train] = replace(bakes[train], pages=(*bakes[train].pages, place))
    halved = (n.rung.bake.folder for n in nodes.values() if n.rung and n.stage == "train")
    return Needed(frozenset(folders | set(nodes)), bakes, frozenset(halved))
