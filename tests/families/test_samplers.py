"""Samplers: what A1111 is told of their schedule has the nearest sigmas that it offers."""

from __future__ import annotations

import pytest
import torch
import webui_reader
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from bakery.families import published, samplers

STEPS = 20
CHOICE = [name for name in samplers.TABLE if samplers.schedule_type(name, published.SCHEDULER)]


def offered() -> dict[str, torch.Tensor]:
    """A1111's schedules, by their formulas: timesteps in 0 .. 999, sigmas log-linear between them."""
    a = DDPMScheduler.from_config(published.SCHEDULER).alphas_cumprod
    logs = ((1 - a) / a).sqrt().log()
    timesteps = {
        "Uniform": torch.linspace(999, 0, STEPS),
        "SGM Uniform": torch.linspace(999, 0, STEPS + 1)[:-1],
        "Simple": 999 - torch.arange(STEPS) * (1000 / STEPS),
        "DDIM": torch.arange(1, 1000, 1000 // STEPS).flip(0).float(),
    }
    return {
        name: torch.lerp(logs[t.floor().long()], logs[t.ceil().long()], t.frac())
        for name, t in timesteps.items()
    }


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", CHOICE)
def test_the_schedule_type_is_the_nearest(name: str, spacing: str) -> None:
    config = published.SCHEDULER | {"timestep_spacing": spacing}
    scheduler = samplers.scheduler(name, config)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas
    if name.startswith("DPM2"):  # these have a point of their own between two
        sigmas = sigmas[::2]
    ours = sigmas[sigmas > 0].unique().flip(0)  # Heun has each of them twice
    gaps = {type_: (offer - ours.log()).abs().mean() for type_, offer in offered().items()}
    told = samplers.schedule_type(name, config)
    assert gaps[told] < min(gaps.values()) + 0.003
    assert gaps[told] < (0.15 if (spacing, name[:5]) == ("leading", "DPM++") else 0.003)


@pytest.mark.parametrize("name", samplers.TABLE)
def test_a1111_takes_karras_only_where_it_is_meant(name: str) -> None:
    settings = {"Sampler": name}
    if told := samplers.schedule_type(name, published.SCHEDULER):
        settings["Schedule type"] = told
    schedule = webui_reader.sampler_and_schedule(settings)[1]
    assert (schedule == "Karras") == name.endswith("Karras")
    assert schedule != "Exponential"
