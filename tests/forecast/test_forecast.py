"""The dry bake's numbers: golden values of kohya's scripts, and what is known at which stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from made_plans import baked, done, filtered, laid_out, outlined

from bakery.forecast import forecast, known_pictures
from bakery.forecast.forecast import PlannedBake
from bakery.io import tables
from bakery.settings.tag import Thresholds
from bakery.tags.trigger import Trigger

GUIDE = {
    "train_batch_size": 2, "num_epochs": 6, "resolution": 512, "min_bucket_reso": 320,
    "max_bucket_reso": 960, "bucket_reso_steps": 64, "unet_lr": 16e-5,
}  # fmt: skip
SQUARE, TALL, WIDE = (1000, 1000), (1000, 1414), (1600, 1000)


def made(bake: dict[str, Any], tmp_path: Path) -> forecast.Forecast:
    return forecast.make(PlannedBake(**bake), tmp_path / "train")


def test_one_bucket_has_the_guide_s_steps(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train=GUIDE)
    filtered(bake, [SQUARE] * 130)
    one = made(bake, tmp_path)
    assert (one.shown, one.counts.steps_per_epoch, one.counts.total) == (650, 325, 1950)
    assert one.counts.warmup == 195
    assert one.lost == 0
    assert [bucket.size for bucket in one.buckets] == [(512, 512)]
    assert one.files[0] == "mirael-000001.safetensors"
    assert one.files[-1] == "mirael.safetensors"
    assert len(one.files) == 6
    assert one.samples is None, "the prompts are derived from captions that are not there yet"


def test_each_bucket_s_last_batch_is_a_step(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train=GUIDE)
    filtered(bake, [SQUARE] * 101 + [TALL] * 17 + [WIDE] * 12)
    one = made(bake, tmp_path)
    assert (one.counts.steps_per_epoch, one.counts.total) == (326, 1956)
    assert {b.size: (b.pictures, b.shown) for b in one.buckets} == {
        (448, 576): (17, 85), (512, 512): (101, 505), (640, 384): (12, 60),
    }  # fmt: skip
    tall = next(b for b in one.buckets if b.size == (448, 576))
    assert tall.lost == pytest.approx(1 - 576 / 633)  # 1000x1414 is resized to 448x633
    assert one.lost == pytest.approx(
        sum(b.lost * b.shown for b in one.buckets) / sum(b.shown for b in one.buckets)
    )


def test_one_square_bucket_cuts_a_page_by_29_percent(tmp_path: Path) -> None:
    square = {"resolution": 768, "min_bucket_reso": 768, "max_bucket_reso": 768}
    bake = outlined(tmp_path, train=GUIDE | square)
    filtered(bake, [TALL] * 4)
    one = made(bake, tmp_path)
    assert one.lost == pytest.approx(0.293, abs=5e-4)
    assert any("one bucket of 768x768, and that crops away 29%" in w for w in one.warnings)


def test_the_curve_is_the_schedule_s(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train=GUIDE | {"text_encoder_lr": 0})
    filtered(bake, [SQUARE] * 130)
    one = made(bake, tmp_path)
    assert list(one.curves) == ["unet_lr"], "a part at 0 is not drawn"
    curve = one.curves["unet_lr"]
    assert len(curve) <= forecast.CURVE + 60
    assert curve[0] == (0, 0)
    at = dict(curve)
    assert max(at.values()) == pytest.approx(16e-5, rel=1e-3)
    assert curve[-1][0] == pytest.approx(1949 / 325)


def test_what_the_layout_left_is_exact(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train={"train_batch_size": 4}, layout={"concepts": {"halo": {
        "share": 0.2}}})  # fmt: skip
    filtered(bake, [SQUARE] * 9)  # is not asked any more
    rows = [
        {"file": "5_mirael/a.png", "repeats": 5, "size": (64, 64)},
        {"file": "5_mirael/b.png", "repeats": 5, "size": (60, 90), "by_hand": "true",
         "caption": "a cat"},
        {"file": "3_halo/a.png", "repeats": 3, "size": (64, 64), "concept": "halo"},
        {"file": "reg/1_1girl/r.png", "repeats": 1, "size": (64, 64), "kind": "reg"},
    ]  # fmt: skip
    laid_out(bake, rows)
    one = made(bake, tmp_path)
    assert one.known.stage == "layout"
    assert [(f.folder, f.images, f.shown, f.wished) for f in one.known.folders] == [
        ("5_mirael", 2, 10, None), ("3_halo", 1, 3, 0.2),
    ]  # fmt: skip
    assert one.known.folders[1].share == pytest.approx(3 / 13)
    # 8 showings of pictures and 13 of the class in one bucket, 5 in the other
    assert {b.size: b.shown for b in one.buckets} == {(96, 160): 5, (128, 128): 21}
    assert one.counts.steps_per_epoch == math.ceil(5 / 4) + math.ceil(21 / 4)
    assert any("1 captions rewritten by hand do not name" in w for w in one.warnings)


def test_the_filter_s_word_counts_until_the_layout_has_run(tmp_path: Path) -> None:
    reg = {"folder": "class", "class_tokens": "1girl"}
    bake = outlined(tmp_path, layout={"concepts": {"halo": {"repeats": 2}}, "details": ["wings"],
                                      "reg": reg})  # fmt: skip
    filtered(bake, [(64, 64)] * 3, concept="halo")
    one = made(bake, tmp_path)
    assert (one.known.stage, one.known.folders[0].folder, one.shown) == ("filter", "2_halo", 6)
    assert "Not counted yet: the detail folders and the regularization" in one.known.trouble


def test_what_the_second_look_drops_is_not_counted(tmp_path: Path) -> None:
    bake = outlined(tmp_path)
    filtered(bake, [(64, 64)] * 3)
    before = made(bake, tmp_path)
    names = tables.read(Path(bake["folders"]["filter"]) / "decisions.csv", ("image",))["image"]
    rows = [{"image": names[0], "kept": "false", "reasons": "monochrome"}]
    prune = Path(bake["folders"]["prune"])
    prune.mkdir(parents=True, exist_ok=True)
    tables.write(prune / "second_look.csv", rows, ("image", "kept", "reasons"))
    after = made(bake, tmp_path)
    assert (before.known.folders[0].images, after.known.folders[0].images) == (3, 2)


@pytest.mark.parametrize(
    ("stages", "words"),
    [(("scrape", "filter"), "keeps no picture"), (("scrape", "filter", "layout"), "layout.csv")],
)
def test_a_folder_that_says_nothing_is_a_sentence_and_no_end(tmp_path, stages, words) -> None:
    bake = outlined(tmp_path)
    filtered(bake, [])
    done(bake, *stages)
    one = made(bake, tmp_path)
    assert one.counts is None
    assert words in one.warnings[0]


def test_before_the_filter_only_the_number_is_known(tmp_path: Path) -> None:
    bake = outlined(tmp_path, scrape={"limit": 7, "urls": ["embedded://a", "embedded://b"]})
    one = made(bake, tmp_path)
    assert (one.known.stage, one.known.at_most, one.counts, one.seconds) == ("", 14, None, None)
    filtered(bake, [(64, 64)] * 3)
    (Path(bake["folders"]["filter"]) / "manifest.json").unlink()
    one = made(bake, tmp_path)
    assert (one.known.stage, one.known.at_most, one.counts) == ("scrape", 4, None)
    assert one.cached == dict.fromkeys(bake["folders"], False) | {"scrape": True}


PROMPTS = [
    {"id": "alone", "prompt": "{trigger}", "purpose": "identity"},
    {"id": "beach", "prompt": "{trigger}, beach", "purpose": "flexibility"},
]


def test_samples_are_counted_with_the_base_s_references(tmp_path: Path) -> None:
    sample = {"prompts": PROMPTS, "seeds": [1, 2, 3]}
    bake = outlined(tmp_path, train={"num_epochs": 2}, sample=sample)
    filtered(bake, [(64, 64)] * 3)
    # the base draws both prompts and `beach` without the trigger, two epochs draw both prompts
    assert made(bake, tmp_path).samples == 3 * 3 + 2 * 2 * 3
    weighed = outlined(tmp_path, train={"num_epochs": 2}, sample=sample | {"weights": [0.5]})
    assert made(weighed, tmp_path).samples == 3 * 3 + 3 * 2 * 3


def test_derived_prompts_are_counted_once_the_captions_are_there(tmp_path: Path) -> None:
    sample = {"auto": {"bleed": 0, "flexibility": 1}, "seeds": [1]}
    bake = outlined(tmp_path, train={"num_epochs": 1}, sample=sample)
    filtered(bake, [(64, 64)] * 3)
    done(bake, "prune")
    prune, tagger = Path(bake["folders"]["prune"]), Path(bake["tagger"])
    tables.write(prune / "captions.csv", [{"caption": "mirael, red shirt"}], ("caption",))
    Trigger("mirael", thresholds=Thresholds(general=0.35, character=0.85)).write(prune)
    tagger.mkdir()
    words = [{"name": n, "category": 0, "count": 1} for n in ("beach", "blue_shirt", "smile")]
    tables.write(tagger / "selected_tags.csv", words, ("name", "category", "count"))
    # 2 identity, 1 flexibility and 1 recreate by base and epoch; 1 reference by the base
    assert made(bake, tmp_path).samples == 4 + 1 + 4


def test_samples_that_cannot_be_drawn_are_a_sentence(tmp_path: Path) -> None:
    sample = {"prompts": PROMPTS, "weights": [0.5], "weights_epoch": 9}
    bake = outlined(tmp_path, train={"num_epochs": 2}, sample=sample)
    filtered(bake, [(64, 64)] * 3)
    one = made(bake, tmp_path)
    assert one.samples is None
    assert any("weights_epoch is 9" in warning for warning in one.warnings)


def test_time_is_that_of_bakes_with_the_same_cost(tmp_path: Path) -> None:
    bake = outlined(tmp_path, "new", train=GUIDE)
    filtered(bake, [SQUARE] * 130)
    for label, rate, speed in (("a", 1e-4, 2.0), ("b", 1e-3, 4.0), ("c", 1e-2, 3.0)):
        baked(outlined(tmp_path, label, train=GUIDE | {"unet_lr": rate}), speed, size=2048)
    one = made(bake, tmp_path)
    assert (one.past.bakes, one.past.steps_per_second, one.seconds) == (3, 3.0, 650.0)
    assert (one.past.file_bytes, one.past.memory) == (2048, None)
    other = outlined(tmp_path, "other", train=GUIDE | {"network_dim": 4})
    assert made(other, tmp_path).past is None
    done(bake, "train")
    assert made(bake, tmp_path).seconds == 0


def test_too_many_batches_a_step_are_a_sentence(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train={"gradient_accumulation_steps": 99})
    filtered(bake, [(64, 64)] * 3)
    one = made(bake, tmp_path)
    assert (one.counts, one.files, one.samples) == (None, (), None)
    assert any("gradient_accumulation_steps is 99" in warning for warning in one.warnings)


def test_gradient_accumulation_makes_fewer_steps(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train=GUIDE | {"gradient_accumulation_steps": 4})
    filtered(bake, [SQUARE] * 130)
    assert made(bake, tmp_path).counts.steps_per_epoch == 82  # 325 batches, the last step has one


def test_bakes_that_share_their_pictures_look_at_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = known_pictures._known
    monkeypatch.setattr(
        known_pictures, "_known", lambda bake: looked.append(bake.label) or real(bake)
    )
    monkeypatch.setattr(
        forecast.footguns, "of_captions", lambda *given: looked.append("captions") or []
    )
    seen: dict = {}
    for label, train, repeats in (("a", 1e-3, 1), ("b", 1e-2, 1), ("c", 1e-2, 9)):
        sections = {"train": {"unet_lr": train}, "layout": {"repeats": repeats}}
        bake = outlined(tmp_path, label, **sections)
        forecast.make(forecast.PlannedBake(**bake, seen=seen), tmp_path)
    assert looked == ["a", "captions", "c"], "c shows them more often"


def test_held_out_pictures_are_not_counted_among_those_to_train_on(tmp_path: Path) -> None:
    bake = outlined(tmp_path, layout={"holdout": 3, "repeats": 2})
    filtered(bake, [(64, 64)] * 10)
    known = known_pictures.known_pictures(PlannedBake(**bake))
    assert (known.held_out, len(known.shown)) == (3, 7)
    too_many = outlined(tmp_path, layout={"holdout": 6})
    assert "at most half" in known_pictures.known_pictures(PlannedBake(**too_many)).trouble
    kinds = ["picture", "picture", "holdout"]
    folders = ["2_mirael", "2_mirael", "holdout/1_mirael"]
    laid_out(
        bake,
        [
            {"file": f"{folder}/{i}.png", "kind": kind, "repeats": 2, "size": (64, 64)}
            for i, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
        ],
    )
    known = known_pictures.known_pictures(PlannedBake(**bake))
    assert (known.held_out, len(known.shown), len(known.captions)) == (1, 2, 2)
