"""Prune: what each tag becomes, and the captions that are left."""

import json
import logging

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_tagger import draw, tiny_tagger

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.filter import Filter
from bakery.settings.prune import Prune
from bakery.settings.tag import Tag
from bakery.sources import caption_files, posts
from bakery.stages import filter, prune, tag
from bakery.tags import captions, picture_sentences, tagging, vocabulary

MIRAEL = ("pink hair", "long hair", "twintails", "purple eyes", "halo")
SCENES = (
    ("1girl", "solo", "blue shirt", "shirt", "beach", "smile"),
    ("1girl", "solo", "red dress", "dress", "snow", "closed eyes"),
    ("1girl", "solo", "blue shirt", "shirt", "city", "one eye closed", "hair flower"),
    ("1girl", "solo", "black sweater", "sweater", "open mouth", "looking at viewer"),
)


def _write(folder, pictures, categories=None, unreadable=None, usual=None, told=None):
    """The folders that prune reads; `pictures`: image -> {tag: probability}.

    `usual`: tag -> share of a thousand pictures that the tagger learnt from; `told`: image -> what its
    post says, general tags and character tags.
    """
    for stage in ("filter", "tag", "scrape"):
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
    tables.write(folder / "tag" / "tags.csv", rows, tagging.COLUMNS)
    facts = {"model": "models/wd-vit-tagger-v3", "unreadable": unreadable or {}}
    (folder / "tag" / "tagger.json").write_text(json.dumps(facts))
    known = [{"tag": "general", "category": "rating", "count": 1000}] if usual else []
    known += [
        {"tag": name, "category": (categories or {}).get(name, "general"), "count": 1000 * share}
        for name, share in (usual or {}).items()
    ]
    tables.write(folder / "tag" / "vocabulary.csv", known, tagging.VOCABULARY)
    lineage = [
        posts.Post(image=image, tags_general=general, tags_character=character, tags_meta="highres")
        for image, (general, character) in (told or {}).items()
    ]
    posts.write(folder / "scrape" / "posts.csv", lineage)


def _run(folder, edits=None, **options):
    out = folder / "out"
    if edits is not None:
        (folder / "tags.csv").write_text(edits, encoding="utf-8")
    summary = prune.run(
        Prune(**options),
        scrape=folder / "scrape",
        filter=folder / "filter",
        tag=folder / "tag",
        out=out,
        edits=None if edits is None else folder / "tags.csv",
        dataset="mirael",
    )
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
    assert reasons["hair flower"].startswith("a trait (ornament), but on 25% of the pictures only")
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


def test_a_trigger_that_is_a_tag_of_the_captions_is_refused_with_a_way_out(mirael):
    with pytest.raises(BakeryError, match=r"'Blue_Shirt' is itself a tag .* 2 .* prune\.always"):
        _run(mirael, trigger="Blue_Shirt")
    _, table, said, _ = _run(mirael, trigger="Blue_Shirt", always=("blue shirt",))
    assert table.loc["blue shirt", "decision"] == "prune"
    assert said["0.png"][0] == "Blue_Shirt"
    assert "blue shirt" not in said["0.png"]
    with pytest.raises(BakeryError, match="'smile' is itself a tag"):
        _run(mirael, outfits={"smile": ["blue shirt"]})


