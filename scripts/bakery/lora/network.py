"""A stack of LoRAs on a frozen model: K networks of kohya's, side by side.

Training uses it for the runs of a sweep, sampling for many LoRAs in one batch; `route` sets
which adapters the rows of the next forwards belong to. The layers are in `adapters.py`.

How adapters of a stack affect each other, exactly:
- A NaN in one adapter leaves outputs and gradients of the others as they are, bit for bit.
- `route([k])` runs adapter k alone, with exactly the operations of a network of one: equal bits.
- All K at once equal K networks of one up to the rounding of the matrix products, whose order of
  summing may depend on how many rows there are (the frozen layers have the same freedom). Where
  the sums are exact, bits are equal.

A stock pipeline built from the same parts draws with the LoRA, and `remove` leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import torch
from torch import nn

from bakery.families import registry
from bakery.families.family import Target
from bakery.io.errors import BakeryError
from bakery.lora.adapters import LoRAModule, Routing, adapters_on

_KEYS = ("lora_down.weight", "lora_up.weight", "alpha")


@dataclass(frozen=True)
class Adapter:
    """Settings that may differ between the new adapters of a stack."""

    alpha: float = 0.0
    """0 means the rank."""
    conv_alpha: float = 1.0
    """The same for 3x3 convolutions."""
    dropout: float = 0.0
    """kohya's network_dropout: this share of A x is zeroed in training, the rest scaled up."""
    generator: torch.Generator | None = None
    """Draws A; on the CPU. The draw equals that of a network of its own."""


