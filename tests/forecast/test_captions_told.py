"""What the dry bake tells of sentences, candidates and captions that are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_plans import laid_out, outlined
from transformers import CLIPTokenizer

from bakery.families import tokenizer_probe
from bakery.forecast import captions_told, family_habits, forecast
from bakery.forecast.known_pictures import PlannedBake
from bakery.io import tables
from bakery.settings.layout import Layout
from bakery.settings.prune import Prune
from bakery.settings.tag import Tag
from bakery.settings.train import Train
from bakery.stages import plan

BASE = Path(__file__).parents[2] / "resources/world/base"
SAID = "mirael stands in the rain, and smiles at us."
TEXTS = ("mirael, 1girl, smile", SAID, ", ".join(["mirael"] * 60), "☆ (hat:1.2)", "")


def test_lengths_are_the_text_encoders() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    theirs = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in TEXTS]
    assert tokenizer_probe.lengths(BASE, TEXTS) == theirs
    assert tokenizer_probe.lengths(BASE / "model_index.json", TEXTS) == theirs, "a file beside it"


def test_another_encoders_tokenizer_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    assert tokenizer_probe.lengths(tmp_path, TEXTS) is None
    assert captions_told.count([("a",)], tmp_path, 75).cut is None


def test_counts_in_words() -> None:
    pictures = [("mirael, hat", SAID, "mirael, hat"), ("mirael, hat",), (TEXTS[2],)]
    counts = captions_told.count(pictures, BASE, 75)
    assert (counts.spoken, counts.several, counts.captions, counts.cut) == (1, 1, 4, 1)
    assert counts.told(75) == (
        "1 of 3 pictures has a sentence; 1 has several captions, 4 in all; 1 of 4 is cut: the "
        f"longest has {counts.longest} tokens, and train.max_token_length is 75"
    )
    assert captions_told.count(pictures[:2], BASE, 75).told(75).endswith(" of 75 tokens)")
    assert captions_told.count([("mirael, hat",)], BASE, 75).told(75) == "", "nothing to tell"


@pytest.mark.parametrize(
    ("tag", "prune", "layout", "train", "words"),
    [
        (Tag(captioner="a/b"), {}, {}, {}, "no caption holds"),
        (Tag(), {}, {"candidates": ["tags", "sentence"]}, {}, "captions hold none"),
        (Tag(), {}, {"candidates": ["lines"]}, {}, "are not kept"),
        (Tag(), {"caption_order": ["trigger", "tags", "sentence"]}, {}, {"shuffle_caption": True},
         'set keep_tokens_separator to "|||"'),
        (Tag(captioner="a/b"), {"caption_order": ["trigger", "tags", "sentence"]},
         {"candidates": ["tags", "both"]}, {"shuffle_caption": False}, ""),
        (Tag(), {"source": "captions"}, {"candidates": ["lines", "sentence"]}, {}, ""),
        (Tag(), {"caption_order": ["trigger", "tags", "sentence"]}, {"keep_tokens_separator": "|||"},
         {"keep_tokens_separator": "|||"}, ""),
        (Tag(), {"source": "captions"}, {"keep_tokens_separator": "|||"},
         {"keep_tokens_separator": "|||"}, ""),
        (Tag(), {}, {"keep_tokens_separator": "|||"}, {"keep_tokens_separator": "|||"},
         "captions hold none"),
        (Tag(), {}, {"keep_tokens_separator": "|||"}, {}, "is trained as a word"),
    ],
)  # fmt: skip
def test_settings_that_do_nothing(tag: Tag, prune, layout, train, words: str) -> None:
    found = captions_told.footguns(tag, Prune(**prune), Layout(**layout), Train(**train))
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_the_plan_tells_it(tmp_path: Path) -> None:
    bake = outlined(tmp_path, train={"max_token_length": 75}) | {"base": str(BASE)}
    files = ("5_mirael/a.png", "5_mirael/b.png")
    laid_out(bake, [{"file": file, "repeats": 5, "size": (64, 64)} for file in files])
    layout = Path(bake["folders"]["layout"])
    (layout / "5_mirael/a.txt").write_text(f"mirael, hat\n{SAID}\n")
    tables.write(layout / "candidates.csv", [], ("image", "file", "caption"))
    text = plan.run([bake], out=tmp_path / "plan", trained=tmp_path / "train")
    told = "1 of 2 pictures has a sentence; 1 has several captions, 3 in all; none is cut"
    assert f"Captions: {told}" in text
    assert told in (tmp_path / "plan/index.html").read_text()


def test_a_sweep_of_rates_tokenises_its_captions_once(tmp_path: Path, monkeypatch) -> None:
    counted, families = [], []
    count, family_of = captions_told.count, family_habits.family_of
    monkeypatch.setattr(
        captions_told, "count", lambda *given: counted.append(given[1:3]) or count(*given)
    )
    monkeypatch.setattr(
        family_habits, "family_of", lambda base: families.append(base) or family_of(base)
    )
    wanted = [{"unet_lr": 1e-4}, {"unet_lr": 2e-4}, {"max_token_length": 75}]
    outlines = [outlined(tmp_path, str(n), train=train) for n, train in enumerate(wanted)]
    laid_out(outlines[0], [{"file": "5_mirael/a.png", "repeats": 5, "size": (64, 64)}])
    (tmp_path / "layout/data/5_mirael/a.txt").write_text("mirael, hat\n")
    seen: dict[str, Any] = {}
    for outline in outlines:
        bake = PlannedBake(**outline | {"base": str(BASE)}, seen=seen)
        forecast.make(bake, tmp_path / "train")
    assert counted == [(BASE, 225), (BASE, 75)]
    assert families == [str(BASE)]
