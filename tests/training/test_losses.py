"""What a step learns from, against kohya's formulas written out."""

import pytest
import torch
from diffusers import DDPMScheduler

from bakery.io import seeds
from bakery.settings.train import Train
from bakery.training import losses

SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
X = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))


def model(**config):
    return DDPMScheduler(**SD1, **config)


def sd1_alphas():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return torch.cumprod(1 - betas, 0)


def made(model_config=None, **settings):
    return losses.diffusion(Train(**settings), model(**(model_config or {})))


def loss_of(diffusion, predicted, t, importance=(1.0, 1.0, 1.0)):
    noise = torch.full_like(X, 0.5)
    return diffusion.loss(predicted, X, noise, torch.tensor(t), torch.tensor(importance))


def test_plain_loss_is_the_mean_squared_error():
    predicted = torch.zeros_like(X)
    assert loss_of(made(), predicted, [0, 5, 999]) == pytest.approx(0.25)
    a = sd1_alphas()[[0, 5, 999]].view(3, 1, 1, 1)
    velocity = a.sqrt() * 0.5 - (1 - a).sqrt() * X
    v = made({"prediction_type": "v_prediction"})
    assert loss_of(v, predicted, [0, 5, 999]) == pytest.approx(velocity.square().mean().item())


@pytest.mark.parametrize("predicts_v", [False, True])
def test_min_snr(predicts_v):
    """min(SNR, gamma) / SNR, for v / (SNR + 1); a weight a picture, then the mean of the batch."""
    kind = "v_prediction" if predicts_v else "epsilon"
    diffusion = made({"prediction_type": kind}, min_snr_gamma=5.0)
    t = [3, 400, 990]
    a = sd1_alphas()[t]
    snr = a / (1 - a)
    weight = snr.clamp(max=5.0) / (snr + 1 if predicts_v else snr)
    a = a.view(3, 1, 1, 1)
    target = a.sqrt() * 0.5 - (1 - a).sqrt() * X if predicts_v else torch.full_like(X, 0.5)
    expected = (weight * target.square().mean((1, 2, 3))).mean()
    assert loss_of(diffusion, torch.zeros_like(X), t) == pytest.approx(expected.item(), rel=1e-5)


def test_min_snr_has_no_zero_to_divide_by():
    """The ratios are those before the schedule is rescaled, so the last one is not 0."""
    zero = {"rescale_betas_zero_snr": True}
    for kind in ("epsilon", "v_prediction"):
        weights = made({**zero, "prediction_type": kind}, min_snr_gamma=5.0).weights
        plain = made({"prediction_type": kind}, min_snr_gamma=5.0).weights
        assert torch.equal(weights, plain)
        assert torch.isfinite(weights).all()


def test_importance_of_regularization_pictures():
    predicted = torch.zeros_like(X)
    found = loss_of(made(), predicted, [1, 2, 3], importance=(1.0, 0.5, 0.0))
    assert found == pytest.approx(0.25 * 0.5)


def test_noise_offset_moves_whole_channels():
    shape = (3, 4, 64, 64)
    plain, t = made().draw(shape, seeds.generator(1, "noise", 0))
    moved, same_t = made(noise_offset=0.1).draw(shape, seeds.generator(1, "noise", 0))
    shift = moved - plain
    assert torch.equal(t, same_t)
    assert torch.allclose(shift, shift.mean((2, 3), keepdim=True).expand(shape), atol=1e-6)
    assert 0.05 < shift.mean((2, 3)).std() < 0.2
    assert abs(shift.mean()) < 0.1


def test_timesteps_are_uniform_from_0_to_999():
    _, t = made().draw((20_000, 1, 1, 1), seeds.generator(1, "t"))
    assert (t.min(), t.max()) == (0, 999)
    assert torch.histc(t.float(), 10).min() > 1800
