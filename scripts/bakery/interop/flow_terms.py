"""Where a flow model's t is drawn: our words, and sd-scripts' for the same.

sd-scripts has two words for it. Unless `timestep_sampling` is `sigma`, that decides, and
`weighting_scheme` only weighs the loss. With `sigma`, `weighting_scheme` also says how a step of the
sampler's schedule is drawn. That schedule begins at the noise, so its logit_mean has the other sign.

Sources: sd-scripts' library/flux_train_utils.py and anima_train_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bakery.interop import plain_values
from bakery.settings.train import FLOW, Train

MARKS = ("qwen3", "llm_adapter_path", "t5_tokenizer_path")
"""Arguments that only a run on a flow model has."""
PARTS = {"qwen3": "text_encoder", "t5_tokenizer_path": "t5_tokenizer"}
"""An argument that names a part of the model -> that part in `train.base`."""
DRAWN = {"steps": 30, "cfg_scale": 4.5, "sampler": "Euler"}
"""How a flow model's pictures are usually drawn, in settings of `sample`."""
MODULE = "networks.lora_anima"
_ANY_MODULE = "_anima"
"""How the names of all modules with networks for Anima end, a LoKr's, too."""
DEFAULTS: dict[str, Any] = {
    "timestep_sampling": "sigmoid", "discrete_flow_shift": 1.0, "sigmoid_scale": 1.0,
    "weighting_scheme": "uniform", "logit_mean": 0.0, "logit_std": 1.0,
}  # fmt: skip
"""What sd-scripts does where a file says nothing."""
IDLE = (
    "clip_skip", "max_token_length", "v_parameterization", "zero_terminal_snr", "min_snr_gamma",
    "noise_offset",
)  # fmt: skip
"""Arguments that do nothing with a flow model, there as here."""
EVEN = 1.7
"""sigmoid_scale with which a sigmoid draw is nearest to an even one: a logistic number is about a
normal one times 1.7."""
_WEIGHTS = ("sigma_sqrt", "cosmap")


def flows(arguments: Mapping[str, Any]) -> bool:
    """Whether sd-scripts' arguments are those of a run on a flow model that is baked here."""
    module = plain_values.text_of(arguments.get("network_module"))
    return module.endswith(_ANY_MODULE) or any(arguments.get(m) for m in MARKS)


def to_kohya(settings: Train) -> dict[str, Any]:
    """sd-scripts' arguments; what is at its default is left out."""
    given = {name: getattr(settings, name) for name in FLOW if settings.differs(name)}
    if settings.timestep_sampling == "logit_normal":
        given |= {
            "timestep_sampling": "sigma",
            "weighting_scheme": "logit_normal",
            "logit_mean": -settings.logit_mean,
            "logit_std": settings.logit_std,
        }
    return given


def metadata(settings: Train) -> dict[str, Any]:
    """What sd-scripts writes into a LoRA file about it, without `ss_`."""
    return {"mode_scale": 1.29} | DEFAULTS | to_kohya(settings)


def lost(settings: Train) -> list[str]:
    """What sd-scripts cannot be told of it, or does otherwise."""
    if settings.timestep_sampling != "logit_normal":
        return []
    told = ["t is one of 1000 steps there, since its logit_normal is of its sampler's schedule"]
    if settings.weighting_scheme != "none":
        told.append(
            f"weighting_scheme {settings.weighting_scheme} is left out, as sd-scripts says "
            "logit_normal with the same word"
        )
    return told


def to_ours(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """(our settings, notes, names that do nothing) of sd-scripts' arguments."""
    given = DEFAULTS | {k: arguments[k] for k in DEFAULTS if arguments.get(k) is not None}
    sampling, scheme = (str(given[k]).lower() for k in ("timestep_sampling", "weighting_scheme"))
    shift = float(given["discrete_flow_shift"])
    notes: list[str] = []
    heeded = {
        "uniform": (), "sigmoid": ("sigmoid_scale",), "shift": ("sigmoid_scale", "discrete_flow_shift"),
        "flux_shift": ("sigmoid_scale",), "sigma": ("discrete_flow_shift",),
    }.get(sampling)  # fmt: skip
    if heeded is None:
        notes.append(f"timestep_sampling {sampling} is not here: sigmoid is taken")
        sampling, heeded = "sigmoid", ("sigmoid_scale",)
    ours: dict[str, Any] = {"timestep_sampling": sampling, **{k: given[k] for k in heeded}}
    if sampling == "flux_shift":
        found = _flux_shift(arguments)
        ours |= {"timestep_sampling": "shift", "discrete_flow_shift": found}
        notes.append(
            f"timestep_sampling flux_shift goes by the size of a picture: a shift of {found:g}, that "
            "of a square one, is taken for all"
        )
    elif sampling == "sigma":
        ours, told = _of_schedule(given, scheme, shift)
        notes += told
    if scheme in _WEIGHTS:
        ours["weighting_scheme"] = scheme
    named = {"logit_mean", "logit_std"} if "logit_mean" in ours else set()
    used = {*heeded, *named, "timestep_sampling"}
    if scheme in _WEIGHTS or sampling == "sigma":
        used.add("weighting_scheme")
    return ours, notes, [k for k in DEFAULTS if k not in used and given[k] != DEFAULTS[k]]


def _of_schedule(
    given: Mapping[str, Any], scheme: str, shift: float
) -> tuple[dict[str, Any], list[str]]:
    """timestep_sampling sigma: a step of the sampler's schedule."""
    if scheme == "logit_normal":
        return {
            "timestep_sampling": "logit_normal",
            "discrete_flow_shift": shift,
            "logit_mean": 0.0 - float(given["logit_mean"]),
            "logit_std": given["logit_std"],
        }, []
    notes = []
    if scheme == "mode":
        notes.append("weighting_scheme mode is not here: t is drawn evenly")
    if shift == 1:
        return {"timestep_sampling": "uniform"}, notes
    notes.append(
        f"t is drawn evenly there and then shifted by {shift:g}: timestep_sampling shift with "
        f"sigmoid_scale {EVEN} is the nearest"
    )
    return {
        "timestep_sampling": "shift",
        "discrete_flow_shift": shift,
        "sigmoid_scale": EVEN,
    }, notes


def _flux_shift(arguments: Mapping[str, Any]) -> float:
    """The shift of a square picture: exp(mu), mu from 0.5 at 256 places to 1.15 at 4096."""
    width, height = plain_values.sides(arguments.get("resolution")) or (1024, 1024)
    places = (width // 16) * (height // 16)
    return round(math.exp(0.5 + (1.15 - 0.5) * (places - 256) / (4096 - 256)), 4)
