import warnings
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.optimization import get_scheduler

from bakery.io.errors import BakeryError
from bakery.settings.train import LrScheduler, Train
from bakery.training.schedules import learning_rate, step_counts, warmup_steps

NAMES = get_args(LrScheduler)
OF_TRANSFORMERS = [name for name in NAMES if name != "rex"]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (97, 7.959e-5),
        (195, 1.6e-4),
        (487, 8.02e-5),
        (779, 0.0),
        (780, 1.6e-4),
        (1364, 0.0),
        (1365, 1.6e-4),
        (1950, 0.0),
    ],
)
def test_golden_cosine_with_restarts(step, rate):
    assert warmup_steps(1950, 0.1) == 195
    found = learning_rate(
        "cosine_with_restarts", step, base=16e-5, total=1950, warmup=195, cycles=3
    )
    assert found == pytest.approx(rate, rel=1e-3, abs=2e-9)


def reference(name, base, total, warmup, cycles, power):
    """The rates that transformers' scheduler, the one kohya's scripts drive, really sets."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    specific = {
        "cosine_with_restarts": {"num_cycles": cycles},
        "polynomial": {"power": power},
    }.get(name)
    scheduler = get_scheduler(name, optimizer, warmup, total, specific)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer never steps here
        for _ in range(total):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (40, 0), (40, 4), (41, 40)])
def test_every_schedule_is_that_of_transformers(name, total, warmup):
    warmup = 0 if name == "constant" else warmup
    shape = {"cycles": 3, "power": 2.0}
    ours = [
        learning_rate(name, step, base=2e-3, total=total, warmup=warmup, **shape)
        for step in range(total)
    ]
    assert ours == pytest.approx(reference(name, 2e-3, total, warmup, 3, 2.0), rel=1e-9, abs=1e-15)


@settings(deadline=None)
@given(
    name=st.sampled_from(NAMES),
    total=st.integers(min_value=1, max_value=3000),
    ratio=st.floats(min_value=0, max_value=1),
    where=st.floats(min_value=0, max_value=1, exclude_max=True),
    base=st.floats(min_value=0, max_value=1),
    cycles=st.integers(min_value=1, max_value=10),
)
def test_a_rate_stays_between_zero_and_its_full_height(name, total, ratio, where, base, cycles):
    rate = learning_rate(
        name,
        int(where * total),
        base=base,
        total=total,
        warmup=warmup_steps(total, ratio),
        cycles=cycles,
    )
    assert 0 <= rate <= base * (1 + 1e-9)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.0), (10, 1.0), (60, 0.5 / 0.55), (100, 0.1 / 0.19), (109, 0.01 / 0.109)],
)
def test_rex_stays_high_and_falls_late(step, share):
    found = learning_rate("rex", step, base=2e-3, total=110, warmup=10)
    assert found == pytest.approx(2e-3 * share)


def test_a_number_of_warm_up_steps_wins():
    settings = Train(num_epochs=6, lr_warmup_ratio=0.1, lr_warmup_steps=40)
    assert step_counts(settings, 325).warmup == 40
    assert step_counts(Train(num_epochs=1, lr_warmup_steps=40), 5).warmup == 5


def test_unknown_name():
    with pytest.raises(ValueError, match="no such schedule: sine"):
        learning_rate("sine", 5, base=1.0, total=10)


def test_golden_plan():
    settings = Train(num_epochs=6, lr_warmup_ratio=0.1)
    found = step_counts(settings, 325)
    assert (found.total, found.epochs, found.warmup) == (1950, 6, 195)
    assert step_counts(settings, 326).total == 1956


@pytest.mark.parametrize(("max_steps", "epochs"), [(900, 3), (975, 3), (976, 4), (5000, 16)])
def test_max_steps_wins(max_steps, epochs):
    found = step_counts(Train(num_epochs=6, max_steps=max_steps), 325)
    assert (found.total, found.epochs) == (max_steps, epochs)


@pytest.mark.parametrize(
    ("batches", "accumulation", "steps"), [(325, 1, 325), (325, 4, 82), (8, 4, 2), (3, 3, 1)]
)
def test_accumulated_steps(batches, accumulation, steps):
    """ceil(batches / accumulation) an epoch, and the epoch's last batch always ends a step."""
    found = step_counts(Train(num_epochs=6, gradient_accumulation_steps=accumulation), batches)
    assert (found.steps_per_epoch, found.total) == (steps, 6 * steps)
    ends = [batch for batch in range(1, batches + 1) if found.steps_after(batch)]
    assert len(ends) == steps
    assert ends[-1] == batches


def test_more_accumulation_than_batches():
    with pytest.raises(BakeryError, match=r"gradient_accumulation_steps is 9, .* only 8 batches"):
        step_counts(Train(gradient_accumulation_steps=9), 8)


def test_saved_epochs():
    settings = Train(num_epochs=7, save_every_n_epochs=3)
    found = step_counts(settings, 10)
    assert [e for e in range(1, 8) if found.saves(settings, e)] == [3, 6, 7]
