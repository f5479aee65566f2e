"""What has to be baked: the config and its sweeps as a graph of keyed nodes.

A node is one run of one stage. Its key is a hash of all that decides its result: the stage's name and
code version, the settings that differ from their defaults, the content of local models and folders
it names, and the keys above it. Equal keys are one node, so bakes share every stage above the first
difference. Its folder is `results/<stage>/<readable>-<key>/`; the readable part is a function of the
same settings, so that no folder is renamed when a sweep gets one more value.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bakery.graph import finished
from bakery.graph import halving as races
from bakery.graph.nodes import CODE_VERSIONS, Node, Plan, Rung
from bakery.io.errors import BakeryError
from bakery.io.manifest import digest
from bakery.settings import config as cfg
from bakery.settings.filter import Critic, Filter
from bakery.settings.halve import Halving
from bakery.settings.layout import Layout
from bakery.settings.score import Score
from bakery.settings.scrape import Scrape
from bakery.settings.sections import Section
from bakery.settings.sweeps import Sweep
from bakery.settings.tag import Tag
from bakery.settings.train import Train

CHAIN = cfg.STAGES[:-1]
"""The stages of one bake; the last stage, compare, gathers several."""

EDITS = {
    "filter": ("exclude.txt", "include.txt"),
    "prune": ("tags.csv",),
    "layout": ("captions", "boxes.csv"),
}
"""Hand edits in `config/edits/<scrape.name>/`, by the stage that heeds them."""

EMBEDDED_BOORU = "resources/world/booru"
WHOLE_HASH_LIMIT = 64 * 2**20
"""Larger files (full-size checkpoints) are known by name and size: hashing them takes minutes."""


def build(config: cfg.Config, roots: Sequence[Path]) -> Plan:
    """The plan of `config`; local models and folders are looked for below each of `roots`."""
    plan = Plan({stage: {} for stage in (*cfg.STAGES, "halve")})
    fingerprint = functools.cache(_fingerprint)  # bakes of a sweep name the same models
    beside = finished.named(config.compare.with_, roots[0])
    for sweep_name, sweep in (config.sweeps or {"bake": Sweep()}).items():
        leaves = _leaves(plan, config, sweep_name, sweep, roots, fingerprint)
        parents, labels = zip(*leaves, strict=True)
        content = {leaf.key: label for leaf, label in leaves}
        own = {parent.name for parent in parents}
        others = tuple(other for other in beside if other.score.name not in own)
        content |= {other.score.name: other.content for other in others}
        page = _node("compare", config.compare, parents, sweep_name, content, labels)
        page = replace(page, others=others)
        plan.nodes["compare"][page.name] = page
    return plan


def model_of(node: Node, setting: str, roots: Sequence[Path]) -> str:
    """Path or hub id of the model that `setting` of the node's chain names (`train.base` ...)."""
    stage, name = setting.split(".")
    value = getattr(node.above(stage).settings, name)
    found = locate(value, roots, setting)
    return value if found is None else str(found)


def optional_model_of(node: Node, setting: str, roots: Sequence[Path]) -> str | None:
    """As `model_of`; None where `setting` is empty."""
    stage, name = setting.split(".")
    return model_of(node, setting, roots) if getattr(node.above(stage).settings, name) else None


def critic_file(critic: Critic, roots: Sequence[Path]) -> Path:
    """The file of one of `filter.models`."""
    found = locate(critic.path, roots, "filter.models")
    if found is None:
        raise BakeryError(
            f"config: filter.models names {critic.path}, which is not here: download the .onnx "
            "file and give its path"
        )
    return found


def critics_of(node: Node, roots: Sequence[Path]) -> list[str]:
    """The files of `filter.models`, in their order."""
    return [str(critic_file(critic, roots)) for critic in node.above("filter").settings.models]


def edits_of(node: Node, roots: Sequence[Path]) -> dict[str, str]:
    """The hand edits that the node heeds: name (`exclude.txt`) -> path; those that exist."""
    return {name: str(path) for name, path in _edits(node.stage, dataset_of(node), roots).items()}


def locate(name: str, roots: Sequence[Path], where: str) -> Path | None:
    """The local file or folder `name`, or None for a hub id; a missing file is an error."""
    for root in roots:
        if (root / name).exists():
            return root / name
    first, _, rest = name.partition("/")
    looks_like_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name)
    local = any((root / first).is_dir() for root in roots) or first in {".", ".."}
    if looks_like_hub and not local and not rest.endswith((".safetensors", ".ckpt", ".pt")):
        return None
    raise BakeryError(
        f"config: {where} names {name}, which does not exist: give a file or folder, "
        "or a hub id such as SmilingWolf/wd-swinv2-tagger-v3"
    )


def _variants(name: str, sweep: Sweep) -> list[dict[str, Any]]:
    for setting in {*sweep.grid, *(s for variant in sweep.variants for s in variant)}:
        if setting.split(".")[0] == "compare":
            raise BakeryError(
                f"config: sweeps.{name}: {setting} belongs to the page, not to a bake"
            )
    for setting, values in sweep.grid.items():
        if not values:
            raise BakeryError(f"config: sweeps.{name}.grid.{setting} is empty: list its values")
    if not sweep.grid:
        return list(sweep.variants) or [{}]
    product = itertools.product(*sweep.grid.values())
    return [dict(zip(sweep.grid, values, strict=True)) for values in product] + list(sweep.variants)


