"""The optimizers: each learns, each says what it cannot do."""

import importlib
import inspect
import logging
from dataclasses import replace

import pytest
import torch

from bakery.io.errors import BakeryError
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import Train
from bakery.training import optimizers

KINDS = [name for name, record in OPTIMIZERS.items() if not record.without_gpu]


def make(kind, device="cpu", **changes):
    rate = {"learning_rate": 1.0 if OPTIMIZERS[kind].finds_rate else 0.05}
    settings = Train(**{**rate, "optimizer_type": kind, **changes})
    weight = torch.nn.Parameter(torch.full((4, 3), 0.1))
    group = {"params": [weight], "name": "unet_lr", "full_lr": settings.rates["unet_lr"]}
    return settings, weight, optimizers.make(settings, [group], device)


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_goes_downhill(kind):
    _, weight, optimizer = make(kind)
    start = (weight - 2).square().sum().item()
    # ProdigyPlusScheduleFree feels its way for the first hundred steps
    for _ in range(200 if kind == "ProdigyPlusScheduleFree" else 60):
        loss = (weight - 2).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizers.trains(optimizer, False)
    assert (weight - 2).square().sum().item() < 0.95 * start
    assert optimizers.rates(optimizer)["unet_lr"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_saved_state(kind, tmp_path):
    """Ten steps at once equal five, a file, and five."""

    def steps(weight, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (weight - 2).square().sum().backward()
            optimizer.step()
            optimizers.trains(optimizer, False)
            optimizers.trains(optimizer, True)

    _, whole, one = make(kind)
    steps(whole, one, 10)
    _, half, first = make(kind)
    steps(half, first, 5)
    torch.save({"weights": [half.detach()], "state": first.state_dict()}, tmp_path / "x")
    _, rest, second = make(kind)
    state = torch.load(tmp_path / "x", weights_only=True)
    with torch.no_grad():
        rest.copy_(state["weights"][0])
    second.load_state_dict(state["state"])
    steps(rest, second, 5)
    assert torch.equal(whole, rest)


def test_schedule_free_saves_other_weights_than_it_trains():
    _, weight, optimizer = make("AdamWScheduleFree")
    for _ in range(5):
        optimizer.zero_grad()
        (weight - 2).square().sum().backward()
        optimizer.step()
    trained = weight.detach().clone()
    optimizers.trains(optimizer, False)
    saved = weight.detach().clone()
    optimizers.trains(optimizer, True)
    assert not torch.allclose(saved, trained)
    assert torch.allclose(weight, trained, atol=1e-6)


def test_who_heeds_the_schedule():
    relative = {"optimizer_args": {"relative_step": False}}
    assert optimizers.scheduled(Train(optimizer_type="AdamW"))
    assert optimizers.scheduled(Train(optimizer_type="Adafactor", **relative))
    assert not optimizers.scheduled(Train(optimizer_type="Adafactor"))
    assert not optimizers.scheduled(Train(optimizer_type="AdamWScheduleFree"))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("Adafactor", {}, "lr_scheduler do nothing"),
        ("AdamWScheduleFree", {}, "lr_scheduler and lr_warmup_ratio do nothing"),
        ("Prodigy", {"learning_rate": 1e-4}, "set learning_rate to about 1"),
    ],
)
def test_what_has_no_effect_is_told(kind, changes, words, caplog):
    with caplog.at_level(logging.WARNING):
        make(kind, **changes)
    assert words in caplog.text


def test_arguments_reach_the_optimizer():
    settings, _, optimizer = make(
        "AdamW", optimizer_args={"weight_decay": 0.3, "betas": [0.8, 0.9]}
    )
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert list(optimizer.param_groups[0]["betas"]) == [0.8, 0.9]
    name = optimizers.full_name(settings, optimizer)
    assert name == "torch.optim.adamw.AdamW(weight_decay=0.3,betas=[0.8, 0.9])"


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("AdamW", {"weight_decai": 0.1}, "names weight_decai, which AdamW does not know"),
        ("Lion", {"eps": 1e-8}, "it knows betas, .*weight_decay"),
        ("AdamW", {"lr": 1e-3}, "set train.learning_rate instead"),
        ("AdamW", {"betas": [2, 2]}, "does not suit AdamW"),
        ("Prodigy", {"d0": -1}, "does not suit Prodigy"),
    ],
)
def test_bad_arguments(kind, arguments, words):
    with pytest.raises(BakeryError, match=words) as told:
        make(kind, optimizer_args=arguments)
    assert len(str(told.value).splitlines()) == 1


def test_8_bit_needs_a_gpu():
    with pytest.raises(BakeryError, match="AdamW8bit, which needs a GPU: take AdamW"):
        make("AdamW8bit")


def test_a_package_that_is_not_installed(monkeypatch):
    elsewhere = replace(OPTIMIZERS["Lion"], module="no_such_package.optim")
    monkeypatch.setattr(optimizers, "OPTIMIZERS", {**OPTIMIZERS, "Lion": elsewhere})
    with pytest.raises(BakeryError, match="needs the package no-such-package: pip install"):
        make("Lion")


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_that_are_known_are_those_of_the_class(kind):
    """Else an import leaves out what could stay, or keeps what ends the bake."""
    record = OPTIMIZERS[kind]
    parameters = inspect.signature(getattr(importlib.import_module(record.module), kind).__init__)
    takes = {p.name for p in parameters.parameters.values() if p.kind is not p.VAR_KEYWORD}
    assert set(record.takes.split()) == takes - {"self", "params", "lr"}


def test_arguments_of_another_package_are_taken_under_our_names():
    theirs = {"decouple": True, "use_bias_correction": True}
    with pytest.raises(BakeryError, match="names decouple, which DAdaptAdam does not know"):
        make("DAdaptAdam", optimizer_args=theirs)
    called = OPTIMIZERS["DAdaptAdam"].called
    make("DAdaptAdam", optimizer_args={called[name]: value for name, value in theirs.items()})
