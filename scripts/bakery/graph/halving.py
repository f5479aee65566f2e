"""A sweep with halving as a part of the graph: its bakes, baked in rungs, with a verdict after each.

    rung 1            verdict            rung 2
    train > sample > score  \\         /  train > sample > score
    train > sample > score   > halve >    train > sample > score
    train > sample > score  /         \\  (stopped: its files are carried over)

All rungs of a bake train in one folder: that of the bake without halving. It has the same files, up
to the last rung that ran. A rung's own folder has the files up to its last epoch. So nothing is
trained twice if another value, or another share to keep, leads to another verdict, or if halving is
removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bakery.graph import short_names
from bakery.graph.nodes import Node, Rung
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.halve import Halving
from bakery.settings.train import Train

RULER = ("tag", "sample", "score")
"""Stages that a score depends on besides the bake: ranked bakes must be measured alike."""


class Entry(NamedTuple):
    """A bake of a sweep."""

    config: cfg.Config
    label: str
    differs: str
    """What differs in the sweep, as part of a name: `lr0.002-dim8`; "" for nothing."""

    @property
    def name(self) -> str:
        """What its LoRA files are called where they leave: `mirael-lr0.002`."""
        return short_names.joined(self.config.scrape.name, self.differs)


class Leaf(NamedTuple):
    """The last node of a bake, with its label and name on the page."""

    node: Node
    label: str
    name: str


def build_rungs(
    name: str,
    halving: Halving,
    entries: Iterable[Entry],
    *,
    whole: Callable[[Entry], Node],
    chain: Callable[[Entry, Rung], Node],
    verdict: Callable[[Halving, tuple[Node, ...], Sequence[str]], Node],
) -> list[Leaf]:
    """The last node of each bake of the sweep `name`.

    `whole` gives the last node of a bake without halving, `chain` adds one rung of it, `verdict`
    ranks the bakes after a rung. Raises `BakeryError` if halving makes no sense.
    """
    bakes: dict[str, tuple[Node, Entry]] = {}
    for entry in entries:
        node = whole(entry)
        bakes.setdefault(node.key, (node, entry))
    configs = [entry.config for _, entry in bakes.values()]
    _check(f"config: sweeps.{name}.halving", halving, configs)
    labels = [entry.label for _, entry in bakes.values()]
    leaves: dict[str, Node] = {}
    verdict_node = None
    for until in halving.after:
        leaves = {
            key: chain(_in_passing(entry), Rung(until, node, leaves.get(key), verdict_node))
            for key, (node, entry) in bakes.items()
        }
        here = halving.model_copy(update={"after": (until,)})
        verdict_node = verdict(here, tuple(leaves.values()), labels)
    return [
        Leaf(
            chain(entry, Rung(entry.config.train.num_epochs, node, leaves[key], verdict_node)),
            entry.label,
            entry.name,
        )
        for key, (node, entry) in bakes.items()
    ]


def inputs(node: Node) -> list[str]:
    """Manifests that the node depends on besides those of the earlier stages."""
    rung = node.rung
    if rung is None or rung.before is None:
        return []
    verdicts = [rung.verdict.manifest] if rung.verdict and node.stage == "train" else []
    return [rung.before.manifest, *verdicts]


def facts(node: Node) -> dict[str, Any]:
    """Facts about the rung that the node's door needs; empty without halving."""
    rung = node.rung
    if rung is None:
        return {}
    return {
        "until": rung.until,
        "bake": rung.bake.folder,
        "before": rung.before and rung.before.folder,
        "verdict": rung.verdict and rung.verdict.folder,
    }


def contenders(verdict: Node) -> list[dict[str, str]]:
    """The bakes that `verdict` ranks: label, where each is baked, and its folders of this rung."""
    return [
        {
            "label": label,
            "bake": leaf.above("train").baked.name,
            "train": leaf.above("train").folder,
            "score": leaf.folder,
        }
        for leaf, label in zip(verdict.parents, verdict.labels, strict=True)
    ]


def rungs_of(leaf: Node) -> list[dict[str, Any]] | None:
    """The rungs of a bake, and how many bakes run in each if none fails; None without halving."""
    if leaf.rung is None:
        return None
    rungs: list[tuple[Node, Rung]] = []
    before: Node | None = leaf
    while before is not None and before.rung is not None:
        rungs.insert(0, (before, before.rung))
        before = before.rung.before
    found: list[dict[str, Any]] = []
    bakes = 0
    for node, rung in rungs:
        verdict_node = rung.verdict
        folders = {stage: node.above(stage).folder for stage in ("train", "sample", "score")}
        if verdict_node is not None:
            assert isinstance(verdict_node.settings, Halving)
            bakes = verdict_node.settings.places(bakes or len(verdict_node.parents))
            folders["halve"] = verdict_node.folder
        found.append({"until": rung.until, "bakes": bakes, "folders": folders})
    first_verdict = rungs[1][1].verdict
    assert first_verdict is not None
    found[0]["bakes"] = len(first_verdict.parents)
    return found


def _in_passing(entry: Entry) -> Entry:
    """The bake in a rung before the last: further LoRA weights are for the finished bake."""
    sample = entry.config.sample.model_copy(update={"weights": (), "weights_epoch": None})
    return entry._replace(config=entry.config.model_copy(update={"sample": sample}))


def _check(where: str, halving: Halving, configs: Sequence[cfg.Config]) -> None:
    if len(configs) < 2:
        raise BakeryError(
            f"{where} has only one bake to choose from: give the sweep more values, or take halving out"
        )
    for stage in RULER:
        sections = [cfg.chosen(getattr(config, stage)) for config in configs]
        differing = {
            k for one in sections for k in one if any(one[k] != o.get(k) for o in sections)
        }
        if differing:
            raise BakeryError(
                f"{where} ranks bakes by score, so all must be measured alike: take "
                f"{stage}.{min(differing)} out of the sweep, or halving"
            )
    if len({config.train.num_epochs for config in configs}) > 1:
        raise BakeryError(
            f"{where} ranks bakes at the same epoch: take train.num_epochs out of the sweep, or "
            "halving"
        )
    for train in (config.train for config in configs):
        _check_epochs(where, halving, train)


def _check_epochs(where: str, halving: Halving, train: Train) -> None:
    if train.max_steps:
        raise BakeryError(
            f"{where} counts epochs, but train.max_steps is {train.max_steps}: set it to 0 and give "
            "train.num_epochs"
        )
    last, every = halving.after[-1], train.save_every_n_epochs
    if last >= train.num_epochs:
        raise BakeryError(
            f"{where}.after names epoch {last}, but train.num_epochs is {train.num_epochs}: "
            "nothing is left to save after it, so name earlier epochs"
        )
    for epoch in halving.after:
        if epoch % every:
            raise BakeryError(
                f"{where}.after names epoch {epoch}, which is not saved, as train.save_every_n_epochs "
                f"is {every}: name a multiple of it"
            )
