"""The filter's checks: each is one record, and what it says of itself is true."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from bakery.dataset import checks
from bakery.dataset.checks import CHECKS, Candidate
from bakery.settings import config
from bakery.settings.filter import Filter
from bakery.sources.posts import Post

MODELS = tuple(
    {"path": f"{kind}.onnx", "kind": kind, "min": 0.5}
    for kind in ("face_count", "same_character", "aesthetic")
)
STRICT = Filter(
    min_side=99, max_aspect=2, ratings=("general",), min_score=5, unwanted_tags=("cosplay",),
    max_blur=0.1, min_jpeg_quality=90, max_pictures=1, models=MODELS,
)  # fmt: skip
TAGS = "2girls sketch text_focus novelai cosplay"


def hopeless() -> Candidate:
    """A picture that every check speaks against but the two final ones."""
    post = Post(image="a.png", rating="explicit", score="-1", tags_general=TAGS)
    return Candidate(
        post, size=(20, 80), animated=True, blur=0.9, jpeg_quality=10, grey=True,
        numbers=[0.1, 0.2, 0.3], by_hand="exclude", duplicate_of="b.png", surplus=True,
    )  # fmt: skip


def examined(settings: Filter, candidate: Candidate) -> list[str]:
    checks.examine(settings, candidate)
    checks.examine(settings, candidate, of_set=True)
    return candidate.reasons


def test_every_check_has_a_name_of_its_own_and_a_meaning():
    assert len(set(checks.REASONS)) == len(CHECKS)
    for check in CHECKS:
        assert check.reason.replace("_", "").isalpha(), check.reason
        assert check.reason.islower()
        assert check.meaning
        assert bool(check.cure) != check.final, check.reason


def test_only_what_no_setting_opens_is_final():
    assert {"unreadable", "forbidden_tag"} == checks.FINAL


def test_all_reasons_are_on_record_in_their_order():
    assert examined(STRICT, hopeless()) == [r for r in checks.REASONS if r not in checks.FINAL]
    assert examined(STRICT, Candidate(Post(tags_general="loli"))) == ["unreadable", "forbidden_tag"]


def test_what_is_on_record_stays_when_more_gets_known():
    unknown = {"duplicate_of": "", "by_hand": "", "numbers": [], "surplus": False}
    candidate = dataclasses.replace(hopeless(), **unknown)
    before = list(examined(STRICT, candidate))
    candidate.duplicate_of = "b.png"
    checks.examine(STRICT, candidate, of_set=True)
    assert candidate.reasons == [*before, "duplicate"]


@pytest.mark.parametrize(
    "check", [c for c in CHECKS if c.cure.startswith("filter.")], ids=lambda check: check.reason
)
def test_the_cure_is_a_setting_that_switches_the_check_off(check):
    name, value = check.cure.removeprefix("filter.").split(": ", 1)
    changed = STRICT.model_dump(exclude_unset=True) | {name: yaml.safe_load(value)}
    cured = config.Config.model_validate({"filter": changed}).filter
    candidate = hopeless()
    if check.reason == "duplicate":  # the stage compares nothing then
        assert cured.duplicate_distance == -1
        return
    if check.cure == "filter.models: []":
        candidate.numbers = []
    assert check.reason in examined(STRICT, hopeless())
    assert check.reason not in examined(cured, candidate)


def drawn(settings: Filter, names: list[str], **reasons: list[str]) -> set[str]:
    """Names of those that are kept."""
    candidates = [
        Candidate(Post(image=name), size=(99, 99), reasons=reasons.get(name, [])) for name in names
    ]
    checks.draw(settings, candidates)
    for one in candidates:
        checks.examine(settings, one, of_set=True)
    return {one.post.image for one in candidates if one.kept}


def test_a_number_of_pictures_is_drawn_and_fewer_are_some_of_more():
    names = [f"{number}.png" for number in range(90)]
    kept = {n: drawn(Filter(max_pictures=n), names) for n in (3, 10, 30)}
    assert [len(found) for found in kept.values()] == [3, 10, 30]
    assert kept[3] < kept[10] < kept[30] < set(names)
    assert drawn(Filter(max_pictures=10), names[::-1]) == kept[10], "the order does not matter"
    assert drawn(Filter(), names) == drawn(Filter(max_pictures=99), names) == set(names)
    other = drawn(Filter(max_pictures=30, max_pictures_seed=1), names)
    assert len(other) == 30
    assert 3 < len(other & kept[30]) < 20, "about a third of another draw is in both"


def test_pictures_are_drawn_from_those_that_nothing_speaks_against():
    names = ["a.png", "b.png", "c.png"]
    refused = {"a.png": ["blurry"], "b.png": ["blurry"]}
    assert drawn(Filter(max_pictures=1), names, **refused) == {"c.png"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.reason)
def test_a_hand_edit_overrules_all_but_the_final_ones(check):
    candidate = Candidate(Post(), reasons=[check.reason], by_hand="include")
    assert candidate.kept != check.final
    assert not Candidate(Post(), reasons=[check.reason]).kept
