"""The adapters of one layer: y_k = W x_k + s_k B_k A_k x_k.

K adapters sit side by side on a frozen layer. The rows of x are K equal shares, and share k goes
through adapter k: W is applied once to all rows, A and B as products with a leading dimension K.
A is `lora_down`, B is `lora_up`, s = multiplier * alpha / rank, as in kohya's scripts. With K = 1
this is the plain LoRA and takes the plain path.

Each adapter has its own `nn.Parameter`s; a forward stacks those it needs (copying some thousand
numbers is cheap compared with a product with the whole batch). So autograd gives each adapter its
own gradient, and the rest is ordinary: an optimizer of any library for each adapter, zero_grad,
clipping, and its own end if it becomes NaN. Those of a Linear are held transposed, as rows of x
take them, y = x W' + s (x A') B', so that their gradients arrive laid out as they are.

A layer keeps its own class and weights; only its `forward` is routed through the adapters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from zlib import crc32

import torch
from torch import nn
from torch.nn import functional as F

from bakery.io import devices


@dataclass
class Routing:
    """State shared by the layers of a network."""

    adapters: tuple[int, ...]
    """The adapter of each share of the rows."""
    multiplier: list[float]
    """Strength of each adapter; 0 is exactly the base."""
    dropout: list[float]
    seeds: list[int] | None = None
    """Seed of each adapter's dropout mask; new ones for each step."""


