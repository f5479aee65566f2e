"""The optimizers to choose from, each as one record; `training/optimizers.py` makes them.

Nothing here imports torch: the config is read by stages that have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Optimizer:
    """Facts about an optimizer before it is imported. Its class has the record's name."""

    module: str
    """Where its class is."""
    about: str
    """When to take it, for people."""
    without_gpu: str = ""
    """It needs a GPU; this is what to use without one."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that it gets unless the user gives them, or one of `instead`."""
    instead: tuple[str, ...] = ()
    scheduled: bool = True
    """Whether lr_scheduler sets the rate of each step."""
    relative_step: bool = False
    """Whether its argument relative_step, on by default, makes it ignore rates and schedule."""
    finds_rate: bool = False
    """Whether it finds its own rate, so that it needs one learning_rate of about 1 for all
    parts."""
    kohya: str = ""
    """Its name in sd-scripts, if different."""
    betas: int = 2
    """How many numbers its argument `betas` has, if it takes one."""
    package: str = ""
    """The name of its package for pip, if it is not the module's first name."""
    takes: str = ""
    """The arguments that its class takes, rates left out, with spaces between them."""
    called: Mapping[str, str] = field(default_factory=dict)
    """Arguments of the same optimizer in sd-scripts' package -> what they are called in ours."""


OPTIMIZERS: Mapping[str, Optimizer] = {
    "AdamW": Optimizer(
        "torch.optim",
        "the usual one",
        defaults={"fused": True},
        instead=("foreach",),
        takes="amsgrad betas capturable differentiable eps foreach fused maximize weight_decay",
    ),
    "AdamW8bit": Optimizer(
        "bitsandbytes.optim",
        "AdamW with its state in 8 bits; needs a GPU",
        without_gpu="take AdamW, which learns the same",
        takes="amsgrad args betas block_wise eps is_paged min_8bit_size optim_bits "
        "percentile_clipping weight_decay",
    ),
    "Adafactor": Optimizer(
        "transformers.optimization",
        "little memory; chooses its own rates unless `optimizer_args` has `relative_step: false`",
        relative_step=True,
        kohya="AdaFactor",
        betas=0,
        takes="beta1 clip_threshold decay_rate eps relative_step scale_parameter warmup_init "
        "weight_decay",
    ),
    "Lion": Optimizer(
        "lion_pytorch",
        "half of AdamW's memory; wants a smaller rate",
        takes="betas decoupled_weight_decay use_triton weight_decay",
    ),
    "Prodigy": Optimizer(
        "prodigyopt",
        "finds its own rate: one `learning_rate` of 1 for all parts",
        finds_rate=True,
        takes="beta3 betas d0 d_coef decouple eps fsdp_in_use growth_rate safeguard_warmup slice_p "
        "use_bias_correction weight_decay",
    ),
    "AdamWScheduleFree": Optimizer(
        "schedulefree",
        "needs no schedule; `optimizer_args` takes `warmup_steps`",
        scheduled=False,
        takes="betas eps foreach r warmup_steps weight_decay weight_lr_power",
    ),
    "CAME": Optimizer(
        "pytorch_optimizer.optimizer.came",
        "little memory, heeds rates and schedule; takes three `betas`",
        betas=3,
        kohya="pytorch_optimizer.CAME",
        package="pytorch-optimizer",
        takes="ams_bound betas clip_threshold eps1 eps2 fixed_decay foreach maximize weight_decay "
        "weight_decouple",
    ),
    "DAdaptAdam": Optimizer(
        "pytorch_optimizer.optimizer.dadapt",
        "finds its own rate, as Prodigy does, more slowly: one `learning_rate` of 1 for all parts",
        finds_rate=True,
        kohya="pytorch_optimizer.DAdaptAdam",
        package="pytorch-optimizer",
        takes="betas bias_correction d0 eps fixed_decay foreach growth_rate maximize weight_decay "
        "weight_decouple",
        called={"decouple": "weight_decouple", "use_bias_correction": "bias_correction"},
    ),
    "ProdigyPlusScheduleFree": Optimizer(
        "prodigyplus",
        "needs no schedule and finds its own rate: one `learning_rate` of 1 for all parts",
        scheduled=False,
        finds_rate=True,
        kohya="prodigyplus.ProdigyPlusScheduleFree",
        package="prodigy-plus-schedule-free",
        takes="beta3 betas d0 d_coef d_limiter eps factored factored_fp32 fused_back_pass prodigy_steps "
        "schedulefree_c split_groups split_groups_mean stochastic_rounding use_adopt "
        "use_bias_correction use_cautious use_focus use_grams use_orthograd use_schedulefree use_speed "
        "use_stableadamw weight_decay weight_decay_by_lr",
    ),
}
"""By the name in the config, in the order in which the config offers them."""
SMALL = 0.1
"""A rate up to this is small for an optimizer that finds its own, and from here on far too high for all
others."""


def chooses_its_rate(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the optimizer `name` with these arguments ignores both rates and schedule."""
    relative = arguments.get("relative_step", True) or arguments.get("warmup_init", False)
    return OPTIMIZERS[name].relative_step and bool(relative)


def unknown(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """The arguments that the class of the optimizer `name` does not take, as far as it is known here."""
    return [one for one in arguments if one not in OPTIMIZERS[name].takes.split()]


def problem(name: str, arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of the optimizer `name` as far as it shows without importing it.

    "" where nothing is.
    """
    if "betas" not in arguments:
        return ""
    given, wanted = arguments["betas"], OPTIMIZERS[name].betas
    numbers = isinstance(given, list | tuple) and all(
        isinstance(beta, int | float) and not isinstance(beta, bool) for beta in given
    )
    if numbers and len(given) == wanted:
        return ""
    return f"{name} takes {wanted or 'no'} betas" + (" between 0 and 1" if wanted else "")
