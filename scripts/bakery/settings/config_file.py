"""The YAML of a config, read before Snakemake reads it, for what Snakemake's own reader cannot say.

Snakemake reads `--configfile` before it knows this workflow: a file with a mistake gets a sentence
without its name or line there, a missing one a traceback, and of a section that is written twice the
first is lost without a word. So the profile calls `check_or_exit` first (`profiles/default`).
"""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bakery.io import machine_faults, regular_files
from bakery.io.errors import BakeryError, first_line
from bakery.io.yaml_text import BadLine, Loader

SHIPPED = Path("config/config.yaml")
"""What is baked where no `--configfile` is given."""
LARGEST = 2**18
"""Bytes of a config file: a hundred times what a usual one has."""
RUNS_CODE = "__use_yte__"
"""A key that makes Snakemake run the Python code in a config."""
_CONTROL = re.compile(r"[\x00-\x1f]")
_OPTION = re.compile(r"--configf\w*(?==|$)")  # Snakemake takes its beginning for the whole


class _ConfigLoader(Loader):
    """As Snakemake reads YAML, but within bounds, and a key may be there once only."""

    def __init__(self, text: str, path: Path) -> None:
        def repeated(name: str, first: int, line: int) -> None:
            raise BakeryError(
                f"{path}: {name} is in line {first} and again in line {line}, and only the last would "
                "count: put both together, or rename one"
            )

        super().__init__(text, repeated)
        self.path = path

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        quoted = isinstance(node, yaml.ScalarNode) and node.style == '"'
        if quoted and re.match(r"[A-Za-z]:", value) and _CONTROL.search(value):
            raise BakeryError(_backslashes(self.path, node.start_mark.line))
        return value


def read(path: Path, *, empty: bool = False) -> dict[str, Any]:
    """The sections of a config file; `empty` lets one pass that has none.

    Raises `BakeryError` with file, line and reason if it is missing, empty, no YAML, names a key
    twice, or is larger or deeper than a config can be.
    """
    return parse(_text(path), path, empty=empty)


def parse(text: str, path: Path, *, empty: bool = False) -> dict[str, Any]:
    """As `read`, of a file's text."""
    try:
        content = _ConfigLoader(text, path).get_single_data()
    except BadLine as problem:
        raise BakeryError(f"{path}, {problem}") from None
    except yaml.MarkedYAMLError as error:
        raise BakeryError(_sentence(path, text.splitlines(), error)) from None
    except yaml.YAMLError as error:
        raise BakeryError(
            f"{path} holds a character that YAML does not allow ({first_line(error)}): remove it"
        ) from None
    if content is None and empty:
        return {}
    if content is None:
        raise BakeryError(f"{path} is empty: copy {SHIPPED} and change it")
    if not isinstance(content, dict):
        raise BakeryError(
            f"{path} has no sections such as `scrape:` and `train:` at its left edge: compare it "
            f"with {SHIPPED}"
        )
    if RUNS_CODE in content:
        raise BakeryError(
            f"{path} has the key {RUNS_CODE}, with which Snakemake runs the Python code that a config "
            "holds; ours are data alone: remove it, and write the values"
        )
    return content


def check_arguments(arguments: Sequence[str]) -> list[Path]:
    """The config files that a command line of Snakemake names, each of them readable.

    `arguments` come after the program's name. Raises `BakeryError` as `read` does.
    """
    known = _known(arguments)
    if known is None:
        return []
    shipped = known.directory / SHIPPED
    files = known.configfile or ([shipped] if shipped.exists() else [])
    for number, path in enumerate(files):
        if number and not path.suffix and not path.exists():
            raise BakeryError(
                f"{path} is taken for a config, because it follows --configfile: name targets "
                f"first, as in `snakemake --cores all {path} --configfile {files[0]}`"
            )
        read(path)
    return files


