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


def scheduler(name: str, config: Mapping[str, Any]) -> SchedulerMixin:
    """The scheduler of the sampler `name` for a model with the scheduler config `config`."""
    kind, options = TABLE[name]
    made = getattr(diffusers, kind)
    if "clip_sample" in inspect.signature(made.__init__).parameters:
        options = options | {"clip_sample": False}  # a latent is no picture, and leaves -1..1
    return made.from_config(dict(config), **options)
