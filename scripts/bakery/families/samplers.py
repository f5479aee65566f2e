"""Samplers by the names that A1111 shows, as diffusers' schedulers.

The model's own scheduler config stays in force: prediction type, betas, zero-terminal SNR and the
spacing of timesteps; a sampler adds what makes it that sampler.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.schedulers.scheduling_utils import SchedulerMixin

_KARRAS = {"use_karras_sigmas": True}
_SDE = {"algorithm_type": "sde-dpmsolver++"}

TABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "DDIM": ("DDIMScheduler", {}),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "LMS Karras": ("LMSDiscreteScheduler", _KARRAS),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", _KARRAS),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", _KARRAS),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", _KARRAS),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", _SDE),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", _SDE | _KARRAS),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
"""A1111's name -> diffusers' class, and what is set besides the model's own config."""

_OWN_STEPS = ("DDIMScheduler", "PNDMScheduler", "UniPCMultistepScheduler")
"""A1111's versions of these choose their timesteps themselves, whatever the schedule type."""
_SCHEDULE_TYPES = {"leading": "DDIM", "linspace": "Uniform", "trailing": "Simple"}
_MULTISTEP_TYPES = {"leading": "SGM Uniform", "linspace": "SGM Uniform", "trailing": "Simple"}
"""Spacing of timesteps -> A1111's schedule type with the nearest sigmas, which are the same ones except
for `leading` with DPM++. Diffusers' DPM++ divides 1000 by one step more than the others."""


def schedule_type(name: str, config: Mapping[str, Any]) -> str:
    """A1111's `Schedule type` for the sampler `name` of a model with the scheduler config `config`.

    Without it A1111 takes Karras' or exponential sigmas for half of the samplers. "" where the
    sampler's name says it (`DPM++ 2M Karras`) or there is no choice.
    """
    kind, options = TABLE[name]
    if kind in _OWN_STEPS or options.get("use_karras_sigmas"):
        return ""
    types = _MULTISTEP_TYPES if kind == "DPMSolverMultistepScheduler" else _SCHEDULE_TYPES
    return types[config.get("timestep_spacing", "linspace")]


def scheduler(name: str, config: Mapping[str, Any]) -> SchedulerMixin:
    """The scheduler of the sampler `name` for a model with the scheduler config `config`."""
    kind, options = TABLE[name]
    made = getattr(diffusers, kind)
    if "clip_sample" in inspect.signature(made.__init__).parameters:
        options = options | {"clip_sample": False}  # a latent is no picture, and leaves -1..1
    return made.from_config(dict(config), **options)