def test_a_trigger_that_the_base_knows_is_warned_of(tmp_path, caplog):
    pictures = {f"{n}.png": {"pink hair": 0.9, "smile": 0.9} for n in range(3)}
    _write(tmp_path, pictures, usual={"pink hair": 0.1, "halo": 0.02})
    for word, tag_ in (("Pink_Hair", "pink hair"), ("halo", "halo")):
        with caplog.at_level(logging.WARNING):
            summary, _, said, _ = _run(tmp_path, trigger=word)
        assert len(summary["warnings"]) == 1
        assert f"the trigger {word!r} is the general tag {tag_!r}" in summary["warnings"][0]
        assert summary["warnings"][0] in caplog.text
        assert said["0.png"][0] == word
        assert said["0.png"][-1] == "smile"
    assert not _run(tmp_path)[0]["warnings"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"always": ("smile",), "never": ("Smile",)}, "'smile' is in both always and never"),
        ({"always": ("1girl",), "class_tokens": "1girl"}, "in both always and class_tokens"),
        ({"class_tokens": "girl, mirael"}, "also stands in class_tokens"),
        ({"never": ("Mirael",)}, "also stands in never"),
        ({"never": ("coat",), "outfits": {"gala": ["coat"]}}, "is in both outfits and never"),
        ({"class_tokens": "gala", "outfits": {"gala": ["coat"]}}, "'gala' also stands in class"),
        ({"outfits": {"Mirael": ["coat"]}}, "not all different"),
        ({"edits": "tag,decision\nmirael,keep\n"}, "tags.csv decides about 'mirael'"),
        ({"edits": "tag,decision\n1girl,prune\n", "class_tokens": "1girl"}, "about '1girl'"),
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
    assert table.loc["pink hiar", "decision"] == "prune"
    assert "on no picture" in table.loc["zebra", "reason"]
    assert "pink hiar" not in trigger["traits"]
    assert "on no picture" in caplog.text
    assert "1 of 1 tags in prune.always are on no picture" in caplog.text
    assert "did you mean 'pink hair'?" in caplog.text


def test_decisions_by_hand_overrule_and_are_told(mirael, caplog):
    edits = (
        "\ufefftag,decision,note\nPink_Hair,keep,wig\nsmile,Prune,\npnk hair,prune,\nzebra,keep,\n"
    )
    summary, table, said, trigger = _run(mirael, edits, never=("smile",))
    assert set(trigger["pruned"]) == {*MIRAEL, "smile", "pnk hair"} - {"pink hair"}
    assert "pink hair" not in trigger["traits"]
    assert "pink hair" in said["0.png"]
    assert "smile" not in said["0.png"]
    assert table.loc["smile", "decided_by"] == "hand"
    assert table.loc["smile", "reason"].startswith("decided by hand; otherwise: on 25%")
    assert table.loc["halo", "decided_by"] == "rule"
    assert summary["by_hand"] == 4
    assert summary["never_seen"] == ["pnk hair", "zebra"]
    (warning,) = summary["warnings"]
    assert warning.startswith("2 of 4 tags in tags.csv are on no picture: 'pnk hair'")
    assert "did you mean 'pink hair'?" in warning
    assert warning in caplog.text


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ("tag,decision\nhalo,prune\nHalo,keep\n", r"tags.csv has two decisions about 'Halo'"),
        ("tag,decision\nhalo,maybe\n", r"line 2 decides 'maybe' about 'halo'; write prune or keep"),
        ("tag,decision\nhalo,keep\n,keep\n", r"line 3 has no tag"),
        ("tag\nhalo\n", r"no column 'decision'; its first line is tag,decision"),
        ("", r"cannot be read as a table"),
        ('tag,decision\n"halo,keep\n', r"cannot be read as a table|line 2 decides"),
    ],
)
def test_broken_decisions_are_one_sentence(mirael, edits, message):
    with pytest.raises(BakeryError, match=message) as caught:
        _run(mirael, edits)
    assert len(str(caught.value).splitlines()) == 1


def test_the_same_decision_twice_is_no_contradiction(mirael):
    assert "halo" not in _run(mirael, "tag,decision\nhalo,keep\nHALO,keep\n")[3]["pruned"]


