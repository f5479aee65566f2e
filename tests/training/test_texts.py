"""Conditioning of captions, encoded once where it cannot change."""

from dataclasses import replace

import pytest
import torch
from tiny_base import tiny_sd1, tiny_sdxl

from bakery.families import registry
from bakery.families.family import TEXTS
from bakery.settings.train import Train
from bakery.training.cache import Store
from bakery.training.texts import EncodedTexts, Texts

STILL = {"shuffle_caption": False, "text_encoder_lr": 0.0}
SHORT, LONG = "mirael, smile", "mirael, " + "pink, " * 20  # a token a letter: two passes


@pytest.fixture(scope="module", params=[tiny_sd1, tiny_sdxl], ids=["sd1", "sdxl"])
def base(request, tmp_path_factory):
    return registry.load(str(request.param(tmp_path_factory.mktemp("base"))))


def texts(base, folder=None, **changes):
    settings = Train(**{**STILL, **changes})
    told = {"clip_skip": settings.clip_skip, "max_chunks": settings.max_token_length // 75}
    base.need(TEXTS)
    return Texts(settings, EncodedTexts(replace(base, **told), Store(folder), threads=1))


@torch.no_grad()
@pytest.mark.parametrize("captions", [[SHORT], [SHORT, "x"], [SHORT, LONG], [LONG, "", SHORT]])
def test_rows_encoded_alone_are_those_of_the_batch(base, captions, tmp_path):
    expected = base.encode(captions)
    first, second = (texts(base, tmp_path / "cache")(captions) for _ in range(2))
    third = texts(base)(captions)
    for part in expected:
        found = [text[part] for text in (expected, first, second, third)]
        assert torch.allclose(found[0], found[1], atol=1e-5)
        assert torch.equal(found[1], found[2])
        assert torch.equal(found[1], found[3])


def test_each_caption_is_encoded_once(base, tmp_path):
    known = texts(base, tmp_path)
    for batch in ([SHORT, "x"], ["x", SHORT], ["x"]):
        known(batch)
    store = known.encoded.store
    assert (store.hits, store.misses) == (0, 2)
    assert len(list(tmp_path.rglob("*.cache"))) == 2
    known([SHORT, LONG])  # now the short one is as long as its group
    assert store.misses == 4


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"caption_dropout_rate": 0.5}, True),
        ({"shuffle_caption": True}, False),
        ({"caption_tag_dropout_rate": 0.1}, False),
        ({"shuffle_caption": True, "text_variants": 4}, True),
        ({"caption_tag_dropout_rate": 0.1, "text_variants": 4}, True),
        ({"shuffle_caption": True, "text_variants": 4, "text_encoder_lr": 1e-4}, False),
        ({"text_encoder_lr": 1e-4}, False),
        ({"text_encoder_lr": 1e-4, "network_train_unet_only": True}, True),
    ],
)
def test_when_captions_are_kept(base, changes, kept):
    assert texts(base, **changes).kept == kept


def test_only_an_encoder_that_learns_keeps_its_graph(base):
    base.text_encoders[0].requires_grad_(True)
    try:
        assert texts(base, text_encoder_lr=1e-4)([SHORT])["hidden"].requires_grad
        assert not texts(base, shuffle_caption=True)([SHORT])["hidden"].requires_grad
        assert not texts(base)([SHORT])["hidden"].requires_grad
    finally:
        base.text_encoders[0].requires_grad_(False)


def test_other_settings_are_other_entries(base, tmp_path):
    for changes in ({}, {"clip_skip": 2}):
        texts(base, tmp_path, **changes)([SHORT])
    assert len(list(tmp_path.rglob("*.cache"))) == 2


def test_a_long_caption_is_cut_where_the_settings_say(base):
    assert texts(base, max_token_length=75)([LONG])["hidden"].shape[1] == 77
    assert texts(base, max_token_length=225)([LONG])["hidden"].shape[1] == 2 + 2 * 75
