"""A mistake in a config's YAML is one sentence with file, line and reason, before Snakemake reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.io.errors import BakeryError
from bakery.settings import config_file

ROOT = Path(__file__).parents[2]


def refused(path: Path) -> str:
    with pytest.raises(BakeryError) as caught:
        config_file.read(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


def outcome(path: Path) -> dict | str:
    """The sections, or the sentence."""
    try:
        return config_file.read(path)
    except BakeryError as refusal:
        return str(refusal)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scrape:\n\tname: x\n", ", line 2 is indented with a tab"),
        ("scrape:\n  name: x\n\tlimit: 3\n", ", line 3 is indented with a tab"),
        ("scrape:\n  name: x\n  \tlimit: 3\n", ", line 3 is indented with a tab"),
        ('scrape:\n  name: "x\n  limit: 3\n', ", line 2 opens a quote"),
        ('prune:\n  trigger: "x\ntrain:\n  base: "y"\n', ", line 2 opens a quote"),
        ("scrape:\n  urls:\n    - 'a: b\n  limit: 3\n", ", line 3 opens a quote"),
        ("prune:\n  trigger: my: girl\n", ", line 2 has a colon where none may be (trigger: my: girl)"),
        ("scrape:\n  name: x\n    limit: 3\n", ", line 3 has a colon where none may be"),
        ("scrape:\n    name: x\n  limit: 3\n", ", line 3 does not fit the lines above (limit: 3)"),
        ("scrape\n  name: x\n", ", line 1 is no `name: value` (scrape)"),
        ("scrape:\n  name: x\n  limit 3\ntrain:\n  seed: 1\n", ", line 3 is no `name: value`"),
        ("train:\n  seed:3\n  base: x\n", ", line 2 is no `name: value` (seed:3)"),
        ("scrape:\n  name x\n  limit: 3\n", ", line 2 is no `name: value` (name x)"),
        ("prune:\n  trigger: @mira\n", ", line 2 has a value that begins with '@'"),
        ("train:\n  base: `x`\n", ", line 2 has a value that begins with '`'"),
        ("sample:\n  seeds: [1, 2\ntrain:\n  seed: 3\n", ", line 2 opens a bracket"),
        ('train:\n  base: "C:\\models\\x.safetensors"\n', ", line 2 has a backslash in double quotes"),
        ('train:\n  base: "C:\\temp\\new.safetensors"\n', ", line 2 has a backslash in double quotes"),
        ('train:\n  base: "D:\\Users\\me"\n', ", line 2 has a backslash in double quotes"),
        ("train:\n  unet_lr: 1\n  seed: 2\n  unet_lr: 3\n",
            ": unet_lr is in line 2 and again in line 4"),
        ("train:\n  seed: 2\nscrape:\n  name: x\ntrain:\n  seed: 3\n",
            ": train is in line 1 and again in line 5"),
        ("sweeps:\n  lr:\n    grid: {}\n  lr:\n    grid: {}\n", ": lr is in line 2 and again in line 4"),
        ("", " is empty"),
        ("# only a comment\n", " is empty"),
        ("scrape\n", " has no sections"),
        ("- scrape\n- train\n", " has no sections"),
        ("scrape:\n  name: \x07\n", " holds a character that YAML does not allow"),
    ],
)  # fmt: skip
def test_what_is_wrong_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "my.yaml").write_text(text)
    assert refused(tmp_path / "my.yaml").startswith(words), refused(tmp_path / "my.yaml")


def test_what_is_no_text_file(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes("scrape:\n  name: é\n".encode("latin-1"))
    assert "is not UTF-8 (byte 16)" in refused(tmp_path / "my.yaml")
    assert "is a folder" in refused(tmp_path)
    assert refused(tmp_path / "mine.yaml").endswith("check the spelling; there are my.yaml")


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/**/*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_are_read_as_snakemake_reads_them(path: Path) -> None:
    assert config_file.read(path) == yaml.full_load(path.read_text("utf-8"))


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)),
                       min_size=1))  # fmt: skip
def test_what_yaml_writes_is_read(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    found = outcome(path)
    # text such as `C:<control sign>` is taken for a Windows path with backslashes
    assert "has a backslash" in str(found) or found == yaml.safe_load(path.read_text("utf-8"))


@settings(deadline=None)
@given(st.text(alphabet="ab: -'\"[]{},\t\n\\#&*!|>%@`"))
def test_any_text_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(text, encoding="utf-8")
    found = outcome(path)
    assert isinstance(found, dict) or str(path) in found


def test_which_files_a_command_line_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("train:\n  seed: 1\n")
    a, b = Path("a.yaml"), Path("b.yaml")
    named = config_file.check_arguments
    assert named(["--cores", "all"]) == [], "the workflow says that there is no config"
    assert named(["plan", "--configfile", "a.yaml", "b.yaml", "--cores", "2"]) == [a, b]
    assert named(["plan", "--configfiles=a.yaml", "-n"]) == [a]
    assert named(["--config", "train={}", "--configfile", "a.yaml"]) == [a]
    assert named(["--configfile"]) == [], "that is for Snakemake to say"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(BakeryError, match="again in line 2"):
        named(["--cores", "all"])
    with pytest.raises(BakeryError, match="name targets first, as in `snakemake --cores all plan"):
        named(["--configfile", "a.yaml", "plan"])
    with pytest.raises(BakeryError, match=r"all\.yaml cannot be read"):
        named(["--configfile", "a.yaml", "all.yaml"])


@pytest.mark.slow
def test_snakemake_itself_ends_with_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("train:\n  seed: 1\n\tbase: x\n")
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--configfile", tmp_path / "my.yaml"],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"},
    )  # fmt: skip
    assert run.returncode == 1
    said = [line for line in run.stderr.splitlines() if not line.startswith("Using workflow")]
    assert said == [f"config: {tmp_path / 'my.yaml'}, line 3 is indented with a tab: use spaces, as the "
                    "lines around it"]  # fmt: skip
