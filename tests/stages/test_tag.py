"""Tag: from kept pictures to tags.csv and tagger.json."""

import json
import logging
import math

import pytest
from tiny_tagger import draw, tiny_tagger

from bakery.dataset import decisions
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.tag import LEAST, Tag, Thresholds
from bakery.stages import tag
from bakery.tags import picture_sentences, tagging

TAGS = ["pink hair", "smile", "halo", ">_<", "beach", "mirael", "general"]
CATEGORIES = {"mirael": "character", "general": "rating"}
SEEN = {
    "a.png": {"pink hair": 0.9, "smile": 0.4, "general": 0.8},
    "b.png": {"pink hair": 0.9, "beach": 0.8, ">_<": 0.07},
    "c.png": {"halo": 0.95, "mirael": 0.9},
}


@pytest.fixture
def world(tmp_path):
    """Folders of the stages above: c.png is drawn but not kept, d.png not listed."""
    (tmp_path / "scrape" / "images").mkdir(parents=True)
    (tmp_path / "filter").mkdir()
    for image, seen in SEEN.items():
        draw(TAGS, seen).save(tmp_path / "scrape" / "images" / image)
    _keep(tmp_path, {"b.png": "true", "a.png": "true", "c.png": "false"})
    tiny_tagger(tmp_path / "model", TAGS, categories=CATEGORIES)
    return tmp_path


def _keep(world, kept):
    rows = [{"image": image, "kept": word, "reasons": ""} for image, word in kept.items()]
    tables.write(world / "filter" / "decisions.csv", rows, ("image", "kept", "reasons"))


def _run(world, out="out", captioner=None, **settings):
    return tag.run(
        Tag(**settings),
        scrape=world / "scrape",
        filter=world / "filter",
        out=world / out,
        model=world / "model",
        captioner=captioner,
    )


def _table(world, out="out"):
    return tables.read(world / out / "tags.csv", tagging.COLUMNS)


def test_kept_pictures_are_tagged_in_order(world):
    summary = _run(world)
    table = _table(world)
    assert list(zip(table["image"], table["tag"], strict=True)) == [
        ("a.png", "pink hair"),
        ("a.png", "general"),
        ("a.png", "smile"),
        ("b.png", "pink hair"),
        ("b.png", "beach"),
        ("b.png", ">_<"),
    ]
    assert set(table["category"]) == {"general", "rating"}
    assert summary["images"] == summary["tagged"] == 2
    assert summary["rows"] == 6


def test_probabilities_have_four_digits_and_are_the_drawn_ones(world):
    _run(world)
    table = _table(world).set_index(["image", "tag"])["probability"]
    assert table.str.fullmatch(r"[01]\.\d{4}").all()
    for image in ("a.png", "b.png"):
        for name, wanted in SEEN[image].items():
            assert float(table[image, name]) == pytest.approx(wanted, abs=0.02)


def test_tagger_json_holds_a_fingerprint_and_nothing_of_this_machine(world):
    _run(world, model=str(world / "model"))
    facts = json.loads((world / "out" / "tagger.json").read_text())
    assert facts["model"] == "model"
    assert len(facts["model_sha256"]) == 64
    assert str(world) not in (world / "out" / "tagger.json").read_text()


def test_a_hub_id_stays_the_models_name(world):
    _run(world, model="SmilingWolf/wd-swinv2-tagger-v3")
    facts = json.loads((world / "out" / "tagger.json").read_text())
    assert facts["model"] == "SmilingWolf/wd-swinv2-tagger-v3"


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_runs_and_batch_sizes_give_the_same_bytes(world, batch_size):
    _run(world, out="once")
    _run(world, out="twice", batch_size=batch_size)
    for name in ("tags.csv", "tagger.json", "vocabulary.csv"):
        assert (world / "once" / name).read_bytes() == (world / "twice" / name).read_bytes()


