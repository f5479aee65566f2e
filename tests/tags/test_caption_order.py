"""The order of a caption's parts, and sentences with the trigger for the name."""

from __future__ import annotations

import pytest

from bakery.settings import config
from bakery.settings.prune import Prune
from bakery.sources.caption_grammar import SENTENCE, Piece, parse
from bakery.sources.posts import Post
from bakery.tags import caption_order, picture_sentences
from bakery.tags.picture_sentences import Naming
from bakery.tags.trigger import Trigger

ANIMA = ("quality", "year", "rating", "class", "trigger", "series", "artist", "tags", "sentence")
POST = Post(
    rating="general",
    created_at="2024-03-05T10:00:00+00:00",
    tags_copyright="blue_archive",
    tags_artist="nameko_(artist)",
)
SAID = "She stands on a beach, smiling, and holds a parasol. The sun sets."


def _line(tags: str, *, order=ANIMA, class_tokens: str = "", post: Post = POST, **options) -> str:
    settings = Prune(trigger="mirael", class_tokens=class_tokens, caption_order=order, **options)
    facts = caption_order.of_post(post, quality="masterpiece", sentence=SAID)
    pieces = list(parse(tags).pieces)
    return caption_order.arranged(settings, Trigger.of(settings), pieces, facts).text


def test_the_parts_come_in_the_makers_order() -> None:
    assert _line("smile, 1girl, solo, parasol") == (
        "masterpiece, year 2024, safe, 1girl, mirael, blue archive, @nameko (artist), smile, solo, "
        f"parasol, {SAID}"
    )


def test_words_of_the_caption_itself_win_over_those_of_the_post() -> None:
    written = "score_7, best quality, year 2021, sensitive, @wada arco, blue archive, smile"
    assert _line(written) == (
        "masterpiece, score_7, best quality, year 2021, sensitive, mirael, blue archive, @wada arco, "
        f"smile, {SAID}"
    )


def test_class_tokens_stand_where_the_class_is_and_other_counts_stay() -> None:
    assert _line("2girls, smile", class_tokens="1girl", order=("class", "trigger", "tags")) == (
        "1girl, 2girls, mirael, smile"
    )
    order = ("quality", "trigger", "tags")
    assert _line("1girl, smile", class_tokens="1girl", order=order) == (
        "masterpiece, mirael, 1girl, smile"
    )


def test_a_part_that_is_not_named_takes_nothing_from_the_tags() -> None:
    written = "year 2021, safe, smile, artist:wada arco, She sits on a red chair."
    order = ("trigger", "tags")
    assert _line(written, order=order) == f"mirael, {written}"


def test_a_sentence_in_front_is_told_from_the_tags_behind_it() -> None:
    """By a comma, as otherwise the first tag would be read as the end of the sentence."""
    order = ("sentence", "trigger", "tags")
    assert _line("smile, hat", order=order) == f"{SAID}, mirael, smile, hat"


def test_nothing_known_is_nothing_said() -> None:
    settings = Prune(caption_order=ANIMA)
    bare = caption_order.of_post(Post())
    line = caption_order.arranged(settings, Trigger.of(settings), [Piece("smile")], bare)
    assert line.text == "mirael, smile"


def test_the_best_by_score_get_the_best_word() -> None:
    scores = {f"{n}.png": float(n) for n in range(10)}
    found = caption_order.by_score({"best quality": 0.6, "masterpiece": 0.9}, scores)
    assert [found[f"{n}.png"] for n in (9, 8, 6, 5)] == [
        "masterpiece", "best quality", "best quality", "",
    ]  # fmt: skip
    assert caption_order.by_score({"good": 0.5}, {"a": 1.0, "b": 1.0}) == {"a": "", "b": ""}


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("trigger", "tags", "tags"), "once"),
        (("trigger", "sentence"), "leaves out"),
        (("trigger", "tags", "character"), "should be"),
    ],
)
def test_an_order_that_makes_no_caption_is_refused(order: tuple[str, ...], words: str) -> None:
    with pytest.raises(Exception, match=words):
        config.load({"scrape": {"name": "a"}, "prune": {"caption_order": order}})


def test_quality_words_need_a_place() -> None:
    with pytest.raises(ValueError, match="no place for them"):
        Prune(quality={"masterpiece": 0.9}, caption_order=("trigger", "tags"))


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ("Hatsune Miku is singing.", "mirael is singing."),
        ("A girl called miku hatsune, Miku Hatsune's hat.", "A girl called mirael, mirael's hat."),
        ("Hatsune Mikus and Hatsune Miku (Append)", "Hatsune Mikus and mirael (Append)"),
        ("{trigger} waves at Shiroko (Blue Archive).", "mirael waves at mirael."),
        ("Shiroko and the Shirokos", "mirael and the Shirokos"),
        ("A girl sits.", "A girl sits."),
    ],
)
def test_the_trigger_takes_the_place_of_the_name(said: str, spoken: str) -> None:
    naming = Naming("mirael", ("hatsune_miku", "shiroko_(blue_archive)"))
    assert naming.spoken(said) == spoken


def test_a_trigger_is_no_pattern() -> None:
    assert Naming(r"\1 (a)", ("Ann",)).spoken("Ann runs.") == r"\1 (a) runs."


def test_a_persons_sentence_wins_over_a_captioners() -> None:
    written = {"a.png": f"smile, {SAID}", "b.png": "smile, hat", "d.png": ""}
    seen = {"a.png": "A girl.", "b.png": "Ann wears a hat.", "e.png": "Not asked."}
    found = picture_sentences.gather(
        ["a.png", "b.png", "c.png", "d.png"], written, seen, Naming("mirael", ("Ann",))
    )
    assert found.of_image == {"a.png": SAID, "b.png": "mirael wears a hat."}
    images = ["a.png", "b.png", "c.png", "d.png"]
    assert found.summary(images) == {"caption": 1, "captioner": 1, "none": 2, "renamed": 1}
    none, named = found.warnings(images, ["hat", "pink hair"])
    assert none.startswith("2 of 4 pictures have no sentence")
    assert "(hat 1 of 2)" in named


def test_a_caption_is_divided_by_the_known_sentence_or_by_the_grammar() -> None:
    divided = picture_sentences.divided
    assert divided("mirael, hat, A cat., tree", "A cat.") == ("mirael, hat, tree", "A cat.")
    assert divided(f"mirael, hat, {SAID}") == ("mirael, hat", SAID)
    assert divided("mirael, hat", "gone") == ("mirael, hat", "")
    assert divided(SAID, SAID) == ("", SAID)


def test_sentences_keep_their_kind() -> None:
    assert [one.kind for one in parse(f"hat, {SAID}").pieces] == ["general", SENTENCE]
