"""Configs as text: cut, swapped, indented, re-encoded, with hostile values in place of good ones.

They go the way of a run: what the profile reads, what Snakemake reads, the settings, the graph. Taken is
what has a key; refused, what gets a sentence that names the file or the setting.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path

import yaml
from snakemake.common.configfile import load_configfile

from bakery.graph import build
from bakery.io.errors import BakeryError
from bakery.settings import config, config_file
from tests.fuzz.outcome import Outcome

LONG, SHORT = 2000, 12
ROOT = Path(__file__).parents[2]
LAUGHS = "&a [lol, lol, lol]\n" + "".join(
    f"x{n}: &{chr(97 + n)} [{', '.join([f'*{chr(96 + n)}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "&a {lol: 1}\n" + "".join(
    f"x{n}: &{chr(97 + n)} {{<<: [{', '.join([f'*{chr(96 + n)}'] * 4)}]}}\n" for n in range(1, 12)
)
ATOMS = (
    ".nan",
    ".inf",
    "-.inf",
    "nan",
    "inf",
    "1e999",
    "-1e999",
    "1e-999",
    "-1",
    "0",
    "1" * 5000,
    "-" + "9" * 5000,
    "0x" + "f" * 5000,
    "0b" + "1" * 9000,
    "1:" * 3000 + "0",
    "9223372036854775808",
    "1e308",
    "0o7",
    "1_000",
    "null",
    "~",
    "",
    "true",
    "yes",
    "off",
    "[]",
    "{}",
    "[[]]",
    "[1, 2, 3]",
    "{a: 1}",
    "{1: 2}",
    "{null: 1}",
    "{true: x}",
    "[" * 10_000,
    "{a: " * 5000,
    "[" * 300 + "]" * 300,
    "2024-01-01",
    "2024-01-01 10:00:00",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!python/object/apply:os.system [id]",
    "!!python/tuple [1, 2]",
    "!!python/name:os.system",
    "!mine 3",
    "!!int x",
    "!!float []",
    "!!bool 3",
    "!!null x",
    "!!timestamp x",
    "!!str [a]",
    "*gone",
    "&a [*a]",
    "&b {b: *b}",
    LAUGHS,
    MERGES,
    "x" * 300,
    "a/" * 200,
    "../../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/dev/tty",
    "/proc/self/mem",
    "/etc/shadow",
    "~root",
    "~nobody-here/x",
    "C:\\new\\table",
    '"C:\\new"',
    '"\\0"',
    '"\\ud800"',
    '"\\x1b[2J"',
    '"a\\rb"',
    '"a\\nb"',
    "'",
    '"',
    "`",
    "@x",
    "%x",
    "? [a]",
    "- a",
    "|\n  x",
    ">\n  x",
    "embedded://",
    "a: b: c",
    "con",
    "nul.txt",
    ".",
    "..",
    "-",
    "--configfile",
    "{trigger}",
    "{{ config }}",
    "__import__('os')",
    "𝕏",
    "ﬃ",
    "\u202e",
    "x" * 200_000,
    "[" + "1, " * 60_000 + "1]",
    "[" + ", ".join(map(str, range(2000))) + "]",
    "{grid: {train.seed: [" + "1, " * 300 + "2], train.unet_lr: [" + "1, " * 300 + "2]}}",
)
TOPS = (
    "__use_yte__: true\n",
    "train: {}\n",
    "<<: {train: {}}\n",
    "? [a, b]\n: c\n",
    "%YAML 1.1\n---\n",
    "---\n",
    "...\n",
    "\ufeff",
    "{",
    "# " + "x" * 100_000 + "\n",
    "train.seed: 3\n",
    "1: 2\n",
    "null: 1\n",
    "\t",
    " ",
    f"sweeps: {{s: {{grid: {{train.seed: {list(range(3000))}}}}}}}\n",
    "x: " + LAUGHS,
    "compare: {with: [results/compare/x]}\n",
    "=: 1\n",
)


@cache
def _texts() -> list[str]:
    return [path.read_text("utf-8") for path in sorted((ROOT / "config").glob("**/*.yaml"))]


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    path = folder / "my.yaml"
    text = rng.choice(_texts())
    if rng.random() < 0.5:  # as a short config of somebody's own, without comments
        text = yaml.safe_dump(yaml.safe_load(text), sort_keys=False, default_flow_style=None)
    for _ in range(0 if seed < 0 else rng.choice((1, 1, 2, 4))):
        text = rng.choice(CHANGES)(rng, text)
    path.write_bytes(_encoded(rng, text) if seed >= 0 else text.encode())
    if seed >= 0 and rng.random() < 0.2:
        path.write_bytes(_flipped(rng, path.read_bytes()))
    try:
        config_file.check_arguments(["plan", "--configfile", str(path)])
        raw = load_configfile(path)
        graph = build.build(config.load(raw), (folder, ROOT))
    except BakeryError as error:
        return _judged(str(error), path)
    for nodes in graph.nodes.values():
        for node in nodes.values():
            json.dumps(config.chosen(node.settings), allow_nan=False)
    return Outcome("taken")


def _judged(said: str, path: Path) -> Outcome:
    """Whether every line of a refusal names the file or a setting, and can be read."""
    for line in said.splitlines():
        if str(path) not in line and not re.match(r"(?:config: \S|train\.|[a-z_]+\.\w)", line):
            return Outcome("failed", f"names neither file nor setting: {line[:300]}")
    if len(said) > 20_000:
        return Outcome("failed", f"a sentence of {len(said)} characters: {said[:300]}")
    return Outcome("refused", said[:300])


def _line(rng: random.Random, text: str) -> tuple[list[str], int]:
    lines = text.split("\n")
    return lines, rng.randrange(len(lines))


def _value(rng: random.Random, text: str) -> str:
    lines, _ = _line(rng, text)
    places = [n for n, line in enumerate(lines) if re.match(r"[^#]*:( |$)", line)]
    if not places:
        return text
    at = rng.choice(places)
    lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(ATOMS)
    return "\n".join(lines)


def _inside(rng: random.Random, text: str) -> str:
    """One of the values within a line."""
    found = list(re.finditer(r"(?<=[:\[,] )[^\[\]{},\n#]+", text))
    if not found:
        return text
    one = rng.choice(found)
    return text[: one.start()] + rng.choice(ATOMS) + text[one.end() :]


def _swap(rng: random.Random, text: str) -> str:
    lines, at = _line(rng, text)
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines)


def _double(rng: random.Random, text: str) -> str:
    lines, at = _line(rng, text)
    lines.insert(rng.randrange(len(lines)), lines[at])
    return "\n".join(lines)


def _indent(rng: random.Random, text: str) -> str:
    lines, at = _line(rng, text)
    lines[at] = rng.choice((" ", "  ", "\t", "   ", "- ", "? ", ": ", "&a ", "!!set ")) + lines[at]
    return "\n".join(lines)


def _drop(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[start + rng.choice((1, 1, 10, 100)) :]


def _insert(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return (
        text[:at]
        + rng.choice((*"{}[]:,-?&*!|>'\"%@`#\t\n\r\0\x85\u2028", "\ufeff", "<<: "))
        + text[at:]
    )


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _top(rng: random.Random, text: str) -> str:
    top = rng.choice(TOPS)
    return top + text if rng.random() < 0.5 else f"{text}\n{top}"


CHANGES = (
    _value,
    _value,
    _inside,
    _inside,
    _inside,
    _swap,
    _double,
    _indent,
    _drop,
    _insert,
    _cut,
    _top,
)


def _encoded(rng: random.Random, text: str) -> bytes:
    codec = rng.choice(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "utf-32", "cp932"])
    text = text.replace("\n", "\r\n") if rng.random() < 0.1 else text
    return text.encode(codec, "surrogatepass" if codec.startswith("utf") else "replace")


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 20)) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)
