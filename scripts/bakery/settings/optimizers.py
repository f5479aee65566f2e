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


OPTIMIZERS: Mapping[str, Optimizer] = {
    "AdamW": Optimizer(
        "torch.optim", "the usual one", defaults={"fused": True}, instead=("foreach",)
    ),
    "AdamW8bit": Optimizer(
        "bitsandbytes.optim",
        "AdamW with its state in 8 bits; needs a GPU",
        without_gpu="take AdamW, which learns the same",
    ),
    "Adafactor": Optimizer(
        "transformers.optimization",
        "little memory; chooses its own rates unless `optimizer_args` has `relative_step: false`",
        relative_step=True,
        kohya="AdaFactor",
    ),
    "Lion": Optimizer("lion_pytorch", "half of AdamW's memory; wants a smaller rate"),
    "Prodigy": Optimizer(
        "prodigyopt", "finds its own rate: one `learning_rate` of 1 for all parts", finds_rate=True
    ),
    "AdamWScheduleFree": Optimizer(
        "schedulefree",
        "needs no schedule; `optimizer_args` takes `warmup_steps`",
        scheduled=False,
    ),
}
"""By the name in the config, in the order in which the config offers them."""
