"""The trainings of the embedded bases: Anima's words and stills, VAEs, and steps that are resumed."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from world import anima_words, avatar, fit_anima, fit_anima_vae, fit_vae

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


def test_a_resumed_training_of_its_vae_goes_on_alike(tmp_path: Path) -> None:
    known = np.random.default_rng(1).integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)
    whole, resumed = (fit_anima_vae.Fit(Namespace(steps=4, lr=1e-3, seed=1)) for _ in range(2))
    with fit_anima_vae.as_stills(whole.vae), fit_anima_vae.as_stills(resumed.vae):
        whole.train_step(known, 2)
        whole.save(tmp_path / "state.pt")
        expected = [whole.train_step(known, 2) for _ in range(2)]
        resumed.load(tmp_path / "state.pt")
        assert [resumed.train_step(known, 2) for _ in range(2)] == expected
        assert resumed.step == 3


def test_a_vae_that_a_base_was_trained_with_keeps_its_encoder() -> None:
    """And a finished one gives latents of mean 0 and deviation 1, without another picture."""
    known = np.random.default_rng(1).integers(0, 255, (70, 16, 16, 3), dtype=np.uint8)
    args = Namespace(steps=4, lr=1e-3, seed=1, decoder_only=False, anchor=None, redrawn=None)
    fit = fit_vae.Fit(fit_vae.new_vae(64), args)
    first = fit.train_step(known, 2)
    assert fit.train_step(known, 2) != first
    quality = fit.psnr(known)
    fit.normalise_latents(known)
    mean, std = fit.statistics(known)
    assert torch.allclose(mean, torch.zeros(8), atol=1e-4)
    assert torch.allclose(std, torch.ones(8), atol=1e-4)
    assert fit.psnr(known) == pytest.approx(quality, abs=1e-3)
    before = {key: weight.clone() for key, weight in fit.vae.state_dict().items()}
    args.decoder_only = True
    fit_vae.Fit(fit.vae, args).train_step(known, 2)
    changed = {key for key, weight in fit.vae.state_dict().items() if not before[key].equal(weight)}
    assert {key.partition(".")[0] for key in changed} == {"decoder", "post_quant_conv"}


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
