"""Foot-guns are told, and only they."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bakery.dataset.concepts import RepeatFolder
from bakery.families import tokenizer_probe
from bakery.forecast import first_bake, footguns
from bakery.settings.prune import Prune
from bakery.settings.train import Train
from bakery.training.schedules import step_counts


def told(train: dict | None = None, prune: dict | None = None) -> list[str]:
    settings = Train(**(train or {}))
    return footguns.of_training(settings, Prune(**(prune or {})), step_counts(settings, 10))


def test_usual_settings_are_no_foot_gun() -> None:
    assert told() == []
    assert told({"shuffle_caption": False, "keep_tokens": 0}) == []
    assert told({"shuffle_caption": False, "caption_tag_dropout_rate": 0.1}) == []
    assert told({"unet_lr": 1e-3, "learning_rate": 5e-4}) == []
    again = {"unet_lr": 1e-4, "text_encoder_lr": 5e-5, "learning_rate": 1e-4}
    assert told(again) == [], "the same rate once more misleads nobody"
    assert told({"lr_scheduler": "cosine", "lr_scheduler_num_cycles": 1}) == []
    assert footguns.of_buckets(Train(), ((64, 64), (48, 80)), 0.1) == []
    folders = [RepeatFolder("", "mirael", 5, 10, 0.8), RepeatFolder("halo", "halo", 5, 3, 0.2, 0.2)]
    assert footguns.of_concepts(folders) == []


@pytest.mark.parametrize(
    ("train", "prune", "words"),
    [
        ({"shuffle_caption": False, "keep_tokens": 2}, {},
            "keep_tokens 2 does nothing: tags are neither shuffled"),
        ({"shuffle_caption": False, "keep_tokens": 0, "keep_tokens_separator": "|||"}, {},
            r"keep_tokens_separator \|\|\| does nothing: tags are neither"),
        ({}, {"class_tokens": "1girl, solo"}, "keep_tokens 1 is less than the 3 tags"),
        ({"keep_tokens": 0}, {}, "keep_tokens 0 is less than the 1 tag that"),
        ({"max_steps": 25, "num_epochs": 6}, {}, "max_steps 25 decides, not num_epochs: .* epoch 3"),
        ({"lr_scheduler": "cosine", "lr_scheduler_num_cycles": 4}, {}, "num_cycles 4 does nothing"),
        ({"unet_lr": 1e-3, "text_encoder_lr": 1e-4, "learning_rate": 5e-4}, {},
            "learning_rate 0.0005 does nothing: each part"),
        ({"unet_lr": 1e-3, "network_train_unet_only": True, "learning_rate": 5e-4}, {},
            "learning_rate 0.0005 does nothing: each part"),
        ({"text_encoder_lr": 1e-5, "network_train_unet_only": True}, {},
            "text_encoder_lr 1e-05 does nothing: network_train_unet_only"),
        ({"lr_scheduler_power": 2}, {}, "lr_scheduler_power 2 does nothing: .* only polynomial"),
    ],
)  # fmt: skip
def test_settings_without_effect_are_told(train: dict, prune: dict, words: str) -> None:
    (sentence,) = told(train, prune)
    assert re.search(words, sentence), sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"num_epochs": 12, "save_every_n_epochs": 12}, "Only the last of 12 epochs .* to 2.$"),
        (
            {"max_steps": 530, "save_every_n_epochs": 999_999},
            "Only the last of 53 epochs .* to 6.$",
        ),
        ({"max_steps": 1600, "save_every_n_epochs": 1}, "160 of 160 epochs are saved.* to 16.$"),
        ({"num_epochs": 1, "save_every_n_epochs": 999_999}, ""),
        ({"num_epochs": 100, "save_every_n_epochs": 2}, ""),
    ],
)
def test_epochs_of_which_none_or_too_many_are_kept(train: dict, words: str) -> None:
    settings = Train(**train)
    counts = step_counts(settings, 10)
    files = sum(counts.saves(settings, epoch) for epoch in range(1, counts.epochs + 1))
    told = footguns.of_files(settings, counts, files)
    assert len(told) == bool(words)
    assert all(re.search(words, sentence) for sentence in told), told
    assert footguns.of_files(settings, None, 0) == []


def test_a_number_of_steps_that_looks_mistyped() -> None:
    settings = Train(max_steps=40_000)
    (sentence,) = first_bake.of_length(settings, 40, step_counts(settings, 10))
    assert "an epoch shows 40 pictures, and 40,000 steps 160,000" in sentence
    assert sentence.endswith("lower layout.repeats or max_steps.")
    settings = Train(max_steps=4000)
    assert first_bake.of_length(settings, 40, step_counts(settings, 10)) == []
    assert first_bake.of_length(settings, 0, None) == []


def test_one_bucket_is_told_before_any_picture_is_known() -> None:
    square = Train(resolution=768, min_bucket_reso=768, max_bucket_reso=768)
    (sentence,) = footguns.of_buckets(square, ((768, 768),), None)
    assert "a page of 1000x1414 loses 29% of its pixels" in sentence
    assert "min_bucket_reso 768 and max_bucket_reso 768" in sentence
    (sentence,) = footguns.of_buckets(Train(enable_bucket=False), ((64, 64),), 0.12)
    assert "enable_bucket is off" in sentence
    assert "12% of the pixels" in sentence


def test_a_drowned_concept_is_told() -> None:
    folders = [RepeatFolder("", "mirael", 10, 100, 0.99), RepeatFolder("halo", "halo", 1, 10, 0.01)]
    (sentence,) = footguns.of_concepts(folders)
    assert "1_halo is 1.0% of the showings: 10_mirael outweighs it with 99%" in sentence
    far = [RepeatFolder("", "mirael", 1, 10, 0.5), RepeatFolder("halo", "halo", 1, 10, 0.5, 0.1)]
    assert "50% of the showings where 10% were requested" in footguns.of_concepts(far)[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tokenizer of CLIP's kind that knows `rose` well, `sks` as a rare word, and letters."""
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = ["ro", "se</w>", "rose</w>", "sk", "sks</w>"]
    vocabulary = [*letters, *words[:3], *(f"{c}</w>" for c in letters), *words[3:]]
    bpe = models.BPE(
        {word: number for number, word in enumerate(vocabulary)},
        [("r", "o"), ("s", "e</w>"), ("ro", "se</w>"), ("s", "k"), ("sk", "s</w>")],
        end_of_word_suffix="</w>",
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return tmp_path


def test_a_trigger_that_is_a_common_word_or_several_tokens_is_told(base: Path) -> None:
    def of(trigger: str) -> list[str]:
        return footguns.of_trigger(Prune(trigger=trigger), base)

    assert "'Rose' is a common word" in of("Rose")[0]
    assert of("sks") == [], "a rare word of one token is what one wants"
    assert "'miro' is 4 tokens to the base (m + i + r + o)" in of("miro")[0]
    assert "'xy' is 2 tokens to the base (x + y)" in of("xy")[0]
    assert footguns.of_trigger(Prune(trigger="mirael"), base / "nowhere") == []


@pytest.mark.parametrize("trigger", ["kitsune", "School_Uniform", "bunny ears"])
def test_a_trigger_that_is_a_booru_tag_is_told_whatever_the_base(trigger: str, base: Path) -> None:
    (sentence,) = footguns.of_trigger(Prune(trigger=trigger), base)
    assert f"{trigger!r} is a booru tag" in sentence
    assert footguns.of_trigger(Prune(trigger=trigger), base / "nowhere") == [sentence]


@pytest.mark.parametrize("word", ["mirael", "Halo_x", "it's 1girl", "a  b", "顔☆", "!?"])
def test_a_tokenizer_of_two_files_cuts_as_the_whole_one(tmp_path: Path, word: str) -> None:
    shipped = Path(__file__).parents[2] / "resources" / "world" / "base"
    (tmp_path / "tokenizer").mkdir()
    whole = Tokenizer.from_file(str(shipped / "tokenizer" / "tokenizer.json"))
    whole.model.save(str(tmp_path / "tokenizer"))  # vocab.json and merges.txt
    assert tokenizer_probe.cut(tmp_path, word).pieces == tokenizer_probe.cut(shipped, word).pieces


def test_a_damaged_tokenizer_is_none(base: Path) -> None:
    (base / "tokenizer" / "tokenizer.json").write_text("{}")
    assert tokenizer_probe.cut(base, "rose") is None


def test_captions_that_would_not_be_used(tmp_path: Path) -> None:
    scraped, folder = tmp_path / "scraped", tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.PNG", "b.jpg", "deep/c.webp", "d.png"):
        (folder / name).write_bytes(b"x")
    (folder / "a.TXT").write_text("hat")
    (folder / "b.txt").write_text("")
    (folder / "deep/c.caption").write_text("A girl.")
    found = footguns.of_captions(
        [folder, tmp_path / "gone"], scraped, Prune(trigger="suzu", source="tagger")
    )
    assert found == [
        "2 of 4 pictures have captions of their own; prune.source is tagger, so they are not used: set "
        "prune.source: captions to keep them."
    ]
    assert footguns.of_captions([folder], scraped, Prune(trigger="suzu", source="captions")) == []
    assert footguns.of_captions([], scraped, Prune(trigger="suzu", source="tagger")) == []
    scraped.mkdir()
    own = {"captions": 1, "of_pictures": 3}
    (scraped / "manifest.json").write_text(json.dumps({"summary": {"own_captions": own}}))
    (one,) = footguns.of_captions([folder], scraped, Prune(trigger="suzu", source="booru"))
    assert one.startswith(
        "1 of 3 pictures have captions of their own; prune.source is booru, so only"
    )
    (scraped / "manifest.json").write_text(json.dumps({"summary": {}}))
    assert footguns.of_captions([folder], scraped, Prune(trigger="suzu", source="tagger")) == []


def test_kept_captions_that_name_the_character(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(3):
        (tmp_path / f"mine/{number}.png").write_bytes(b"x")
        (tmp_path / f"mine/{number}.txt").write_text("1girl, pink hair, hat")
    prune = Prune(trigger="suzu", source="captions")
    (said,) = footguns.of_captions([tmp_path / "mine"], tmp_path / "scraped", prune)
    assert said.startswith(
        "The trigger will hardly learn what most captions name: write `always: [pink hair]`"
    )
    (tmp_path / "scraped").mkdir()
    (tmp_path / "scraped/manifest.json").write_text("{}")
    assert footguns.of_captions([tmp_path / "mine"], tmp_path / "scraped", prune) == []
    table = 'image,caption,file,changes\na.png,"1girl, halo",a.txt,\n'
    (tmp_path / "scraped/captions.csv").write_text(table)
    (said,) = footguns.of_captions([tmp_path / "mine"], tmp_path / "scraped", prune)
    assert "[halo]" in said
