"""Score: every number counted by hand, on pictures whose tags are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from PIL import Image
from tiny_tagger import tiny_tagger

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.report import recommendation
from bakery.report.results import Bake, BakeResult, read_bake
from bakery.scoring import score_tables
from bakery.settings.score import Score
from bakery.stages import compare, score

BOTH = {"pink hair": 0.9, "halo": 0.9}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tagger(tmp_path_factory.mktemp("tagger"), TAGS, categories=CATEGORIES)


SHOTS: list[Shot] = [
    (0, "trigger", "identity", "", 1, {}),
    (0, "trigger", "identity", "", 2, {"pink hair": 0.9}),
    (0, "beach", "flexibility", "smile; ;d; beach", 1, {"beach": 0.9, "smile": 0.4, ";d": 0.9}),
    (0, "beach", "flexibility", "smile; ;d; beach", 2, {"beach": 0.9, "smile": 0.3}),
    (0, "beach-base", "base", "smile; ;d; beach", 1, {"beach": 0.9, "smile": 0.9}),
    (0, "beach-base", "base", "smile; ;d; beach", 2, {"beach": 0.9, ";d": 0.9}),
    (0, "bleed", "bleed", "forest", 1, {"forest": 0.9}),
    (0, "bleed", "bleed", "forest", 2, {"forest": 0.9, "pink hair": 0.9}),
    (1, "trigger", "identity", "", 1, BOTH),
    (1, "trigger", "identity", "", 2, {"halo": 0.9, "rare horn": 0.9, "red jacket": 0.9}),
    (1, "beach", "flexibility", "smile; ;d; beach", 1, {"red jacket": 0.9}),
    (1, "beach", "flexibility", "smile; ;d; beach", 2, {"beach": 0.9, "blue shirt": 0.9}),
    (1, "bleed", "bleed", "forest", 1, {"forest": 0.9, "pink hair": 0.9, "halo": 0.9}),
    (1, "bleed", "bleed", "forest", 2, {"forest": 0.9, "pink hair": 0.9}),
    (10, "trigger", "identity", "", 1, BOTH),
    (10, "trigger", "identity", "", 2, BOTH),
    (10, "beach", "flexibility", "smile; ;d; beach", 1, {}),
    (10, "beach", "flexibility", "smile; ;d; beach", 2, {}),
    (10, "bleed", "bleed", "forest", 1, {}),
    (10, "bleed", "bleed", "forest", 2, {}),
]


def scored(tmp_path: Path, model: Path, shots: list[Shot] = SHOTS, **changes: object):
    made = {name: changes.pop(name) for name in ("traits", "pruned") if name in changes}
    folders = stages(tmp_path, **made)
    sample = sample_stage(tmp_path / "sample", shots)
    out = tmp_path / "score"
    summary = score.run(
        Score(**changes), score.InputFolders(sample, **folders), out=out, model=model
    )
    return summary, out, pd.read_csv(out / "epochs.csv").set_index("epoch")


@pytest.fixture(scope="module")
def done(model: Path, tmp_path_factory: pytest.TempPathFactory):
    return scored(tmp_path_factory.mktemp("done"), model)


def test_epochs_are_scored_as_the_definitions_say(done) -> None:
    summary, out, epochs = done
    assert summary["traits"] == {"pink hair": 1.0, "halo": 0.75}  # the horn is too rare
    assert summary["ceiling"] == 0.875
    assert list(pd.read_csv(out / "epochs.csv").columns) == list(score_tables.EPOCHS)
    assert epochs.index.tolist() == [0, 1, 10]  # by number, not by spelling
    assert epochs["n"].tolist() == [8, 6, 6]
    # epoch 0: 1 of 4 traits over .875; epoch 1: 3 of 4 over .875; epoch 10: all 4, capped
    assert epochs["fidelity"].tolist() == pytest.approx([0.2857, 0.8571, 1.0], abs=1e-4)
    # the references show 4 of 6 asked tags; epoch 0 as many, epoch 1 one, epoch 10 none
    assert epochs["flexibility"].tolist() == [1.0, 0.25, 0.0]
    # of 4 traits on bleed pictures the base shows 1, epoch 1 shows 3; the ceiling is .875
    assert epochs["bleed"].tolist() == pytest.approx([0, 0.5 / 0.625, 0], abs=1e-4)
    assert epochs["broken"].tolist() == [pytest.approx(1 / 8), 0, pytest.approx(4 / 6, abs=1e-4)]
    assert epochs["likeness"].isna().all()


def test_leak_is_measured_on_the_training_sets_habits(done) -> None:
    summary, out, epochs = done
    # all wear a red jacket, three stand in a street; the base shows neither
    assert summary["habits"] == {
        "jacket": {"training": 1.0, "base": 0.0},
        "red jacket": {"training": 1.0, "base": 0.0},
        "street": {"training": 0.75, "base": 0.0},
    }
    # epoch 1: the red jacket on 2 of 4 pictures that do not ask for it, out of 1 + 1 + .75
    assert epochs["leak"].tolist() == pytest.approx([0, 0.5 / 2.75, 0], abs=1e-4)
    rows = tables.read(out / "scores.csv", score_tables.SCORES).set_index("image")
    assert rows.loc["e1_beach_s1.png", "leaked"] == "red jacket"
    assert rows.loc["e1_bleed_s1.png", "leaked"] == ""
    assert rows.loc["e1_bleed_s1.png", "traits_seen"] == "pink hair; halo"


def test_what_was_asked_or_pruned_does_not_leak(model: Path, tmp_path: Path) -> None:
    worn = {"red jacket": 0.9, "jacket": 0.9}
    shots: list[Shot] = [
        (0, "a", "flexibility", "red jacket", 1, {}),
        (0, "a", "flexibility", "red jacket", 2, {}),
        (1, "a", "flexibility", "red jacket", 1, worn),  # whoever asks for it asks for a jacket
        (1, "a", "flexibility", "red jacket", 2, worn),
    ]
    _, out, epochs = scored(tmp_path / "asked", model, shots)
    assert epochs["leak"].tolist() == [0, 0]
    assert set(tables.read(out / "scores.csv", score_tables.SCORES)["leaked"]) == {""}
    shots = [(e, "a", "flexibility", "beach", s, worn if e else {}) for e in (0, 1) for s in (1, 2)]
    summary, _, epochs = scored(
        tmp_path / "pruned", model, shots, pruned=("red jacket", "jacket", "street")
    )
    assert summary["habits"] == {}
    assert epochs["leak"].tolist() == [0, 0]


def test_drift_and_variety_speak_of_the_pictures_as_a_whole(done) -> None:
    _, out, epochs = done
    rows = tables.read(out / "scores.csv", score_tables.SCORES).set_index("image")
    assert float(rows.loc["e0_bleed_s1.png", "drift"]) == 0
    # forest alone against forest, pink hair and halo, .9 each: 1 - .9 / 2.7
    assert float(rows.loc["e1_bleed_s1.png", "drift"]) == pytest.approx(2 / 3, abs=0.02)
    assert float(rows.loc["e10_bleed_s1.png", "drift"]) == 1
    assert rows.loc["e1_trigger_s1.png", "drift"] == ""
    assert epochs["drift"].tolist() == pytest.approx([0, 1 / 3, 1], abs=0.02)
    # epoch 10 draws the same for both seeds
    assert epochs["variety"].tolist() == pytest.approx([1, 1, 0], abs=0.02)


def test_pictures_that_leave_the_tagger_in_doubt_lack_clarity(model: Path, tmp_path: Path) -> None:
    frayed = {"beach": 0.6, "smile": 0.4}
    shots: list[Shot] = [
        (e, name, purpose, "", seed, BOTH | ({"beach": 0.9} if e < 2 else frayed))
        for e in (0, 1, 2)
        for name, purpose in (("a", "identity"), ("b", "bleed"))
        for seed in (1, 2)
    ]
    # half a trait is fidelity's business, and what the base alone draws is no reference of its own
    shots += [(1, "c", "identity", "", s, {"halo": 0.5, "beach": 0.9}) for s in (1, 2)]
    shots += [(0, "c-base", "base", "", s, frayed) for s in (1, 2)]
    _, out, epochs = scored(tmp_path, model, shots)
    bits = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    frays = -2 * (0.6 * math.log2(0.6) + 0.4 * math.log2(0.4))
    assert epochs["clarity"].tolist() == pytest.approx([1, 1, bits / 0.9 / frays], abs=0.02)
    rows = tables.read(out / "scores.csv", score_tables.SCORES).set_index("image")
    assert float(rows.loc["e1_a_s1.png", "doubt"]) == pytest.approx(bits / 0.9, abs=0.02)
    assert float(rows.loc["e2_b_s2.png", "doubt"]) == pytest.approx(frays, abs=0.04)
    assert rows.loc["e0_c-base_s1.png", "doubt"] != "", "every picture has one"
    cells = pd.read_csv(out / "cells.csv").set_index(["epoch", "prompt_id"])
    assert cells.loc[(2, "a"), "doubt"] == pytest.approx(frays, abs=0.04)


def test_variety_is_not_about_the_traits(model: Path, tmp_path: Path) -> None:
    """A LoRA that always draws the character has not collapsed."""
    shots: list[Shot] = [
        (0, "a", "identity", "", 1, {"beach": 0.9}),
        (0, "a", "identity", "", 2, {"forest": 0.9}),
        (1, "a", "identity", "", 1, BOTH | {"beach": 0.9}),
        (1, "a", "identity", "", 2, BOTH | {"forest": 0.9}),
        (2, "a", "identity", "", 1, BOTH | {"beach": 0.9, "smile": 0.9}),
        (2, "a", "identity", "", 2, BOTH | {"beach": 0.9}),
    ]
    _, _, epochs = scored(tmp_path, model, shots)
    assert epochs["variety"].tolist() == pytest.approx([1, 1, 0.5], abs=0.02)


def test_a_training_picture_drawn_again_is_memorised(model: Path, tmp_path: Path) -> None:
    copied = {"pink hair": 0.9, "red jacket": 0.9, "jacket": 0.9, "halo": 0.8, "street": 0.9}
    other = {"pink hair": 0.9, "beach": 0.9, "smile": 0.9}
    shots: list[Shot] = [
        (0, "a", "identity", "", 1, other),
        (0, "a", "identity", "", 2, {}),
        (1, "a", "identity", "", 1, copied),
        (1, "a", "identity", "", 2, other),
        (1, "b", "bleed", "", 1, copied),
        (1, "b", "bleed", "", 2, copied),
    ]
    _, out, epochs = scored(tmp_path, model, shots)
    assert epochs["memorised"].tolist() == [0, 0.5]
    rows = tables.read(out / "scores.csv", score_tables.SCORES).set_index("image")
    assert rows.loc["e1_a_s1.png", ["nearest", "nearest_bits", "memorised"]].tolist() == [
        "b.png", "0", "1",
    ]  # fmt: skip
    assert rows.loc["e1_b_s1.png", ["nearest", "memorised"]].tolist() == ["", ""]


def test_each_sample_says_what_was_found(done) -> None:
    _, out, _ = done
    table = tables.read(out / "scores.csv", score_tables.SCORES)
    assert list(table.columns) == list(score_tables.SCORES)
    rows = {row["image"]: row for row in table.to_dict("records")}
    row = rows["e0_beach_s1.png"]
    assert tables.split(row["asked"]) == ["smile", ";d", "beach"]
    assert tables.split(row["found"]) == ["smile", ";d", "beach"]
    assert float(row["score"]) == 1
    row = rows["e1_trigger_s2.png"]
    assert tables.split(row["asked"]) == ["pink hair", "halo"]
    assert tables.split(row["found"]) == ["halo"]
    assert float(row["score"]) == 0.5
    assert rows["e0_beach-base_s1.png"]["asked"] == ""
    seen = pd.read_csv(out / "tags.csv")
    mine = seen[seen["image"] == "e0_beach_s2.png"]
    assert mine["tag"].tolist() == ["beach", "smile"]
    assert mine["probability"].tolist() == pytest.approx([0.9, 0.3], abs=0.02)
    assert seen["probability"].min() >= 0.05


def test_a_trait_that_the_samples_miss_is_proposed_as_a_detail(
    done, model: Path, tmp_path: Path
) -> None:
    summary, out, _ = done
    shown = pd.read_csv(out / "details.csv").set_index("trait")
    assert shown["in_data"].to_dict() == {"pink hair": 1.0, "halo": 0.75}
    assert shown["in_samples"].tolist() == [1.0, 1.0]
    assert shown["proposal"].isna().all()
    assert summary["warnings"] == []
    # the same without the last epoch's halos
    missing = [s for s in SHOTS if s[0] < 10] + [
        (10, "trigger", "identity", "", seed, {"pink hair": 0.9}) for seed in (1, 2)
    ]
    missing = [(*s[:5], {k: v for k, v in s[5].items() if k != "halo"}) for s in missing]
    summary, _, _ = scored(tmp_path / "named", model, missing)
    (warning,) = summary["warnings"]
    assert "prune.always: [halo] takes it out of the captions" in warning
    summary, out, _ = scored(tmp_path / "missed", model, missing, pruned=["halo", "pink hair"])
    (warning,) = summary["warnings"]
    assert "layout.details: [halo]" in warning
    table = pd.read_csv(out / "details.csv")
    assert table["trait"].tolist() == ["halo", "pink hair"], "the most missed first"
    assert table["proposal"].tolist()[0] == warning


def test_cells_are_means_over_seeds(done) -> None:
    _, out, _ = done
    cells = pd.read_csv(out / "cells.csv")
    assert list(cells.columns) == list(score_tables.CELLS)
    cell = cells[(cells["epoch"] == 1) & (cells["prompt_id"] == "trigger")].iloc[0]
    assert cell["n"] == 2
    assert cell[["score", "score_low", "score_high"]].tolist() == [0.75, 0.5, 1.0]
    assert cell[["traits_seen", "leaked"]].tolist() == [0.75, 0.5]
    bleed = cells[(cells["epoch"] == 1) & (cells["prompt_id"] == "bleed")].iloc[0]
    assert math.isnan(bleed["score"])
    assert bleed["drift"] == pytest.approx(1 / 3, abs=0.02)


def test_the_intervals_hold_the_score_and_come_again(done, model: Path, tmp_path: Path) -> None:
    _, out, epochs = done
    for name in ("fidelity", "flexibility", "leak", "bleed", "clarity", "drift", "tradeoff"):
        # epoch 10 shows nothing but traits: of clarity there is nothing to say
        known = epochs[epochs[name].notna()]
        assert len(known) == (2 if name == "clarity" else 3), name
        assert (known[f"{name}_low"] <= known[name]).all(), name
        assert (known[name] <= known[f"{name}_high"]).all(), name
    # seeds disagree: of the 4 draws of 2 seeds, 1 sees nothing and 1 pink hair twice
    assert (epochs.loc[0, "fidelity_low"], epochs.loc[0, "fidelity_high"]) == (
        0.0,
        pytest.approx(0.5714),
    )
    assert (epochs.loc[10, "fidelity_low"], epochs.loc[10, "fidelity_high"]) == (1.0, 1.0)
    _, again, _ = scored(tmp_path / "again", model)
    for name in ("epochs.csv", "draws.csv", "scores.csv", "cells.csv", "weights.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def test_draws_are_what_the_intervals_are_made_of(done) -> None:
    _, out, epochs = done
    draws = recommendation.read_draws(out / "draws.csv")
    assert sorted(draws) == [0, 1, 10]
    for epoch, numbers in draws.items():
        low, high = np.nanquantile(numbers["tradeoff"], [0.025, 0.975])
        assert low == pytest.approx(epochs.loc[epoch, "tradeoff_low"], abs=2e-4)
        assert high == pytest.approx(epochs.loc[epoch, "tradeoff_high"], abs=2e-4)


def test_one_seed_gives_no_interval(model: Path, tmp_path: Path) -> None:
    summary, out, epochs = scored(tmp_path, model, [shot for shot in SHOTS if shot[4] == 1])
    assert epochs[["fidelity_low", "flexibility_high", "variety"]].isna().all(axis=None)
    assert epochs["fidelity"].notna().all()
    assert any("one seed" in warning for warning in summary["warnings"])
    assert recommendation.read_draws(out / "draws.csv") == {}


def test_unknown_tags_are_named_and_not_counted(model: Path, tmp_path: Path) -> None:
    shots: list[Shot] = [
        (0, "a", "flexibility", "Beach; vampire cape", 1, {"beach": 0.9}),
        (1, "a", "flexibility", "Beach; vampire cape", 1, {"beach": 0.9}),
        (1, "b", "flexibility", "vampire cape", 1, {}),
    ]
    summary, out, epochs = scored(tmp_path, model, shots)
    assert summary["unknown_tags"] == ["vampire cape"]
    assert any("vampire cape" in warning for warning in summary["warnings"])
    assert epochs["flexibility"].tolist() == [1.0, 1.0]
    assert epochs["fidelity"].isna().all()
    assert any("no prompt has the purpose identity" in w for w in summary["warnings"])
    table = tables.read(out / "scores.csv", score_tables.SCORES)
    assert table["score"].tolist() == ["1.0", "1.0", ""]


def test_what_is_not_measured_is_empty_and_the_reason_is_said(model: Path, tmp_path: Path) -> None:
    shots: list[Shot] = [
        (e, "a", "flexibility", "beach", s, {"beach": 0.9} if e else {})
        for e in (0, 1) for s in (1, 2)
    ]  # fmt: skip
    summary, _, epochs = scored(tmp_path / "blind", model, shots)
    assert epochs[["flexibility", "bleed", "drift", "tradeoff"]].isna().all(axis=None)
    said = " ".join(summary["warnings"])
    assert "the base itself shows nothing of what is asked" in said
    assert "no prompt has the purpose bleed" in said
    summary, _, epochs = scored(tmp_path / "baseless", model, [s for s in SHOTS if s[0]])
    assert epochs[["flexibility", "leak", "bleed", "variety"]].isna().all(axis=None)
    assert epochs["fidelity"].notna().all()
    assert "leak is empty: the base has drawn no" in " ".join(summary["warnings"])


def test_character_tags_have_their_own_threshold(model: Path, tmp_path: Path) -> None:
    name = "mirael (game)"
    shots: list[Shot] = [
        (0, "a", "flexibility", name, 1, {name: 0.9}),
        (1, "a", "flexibility", name, 1, {name: 0.8}),
        (2, "a", "flexibility", name, 1, {name: 0.9}),
    ]
    _, _, epochs = scored(tmp_path, model, shots)
    assert epochs["flexibility"].tolist() == [1.0, 0.0, 1.0]


def test_thresholds_are_those_of_the_prune_stage(model: Path, tmp_path: Path) -> None:
    folders = stages(tmp_path)
    facts = json.loads((folders["prune"] / "trigger.json").read_text())
    facts["thresholds"]["general"] = 0.95
    (folders["prune"] / "trigger.json").write_text(json.dumps(facts))
    both: dict[str, float] = {"smile": 0.99, "beach": 0.99}
    shots: list[Shot] = [
        (0, "a", "flexibility", "smile; beach", 1, both),
        (1, "a", "flexibility", "smile; beach", 1, {"smile": 0.9, "beach": 0.99}),
    ]
    sample = sample_stage(tmp_path / "sample", shots)
    out = tmp_path / "score"
    summary = score.run(Score(), score.InputFolders(sample, **folders), out=out, model=model)
    assert summary["traits"] == {}  # pink hair has .9, a halo above .95 is on 1 of 4 pictures
    assert pd.read_csv(out / "epochs.csv")["flexibility"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_do_not_change_the_scores(
    done, model: Path, tmp_path: Path, batch_size: int
) -> None:
    _, once, _ = done
    _, again, _ = scored(tmp_path, model, batch_size=batch_size)
    for name in ("tags.csv", "scores.csv", "epochs.csv", "details.csv"):
        assert (once / name).read_bytes() == (again / name).read_bytes()


def test_without_traits_fidelity_is_empty_not_zero(model: Path, tmp_path: Path) -> None:
    summary, _, epochs = scored(tmp_path, model, traits=[])
    assert summary["ceiling"] is None
    assert epochs["fidelity"].isna().all()
    assert epochs["bleed"].isna().all()
    assert "fidelity is empty" in summary["warnings"][0]
    assert epochs["flexibility"].notna().all()


def test_min_trait_share_0_counts_what_is_ever_seen(model: Path, tmp_path: Path) -> None:
    traits = ["pink hair", "halo", "rare horn", "never seen"]
    summary, _, _ = scored(tmp_path, model, traits=traits, min_trait_share=0)
    assert summary["traits"] == {"pink hair": 1.0, "halo": 0.75, "rare horn": 0.25}


def test_the_preferred_weight_is_the_one_nearest_to_the_nominal_that_is_no_worse(
    model: Path, tmp_path: Path
) -> None:
    def at(epoch: float, identity: dict[str, float], beach: dict[str, float]) -> list[Shot]:
        return [
            shot
            for seed in (1, 2)
            for shot in (
                (epoch, "trigger", "identity", "", seed, identity),
                (epoch, "beach", "flexibility", "smile; beach", seed, beach),
            )
        ]

    asked = {"beach": 0.9, "smile": 0.9}
    shots = at(0, {}, asked) + at(2, BOTH, {"beach": 0.9})
    shots += at(2.25, {"halo": 0.9}, asked) + at(2.5, BOTH, asked) + at(2.75, BOTH, asked)
    summary, out, epochs = scored(tmp_path, model, shots)
    assert summary["preferred_weight"] == 0.75
    answers = pd.read_csv(out / "weights.csv")
    assert list(answers.columns) == list(score_tables.WEIGHTS)
    assert answers["weight"].tolist() == [0.25, 0.5, 0.75, 1]
    assert answers["fidelity"].tolist() == pytest.approx([0.5714, 1, 1, 1], abs=1e-4)
    assert answers["flexibility"].tolist() == [1, 1, 1, 0.5]
    assert epochs.index.tolist() == [0, 2]
    assert epochs.loc[2, "n"] == 4  # at the nominal weight only
    summary, _, _ = scored(tmp_path / "without", model)
    assert summary["preferred_weight"] is None


# --- made-up bakes: which one would you take? -----------------------------------------------

ASKED = "blue shirt; forest; smile"
OBEYED = {"blue shirt": 0.9, "forest": 0.9, "smile": 0.9}
OUTFIT = {"red jacket": 0.9, "jacket": 0.9, "street": 0.9}


def made_up(kind: str, seed: int) -> dict[str, dict[str, float]]:
    """What a bake of some kind shows on an identity, a flexibility and a bleed picture."""
    some = {"pink hair": 0.9} if seed == 1 else {"halo": 0.9}
    pose = {"beach": 0.9} if seed % 2 else {"forest": 0.9}
    shows = {
        "base": (pose, OBEYED, OBEYED),
        "good": (BOTH | pose, BOTH | OBEYED, OBEYED),
        "underbaked": (some | pose, OBEYED, OBEYED),
        "burnt": ({"street": 0.9}, {"street": 0.9}, {"street": 0.9}),
        "leaking": (BOTH | OUTFIT, BOTH | OBEYED | OUTFIT, OBEYED),
        "bleeding": (BOTH | pose, BOTH | OBEYED, BOTH | OBEYED),
        "rigid": (BOTH | pose, BOTH | {"smile": 0.9}, OBEYED),
        "broken": ({}, {}, {}),
    }
    return dict(zip(("identity", "flexibility", "bleed"), shows[kind], strict=True))


@pytest.fixture(scope="module")
def kinds(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BakeResult]:
    """A scored bake of each kind with one epoch."""
    folder = tmp_path_factory.mktemp("kinds")
    bakes = {}
    for kind in ("good", "underbaked", "burnt", "leaking", "bleeding", "rigid", "broken"):
        shots: list[Shot] = [
            (epoch, purpose, purpose, "" if purpose == "identity" else ASKED, seed, seen)
            for epoch, name in ((0, "base"), (1, kind))
            for seed in (1, 2, 3)
            for purpose, seen in made_up(name, seed).items()
        ]
        scored(folder / kind, model, shots)
        train = folder / kind / "train"
        train.mkdir()
        file = {"epoch": 1, "file": f"{kind}.safetensors", "sshs_model_hash": "0" * 64, "loss": 0.1}
        tables.write(train / "epochs.csv", [file], list(file))
        folders = {stage: folder / kind / stage for stage in ("train", "sample", "score")}
        bakes[kind] = read_bake(Bake(kind, folders))
    return bakes


@pytest.mark.slow
@pytest.mark.parametrize("worse", ["underbaked", "burnt", "leaking", "bleeding", "rigid", "broken"])
def test_a_good_bake_is_ranked_above_a_bad_one(worse: str, kinds: dict[str, BakeResult]) -> None:
    for pair in (("good", worse), (worse, "good")):
        recommended = compare.recommend([kinds[kind] for kind in pair])
        assert recommended.best == (pair.index("good"), 1)
        assert recommended.ranks[pair.index("good")] == 0
        assert recommended.title == "good, epoch 1"


def test_each_failing_shows_in_the_number_that_is_named_after_it(
    kinds: dict[str, BakeResult],
) -> None:
    def of(kind: str, *names: str) -> list[float]:
        return [kinds[kind].last.score(name).value for name in names]

    assert of("good", "fidelity", "flexibility", "leak", "bleed") == [1, 1, 0, 0]
    assert of("underbaked", "fidelity")[0] < 0.7
    assert of("burnt", "flexibility") == [0]
    assert of("rigid", "flexibility")[0] < 0.5
    assert of("leaking", "leak") == [1]
    assert of("bleeding", "bleed") == [1]
    assert of("broken", "fidelity", "flexibility", "broken") == [0, 0, 1]
    reasons = compare.recommend([kinds["leaking"]]).reasons
    assert "It leaks the jacket and the red jacket unasked (leak 1.00)." in reasons


def test_what_is_missing_is_said(model: Path, tmp_path: Path) -> None:
    folders = stages(tmp_path)
    given = {"out": tmp_path / "score", "model": model}
    with pytest.raises(BakeryError, match=r"samples.csv does not exist"):
        score.run(Score(), score.InputFolders(tmp_path, **folders), **given)
    sample = sample_stage(tmp_path / "sample", SHOTS)
    (sample / "images" / "e1_trigger_s1.png").unlink()
    with pytest.raises(BakeryError, match=r"e1_trigger_s1.png"):
        score.run(Score(), score.InputFolders(sample, **folders), **given)
    kept = json.loads((folders["prune"] / "trigger.json").read_text())
    (folders["prune"] / "trigger.json").write_text(json.dumps({**kept, "traits": 3}))
    with pytest.raises(BakeryError, match=r"trigger.json does not hold a trigger"):
        score.run(Score(), score.InputFolders(sample, **folders), **given)
    sample_stage(tmp_path / "empty", [])
    with pytest.raises(BakeryError, match="lists no sample"):
        score.run(Score(), score.InputFolders(tmp_path / "empty", **folders), **given)


def test_a_picture_without_content_is_broken(model: Path, tmp_path: Path) -> None:
    shots = [shot for shot in SHOTS if shot[0] < 10]
    folders = stages(tmp_path)
    sample = sample_stage(tmp_path / "sample", shots)
    for name in ("e1_trigger_s1.png", "e1_beach_s1.png", "e1_beach_s2.png"):
        Image.new("RGB", (64, 64), "grey").save(sample / "images" / name)
    out = tmp_path / "score"
    score.run(Score(), score.InputFolders(sample, **folders), out=out, model=model)
    epochs = pd.read_csv(out / "epochs.csv").set_index("epoch")
    assert epochs.loc[1, "broken"] == 0.5
    assert epochs.loc[1, "memorised"] == 0
