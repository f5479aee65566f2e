"""Builds the graph of keyed nodes for the config and its sweeps.

A node is one run of one stage. Its key is a hash of everything that decides its result: the stage's
name and code version, the settings that differ from their defaults, the content of local models and
folders it names, and the keys above it. Equal keys are one node, so bakes share every stage up to
the first difference. Its folder is `results/<stage>/<readable>-<key>/`; the readable part says what
differs in its sweep. Only the key counts: a folder that exists is found by it, whatever the readable
part was when it was made, so a sweep with one more axis renames nothing.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bakery.families import recognise, registry
from bakery.families.family import Family
from bakery.families.recognise import Place
from bakery.graph import finished, halving, keyed_folders, short_names
from bakery.graph.halving import Entry, Leaf
from bakery.graph.nodes import CODE_VERSIONS, Graph, Node, Rung
from bakery.io import manifest, regular_files, walk
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.config import Sweep
from bakery.settings.halve import Halving
from bakery.settings.named_files import locate, named_in
from bakery.settings.sample import Sample
from bakery.settings.scrape import Scrape
from bakery.settings.sections import Section
from bakery.settings.train import Train

CHAIN = cfg.STAGES[:-1]
"""The stages of one bake; the last stage, compare, gathers several."""

EDITS = {
    "filter": ("exclude.txt", "include.txt"),
    "prune": ("tags.csv",),
    "layout": ("captions", "captions.csv", "boxes.csv"),
}
"""Hand edits in `config/edits/<scrape.name>/`, by the stage that uses them."""

MOST_BAKES = 500
"""Of one sweep, each of which is trained, drawn and scored."""


def build(config: cfg.Config, roots: Sequence[Path]) -> Graph:
    """The graph of `config`; local models and folders are searched below each of `roots`."""
    return Builder(config, roots).build()


def empty() -> Graph:
    """A graph without nodes."""
    return Graph({stage: {} for stage in (*cfg.STAGES, "halve")})


class Builder:
    """Builds the graph of one config, node by node; equal keys are one node."""

    def __init__(self, config: cfg.Config, roots: Sequence[Path]) -> None:
        self.config, self.roots = config, roots
        self.graph = empty()
        # bakes of a sweep share most of their sections, models and edits
        self._bases: dict[str, tuple[Place, Family | None]] = {}
        self._fingerprint = functools.cache(_fingerprint)
        self._on_disk = functools.cache(keyed_folders.by_key)
        self._edits = functools.cache(lambda stage, dataset: _edits(stage, dataset, roots))
        self._seen: dict[int, tuple[Section, dict[str, str]]] = {}
        self._readable: dict[tuple[str, str], str] = {}
        self._lora_names: dict[str, str] = {}

    def build(self) -> Graph:
        """The whole graph: a page for each sweep, and everything it depends on."""
        beside = finished.named(self.config.compare.with_, self.roots[0])
        for name, sweep in (self.config.sweeps or {"bake": Sweep()}).items():
            leaves = self._leaves(name, sweep)
            parents = tuple(leaf.node for leaf in leaves)
            own = {parent.key for parent in parents}
            others = tuple(one for one in beside if keyed_folders.key_of(one.score.name) not in own)
            called = [(leaf.node.key, leaf.name) for leaf in leaves]
            called += [(str(other.score), other.readable) for other in others]
            names = tuple(self._lora_name(*one) for one in called)
            content = {leaf.node.key: f"{leaf.label}, {name}"
                       for leaf, name in zip(leaves, names, strict=False)}  # fmt: skip
            content |= {other.score.name: other.content for other in others}
            labels = tuple(leaf.label for leaf in leaves)
            page = Node("compare", "", name, self.config.compare, parents, labels, names, others)
            _add(self.graph, _keyed(page, content))
        return self.graph

    def _leaves(self, name: str, sweep: Sweep) -> list[Leaf]:
        """The last node of each bake of a sweep; equal bakes are one."""

        def verdict(halving: Halving, parents: tuple[Node, ...], labels: Sequence[str]) -> Node:
            content = {leaf.key: label for leaf, label in zip(parents, labels, strict=True)}
            node = Node("halve", "", name, halving, parents, tuple(labels))
            return _add(self.graph, _keyed(node, content))

        entries = self._entries(name, sweep)
        if sweep.halving is not None:
            aside = Graph({stage: {} for stage in cfg.STAGES})
            return halving.build_rungs(
                name, sweep.halving, entries,
                whole=lambda entry: self._chain(aside, entry),
                chain=lambda entry, rung: self._chain(self.graph, entry, rung),
                verdict=verdict,
            )  # fmt: skip
        leaves: dict[str, Leaf] = {}
        for entry in entries:
            leaf = self._chain(self.graph, entry)
            leaves.setdefault(leaf.key, Leaf(leaf, entry.label, entry.name))
        return list(leaves.values())

    def _entries(self, name: str, sweep: Sweep) -> list[Entry]:
        """The bakes of a sweep, with their labels and with what differs between them."""
        variants = _variants(name, sweep)
        configs = [cfg.overlay(self.config, changes) for changes in variants]
        changed = dict.fromkeys(setting for changes in variants for setting in changes)
        values = [{setting: _value(one, setting) for setting in changed} for one in configs]
        differing = set(short_names.differing(values)) - {"scrape.name"}
        entries = []
        for config, changes, has in zip(configs, variants, values, strict=True):
            label = ", ".join(f"{k.split('.')[-1]} {_said(v)}" for k, v in changes.items())
            differs = short_names.said({k: has[k] for k in changes if k in differing})
            entries.append(Entry(config, label or _alone(config), differs))
        return entries

    def _placed(self, node: Node) -> Node:
        """`node` under the name that its folder has: as it exists, else as its first sweep has it."""
        at = node.stage, node.key
        if at not in self._readable:
            found = self._on_disk(self.roots[0] / "results" / node.stage).get(node.key)
            self._readable[at] = found.removesuffix(f"-{node.key}") if found else node.readable
        return replace(node, readable=self._readable[at])

    def _lora_name(self, key: str, name: str) -> str:
        """`name`, or if another bake is already called so, `name` with the beginning of the key."""
        known = self._lora_names.setdefault(name.casefold(), key)
        return name if known == key else f"{name}-{keyed_folders.key_of(key)[:4]}"

    def _chain(self, graph: Graph, entry: Entry, rung: Rung | None = None) -> Node:
        """Add the nodes of one bake, top to bottom; those already in `graph` are shared. Returns
        the last."""
        config = entry.config
        parents: tuple[Node, ...] = ()
        for stage in CHAIN:
            section = getattr(config, stage)
            edits = self._edits(stage, config.scrape.name)
            content = self._content(stage, section)
            content |= {name: self._fingerprint(path) for name, path in edits.items()}
            if isinstance(section, Sample) and (family := self._base(config.train)[1]):
                registry.check_sampler(family, section.sampler)
            place = rung and rung.at(stage)
            readable = _readable(stage, entry, place)
            node = Node(stage, "", readable, section, parents, rung=place)
            parents = (_add(graph, self._placed(_keyed(node, content))),)
        (last,) = parents
        return last

    def _content(self, stage: str, section: Section) -> dict[str, str]:
        """Fingerprints of what `section` names, by their name in the key; read once a section."""
        if id(section) not in self._seen:
            if isinstance(section, Train):
                registry.check_parts(section.base)  # a part that no family knows is not a file
            files = {
                one.key: one.mark.find(one.text, self.roots, f"{stage}.{one.where}")
                for one in named_in(section)
            }
            content = {name: self._fingerprint(at) for name, at in files.items() if at is not None}
            if isinstance(section, Train):
                content |= self._family(section)
            self._seen[id(section)] = section, content  # kept, so that its id is not another's
        return dict(self._seen[id(section)][1])

    def _family(self, train: Train) -> dict[str, str]:
        """The code versions of the base's family; `BakeryError` for a base that cannot be trained,
        and for settings that do nothing with it."""
        place, family = self._base(train)
        if family is not None:
            registry.check(family, place, train.model_dump())
        return {f"code of {n}": str(version) for n, version in registry.versions(family).items()}

    def _base(self, train: Train) -> tuple[Place, Family | None]:
        """Where a base is, and its family, None for a hub id; each base is looked at once."""
        named = repr(train.base)
        if named not in self._bases:
            place = _located(train.base, self.roots, "train.base")
            self._bases[named] = place, registry.family_of(place)
        return self._bases[named]


def files_of(node: Node, setting: str, roots: Sequence[Path]) -> list[str]:
    """What `setting` of the node's chain (`filter.models`) names: paths, and hub ids as written."""
    stage, name = setting.split(".")
    return [
        str(one.mark.find(one.text, roots, setting) or one.text)
        for one in named_in(node.above(stage).settings)
        if one.where == name
    ]