class LoRAModule(nn.Module):
    """The K adapters of one layer; `LinearLoRA` and `ConvLoRA` define A and B."""

    def __init__(
        self, target: nn.Linear | nn.Conv2d, dim: int, alphas: Sequence[float], routing: Routing,
        name: str = "",
    ) -> None:  # fmt: skip
        """B is zero, A is not drawn yet: see `reset`. `name` tells dropout masks apart."""
        super().__init__()
        self.routing = routing
        self.salt = crc32(name.encode())
        self.shape = target.weight.shape  # (out, in) or (out, in, height, width)
        self.ranks = [dim] * len(alphas)
        self.alphas = list(alphas)
        self.downs: list[nn.Parameter] = []  # A as `held`
        self.ups: list[nn.Parameter] = []  # B as `held`
        self._target = (target,)  # in a tuple: the frozen layer is not part of the adapters
        self._frozen = target.forward  # x -> W x + bias
        for k in range(len(alphas)):
            zeros = [torch.zeros(s, device=target.weight.device) for s in self.shapes(dim)]
            self.downs.append(nn.Parameter(self.held(zeros[0])))
            self.ups.append(nn.Parameter(self.held(zeros[1])))
            self._register(k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, ..., in) -> (rows, ..., out), or (rows, in, H, W) -> (rows, out, H', W')."""
        y = self._frozen(x)  # W x
        route = self.routing.adapters
        scales = tuple(self.scale(k) for k in route)
        if not any(scales):
            return y
        if x.shape[0] % len(route):
            raise ValueError(f"{x.shape[0]} rows are no {len(route)} equal shares")
        a = _stacked(self.downs, route).to(x.dtype)  # with K in front, unless K = 1
        b = _stacked(self.ups, route).to(x.dtype)
        ax = self._dropped(self._down(x, a))  # A x
        if len(set(scales)) == 1:
            return self._add_up(y, b, ax, scales[0])  # y + s B (A x)
        s = _numbers(scales, x.device).view(-1, *[1] * (ax.ndim - 1))  # (K, 1 ...)
        return self._add_up(y, b, (s * ax).to(ax.dtype), 1.0)  # y + B (s (A x))

    def scale(self, k: int) -> float:
        """The factor of adapter k's B A x."""
        return self.routing.multiplier[k] * self.alphas[k] / self.ranks[k]

    def shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of A and B as a file has them: (r, in, ...) and (out, r, ...)."""
        out_features, in_features, *kernel = self.shape
        return (rank, in_features, *kernel), (out_features, rank, *[1] * len(kernel))

    @torch.no_grad()
    def reset(self, k: int, generator: torch.Generator | None) -> None:
        """Adapter k anew: A drawn as kohya's scripts do, B zero."""
        drawn = torch.empty(self.shapes(self.ranks[k])[0])
        if not self.downs[k].is_meta:
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        self.downs[k].copy_(self.held(drawn))
        self.ups[k].zero_()

    @torch.no_grad()
    def load(self, k: int, down: torch.Tensor, up: torch.Tensor, alpha: float) -> None:
        """Give adapter k weights of any rank; shapes were checked by the network.

        Inside a stack all A have one shape: smaller ranks get rows of zeros, which
        add nothing, and keep the scale of their own rank. Parameters whose shape stays are written
        in place, so that an optimizer that holds them still works.
        """
        files = [(self.held(a), self.held(b)) for a, b in zip(self.downs, self.ups, strict=True)]
        before, files[k] = len(files[0][0]), (down, up)
        rank = max(len(a) for a, _ in files)
        for j, (a, b) in enumerate(files):
            if j != k and rank == before:
                continue
            extra = rank - len(a)
            wide = (torch.cat([a, a.new_zeros(extra, *a.shape[1:])]),
                    torch.cat([b, b.new_zeros(len(b), extra, *b.shape[2:])], dim=1))  # fmt: skip
            for kept, new in zip((self.downs, self.ups), map(self.held, wide), strict=True):
                if kept[j].shape == new.shape:
                    kept[j].copy_(new)
                else:
                    kept[j] = nn.Parameter(new.to(kept[j]), kept[j].requires_grad)
            self._register(j)
        self.ranks[k], self.alphas[k] = len(down), alpha

    def weights(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of adapter k as a file has them, at its own rank."""
        rank = self.ranks[k]
        return self.held(self.downs[k].detach())[:rank], self.held(self.ups[k].detach())[:, :rank]

    @torch.no_grad()
    def norm(self, k: int) -> torch.Tensor:
        """|s B A| of adapter k at multiplier 1, by Frobenius.

        From the Gram matrices, which are small: |B A|^2 = sum((B^T B) * (A A^T)).
        """
        a, b = (self.held(w).flatten(1) for w in (self.downs[k], self.ups[k]))
        square = ((b.T @ b) * (a @ a.T)).sum().clamp(min=0)
        return square.sqrt() * (self.alphas[k] / self.ranks[k])

    def apply_to_target(self) -> None:
        """Route the layer through the adapters."""
        self._target[0].__dict__["forward"] = self.forward

    @torch.no_grad()
    def merge_into_target(self, k: int) -> None:
        """Route the layer through (W + s B A) x, which is as fast as W x; for inference."""
        scale = self.scale(k)
        if not scale:
            return
        layer = self._target[0]
        down, up = (weight.flatten(1).to(layer.weight) for weight in self.weights(k))
        merged = torch.addmm(layer.weight.flatten(1), up, down, alpha=scale).view(self.shape)
        layer.__dict__["forward"] = self._through(merged)

    def remove_from_target(self) -> None:
        """Restore the layer's own forward."""
        self._target[0].__dict__.pop("forward", None)

    def held(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight of a file in the layer's format, and back."""
        return weight

    def _through(self, weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The layer's own forward with another weight."""
        raise NotImplementedError

    def _down(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _add_up(
        self, y: torch.Tensor, b: torch.Tensor, ax: torch.Tensor, scale: float
    ) -> torch.Tensor:
        raise NotImplementedError

    def _dropped(self, ax: torch.Tensor) -> torch.Tensor:
        """kohya's network_dropout. Each adapter's mask depends only on its seed and the layer, so
        that the adapter drops the same in any group, and again when a checkpointed block is
        computed a second time.
        """
        rates = [self.routing.dropout[k] for k in self.routing.adapters]
        if not (self.training and any(rates)):
            return ax
        if self.routing.seeds is None:
            raise ValueError("dropout needs seed_dropout before each step")
        where = devices.for_random(ax.device)
        keep = torch.ones(len(rates), ax.numel() // len(rates), device=where)
        for mask, k, rate in zip(keep, self.routing.adapters, rates, strict=True):
            if rate:
                seed = (self.routing.seeds[k] + self.salt) % 2**63
                draw = torch.Generator(where).manual_seed(seed)
                mask.bernoulli_(1 - rate, generator=draw).div_(1 - rate)
        return ax * keep.view(ax.shape).to(ax.device, ax.dtype)

    def _register(self, k: int) -> None:
        self.register_parameter(f"lora_down_{k}", self.downs[k])
        self.register_parameter(f"lora_up_{k}", self.ups[k])


class LinearLoRA(LoRAModule):
    """The adapters of a Linear; A is held as (in, r), B as (r, out)."""

    def held(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.t().contiguous()

    def _through(self, weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return partial(F.linear, weight=weight, bias=self._target[0].bias)

    def _down(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        if a.ndim == 2:
            return x @ a  # (..., r)
        return torch.bmm(x.reshape(len(a), -1, x.shape[-1]), a)  # (K, rows, r)

    def _add_up(
        self, y: torch.Tensor, b: torch.Tensor, ax: torch.Tensor, scale: float
    ) -> torch.Tensor:
        # in one pass over y
        if b.ndim == 2:
            return torch.addmm(y.flatten(0, -2), ax.flatten(0, -2), b, alpha=scale).view_as(y)
        rows = y.reshape(len(b), -1, y.shape[-1])  # (K, rows, out)
        return torch.baddbmm(rows, ax, b, alpha=scale).view_as(y)


class ConvLoRA(LoRAModule):
    """The adapters of a convolution: A is one like it into r channels, B is 1x1.

    A is held as (r, in, height, width), B as (out, r, 1, 1).
    """

    _target: tuple[nn.Conv2d]

    def _through(self, weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        layer = self._target[0]
        weight = weight.contiguous(memory_format=_layout(layer.weight))
        return lambda x: layer._conv_forward(x, weight, layer.bias)

    def _down(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        layer = self._target[0]
        if a.ndim == 4:
            return F.conv2d(x, a, None, layer.stride, layer.padding, layer.dilation)
        shares = x.unflatten(0, (len(a), -1))  # (K, n, in, H, W)
        if a.shape[3:] == (1, 1) and layer.stride == (1, 1):
            positions = torch.matmul(a.flatten(2)[:, None], shares.flatten(3))  # (K, n, r, H W)
            return positions.unflatten(3, x.shape[2:])
        return torch.stack([
            F.conv2d(share, w, None, layer.stride, layer.padding, layer.dilation)
            for share, w in zip(shares, a, strict=True)
        ])  # (K, n, r, H', W')  # fmt: skip

    def _add_up(
        self, y: torch.Tensor, b: torch.Tensor, ax: torch.Tensor, scale: float
    ) -> torch.Tensor:
        if b.ndim == 4:
            return torch.add(y, F.conv2d(ax, b), alpha=scale)
        n = ax.shape[1]
        b = b.flatten(2)[:, None].expand(-1, n, -1, -1).flatten(0, 1)  # (K n, out, r)
        ax = ax.flatten(0, 1).flatten(2)  # (K n, r, H W)
        rows = y.flatten(2)  # (K n, out, H W)
        if rows.is_contiguous():
            return torch.baddbmm(rows, b, ax, alpha=scale).view_as(y)
        sums = torch.baddbmm(rows.mT, ax.mT, b.mT, alpha=scale)  # stays channels_last
        return sums.mT.unflatten(2, y.shape[2:])


def adapters_on(
    target: nn.Linear | nn.Conv2d, rank: int, alphas: Sequence[float], routing: Routing,
    name: str = "",
) -> LoRAModule:  # fmt: skip
    """The adapters of `target`, one for each alpha."""
    kind = ConvLoRA if isinstance(target, nn.Conv2d) else LinearLoRA
    return kind(target, rank, [float(alpha) for alpha in alphas], routing, name)


def _stacked(held: Sequence[nn.Parameter], route: Sequence[int]) -> torch.Tensor:
    return held[route[0]] if len(route) == 1 else torch.stack([held[k] for k in route])


def _layout(weight: torch.Tensor) -> torch.memory_format:
    last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@lru_cache(maxsize=256)
def _numbers(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # also for later training
        return torch.tensor(values, device=device)
