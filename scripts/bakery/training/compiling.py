"""torch.compile for the core of a model, and the plain model if that does not work.

A graph is compiled for each shape, that is for each bucket, and again when the group of bakes
changes. That takes minutes and pays off only in long bakes on a GPU; results equal the plain ones
up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bakery.io.errors import first_line

log = logging.getLogger(__name__)

GRAPHS = 64
"""Graphs that may be compiled: a full set of buckets, and a few group sizes."""


@contextmanager
def compiled(
    core: nn.Module, backend: str | Callable[..., object], try_out: Callable[[], None]
) -> Iterator[bool]:
    """Inside, `core` is compiled by `backend` (kohya's dynamo_backend); gives whether that worked.

    `try_out` does one forward and backward pass, during which compilation happens. If it fails, the
    reason is logged and the plain model is used.
    """
    core.forward = torch.compile(core.forward, backend=backend, dynamic=False)
    try:
        with torch._dynamo.config.patch(recompile_limit=GRAPHS):
            yield _works(core, try_out)
    finally:
        core.__dict__.pop("forward", None)


@contextmanager
def plain(core: nn.Module) -> Iterator[None]:
    """Inside, `core` is not compiled: for passes that are too few to be worth minutes."""
    own = core.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if own is not None:
            core.__dict__["forward"] = own


def _works(core: nn.Module, try_out: Callable[[], None]) -> bool:
    try:
        try_out()
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # everything that dynamo and its backends raise
        why = first_line(getattr(error, "inner_exception", error))  # dynamo wraps a backend's own
        log.warning("torch.compile does not work here (%s): continuing without it", why)
        core.__dict__.pop("forward", None)
        return False
    return True
