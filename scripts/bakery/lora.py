"""Low-rank adapters on a frozen model: y = W x + multiplier * (alpha / r) * B (A x).

Which layers get one, and what they are called, follows kohya's scripts: every Linear and 1x1
convolution inside the UNet's Transformer2DModels, and the attention and MLP of the CLIP text
encoder. A is `lora_down`, B is `lora_up`; B starts at zero, so a new adapter changes nothing.

A layer keeps its own class and weights; only its `forward` is routed through the adapter, so a
stock pipeline built from the same parts draws with the LoRA, and `remove` leaves no trace.
`LoRAModule.forward` is the one place that mixes x, W, A and B: adapters of several bakes, each
for its rows of the batch, need a leading dimension on A and B there and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from bakery.errors import BakeryError

UNET_PREFIX = "lora_unet"
TEXT_ENCODER_PREFIX = "lora_te"


class LoRAModule(nn.Module):
    """The adapter of one layer."""

    def __init__(
        self,
        target: nn.Linear | nn.Conv2d,
        dim: int,
        alpha: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        out_features, in_features, *kernel = target.weight.shape  # kernel: [] or [1, 1]
        down = torch.empty(dim, in_features, *kernel)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.lora_down = nn.Parameter(down)  # A: (r, in) or (r, in, 1, 1)
        self.lora_up = nn.Parameter(torch.zeros(out_features, dim, *kernel))  # B: (out, r, ...)
        self.alpha = alpha
        self.multiplier = 1.0
        self.stride = target.stride if kernel else None
        self._target = (target,)  # in a tuple: the frozen layer is no part of the adapter
        self._frozen = target.forward  # x -> W x + bias
        self.to(target.weight.device)

    @property
    def dim(self) -> int:
        """The rank r."""
        return self.lora_down.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out), or (B, in, H, W) -> (B, out, H, W)."""
        y = self._frozen(x)  # W x
        if self.multiplier == 0.0:
            return y
        scale = self.multiplier * self.alpha / self.dim
        a, b = self.lora_down.to(x.dtype), self.lora_up.to(x.dtype)
        if self.stride is not None:
            return y + scale * F.conv2d(F.conv2d(x, a, stride=self.stride), b)
        ax = F.linear(x, a)  # (..., r)
        # y + scale * B (A x) in one pass over y
        return torch.addmm(y.flatten(0, -2), ax.flatten(0, -2), b.t(), alpha=scale).view_as(y)

    def apply_to_target(self) -> None:
        """Route the layer through this adapter."""
        self._target[0].forward = self.forward

    def remove_from_target(self) -> None:
        """Give the layer its own forward back."""
        self._target[0].__dict__.pop("forward", None)

    def load(self, down: torch.Tensor, up: torch.Tensor, alpha: float) -> None:
        """Take over weights of any rank; the shapes were checked by the network."""
        device = self.lora_down.device
        dtype = self.lora_down.dtype
        self.lora_down = nn.Parameter(down.to(device, dtype, copy=True))
        self.lora_up = nn.Parameter(up.to(device, dtype, copy=True))
        self.alpha = alpha