class LoRANetwork(nn.Module):
    """All adapters of a model; `layers` has them by kohya's name, `lora_te_..._0_mlp_fc1`."""

    def __init__(
        self,
        targets: Iterable[Target],
        dim: int,
        alpha: float = 0.0,
        generator: torch.Generator | None = None,
        *,
        conv_dim: int | None = None,
        conv_alpha: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        """One new adapter on `targets` (`Model.targets`); alpha 0 means the rank.

        3x3 convolutions among them get the rank `conv_dim`. `generator` (on the CPU) draws A.
        Parameters are float32 on the device of their layer. A model carries one network at a time:
        `remove` the old one before making another. For several adapters see `stack` and `for_files`.
        """
        self._build(targets, dim, [Adapter(alpha, conv_alpha, dropout, generator)], conv_dim)

    @classmethod
    def stack(
        cls,
        targets: Iterable[Target],
        dim: int,
        adapters: Sequence[Adapter],
        *,
        conv_dim: int | None = None,
    ) -> LoRANetwork:
        """Several new adapters of one rank; each is drawn as if it were alone."""
        return cls.__new__(cls)._build(targets, dim, adapters, conv_dim)

    @classmethod
    def for_files(
        cls, targets: Iterable[Target], states: Sequence[Mapping[str, torch.Tensor]]
    ) -> LoRANetwork:
        """An adapter for each file, none loaded yet, on the layers that any of them mentions.

        `targets` are all of the model's, including those of conv_dim.
        """
        names = {key.partition(".")[0] for state in states for key in state}
        every = list(targets)
        found = [target for target in every if target.name in names]
        network = cls.__new__(cls)._build(found, 1, [Adapter()] * len(states), 1)
        network.known = {target.name for target in every}
        return network

    def _build(
        self,
        targets: Iterable[Target],
        dim: int,
        adapters: Sequence[Adapter],
        conv_dim: int | None,
    ) -> LoRANetwork:
        super().__init__()
        self.routing = Routing(
            adapters=tuple(range(len(adapters))),
            multiplier=[1.0] * len(adapters),
            dropout=[adapter.dropout for adapter in adapters],
        )
        # a ModuleDict does not say of what its modules are
        self.layers = cast("MutableMapping[str, LoRAModule]", nn.ModuleDict())
        self._part: dict[str, str] = {}
        for name, layer, part in targets:
            rank = _rank(layer, dim, conv_dim)
            alphas = [
                (adapter.conv_alpha if _is_3x3(layer) else adapter.alpha) or rank
                for adapter in adapters
            ]
            self.layers[name] = adapters_on(layer, rank, alphas, self.routing, name)
            self._part[name] = part
        for k, adapter in enumerate(adapters):
            for added in self.layers.values():
                added.reset(k, adapter.generator)
        self.known = set(self.layers)
        """Names of the base's layers, if given."""
        return self

    def __len__(self) -> int:
        """K."""
        return len(self.routing.multiplier)

    def route(self, adapters: Sequence[int] | None = None) -> LoRANetwork:
        """Set whose rows the next forwards get: equal consecutive shares, one for each entry.

        `[0, 2]` gives the first half of the rows to adapter 0, the second to 2; entries may repeat;
        None is every adapter once. A backward that computes blocks again (gradient checkpointing)
        needs the route of its forward.
        """
        wanted = tuple(range(len(self)) if adapters is None else adapters)
        runs = [len(list(run)) for _, run in groupby(wanted)]
        self.routing.adapters = wanted[:: math.gcd(*runs)]  # [0, 0, 1, 1] are the shares [0, 1]
        return self

    def seed_dropout(self, seeds: Sequence[int]) -> None:
        """Seeds of the next step's dropout masks, a number for each adapter."""
        self.routing.seeds = list(seeds)

    @property
    def multiplier(self) -> float:
        """Strength of the LoRAs; 0.0 is exactly the base. For one alone: `routing.multiplier`."""
        return self.routing.multiplier[0]

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        self.routing.multiplier[:] = [float(value)] * len(self)

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Inside, the model is exactly the base."""
        before = list(self.routing.multiplier)
        self.multiplier = 0.0
        try:
            yield
        finally:
            self.routing.multiplier[:] = before

    def apply(self) -> LoRANetwork:  # type: ignore[override]
        """Switch the adapters on in the model."""
        for layer in self.layers.values():
            layer.apply_to_target()
        return self

    def merge(self, adapter: int = 0) -> LoRANetwork:
        """Switch one adapter on as part of the weights, for forwards as fast as the base's.

        Equal to `route([adapter])` up to the rounding of the weights: meant for models in float32.
        `remove` restores the model bit for bit.
        """
        for layer in self.layers.values():
            layer.merge_into_target(adapter)
        return self

    def remove(self) -> None:
        """Restore the model as it was."""
        for layer in self.layers.values():
            layer.remove_from_target()

    def parameters_of(self, part: str, adapter: int = 0) -> list[nn.Parameter]:
        """The parameters of one part of an adapter (`family.UNET`, `family.TEXT_ENCODER`)."""
        return [
            parameter
            for name, layer in self.layers.items()
            if self._part[name] == part
            for parameter in (layer.downs[adapter], layer.ups[adapter])
        ]

    @torch.no_grad()
    def apply_max_norm(self, limit: float, adapter: int = 0) -> tuple[int, float, float]:
        """kohya's scale_weight_norms: shrink each layer whose |s B A| is above `limit` to it.

        Returns (layers that were shrunk, mean norm, largest norm), norms taken afterwards.
        """
        found = torch.stack([layer.norm(adapter) for layer in self.layers.values()])
        ratios = (limit / found).clamp(max=1)
        for layer, root in zip(self.layers.values(), ratios.sqrt(), strict=True):
            layer.downs[adapter].mul_(root)
            layer.ups[adapter].mul_(root)
        norms = found * ratios
        return int((ratios != 1).sum()), float(norms.mean()), float(norms.max())

    def state_dict_kohya(
        self, dtype: torch.dtype = torch.float32, adapter: int = 0
    ) -> dict[str, torch.Tensor]:
        """Contiguous CPU tensors by kohya's keys; alpha has the dtype of the weights."""
        state: dict[str, torch.Tensor] = {}
        for name, layer in self.layers.items():
            down, up = (w.to("cpu", dtype, copy=True) for w in layer.weights(adapter))
            alpha = torch.tensor(layer.alphas[adapter], dtype=dtype)
            values = (down.contiguous(), up.contiguous(), alpha)
            state |= {f"{name}.{key}": value for key, value in zip(_KEYS, values, strict=True)}
        return state

    @torch.no_grad()
    def load_kohya(self, state: Mapping[str, torch.Tensor], adapter: int = 0) -> None:
        """Load a LoRA of any rank from kohya's keys.

        Layers that are not in the file are not changed; a missing alpha
        is the rank. Raises `BakeryError` for keys that belong to no layer of this network, for
        half an adapter and for shapes that do not fit, before anything is changed.
        """
        for name, weights in self.fitted(state).items():
            if weights is None:
                self.layers[name].ups[adapter].zero_()
            else:
                self.layers[name].load(adapter, *weights)

    def fitted(
        self, state: Mapping[str, torch.Tensor]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor, float] | None]:
        """(down, up, alpha) of each layer, None where the file leaves it out; errors as above."""
        found = {name: _adapter_in(state, name, layer) for name, layer in self.layers.items()}
        _check_keys(state, self.layers, self.known)
        return found