def _leaves(
    plan: Plan,
    config: cfg.Config,
    name: str,
    sweep: Sweep,
    roots: Sequence[Path],
    fingerprint: Callable[[Path], str],
) -> list[tuple[Node, str]]:
    """The last node of each bake of a sweep, and its label; equal bakes are one."""

    def verdict(halving: Halving, parents: tuple[Node, ...], labels: Sequence[str]) -> Node:
        content = {leaf.key: label for leaf, label in zip(parents, labels, strict=True)}
        node = _node("halve", halving, parents, name, content, tuple(labels))
        return plan.nodes["halve"].setdefault(node.name, node)

    entries = []
    for changes in _variants(name, sweep):
        label = ", ".join(f"{k.split('.')[-1]} {v}" for k, v in changes.items())
        entries.append((cfg.overlay(config, changes), label))
    if sweep.halving is not None:
        aside = Plan({stage: {} for stage in cfg.STAGES})
        return races.plan(
            name, sweep.halving, entries,
            whole=lambda one: _chain(aside, one, roots, fingerprint),
            chain=lambda one, rung: _chain(plan, one, roots, fingerprint, rung),
            verdict=verdict,
        )  # fmt: skip
    leaves: dict[str, tuple[Node, str]] = {}
    for one, label in entries:
        leaf = _chain(plan, one, roots, fingerprint)
        leaves.setdefault(leaf.key, (leaf, label or leaf.readable))
    return list(leaves.values())


def _chain(
    plan: Plan,
    config: cfg.Config,
    roots: Sequence[Path],
    fingerprint: Callable[[Path], str],
    rung: Rung | None = None,
) -> Node:
    """The nodes of one bake, top to bottom; those already planned are shared. Gives the last."""
    parents: tuple[Node, ...] = ()
    node = None
    for stage in CHAIN:
        section = getattr(config, stage)
        files = _models(section, roots) | _edits(stage, config.scrape.name, roots)
        content = {name: fingerprint(path) for name, path in files.items()}
        place = rung and rung.at(stage)
        node = _node(stage, section, parents, _readable(stage, config, place), content, rung=place)
        node = plan.nodes[stage].setdefault(node.name, node)
        parents = (node,)
    assert node is not None
    return node


def _node(
    stage: str,
    section: Section,
    parents: tuple[Node, ...],
    readable: str,
    content: dict[str, str],
    labels: tuple[str, ...] = (),
    rung: Rung | None = None,
) -> Node:
    identity = {
        "stage": stage,
        "code_version": CODE_VERSIONS[stage],
        "settings": cfg.chosen(section),
        "content": content,
        "above": sorted(parent.key for parent in parents),
    }
    if rung is not None and stage == "train":
        identity["rung"] = rung.identity()
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Node(stage, key, readable, section, parents, labels, rung=rung)


def _readable(stage: str, config: cfg.Config, rung: Rung | None) -> str:
    if CHAIN.index(stage) < CHAIN.index("train"):
        return config.scrape.name
    in_passing = rung is not None and rung.until < config.train.num_epochs
    piece = f"-epoch{rung.until}" if in_passing else ""
    return f"{config.scrape.name}-lr{config.train.rates['unet_lr']:g}{piece}"


def _models(section: Section, roots: Sequence[Path]) -> dict[str, Path]:
    """The local files and folders that `section` names, by setting or path."""
    found: dict[str, Path | None] = {}
    if isinstance(section, Scrape):
        # the user's own pictures: looked for where the user stands, nowhere else
        found = {f.path: locate(f.path, roots[:1], "scrape.folders") for f in section.folders}
        if any(entry.url.startswith("embedded:") for entry in section.urls):
            found["embedded"] = locate(EMBEDDED_BOORU, roots, "scrape.urls")
    elif isinstance(section, Filter):
        found = {critic.path: critic_file(critic, roots) for critic in section.models}
    elif isinstance(section, Tag):
        found = {"model": locate(section.model, roots, "tag.model")}
    elif isinstance(section, Layout) and section.reg is not None:
        found = {"reg": _own_folder(section.reg.folder, roots[:1], "layout.reg.folder")}
    elif isinstance(section, Train):
        found = {"base": locate(section.base, roots, "train.base")}
        if section.reg_data_dir is not None:  # the user's own pictures, as above
            found["reg"] = locate(section.reg_data_dir, roots[:1], "train.reg_data_dir")
    elif isinstance(section, Score) and section.embedding_model:
        where = "score.embedding_model"
        found = {"embedding_model": locate(section.embedding_model, roots, where)}
    return {name: path for name, path in found.items() if path is not None}


def _own_folder(name: str, roots: Sequence[Path], where: str) -> Path:
    """A folder of the user's own pictures: unlike a model's name, never a hub id."""
    for root in roots:
        if (root / name).is_dir():
            return root / name
    raise BakeryError(f"config: {where} names {name}, which is not a folder: check the spelling")


def _edits(stage: str, dataset: str, roots: Sequence[Path]) -> dict[str, Path]:
    """Looked for where the user stands, nowhere else, as the user's own pictures are."""
    folder = roots[0] / "config" / "edits" / dataset
    found = {name: folder / name for name in EDITS.get(stage, ())}
    return {name: path for name, path in found.items() if path.is_file() or any(path.glob("*"))}


def dataset_of(node: Node) -> str:
    """The name under which hand edits are looked for."""
    scrape = node.above("scrape").settings
    assert isinstance(scrape, Scrape)
    return scrape.name


def _fingerprint(path: Path) -> str:
    """sha256 over the names and contents of `path` (a file, or a folder's files)."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    listing = []
    for file in files:
        size = file.stat().st_size
        content = digest(file) if size <= WHOLE_HASH_LIMIT else size
        listing.append((file.relative_to(path).as_posix(), content))
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()
