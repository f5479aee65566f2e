"""A base that grows keeps what it knows."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL

from world import fit_base, fit_vae, grow


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


def _moments(vae: AutoencoderKL, x: torch.Tensor, level: int) -> torch.Tensor:
    """What the encoder makes of features that enter this level."""
    for block in vae.encoder.down_blocks[level:]:
        x = block(x)
    x = vae.encoder.conv_norm_out(vae.encoder.mid_block(x))
    return vae.quant_conv(vae.encoder.conv_out(vae.encoder.conv_act(x)))