def _is_3x3(layer: nn.Module) -> bool:
    """Whether a target is a convolution that takes conv_dim."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def _rank(layer: nn.Module, dim: int, conv_dim: int | None) -> int:
    if not _is_3x3(layer):
        return dim
    if conv_dim is None:
        raise ValueError("a 3x3 convolution among the targets needs conv_dim")
    return conv_dim


def _check_keys(
    state: Mapping[str, torch.Tensor], names: Iterable[str], base: Iterable[str]
) -> None:
    """`BakeryError` if a LoRA has keys for other layers than `names`; `base` names all of the base's."""
    known = {f"{name}.{key}" for name in names for key in _KEYS}
    strangers = sorted(set(state) - known)
    if not strangers:
        return
    theirs = registry.family_of_lora(state)
    ours = registry.family_of_lora(f"{name}.{_KEYS[0]}" for name in base)
    if theirs and ours and theirs is not ours:
        raise BakeryError(
            f"LoRA: it was trained on {theirs.article} {theirs.title} model, and the base is "
            f"{ours.article} {ours.title} model: use a base of its family"
        )
    if theirs and all(key.startswith("lora_te") for key in strangers):
        raise BakeryError(
            f"LoRA: it has adapters on the text encoder ({strangers[0]}, {len(strangers)} such), and "
            f"that of this {theirs.title} model takes none: use one without them"
        )
    raise BakeryError(
        f"LoRA: the key {strangers[0]} ({len(strangers)} such) fits no layer of this model: use "
        "the base it was trained on"
    )


def _adapter_in(
    state: Mapping[str, torch.Tensor], name: str, layer: LoRAModule
) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """(down, up, alpha) of one layer, or None if the file leaves it out."""
    down, up, alpha = (state.get(f"{name}.{key}") for key in _KEYS)
    if down is None and up is None:
        return None
    if down is None or up is None:
        lacking = "lora_up" if up is None else "lora_down"
        raise BakeryError(f"LoRA: {name} has no {lacking}.weight: the file is incomplete")
    for key, tensor in zip(_KEYS, (down, up, alpha), strict=True):
        if tensor is not None and not (tensor.is_floating_point() and _finite(tensor)):
            raise BakeryError(f"LoRA: {name}.{key} holds {_kind(tensor)}: the file is damaged")
    if alpha is not None and alpha.numel() != 1:
        raise BakeryError(
            f"LoRA: {name}.alpha has the shape {tuple(alpha.shape)} instead of one number: "
            "the file is damaged"
        )
    rank = down.shape[0] if down.ndim else 0
    wanted = layer.shapes(rank)
    if (tuple(down.shape), tuple(up.shape)) != wanted:
        raise BakeryError(
            f"LoRA: {name} has shapes {tuple(down.shape)} and {tuple(up.shape)}, this model needs "
            f"{wanted[0]} and {wanted[1]}: use the base it was trained on"
        )
    return down, up, float(rank if alpha is None else alpha)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())


def _kind(tensor: torch.Tensor) -> str:
    """What is wrong with numbers that are none."""
    if tensor.is_floating_point():
        return "NaN or infinite numbers"
    return f"{str(tensor.dtype).removeprefix('torch.')} instead of floating-point numbers"
