"""The parts of a config that share nothing, so that a job on another machine reads its own alone.

On a cluster each job is a process that reads the workflow again. With the whole config and its graph,
each of n bakes would cost time in proportion to n. So the run writes down the sweeps in parts whose
bakes do not even share their pictures, and which part each node is in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.graph import keyed_folders
from bakery.graph.nodes import Graph, Node
from bakery.io.errors import BakeryError
from bakery.io.files import write_text

PLACE = "BAKERY_PARTS"
"""Names, in a job's environment, the folder of its run's parts."""
INDEX = "index.json"
OF_PAGES = ("compare", "gather")
"""Sections of what is made where the run was started: no part needs them, and they may name sweeps
that it has not."""


@dataclass(frozen=True)
class Part:
    """What a job needs to know instead of the whole config."""

    config: dict[str, Any]
    """As read, with the sweeps of this part."""
    workers: int
    """Processes among which each group of bakes is shared (`claims.deal`)."""


def folder_of(config: Mapping[str, Any], workers: int, place: Path) -> Path:
    """Where in `place` the parts of `config`, as read, are for runs of so many `workers`.

    Runs of one config share it, so jobs that an earlier run left in a queue find theirs.
    """
    text = json.dumps([config, workers])
    return place / hashlib.sha256(text.encode()).hexdigest()[:12]


def write(graph: Graph, config: Mapping[str, Any], workers: int, folder: Path) -> None:
    """Write the parts of `graph`, built of `config` as read, into `folder`."""
    recipe = {name: one for name, one in config.items() if name not in (*OF_PAGES, "sweeps")}
    sweeps = config.get("sweeps") or {}
    index: dict[str, int] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, pages in enumerate(_apart(graph)):
        own = {page.readable: sweeps[page.readable] for page in pages if page.readable in sweeps}
        part = {"config": recipe | {"sweeps": own}, "workers": workers}
        write_text(folder / f"{number}.json", json.dumps(part), lasting=False)
        leaves = (leaf for page in pages for leaf in page.parents)
        index |= dict.fromkeys(_keys(leaves), number)
    write_text(folder / INDEX, json.dumps(index), lasting=False)


def read(folder: Path, names: Iterable[str]) -> Part:
    """The part with the nodes `names` (`suzu-lr0.002-0123456789ab`), which are of one part.

    Raises `BakeryError` if there is none.
    """
    names = list(names)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        (number,) = {index[keyed_folders.key_of(name)] for name in names}
        return Part(**json.loads((folder / f"{number}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BakeryError(
            f"{folder} does not say what {', '.join(names[:3]) or 'no node'} is part of ({error}): "
            "was it removed while jobs were waiting? Start the run again"
        ) from None


def _apart(graph: Graph) -> list[list[Node]]:
    """The pages, in parts that share no node. Bakes that share one share their scrape."""
    parts: list[tuple[set[str], list[Node]]] = []
    part_of: dict[str, int] = {}
    for page in graph.of("compare"):
        scrapes = {leaf.above("scrape").key for leaf in page.parents}
        touched = sorted({part_of[key] for key in scrapes if key in part_of})
        home = touched[0] if touched else len(parts)
        if not touched:
            parts.append((set(), []))
        for other in touched[1:]:
            scrapes |= parts[other][0]
            parts[home][1].extend(parts[other][1])
            parts[other] = set(), []
        parts[home][0].update(scrapes)
        parts[home][1].append(page)
        part_of |= dict.fromkeys(scrapes, home)
    order = {page.name: number for number, page in enumerate(graph.of("compare"))}
    return [sorted(pages, key=lambda page: order[page.name]) for _, pages in parts if pages]


def _keys(leaves: Iterable[Node]) -> set[str]:
    """The keys of these nodes and of all that they stand on: with halving, each on all bakes of its
    sweep."""
    found: set[str] = set()
    waiting = list(leaves)
    while waiting:
        node = waiting.pop()
        if node.key not in found:
            found.add(node.key)
            waiting += node.stands_on()
    return found
