"""Pictures drawn along a flow, with diffusers' schedulers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from bakery.families.family import Drawing

SAMPLERS: Mapping[str, Any] = {
    "DPM++ 2M": DPMSolverMultistepScheduler,
    "UniPC": UniPCMultistepScheduler,
}
"""A1111's name -> diffusers' class, of those besides Euler."""
Flow = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(latents, t (1,)) -> the direction of the flow there."""


def follow(
    flow: Flow, starts: torch.Tensor, drawing: Drawing, config: Mapping[str, Any]
) -> torch.Tensor:
    """Noise (B, C, h, w) -> latents, in float32 from step to step.

    `config` is that of the model's scheduler, whose shift is in force for all samplers.
    """
    scheduler = _scheduler(drawing, config, starts.device)
    x = starts
    for sigma, t in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        direction = flow(x, sigma[None].to(x.device))
        x = scheduler.step(direction.float(), t, x, return_dict=False)[0]
    return x


def _scheduler(drawing: Drawing, config: Mapping[str, Any], device: torch.device) -> Any:
    if drawing.sampler == "Euler":
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
        # the last step begins at 1 / steps, and not at the scheduler's own least sigma
        times = np.linspace(1.0, 1 / drawing.steps, drawing.steps)
        scheduler.set_timesteps(sigmas=times, device=device)
        return scheduler
    scheduler = SAMPLERS[drawing.sampler](
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=config["shift"],
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(drawing.steps, device=device)
    return scheduler
