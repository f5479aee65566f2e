"""Tensors on disk under a key of everything they were computed from, shared by bakes and processes.

An entry is written whole or not at all. A damaged one (truncated, flipped bits, another entry's
content) counts as missing and is computed again. No entry is ever changed, so readers and writers
need no lock.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from bakery.families.family import Model
from bakery.io import seals
from bakery.io.errors import BakeryError
from bakery.io.files import whole

log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]


class Store:
    """A folder of entries; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.hits = self.misses = 0

    def get(self, made_from: Mapping[str, Any], compute: Callable[[], Tensors]) -> Tensors:
        """The entry of `made_from` (plain JSON values), computed if there is none."""
        found = self.find(made_from)
        if found is not None:
            return found
        made = compute()
        self.put(made_from, made)
        return made

    def find(self, made_from: Mapping[str, Any]) -> Tensors | None:
        """The entry of `made_from`, or None."""
        if self.folder is None:
            return None
        path = self._path(made_from)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.misses += 1
            return None
        except OSError as error:
            log.warning("cannot read the cache entry %s (%s): computing it again", path, error)
            self.misses += 1
            return None
        try:
            tensors = load(seals.unpack(path.name, content))
        except seals.Unsealed as error:
            log.info("the cache entry %s is not used (%s): computing it again", path, error)
            self.misses += 1
            return None
        except (BakeryError, SafetensorError, ValueError) as error:
            log.warning("the cache entry %s is damaged (%s): computing it again", path, error)
            self.misses += 1
            return None
        self.hits += 1
        return tensors

    def put(self, made_from: Mapping[str, Any], tensors: Tensors) -> None:
        """Keep `tensors`; if the disk is full, the bake continues without the cache."""
        if self.folder is None:
            return
        path = self._path(made_from)
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path, rivals=True, lasting=False) as part:
                part.write_bytes(seals.pack(path.name, data))
        except OSError as error:
            log.warning("cannot write the cache entry %s (%s): continuing without it", path, error)

    def _path(self, made_from: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        text = json.dumps(made_from, sort_keys=True)
        key = sha256(text.encode()).hexdigest()[:32]
        return self.folder / key[:2] / f"{key}.cache"


def fingerprint(model: nn.Module) -> str:
    """sha256 over names, shapes and bytes of a model's weights."""
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes: numpy knows no bfloat16
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def fingerprints(base: Model, part: str, store: Store) -> list[str]:
    """The `fingerprint` of each module of a part (`Model.modules`).

    Weights that are not in memory are read only if `store` does not know yet what these files give.
    """
    source = None if base.holds(part) or store.folder is None else base.source(part)

    def compute() -> Tensors:
        base.need(part)
        found = [bytes.fromhex(fingerprint(module)) for module in base.modules(part)]
        return {"sha256": torch.tensor([list(digest) for digest in found], dtype=torch.uint8)}

    if source is None or store.folder is None:
        known = compute()
    else:
        of_weights = {
            "kind": "weights 1",
            "family": [base.family.name, base.family.code_version],
            "part": part,
            "files": source,
            "dtypes": [str(next(m.parameters()).dtype) for m in base.modules(part)],
            "libraries": [version(name) for name in ("torch", "diffusers", "transformers")],
        }
        known = Store(store.folder / "weights").get(of_weights, compute)
    return [bytes(row.tolist()).hex() for row in known["sha256"]]


def arithmetic(device: torch.device, dtype: torch.dtype, threads: int) -> dict[str, Any]:
    """Everything that rounding depends on: entries of another precision differ in their bits."""
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "dtype": str(dtype),
        "threads": threads if device.type == "cpu" else None,
        "torch": torch.__version__,
    }