def test_an_outfit_can_have_a_word_of_its_own(tmp_path):
    gala = {"red dress": 0.9, "dress": 0.8, "tiara": 0.5}
    pictures = {f"{n}.png": {"halo": 0.95, **gala, "smile": 0.6} for n in range(6)}
    pictures |= {f"{n}.png": {"halo": 0.95, "coat": 0.9, "dress": 0.4} for n in range(6, 9)}
    _write(tmp_path, pictures)
    words = {"mirael gala": ["red dress", "dress", "Tiara"], "mirael nude": ["zebra", "lion"]}
    summary, table, said, trigger = _run(tmp_path, outfits=words, class_tokens="1girl")
    assert said["0.png"] == ["mirael", "1girl", "mirael gala", "smile"]
    assert said["7.png"] == ["mirael", "1girl", "coat", "dress"]  # a third of the gala is no gala
    assert table.loc["red dress", "decision"] == "keep"
    assert trigger["outfits"] == {word: list(tags) for word, tags in words.items()}
    assert any("'mirael nude' is unused" in warning for warning in summary["warnings"])
    worn = tables.read(tmp_path / "out" / "outfits.csv", prune.OUTFITS).set_index("outfit")
    gala = worn.loc["red dress, tiara"]
    assert gala[["pictures", "tags"]].tolist() == ["6", "red dress; tiara"]
    assert gala["proposal"] == '"mirael outfit 1": ["red dress", "tiara"]'
    assert worn.loc["coat, dress", "proposal"] == "", "3 pictures teach no word"


def test_the_proposal_can_be_written_into_the_config(tmp_path):
    pictures = {f"{n}.png": {"kimono": 0.9, "obi": 0.9} for n in range(6)}
    pictures |= {f"{n}.png": {"coat": 0.9, "boots": 0.8} for n in range(6, 12)}
    _write(tmp_path, pictures)
    _run(tmp_path)
    proposals = tables.read(tmp_path / "out" / "outfits.csv", prune.OUTFITS)["proposal"]
    raw = yaml.safe_load("outfits:\n" + "".join(f"  {line}\n" for line in proposals))
    _, _, said, _ = _run(tmp_path, **raw)
    assert {tuple(line) for line in said.values()} == {
        ("mirael", "mirael outfit 1"),
        ("mirael", "mirael outfit 2"),
    }


def test_implied_tags_stay_unless_asked_otherwise(tmp_path):
    _write(tmp_path, {"a.png": {"red jacket": 0.9, "jacket": 0.8}, "b.png": {"jacket": 0.7}})
    assert _run(tmp_path)[2]["a.png"] == ["mirael", "red jacket", "jacket"]
    said = _run(tmp_path, drop_implied=True)[2]
    assert said == {"a.png": ["mirael", "red jacket"], "b.png": ["mirael", "jacket"]}


def test_booru_tags_can_stand_in_or_join(tmp_path):
    pictures = {f"{n}.png": {"halo": 0.9, "smile": 0.4} for n in range(3)}
    told = {f"{n}.png": ("halo beach >_<", "mirael") for n in range(2)} | {"2.png": ("", "")}
    _write(tmp_path, pictures, told=told)
    assert _run(tmp_path, source="tagger")[2]["0.png"] == ["mirael", "smile"]
    summary, table, said, trigger = _run(tmp_path, source="booru")
    assert said == {
        "0.png": ["mirael", ">_<", "beach"], "1.png": ["mirael", ">_<", "beach"], "2.png": ["mirael"],
    }  # fmt: skip
    assert table.loc["mirael", ["category", "decision"]].tolist() == ["character", "prune"]
    assert "1 of 3 captions hold no tag" in summary["warnings"][0]
    assert trigger["thresholds"] == {"general": 0.35, "character": 0.85}
    _, table, said, _ = _run(tmp_path, source="union")
    assert said["0.png"] == ["mirael", ">_<", "beach", "smile"]
    assert said["2.png"] == ["mirael", "smile"]
    _write(tmp_path, pictures)
    with pytest.raises(BakeryError, match=r"neither a booru nor a sidecar .* set prune\.source"):
        _run(tmp_path, source="booru")


