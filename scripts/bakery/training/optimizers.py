"""The optimizers of the bake, each from its usual library."""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, cast

import torch

from bakery.io.errors import BakeryError
from bakery.settings import optimizers
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import Train

if TYPE_CHECKING:
    from transformers.optimization import Adafactor

log = logging.getLogger(__name__)

Group = dict[str, Any]
"""`params`, `name` (unet_lr, text_encoder_lr) and `full_lr`, the rate at the schedule's full height."""

OURS = {"self", "params", "lr"}
"""Arguments that the user cannot set here: the rates have their own settings."""


def make(settings: Train, groups: list[Group], device: str) -> torch.optim.Optimizer:
    """An optimizer ready to step. Raises `BakeryError` for unknown or unsuitable arguments."""
    kind = _class(settings.optimizer_type, device)
    arguments = dict(settings.optimizer_args)
    _check_arguments(kind, arguments)
    record = OPTIMIZERS[settings.optimizer_type]
    if not arguments.keys() & set(record.instead):
        arguments = {**record.defaults, **arguments}
    own_rate = chooses_its_rate(settings)
    if own_rate:  # in kohya's scripts, too, Adafactor's own step size is the default
        arguments["relative_step"] = True
    groups = [{**group, "lr": None if own_rate else group["full_lr"]} for group in groups]
    try:
        optimizer = kind(groups, **arguments)
    except (ValueError, TypeError, AssertionError) as error:
        raise BakeryError(
            f"train.optimizer_args does not suit {settings.optimizer_type} ({error}): change it"
        ) from None
    _tell(settings, optimizer)
    trains(optimizer, True)
    return optimizer


def trains(optimizer: torch.optim.Optimizer, on: bool) -> None:
    """Schedule-free optimizers hold one set of weights to train with and one to save."""
    switch = getattr(optimizer, "train" if on else "eval", None)
    if switch is not None:
        switch()


def chooses_its_rate(settings: Train) -> bool:
    """Whether the optimizer ignores both rates and schedule."""
    return optimizers.chooses_its_rate(settings.optimizer_type, settings.optimizer_args)


def scheduled(settings: Train) -> bool:
    """Whether lr_scheduler sets the rate of each step."""
    return OPTIMIZERS[settings.optimizer_type].scheduled and not chooses_its_rate(settings)


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float | None]:
    """The rate of each group's last step, by the group's name; None if it had none."""
    return {group["name"]: _rate(optimizer, group) for group in optimizer.param_groups}


def full_name(settings: Train, optimizer: torch.optim.Optimizer) -> str:
    """Module, class and arguments as in kohya's ss_optimizer."""
    kind = type(optimizer)
    arguments = ",".join(f"{key}={value}" for key, value in settings.optimizer_args.items())
    return f"{kind.__module__}.{kind.__name__}" + (f"({arguments})" if arguments else "")


def _rate(optimizer: torch.optim.Optimizer, group: Group) -> float | None:
    if "d" in group:  # Prodigy: the rate it found, times the schedule's factor
        return float(group["d"] * group["lr"])
    if group.get("relative_step"):  # no other optimizer has it
        state = optimizer.state.get(group["params"][0])
        return float(cast("Adafactor", optimizer)._get_lr(group, state)) if state else None
    return float(group["lr"])


def _class(name: str, device: str) -> type[torch.optim.Optimizer]:
    record = OPTIMIZERS[name]
    if record.without_gpu and not device.startswith("cuda"):
        raise BakeryError(
            f"train.optimizer_type is {name}, which needs a GPU: {record.without_gpu}"
        )
    try:
        return getattr(importlib.import_module(record.module), name)
    except ImportError:
        package = record.package or record.module.split(".")[0].replace("_", "-")
        raise BakeryError(
            f"train.optimizer_type {name} needs the package {package}: pip install {package}, "
            "or take another optimizer"
        ) from None


def _check_arguments(kind: type[torch.optim.Optimizer], arguments: dict[str, Any]) -> None:
    known = sorted(set(inspect.signature(kind.__init__).parameters) - OURS)
    for name in arguments:
        if name == "lr":
            raise BakeryError("train.optimizer_args names lr: set train.learning_rate instead")
        if name not in known:
            raise BakeryError(
                f"train.optimizer_args names {name}, which {kind.__name__} does not know: "
                f"it knows {', '.join(known)}"
            )


def _tell(settings: Train, optimizer: torch.optim.Optimizer) -> None:
    """Warn of settings that have no effect, or an unlikely one, with this optimizer."""
    kind = settings.optimizer_type
    if chooses_its_rate(settings):
        log.warning(
            "optimizer_type %s chooses its own rate: unet_lr, text_encoder_lr and lr_scheduler do "
            "nothing unless optimizer_args has relative_step: false", kind,
        )  # fmt: skip
    elif not scheduled(settings):
        log.warning(
            "lr_scheduler and lr_warmup_ratio do nothing: optimizer_type %s %s", kind,
            OPTIMIZERS[kind].about,
        )  # fmt: skip
    elif OPTIMIZERS[kind].finds_rate and optimizer.param_groups[0]["full_lr"] <= optimizers.SMALL:
        log.warning("optimizer_type %s finds its own rate: set learning_rate to about 1", kind)
