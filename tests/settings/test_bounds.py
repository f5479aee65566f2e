"""A config of any size, depth and oddity is refused at once, with the file and line, or the setting."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from bakery.graph import build, finished
from bakery.io import manifest, plain_data
from bakery.io.errors import BakeryError
from bakery.io.plain_data import DEEPEST, MOST_VALUES
from bakery.settings import config, config_file

ROOT = Path(__file__).parents[2]
SECONDS = 5.0
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, ", line 5 brings this to more than 30000 values"),
        (MERGES, ", line 13 brings this to more than 30000 values"),
        ("train: &a [1, *a]\n", ", line 1 names with * the table or list that it is in"),
        ("a: 1\nb: " + "[" * 10_000, ", line 2 is more than 40 brackets or levels deep"),
        ("a: " + "{a: " * 10_000, ", line 1 is more than 40 brackets or levels deep"),
        ("".join(" " * n + "a:\n" for n in range(400)), ", line 41 is more than 40 brackets"),
        ("sample:\n  seeds: [" + "1, " * 60_000 + "1]", ", line 2 brings this to more than"),
        ("x" * 300_000, " is larger than 256 kB"),
        ("a: " + "9" * 5000, ", line 1 has a number of 5000 characters"),
        ("a: 0x" + "f" * 60, ", line 1 has a whole number of more than 64 bits"),
        ("a: " + "1:" * 50_000 + "1", ", line 1 has a number of 100001 characters"),
        ("a: 1\nb: 2024-01-01\n", ", line 2 has 2024-01-01, which YAML reads as a date: put it in"),
        ("a: !!binary aGVsbG8=\n", ", line 1 has the tag !!binary"),
        ("a: !!set {x, y}\n", ", line 1 has the tag !!set"),
        ("a: !!python/object/apply:os.system [id]\n", ", line 1 has the tag !!python/object/apply"),
        ("a: !mine 3\n", ", line 1 has the tag !mine"),
        ("a: !!int x\n", ", line 1 has 'x', which is no int"),
        ("__use_yte__: true\ntrain: {}\n", " has the key __use_yte__, with which Snakemake runs"),
        ("a:\n- b: {c: 1,\n    c: 2}\n", ": c is in line 2 and again in line 3"),
        ("a: {1: x, 0x1: y}\n", ": 1 is in line 1 and again in line 1"),
    ],
)  # fmt: skip
def test_text_beyond_the_bounds(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(BakeryError) as caught:
        config_file.check_arguments(["plan", "--configfile", str(path)])
    assert str(caught.value).removeprefix(str(path)).startswith(words), str(caught.value)
    assert time.process_time() - began < SECONDS


def test_aliases_and_merges_within_the_bounds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("a: &a {x: 1}\nz: {b: &b {<<: *a, x: 2}}\nc: {<<: *b}\nd: *a\n")
    assert config_file.read(path) == {
        "a": {"x": 1}, "z": {"b": {"x": 2}}, "c": {"x": 2}, "d": {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize("option", ["--configfile", "--configfiles", "--configf", "--configfil"])
def test_a_shortened_option_is_read_as_well(tmp_path: Path, option: str) -> None:
    (tmp_path / "my.yaml").write_text("__use_yte__: true\n")
    for arguments in ([option, f"{tmp_path}/my.yaml"], [f"{option}={tmp_path}/my.yaml"]):
        with pytest.raises(BakeryError, match="__use_yte__"):
            config_file.check_arguments(["plan", *arguments])


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"train": {"unet_lr": math.nan}}, "config: train.unet_lr is nan: a finite number"),
        ({"train": {"optimizer_args": {"eps": math.nan}}}, "config: train.optimizer_args.eps is nan"),
        ({"train": {"optimizer_args": {"eps": [1, math.inf]}}}, "train.optimizer_args.eps.1 is inf"),
        ({"scrape": {"gallery_dl": {"x": {"y": math.nan}}}}, "config: scrape.gallery_dl.x.y is nan"),
        ({"sweeps": {"s": {"grid": {"train.seed": [1, math.nan]}}}}, "train.seed.1 is nan"),
        ({"sweeps": {"s": {"variants": [{"train.seed": math.nan}]}}}, "train.seed is nan"),
        ({"train": {"seed": 10**5000}}, "config: train.seed is a whole number of more than 64 bits"),
        ({"train": {"base": "a\0b"}}, r"config: train.base holds the control character '\x00'"),
        ({"sample": {"negative_prompt": "\ud800"}}, r"holds the control character '\ud800'"),
        ({"train": {"base": b"x"}}, "config: train.base is of the kind bytes"),
        ({"train": {"a\nb": 1}}, r"config: train has the name 'a\nb'"),
        ({"train": {"optimizer_args": deep(DEEPEST)}}, "has more than 40 levels"),
        ({"sample": {"seeds": list(range(200_000))}}, "config: sample.seeds has 200000 values"),
        ({"sample": {"seeds": list(range(1001))}}, "config: sample.seeds is "),
        ({"sample": {"negative_prompt": "x" * 200_000}}, "is a text of 200000 characters"),
        ({"train": {"base": "x" * 300}}, "config: train.base names xxx"),
        ({"train": {"base": "x/" * 3000 + "y"}}, "config: train.base names x/x"),
        ({"scrape": {"folders": ["y" * 300]}}, "config: scrape.folders names yyy"),
        ({"scrape": {"name": "../up"}}, "config: scrape.name is '../up': a name has at most 64"),
        ({"sweeps": {"a/b": {}}}, "config: sweeps.a/b"),
        ({"sweeps": {"s": {"grid": {f"train.{k}": list(range(1, 200)) for k in
                                    ("seed", "num_epochs", "network_dim")}}}},
            "config: sweeps.s asks for 7880599 bakes, more than 500"),
        ({"compare": {"with": ["/dev/zero"]}}, "config: compare.with names /dev/zero"),
    ],
)  # fmt: skip
def test_values_beyond_the_bounds_however_they_came(raw: dict, words: str) -> None:
    began = time.process_time()
    with pytest.raises(BakeryError) as caught:
        build.build(config.load(raw), [ROOT])
    assert words in str(caught.value)
    assert time.process_time() - began < SECONDS


def test_aliases_that_arrive_as_objects_are_counted_through() -> None:
    shared: Any = ["x"] * 9
    for _ in range(9):
        shared = [shared] * 9
    found = plain_data.problem({"train": {"x": shared}})
    assert found is not None
    assert found.what.startswith(f"brings this to more than {MOST_VALUES}")


def test_manifests_that_name_themselves_or_each_other_end(tmp_path: Path) -> None:
    for stage, above in ("sample", "score"), ("score", "sample"):
        folder = tmp_path / "results" / stage / "x"
        folder.mkdir(parents=True)
        (folder / manifest.NAME).write_text(
            f'{{"stage": "{stage}", "key": "", "settings": {{}}, "above": {{"x": "{above}"}}}}'
        )
    assert finished.chain(folder).keys() == {"score", "sample"}
    with pytest.raises(BakeryError, match=r"compare\.with names results/score/x, but the train"):
        finished.named(["results/score/x"], tmp_path)