def test_a_published_threshold_is_the_taggers_own(tmp_path):
    _write(tmp_path, {"a.png": {"smile": 0.27, "beach": 0.25, "halo": 0.9}})
    _, _, said, trigger = _run(tmp_path, general_threshold="published")
    assert said["a.png"] == ["mirael", "smile"]
    assert trigger["thresholds"]["general"] == 0.2614  # wd-vit-tagger-v3


def test_when_nothing_is_seen_it_stops_and_says_what_to_lower(tmp_path):
    _write(tmp_path, {"a.png": {"smile": 0.3, "general": 0.9}}, {"general": "rating"})
    with pytest.raises(
        BakeryError, match=r"none of the 1 kept pictures has a tag.*threshold 0\.35"
    ):
        _run(tmp_path)


def test_captions_of_the_trigger_alone_are_warned_of(tmp_path, caplog):
    _write(tmp_path, {"a.png": {"halo": 0.9}, "b.png": {"halo": 0.9}})
    summary, _, _, _ = _run(tmp_path)
    assert "every tag is pruned" in summary["warnings"][0]
    assert "every tag is pruned" in caplog.text


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
    assert set(once) == {
        "prune.csv", "outfits.csv", "captions.csv", "trigger.json", "prune.html",
    }  # fmt: skip


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


def _folder(tmp_path, pictures, notes=None):
    """A plain folder as scrape and filter leave it; `pictures`: name -> what the tagger sees."""
    for name in ("tag", "scrape/images"):
        (tmp_path / name).mkdir(parents=True)
    words = sorted({word for tags in pictures.values() for word in tags})
    lineage = []
    for name, tags in pictures.items():
        draw(words, tags, size=(96, 96)).save(tmp_path / "scrape" / "images" / name)
        lineage.append(
            posts.Post(image=name, status="ok", tags_general=(notes or {}).get(name, ""))
        )
    posts.write(tmp_path / "scrape" / "posts.csv", lineage)
    return tiny_tagger(tmp_path / "model", words)


def _from_folder(tmp_path, model, included="", prune_options=None, **filter_options):
    """Filter, tag and prune: the summaries of the first and last, and the pictures with a caption."""
    (tmp_path / "include.txt").write_text(included)
    settings = Filter(max_blur=1, min_jpeg_quality=0, duplicate_distance=-1, **filter_options)
    filtered = filter.run(
        settings, scrape=tmp_path / "scrape", out=tmp_path / "filter",
        edits={"include.txt": tmp_path / "include.txt"}, dataset="mirael",
    )  # fmt: skip
    tag.run(
        Tag(),
        scrape=tmp_path / "scrape",
        filter=tmp_path / "filter",
        out=tmp_path / "tag",
        model=model,
    )
    summary, _, said, _ = _run(tmp_path, **(prune_options or {}))
    return filtered, summary, sorted(said)


FOLDER = {
    "one girl.png": {"1girl", "solo", "smile", "hat"},
    "two girls.png": {"2girls", "smile"},
    "page.png": {"1girl", "comic", "speech bubble"},
    "pencil.png": {"1girl", "solo", "sketch"},
}


def test_a_plain_folder_is_judged_by_what_the_tagger_sees(tmp_path):
    model = _folder(tmp_path, FOLDER)
    filtered, summary, kept = _from_folder(tmp_path, model)
    assert filtered["kept"] == filtered["untagged"] == 4
    assert kept == ["one girl.png"]
    assert summary["images"] == 1
    assert summary["second_look"] == {
        "images": 4, "dropped": 3,
        "reasons": {"extra_character": 2, "monochrome": 1, "text_heavy": 1},
    }  # fmt: skip
    table = tables.read(
        tmp_path / "out" / "second_look.csv", ("image", "kept", "reasons", "probability")
    )
    reasons = dict(zip(table["image"], table["reasons"], strict=True))
    assert reasons == {
        "one girl.png": "", "two girls.png": "extra_character", "pencil.png": "monochrome",
        "page.png": "extra_character;text_heavy",
    }  # fmt: skip
    evidence = tables.read(tmp_path / "out" / "prune.csv", ("tag", "count")).set_index("tag")[
        "count"
    ]
    assert "comic" not in evidence.index, "what is left out is no evidence"
    page = (tmp_path / "out" / "prune.html").read_text()
    assert page.count("<tr data-dropped=") == 3
    assert '<tr data-dropped="two girls.png">' in page
    assert "config/edits/mirael/include.txt" in page


