"""The trials of the score: made-up scores whose answer is known, and a design that can be planned."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from tiny_tagger import tiny_tagger

from bakery.io import tables
from bakery.report.recommendation import EpochScore
from bakery.report.results import Bake
from bakery.settings.halve import Halving
from bakery.settings.score import Score
from bakery.stages import score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from score_trials import (  # noqa: E402
    choices,
    data_sets,
    design,
    intervals,
    plot,
    replays,
    report,
    setting_up,
)
from score_trials.seen import Seen  # noqa: E402

RULES = choices.RULES


def epoch(bake: str, number: int, noise: float = 0.0, **scores: float) -> EpochScore:
    """Perfect but for `scores`, with a trade-off by the shipped weights; `noise` spreads its draws."""
    told = {"fidelity": 1.0, "flexibility": 1.0, "leak": 0.0, "bleed": 0.0, "clarity": 1.0} | scores
    spread = np.linspace(-noise, noise, 5)
    draws = {name: np.full(5, value) for name, value in told.items()}
    draws["fidelity"] = told["fidelity"] + spread
    plain = EpochScore(bake, number, told, draws=draws)
    trial = choices.weighed(evidence([[plain]], {}), choices.SHIPPED)
    return trial.bakes[0][0]


def evidence(bakes, truth, number: int = 0) -> choices.Evidence:
    rates = {bake[0].bake: 2e-3 * 4.0 ** (place - 1) for place, bake in enumerate(bakes)}
    return choices.Evidence(design.designs()[number], bakes, truth, rates)


def three_bakes() -> choices.Evidence:
    """The middle rate is best, the high one burns and bleeds, and the scores know it."""
    fidelity = {"low": (0.2, 0.5), "good": (0.8, 0.9), "high": (0.9, 0.4)}
    bleed = {"low": 0.0, "good": 0.1, "high": 1.0}
    bakes = [
        [epoch(name, 0, fidelity=0.1)]
        + [epoch(name, n, fidelity=f, bleed=bleed[name]) for n, f in enumerate(values, start=1)]
        for name, values in fidelity.items()
    ]
    truth = {("low", 1): 0.2, ("low", 2): 0.5, ("good", 1): 0.8, ("good", 2): 0.9,
             ("high", 1): 0.7, ("high", 2): 0.3}  # fmt: skip
    return evidence(bakes, truth)


# --- the design -------------------------------------------------------------------------------


def test_the_halves_share_no_character_and_have_the_same_data_sets() -> None:
    trials = design.designs()
    assert len(trials) == 24
    assert [one.name for one in trials] == [f"t{n:02d}" for n in range(1, 25)]
    settle, judge = (
        [t for t in trials if t.half == half] for half in (design.SETTLE, design.JUDGE)
    )
    assert not {t.character for t in settle} & {t.character for t in judge}
    assert set(design.KNOWN_BEFORE) <= {t.character for t in settle}
    for half in (settle, judge):
        assert Counter(t.data.name for t in half) == Counter(d.name for d in design.DATA_SETS)
        assert set(Counter(t.character for t in half).values()) == {2}
    assert len({t.seed for t in trials}) == 24
    assert trials == design.designs(), "it is the same whenever it is asked"
    assert len(design.table(trials)) == 26


def test_characters_differ_and_are_of_the_world() -> None:
    cast = design.cast()
    assert len({(t["hair_color"], t["eye_color"]) for t in cast.values()}) == len(cast) == 12
    worn = {traits["headwear"] for traits in cast.values()}
    assert {None, "halo"} < worn


def trial_of(**data) -> design.Design:
    """A trial with a data set like this."""
    made = design.DataSet("made", data.pop("pictures", 4), **data)
    return design.Design("t99", design.SETTLE, "mirael", design.cast()["mirael"], made, 1)


def test_a_data_set_is_as_its_design_says() -> None:
    plain = data_sets.Sitter(trial_of(), 0)
    looks = [plain.look(i) for i in range(40)]
    assert len({(one.garment, one.garment_color) for one in looks}) > 5
    assert {one.headwear for one in looks} == {"halo"}
    one_outfit = data_sets.Sitter(trial_of(one_outfit=True), 0)
    looks = [one_outfit.look(i) for i in range(20)]
    assert len({(one.garment, one.garment_color) for one in looks}) == 1
    assert len({one_outfit.look(i, any_outfit=True).garment for i in range(20)}) > 1
    half = data_sets.Sitter(trial_of(half_trait=True), 0)
    assert [half.look(i).headwear for i in range(4)] == ["halo", None, "halo", None]


def test_captions_have_as_many_mistakes_as_stated() -> None:
    tags = ["1girl", "solo", "pink hair", "long hair", "twintails", "purple eyes", "red shirt",
            "shirt", "smile", "beach"]  # fmt: skip
    data, rng = design.DataSet("noisy", 1, dropped=0.3, wrong=0.2), np.random.default_rng(0)
    said = [data_sets.with_mistakes(tags, data, rng) for _ in range(2000)]
    kept = [sum(tag in one for one in said) / len(said) for tag in tags]
    assert kept[:2] == [1.0, 1.0], "class words stay"
    assert all(0.46 < share < 0.56 for share in kept[2:]), kept
    assert any("blue hair" in one for one in said), "a wrong tag is one of its kind"
    assert data_sets.with_mistakes(tags, design.DataSet("fine", 1), rng) == tags


def test_a_prepared_trial_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_sets, "KNOWN", 5)
    trial = trial_of(pictures=2, dropped=0.2)
    base = setting_up.Base("resources/world/base", (1e-3, 2e-3, 4e-3), text_encoder=0.6)
    setting_up.prepare([trial], base, tmp_path)
    place = tmp_path / "t99"
    assert len(list((place / "pictures").glob("*.png.json"))) == 2
    facts = json.loads((place / data_sets.FACTS).read_text("utf-8"))
    assert {"pink hair", "halo"} <= set(facts["own"])
    assert not {"1girl", "solo"} & set(facts["own"])
    assert np.load(place / data_sets.WHOLE).shape == (data_sets.KNOWN, 128, 128, 3)
    made = setting_up.graph_of(place)
    assert len(made.of("train")) == 3, "both sweeps are of the same bakes"
    assert len(made.of("sample")) == 6
    wanted = [Path(one).parts[1] for one in setting_up.targets(made)]
    assert wanted == ["score"] * 3 + ["sample"] * 3
    assert not setting_up.is_finished(place)
    assert setting_up.cpu_seconds(place) == 0
    scored, unseen = (setting_up.bakes(place, s) for s in (setting_up.SCORED, setting_up.UNSEEN))
    assert [one.label for one in scored] == [one.label for one in unseen]
    assert not {*scored[0].settings["sample.seeds"]} & {*unseen[0].settings["sample.seeds"]}
    assert scored[0].settings["layout.repeats"] == setting_up.SHOWINGS // 2
    assert [one.settings["train.text_encoder_lr"] for one in scored] == [6e-4, 1.2e-3, 2.4e-3]
    (place / "config.yaml").write_text("sweeps: {}\n", encoding="utf-8")
    setting_up.prepare([trial], base, tmp_path)
    assert (place / "config.yaml").read_text("utf-8") == "sweeps: {}\n", "it is not overwritten"


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no base at nowhere/base"):
        setting_up.prepare([], setting_up.Base("nowhere/base", (1e-3,), text_encoder=0), tmp_path)


def test_an_anima_base_is_drawn_as_it_can_be() -> None:
    made = setting_up.config_of(trial_of(), setting_up.BASES["anima"], 2)
    assert made["sample"]["sampler"] == "Euler"
    bakes = made["sweeps"][setting_up.SCORED]["variants"]
    assert [one["train.text_encoder_lr"] for one in bakes] == [0] * 5
    assert yaml.safe_load(yaml.safe_dump(made)) == made


# --- choices ----------------------------------------------------------------------------------


def test_each_rule_takes_what_it_says() -> None:
    trial = three_bakes()
    taken = {name: (e.bake, e.number) for name, e in ((n, r(trial)) for n, r in RULES.items())}
    assert set(taken.values()) == {("good", 2)}
    assert trial.loss(RULES["the page's recommendation"](trial)) == 0
    assert trial.rank_correlation() == pytest.approx(1.0)


def test_the_page_takes_an_uncertain_peak_and_the_surest_pass_it_over() -> None:
    """The last epoch is highest, and so uncertain that the others are within its noise."""
    bakes = [[epoch("a", 0, fidelity=0.0), epoch("a", 1, fidelity=0.8), epoch("a", 2, fidelity=0.85),
              epoch("a", 3, noise=0.3, fidelity=0.9)]]  # fmt: skip
    trial = evidence(bakes, {("a", 1): 0.5, ("a", 2): 1.0, ("a", 3): 0.9})
    taken = {name: rule(trial).number for name, rule in RULES.items()}
    assert taken["the page's recommendation"] == taken["its bake's last epoch"] == 3
    assert taken["the surest within noise"] == taken["the surest"] == 2
    assert taken["its bake's earliest epoch within noise"] == 1
    assert taken["the second epoch at the shipped rate"] == 2
    assert trial.loss(RULES["the page's recommendation"](trial)) == pytest.approx(0.1)


def test_weights_change_the_trade_off_as_the_score_does() -> None:
    one = epoch("a", 1, fidelity=0.5, flexibility=1.0, leak=0.2, bleed=0.4, clarity=0.8)
    weight = choices.SHIPPED
    shipped = 2 / 3 - weight["leak"] * 0.2 - weight["bleed"] * 0.4 - weight["clarity"] * 0.2
    assert one.rank == pytest.approx(shipped)
    trial = evidence([[one]], {("a", 1): 1.0})
    (other,) = choices.weighed(trial, {"leak": 0, "bleed": 1, "clarity": 0}).epochs
    assert other.rank == pytest.approx(2 / 3 - 0.4)
    assert other.draws["tradeoff"] == pytest.approx(np.full(5, 2 / 3 - 0.4))


@pytest.mark.parametrize(
    ("without", "rank"),
    [
        ("fidelity", 0.9), ("flexibility", 0.5), ("leak", 9 / 14),
        ("bleed", 9 / 14 - choices.SHIPPED["leak"] * 0.2),
    ],
)  # fmt: skip
def test_leaving_a_metric_out(without: str, rank: float) -> None:
    costs = {"leak": 0.2} if without in ("leak", "bleed") else {}
    one = epoch("a", 1, fidelity=0.5, flexibility=0.9, **costs)
    trial = evidence([[one]], {("a", 1): 1.0})
    (other,) = choices.weighed(trial, choices.SHIPPED, without=without).epochs
    assert other.rank == pytest.approx(rank)
    assert without not in other.scores
    assert without not in other.draws


def test_weights_are_settled_where_they_lose_least() -> None:
    """Only who lets bleed cost much passes the bake over that bleeds and is falsely high."""
    clean = [epoch("clean", 0, fidelity=0.0), epoch("clean", 1, fidelity=0.8)]
    bakes = [clean, [epoch("bleeds", 0), epoch("bleeds", 1, bleed=0.6)]]
    trial = evidence(bakes, {("clean", 1): 1.0, ("bleeds", 1): 0.5})
    shipped = choices.attempt([trial], "the page's recommendation")
    assert (shipped.losses, shipped.good) == ([0.5], 0)
    tried = choices.settle([trial], ["the page's recommendation"])
    assert len(tried) == math.prod(map(len, choices.GRID.values()))
    assert tried[0].weights == choices.SHIPPED | {"bleed": 0.2}, "the nearest that loses nothing"
    assert tried[0].good == 1
    assert {one.weights["bleed"] for one in tried if not one.losses[0]} == {0.2, 0.5}


def test_a_trial_without_traits_has_no_verdict() -> None:
    nothing = {"fidelity": math.nan, "tradeoff": math.nan}
    trial = evidence([[EpochScore("a", 1, nothing), EpochScore("a", 2, nothing)]], {("a", 1): 0.5})
    assert not trial.has_verdict
    assert three_bakes().has_verdict


def test_the_shipped_weights_are_among_those_tried() -> None:
    assert choices.all_weights()[0] == choices.SHIPPED
    assert all(choices.SHIPPED[name] in values for name, values in choices.GRID.items())


# --- intervals --------------------------------------------------------------------------------


def test_intervals_are_those_of_the_books() -> None:
    # Wilson's for 8 of 10: (0.490, 0.943)
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert intervals.wilson(0, 0) == (0.0, 1.0)
    low, high = intervals.of_mean([0.0, 1.0] * 50, list(range(100)))
    assert (low, high) == pytest.approx((0.4, 0.6), abs=0.02)  # 0.5 +- 1.96 * 0.5 / sqrt(100)


def test_trials_of_one_character_count_as_little_as_they_say() -> None:
    """Ten trials of two characters that agree within each are worth two."""
    values, groups = [0.0] * 5 + [1.0] * 5, ["a"] * 5 + ["b"] * 5
    assert intervals.of_mean(values, groups) == (0.0, 1.0)
    assert intervals.of_mean([0.3, math.nan], ["a", "b"]) == pytest.approx(
        (math.nan, math.nan), nan_ok=True
    )


# --- replays ----------------------------------------------------------------------------------


def test_halving_loses_the_bake_that_is_best_late() -> None:
    """The late bake is last after epoch 1; a verdict after epoch 2 would have kept it."""
    shown = {"early": (0.7, 0.75, 0.75), "mid": (0.5, 0.5, 0.5), "late": (0.2, 0.6, 1.0)}
    bakes = [
        [epoch(name, 0, fidelity=0.0)]
        + [epoch(name, n, fidelity=f) for n, f in enumerate(values, start=1)]
        for name, values in shown.items()
    ]
    truth = {(name, n): f for name, fs in shown.items() for n, f in enumerate(fs, start=1)}
    trial = evidence(bakes, truth)
    first = replays.halved(trial, Halving(after=(1,), keep=0.5), "the page's recommendation")
    assert first.loss == pytest.approx(0.25)
    assert not first.same
    assert first.cost == pytest.approx((3 + 3 + 1) / 9)  # two of three go on
    later = replays.halved(trial, Halving(after=(2,), keep=0.5), "the page's recommendation")
    assert (later.loss, later.same) == (0, True)
    assert later.cost == pytest.approx((3 + 3 + 2) / 9)
    both = replays.halved(trial, Halving(after=(1, 2), keep=0.5), "the page's recommendation")
    assert both.cost == pytest.approx((3 + 2 + 1) / 9)


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """A scored bake whose second epoch shows all, with four outfits and three seeds."""
    folder = tmp_path_factory.mktemp("baked")
    model = tiny_tagger(folder / "tagger", TAGS, categories=CATEGORIES)
    asked = {"beach": "beach", "street": "street", "smile": "smile", "forest": "forest"}
    shown = [{}, {"halo": 0.9}, {"pink hair": 0.9, "halo": 0.9}]
    shots: list[Shot] = []
    for number, mine in enumerate(shown):
        for seed in (1, 2, 3):
            shots.append((number, "trigger", "identity", "", seed, mine))
            for name, tag in asked.items():
                lost = name == "forest" and number == 2
                seen = {"red jacket": 0.4} if lost else {tag: 0.9} | mine
                shots.append((number, name, "flexibility", tag, seed, seen))
            shots.append((number, "beach-bleed", "bleed", "", seed, {"beach": 0.9}))
    for seed in (1, 2, 3):
        shots += [(0, f"{n}-base", "base", tag, seed, {tag: 0.9}) for n, tag in asked.items()]
    places = stages(folder / "above")
    words = [{"tag": t, "category": CATEGORIES.get(t, "general"), "count": 1} for t in TAGS]
    tables.write(places["tag"] / "vocabulary.csv", words, ("tag", "category", "count"))
    sample = sample_stage(folder / "sample", shots)
    above = score.InputFolders(sample, **places)
    score.run(Score(), above, out=folder / "score", model=model)
    settings = {f"score.{name}": value for name, value in Score().model_dump().items()}
    return Bake("only", {**places, "sample": sample, "score": folder / "score"}, settings)


def written(bake: Bake) -> list[float]:
    table = tables.read(bake.folders["score"] / "epochs.csv", ("epoch", "tradeoff"))
    return [float(value) for value in table["tradeoff"]]


def test_all_pictures_give_the_scores_that_the_stage_wrote(baked: Bake) -> None:
    seen = Seen.read(baked)
    every = replays._scored(seen, np.ones(len(seen.samples), bool))
    assert [e.number for e in every] == [0, 1, 2]
    assert [e.rank for e in every] == pytest.approx(written(baked), abs=1e-4)


def test_fewer_prompts_and_seeds_are_scored_by_their_own_pictures(baked: Bake) -> None:
    seen = Seen.read(baked)
    rows = replays._chosen(seen, {"beach", "street", "smile"}, {"1", "2"})
    assert set(seen.samples["seed"][rows]) == {"1", "2"}
    assert "forest" not in set(seen.samples["prompt_id"][rows])
    few, all_ = (
        replays._scored(seen, chosen)[2] for chosen in (rows, np.ones(len(seen.samples), bool))
    )
    assert all_.scores["flexibility"] == pytest.approx(0.75)  # of four prompts, forest is lost
    assert few.scores["flexibility"] == 1
    assert few.scores["fidelity"] == all_.scores["fidelity"]


def test_the_replay_of_everything_is_the_trial_itself(baked: Bake) -> None:
    seen = Seen.read(baked)
    scored = replays._scored(seen, np.ones(len(seen.samples), bool))
    trial = evidence([scored], {("only", 1): 0.5, ("only", 2): 1.0})
    found = list(replays.with_fewer(trial, [seen], "the page's recommendation", repeats=2))
    whole = [one for one in found if one.name == "4 prompts, 3 seeds"]
    assert [(one.same, one.cost) for one in whole] == [(True, 1.0)]
    assert len(found) == 2 * (4 * 3 - 1) + 1, "one seed to three, as there are no four"
    assert all(one.cost < 1 for one in found if one not in whole)


# --- the report -------------------------------------------------------------------------------


def test_the_report_counts_and_says_how_far_it_can_be_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_bleed = choices.SHIPPED | {"bleed": 0.0}
    monkeypatch.setattr(choices, "all_weights", lambda: [no_bleed, choices.SHIPPED])
    trial = three_bakes()
    other = evidence(trial.bakes, {**trial.truth, ("low", 1): 1.8}, number=2)
    found = [trial, other]
    first, second = report.trials(found, {"t01": 12.0}, "the page's recommendation")[2:]
    assert first.startswith(
        "| t01 | velka | 30 pictures, a second time | 6 | 1.00 | good, epoch 2 |"
    )
    assert first.endswith("| 0.90 | 0.90 | 0% | 0.00 | 12 |")
    assert "| 50% |" in second
    line = report.line("x", choices.attempt(found, "the page's recommendation"), found)
    assert "1 of 2 (9% to 91%)" in line
    assert "25.0% (0.0% to 50.0%)" in line
    assert len(report.rules(found)) == 1 + len(RULES)
    assert len(report.without_each(found, "the page's recommendation")) == 2 + 5
    tried = choices.settle(found, ["the page's recommendation"])
    said = ", ".join(f"{weight:g}" for weight in choices.SHIPPED.values())
    assert f"{said} (shipped)" in report.weights(tried, found, best=1)[1]


def test_epochs_are_counted_by_where_each_bake_is_best() -> None:
    truths = {
        "low": {1: 0.2, 2: 0.8}, "good": {1: 0.5, 2: 0.5}, "high": {1: 0.4, 2: 0.2},
    }  # fmt: skip
    truth = {(name, n): value for name, values in truths.items() for n, value in values.items()}
    trial = evidence([[epoch(name, n) for n in (0, 1, 2)] for name in truths], truth)
    assert report.best_epochs([trial])[2:] == [
        "| 0.0005 | 0 of 1 | 1 of 1 | 0% |",
        "| 0.002 | 1 of 1 | 0 of 1 | 0% |",  # of equals the earlier
        "| 0.008 | 1 of 1 | 0 of 1 | 50% |",
        "| all | 2 of 3 | 1 of 3 | 17% |",
    ]
    assert report.doubts([trial])[2] == "| t01 | 0 | 0 |  |"


def test_a_plot_shows_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    plot.plot([three_bakes()] * 5, tmp_path / "trials.png", "the page's recommendation")
    assert (tmp_path / "trials.png").stat().st_size > 1000


def test_each_trial_counts_once_however_often_it_was_drawn() -> None:
    def drawn(loss: float) -> replays.Replay:
        return replays.Replay("2 prompts", loss, 0.5, loss == 0, 0.4)

    rows = report.replays("drawn", "pictures", [[drawn(0.0)] * 3, [drawn(0.2)]])
    assert rows[2] == "| 2 prompts | 40% | 0.50 | 50% | 10.0% | 50% | 2 |"


def test_one_epoch_has_no_rank_correlation_and_the_report_says_nothing_of_it() -> None:
    trial = evidence([[epoch("a", 0, fidelity=0.1), epoch("a", 1)]], {("a", 1): 0.8})
    assert math.isnan(trial.rank_correlation())
    assert "| x |  | 1 of 1" in report.line("x", choices.attempt([trial], "the surest"), [trial])
    half = Halving(after=(1,), keep=0.5)
    rows = report.replays("halving", "epochs", [[replays.halved(trial, half, "the surest")]])
    assert rows[2] == "| after 1, keep 0.5 | 100% |  | 100% | 0.0% | 100% | 1 |"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    run = importlib.import_module("score_trials.run")
    given = SimpleNamespace(folder=tmp_path, trials=["t03"], cores="1")
    with pytest.raises(SystemExit, match=r"t03 has no config\.yaml: run prepare for t03 first"):
        run.bake(given)
    with pytest.raises(SystemExit, match="there is no trial t77"):
        run.asked(["t77"])
    with pytest.raises(SystemExit, match="has no yardstick: run yardstick first"):
        run.tell(given)


def test_a_second_look_at_the_judges_half_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = importlib.import_module("score_trials.run")
    given = SimpleNamespace(folder=tmp_path, without_the_unfinished=False, plot=None)
    with pytest.raises(SystemExit, match="nothing is settled yet"):
        run.judge(given)
    trial = three_bakes()
    monkeypatch.setattr(run, "read_all", lambda folder, half: [trial])
    monkeypatch.setattr(run, "describe", lambda: "here")
    monkeypatch.setattr(choices, "all_weights", lambda: [choices.SHIPPED])
    monkeypatch.setattr(run.setting_up, "cpu_seconds", lambda place: 60.0)
    run.settle(given)
    assert json.loads((tmp_path / run.SETTLED).read_text("utf-8"))["weights"] == choices.SHIPPED
    with pytest.raises(SystemExit, match="not finished: t13, t14"):
        run.judge(given)
    run.judge(SimpleNamespace(folder=tmp_path, without_the_unfinished=True, plot=None))
    assert "As settled: the page's recommendation" in (tmp_path / run.JUDGED).read_text("utf-8")
    for step in (run.judge, run.settle):
        with pytest.raises(SystemExit, match=r"judged already|is there"):
            step(given)
