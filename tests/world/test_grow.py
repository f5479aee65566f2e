"""A base that grows keeps what it knows."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from world import avatar, fit_base, fit_vae, grow, redraw, vae_fitting
from world.render import reduce

BASE = Path(__file__).parents[2] / "resources/world/base"


def test_a_grown_unet_guesses_what_it_did_and_nothing_of_new_channels() -> None:
    old = fit_base.new_unet(8)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 12, 16, 16, generator=generator)
    text = torch.randn(2, 9, fit_base.WIDTH, generator=generator)
    times = torch.tensor([100, 900])
    with torch.no_grad():
        guess = grow.grown_unet(old, 12)(z, times, text).sample
        expected = old(z[:, :8], times, text).sample
    assert torch.allclose(guess[:, :8], expected, atol=1e-6)
    assert not guess[:, 8:].any()


def test_a_grown_vae_s_inner_levels_are_the_old_ones() -> None:
    """Given what is between the outer level and the old ones, moments and features are as they were."""
    old = fit_vae.new_vae(64)
    new = grow.grown_vae(old)
    inner = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    kept, channels = 8, 12
    with torch.no_grad():
        expected = _moments(old, inner, 0)
        got = _moments(new, inner, 1)
        z = torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(got[:, :kept], expected[:, :kept], atol=1e-5)
        assert torch.allclose(got[:, channels : channels + kept], expected[:, kept:], atol=1e-5)
        features = old.decoder.conv_in(old.post_quant_conv(z[:, :kept]))
        assert torch.allclose(new.decoder.conv_in(new.post_quant_conv(z)), features, atol=1e-5)


def test_the_first_latents_are_drawn_to_those_of_the_small_vae(tmp_path: Path) -> None:
    old = fit_vae.new_vae(64)
    old.save_pretrained(tmp_path)
    args = Namespace(steps=30, lr=2e-3, seed=1, decoder_only=False, anchor=tmp_path, redrawn=None)
    fit = fit_vae.Fit(grow.grown_vae(old), args)
    known = np.random.default_rng(1).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    x = vae_fitting.as_input(known)
    before = fit.distance(x, fit.posterior(x).mean).item()
    for _ in range(12):
        fit.train_step(known, 4)
    assert fit.distance(x, fit.posterior(x).mean).item() < 0.7 * before


def test_a_decoder_learns_from_redrawn_latents_what_their_pictures_show(tmp_path: Path) -> None:
    known = np.random.default_rng(1).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    torch.save(torch.randn(2, 12, 4, 4), tmp_path / "redrawn.pt")
    args = Namespace(
        steps=30, lr=2e-3, seed=1, decoder_only=True, anchor=None, redrawn=tmp_path / "redrawn.pt"
    )
    fit = fit_vae.Fit(fit_vae.new_vae(128), args)
    x = vae_fitting.as_input(known[:2])

    def error() -> float:
        with torch.no_grad():
            return (fit.pictures(fit.redrawn) - x).abs().mean().item()

    before = error()
    for _ in range(12):
        fit.train_step(known, 4)
    assert error() < 0.9 * before


def test_what_the_base_draws_again_stays_the_same_picture() -> None:
    vae = AutoencoderKL.from_pretrained(BASE / "vae")
    looks = [avatar.random_look(np.random.default_rng([9, n])) for n in range(2)]
    known = np.stack([reduce(avatar.render(look, 192), 128) for look in looks])
    latents = fit_base.encode_pictures(vae.float(), known)
    said = [", ".join(avatar.tags(look)) for look in looks]
    made = redraw.redraw(BASE, latents, said, seed=1).float()
    away = (made[:, None] - latents[None].float()).square().mean((2, 3, 4))
    assert 0 < away.diag().max() < 0.25 * min(away[0, 1], away[1, 0])


def _moments(vae: AutoencoderKL, x: torch.Tensor, level: int) -> torch.Tensor:
    """What the encoder makes of features that enter this level."""
    for block in vae.encoder.down_blocks[level:]:
        x = block(x)
    x = vae.encoder.conv_norm_out(vae.encoder.mid_block(x))
    return vae.quant_conv(vae.encoder.conv_out(vae.encoder.conv_act(x)))