def test_every_probability_that_a_threshold_may_ask_for_is_written_down(world):
    names = dict.fromkeys(SEEN, "true")
    draw(TAGS, dict(zip(TAGS, (0.03, 0.045, 0.055, 0.07, 0.2, 0.5, 0.9), strict=True))).save(
        world / "scrape" / "images" / "d.png"
    )
    _keep(world, {**names, "d.png": "true"})
    _run(world)
    table = _table(world)
    assert table["probability"].astype(float).min() >= LEAST
    assert len(table[table["image"] == "d.png"]) == 5


def test_the_vocabulary_says_how_usual_a_tag_is(world):
    _run(world)
    vocabulary = tagging.read_tags(world / "out").vocabulary
    assert vocabulary.find("Pink_Hair") == "pink hair"
    assert vocabulary.find("teal hair") is None
    assert vocabulary.pictures == 1000  # one rating in the list, and each picture has one
    assert vocabulary.usual("halo") == 1.0
    lines = ["tag,category,count", "general,rating,600", "explicit,rating,200", "halo,general,40"]
    (world / "out" / "vocabulary.csv").write_text("\n".join([*lines, "wings,general,\n"]))
    vocabulary = tagging.read_tags(world / "out").vocabulary
    assert vocabulary.usual("Halo") == 0.05
    assert math.isnan(vocabulary.usual("wings"))
    assert math.isnan(vocabulary.usual("teal hair"))


def test_without_ratings_nothing_is_usual(world):
    (world / "model" / "selected_tags.csv").write_text(
        "name,category\n" + "".join(f"{name.replace(' ', '_')},0\n" for name in TAGS)
    )
    _run(world)
    assert math.isnan(tagging.read_tags(world / "out").vocabulary.usual("halo"))


