"""Score: fidelity and flexibility counted by hand, on pictures whose tags are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binom
from tiny_tagger import draw, tiny_tagger

from bakery import score, tables
from bakery.config import Score
from bakery.errors import BakeryError

TAGS = ["pink hair", "halo", "rare horn", "smile", "beach", ";d", "blue shirt", "mirael (game)"]
CATEGORIES = {"mirael (game)": "character"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tagger(tmp_path_factory.mktemp("tagger"), TAGS, categories=CATEGORIES)


def stages(folder: Path, traits: list[str] | None = None) -> dict[str, Path]:
    """Folders of prune and tag: 4 training pictures; pink hair on all, halo on 3, horn on 1."""
    prune, tag = folder / "prune", folder / "tag"
    prune.mkdir(parents=True)
    tag.mkdir()
    pictures = ["a.png", "b.png", "c.png", "d.png"]
    captions = ({"image": name, "caption": "mirael"} for name in pictures)
    tables.write(prune / "captions.csv", captions, ("image", "caption"))
    facts = {"trigger": "mirael", "class_tokens": "", "pruned": [], "traits": traits}
    facts["traits"] = ["pink hair", "halo", "rare horn"] if traits is None else traits
    facts["thresholds"] = {"general": 0.35, "character": 0.85}
    (prune / "trigger.json").write_text(json.dumps(facts))
    seen = [(name, "pink hair", 0.9) for name in pictures]
    seen += [("a.png", "halo", 0.35), ("b.png", "halo", 0.8), ("c.png", "halo", 0.99)]
    seen += [("d.png", "halo", 0.34), ("d.png", "rare horn", 0.9)]
    rows = ({"image": i, "tag": t, "category": "general", "probability": p} for i, t, p in seen)
    tables.write(tag / "tags.csv", rows, ("image", "tag", "category", "probability"))
    (tag / "tagger.json").write_text(json.dumps({"model": "tiny", "unreadable": {}}))
    tables.write(tag / "vocabulary.csv", [], ("tag", "category", "count"))
    return {"prune": prune, "tag": tag}


Shot = tuple[int, str, str, str, int, dict[str, float]]


def sample_stage(folder: Path, shots: list[Shot]) -> Path:
    """A sample folder with a picture for each (epoch, prompt, purpose, asked, seed, seen)."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for epoch, prompt, purpose, asked, seed, seen in shots:
        image = f"e{epoch}_{prompt}_s{seed}.png"
        draw(TAGS, seen).save(folder / "images" / image)
        rows.append(
            {"epoch": epoch, "prompt_id": prompt, "purpose": purpose, "prompt": "mirael",
             "asked": asked, "seed": seed, "image": image}
        )  # fmt: skip
    tables.write(folder / "samples.csv", rows, list(rows[0]) if rows else ["epoch"])
    return folder


BOTH = {"pink hair": 0.9, "halo": 0.9}
SHOTS: list[Shot] = [
    (0, "trigger", "identity", "", 1, {}),
    (0, "trigger", "identity", "", 2, {"pink hair": 0.9}),
    (0, "beach", "flexibility", "smile; ;d; beach", 1, {"beach": 0.9, "smile": 0.4, ";d": 0.9}),
    (0, "beach", "flexibility", "smile; ;d; beach", 2, {"beach": 0.9, "smile": 0.3}),
    (1, "trigger", "identity", "", 1, BOTH),
    (1, "trigger", "identity", "", 2, {"halo": 0.9, "rare horn": 0.9}),
    (1, "beach", "flexibility", "smile; ;d; beach", 1, {}),
    (1, "beach", "flexibility", "smile; ;d; beach", 2, {"beach": 0.9, "blue shirt": 0.9}),
    (10, "trigger", "identity", "", 1, BOTH),
    (10, "trigger", "identity", "", 2, BOTH),
    (10, "beach", "flexibility", "smile; ;d; beach", 1, {}),
    (10, "beach", "flexibility", "smile; ;d; beach", 2, {}),
]


def scored(tmp_path: Path, model: Path, shots: list[Shot] = SHOTS, **changes: object):
    folders = stages(tmp_path, changes.pop("traits", None))
    sample = sample_stage(tmp_path / "sample", shots)
    out = tmp_path / "score"
    summary = score.run(Score(**changes), sample=sample, out=out, model=model, **folders)
    return summary, out, pd.read_csv(out / "epochs.csv")


