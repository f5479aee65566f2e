"""Halving: who goes on, what a change of the sweep remakes, and what a bake in rungs leaves behind."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_bakes import made_bake
from made_checkpoints import world
from made_plans import baked, filtered, outlined
from PIL import Image
from small_bakes import SMALL

from bakery.graph import build, nodes
from bakery.graph import halving as graph_halving
from bakery.graph import summary as graph_summary
from bakery.interop.infotext import Infotext
from bakery.io import manifest, seals, tables
from bakery.io.errors import BakeryError
from bakery.jobs import claims, rungs
from bakery.lora import lora_file
from bakery.report import results as bakes
from bakery.sampling.pictures import Picture, SampleSet
from bakery.sampling.prompts import Cell, GridRow
from bakery.settings import config as cfg
from bakery.settings.compare import Compare
from bakery.settings.halve import Halving
from bakery.settings.train import Train
from bakery.stages import compare, train
from bakery.stages import halve as halving
from bakery.stages import plan as dry_bake
from bakery.stages.halve import Contender
from bakery.training import checkpoint

pytest_plugins = ["bake_fixtures"]

RATES = (1e-4, 1e-3, 1e-2, 1e-1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    return world(root)


def planned(
    root: Path, rates=RATES[:3], halving: dict | None = None, **sections: Any
) -> nodes.Graph:
    sweep: dict[str, Any] = {"grid": {"train.unet_lr": list(rates)}}
    sweep |= {"halving": halving} if halving else {}
    return build.build(cfg.load({**sections, "sweeps": {"rates": sweep}}), [root])


def names(made: nodes.Graph, stage: str) -> set[str]:
    return {node.name for node in made.of(stage)}


# The graph


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(RATES), min_size=2, unique=True),
    st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True).map(sorted),
    st.sampled_from([0.25, 0.5, 0.7]),
)
def test_rungs_stand_on_the_bakes_without_halving(root: Path, rates, after, keep) -> None:
    plain = planned(root, rates)
    halved = planned(root, rates, {"after": after, "keep": keep})
    for stage in ("scrape", "filter", "tag", "prune", "layout"):
        assert names(halved, stage) == names(plain, stage)
    ends = [*after, 6]
    for stage in ("train", "sample", "score"):
        nodes = halved.of(stage)
        assert {node.baked.name for node in nodes} == names(plain, stage)
        assert not names(halved, stage) & names(plain, stage)
        assert len({node.key for node in nodes}) == len(nodes) == len(rates) * len(ends)
        assert sorted(node.rung.until for node in nodes) == sorted(ends * len(rates))
    assert len(halved.of("halve")) == len(after)
    (page,) = halved.of("compare")
    assert [leaf.rung.until for leaf in page.parents] == [6] * len(rates)
    assert [b["label"] for b in graph_summary.bakes_of(page)] == [
        f"unet_lr {rate}" for rate in rates
    ]


def test_rungs_go_on_from_each_other_and_stand_on_the_verdict(root: Path) -> None:
    made = planned(root, halving={"after": [1, 3]})
    first, second = made.of("halve")
    for leaf in made.of("compare")[0].parents:
        node = leaf.above("train")
        assert node.rung.verdict is second
        assert node.rung.before.rung.verdict is first
        assert node.rung.before.rung.before.rung.verdict is None
        assert graph_halving.inputs(node) == [node.rung.before.manifest, second.manifest]
        assert graph_halving.inputs(leaf) == [leaf.rung.before.manifest]
        assert node.parents[0].stage == "layout"
    assert {contender["label"] for contender in graph_halving.contenders(second)} == {
        f"unet_lr {r}" for r in RATES[:3]
    }
    assert graph_halving.facts(planned(root).of("train")[0]) == {}


def test_one_more_rate_trains_only_that_one(root: Path) -> None:
    """Later rungs get a new name, as the verdict is another one; what they train lies there already."""
    before, after = (planned(root, RATES[:n], {"after": [1]}) for n in (3, 4))
    new = {stage: len(names(after, stage) - names(before, stage)) for stage in after.nodes}
    assert new["layout"] == 0
    first = [node for node in after.of("train") if node.rung.before is None]
    assert len([node for node in first if node.name not in names(before, "train")]) == 1
    assert (new["halve"], new["train"]) == (1, 1 + 4)
    baked = [{node.baked.folder for node in made.of("train")} for made in (before, after)]
    assert len(baked[1] - baked[0]) == 1


def test_another_share_leaves_the_first_rung_alone(root: Path) -> None:
    half, most = (planned(root, halving={"after": [1], "keep": keep}) for keep in (0.5, 0.7))
    for stage in ("train", "sample", "score"):
        assert len(names(half, stage) & names(most, stage)) == 3


def test_group_is_of_the_same_rung(root: Path) -> None:
    made = planned(root, halving={"after": [1]})
    for node in made.of("train"):
        group = made.group(node)
        assert len(group) == 3
        assert {one.rung.until for one in group} == {node.rung.until}


def test_further_weights_are_for_the_last_rung(root: Path) -> None:
    sample = {"weights": [0.5], "weights_epoch": 6}
    made = planned(root, halving={"after": [1]}, sample=sample)
    for node in made.of("sample"):
        assert node.settings.weights == ((0.5,) if node.rung.until == 6 else ())


@pytest.mark.parametrize(
    ("halved", "sweep", "sections", "words"),
    [
        ({"after": []}, {}, {}, "sweeps.a.halving.after"),
        ({"after": [0, 1]}, {}, {}, "sweeps.a.halving.after is [0, 1]"),
        ({"after": [2, 1]}, {}, {}, "name each epoch once, from 1, the earlier first"),
        ({"after": [1, 1]}, {}, {}, "name each epoch once"),
        ({"after": [1], "keep": 1}, {}, {}, "sweeps.a.halving.keep is 1"),
        ({"after": [1], "keep": 0}, {}, {}, "sweeps.a.halving.keep is 0"),
        ({"after": [1], "keeep": 0.5}, {}, {}, "did you mean keep?"),
        ({"after": [6]}, {}, {}, "num_epochs is 6"),
        ({"after": [1]}, {}, {"train": {"save_every_n_epochs": 2}}, "name a multiple"),
        ({"after": [1]}, {}, {"train": {"max_steps": 9}}, "max_steps is 9"),
        ({"after": [1]}, {"train.unet_lr": [1e-3]}, {}, "one bake to choose from"),
        ({"after": [1]}, {"train.unet_lr": [1e-3, "1e-3"]}, {}, "one bake to choose from"),
        ({"after": [1]}, {"train.num_epochs": [4, 8]}, {}, "take train.num_epochs out"),
        ({"after": [1]}, {"sample.steps": [9, 20]}, {}, "take sample.steps out"),
        ({"after": [1]}, {"score.habit": [0.25, 0.5]}, {}, "take score.habit out"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(root, halved, sweep, sections, words) -> None:
    grid = sweep or {"train.unet_lr": [1e-3, 1e-2]}
    raw = {**sections, "sweeps": {"a": {"grid": grid, "halving": halved}}}
    with pytest.raises(BakeryError) as caught:
        build.build(cfg.load(raw), [root])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# The verdict

numbers = st.one_of(st.just(math.nan), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
fields = st.lists(
    st.tuples(st.sampled_from("abc"), numbers, st.sampled_from(["", "", "failed: nan"])), max_size=7
)


@settings(max_examples=60, deadline=None)
@given(fields, st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_the_best_go_on_whatever_their_order(field, keep, random) -> None:
    contenders = [
        Contender(f"{label}-{i}", label, math.nan if failure else value, failure)
        for i, (label, value, failure) in enumerate(field)
    ]
    places = Halving(after=(1,), keep=keep).places(len(contenders))
    standings = halving.rank(contenders, places, 1)
    shuffled = list(contenders)
    random.shuffle(shuffled)
    assert halving.rank(shuffled, places, 1) == standings
    assert [one.rank for one in standings] == list(range(1, len(contenders) + 1))
    assert all(0 < len(contenders) * keep <= places <= len(contenders) for _ in contenders[:1])
    known = {contender.bake: contender for contender in contenders}
    on = [known[one.bake] for one in standings if one.goes_on]
    out = [known[one.bake] for one in standings if not one.goes_on]
    sound = [contender for contender in contenders if not contender.failure]
    assert not any(contender.failure for contender in on)
    if any(not math.isnan(contender.tradeoff) for contender in contenders):
        assert len(on) == min(places, len(sound))
        for better in on:
            for worse in out:
                if not worse.failure and not math.isnan(worse.tradeoff):
                    assert (-better.tradeoff, better.label) <= (-worse.tradeoff, worse.label)
    else:
        assert len(on) == len(sound), "nothing is known, so nobody is stopped"


def test_a_verdict_says_why() -> None:
    contenders = [
        Contender("a", "A", 0.5),
        Contender("b", "B", 0.306),
        Contender("c", "C", math.nan),
    ]
    reasons = [one.reason for one in halving.rank(contenders, 1, 2)]
    assert reasons == [
        "goes on after epoch 2: rank 1 of 3, trade-off 0.50",
        "stopped after epoch 2 by halving: rank 2 of 3, trade-off 0.31",
        "stopped after epoch 2 by halving: rank 3 of 3, no trade-off was measured",
    ]


@pytest.mark.parametrize(("keep", "bakes", "places"), [(0.07, 100, 7), (0.5, 5, 3), (0.1, 1, 1)])
def test_places_are_rounded_up_and_no_rounding_error_adds_one(keep, bakes, places) -> None:
    assert Halving(after=(1,), keep=keep).places(bakes) == places


# A job of a rung


def done(folder: Path, about: dict, summary: dict) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder, about, summary)
    return str(folder)


def save(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """The files of a bake that is behind `epochs`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "epoch": e,
            "step": 2 * e,
            "file": f"m-{e}.safetensors",
            "sshs_model_hash": f"h{e}",
            "loss": 1,
        }
        for e in range(1, epochs + 1)
    ]
    for row in rows:
        (folder / row["file"]).write_text(f"weights {row['epoch']}")
        (folder / f"m-{row['epoch']}.json").write_text("{}")
    tables.write(folder / "epochs.csv", rows, rungs.EPOCHS)
    lines = [json.dumps({"step": s, "epoch": (s + 1) // 2}) for s in range(1, 2 * epochs + 1)]
    (folder / "progress.jsonl").write_text("\n".join(lines) + '\n{"step"')
    return rows


class SmallSweep:
    """Three bakes, and the folders of their rungs, baked by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.baked = {name: root / f"train/{name}" for name in "abc"}
        self.trained: list[tuple[list[str], int]] = []

    def rung(self, name: str, until: int, before: int = 0, verdict: str = "") -> dict[str, Any]:
        return {
            "until": until, "bake": str(self.baked[name]),
            "before": str(self.root / f"train/{name}-{before}") if before else None,
            "verdict": verdict or None,
        }  # fmt: skip

    def job(self, name: str, rung: dict[str, Any], fails: str = "") -> dict[str, Any]:
        out = self.root / f"train/{name}-{rung['until']}"
        task = rungs.TrainTask.of(out, rung)

        def bake(folders: list[Path]) -> None:
            self.trained.append(([folder.name for folder in folders], rung["until"]))
            for folder in folders:
                if folder.name == fails:
                    claims.fail(folder, "the loss is nan at step 3")
                    continue
                rows = save(folder, rung["until"])
                files = [row["file"] for row in rows]
                rungs.rest(folder, {"steps": 9, "epochs": rows}, files, epoch=rung["until"])

        summary = task.complete(list(self.baked.values()), workers=1, most=8, work=bake)
        manifest.write(out, {"rung": rung["until"]}, summary)
        return summary

    def verdict(self, epoch: int, **tradeoffs: float) -> str:
        bakes = []
        for name, value in tradeoffs.items():
            score = self.root / f"score/{name}-{epoch}"
            score.mkdir(parents=True)
            row = {"epoch": epoch, "fidelity": 1, "flexibility": 1, "tradeoff": value}
            tables.write(score / "epochs.csv", [row], list(row))
            train = self.root / f"train/{name}-{epoch}"
            bakes.append(
                {"label": name.upper(), "bake": name, "train": str(train), "score": str(score)}
            )
        summary = halving.decide(Halving(after=(epoch,), keep=0.5), bakes)
        return done(self.root / f"halve/{epoch}", {"stage": "halve"}, summary)


def test_halving_from_its_start_to_its_end(tmp_path: Path) -> None:
    sweep = SmallSweep(tmp_path)
    for name in "abc":
        assert [e["epoch"] for e in sweep.job(name, sweep.rung(name, 1))["epochs"]] == [1]
    first = sweep.verdict(1, a=0.2, b=0.9, c=0.5)
    for name in "abc":
        sweep.job(name, sweep.rung(name, 2, 1, first))
    second = sweep.verdict(2, a=0.2, b=0.3, c=0.5)
    last = {name: sweep.job(name, sweep.rung(name, 3, 2, second)) for name in "abc"}
    assert sweep.trained == [(["a", "b", "c"], 1), (["b", "c"], 2), (["c"], 3)]
    assert [[e["epoch"] for e in last[name]["epochs"]] for name in "abc"] == [
        [1],
        [1, 2],
        [1, 2, 3],
    ]
    assert last["a"]["stopped"]["sentence"] == (
        "stopped after epoch 1 by halving: rank 3 of 3, trade-off 0.20"
    )
    assert last["b"]["stopped"]["sentence"] == (
        "stopped after epoch 2 by halving: rank 2 of 2, trade-off 0.30"
    )
    assert "stopped" not in last["c"]
    for name, epochs in (("a", 1), ("b", 2), ("c", 3)):
        out = tmp_path / f"train/{name}-3"
        files = set(manifest.read(out)["files"])
        kept = {f"m-{e}.{end}" for e in range(1, epochs + 1) for end in ("safetensors", "json")}
        assert files == {"epochs.csv", *kept}
        assert all((out / f).read_bytes() == (sweep.baked[name] / f).read_bytes() for f in kept)
        assert len(tables.read(out / "epochs.csv", rungs.EPOCHS)) == epochs
    steps = (tmp_path / "train/c-2/progress.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in steps] == [1, 2, 3, 4]


def test_what_was_trained_under_another_verdict_is_not_trained_again(tmp_path: Path) -> None:
    sweep = SmallSweep(tmp_path)
    sweep.job("a", sweep.rung("a", 1))
    sweep.job("a", sweep.rung("a", 3, 1))
    sweep.trained.clear()
    assert [e["epoch"] for e in sweep.job("a", sweep.rung("a", 2, 1))["epochs"]] == [1, 2]
    assert sweep.trained == []
    (sweep.baked["a"] / "m-2.safetensors").unlink()
    sweep.job("a", sweep.rung("a", 2, 1))
    assert sweep.trained[0][0][0] == "a", "who removes a file wants it again"


def test_a_bake_that_fails_is_not_ranked_again_and_ends_no_job(tmp_path: Path) -> None:
    sweep = SmallSweep(tmp_path)
    for name in "abc":
        sweep.job(name, sweep.rung(name, 1))
    first = sweep.verdict(1, a=0.1, b=0.9, c=0.5)
    made = sweep.job("b", sweep.rung("b", 2, 1, first), fails="b")
    assert made["stopped"] == {
        "until": 2, "by": "failure", "sentence": "failed: the loss is nan at step 3",
    }  # fmt: skip
    assert [e["epoch"] for e in made["epochs"]] == [1], "what was saved before stays"
    for name in "ac":
        sweep.job(name, sweep.rung(name, 2, 1, first))
    second = manifest.read(Path(sweep.verdict(2, a=0.1, b=0.9, c=0.5)))["summary"]
    assert [(s["bake"], s["goes_on"]) for s in second["bakes"]] == [("c", True), ("b", False)]
    last = sweep.job("b", sweep.rung("b", 3, 2, str(tmp_path / "halve/2")))
    assert last["stopped"]["by"] == "failure"


def test_later_stages_carry_over_what_a_stopped_bake_has(tmp_path: Path) -> None:
    before, out = tmp_path / "score-1", tmp_path / "score-2"
    before.mkdir()
    (before / "epochs.csv").write_text("epoch\n1\n")
    done(before, {}, {"samples": 3})
    trained, stopped = tmp_path / "trained", tmp_path / "stopped"
    done(trained, {}, {"epochs": []})
    done(stopped, {}, {"carried": "x", "stopped": {"until": 1}})
    rung = {"before": str(before), "bake": "mirror"}
    assert rungs.carried(manifest.read(trained), rung, out) is None
    assert rungs.carried(manifest.read(stopped), {}, out) is None
    assert rungs.carried(manifest.read(stopped), rung, out) == {"samples": 3, "carried": "score-1"}
    assert (out / "epochs.csv").read_text() == "epoch\n1\n"
    (before / "epochs.csv").unlink()
    with pytest.raises(BakeryError, match="is missing although"):
        rungs.carry(before, out)
    assert [rungs.is_new(one) for one in (trained, stopped, tmp_path)] == [True, False, False]
    assert [rungs.is_stopped(one) for one in (trained, stopped, tmp_path)] == [False, True, False]


def test_what_a_mirror_has_is_not_drawn_again(tmp_path: Path) -> None:
    cell = Cell("alone", "identity", "mirael", (), 1)
    epoch = GridRow(1, tmp_path / "m.safetensors", "h" * 64, 1.0)
    infos = {
        (epoch, cell): Infotext("mirael <lora:m:1>", "", {"Seed": "1", "Steps": "3", "Size": "8x8"})
    }
    mirror = SampleSet(tmp_path / "mirror", infos)
    first, second = (SampleSet(tmp_path / name, infos, mirror=mirror) for name in "ab")
    picture, again = (Picture(epoch, cell, one.places) for one in (first, second))
    first.open()
    assert not picture.there()
    picture.save(Image.new("RGB", (8, 8), "red"), finite=True)
    second.open()
    assert again.there()
    drawn = [one.path(epoch, cell).read_bytes() for one in (first, mirror, second)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert Picture(epoch, cell, (SampleSet(tmp_path / "c", infos),)).there() is False


# What people see

NASTY = '<script>fetch("http://evil.example/")</script>'


def test_the_page_says_who_was_stopped_and_why(tmp_path: Path) -> None:
    good, bad = [(0.2, 0.8), (0.6, 0.7), (0.9, 0.7)], [(0.2, 0.8), (0.3, 0.8)]
    made = [made_bake(tmp_path, "good", good), made_bake(tmp_path, "bad", bad)]
    html = page_of(made, tmp_path / "before")
    assert 'class="stopped"' not in html
    assert "early" not in html
    sentence = f"stopped after epoch 1 by halving: rank 2 of 2, trade-off 0.31 {NASTY}"
    stop(made[1], sentence)
    html = page_of(made, tmp_path / "after")
    assert "stopped after epoch 1 by halving: rank 2 of 2, trade-off 0.31" in html
    assert NASTY not in html
    assert "&lt;script&gt;fetch(" in html
    assert "1 of 2 bakes was not baked to the end." in html
    assert "bad ended early; the table of bakes shows why." in html
    assert "<h1>good, epoch 2</h1>" in html
    assert "The recommended one is among them" not in html
    stop(made[0], "stopped after epoch 2 by halving: rank 1 of 2, trade-off 0.80")
    html = page_of(made, tmp_path / "both")
    assert "The recommended one is among them: stopped after epoch 2 by halving" in html


def test_what_a_person_stopped_is_never_told_as_the_whole_bake(tmp_path: Path) -> None:
    made = [made_bake(tmp_path, "one", [(0.2, 0.8), (0.6, 0.7)])]
    page_of(made, tmp_path / "whole")
    assert "stopped" not in (tmp_path / "whole" / "results.csv").read_text()
    sentence = "stopped by you after epoch 1 of 4"
    stop(made[0], sentence, by="you")
    assert f"The bake was {sentence}." in page_of(made, tmp_path / "early")
    table = tables.read(tmp_path / "early" / "results.csv", ["epoch", "stopped"])
    assert set(table["stopped"]) == {sentence}
    summary = compare.run(Compare(), bakes=made, out=tmp_path / "early", sweep="rates")
    assert summary["best_stopped"] == sentence


def stop(bake: bakes.Bake, sentence: str, by: str = "halving") -> None:
    path = bake.folders["train"] / manifest.NAME
    facts = json.loads(path.read_text())
    facts["summary"]["stopped"] = {"until": 1, "by": by, "sentence": sentence}
    seals.write(path, json.dumps(facts))


def page_of(made: list[bakes.Bake], out: Path) -> str:
    compare.run(Compare(), bakes=made, out=out, sweep="rates")
    return (out / "index.html").read_text(encoding="utf-8")


def test_a_bake_that_failed_before_its_first_epoch_is_on_the_page(tmp_path: Path) -> None:
    made = [made_bake(tmp_path, "good", [(0.2, 0.8), (0.6, 0.7)]),
            made_bake(tmp_path, "burnt", [(0.2, 0.8)])]  # fmt: skip
    tables.write(made[1].folders["train"] / "epochs.csv", [], rungs.EPOCHS)
    stop(made[1], "failed: the loss is nan at step 3 of epoch 1")
    html = page_of(made, tmp_path / "out")
    assert "<h1>good, epoch 1</h1>" in html
    assert "failed: the loss is nan at step 3 of epoch 1" in html


def test_the_dry_bake_counts_rungs(tmp_path: Path) -> None:
    made = []
    for rate in (1e-4, 1e-3, 1e-2, 1e-1):
        bake = outlined(tmp_path, f"unet_lr {rate:g}", train={"unet_lr": rate})
        ends = ((1, 4, "epoch1"), (2, 2, "epoch2"), (6, 1, ""))
        bake["rungs"] = [
            {"until": until, "bakes": count,
             "folders": {s: bake["folders"][s] + piece for s in ("train", "sample", "score")}
                        | ({"halve": str(tmp_path / f"halve/{until}")} if until > 1 else {})}
            for until, count, piece in ends
        ]  # fmt: skip
        made.append(bake)
    filtered(made[0], [(64, 64)] * 20)
    baked(outlined(tmp_path, "another bake", train={"unet_lr": 1}), 2.0)
    text = dry_bake.run(made, out=tmp_path / "plan", trained=tmp_path / "train")
    # 100 showings are 25 steps an epoch, and a bake has (4 + 2 + 4 * 1) / 4 epochs in the mean
    seconds = tables.read(tmp_path / "plan/plan.csv", ("seconds",))["seconds"]
    assert seconds.tolist() == [f"{25 * 10 / 4 / 2:.1f}"] * 4
    assert "Halving of sweep: 2 of 4 after epoch 1, then 1 of 2 after epoch 2 continue" in text
    assert "10 epochs are trained instead of 24" in text
    html = (tmp_path / "plan/index.html").read_text(encoding="utf-8")
    # tag, prune, layout; 3 rungs of 3 stages for each of 4 bakes; 2 verdicts
    assert f"<h1>4 bakes, {3 + 36 + 2} stages to run</h1>" in html
    assert "10 epochs are trained instead of 24" in html
    for bake in made:
        done(Path(bake["rungs"][0]["folders"]["train"]), {}, {})
    dry_bake.run(made, out=tmp_path / "plan", trained=tmp_path / "train")
    seconds = tables.read(tmp_path / "plan/plan.csv", ("seconds",))["seconds"]
    assert seconds.tolist() == [f"{25 * 6 / 4 / 2:.1f}"] * 4


# The bytes


def claimed(bases_at, layout: Path, folders: list[Path], **changes: Any) -> dict[str, Any]:
    settings = [
        Train(**{"base": bases_at["epsilon"], **SMALL, "unet_lr": 1e-3 * 2**i})
        for i in range(len(folders))
    ]
    return {
        "abouts": {f: {"settings": s.model_dump(mode="json")}
                   for f, s in zip(folders, settings, strict=True)},
        "places": {}, "name": "mirael", "trigger": "mirael", "class_tokens": "",
        "layout": layout, "device": "cpu", "threads": 1, "cache": folders[0].parent / "cache",
        **changes,
    }  # fmt: skip


@pytest.mark.slow
def test_a_bake_in_rungs_has_the_bytes_of_one_without(bases_at, layout, tmp_path, caplog) -> None:
    whole, rested = tmp_path / "whole", tmp_path / "rested"
    train.TrainStage(**claimed(bases_at, layout, [whole])).run()
    train.TrainStage(**claimed(bases_at, layout, [rested], until=1)).run()
    assert rungs.rested(rested, 1)["steps"] == claims.finished(whole)["steps"]
    assert rungs.rested(rested, 2) is None
    assert claims.finished(rested) is None
    assert [path.name for path in rested.glob("*.safetensors")] == ["mirael-000001.safetensors"]
    with caplog.at_level(logging.INFO):
        train.TrainStage(**claimed(bases_at, layout, [rested], until=2)).run()
    assert "resuming after epoch 1 (" in caplog.text
    for file in ("mirael-000001.safetensors", "mirael.safetensors", "mirael.json", "epochs.csv"):
        assert (rested / file).read_bytes() == (whole / file).read_bytes(), file
    assert claims.finished(rested) == claims.finished(whole)
    assert not (rested / checkpoint.STATE).exists()
    assert not (rested / rungs.RESTED).exists()


@pytest.mark.slow
def test_who_rests_goes_on_in_another_group_and_says_so(bases_at, layout, tmp_path, caplog) -> None:
    folders = [tmp_path / name for name in "ab"]
    train.TrainStage(**claimed(bases_at, layout, folders, until=1)).run()
    with caplog.at_level(logging.INFO):
        train.TrainStage(**claimed(bases_at, layout, folders[:1])).run()  # halving was taken out
    assert "resuming after epoch 1 (" in caplog.text
    together = [
        lora_file.read_lora(folders[0] / file)[1]["bakery_baked_together"]
        for file in ("mirael-000001.safetensors", "mirael.safetensors")
    ]
    assert together == ["2", "2, then 1"]
    assert rungs.rested(folders[1], 1) is not None
