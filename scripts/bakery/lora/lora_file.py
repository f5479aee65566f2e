"""The LoRA file as kohya's scripts write it: tensors, metadata and both kinds of hashes.

`write` gives equal bytes for equal tensors and metadata, so nothing that changes from run to run
(ss_training_started_at, ss_session_id, modelspec.date ...) goes into a file. `sshs_model_hash`
covers only the tensors: it is the fingerprint of a bake, and Civitai's AutoV3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save

from bakery.io import weight_files
from bakery.io.files import whole

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""save_precision, with kohya's names."""

CONVERTED = "bakery_converted_from"
"""In the metadata: sshs_model_hash of the file that this one is another form of."""
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


def write(path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Write a LoRA file atomically, hashes added to its metadata; returns sshs_model_hash."""
    content, model_hash = pack(state, metadata)
    with whole(path) as part:
        part.write_bytes(content)
    return model_hash


def pack(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> tuple[bytes, str]:
    """(the whole file, sshs_model_hash)."""
    plain = save(dict(state))
    start = 8 + int.from_bytes(plain[:8], "little")
    layout, data = json.loads(plain[8:start]), plain[start:]
    model_hash = sha256(data).hexdigest()
    known = {
        **metadata,
        "sshs_model_hash": model_hash,
        "sshs_legacy_hash": legacy_hash(layout, metadata, data),
        "modelspec.hash_sha256": f"0x{model_hash}",
    }
    return _header(layout, known) + data, model_hash


def model_hash(path: Path) -> str | None:
    """sshs_model_hash of a file, computed from its bytes, not read from its metadata; None if it is
    not a safetensors file.
    """
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return sha256(content[start:]).hexdigest() if 8 < start <= len(content) else None


def legacy_hash(layout: Mapping[str, object], metadata: Mapping[str, str], data: bytes) -> str:
    """sshs_legacy_hash: 8 hex digits over 64 KiB from 1 MiB on, of the file with ss_* metadata only.

    As `precalculate_safetensors_hashes` of kohya's scripts computes it, since other metadata may be
    edited later. `layout` is the header's part about the tensors. A header of more than 1 MiB
    is itself in that window, where safetensors would write its entries in any order; here sorted.
    """
    lasting = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    header = _header(layout, lasting)
    start = max(0, _LEGACY_START - len(header))
    window = header[_LEGACY_START:][:_LEGACY_LENGTH]
    window += data[start : start + _LEGACY_LENGTH - len(window)]
    return sha256(window).hexdigest()[:8]


def read_lora(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of a LoRA file; `BakeryError` if it is missing or damaged."""
    with weight_files.opened(path, "download or bake it again", framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def _header(layout: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON of a safetensors file, metadata sorted.

    safetensors itself writes metadata in an order that differs from run to run.
    """
    document = {"__metadata__": dict(sorted(metadata.items())), **layout}
    header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