def file_of(node: Node, setting: str, roots: Sequence[Path]) -> Place | None:
    """As `files_of` for a setting that names one (`train.base`); None where it names nothing.

    Of a model that is named part by part, what its parts name.
    """
    stage, name = setting.split(".")
    value = getattr(node.above(stage).settings, name)
    if isinstance(value, dict):
        return _located(value, roots, setting)
    return next(filter(None, files_of(node, setting, roots)), None)


def edits_of(node: Node, roots: Sequence[Path]) -> dict[str, str]:
    """The existing hand edits that the node uses: name (`exclude.txt`) -> path."""
    return {name: str(path) for name, path in _edits(node.stage, dataset_of(node), roots).items()}


def _located(place: Place, roots: Sequence[Path], where: str) -> Place:
    """`place` with the paths of what is local; hub ids stay as they are."""
    return recognise.each(
        place,
        lambda part, path: str(locate(path, roots, f"{where}.{part}" if part else where) or path),
    )


def _variants(name: str, sweep: Sweep) -> list[dict[str, Any]]:
    for setting in {*sweep.grid, *(s for variant in sweep.variants for s in variant)}:
        if setting.split(".")[0] == "compare":
            raise BakeryError(
                f"config: sweeps.{name}: {setting} is a setting of the page, not of a bake"
            )
    for setting, values in sweep.grid.items():
        if not values:
            raise BakeryError(f"config: sweeps.{name}.grid.{setting} is empty: list its values")
    count = math.prod(map(len, sweep.grid.values())) * bool(sweep.grid) + len(sweep.variants)
    if count > MOST_BAKES:
        raise BakeryError(
            f"config: sweeps.{name} asks for {count} bakes, more than {MOST_BAKES}: the grid "
            "bakes every combination of its values, so list fewer, or name the bakes in variants"
        )
    if not sweep.grid:
        return list(sweep.variants) or [{}]
    product = itertools.product(*sweep.grid.values())
    return [dict(zip(sweep.grid, values, strict=True)) for values in product] + list(sweep.variants)


