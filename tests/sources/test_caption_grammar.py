"""Captions of other programs, and what their writers meant."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakery.sources import caption_grammar
from bakery.sources.caption_grammar import MOST_LETTERS, SENTENCE, TooLong, parse
from bakery.sources.emoticons import KAOMOJI, is_emoticon
from bakery.sources.sentences import SAYS
from bakery.tags import captions

PARK = "A girl with blue hair stands in a park, smiling at the viewer."


def read(text: str) -> list[str]:
    return [piece.text for piece in parse(text).pieces]


def sentences(text: str) -> list[str]:
    return [piece.text for piece in parse(text).pieces if piece.kind == SENTENCE]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (r"hoshi \(blue archive\), fate \(series\)", ["hoshi (blue archive)", "fate (series)"]),
        ("hoshi (blue archive), 1girl", ["hoshi (blue archive)", "1girl"]),
        ("hoshi_(blue_archive) 1girl", ["hoshi (blue archive)", "1girl"]),
        (r"(hoshi \(blue archive\):1.2), ((ganyu (genshin impact)))",
         ["hoshi (blue archive)", "ganyu (genshin impact)"]),
        ("(blue hair:1.2), ((smile)), [hat], {{cap}}", ["blue hair", "smile", "hat", "cap"]),
        ("(blue hair, smile:1.2), (a, (b:1.1), c)", ["blue hair", "smile", "a", "b", "c"]),
        ("1.2::blue hair, smile::, hat", ["blue hair", "smile", "hat"]),
        ("(red dress)1.2, (hat)++, smile:0.98", ["red dress", "hat", "smile"]),
        ("{red|blue} hair, [day:night:0.5]", ["red hair", "day"]),
        ("hoshi, BREAK, 1girl AND smile BREAK", ["hoshi", "1girl", "smile"]),
        ("<lora:foo:0.8>, hoshi, embedding:bad, (embedding:x:1.2), <lyco:b:1:2>", ["hoshi"]),
        ("hoshi, 1girl ||| smile ;;; hat", ["hoshi", "1girl", "smile", "hat"]),
        ("blue hair", ["blue hair"]),
        ("1girl blue_hair smile", ["1girl", "blue hair", "smile"]),
        ("1girl; blue hair; ;d; smile", ["1girl", "blue hair", ";d", "smile"]),
        ("猫耳，女仆，尾巴", ["猫耳", "女仆", "尾巴"]),
        ("青い髪、笑顔、制服", ["青い髪", "笑顔", "制服"]),
        ("1girl\nblue_hair\nlooking at viewer\n", ["1girl", "blue hair", "looking at viewer"]),
        ("hoshi, 1girl,\nsmile", ["hoshi", "1girl", "smile"]),
        ("hoshi,, ,smile, ", ["hoshi", "smile"]),
        ("1girl, smile.", ["1girl", "smile"]),
        ("青い髪、笑顔。」", ["青い髪", "笑顔"]), ("1girl, smile。”", ["1girl", "smile"]),
        ("1girl, smile.\"", ["1girl", "smile"]), ("1girl, hat！』", ["1girl", "hat！"]),
        ("1girl, hat｡｣", ["1girl", "hat"]), ("hoshi, 」, 笑顔．", ["hoshi", "笑顔"]),
        ("1girl, 「猫。」, \"hat.\"", ["1girl", "「猫。」", '"hat."']),
        ("[trigger], 1girl, {name}", ["{trigger}", "1girl", "{trigger}"]),
        ("score_9, score_8_up, source_anime, long_hair",
         ["score_9", "score_8_up", "source_anime", "long hair"]),
        ("hoshi, 16:9, re:zero, fate/stay night, ..., !?",
         ["hoshi", "16:9", "re:zero", "fate/stay night", "...", "!?"]),
        ("", []), ("\n ,,\n", []), ("BREAK", []),
    ],
)  # fmt: skip
def test_tags(text, pieces):
    assert read(text) == pieces
    assert not sentences(text)


FACES = (
    ":)",
    ";)",
    ":d",
    ":3",
    ":(",
    ";d",
    ":<",
    ":|",
    "\\o/",
    "d:",
    ">:)",
    "=)",
    ";_;",
    "(:",
    ":>=",
)


@pytest.mark.parametrize("face", [*sorted(KAOMOJI), *FACES])
def test_faces_survive(face):
    assert is_emoticon(face)
    assert read(f"hoshi, {face}, smile") == ["hoshi", face, "smile"]
    assert read(f"{face}, ({face}:1.2)") == [face, face]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PARK, [PARK]),
        (f"hoshi, 1girl, {PARK}", [PARK]),
        (f"hoshi, 1girl\n{PARK}", [PARK]),
        (f"{PARK} She waves, laughing. Clouds.", [f"{PARK} She waves, laughing. Clouds."]),
        ("a girl with blue hair, 1girl, solo, smile", ["a girl with blue hair"]),
        ("a girl with blue hair, wearing a red dress, standing in a park", None),
        ("Une fille aux cheveux bleus se tient dans un parc.", None),
        ("青い髪の女の子が公園に立っている。", None),
        ("一个蓝色头发的女孩站在公园里。", None),
        ("一个女孩说：“你好！”", None),
        ('一个女孩站在公园里。"', None),
        ("一个女孩站在公园里。’”", None),
        ("女の子が公園に立っている。」", None),
        ("女の子が公園に立っている。 』", None),
        ("女の子が公園に立っている｡｣", None),
        ("（女の子が公園に立っている．）", None),
        ("「女の子が立っている。」猫耳", ["「女の子が立っている。」"]),
        ("一个女孩站在公园里。”, 1girl", ["一个女孩站在公园里。”"]),
        ("身長１．５メートルの女の子", None),
        ("A girl stands, 1girl, solo, smile.", ["A girl stands"]),
        ("a girl with (blue hair:1.3) in a park", ["a girl with blue hair in a park"]),
        ("A girl (standing) in a park.", None),
        ("hand on own hip, looking at viewer, head out of frame", []),
        ("the legend of zelda, love live! sunshine!!, dr. kawashima", []),
    ],
)
def test_sentences(text, found):
    assert sentences(text) == ([text] if found is None else found)


def test_a_caption_is_one_line_with_its_sentences_as_they_were():
    assert parse(f"hoshi, {PARK} smile_x, hat").text == f"hoshi, {PARK} smile_x, hat"
    assert parse(f"hoshi, blue_hair\n{PARK}\n1girl").text == f"hoshi, blue hair, {PARK} 1girl"
    assert parse("1girl blue_hair").tags("general") == "1girl blue_hair"
    assert parse(f"[trigger], hoshi (x), hoshi_(x), {PARK}").tags("general") == "hoshi_(x)"


def test_lines_that_begin_alike_are_alternatives():
    caption = parse("hoshi, 1girl, smile\nhoshi, 1girl, frown\nhoshi, hat")
    assert caption.text == "hoshi, 1girl, smile"
    assert caption.changes == {"other line": 2}


def test_what_only_the_first_reading_knows_outlasts_the_second():
    caption = parse("character:hoshi (x)\nrating:safe\n(blue hair:1.2)\nred ribbon shines.")
    assert [(one.text, one.kind) for one in caption.pieces] == [
        ("hoshi (x)", "character"), ("blue hair", "general"), ("red ribbon shines", "general"),
    ]  # fmt: skip
    assert caption.rating == "safe"
    assert caption.changes == {"rating": 1, "weight": 1}


def test_namespaces_of_download_managers():
    caption = parse(
        "1girl\ncharacter:hoshi (x)\nseries:blue archive\ncreator:y\nrating:safe\npage:3"
    )
    assert [caption.tags(name) for name in caption_grammar.CATEGORIES[:3]] == [
        "1girl", "hoshi_(x)", "blue_archive",
    ]  # fmt: skip
    assert (caption.text, caption.rating) == ("1girl, hoshi (x), blue archive", "safe")
    assert caption.changes == {"note about the file": 2, "rating": 1}


def test_what_was_taken_out_is_counted():
    text = r"(a:1.2), [b], BREAK, <lora:x:1>, c \(d\), [trigger], {e|f}"
    assert parse(text).changes == {
        "BREAK or AND": 1, "LoRA or embedding": 1, "escaped bracket": 2, "placeholder": 1, "weight": 3,
    }  # fmt: skip
    settings = "hoshi, smile\nNegative prompt: bad, worse\nSteps: 20, Sampler: Euler a"
    assert (parse(settings).text, parse(settings).changes) == (
        "hoshi, smile", {"generation settings": 1},
    )  # fmt: skip
    assert caption_grammar.together([parse("(a)"), parse("((b)), a BREAK b")]) == {
        "BREAK or AND": 1, "weight": 2,
    }  # fmt: skip


WORDS = st.text("abcdfghijklmnopqruvwxyz", min_size=2, max_size=9).filter(
    lambda word: word not in SAYS | {"the"}
)
TAG = st.lists(WORDS, min_size=1, max_size=2).map(" ".join)
QUALIFIED = st.tuples(TAG, TAG).map(lambda pair: f"{pair[0]} ({pair[1]})")
TAGS = st.lists(TAG | QUALIFIED | st.sampled_from(sorted(KAOMOJI | set(FACES))), max_size=12)


@given(TAGS, st.sampled_from([", ", ",", " , ", "，", "、", "\n"]))
def test_tags_come_back_from_any_separator(tags, separator):
    assert read(separator.join(tags)) == tags


@given(TAGS)
def test_escaping_and_weights_come_off(tags):
    marks = str.maketrans({"(": r"\(", ")": r"\)"})
    escaped = [tag if is_emoticon(tag) else tag.translate(marks) for tag in tags]
    assert read(", ".join(escaped)) == tags
    assert read(", ".join(f"({tag}:1.1)" for tag in escaped)) == tags
    assert read(", ".join(f"{{{{{tag}}}}}" for tag in escaped)) == tags


@given(st.lists(st.lists(WORDS, min_size=2, max_size=4), min_size=1, max_size=4), TAGS)
@example([["aa", "aa"], ["aa", "dr"]], [])  # an abbreviation at the end
def test_a_sentence_is_never_split(phrases, tags):
    said = ", ".join(" ".join(words) for words in phrases)
    sentence = f"The girl is {said}."
    plain = [tag for tag in tags if not is_emoticon(tag)]
    assert read(", ".join([*plain, sentence])) == [*plain, sentence]
    assert sentences(sentence) == [sentence]


BITS = ("hoshi", "blue hair", "1girl", "long_hair", "(x:1.2)", "((y z))", "[w]", "{a|b}", "(", ")", ":d",
        ">_<", "A girl stands there.", "She waves, smiling", "BREAK", "<lora:x:1>", "[trigger]",
        "猫耳", "女の子が立っている。", "女の子が立っている。」", "女の子が立っている。 ”", "笑顔。」",
        "。", "rating:safe", "hat.")  # fmt: skip


@given(st.lists(st.sampled_from(BITS) | st.sampled_from([", ", " ", "\n", "，"]), max_size=14))
@example(["hoshi", ":d", "long_hair", "rating:safe"])
@example(
    ["A girl stands there.", ", ", "A girl stands there.", ", ", "猫耳"]
)  # one sentence or two
@example(
    ["女の子が立っている。", "hat.", "\n", "hoshi"]
)  # a line's end ends what the comma does not
@example(
    ["hoshi", "\n", "blue hair", "blue hair", "hat."]
)  # a sentence only at the start of a line
def test_reading_its_own_line_changes_nothing_more(bits):
    text = "".join(bits)
    once = parse(text)
    assert parse(once.text).text == once.text
    assert bool(once.pieces) == bool(captions.split(once.text))


@pytest.mark.parametrize(
    "text",
    [
        '["hoshi", "1girl", "blue hair"]',
        "['hoshi', '1girl', 'blue_hair']",
        "('hoshi', '1girl', 'blue hair')",
        '"hoshi", "1girl", "blue hair"',
        '"hoshi, 1girl, blue hair"',
        "“hoshi, 1girl, blue hair”",
        "「hoshi、1girl、blue hair。」",
        "「hoshi」、「1girl」、「blue hair」",
        "Tags: hoshi, 1girl, blue hair",
        "caption:hoshi, 1girl, blue hair",
        "- hoshi\n- 1girl\n- blue hair",
        "1. hoshi\n2. 1girl\n3. blue hair",
        "• hoshi\n• 1girl\n• blue hair\n",
        "#hoshi #1girl #blue_hair",
        "#hoshi, #1girl, #blue_hair",
        "hoshi | 1girl | blue hair",
        "hoshi|1girl|blue hair",
        "hoshi、1girl、blue hair。",
        "hoshi (0.99), 1girl (1.0), blue hair (.5)",
        "\u200bhoshi, 1\u00adgirl, blue\u2060 hair\u200b",
        "hoshi, 1girl, blue&nbsp;hair",
    ],
)
def test_the_form_of_a_whole_caption_goes(text):
    assert read(text) == ["hoshi", "1girl", "blue hair"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ('"quoted", hat', ['"quoted"', "hat"]),
        ("#compass, 1girl", ["#compass", "1girl"]),
        ("#1 girl", ["#1 girl"]),
        ("tag, caption, hat", ["tag", "caption", "hat"]),
        ("miku (append 2.0), year (2023)", ["miku (append 2.0)", "year (2023)"]),
        ("- hoshi", ["- hoshi"]),
        ("||_||", ["||_||"]),
        ("{red|blue} hair", ["red hair"]),
        ("[trigger]", ["{trigger}"]),
        ("&lt;3, fate&amp;x, r&d", ["<3", "fate&x", "r&d"]),
        ("(1girl, 0.5)", ["1girl", "0.5"]),
    ],
)
def test_what_only_looks_like_such_a_form_stays(text, pieces):
    assert read(text) == pieces


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{PARK}\n\nShe wears a hat.\n\nClouds pass by.", f"{PARK} She wears a hat. Clouds pass by."),
        (f"Sure! Here's the caption:\n\n{PARK}", PARK),
        (f'Here is a detailed description of the image: "{PARK}"', PARK),
        (f"### Description\n{PARK}\n\n### Tags\n1girl, hat", f"{PARK} 1girl, hat"),
        (f"Description: {PARK}\nTags: 1girl, hat", f"{PARK} 1girl, hat"),
        ("**Hair:** long, blue\n- **Clothes**: white *shirt*", "long, blue, white *shirt*"),
        ("* **Hair:** blue\n* **Clothes:** white shirt", "blue, white shirt"),
        ("A **girl** stands in a park.", "A girl stands in a park."),
        ("A girl stands in a park:\n- blue hair\n- hat", "A girl stands in a park, blue hair, hat"),
        (f'["{PARK}", "1girl"]', f"{PARK} 1girl"),
        (f'{{"caption": "{PARK}", "tags": ["1girl", "hat"]}}', f"{PARK} 1girl, hat"),
        ('```json\n{"hair": "blue", "negative_prompt": "bad", "wears": ["hat"]}\n```', "blue, hat"),
        ("hat, A girl is in the park, smiling., sky", "hat, A girl is in the park, smiling., sky"),
        ("1girl:0.99, hoshi_(game):0.91, :3:0.5", "1girl, hoshi (game), :3"),
        ("1girl (99.1%), blue hair (98%)", "1girl, blue hair"),
        ("1girl\t0.99\nblue_hair\t0.98", "1girl, blue hair"),
        ("(1girl:0.98234), (hoshi (game):0.91), ((o)_(o):0.4)", "1girl, hoshi (game), (o)_(o)"),
        ("hat rating:g", "hat"),
        ("miku 2.0, hat", "miku 2.0, hat"), ("*_*, hat", "*_*, hat"),
    ],
)  # fmt: skip
def test_the_forms_of_captioning_programs(text, line):
    assert parse(text).text == line
    assert parse(line).text == line


def test_what_of_a_form_goes_is_counted():
    text = "Sure! Here is a caption:\n# Tags\n**Hair:** **blue** hair\n- hat\n- shoes"
    assert parse(text).changes == {"Markdown": 1, "bullet": 2, "heading": 1, "label": 2}
    assert parse("1girl: 0.98, hat: 0.7").changes == {"weight": 2}


def test_a_full_stop_before_a_comma_ends_a_sentence_but_an_abbreviation():
    text = "hat, A girl is in the park, smiling., sky, sea"
    assert sentences(text) == ["A girl is in the park, smiling."]
    text = "A girl wears a hat, shoes, etc., and smiles."
    assert sentences(text) == [text]


def test_ratings_are_no_tags():
    caption = parse("explicit, 1girl, rating_safe, hat")
    assert (caption.text, caption.tags("general")) == (
        "explicit, 1girl, rating_safe, hat",
        "1girl hat",
    )


def test_a_keyword_in_brackets_is_no_tag():
    assert read("hoshi, (BREAK), [AND], (BREAK, hat)") == ["hoshi", "hat"]
    assert read("女の子が立っている。BREAK hoshi") == ["女の子が立っている。", "hoshi"]


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "[",
        "((",
        "{a",
        "[a:b:0.5",
        "a, ",
        "a|",
        "A B. ",
        "#a ",
        "- a\n",
        "'a', ",
        "\n",
        "(a:1.2)",
    ],
)
def test_no_caption_takes_long(unit: str) -> None:
    """Ten times as long takes some ten times as long."""
    text = (unit * 8000)[:8000]
    times = []
    for length in (800, 8000):
        begun = time.process_time()
        parse(text[:length])
        times.append(time.process_time() - begun)
    assert times[1] < 40 * times[0] + 0.2


def test_a_book_is_no_caption() -> None:
    with pytest.raises(TooLong, match="a caption of 20,001 letters"):
        parse("x" * (MOST_LETTERS + 1))
    assert parse("x" * MOST_LETTERS).pieces