def test_epochs_are_scored_as_the_definitions_say(model: Path, tmp_path: Path) -> None:
    summary, _, epochs = scored(tmp_path, model)
    assert summary["traits"] == {"pink hair": 1.0, "halo": 0.75}  # the horn is too rare
    assert summary["ceiling"] == 0.875
    assert list(epochs.columns) == list(score.EPOCHS)
    assert epochs["epoch"].tolist() == [0, 1, 10]  # by number, not by spelling
    # epoch 0: 1 of 4 traits over .875; epoch 1: 3 of 4 over .875; epoch 10: all 4, capped
    assert epochs["fidelity"].tolist() == pytest.approx([0.2857, 0.8571, 1.0], abs=1e-4)
    # epoch 0: 3 + 1 of 6 asked tags; epoch 1: 1 of 6; epoch 10: none
    assert epochs["flexibility"].tolist() == pytest.approx([4 / 6, 1 / 6, 0.0], abs=1e-4)
    assert epochs["n"].tolist() == [4, 4, 4]


def test_each_sample_says_what_was_found(model: Path, tmp_path: Path) -> None:
    _, out, _ = scored(tmp_path, model)
    table = tables.read(out / "scores.csv", score.SCORES)
    rows = {row["image"]: row for row in table.to_dict("records")}
    row = rows["e0_beach_s1.png"]
    assert tables.split(row["asked"]) == ["smile", ";d", "beach"]
    assert tables.split(row["found"]) == ["smile", ";d", "beach"]
    assert float(row["score"]) == 1
    row = rows["e1_trigger_s2.png"]
    assert tables.split(row["asked"]) == ["pink hair", "halo"]
    assert tables.split(row["found"]) == ["halo"]
    assert float(row["score"]) == 0.5
    seen = pd.read_csv(out / "tags.csv")
    mine = seen[seen["image"] == "e0_beach_s2.png"]
    assert mine["tag"].tolist() == ["beach", "smile"]
    assert mine["probability"].tolist() == pytest.approx([0.9, 0.3], abs=0.02)
    assert seen["probability"].min() >= 0.05


def test_a_trait_that_the_samples_miss_is_proposed_as_a_detail(model: Path, tmp_path: Path) -> None:
    summary, out, _ = scored(tmp_path, model)
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
    summary, out, _ = scored(tmp_path / "missed", model, missing)
    (warning,) = summary["warnings"]
    assert "layout.details: [halo]" in warning
    table = pd.read_csv(out / "details.csv")
    assert table["trait"].tolist() == ["halo", "pink hair"], "the most missed first"
    assert table["proposal"].tolist()[0] == warning


def test_the_intervals_hold_the_score_and_come_again(model: Path, tmp_path: Path) -> None:
    _, _, epochs = scored(tmp_path, model)
    for name in ("fidelity", "flexibility"):
        low, high = epochs[f"{name}_low"], epochs[f"{name}_high"]
        assert (low <= epochs[name]).all()
        assert (epochs[name] <= high).all()
    first = epochs.set_index("epoch").loc[0]
    # seeds disagree: of the 4 draws of 2 seeds, 1 sees nothing and 1 pink hair twice
    assert (first["fidelity_low"], first["fidelity_high"]) == (0.0, pytest.approx(0.5714))
    last = epochs.set_index("epoch").loc[10]
    assert (last["fidelity_low"], last["fidelity_high"]) == (1.0, 1.0)
    _, _, again = scored(tmp_path / "again", model)
    pd.testing.assert_frame_equal(epochs, again)


def test_the_interval_agrees_with_the_exact_distribution() -> None:
    """8 seeds of one prompt, half found: draws are binomial(8, 1/2) / 8."""
    rows = [
        {"prompt_id": "p", "asked": ["smile"], "found": ["smile"] * (seed % 2)} for seed in range(8)
    ]
    low, high = score.interval(rows)
    assert low == binom.ppf(0.025, 8, 0.5) / 8
    assert high == binom.ppf(0.975, 8, 0.5) / 8


def test_prompts_are_no_chance_only_seeds_are() -> None:
    """One prompt always found, another never: every draw gives one half."""
    rows = [
        {"prompt_id": p, "asked": ["smile"], "found": ["smile"] if p == "easy" else []}
        for p in ("easy", "hard")
        for _ in range(4)
    ]
    assert score.interval(rows) == (0.5, 0.5)


def test_one_seed_gives_no_interval(model: Path, tmp_path: Path) -> None:
    _, _, epochs = scored(tmp_path, model, [shot for shot in SHOTS if shot[4] == 1])
    assert epochs[["fidelity_low", "flexibility_high"]].isna().all(axis=None)
    assert epochs["fidelity"].notna().all()