def _said(value: Any) -> str:
    """A value as the config spells it: `null` and `true`, not `None` and `True`."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _add(graph: Graph, node: Node) -> Node:
    """The node of `graph` that is equal to `node`; that itself if it is new."""
    return graph.nodes[node.stage].setdefault(node.name, node)


def _keyed(node: Node, content: Mapping[str, str]) -> Node:
    """`node` with its key; `content` are the fingerprints of everything else that decides its
    result."""
    identity = {
        "stage": node.stage,
        "code_version": CODE_VERSIONS[node.stage],
        "settings": cfg.chosen(node.settings),
        "content": content,
        "above": sorted(parent.key for parent in node.parents),
    }
    if node.rung is not None and node.stage == "train":
        identity["rung"] = node.rung.identity()
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return replace(node, key=hashlib.sha256(text.encode()).hexdigest()[:12])


def _readable(stage: str, entry: Entry, rung: Rung | None) -> str:
    config = entry.config
    if CHAIN.index(stage) < CHAIN.index("train"):
        return config.scrape.name
    piece = ""
    if rung is not None and rung.until < config.train.num_epochs:
        piece = f"-epoch{rung.until}"
    return (entry.name if entry.differs else _alone(config)) + piece


def _alone(config: cfg.Config) -> str:
    """What a bake is called that differs from no other."""
    return f"{config.scrape.name}-lr{config.train.rates['unet_lr']:g}"


def _value(config: cfg.Config, setting: str) -> Any:
    """The value of a dotted setting (`train.unet_lr`), as plain JSON."""
    stage, *names = setting.split(".")
    value: Any = getattr(config, stage).model_dump(mode="json")
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _edits(stage: str, dataset: str, roots: Sequence[Path]) -> dict[str, Path]:
    """Searched only in the working directory, like the user's own pictures."""
    folder = roots[0] / "config" / "edits" / dataset
    found = {name: folder / name for name in EDITS.get(stage, ())}
    for path in found.values():
        if os.path.lexists(path):
            try:
                regular_files.check_tree_entry(path)
            except OSError as problem:
                raise BakeryError(
                    f"{path} cannot be read ({problem.strerror}): remove it"
                ) from None
    return {name: path for name, path in found.items() if path.is_file() or any(path.glob("*"))}


def dataset_of(node: Node) -> str:
    """The name under which hand edits are found."""
    scrape = node.above("scrape").settings
    assert isinstance(scrape, Scrape)
    return scrape.name


def _fingerprint(path: Path) -> str:
    """sha256 over the names and contents of `path` (a file, or a folder's files)."""
    files = list(walk.files(path)) if path.is_dir() else [path]
    listing = [(file.relative_to(path).as_posix(), manifest.content(file)) for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()
