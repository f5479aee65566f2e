"""Names for bakes by what differs between them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakery.graph import short_names
from bakery.settings import config as cfg

TEXT = st.text(max_size=60)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
    | st.lists(TEXT | st.floats(allow_nan=False), max_size=3)
    | st.dictionaries(TEXT, st.integers(), max_size=2)
)  # fmt: skip
SETTINGS = [
    f"{stage}.{name}" for stage in cfg.STAGES for name in cfg.section_of(stage).model_fields
]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"train.unet_lr": 2e-3, "train.network_dim": 8}, "lr0.002-dim8"),
        ({"train.unet_lr": 1e-5}, "lr1e-05"),
        ({"train.flip_aug": True}, "flip_aug-true"),
        ({"train.lr_scheduler": "cosine"}, "sched-cosine"),
        ({"train.base": "models/any thing v4.safetensors"}, "base-any_thing_v4.safetensors"),
        ({"train.base": "C:\\models\\a.safetensors"}, "base-a.safetensors"),
        ({"tag.batch_size": 1, "score.batch_size": 2}, "tag.batch_size1-score.batch_size2"),
        ({}, ""),
    ],
)
def test_what_differs_is_said_shortly(settings: dict, name: str) -> None:
    assert short_names.said(settings) == name


def test_every_word_belongs_to_a_setting_and_to_one_alone() -> None:
    assert set(short_names.SHORT) <= set(SETTINGS)
    assert len(set(short_names.SHORT.values())) == len(short_names.SHORT)


@given(st.dictionaries(st.sampled_from(SETTINGS), VALUES, max_size=3))
def test_names_are_safe_everywhere(settings: dict) -> None:
    stem = short_names.file_stem(short_names.joined("mirael", short_names.said(settings)), 3)
    assert re.fullmatch(r"mirael-[A-Za-z0-9._+-]*e03", stem)
    assert len(stem) < 120


def test_what_is_left_out_of_a_long_value_still_counts() -> None:
    names = {short_names.said({"sample.negative_prompt": "x" * 90 + end}) for end in "abc"}
    assert len(names) == 3


def test_only_what_differs_is_found() -> None:
    variants = [{"a": 1, "b": [2], "c": None}, {"a": 1.0, "b": [2], "c": 0}, {"a": 1, "b": [2]}]
    assert short_names.differing(variants[1:]) == ["a", "c"]
    assert short_names.differing(variants[::2]) == []


def test_no_name_is_that_of_a_device() -> None:
    assert short_names.file_stem("aux.v2", 3) == "aux_.v2-e03"
    assert short_names.file_stem("con", 3) == "con-e03"
    assert short_names.dataset_folder(["con"]) == "con_"
