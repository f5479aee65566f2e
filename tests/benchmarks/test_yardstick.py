"""The yardstick of the score's trials: truth counted by hand, and broken pictures known as such."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bakery.io import tables
from bakery.report.results import Bake
from world import avatar
from world.render import reduce, reduced

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from score_trials import claims, data_sets, truth, yardstick  # noqa: E402
from score_trials.doubts import Doubts  # noqa: E402
from score_trials.eigenpictures import Eigenpictures, shown_by_the_vae  # noqa: E402
from score_trials.yardstick import Yardstick  # noqa: E402


def row(epoch: int, purpose: str, image: str, asked: str = "", reference: str = "") -> dict:
    return {"epoch": str(epoch), "nominal": "1", "purpose": purpose, "image": image,
            "asked": asked, "reference": reference}  # fmt: skip


def test_truth_is_the_harmonic_mean_of_what_the_yardstick_sees() -> None:
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
    found = truth.by_epoch(samples, seen, ["halo", "pink hair"])
    assert found == {0: 0, 1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}


def test_what_a_character_always_has_comes_from_the_renderer() -> None:
    said = [["1girl", "halo", "smile"], ["1girl", "halo"], ["1girl", "halo", "hat"], ["halo"]]
    assert data_sets.always(said) == ["halo"]


@pytest.fixture(scope="module")
def eye() -> Eigenpictures:
    """Knows a world of horizontal and vertical stripes, brighter and darker."""
    return Eigenpictures.fit(stripes(60), 4)


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
    again = Eigenpictures.read(tmp_path / "components.npz")
    assert again.distances(torn).tolist() == eye.distances(torn).tolist()


def drawn(folder: Path, pictures: np.ndarray) -> list[str]:
    (folder / "images").mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "images" / f"{i}.png")
    return [f"{i}.png" for i in range(len(pictures))]


def test_on_a_broken_picture_no_tag_counts(eye, tmp_path: Path) -> None:
    pictures = stripes(4)
    pictures[2] = 255 - pictures[2] // 2 * (np.arange(16) % 3)[:, None, None].astype(np.uint8)
    images = drawn(tmp_path / "sample", pictures)
    sees_all = SimpleNamespace(names=["halo"], tag=lambda paths, open: np.ones((len(paths), 1)))
    measure = Yardstick(sees_all, eye, float(eye.distances(stripes(60)).max()))
    seen = measure.look(tmp_path / "sample", images)
    assert [bool(seen[image]) for image in images] == [True, True, False, True]
    assert all(Yardstick(sees_all).look(tmp_path / "sample", images).values())


def test_doubt_is_held_against_broken_pictures(eye, tmp_path: Path) -> None:
    """One broken picture in more doubt than two of three whole ones; the base does not count."""
    pictures = stripes(5)
    pictures[1] = np.random.default_rng(1).integers(0, 255, (16, 16, 3))
    drawn(tmp_path / "sample", pictures)
    doubts = [(0, ""), (1, 0.5), (1, 0.6), (1, 0.1), (2, 0.2)]
    rows = [{"image": f"{i}.png", "epoch": e, "doubt": d} for i, (e, d) in enumerate(doubts)]
    (tmp_path / "score").mkdir()
    tables.write(tmp_path / "score" / "scores.csv", rows, ("image", "epoch", "doubt"))
    bake = Bake("x", {name: tmp_path / name for name in ("sample", "score")})
    measure = Yardstick(None, eye, float(eye.distances(stripes(60)).max()))
    found = truth.doubts([bake], measure)
    assert (len(found.whole), found.broken, found.area) == (4, 1, pytest.approx(2 / 3))
    assert np.isnan(truth.doubts([], measure).area), "without a pair there is nothing to say"


def test_truth_of_a_bake_is_read_from_its_pictures(tmp_path: Path) -> None:
    rows = [
        row(0, "identity", "a.png"), row(0, "flexibility", "b.png", "beach", "r.png"),
        row(0, "base", "r.png"), row(1, "identity", "c.png"),
        row(1, "flexibility", "d.png", "beach", "r.png"),
    ]  # fmt: skip
    (tmp_path / "sample").mkdir()
    tables.write(tmp_path / "sample/samples.csv", rows, list(rows[0]))
    shown = {"a": [], "b": ["beach"], "r": ["beach"], "c": ["halo"], "d": ["beach"]}
    names = ["halo", "beach"]

    def tag(paths, open):
        return np.array([[float(name in shown[path.stem]) for name in names] for path in paths])

    bake = Bake("x", {"sample": tmp_path / "sample"})
    found = truth.of_bake(bake, ["halo"], Yardstick(SimpleNamespace(names=names, tag=tag)))
    assert found == {0: 0, 1: 1}


def test_a_yardstick_is_made_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tagger is trained elsewhere (tests/world); here it is told which programs to run."""
    told = []

    def run(program: str, *args: object) -> None:
        told.append((program, *map(str, args)))
        if program == "render":
            np.save(f"{args[-1]}.npy", stripes(30))

    monkeypatch.setattr(yardstick, "_run", run)
    monkeypatch.setattr(yardstick, "shown_by_the_vae", lambda pictures, *of: pictures)
    with monkeypatch.context() as bare:
        bare.setattr(yardstick, "find_spec", lambda name: None)
        with pytest.raises(SystemExit, match=r"pip install -r requirements-dev\.txt"):
            yardstick.make(tmp_path)
    monkeypatch.setattr(yardstick, "find_spec", lambda name: "there")
    assert not yardstick.is_made(tmp_path)
    (tmp_path / yardstick.FOLDER).mkdir()
    yardstick.make(tmp_path, renders=30)
    assert yardstick.is_made(tmp_path)
    drawn = [line for line in told if line[0] == "render"]
    seeds = [line[line.index("--seed") + 1] for line in drawn]
    assert len(set(seeds)) == len(drawn) == 2
    assert ["--novel" in line for line in drawn] == [False, True]
    eye = Eigenpictures.read(tmp_path / yardstick.FOLDER / yardstick.COMPONENTS)
    assert eye.side == 16
    assert Yardstick(None, eye).of(stripes(9), side=16).limit < np.inf


