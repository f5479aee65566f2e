"""Files that look like checkpoints from outside: tensors of the right names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SD1 = (
    "model.diffusion_model.input_blocks.0.0.bias",
    "first_stage_model.encoder.conv_in.bias",
    "cond_stage_model.transformer.text_model.final_layer_norm.bias",
)
SDXL = (
    *SD1[:2],
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
    "conditioner.embedders.1.model.ln_final.bias",
)
VPRED = (*SDXL, "v_pred", "ztsnr")
LORA = ("lora_unet_mid_block_x.lora_down.weight", "lora_unet_mid_block_x.alpha")


def checkpoint(
    path: Path, names: Iterable[str] = SD1, *, value: float = 0, **metadata: str
) -> Path:
    """A safetensors file with these tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.full(2, value, np.float16) for name in names}
    save_file(tensors, path, metadata or None)
    return path


def world(root: Path) -> Path:
    """What the shipped config names, as far as the graph looks at it."""
    for name in ("base", "tagger", "booru"):
        folder = root / "resources/world" / name
        folder.mkdir(parents=True)
        (folder / "content").write_text(name)
    index = {"_class_name": "StableDiffusionPipeline"}
    (root / "resources/world/base/model_index.json").write_text(json.dumps(index))
    return root