def test_unknown_tags_are_named_and_not_counted(model: Path, tmp_path: Path) -> None:
    shots: list[Shot] = [
        (1, "a", "flexibility", "Beach; vampire cape", 1, {"beach": 0.9}),
        (1, "b", "flexibility", "vampire cape", 1, {}),
    ]
    summary, out, epochs = scored(tmp_path, model, shots)
    assert summary["unknown_tags"] == ["vampire cape"]
    assert any("vampire cape" in warning for warning in summary["warnings"])
    assert epochs["flexibility"].tolist() == [1.0]
    assert math.isnan(epochs["fidelity"][0])
    assert any("no prompt has the purpose identity" in w for w in summary["warnings"])
    table = tables.read(out / "scores.csv", score.SCORES)
    assert table["score"].tolist() == ["1.0", ""]


def test_character_tags_have_their_own_threshold(model: Path, tmp_path: Path) -> None:
    name = "mirael (game)"
    shots: list[Shot] = [
        (1, "a", "flexibility", name, 1, {name: 0.8}),
        (2, "a", "flexibility", name, 1, {name: 0.9}),
    ]
    _, _, epochs = scored(tmp_path, model, shots)
    assert epochs["flexibility"].tolist() == [0.0, 1.0]


def test_thresholds_are_those_of_the_prune_stage(model: Path, tmp_path: Path) -> None:
    folders = stages(tmp_path)
    facts = json.loads((folders["prune"] / "trigger.json").read_text())
    facts["thresholds"]["general"] = 0.95
    (folders["prune"] / "trigger.json").write_text(json.dumps(facts))
    shots: list[Shot] = [(1, "a", "flexibility", "smile; beach", 1, {"smile": 0.9, "beach": 0.99})]
    sample = sample_stage(tmp_path / "sample", shots)
    out = tmp_path / "score"
    summary = score.run(Score(), sample=sample, out=out, model=model, **folders)
    assert summary["traits"] == {}  # pink hair has .9, a halo above .95 is on 1 of 4 pictures
    assert pd.read_csv(out / "epochs.csv")["flexibility"].tolist() == [0.5]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_do_not_change_the_scores(model: Path, tmp_path: Path, batch_size: int) -> None:
    _, once, _ = scored(tmp_path / "once", model)
    _, again, _ = scored(tmp_path / "again", model, batch_size=batch_size)
    for name in ("tags.csv", "scores.csv", "epochs.csv"):
        assert (once / name).read_bytes() == (again / name).read_bytes()


def test_without_traits_fidelity_is_empty_not_zero(model: Path, tmp_path: Path) -> None:
    summary, _, epochs = scored(tmp_path, model, traits=[])
    assert summary["ceiling"] is None
    assert epochs["fidelity"].isna().all()
    assert "fidelity is empty" in summary["warnings"][0]
    assert epochs["flexibility"].notna().all()


def test_min_trait_share_0_counts_what_is_ever_seen(model: Path, tmp_path: Path) -> None:
    traits = ["pink hair", "halo", "rare horn", "never seen"]
    summary, _, _ = scored(tmp_path, model, traits=traits, min_trait_share=0)
    assert summary["traits"] == {"pink hair": 1.0, "halo": 0.75, "rare horn": 0.25}


def test_what_is_missing_is_said(model: Path, tmp_path: Path) -> None:
    folders = stages(tmp_path)
    given = {"out": tmp_path / "score", "model": model}
    with pytest.raises(BakeryError, match=r"samples.csv does not exist"):
        score.run(Score(), sample=tmp_path, **folders, **given)
    sample = sample_stage(tmp_path / "sample", SHOTS)
    (sample / "images" / "e1_trigger_s1.png").unlink()
    with pytest.raises(BakeryError, match=r"e1_trigger_s1.png"):
        score.run(Score(), sample=sample, **folders, **given)
    kept = json.loads((folders["prune"] / "trigger.json").read_text())
    for name in ("traits", "thresholds"):
        for broken in (None, 3):
            facts = {**kept, name: broken}
            (folders["prune"] / "trigger.json").write_text(json.dumps(facts))
            with pytest.raises(BakeryError, match=rf"trigger.json does not list the {name}"):
                score.run(Score(), sample=sample, **folders, **given)
    (sample / "samples.csv").write_text("epoch,prompt_id,purpose,asked,seed,image\n")
    with pytest.raises(BakeryError, match="lists no sample"):
        score.run(Score(), sample=sample, **folders, **given)
