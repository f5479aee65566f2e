"""The training of the embedded Anima: its words, its stills, and a step that can be resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from world import anima_words, avatar, fit_anima, fit_anima_vae

TAGS = ["1girl", "pink hair", "blue eyes", "red scarf", "smile"]


def test_known_words_are_whole_to_t5_and_a_trigger_is_spelled() -> None:
    t5 = anima_words.new_t5()
    assert t5.tokenize("pink hair, mirael") == ["▁pink", "▁hair", ",", "▁", *"mirael"]
    assert t5.unk_token_id not in t5("1girl, pink hair. (mirael_2)").input_ids


def test_any_text_comes_back_from_qwen_s_tokens() -> None:
    qwen = anima_words.new_qwen()
    for text in ("1girl, pink hair, mirael", "A girl with a smile.", "初音ミク"):
        assert qwen.decode(qwen(text).input_ids) == text
    assert len(qwen.tokenize("1girl, pink hair")) < 8


def test_sentences_say_tags_of_the_picture() -> None:
    for seed in range(50):
        said = anima_words.sentence(TAGS, np.random.default_rng(seed))
        assert said.startswith("A girl with ")
        assert said.endswith(".")
        listed = said.removeprefix("A girl with ").removesuffix(".").replace(" and ", ", ")
        assert set(listed.split(", ")) <= set(TAGS[1:])


def test_stills_are_what_the_whole_convolutions_make_of_one_frame() -> None:
    vae = fit_anima_vae.new_vae().eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = fit_anima_vae.latents(vae, x)
        y = fit_anima_vae.pictures(vae, z)
        with fit_anima_vae.as_stills(vae):
            assert torch.allclose(fit_anima_vae.latents(vae, x), z, atol=1e-5)
            assert torch.allclose(fit_anima_vae.pictures(vae, z), y, atol=1e-5)
    assert z.shape == (2, fit_anima_vae.LATENT_CHANNELS, 8, 8)


@pytest.mark.slow
def test_a_resumed_training_goes_on_alike(tmp_path: Path) -> None:
    tokenizers = fit_anima.Tokenizers(tmp_path)
    looks = [avatar.random_look(np.random.default_rng([5, n])) for n in range(8)]
    tags = [avatar.tags(look) for look in looks]
    known = torch.randn(8, 8, 16, 16, generator=torch.Generator().manual_seed(1)).half()

    def steps(fit: fit_anima.Fit, count: int) -> float:
        for _ in range(count):
            loss = fit.train_step(*fit.batch(known, tags, 4), 10)
        return loss.item()

    whole = fit_anima.Fit(tokenizers, 1e-3, 1)
    steps(whole, 1)
    whole.save(tmp_path / "state.pt")
    expected = steps(whole, 2)
    resumed = fit_anima.Fit(fit_anima.Tokenizers(tmp_path), 1e-3, 7)
    resumed.seed = whole.seed
    resumed.load(tmp_path / "state.pt")
    assert steps(resumed, 2) == expected
    empty = whole.average(known[:1].float(), torch.tensor([0.5]), tokenizers([""]))
    assert torch.isfinite(empty).all()
