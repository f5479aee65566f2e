"""The proof benchmark: truth counted by hand, and configs that the workflow can bake."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from made_samples import CATEGORIES, TAGS, Shot, sample_stage, stages
from PIL import Image
from tiny_tagger import tiny_tagger

from bakery.graph import build
from bakery.io import tables
from bakery.report.results import Bake, BakeResult, read_bake
from bakery.settings import config as cfg
from bakery.settings.score import Score
from bakery.stages import score
from bakery.vision.tagger import Tagger

ROOT = Path(__file__).parents[2]


def benchmark(name: str):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def proof():
    return benchmark("proof")


@pytest.fixture(scope="module")
def guide(proof):
    return benchmark("guide")


def row(epoch: int, purpose: str, image: str, asked: str = "", reference: str = "") -> dict:
    return {"epoch": str(epoch), "nominal": "1", "purpose": purpose, "image": image,
            "asked": asked, "reference": reference}  # fmt: skip


def test_truth_is_the_harmonic_mean_of_what_the_yardstick_sees(proof) -> None:
    samples = [
        row(0, "identity", "a0"),
        row(0, "flexibility", "b0", "Blue_Shirt; beach", "r0"),
        row(0, "base", "r0", "blue shirt; beach"),
        row(1, "identity", "a1"),
        row(1, "flexibility", "b1", "Blue_Shirt; beach", "r0"),
        row(2, "identity", "a2"),
        row(2, "flexibility", "b2", "Blue_Shirt; beach", "r0"),
        row(2, "identity", "heavy") | {"nominal": "0"},
    ]
    both = {"pink hair", "halo"}
    seen = {
        "a0": set(), "b0": {"beach"}, "r0": {"beach", "blue shirt"}, "a1": both, "b1": {"beach"},
        "a2": {"halo"}, "b2": {"beach", "blue shirt"}, "heavy": both,
    }  # fmt: skip
    found = proof.truth(samples, seen, ["halo", "pink hair"])
    assert found == {0: 0, 1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}


def test_what_a_character_always_has_comes_from_the_renderer(proof) -> None:
    said = [["1girl", "halo", "smile"], ["1girl", "halo"], ["1girl", "halo", "hat"], ["halo"]]
    assert proof.always(said) == ["halo"]


def test_a_choice_is_measured_by_what_it_loses(proof) -> None:
    truth = {("a", 1): 0.9, ("a", 2): 0.88, ("b", 1): 0.3}
    scores = {("a", 1): 0.8, ("a", 2): 0.9, ("b", 1): 0.1}
    near = proof.Trial("x", truth, scores, ("a", 2), 0.03, {"at random": ("a", 1)})
    far = proof.Trial("y", truth, truth, ("b", 1), 0.05, {"at random": ("b", 1)})
    assert near.loss == pytest.approx(1 - 0.88 / 0.9)
    assert far.loss == pytest.approx(2 / 3)
    table = proof.lines([near, far])
    assert table[2] == "| x | 3 | 0.50 | a, epoch 2 | 0.88 | 0.90 | 2% | 0.03 |"
    assert "within 5% of the best: 1 of 2" in table[-2]
    assert "| 0.75 |" in table[-2]
    assert table[-1] == "| had we chosen at random | | | 1 of 2 | | | 33% | |"


def scored(folder: Path, model: Path, label: str, shown: list[dict[str, float]]) -> BakeResult:
    """A bake whose base shows nothing of the character, and each epoch `shown[epoch - 1]`."""
    shots: list[Shot] = [
        shot
        for epoch, seen in enumerate([{}, *shown])
        for seed in (1, 2)
        for shot in (
            (epoch, "trigger", "identity", "", seed, seen),
            (epoch, "beach", "flexibility", "beach", seed, {"beach": 0.9} | seen),
        )
    ]
    shots += [(0, "beach-base", "base", "beach", seed, {"beach": 0.9}) for seed in (1, 2)]
    folders = stages(folder)
    sample, train = sample_stage(folder / "sample", shots), folder / "train"
    score.run(Score(), score.InputFolders(sample, **folders), out=folder / "score", model=model)
    train.mkdir()
    saved = [
        {"epoch": e, "file": f"{e}.safetensors", "sshs_model_hash": "", "loss": 0.1}
        for e in range(1, len(shown) + 1)
    ]
    tables.write(train / "epochs.csv", saved, list(saved[0]))
    places = {"train": train, "sample": sample, "score": folder / "score"}
    return read_bake(Bake(label, places))


def test_a_trial_sets_the_score_beside_the_truth(proof, tmp_path: Path) -> None:
    model = tiny_tagger(tmp_path / "tagger", TAGS, categories=CATEGORIES)
    both, some = {"pink hair": 0.9, "halo": 0.9}, {"halo": 0.9}
    bakes = [
        scored(tmp_path / "low", model, "low", [{}, some]),
        scored(tmp_path / "good", model, "good", [some, both]),
    ]
    yardstick, known = proof.Yardstick(Tagger.load(model)), {}
    for one in bakes:
        folder = one.bake.folders["sample"]
        samples = tables.read(folder / "samples.csv", ("image",))
        seen = yardstick.look(folder, list(samples["image"]))
        by_epoch = proof.truth(samples.to_dict("records"), seen, ["halo", "pink hair"])
        known |= {(one.bake.label, e): value for e, value in by_epoch.items() if e}
    found = proof.trial("x", bakes, known)
    assert found.choice == ("good", 2)
    assert known == {
        ("low", 1): 0, ("low", 2): pytest.approx(2 / 3),
        ("good", 1): pytest.approx(2 / 3), ("good", 2): 1,
    }  # fmt: skip
    assert found.loss == 0
    assert set(found.others.values()) == {("good", 2)}
    assert "| x | 4 | 1.00 | good, epoch 2 | 1.00 | 1.00 | 0% |" in proof.lines([found])[2]


@pytest.fixture(scope="module")
def eye(proof):
    """Knows a world of horizontal and vertical stripes, brighter and darker."""
    return benchmark("eigenpictures").Eigenpictures.fit(stripes(60), 4)


def stripes(count: int) -> np.ndarray:
    """Uint8 (count, 16, 16, 3)"""
    rng = np.random.default_rng(0)
    pictures = np.zeros((count, 16, 16, 3), np.uint8)
    pictures[:, ::2] += rng.integers(0, 120, (count, 1, 1, 3), np.uint8)
    pictures[:, :, ::2] += rng.integers(0, 120, (count, 1, 1, 3), np.uint8)
    return pictures


def test_what_the_renderer_cannot_draw_is_far_out(eye, tmp_path: Path) -> None:
    known = stripes(70)[60:]
    torn = known.copy()
    torn[:, 4:9, 3:7] = 255 - torn[:, 4:9, 3:7]
    assert eye.distances(torn).min() > 1.5 * eye.distances(known).max()
    assert (eye.distances(known) <= eye.limit(known)).mean() == pytest.approx(0.9)
    eye.write(tmp_path / "components.npz")
    again = type(eye).read(tmp_path / "components.npz")
    assert again.distances(torn).tolist() == eye.distances(torn).tolist()


def drawn(folder: Path, pictures: np.ndarray) -> list[str]:
    (folder / "images").mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "images" / f"{i}.png")
    return [f"{i}.png" for i in range(len(pictures))]


def test_on_a_broken_picture_no_tag_counts(proof, eye, tmp_path: Path) -> None:
    pictures = stripes(4)
    pictures[2] = 255 - pictures[2] // 2 * (np.arange(16) % 3)[:, None, None].astype(np.uint8)
    images = drawn(tmp_path / "sample", pictures)
    sees_all = SimpleNamespace(names=["halo"], tag=lambda paths, open: np.ones((len(paths), 1)))
    yardstick = proof.Yardstick(sees_all, eye, float(eye.distances(stripes(60)).max()))
    seen = yardstick.look(tmp_path / "sample", images)
    assert [bool(seen[image]) for image in images] == [True, True, False, True]
    assert all(proof.Yardstick(sees_all).look(tmp_path / "sample", images).values())


def test_doubt_is_held_against_broken_pictures(proof, eye, tmp_path: Path) -> None:
    """One broken picture in more doubt than two of three whole ones; the base does not count."""
    pictures = stripes(5)
    pictures[1] = np.random.default_rng(1).integers(0, 255, (16, 16, 3))
    drawn(tmp_path / "sample", pictures)
    doubts = [(0, ""), (1, 0.5), (1, 0.6), (1, 0.1), (2, 0.2)]
    rows = [{"image": f"{i}.png", "epoch": e, "doubt": d} for i, (e, d) in enumerate(doubts)]
    (tmp_path / "score").mkdir()
    tables.write(tmp_path / "score" / "scores.csv", rows, ("image", "epoch", "doubt"))
    bake = Bake("x", {name: tmp_path / name for name in ("sample", "score")})
    yardstick = proof.Yardstick(None, eye, float(eye.distances(stripes(60)).max()))
    count, bad, area = proof.broken([bake], yardstick)
    assert (count, bad, area) == (4, 1, pytest.approx(2 / 3))


def test_prepared_configs_can_be_planned(proof, tmp_path: Path) -> None:
    proof.prepare(tmp_path, pictures=2, rates=(1e-3, 1e-2), seeds=(1, 2))
    assert sorted(p.name for p in tmp_path.glob("*.yaml")) == [
        "mirael.yaml", "torrin.yaml", "truth-mirael.yaml", "truth-torrin.yaml", "truth-velka.yaml",
        "velka.yaml",
    ]  # fmt: skip
    scored, unseen = (
        cfg.load(yaml.safe_load((tmp_path / f"{name}.yaml").read_text("utf-8")))
        for name in ("mirael", "truth-mirael")
    )
    made = build.build(scored, [tmp_path, ROOT])
    known = build.build(unseen, [tmp_path, ROOT])
    assert made.nodes["train"].keys() == known.nodes["train"].keys(), "the same bakes"
    assert not made.nodes["sample"].keys() & known.nodes["sample"].keys(), "other pictures"
    assert not set(scored.sample.seeds) & set(unseen.sample.seeds)
    assert len(made.of("train")) == 4
    assert len(made.of("layout")) == 1
    assert "halo" in (tmp_path / "mirael.json").read_text("utf-8")


def test_the_guides_bakes_can_be_planned(proof, guide, tmp_path: Path) -> None:
    proof.prepare(tmp_path, pictures=2, rates=(1e-3, 1e-2), seeds=(1, 2))
    guide.prepare(tmp_path, pictures=5, seeds=(1, 2))
    unpruned = proof.bakes_in(tmp_path, "unpruned-velka")
    assert [bake.settings["prune.enabled"] for bake in unpruned] == [False, False]
    halo = proof.bakes_in(tmp_path, "halo")
    assert [bake.settings["layout.details"] for bake in halo] == [[], [], ["halo"], ["halo"]]
    assert len(list((tmp_path / "pictures/halo").glob("*.png"))) == 5


def test_epochs_are_counted_by_where_each_bake_is_best(
    guide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bakes = {
        "mirael": {"unet_lr 1, seed 1": {0: 0.9, 1: 0.2, 2: 0.8}},
        "velka": {"unet_lr 1, seed 1": {0: 0, 1: 0.5, 2: 0.5}},
        "torrin": {"unet_lr 2, seed 1": {0: 0, 1: 0.4, 2: 0.2}},
    }
    monkeypatch.setattr(guide, "measured", lambda folder, config, name, yardstick: bakes[name])
    assert guide.second_epoch(tmp_path, None)[2:] == [
        "| unet_lr 1 | 1 of 2 | 1 of 2 | 0% |",  # of equals the earlier
        "| unet_lr 2 | 1 of 1 | 0 of 1 | 50% |",
        "| all | 2 of 3 | 1 of 3 | 17% |",
    ]


def test_a_halo_is_counted_where_it_is_asked_and_where_it_is_not(
    proof, guide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("a", "mirael, halo", 2), ("b", "mirael", 2), ("old", "mirael, halo", 1)]
    tables.write(
        tmp_path / "samples.csv",
        [{"image": i, "epoch": e, "prompt": p, "nominal": 1} for i, p, e in rows],
        ("image", "epoch", "prompt", "nominal"),
    )
    seen = {"a": {"halo", "pink hair"}, "b": {"pink hair", "twintails"}}
    monkeypatch.setattr(proof.Yardstick, "look", lambda self, place, images: seen)
    bake = Bake("x", {"sample": tmp_path}, {"layout.details": ["halo"]})
    monkeypatch.setattr(guide.proof, "bakes_in", lambda folder, config: [bake])
    monkeypatch.setattr(
        guide.proof, "own_tags", lambda folder, name: ["halo", "pink hair", "twintails"]
    )
    yardstick = proof.Yardstick(None)
    assert guide.halo(tmp_path, yardstick)[2:] == [
        "| with a halo folder | 1.00 | 0.00 | 0.75 | 1 |"
    ]


def test_a_plot_shows_every_epoch(proof, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    both = {("unet_lr 0.001, seed 1", 1): 0.8, ("unet_lr 0.01, seed 1", 1): 0.2}
    trial = proof.Trial("mirael, seed 1", both, both, ("unet_lr 0.001, seed 1", 1), 0.03)
    proof.plot([trial], tmp_path / "proof.png")
    assert (tmp_path / "proof.png").stat().st_size > 1000


def test_a_rate_stands_in_the_label(proof) -> None:
    assert proof.rate_of("unet_lr 0.0001, seed 23") == 1e-4