def test_include_txt_overrules_the_second_look(tmp_path):
    model = _folder(tmp_path, FOLDER)
    _, summary, kept = _from_folder(tmp_path, model, included="two girls.png\n")
    assert kept == ["one girl.png", "two girls.png"]
    assert summary["second_look"]["images"] == 3


def test_the_filters_switches_hold_for_the_second_look(tmp_path):
    model = _folder(tmp_path, FOLDER)
    _, _, kept = _from_folder(tmp_path, model, extra_characters=False)
    assert kept == ["one girl.png", "two girls.png"]
    off = {
        "extra_characters": False,
        "monochrome": False,
        "text_heavy": False,
        "ai_generated": False,
    }
    filtered, summary, kept = _from_folder(
        tmp_path / "off", _folder(tmp_path / "off", FOLDER), **off
    )
    assert kept == sorted(FOLDER)
    assert "untagged" not in filtered
    assert "second_look" not in summary
    assert not (tmp_path / "off" / "out" / "second_look.csv").exists()
    model = _folder(tmp_path / "null", FOLDER)
    _, _, kept = _from_folder(tmp_path / "null", model, prune_options={"second_look": None})
    assert kept == sorted(FOLDER)


def test_where_booru_tags_are_they_count(tmp_path):
    """The filter has judged by them, and they are surer than the tagger."""
    told = {
        "two girls.png": "1girl solo smile",  # as of a booru
        "page.png": "mirael my_favourite",  # a caption of one's own
    }
    model = _folder(tmp_path, FOLDER, told)
    filtered, summary, kept = _from_folder(tmp_path, model)
    assert filtered["untagged"] == summary["second_look"]["images"] == 3
    assert kept == ["one girl.png", "two girls.png"]


def test_when_the_second_look_leaves_nothing_it_says_what_to_change(tmp_path):
    model = _folder(tmp_path, {"a.png": {"2girls"}, "b.png": {"comic"}})
    with pytest.raises(
        BakeryError, match=r"all of the 2 pictures .* filter\.extra_characters: false"
    ):
        _from_folder(tmp_path, model)
    assert (tmp_path / "out" / "second_look.csv").is_file()


VOCABULARY = (*MIRAEL, "1girl", "solo", "smile", "closed eyes", "beach", ">_<", "general", "pearl")
CATEGORIES = {"general": "rating", "pearl": "character"}
tag_sets = st.sets(st.sampled_from(VOCABULARY), max_size=4)


@pytest.mark.slow
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
    assume(
        any(share >= 0.35 for tags in pictures for n, share in tags.items() if n not in CATEGORIES)
    )
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
        ("hair ornament", "ornament"), ("wing hair ornament", "ornament"),
        ("hair flower", "ornament"), ("mole under eye", "mark"), ("scar on face", "mark"),
        ("arm tattoo", "mark"), ("dark skin", "skin"), ("skin fang", "teeth"),
        ("closed eyes", None), ("half-closed eyes", None), ("one eye closed", None),
        ("looking at viewer", None), ("rolling eyes", None), ("covering own eyes", None),
        ("wet hair", None), ("floating hair", None), ("hand in own hair", None),
        ("playing with own hair", None), ("holding own tail", None), ("spread wings", None),
        ("fake animal ears", None), ("shiny skin", None), ("hair flip", None), ("scarf", None),
        ("hairdressing", None), ("smile", None), ("black jacket", None), ("bear", None),
        ("hair brush", None), ("moletom", None), ("fishing line", None), ("horned headwear", None),
        ("coattails", None), ("glowing eyes", "eyes"), ("hair over shoulder", None), ("crown", None),
    ],
)  # fmt: skip
def test_the_vocabulary_of_traits(name, kind):
    assert vocabulary.of(name).trait == kind


