"""Reads YAML as people write it in configs, within bounds.

PyYAML's own safe loader builds what aliases multiply, and recurses as deep as brackets are nested. It
makes dates, sets and bytes of what looks like them, which no setting takes, and of a name that is there
twice it takes the last without a word. Here each of these is a `BadLine` before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from bakery.io.plain_data import DEEPEST, LARGEST_INTEGER, MOST_VALUES

Repeated = Callable[[str, int, int], None]
"""Told of a name that a table has twice, with the lines of both, from 1 on."""
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_TAG = "tag:yaml.org,2002:"
_LONGEST_NUMBER = 100


class BadLine(Exception):
    """What is not read; `line` counts from 1, `what` goes behind it and says what to do."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line} {what}")
        self.line, self.what = line, what


class Loader(yaml.SafeLoader):
    """Reads a text of one document; raises `BadLine`, or `yaml.YAMLError` for what is no YAML."""

    def __init__(self, text: str, repeated: Repeated) -> None:
        super().__init__(text)
        self._repeated = repeated
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # by the node's identity: values in it, aliases followed

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1
        alias = self.check_event(yaml.AliasEvent)
        if self._depth > DEEPEST:
            raise BadLine(line, f"is more than {DEEPEST} brackets or levels deep: flatten it")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if alias and id(node) not in self._sizes:
            raise BadLine(line, "names with * the table or list that it is in: write it out")
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(one)] for one in _inside(node))
        self._count += self._sizes[id(node)] if alias else 1
        if self._count > MOST_VALUES:
            raise BadLine(line, f"brings this to more than {MOST_VALUES} values: leave some out")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            plain = key.tag == f"{_TAG}str" or key.tag.removeprefix(_TAG) not in _PLAIN
            name = key.value if plain else str(self.construct_object(key))
            line = key.start_mark.line + 1
            if name in lines:
                self._repeated(name, lines[name], line)
            lines[name] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        line, kind = node.start_mark.line + 1, node.tag.removeprefix(_TAG)
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise BadLine(line, f"has a number of {len(node.value)} characters: shorten it")
        try:
            found = super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, OverflowError):
            shown = str(node.value)[:40]
            raise BadLine(
                line, f"has {shown!r}, which is no {kind}: mend it, or quote it"
            ) from None
        if type(found) is int and abs(found) >= LARGEST_INTEGER:
            raise BadLine(line, "has a whole number of more than 64 bits: no setting takes it")
        return found


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse(loader: Loader, node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    if node.tag == f"{_TAG}timestamp":
        raise BadLine(line, f"has {node.value}, which YAML reads as a date: put it in quotes")
    named = node.tag.replace(_TAG, "!!")[:60]
    raise BadLine(line, f"has the tag {named}, which is not read here: leave it out")


for _tag in list(Loader.yaml_constructors):
    if _tag is None or _tag.removeprefix(_TAG) not in _PLAIN:
        Loader.add_constructor(_tag, _refuse)