def test_unreadable_pictures_are_left_out_on_record(world, caplog):
    (world / "scrape" / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    _keep(world, {"a.png": "true", "b.png": "true", "gone.png": "true"})
    with caplog.at_level(logging.WARNING):
        summary = _run(world)
    assert summary["unreadable"] == 2
    assert summary["tagged"] == 1
    assert set(_table(world)["image"]) == {"b.png"}
    recorded = tagging.read_tags(world / "out").unreadable
    assert set(recorded) == {"a.png", "gone.png"}
    assert recorded["gone.png"] == "there is no such file"
    assert "a.png is left out" in caplog.text


def test_rows_stay_with_their_pictures_when_one_in_between_is_unreadable(world):
    (world / "scrape" / "images" / "b.png").write_bytes(b"")
    _keep(world, dict.fromkeys(SEEN, "true"))
    _run(world, batch_size=1)
    top = _table(world).drop_duplicates("image").set_index("image")["tag"]
    assert top.to_dict() == {"a.png": "pink hair", "c.png": "halo"}


def test_when_no_picture_can_be_read_it_stops(world):
    _keep(world, {"gone.png": "true"})
    with pytest.raises(BakeryError, match="none of the 1 kept pictures"):
        _run(world)
    assert not (world / "out" / "tags.csv").exists()


def test_a_filter_that_kept_nothing_is_named(world):
    _keep(world, {"a.png": "false", "b.png": "false"})
    with pytest.raises(BakeryError, match="keeps none of 2 pictures"):
        _run(world)


def test_decisions_other_than_true_and_false_are_refused(world):
    _keep(world, {"a.png": "True"})
    with pytest.raises(BakeryError, match="'True' where true or false"):
        decisions.kept(world / "filter")


def test_seen_applies_the_threshold_of_each_category(world):
    _keep(world, dict.fromkeys(SEEN, "true"))
    _run(world)
    tagged = tagging.read_tags(world / "out")
    seen = tagged.seen(Thresholds(0.35, 0.85))
    assert set(zip(seen["image"], seen["tag"], strict=True)) == {
        ("a.png", "pink hair"),
        ("a.png", "smile"),
        ("a.png", "general"),
        ("b.png", "pink hair"),
        ("b.png", "beach"),
        ("c.png", "halo"),
        ("c.png", "mirael"),
    }
    assert "mirael" not in set(tagged.seen(Thresholds(0.35, 0.95))["tag"])
    assert "smile" not in set(tagged.seen(Thresholds(0.5, 0.85))["tag"])


def test_of_ratings_the_likeliest_is_seen(tmp_path):
    rows = [
        {"image": "a.png", "tag": name, "category": "rating", "probability": share}
        for name, share in (("sensitive", "0.2000"), ("general", "0.3000"))
    ]
    tables.write(tmp_path / "tags.csv", rows, tagging.COLUMNS)
    (tmp_path / "tagger.json").write_text(json.dumps({"model": "any", "unreadable": {}}))
    tables.write(tmp_path / "vocabulary.csv", [], tagging.VOCABULARY)
    assert list(tagging.read_tags(tmp_path).seen(Thresholds(0.35, 0.85))["tag"]) == ["general"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "x", "unreadable": 3}', None])
def test_a_broken_tagger_json_is_named(world, content):
    _run(world)
    path = world / "out" / "tagger.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BakeryError, match=r"tagger\.json"):
        tagging.read_tags(world / "out")


class _Says:
    """A captioner that says what it is given for each picture."""

    def __init__(self, said):
        self.said = said

    def sentences(self, pictures, opened):
        for name, path in pictures:
            assert path.name == name
            assert opened(name) is not None
            yield name, self.said[name]


def test_a_captioners_sentences_are_a_table_and_silence_is_counted(world, caplog):
    plain = _run(world, out="plain")
    assert "sentences" not in plain
    assert not (world / "plain" / picture_sentences.NAME).exists()
    with caplog.at_level(logging.WARNING):
        summary = _run(world, captioner=_Says({"a.png": "A girl smiles.", "b.png": ""}))
    assert summary == plain | {"sentences": {"written": 1, "silent": 1}}
    table = tables.read(world / "out" / picture_sentences.NAME, picture_sentences.COLUMNS)
    assert table.to_dict("records") == [
        {"image": "a.png", "sentence": "A girl smiles.", "source": "captioner"}
    ]
    assert "the captioner says nothing about b.png" in caplog.text
    assert (world / "out" / "tags.csv").read_bytes() == (world / "plain" / "tags.csv").read_bytes()


def test_the_gate_reads_a_captioners_sentences(world):
    said = {"a.png": "A lol" + "i smiles.", "b.png": "A girl smiles."}
    summary = _run(world, captioner=_Says(said))
    assert summary["reasons"] == {"forbidden_tag": 1}
    assert set(_table(world)["image"]) == {"b.png"}
    assert list(picture_sentences.read(world / "out")) == ["b.png"]
    facts = json.loads((world / "out" / "tagger.json").read_text())
    assert facts["refused"] == {"a.png": "forbidden_tag"}


def test_the_captioner_is_not_asked_about_pictures_that_their_tags_keep_out(world):
    tags = [*TAGS, "child", "lol" + "i"]
    tiny_tagger(world / "model", tags, categories=CATEGORIES)
    seen = {"a.png": {"lol" + "i": 0.9}, "b.png": {"child": 0.9}, "c.png": {"child": 0.9}}
    for image, mine in seen.items():
        draw(tags, mine).save(world / "scrape" / "images" / image)
    _keep(world, dict.fromkeys(seen, "true"))
    captioner = _Says({"b.png": "A nude girl smiles.", "c.png": "A girl smiles."})
    summary = _run(world, captioner=captioner)  # `_Says` has nothing about a.png
    assert (summary["images"], summary["tagged"]) == (3, 1)
    assert summary["reasons"] == {"forbidden_tag": 2}
    assert summary["sentences"] == {"written": 1, "silent": 0}
    facts = json.loads((world / "out" / "tagger.json").read_text())
    assert list(facts["refused"]) == ["a.png", "b.png"], "b.png by tags and sentence together"
    assert set(_table(world)["image"]) == set(picture_sentences.read(world / "out")) == {"c.png"}
