"""What an optimizer makes of rates is told before a bake, and what suits it is not."""

from __future__ import annotations

import re

import pytest

from bakery.forecast import footguns, rate_habits
from bakery.settings import optimizers
from bakery.settings.prune import Prune
from bakery.settings.train import Train
from bakery.training.schedules import StepCounts

HEEDING = {"scale_parameter": False, "relative_step": False, "warmup_init": False}


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"optimizer_type": "Prodigy", "learning_rate": 1}, ""),
        ({"optimizer_type": "Prodigy", "learning_rate": 0.5}, ""),
        ({"optimizer_type": "Prodigy", "unet_lr": 1e-4, "text_encoder_lr": 0},
            "unet_lr 0.0001 is only a factor to Prodigy, .*set learning_rate to 1"),
        ({"optimizer_type": "DAdaptAdam", "learning_rate": 1e-4},
            "learning_rate 0.0001 is only a factor to DAdaptAdam"),
        ({"learning_rate": 1}, "learning_rate 1 is a rate for optimizers that find their own"),
        ({"optimizer_type": "Lion", "unet_lr": 1, "text_encoder_lr": 1e-5},
            "unet_lr 1 is a rate for .* Lion burns"),
        ({"learning_rate": 1e-2}, ""),
        ({"learning_rate": 2e-6}, "learning_rate 2e-06 is of the size for a whole model"),
        ({"unet_lr": 4e-7, "text_encoder_lr": 0}, "unet_lr 4e-07 is of the size"),
        ({"unet_lr": 5e-5, "text_encoder_lr": 5e-6}, ""),
        ({"optimizer_type": "Lion", "learning_rate": 7e-6}, ""),
        ({"optimizer_type": "Adafactor", "learning_rate": 3e-4, "lr_scheduler": "cosine"},
            "learning_rate 0.0003 and lr_scheduler cosine do nothing: Adafactor chooses its own"),
        ({"optimizer_type": "Adafactor", "learning_rate": 1, "lr_scheduler": "constant",
            "lr_warmup_ratio": 0}, "learning_rate 1 does nothing: Adafactor chooses"),
        ({"optimizer_type": "Adafactor", "learning_rate": 3e-4, "optimizer_args": HEEDING}, ""),
        ({"optimizer_type": "Adafactor", "optimizer_args": HEEDING | {"warmup_init": True}},
            "Adafactor chooses its own rates"),
        ({"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"},
            "lr_scheduler cosine does nothing: AdamWScheduleFree needs no schedule"),
        ({"optimizer_type": "AdamWScheduleFree"}, ""),
    ],
)  # fmt: skip
def test_rates_of_another_optimizer_s_size(train: dict, words: str) -> None:
    told = rate_habits.of_optimizer(Train(**train))
    assert len(told) == bool(words), told
    assert all(sentence.endswith(".") for sentence in told)
    if words:
        (sentence,) = told
        assert re.search(words, sentence), sentence


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"network_dim": 128, "network_alpha": 1}, "network_alpha 1 is small beside network_dim 128"),
        ({"network_dim": 32, "network_alpha": 1}, ""),
        ({"network_dim": 128, "network_alpha": 0}, ""),
        ({"network_dim": 128, "network_alpha": 1, "optimizer_type": "Prodigy", "learning_rate": 1}, ""),
        ({"conv_dim": 64}, "conv_alpha 1 is small beside conv_dim 64: .* scaled by 0.016"),
        ({"conv_dim": 64, "conv_alpha": 32}, ""),
    ],
)  # fmt: skip
def test_a_lora_that_is_scaled_down(train: dict, words: str) -> None:
    told = rate_habits.of_scale(Train(**train))
    assert len(told) == bool(words), told
    if words:
        assert re.search(words, told[0]), told


def test_a_warm_up_that_takes_most_of_the_bake() -> None:
    def told(warmup: int, total: int, **train: object) -> list[str]:
        return rate_habits.of_warmup(Train(**train), StepCounts(10, 2, total, warmup))

    (sentence,) = told(100, 150, lr_warmup_steps=100)
    assert "lr_warmup_steps 100: the rates are still rising for 100 of 150 steps" in sentence
    assert "lr_warmup_ratio 0.67: " in told(100, 150, lr_warmup_ratio=2 / 3)[0]
    assert told(15, 150) == []
    assert told(100, 150, lr_warmup_steps=100, optimizer_type="AdamWScheduleFree") == []
    assert rate_habits.of_warmup(Train(lr_warmup_ratio=1), None) == []


def test_an_argument_of_another_optimizer_is_told() -> None:
    train = Train(optimizer_args={"decouple": True, "weight_decay": 0.1})
    (sentence,) = footguns.of_training(train, Prune(), None)
    assert "optimizer_args names decouple, which AdamW does not know" in sentence
    assert optimizers.unknown("Prodigy", train.optimizer_args) == []
