"""`make` on other people's machines: no index of PyTorch's, no arguments, the words at the end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from documents import ROOT

STUB = """\
#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0") $*" in
  python*-m\\ venv*) mkdir -p "$3/bin"; for p in pip uv snakemake python; do cp "$0" "$3/bin/$p"; done;;
  pip*+cpu*) exit 1;;
  uv*) [ "$INDEX" = reachable ];;
esac
"""
"""Stands for python, pip, uv and snakemake: notes how it was called."""


def make(folder: Path, *arguments: str, index: str = "reachable") -> tuple[int, str, list[str]]:
    """(exit code, all that was said, calls in order); the environment would be in `folder`."""
    (folder / "python-stub").write_text(STUB)
    (folder / "python-stub").chmod(0o755)
    log = folder / "log"
    log.touch()
    run = subprocess.run(
        ["make", f"VENV={folder}/.venv", f"PYTHON={folder}/python-stub", *arguments],
        cwd=ROOT, env={**_outside_make(), "LOG": str(log), "INDEX": index},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr, log.read_text().splitlines()


def _outside_make() -> dict[str, str]:
    """The environment without what a `make test` around this test leaves in it."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}


@pytest.mark.parametrize("gpu", ["", "1"])
def test_without_pytorchs_index_the_plain_package_is_installed_and_said(
    tmp_path: Path, gpu: str
) -> None:
    code, said, calls = make(tmp_path, f"GPU={gpu}", f"{tmp_path}/.venv/.torch", index="gone")
    assert code == 0, said
    assert "PyTorch's own index is out of reach: installing the plain torch package" in said
    assert calls[-1] == "pip install --quiet torch==2.13.0"
    (tmp_path / "again").mkdir()
    code, said, calls = make(tmp_path / "again", f"GPU={gpu}", f"{tmp_path}/again/.venv/.torch")
    assert (code, "out of reach" in said) == (0, False)
    assert calls[-1].startswith("uv pip install")


def test_a_bake_ends_by_saying_how_to_go_on(tmp_path: Path) -> None:
    code, said, calls = make(tmp_path, "GPU=", "CORES=2", "CONFIG=config/suzu.yaml")
    assert code == 0, said
    assert calls[-1] == "snakemake --cores 2 --configfile config/suzu.yaml"
    last = said.rstrip().splitlines()
    assert "Open the page named above" in last[-4]
    assert last[-2].endswith("snakemake --cores 2 gather --configfile config/suzu.yaml")
    assert f"source {tmp_path}/.venv/bin/activate" in last[-1]
    _, said, _ = make(tmp_path, "GPU=", "CORES=2")
    assert "make new NAME=suzu FROM=folder-or-address BASE=" in said
    assert "gather" not in said


def test_make_new_and_plan_hand_on_what_is_given(tmp_path: Path) -> None:
    _, _, calls = make(
        tmp_path, "GPU=", "new", "NAME=Hoshi no Ai", "FROM=my pics", "BASE=a.safetensors"
    )
    given = "Hoshi no Ai --from my pics --base a.safetensors --make"
    assert calls[-1] == f"python scripts/new_config.py {given}"
    _, _, calls = make(tmp_path, "GPU=", "plan", "CORES=1", "CONFIG=config/suzu.yaml")
    assert calls[-1] == "snakemake --cores 1 plan --configfile config/suzu.yaml"
    code, said, _ = make(tmp_path, "GPU=", "new")
    assert code != 0
    assert "say which: make new NAME=suzu FROM=folder-or-address BASE=checkpoint" in said


def test_an_experiment_is_laid_over_the_shipped_config_or_ones_own(tmp_path: Path) -> None:
    laid = "config/experiments/pruned.yaml"
    code, said, calls = make(tmp_path, "GPU=", "CORES=2", "EXPERIMENT=pruned")
    assert code == 0, said
    assert calls[-1] == f"snakemake --cores 2 --configfile config/config.yaml {laid}"
    assert f"snakemake --cores 2 gather --configfile config/config.yaml {laid}" in said
    own = ("CONFIG=config/my suzu.yaml", "EXPERIMENT=pruned")
    _, _, calls = make(tmp_path, "GPU=", "CORES=2", "plan", *own)
    assert calls[-1] == f"snakemake --cores 2 plan --configfile config/my suzu.yaml {laid}"
    assert (ROOT / laid).is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "config=config/suzu.yaml"], "make has no config=: write it in capitals"),
        (["new", "NAME=suzu", "from=pics"], "make has no from=: write it in capitals"),
        (["NAME=suzu", "FROM=pics", "BASE=a.safetensors"], "NAME= and FROM= are for `make new`"),
    ],
)
def test_what_would_bake_the_example_without_a_word_is_refused(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, output, calls = make(tmp_path, "GPU=", *arguments)
    assert (code, calls) == (2, [])
    (line,) = output.splitlines()
    assert said in line


def test_a_config_with_a_space_in_its_name_is_one_word(tmp_path: Path) -> None:
    code, said, calls = make(tmp_path, "GPU=", "CONFIG=config/my suzu.yaml", "plan")
    assert code == 0, said
    assert '--configfile "config/my suzu.yaml"' in said
    assert calls[-1] == "snakemake --cores all plan --configfile config/my suzu.yaml"