PARK = "A girl with pink hair stands in a park, smiling at the viewer."


def _captioned(folder, **written):
    rows = [
        {"image": f"{stem.removeprefix('p')}.png", "caption": text, "file": "x", "changes": ""}
        for stem, text in written.items()
    ]
    tables.write(folder / "scrape" / caption_files.NAME, rows, caption_files.COLUMNS)


def test_captions_of_a_person_are_kept_and_others_are_made(mirael):
    _captioned(mirael, p0="smile, mirael, pink hair, my hat, :d", p1=f"halo, {PARK}")
    summary, table, said, trigger = _run(mirael, source="captions", class_tokens="1girl")
    lines = tables.read(mirael / "out" / "captions.csv", ("image", "caption"))
    kept = dict(zip(lines["image"], lines["caption"], strict=True))
    assert kept["0.png"] == "mirael, 1girl, smile, pink hair, my hat, :d"
    assert kept["1.png"] == f"mirael, 1girl, halo, {PARK}"
    assert not set(said["2.png"]) & set(MIRAEL)  # the tagger's, by the usual rules
    assert summary["own_captions"] == 2
    assert summary["warnings"] == []
    assert table.loc["my hat", "decision"] == "keep"
    assert table.loc["halo", "reason"].endswith("; stays in 1 of 2 captions written for them")
    assert "mirael" not in table.index
    assert set(trigger["traits"]) == set(MIRAEL)


def test_what_most_captions_name_is_not_said_to_be_absorbed(mirael):
    _captioned(mirael, p0="pink hair, halo", p1="pink hair", p2="pink hair, smile", p3="hat")
    _, _, said, trigger = _run(mirael, source="captions")
    assert set(trigger["pruned"]) == set(MIRAEL) - {"pink hair"}
    assert said["2.png"] == ["mirael", "pink hair", "smile"]


def test_always_and_decisions_by_hand_count_in_captions_too(mirael):
    _captioned(mirael, p0="halo, my hat, Pink_Hair, smile", p1="my hat, beach")
    edits = "tag,decision\nmy hat,prune\n"
    _, table, said, _ = _run(mirael, edits, source="captions", always=["pink hair"])
    assert said["0.png"] == ["mirael", "halo", "smile"]
    assert said["1.png"] == ["mirael", "beach"]
    assert table.loc["my hat", "decided_by"] == "hand"
    _, _, said, _ = _run(mirael, source="captions", always=["pink hair"], enabled=False)
    assert said["0.png"] == ["mirael", "halo", "my hat", "Pink_Hair", "smile"]


@pytest.mark.parametrize("source", ["tagger", "union"])
def test_captions_that_are_not_used_are_told(mirael, source, caplog):
    _captioned(mirael, p0="hat", p1=PARK)
    summary, _, _, _ = _run(mirael, source=source)
    (warning,) = summary["warnings"]
    assert warning.startswith("2 of 4 pictures have captions of their own; prune.source is")
    assert warning.endswith("set prune.source: captions to keep them")
    assert warning in caplog.text
    assert "own_captions" not in summary


def test_captions_are_asked_for_and_there_are_none(mirael):
    summary, _, said, _ = _run(mirael, source="captions")
    assert "no picture has a caption of its own" in summary["warnings"][0]
    assert said["0.png"][:2] == ["mirael", "1girl"]