class LoRANetwork(nn.Module):
    """All adapters of a model by their kohya name, for example `lora_te_..._0_mlp_fc1`."""

    def __init__(
        self,
        unet: nn.Module | None,
        text_encoder: nn.Module | None,
        dim: int,
        alpha: float,
        generator: torch.Generator | None = None,
    ) -> None:
        """New adapters for the parts given (None leaves a part out); alpha 0 means alpha = dim.

        `generator` (on the CPU) draws A; parameters are float32 on the device of their layer. A
        model carries one network at a time: `remove` the old one before making another.
        """
        super().__init__()
        self.default_alpha = float(alpha or dim)
        self.adapters = nn.ModuleDict()
        for name, target in targets(unet, text_encoder):
            self.adapters[name] = LoRAModule(target, dim, self.default_alpha, generator)

    @property
    def multiplier(self) -> float:
        """Strength of the LoRA; 0.0 is exactly the base."""
        return next(iter(self.adapters.values())).multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        for adapter in self.adapters.values():
            adapter.multiplier = float(value)

    def apply(self) -> LoRANetwork:  # type: ignore[override]
        """Switch the adapters on in the model."""
        for adapter in self.adapters.values():
            adapter.apply_to_target()
        return self

    def remove(self) -> None:
        """Give the model back as it was."""
        for adapter in self.adapters.values():
            adapter.remove_from_target()

    def parameters_of(self, prefix: str) -> list[nn.Parameter]:
        """The parameters of one part: `UNET_PREFIX` or `TEXT_ENCODER_PREFIX`."""
        return [
            parameter
            for name, adapter in self.adapters.items()
            if name.startswith(f"{prefix}_")
            for parameter in adapter.parameters()
        ]

    def state_dict_kohya(self, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """Contiguous CPU tensors by kohya's keys; alpha has the dtype of the weights."""
        state = {}
        for name, adapter in self.adapters.items():
            down, up = adapter.lora_down.detach(), adapter.lora_up.detach()
            state[f"{name}.lora_down.weight"] = down.to("cpu", dtype, copy=True).contiguous()
            state[f"{name}.lora_up.weight"] = up.to("cpu", dtype, copy=True).contiguous()
            state[f"{name}.alpha"] = torch.tensor(adapter.alpha, dtype=dtype)
        return state

    @torch.no_grad()
    def load_kohya(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a LoRA of any rank from kohya's keys.

        A layer that the file does not mention gets no change; an alpha that it does not mention
        is the rank. Raises `BakeryError` for keys that belong to no layer of this model, for
        half an adapter and for shapes that do not fit, before anything is changed.
        """
        found = {name: _adapter_in(state, name, module) for name, module in self.adapters.items()}
        known = {f"{name}.{part}" for name in self.adapters for part in _KEYS}
        strangers = sorted(set(state) - known)
        if strangers:
            raise BakeryError(
                f"LoRA: the key {strangers[0]} ({len(strangers)} such) fits no layer of this "
                "model: use the base it was trained on"
            )
        for name, weights in found.items():
            module = self.adapters[name]
            if weights is None:
                module.lora_up.zero_()
            else:
                module.load(*weights)


_KEYS = ("lora_down.weight", "lora_up.weight", "alpha")


def targets(
    unet: nn.Module | None, text_encoder: nn.Module | None
) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """(kohya's name, layer) of every layer that gets an adapter, in the model's order."""
    if unet is not None:
        yield from _inside(unet, UNET_PREFIX, ("Transformer2DModel",))
    if text_encoder is not None:
        # Files say text_model; transformers >= 5.6 has flattened that level away.
        flat = not hasattr(text_encoder, "text_model")
        prefix = f"{TEXT_ENCODER_PREFIX}_text_model" if flat else TEXT_ENCODER_PREFIX
        yield from _inside(text_encoder, prefix, ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP"))


def _inside(
    model: nn.Module, prefix: str, containers: tuple[str, ...]
) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for path, container in model.named_modules():
        if type(container).__name__ in containers:
            for inner, layer in container.named_modules():
                if isinstance(layer, nn.Linear) or _is_1x1(layer):
                    yield f"{prefix}.{path}.{inner}".replace(".", "_"), layer


def _is_1x1(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)


def _adapter_in(
    state: Mapping[str, torch.Tensor], name: str, module: LoRAModule
) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """(down, up, alpha) of one layer, or None if the file leaves it out."""
    down, up, alpha = (state.get(f"{name}.{part}") for part in _KEYS)
    if down is None and up is None:
        return None
    if down is None or up is None:
        lacking = "lora_up" if up is None else "lora_down"
        raise BakeryError(f"LoRA: {name} has no {lacking}.weight: the file is incomplete")
    rank, kernel = down.shape[0], module.lora_down.shape[2:]
    want_down = (rank, module.lora_down.shape[1], *kernel)
    want_up = (module.lora_up.shape[0], rank, *kernel)
    if tuple(down.shape) != want_down or tuple(up.shape) != want_up:
        raise BakeryError(
            f"LoRA: {name} has shapes {tuple(down.shape)} and {tuple(up.shape)}, this model needs "
            f"{want_down} and {want_up}: use the base it was trained on"
        )
    return down, up, float(rank if alpha is None else alpha)
