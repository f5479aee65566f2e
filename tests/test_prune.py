"""Prune: what each tag becomes, and the captions that are left."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tagger import draw, tiny_tagger

from bakery import captions, prune, tables, tag, traits
from bakery.config import Prune, Tag
from bakery.errors import BakeryError

MIRAEL = ("pink hair", "long hair", "twintails", "purple eyes", "halo")
SCENES = (
    ("1girl", "solo", "blue shirt", "shirt", "beach", "smile"),
    ("1girl", "solo", "red dress", "dress", "snow", "closed eyes"),
    ("1girl", "solo", "blue shirt", "shirt", "city", "one eye closed", "hair flower"),
    ("1girl", "solo", "black sweater", "sweater", "open mouth", "looking at viewer"),
)


def _write(folder, pictures, categories=None, unreadable=None):
    """The folders that prune reads; `pictures`: image -> {tag: probability}."""
    for stage in ("filter", "tag"):
        (folder / stage).mkdir(parents=True, exist_ok=True)
    kept = [{"image": image, "kept": "true"} for image in pictures]
    tables.write(folder / "filter" / "decisions.csv", kept, ("image", "kept"))
    rows = [
        {
            "image": image,
            "tag": name,
            "category": (categories or {}).get(name, "general"),
            "probability": f"{probability:.4f}",
        }
        for image, tags in sorted(pictures.items())
        for name, probability in sorted(tags.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    tables.write(folder / "tag" / "tags.csv", rows, tag.COLUMNS)
    facts = {
        "general_threshold": 0.35,
        "character_threshold": 0.85,
        "unreadable": unreadable or {},
    }
    (folder / "tag" / "tagger.json").write_text(json.dumps(facts))


def _run(folder, **options):
    out = folder / "out"
    summary = prune.run(Prune(**options), filter=folder / "filter", tag=folder / "tag", out=out)
    table = tables.read(out / "prune.csv", prune.COLUMNS).set_index("tag")
    lines = tables.read(out / "captions.csv", ("image", "caption"))
    said = dict(zip(lines["image"], map(captions.split, lines["caption"]), strict=True))
    trigger = json.loads((out / "trigger.json").read_text())
    return summary, table, said, trigger


@pytest.fixture
def mirael(tmp_path):
    pictures = {}
    for number, scene in enumerate(SCENES):
        pictures[f"{number}.png"] = dict.fromkeys(MIRAEL, 0.9)
        pictures[f"{number}.png"] |= {name: 0.8 - 0.1 * i for i, name in enumerate(scene[:5])}
        pictures[f"{number}.png"] |= dict.fromkeys(scene[5:], 0.36)
    del pictures["3.png"]["halo"]
    _write(tmp_path, pictures)
    return tmp_path


def test_exactly_the_characters_traits_are_pruned(mirael):
    summary, table, said, trigger = _run(mirael)
    assert set(trigger["pruned"]) == set(MIRAEL) == set(summary["pruned"])
    assert trigger["traits"] == trigger["pruned"]
    assert set(table.index[table["decision"] == "prune"]) == set(MIRAEL)
    assert said["0.png"] == ["mirael", "1girl", "solo", "blue shirt", "shirt", "beach", "smile"]
    assert trigger["trigger"] == "mirael"
    assert table.loc["halo", "frequency"] == "0.7500"
    assert table.loc["halo", "count"] == "3"


def test_reasons_are_words_a_person_understands(mirael):
    _, table, _, _ = _run(mirael)
    reasons = table["reason"]
    assert reasons["halo"] == (
        "on 75% of the pictures and a trait of the character (halo): the trigger absorbs it"
    )
    assert reasons["hair flower"].startswith("a trait (ornaments), but on 25% of the pictures only")
    assert "a class word" in reasons["1girl"]
    assert reasons["beach"].startswith("on 25% of the pictures; it changes from picture to picture")
    assert (reasons.str.len() > 10).all()


def test_categories_tell_traits_from_moments(mirael):
    _, table, _, _ = _run(mirael)
    category = table["category"]
    assert {name for name in category.index if category[name] == "trait"} == {
        *MIRAEL,
        "hair flower",
    }
    assert category["1girl"] == category["solo"] == "class"
    assert category["closed eyes"] == category["one eye closed"] == "other"


def test_min_frequency_moves_the_line(mirael):
    assert "halo" not in _run(mirael, min_frequency=0.76)[3]["pruned"]
    assert "halo" in _run(mirael, min_frequency=0.75)[3]["pruned"]
    assert "hair flower" in _run(mirael, min_frequency=0.25)[3]["pruned"]


def test_the_users_lists_win_in_any_spelling(mirael):
    _, table, said, trigger = _run(mirael, always=("Blue_Shirt",), never=("pink_hair",))
    assert "blue shirt" in trigger["pruned"]
    assert "pink hair" not in trigger["pruned"]
    assert "blue shirt" not in said["0.png"]
    assert "pink hair" in said["0.png"]
    assert "prune.always" in table.loc["blue shirt", "reason"]
    assert "prune.never" in table.loc["pink hair", "reason"]


def test_switched_off_every_tag_stays_and_traits_are_still_known(mirael):
    _, table, said, trigger = _run(mirael, enabled=False, always=("smile",))
    assert trigger["pruned"] == []
    assert set(trigger["traits"]) == set(MIRAEL)
    assert set(table["decision"]) == {"keep"}
    assert said["0.png"][0] == "mirael"
    assert set(said["0.png"][1:]) == {*MIRAEL, *SCENES[0]}


def test_class_tokens_stand_behind_the_trigger_once(mirael):
    _, table, said, trigger = _run(mirael, class_tokens="1girl, Solo")
    assert all(line[:3] == ["mirael", "1girl", "Solo"] for line in said.values())
    assert all(line.count("1girl") == 1 and "solo" not in line for line in said.values())
    assert trigger["class_tokens"] == "1girl, Solo"
    assert "class token" in table.loc["1girl", "reason"]


def test_tags_follow_by_falling_probability(tmp_path):
    _write(tmp_path, {"a.png": {"smile": 0.5, "beach": 0.9, "hat": 0.5, "tree": 0.3}})
    _, table, said, _ = _run(tmp_path)
    assert said["a.png"] == ["mirael", "beach", "hat", "smile"]  # tree is below the threshold
    assert "tree" not in table.index


def test_a_constant_tag_that_is_no_trait_stays_with_a_hint(tmp_path):
    _write(tmp_path, {"a.png": {"black jacket": 0.9}, "b.png": {"black jacket": 0.9}})
    _, table, said, _ = _run(tmp_path)
    assert table.loc["black jacket", "decision"] == "keep"
    assert "list it in prune.always" in table.loc["black jacket", "reason"]
    assert said["b.png"] == ["mirael", "black jacket"]


def test_a_picture_left_without_tags_still_has_the_trigger(tmp_path):
    _write(tmp_path, {"a.png": {"pink hair": 0.9}, "b.png": {}})
    summary, _, said, _ = _run(tmp_path)
    assert said == {"a.png": ["mirael"], "b.png": ["mirael"]}
    assert summary["captions_without_tags"] == 2


def test_ratings_are_no_caption_words(tmp_path):
    _write(tmp_path, {"a.png": {"general": 0.9, "smile": 0.9}}, {"general": "rating"})
    summary, table, said, _ = _run(tmp_path)
    assert table.loc["general", ["category", "decision"]].tolist() == ["rating", "drop"]
    assert said["a.png"] == ["mirael", "smile"]
    assert summary["dropped"] == 1


def test_names_of_characters(tmp_path):
    """The tagger's name for the character is absorbed, a look-alike's name is a mistake."""
    pictures = {f"{i}.png": {"ruby (gem)": 0.9} for i in range(9)} | {"9.png": {"pearl": 0.9}}
    _write(tmp_path, pictures, {"ruby (gem)": "character", "pearl": "character"})
    _, table, said, _ = _run(tmp_path)
    assert table["decision"].to_dict() == {"ruby (gem)": "prune", "pearl": "drop"}
    assert set(map(tuple, said.values())) == {("mirael",)}
    _, table, said, _ = _run(tmp_path, never=("pearl",))
    assert said["9.png"] == ["mirael", "pearl"]


def test_a_trigger_that_is_a_tag_is_refused_with_a_way_out(mirael):
    with pytest.raises(BakeryError, match=r"'Pink_Hair' is itself a tag .* prune\.always"):
        _run(mirael, trigger="Pink_Hair")
    _, table, said, _ = _run(mirael, trigger="Pink_Hair", always=("pink hair",))
    assert table.loc["pink hair", "decision"] == "prune"
    assert said["0.png"][0] == "Pink_Hair"
    assert "pink hair" not in said["0.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"always": ("smile",), "never": ("Smile",)}, "'smile' stands in always and in never"),
        ({"always": ("1girl",), "class_tokens": "1girl"}, "in always and in class_tokens"),
        ({"class_tokens": "girl, mirael"}, "also stands in class_tokens"),
        ({"never": ("Mirael",)}, "also stands in never"),
    ],
)
def test_contradictions_are_refused(mirael, options, message):
    with pytest.raises(BakeryError, match=message):
        _run(mirael, **options)


def test_entries_on_no_picture_are_on_record_with_the_nearest_tag(mirael, caplog):
    with caplog.at_level(logging.WARNING):
        summary, table, _, trigger = _run(mirael, always=("pink hiar",), never=("zebra",))
    assert summary["never_seen"] == ["pink hiar", "zebra"]
    assert table.loc["pink hiar", "count"] == "0"
    assert "did you mean 'pink hair'?" in table.loc["pink hiar", "reason"]
    assert "did you mean" not in table.loc["zebra", "reason"]
    assert "pink hiar" not in trigger["traits"]
    assert "on no picture" in caplog.text


def test_unreadable_pictures_have_no_caption_and_do_not_count(tmp_path):
    pictures = {"a.png": {"halo": 0.9}, "b.png": {}, "c.png": {}}
    _write(tmp_path, pictures, unreadable={"b.png": "truncated", "c.png": "truncated"})
    summary, table, said, _ = _run(tmp_path)
    assert set(said) == {"a.png"}
    assert table.loc["halo", "frequency"] == "1.0000"
    assert summary["unreadable"] == 2


def test_runs_give_the_same_bytes(mirael):
    _run(mirael)
    once = {path.name: path.read_bytes() for path in (mirael / "out").iterdir()}
    _run(mirael)
    assert once == {path.name: path.read_bytes() for path in (mirael / "out").iterdir()}
    assert set(once) == {"prune.csv", "captions.csv", "trigger.json"}


def test_from_pictures_to_captions(tmp_path):
    """The tag stage and this one on drawn pictures."""
    names = ["pink hair", "halo", "smile", "beach", "general"]
    (tmp_path / "scrape" / "images").mkdir(parents=True)
    _write(tmp_path, {"0.png": {}, "1.png": {}})
    for number, mood in enumerate(("smile", "beach")):
        picture = draw(names, {"pink hair", "halo", "general", mood})
        picture.save(tmp_path / "scrape" / "images" / f"{number}.png")
    model = tiny_tagger(tmp_path / "model", names, categories={"general": "rating"})
    tag.run(
        Tag(),
        scrape=tmp_path / "scrape",
        filter=tmp_path / "filter",
        out=tmp_path / "tag",
        model=model,
    )
    _, _, said, trigger = _run(tmp_path, class_tokens="1girl")
    assert said == {"0.png": ["mirael", "1girl", "smile"], "1.png": ["mirael", "1girl", "beach"]}
    assert trigger["pruned"] == ["halo", "pink hair"]


VOCABULARY = (*MIRAEL, "1girl", "solo", "smile", "closed eyes", "beach", ">_<", "general", "pearl")
CATEGORIES = {"general": "rating", "pearl": "character"}
tag_sets = st.sets(st.sampled_from(VOCABULARY), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    pictures=st.lists(
        st.dictionaries(st.sampled_from(VOCABULARY), st.floats(0.05, 1)), min_size=1, max_size=6
    ),
    always=tag_sets,
    never=tag_sets,
    min_frequency=st.floats(0, 1),
    class_tokens=st.sampled_from(["", "1girl", "1girl, solo"]),
)
def test_whatever_is_seen_the_lists_hold(
    tmp_path_factory, pictures, always, never, min_frequency, class_tokens
):
    never -= always
    always -= set(captions.split(class_tokens))
    folder = tmp_path_factory.mktemp("prune")
    _write(folder, {f"{i}.png": tags for i, tags in enumerate(pictures)}, CATEGORIES)
    _, table, said, trigger = _run(
        folder,
        always=tuple(always),
        never=tuple(never),
        min_frequency=min_frequency,
        class_tokens=class_tokens,
    )
    decision = table["decision"].to_dict()
    assert all(decision[name] == "prune" for name in always)
    assert all(decision[name] == "keep" for name in never)
    assert trigger["pruned"] == [name for name in table.index if decision[name] == "prune"]
    front = ["mirael", *captions.split(class_tokens)]
    for i, tags in enumerate(pictures):
        line = said[f"{i}.png"]
        assert line[: len(front)] == front
        assert len(line) == len(set(line))
        for name in line[len(front) :]:
            assert decision[name] == "keep"
            assert round(tags[name], 4) >= 0.35 or name == "general"
        shown = {name for name, share in tags.items() if round(share, 4) >= 0.35}
        assert {n for n in shown - set(CATEGORIES) if decision[n] == "keep"} <= set(line)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pink hair", "hair"), ("very long hair", "hair"), ("twintails", "hair"),
        ("low twintails", "hair"), ("hair bun", "hair"), ("hair between eyes", "hair"),
        ("blunt bangs", "hair"), ("single braid", "hair"), ("ahoge", "hair"),
        ("facial hair", "hair"), ("spiky hair", "hair"), ("ponytail", "hair"),
        ("red eyes", "eyes"), ("heterochromia", "eyes"), ("slit pupils", "eyes"),
        ("cat ears", "ears"), ("animal ear fluff", "ears"), ("fox tail", "tail"),
        ("angel wings", "wings"), ("halo", "halo"), ("dragon horns", "horns"),
        ("hair ornament", "ornaments"), ("wing hair ornament", "ornaments"),
        ("hair flower", "ornaments"), ("mole under eye", "marks"), ("scar on face", "marks"),
        ("arm tattoo", "marks"), ("dark skin", "skin"), ("skin fang", "teeth"),
        ("closed eyes", None), ("half-closed eyes", None), ("one eye closed", None),
        ("looking at viewer", None), ("rolling eyes", None), ("covering own eyes", None),
        ("wet hair", None), ("floating hair", None), ("hand in own hair", None),
        ("playing with own hair", None), ("holding own tail", None), ("spread wings", None),
        ("fake animal ears", None), ("shiny skin", None), ("hair flip", None), ("scarf", None),
        ("hairdressing", None), ("smile", None), ("black jacket", None), ("bear", None),
        ("hair brush", None), ("moletom", None), ("fishing line", None), ("horned headwear", None),
        ("coattails", None), ("glowing eyes", None), ("hair over shoulder", None), ("crown", None),
    ],
)  # fmt: skip
def test_the_vocabulary_of_traits(name, kind):
    assert traits.kind(name) == kind
