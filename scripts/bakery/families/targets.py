"""Which layers of a model get an adapter, and what kohya's files call them.

By default every Linear and 1x1 convolution inside the UNet's Transformer2DModels, and the attention
and MLP of the CLIP text encoders. With conv_dim also the residual blocks and the resamplers: their
3x3 convolutions take conv_dim, their Linears and 1x1 convolutions the usual dim, as in kohya's
`networks/lora.py`.

SD1 files name the UNet's layers as diffusers does. SDXL files use the names of the original (LDM)
UNet, `input_blocks_4_1_...`, and distinguish the two text encoders as `lora_te1` and `lora_te2`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from torch import nn

from bakery.families.family import TEXT_ENCODER, UNET, Target

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

TRANSFORMERS = ("Transformer2DModel",)
CONVOLUTIONS = ("ResnetBlock2D", "Downsample2D", "Upsample2D")
TEXT_LAYERS = ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP")

_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|(?:down|up)samplers)\.(\d+)(.*)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)(.*)")
_IN_RESNET = {
    ".conv1": ".in_layers.2",
    ".time_emb_proj": ".emb_layers.1",
    ".conv2": ".out_layers.3",
    ".conv_shortcut": ".skip_connection",
}


def of_unet(
    unet: nn.Module, named: Callable[[str], str], *, convolutions: bool = False
) -> Iterator[Target]:
    """The layers of a UNet in the model's order; `named` leads from diffusers' path to the file's.

    `convolutions` adds what conv_dim adds.
    """
    wanted = TRANSFORMERS + (CONVOLUTIONS if convolutions else ())
    for path, layer in _inside(unet, wanted):
        yield Target(_name("lora_unet", named(path)), layer, UNET)


def of_text_encoders(encoders: Sequence[nn.Module]) -> Iterator[Target]:
    """The layers of CLIP text encoders; several are numbered."""
    for number, encoder in enumerate(encoders, start=1):
        prefix = f"lora_te{number if len(encoders) > 1 else ''}"
        # Files say text_model; transformers >= 5.6 has flattened that level away in CLIPTextModel.
        level = "" if hasattr(encoder, "text_model") else "text_model."
        for path, layer in _inside(encoder, TEXT_LAYERS):
            yield Target(_name(prefix, level + path), layer, TEXT_ENCODER)


def ldm_path(unet: UNet2DConditionModel, path: str) -> str:
    """The original UNet's name of a layer that diffusers calls `path`.

    The original numbers all blocks in one row: on the way down each level has layers_per_block
    residual blocks and a downsampler, on the way up one residual block more, whose last block also
    holds the upsampler.
    """
    row = unet.config["layers_per_block"] + 1
    if middle := _MIDDLE.fullmatch(path):
        kind, j, rest = middle[1], int(middle[2]), middle[3]
        if kind == "attentions":
            return f"middle_block.1{rest}"
        return f"middle_block.{2 * j}{_IN_RESNET[rest]}"
    block = _BLOCK.fullmatch(path)
    if block is None:
        raise ValueError(f"{path} is in no block of the UNet")
    way, i, kind, j, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"input_blocks.{row * (i + 1)}.0.op"
    if kind == "upsamplers":
        place = 2 if hasattr(unet.up_blocks[i], "attentions") else 1
        return f"output_blocks.{row * i + row - 1}.{place}{rest}"
    number = f"input_blocks.{1 + row * i + j}" if way == "down" else f"output_blocks.{row * i + j}"
    return f"{number}.1{rest}" if kind == "attentions" else f"{number}.0{_IN_RESNET[rest]}"


def _name(prefix: str, path: str) -> str:
    return f"{prefix}.{path}".replace(".", "_")


def _inside(
    model: nn.Module, containers: tuple[str, ...]
) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for path, container in model.named_modules():
        if type(container).__name__ in containers:
            for inner, layer in container.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    yield f"{path}.{inner}", layer