def test_the_tagger_may_see_nothing_where_all_have_captions(tmp_path):
    _write(tmp_path, {"0.png": {}, "1.png": {}})
    _captioned(tmp_path, p0=PARK, p1=PARK)
    summary, _, _, trigger = _run(tmp_path, source="captions")
    assert summary["own_captions"] == 2
    assert trigger["pruned"] == []


def test_a_kept_caption_passes_the_gate(mirael):
    _captioned(mirael, p0="hat, A loli stands in a park.", p1="hat")
    summary, _, said, _ = _run(mirael, source="captions")
    assert "0.png" not in said
    assert summary["reasons"] == {"forbidden_tag": 1}


ANIMA = ("quality", "year", "rating", "class", "trigger", "series", "artist", "tags", "sentence")


def _posted(folder):
    """Posts of a booru with all that captions may say, captions beside two pictures, a captioner's
    sentences for two."""
    lineage = [
        posts.Post(
            image=f"{number}.png",
            rating="general",
            score=str(number),
            created_at="2023-05-01T00:00:00+00:00",
            tags_general="1girl hat",
            tags_character="mira_(star_tale)",
            tags_copyright="star_tale",
            tags_artist="ann_o",
        )
        for number in range(4)
    ]
    posts.write(folder / "scrape" / "posts.csv", lineage)
    rows = [
        {"image": "0.png", "caption": "hat, Mira stands on a beach, in the sun.", "file": "0.txt"},
        {"image": "1.png", "caption": "hat, tree", "file": "1.txt"},
    ]
    tables.write(folder / "scrape" / caption_files.NAME, rows, caption_files.COLUMNS)
    seen = [
        {"image": image, "sentence": "A girl with pink hair looks up.", "source": "captioner"}
        for image in ("0.png", "1.png")
    ]
    picture_sentences.write(folder / "tag" / picture_sentences.NAME, seen)


def test_captions_in_the_order_of_the_config(mirael):
    _posted(mirael)
    summary, _, _, trigger = _run(
        mirael, caption_order=ANIMA, quality={"masterpiece": 0.7}, class_tokens="1girl"
    )
    lines = tables.read(mirael / "out" / "captions.csv", ("image", "caption"))
    said = dict(zip(lines["image"], lines["caption"], strict=True))
    front = "year 2023, safe, 1girl, mirael, star tale, @ann o, solo, "
    assert said["0.png"] == (
        f"{front}blue shirt, shirt, beach, smile, mirael stands on a beach, in the sun."
    )
    assert said["1.png"].endswith(", closed eyes, A girl with pink hair looks up.")
    assert said["2.png"].startswith(front)
    assert said["2.png"].endswith("hair flower, one eye closed")
    assert said["3.png"].startswith(f"masterpiece, {front}")
    assert summary["sentences"] == {"caption": 1, "captioner": 1, "none": 2, "renamed": 1}
    none, named = summary["warnings"]
    assert none.startswith("2 of 4 pictures have no sentence")
    assert "pink hair 1 of 2" in named
    table = tables.read(mirael / "out" / picture_sentences.NAME, picture_sentences.COLUMNS)
    assert list(table["source"]) == ["caption", "captioner"]
    assert "pink hair" in trigger["pruned"]


def test_kept_captions_are_put_in_order_too_and_get_the_sentence_they_lack(mirael):
    _posted(mirael)
    order = ("class", "trigger", "tags", "sentence")
    _run(mirael, caption_order=order, source="captions", class_tokens="1girl", names=("tree",))
    lines = tables.read(mirael / "out" / "captions.csv", ("image", "caption"))
    said = dict(zip(lines["image"], lines["caption"], strict=True))
    assert said["0.png"] == "1girl, mirael, hat, mirael stands on a beach, in the sun."
    assert said["1.png"] == "1girl, mirael, hat, A girl with pink hair looks up."


