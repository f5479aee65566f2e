"""Every command in the documents works as it is pasted: its target, its options, its files are there.

Nothing is baked. `make X` needs its target; `python ...` is given `--help` at its end, so that its
imports, its subcommand and its values are read, and each of its options must be in that help;
`snakemake ...` becomes a dry run. What the reader has to fill in is filled in: `<bake>` is a name,
`[--option a|b]` is given with its first value, and a config of one's own is the shipped one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, ROOT, code, targets

PROGRAMS = ("make", "python", "python3", "snakemake", "pip", "uv")
WITHOUT_CORES = {"--profile", "--report", "--lint", "-n", "--dry-run"}
"""A snakemake command with one of these runs no jobs; all others have to say how many cores they get."""
OURS = ("scripts/", "benchmarks/")


@dataclass(frozen=True)
class Command:
    document: str
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.argv)}"


def filled_in(text: str) -> str:
    """`text` with a value where the reader is to write one."""
    text = re.sub(r"<([\w ]+)>", lambda name: name[1].replace(" ", "-"), text)
    text = re.sub(r"\[((?:--?)\w[^\]]*)\]", r"\1", text)  # [--model small|sd15]
    return re.sub(r"(?<=\w)\|[\w|-]+", "", text)


def commands(text: str) -> list[tuple[str, ...]]:
    """The commands of a piece of code that begin with one of `PROGRAMS`, in order."""
    found: list[tuple[str, ...]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(filled_in(line.strip().removeprefix("$ ")), posix=True,
                            punctuation_chars=";&|")  # fmt: skip
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe
            assert not line.strip().startswith(PROGRAMS), f"no shell reads this: {line}"
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if re.fullmatch(r"[;&|]+", word):
                found += [tuple(command)] if command and command[0] in PROGRAMS else []
                command = []
            elif command or not (word in ("do", "done", "(") or re.match(r"\w+=", word)):
                command.append(word.removeprefix(".venv/bin/") if not command else word)
    return found


def written() -> list[Command]:
    """All commands of all documents, each once a document."""
    return list(
        dict.fromkeys(
            Command(str(document.relative_to(ROOT)), argv)
            for document in DOCUMENTS
            for piece in code(document.read_text("utf-8"))
            for argv in commands(piece)
        )
    )


WRITTEN = written()
RUN = [c for c in WRITTEN if c.argv[0] in ("python", "python3", "snakemake")]


def as_read(argv: tuple[str, ...], sandbox: Path) -> list[str]:
    """The same command so that it only reads: help, or a dry run in a copy of the repository."""
    program, *rest = argv
    if program != "snakemake":
        rest = rest[: rest.index("--")] if "--" in rest else rest  # what follows is for another
        return ["python", *rest, "--help"]
    if "--report" in rest:  # needs a finished bake: `make smoke` writes one
        at = rest.index("--report")
        rest = rest[:at] + rest[at + 2 :]
    if "--profile" in rest:  # its executor is a package that one machine alone does not need
        at = rest.index("--profile")
        assert (ROOT / rest[at + 1] / "config.yaml").is_file()
        rest = [*rest[:at], *rest[at + 2 :], "--cores", "1"]
    for word in rest:
        own = sandbox / word
        if word.endswith(".yaml") and not (ROOT / Path(word).parts[0]).exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "config/config.yaml", own)
    return [program, *rest, "--dry-run", "--quiet"]


def results(sandbox: Path) -> dict[Command, dict[str, Any]]:
    """What each command does, run from the root of a clone in an environment without PYTHONPATH."""
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".snakemake", "build", "results", "logs"):
            (sandbox / entry.name).symlink_to(entry)
    jobs = {c.argv: {"argv": as_read(c.argv, sandbox), "cwd": str(sandbox)} for c in RUN}
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SNAKEMAKE_PROFILE")
    }
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/pasted.py"],
        input=json.dumps(list(jobs.values())), capture_output=True, text=True, check=True,
        timeout=1200, env={**environment, "COLUMNS": "200"},
    )  # fmt: skip
    said = dict(zip(jobs, json.loads(done.stdout), strict=True))
    return {command: said[command.argv] for command in RUN}


def wrong_with(command: Command, code: int, said: str) -> str:
    """What keeps `command` from working as it is pasted, "" for nothing."""
    if code:
        return said
    program, *words = command.argv
    if program == "snakemake":
        cores = "--cores" in words or WITHOUT_CORES & set(words)
        return "" if cores else "snakemake will want --cores"
    words = words[: words.index("--")] if "--" in words else words
    if not words[0].startswith(OURS) and not words[1].startswith("world."):
        return ""
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    unknown = sorted(o for o in options if not re.search(rf"{o}(?![\w-])", said))
    return f"its help knows no {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("command", [c for c in WRITTEN if c.argv[0] == "make"], ids=str)
def test_make_has_the_target(command: Command) -> None:
    named = {word for word in command.argv[1:] if "=" not in word}
    assert named <= targets()


@pytest.mark.parametrize("command", [c for c in WRITTEN if c.argv[0] in ("pip", "uv")], ids=str)
def test_pip_installs_what_make_installs(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for flag, word in zip(command.argv, command.argv[1:], strict=False):
        if flag == "-r":
            assert (ROOT / word).exists()
        elif "==" in word:
            assert f":= {word}\n" in makefile


@pytest.mark.slow
def test_python_and_snakemake_do_what_is_pasted(tmp_path: Path) -> None:
    # one test for all, so that torch is loaded once
    wrong = [
        f"{command}\n{problem}"
        for command, result in results(tmp_path).items()
        if (problem := wrong_with(command, result["code"], result["said"]))
    ]
    assert not wrong, "\n\n".join(wrong)


def test_an_option_that_is_gone_and_missing_cores_are_seen() -> None:
    gone = Command("a.md", ("python", "scripts/x.py", "--to", "y"))
    assert wrong_with(gone, 0, "--tone TONE") == "its help knows no --to"
    assert wrong_with(gone, 0, "--to TO, --tone TONE") == ""
    assert wrong_with(gone, 1, "No module named 'x'") == "No module named 'x'"
    assert "--cores" in wrong_with(Command("a.md", ("snakemake", "plan")), 0, "")


def test_commands_are_found_in_prose_blocks_and_loops() -> None:
    block = "for c in a b; do\n    snakemake --cores 2 \\\n  --configfile x/$c.yaml; done  # all"
    assert commands(block) == [("snakemake", "--cores", "2", "--configfile", "x/$c.yaml")]
    assert commands("python3 -m venv .venv && . .venv/bin/activate") == [
        ("python3", "-m", "venv", ".venv")
    ]
    assert commands("python a.py [--model small|sd15] results/<bake> # why") == [
        ("python", "a.py", "--model", "small", "results/bake")
    ]
    assert commands("PYTHONPATH=x .venv/bin/python a.py") == [("python", "a.py")]
    assert commands("results/x.png") == commands("it isn't") == []
    assert len(RUN) > 20, "the documents have commands, and they are seen"


@pytest.mark.slow
def test_a_target_that_is_swallowed_as_a_config_is_seen(tmp_path: Path) -> None:
    config = str(ROOT / "config/config.yaml")
    argv = as_read(("snakemake", "--cores", "1", "--configfile", config, "all"), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", *argv], capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert done.returncode != 0
    assert "all is taken for a config" in done.stdout + done.stderr
