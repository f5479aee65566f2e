"""One value where a list is wanted, and a list of one where a value is: everywhere by one rule."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic.fields import FieldInfo

from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings.scrape import Folder, Scrape
from bakery.settings.sections import as_declared

PAIRS = [
    ({"scrape": {"folders": "~/pics"}}, {"scrape": {"folders": ["~/pics"]}}),
    ({"scrape": {"folders": {"path": "a", "limit": 3}}},
     {"scrape": {"folders": [{"path": "a", "limit": 3}]}}),
    ({"scrape": {"urls": "https://a.example"}}, {"scrape": {"urls": ["https://a.example"]}}),
    ({"scrape": {"name": ["ada"]}}, {"scrape": {"name": "ada"}}),
    ({"prune": {"always": "blue eyes"}}, {"prune": {"always": ["blue eyes"]}}),
    ({"prune": {"outfits": {"gala": "red dress"}}}, {"prune": {"outfits": {"gala": ["red dress"]}}}),
    ({"prune": {"trigger": ["ada"]}}, {"prune": {"trigger": "ada"}}),
    ({"filter": {"ratings": "sensitive"}}, {"filter": {"ratings": ["sensitive"]}}),
    ({"filter": {"min_side": [512]}}, {"filter": {"min_side": 512}}),
    ({"sample": {"seeds": 7}}, {"sample": {"seeds": [7]}}),
    ({"sample": {"weights": 0.5}}, {"sample": {"weights": [0.5]}}),
    ({"train": {"unet_lr": ["1e-4"]}}, {"train": {"unet_lr": 1e-4}}),
    ({"train": {"base": ["a/b"]}}, {"train": {"base": "a/b"}}),
    ({"train": {"base": {"vae": ["a/b"], "checkpoint": "c/d"}}},
     {"train": {"base": {"vae": "a/b", "checkpoint": "c/d"}}}),
    ({"layout": {"details": "halo"}}, {"layout": {"details": ["halo"]}}),
    ({"compare": {"with": "results/score/a"}}, {"compare": {"with": ["results/score/a"]}}),
    ({"train": [{"num_epochs": 3}]}, {"train": {"num_epochs": 3}}),
    ({"sweeps": {"a": {"grid": {"train.unet_lr": 1e-3}}}},
     {"sweeps": {"a": {"grid": {"train.unet_lr": [1e-3]}}}}),
    ({"sweeps": {"a": {"variants": {"train.seed": 3}}}},
     {"sweeps": {"a": {"variants": [{"train.seed": 3}]}}}),
    ({"sweeps": {"a": {"halving": {"after": 1}}}}, {"sweeps": {"a": {"halving": {"after": [1]}}}}),
]  # fmt: skip


@pytest.mark.parametrize(("loose", "strict"), PAIRS)
def test_both_are_the_same_and_have_the_same_key(loose: dict, strict: dict) -> None:
    one, other = cfg.load(loose), cfg.load(strict)
    assert one == other
    for stage in cfg.STAGES:
        assert cfg.chosen(getattr(one, stage)) == cfg.chosen(getattr(other, stage))


def test_every_setting_takes_both() -> None:
    """For each setting of each section: its default alone, and in a list, give the default."""
    seen = 0
    for stage in cfg.STAGES:
        section = cfg.section_of(stage)
        for name, field in section.model_fields.items():
            default = section.model_construct().__dict__.get(name, field.default)
            for given in _ways(field, default):
                read = as_declared(field.annotation, given)
                assert read in (
                    default,
                    list(default) if isinstance(default, tuple) else default,
                ), name
                seen += 1
    assert seen > 100


def _ways(field: FieldInfo, default: Any) -> list[Any]:
    if isinstance(default, tuple):
        return [default, *(default if len(default) == 1 else ())]
    plain = isinstance(default, (str, int, float, bool)) and not isinstance(default, (dict, list))
    return [default, [default]] if plain else [default]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"prune": {"trigger": ["a", "b"]}}, "prune.trigger is ['a', 'b']"),
        ({"prune": {"trigger": []}}, "prune.trigger is []"),
        ({"scrape": {"folders": True}}, "scrape.folders is True"),
        ({"filter": {"ratings": "safe"}}, "filter.ratings.0 is 'safe'"),
    ],
)
def test_what_is_neither_is_a_sentence(raw: dict, says: str) -> None:
    with pytest.raises(BakeryError) as caught:
        cfg.load(raw)
    assert says in str(caught.value)


def test_folders_without_urls_bring_no_demo() -> None:
    assert cfg.load({"scrape": {"folders": "a"}}).scrape.urls == ()
    assert cfg.load({}).scrape.urls == Scrape().urls != ()
    both = cfg.load({"scrape": {"folders": "a", "urls": "embedded://posts?tags=b"}}).scrape
    assert len(both.urls) == 1
    told = cfg.load({"scrape": {"folders": "a", "urls": []}}).scrape
    assert cfg.chosen(told) == cfg.chosen(cfg.load({"scrape": {"folders": "a"}}).scrape)
    assert Scrape(folders=(Folder(path="a"),)).urls == ()


def test_a_sweep_over_folders_brings_no_demo_either() -> None:
    assert cfg.overlay(cfg.load({}), {"scrape.folders": ["a"]}).scrape.urls == ()
    assert cfg.overlay(cfg.load({}), {"train.seed": 3}).scrape.urls == Scrape().urls
    named = cfg.load({"scrape": {"urls": ["embedded://posts?tags=b"]}})
    assert cfg.overlay(named, {"scrape.folders": ["a"]}).scrape.urls == named.scrape.urls