def test_a_name_in_a_sentence_of_a_kept_caption_becomes_the_trigger(mirael):
    _posted(mirael)
    _run(mirael, source="captions", names=("Mira", "tree"))
    lines = tables.read(mirael / "out" / "captions.csv", ("image", "caption"))
    said = dict(zip(lines["image"], lines["caption"], strict=True))
    assert said["0.png"] == "mirael, hat, mirael stands on a beach, in the sun."
    assert said["1.png"] == "mirael, hat"


@pytest.mark.parametrize("place", ["sidecar", "captioner", "series"])
def test_the_gate_reads_every_part_of_a_caption(mirael, place):
    _posted(mirael)
    word = "lol" + "i"
    if place == "sidecar":
        rows = [{"image": "0.png", "caption": f"A {word} stands here.", "file": "0.txt"}]
        tables.write(mirael / "scrape" / caption_files.NAME, rows, caption_files.COLUMNS)
    elif place == "captioner":
        rows = [{"image": "0.png", "sentence": f"A {word} stands here.", "source": "captioner"}]
        picture_sentences.write(mirael / "tag" / picture_sentences.NAME, rows)
        (mirael / "scrape" / caption_files.NAME).unlink()
    else:
        lineage = posts.read(mirael / "scrape" / "posts.csv")
        lineage[0].tags_copyright = word
        posts.write(mirael / "scrape" / "posts.csv", lineage)
    summary, _, said, _ = _run(mirael, caption_order=ANIMA)
    assert set(said) == {"1.png", "2.png", "3.png"}
    assert summary["reasons"] == {"forbidden_tag": 1}
    table = tables.read(mirael / "out" / picture_sentences.NAME, picture_sentences.COLUMNS)
    assert "0.png" not in set(table["image"])


def test_the_captions_of_a_file_with_several_are_kept_apart(mirael):
    _posted(mirael)
    table = mirael / "scrape" / caption_files.CANDIDATES
    mine = ["hat, smile, mirael", "Mira wears a hat, smiling."]
    caption_files.write_candidates(table, [("0.png", mine)])
    _run(mirael, source="captions", names=("Mira",), always=("smile",))
    made = mirael / "out" / caption_files.CANDIDATES
    assert caption_files.read_candidates(made) == {
        "0.png": ("mirael, hat", "mirael wears a hat, smiling.")
    }
    mine[1] = "A lol" + "i wears a hat."
    caption_files.write_candidates(table, [("0.png", mine)])
    summary, _, said, _ = _run(mirael, source="captions")
    assert summary["reasons"] == {"forbidden_tag": 1}
    assert "0.png" not in said
    assert not made.exists()
    _run(mirael)
    assert not made.exists(), "captions are not kept"


def test_figures_are_of_the_pictures_that_the_gate_leaves(mirael):
    _posted(mirael)
    lineage = posts.read(mirael / "scrape" / "posts.csv")
    lineage[0].tags_copyright = "lol" + "i"
    lineage[0].score = lineage[1].score = ""
    posts.write(mirael / "scrape" / "posts.csv", lineage)
    summary, _, said, _ = _run(mirael, caption_order=ANIMA, quality={"masterpiece": 0.7})
    assert set(said) == {"1.png", "2.png", "3.png"}
    assert summary["sentences"] == {"captioner": 1, "none": 2, "renamed": 0}
    assert summary["without_score"] == 1
    assert any(one.startswith("1 of 3 pictures have no post") for one in summary["warnings"])


def test_the_page_shows_sentences_beside_their_tags(mirael):
    _posted(mirael)
    _run(mirael, caption_order=("trigger", "tags", "sentence"))
    page = (mirael / "out" / "prune.html").read_text()
    assert page.count("data-spoken=") == 2
    assert "mirael, 1girl, solo, blue shirt, shirt, beach, smile</td>" in page
    assert "A girl with pink hair looks up.</td>" in page
    _run(mirael)
    assert "data-spoken" not in (mirael / "out" / "prune.html").read_text()