def _known(arguments: Sequence[str]) -> argparse.Namespace | None:
    """Those of Snakemake's options that are looked at here; None where they are wrong."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path)
    parser.add_argument("--directory", "-d", type=Path, default=Path())
    parser.add_argument("--dry-run", "--dryrun", "-n", action="store_true")
    spelled = [_OPTION.sub("--configfile", one) if _OPTION.match(one) else one for one in arguments]
    try:
        return parser.parse_known_args(spelled)[0]
    except argparse.ArgumentError:  # Snakemake says what is wrong with its options
        return None


def check_or_exit(arguments: Sequence[str]) -> None:
    """The same, and whether anything can be written; ends the program with the sentence.

    On a full disk, Snakemake would say so in tracebacks, one for each line of its log.
    """
    known = _known(arguments)
    if known is not None and not known.dry_run and "clean" not in arguments:  # it makes room
        said = machine_faults.of_folder(known.directory)
        if said is not None:
            sys.exit(said)
    try:
        check_arguments(arguments)
    except BakeryError as error:
        sys.exit(f"config: {error}")


def _text(path: Path) -> str:
    try:
        return regular_files.read_text(path, largest=LARGEST)
    except UnicodeDecodeError as error:
        raise BakeryError(
            f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8 in your editor"
        ) from None
    except regular_files.Unopened as error:
        what, cure = f"is {error}", "give a config file"
        if error.errno == errno.EISDIR:
            what, cure = "is a folder", "give the config file in it"
        elif error.errno == errno.EFBIG:
            cure = f"a config has a few kB: copy {SHIPPED} and change it"
        raise BakeryError(f"{path} {what}: {cure}") from None
    except OSError as error:
        if (meant := _meant(path)) is not None:
            raise BakeryError(f"{path} does not exist: did you mean {meant}?") from None
        there = f"; there are {', '.join(_beside(path)[:8])}" if _beside(path) else ""
        raise BakeryError(
            f"{path} cannot be read ({error.strerror}): check the spelling{there}"
        ) from None


def _meant(path: Path) -> Path | None:
    """The config that is there under almost this path: in config/, or with another ending."""
    names = (path, path.with_suffix(".yaml"), path.with_suffix(".yml"))
    places = (one for name in names for one in (name, "config" / name))
    try:
        return next((one for one in places if one.is_file()), None)
    except OSError:  # a name that is too long for this system
        return None


def _beside(path: Path) -> list[str]:
    """Names of the configs in the folder of `path`."""
    try:
        return sorted(found.name for found in path.parent.glob("*.yaml"))
    except OSError:  # a name that is too long for this system
        return []


def _sentence(path: Path, lines: Sequence[str], error: yaml.MarkedYAMLError) -> str:
    """What is wrong in which line, and what to do, in the words of somebody who types YAML."""
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    problem, context = error.problem or "", error.context or ""
    line = lines[number] if number < len(lines) else ""
    tabbed = next((n for n, text in enumerate(lines) if re.match(r" *\t", text)), None)
    if "'\\t'" in problem or (tabbed is not None and tabbed in (number, number - 1)):
        at = number if tabbed is None else tabbed
        return f"{path}, line {at + 1} is indented with a tab: use spaces, as the lines around it"
    if "quoted scalar" in context and "escape" not in problem + context:
        begun = error.context_mark.line + 1 if error.context_mark else number + 1
        return f"{path}, line {begun} opens a quote that is never closed: close it"
    if "escape" in problem or "escape" in context or "hexdecimal" in problem:
        return _backslashes(path, number)
    if open_at := _open_quote(lines, number):
        return f"{path}, line {open_at} opens a quote that is not closed in its line: close it"
    if (bare := _without_colon(lines, number)) is not None:
        return (
            f"{path}, line {bare + 1} is no `name: value` ({lines[bare].strip()[:60]}): put a "
            "colon and a blank after the name"
        )
    if "mapping values are not allowed" in problem:
        return (
            f"{path}, line {number + 1} has a colon where none may be ({line.strip()[:60]}): put a "
            "value with a colon in quotes, and check that the line is indented like its neighbours"
        )
    if "flow" in context:
        begun = error.context_mark.line + 1 if error.context_mark else number + 1
        return (
            f"{path}, line {begun} opens a bracket that is not closed rightly: check [ ] and {{ }}"
        )
    if mark is not None and "cannot start any token" in problem:
        return (
            f"{path}, line {number + 1} has a value that begins with {line[mark.column :][:1]!r}, "
            "which means something to YAML: put the value in quotes"
        )
    return (
        f"{path}, line {number + 1} does not fit the lines above ({line.strip()[:60]}): settings of "
        f"one section are indented by the same number of blanks (YAML says: {problem})"
    )


def _without_colon(lines: Sequence[str], number: int) -> int | None:
    """The line at or before `number` that is a name or `name value`, where that is what is wrong."""
    for at in range(min(number, len(lines) - 1), -1, -1):
        text = lines[at].split(" #")[0].strip()
        if at == number and re.match(r"[\w.]+:( |$)", text):
            continue
        if text and not text.startswith("#"):
            return at if re.match(r"[A-Za-z_]\w*( +[^:]+)?$|[A-Za-z_]\w*:\S+$", text) else None
    return None


def _open_quote(lines: Sequence[str], number: int) -> int | None:
    """The last line up to `number` whose value begins with a quote that the line does not close."""
    for at in range(min(number, len(lines) - 1), -1, -1):
        if opened := re.match(r"[^#'\"]*?[:\-\[,] *(['\"])", lines[at]):
            inside = lines[at][opened.end() :].replace("\\" + opened[1], "")
            if inside.count(opened[1]) % 2 == 0:
                return at + 1
    return None


def _backslashes(path: Path, line: int) -> str:
    return (
        f"{path}, line {line + 1} has a backslash in double quotes, where YAML reads \\t as a tab and "
        "\\n as a line break: write the path with / or in single quotes"
    )
