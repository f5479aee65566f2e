"""Products of half-precision tensors on a CPU that has no fast ones: each is done in float32.

What is kept stays in half precision, since this is below autograd: only while one product runs are its
own operands there a second time, in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_ATEN = torch.ops.aten
PRODUCTS = {
    _ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default,
    _ATEN.convolution.default, _ATEN.convolution_backward.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default,
}  # fmt: skip
HALF = (torch.bfloat16, torch.float16)


class WideSums(TorchDispatchMode):
    """Inside, products of bfloat16 or float16 are computed in float32 and rounded."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS:
            return func(*args, **kwargs)
        narrow = next((x.dtype for x in args if _is_half(x)), None)
        if narrow is None:
            return func(*args, **kwargs)
        out = func(*tree_map(_wide, args), **tree_map(_wide, kwargs))
        return tree_map(lambda x: x.to(narrow) if _is(x, torch.float32) else x, out)


def _is(x: Any, dtype: torch.dtype) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == dtype


def _is_half(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype in HALF


def _wide(x: Any) -> Any:
    return x.float() if _is_half(x) else x