@pytest.mark.parametrize(("base", "side"), [("base", 128), ("anima", 64)])
def test_whole_pictures_are_known_by_what_the_bases_own_vae_makes_of_them(
    base: str, side: int
) -> None:
    looks = [avatar.random_look(np.random.default_rng([3, i])) for i in range(4)]
    drawn = np.stack([reduce(avatar.render(look, 192), side) for look in looks])
    shown = shown_by_the_vae(drawn, ROOT / f"resources/world/{base}/vae")
    wanted = reduced(drawn).astype(float)
    assert shown.shape == wanted.shape
    assert 0 < ((shown - wanted) ** 2).mean() < ((shown - wanted[::-1]) ** 2).mean() / 10


def test_doubt_that_is_the_same_everywhere_tells_nothing() -> None:
    assert Doubts(np.zeros(4), np.array([True, False, True, False])).area == 0.5


def test_what_an_experiment_shows_is_counted_by_tag() -> None:
    """Two traits, a detail; a trait that the prompt asks for anyway says nothing of the trigger."""
    rows = [
        row(0, "identity", "base.png"), row(1, "identity", "a.png"),
        row(1, "recreate", "b.png", "halo"), row(1, "bleed", "c.png", "pink hair; beach"),
        row(1, "flexibility", "broken.png", "beach"), row(1, "anything else", "d.png"),
        row(1, "identity", "weaker.png") | {"nominal": "0"},
    ]  # fmt: skip
    seen = {
        "base.png": {"beach"}, "a.png": {"pink hair", "twintails", "halo"}, "b.png": {"halo"},
        "c.png": {"pink hair", "twintails", "beach"}, "broken.png": set(),
    }  # fmt: skip
    found = claims.by_epoch(rows, seen, ["pink hair", "twintails"], ["halo"])
    shares = (found[1].character, found[1].asked, found[1].bleed, found[1].detail, found[1].unasked)
    assert [(one.found, one.of) for one in shares] == [(2, 2), (1, 2), (1, 1), (1, 1), (1, 2)]
    assert (str(found[1].whole), str(found[0].character), str(found[0].bleed)) == (
        "0.75",
        "0.00",
        "-",
    )


def test_a_baked_experiment_is_found_by_its_config(tmp_path: Path, monkeypatch) -> None:
    """The real graph of the shipped config with an experiment; of results, only what is read."""
    files = [ROOT / "config/config.yaml", ROOT / "config/experiments/pruned.yaml"]
    rows = [row(1, "identity", "a.png"), row(1, "bleed", "b.png", "beach")]
    monkeypatch.setattr(
        claims.Trigger, "read", lambda folder: SimpleNamespace(pruned=["pink hair"])
    )
    seen = {"a.png": {"pink hair"}, "b.png": {"beach"}}
    sees = SimpleNamespace(look=lambda folder, images: seen, of=lambda pictures: sees)
    assert claims.of_the_character(sees) is sees
    real = claims.tables.read
    monkeypatch.setattr(
        claims.tables, "read", lambda path, names: real(tmp_path / "samples.csv", names)
    )
    tables.write(tmp_path / "samples.csv", rows, list(rows[0]))
    table = claims.of_experiment(files, tmp_path, sees)
    assert len(table) == 2 + 4, "two captions, two seeds"
    assert all(line.endswith("| 1 | 1.00 | - | 0.00 | - | - | 1.00 |") for line in table[2:])
