"""Which layers of a model get an adapter, and what kohya's files call them.

By default every Linear and 1x1 convolution inside the UNet's Transformer2DModels, and the attention
and MLP of the CLIP text encoders. With conv_dim also the residual blocks and the resamplers: their
3x3 convolutions take conv_dim, their Linears and 1x1 convolutions the usual dim, as in kohya's
`networks/lora.py`.

SD1 files name the UNet's layers as diffusers does. SDXL files use the names of the original (LDM)
UNet, `input_blocks_4_1_...`, and tell the two text encoders apart as `lora_te1` and `lora_te2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

UNET_PREFIX = "lora_unet"
TEXT_ENCODER_PREFIX = "lora_te"

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
_SIGN = re.compile(r"(lora_unet_(?:input|middle|output|down|mid|up)|lora_te2?)_")

Target = tuple[str, nn.Linear | nn.Conv2d]
TextEncoders = nn.Module | Sequence[nn.Module] | None


def targets(
    unet: nn.Module | None, text_encoders: TextEncoders, *, convolutions: bool = False
) -> Iterator[Target]:
    """(kohya's name, layer) of every layer that gets an adapter, in the model's order.

    Two text encoders, or an SDXL UNet, mean SDXL's names. `convolutions` adds what conv_dim adds.
    """
    if unet is not None:
        wanted = TRANSFORMERS + (CONVOLUTIONS if convolutions else ())
        for path, layer in _inside(unet, wanted):
            yield _name(UNET_PREFIX, ldm_path(unet, path) if is_sdxl(unet) else path), layer
    encoders = as_list(text_encoders)
    for number, encoder in enumerate(encoders, start=1):
        prefix = f"{TEXT_ENCODER_PREFIX}{number if len(encoders) > 1 else ''}"
        # Files say text_model; transformers >= 5.6 has flattened that level away in CLIPTextModel.
        level = "" if hasattr(encoder, "text_model") else "text_model."
        for path, layer in _inside(encoder, TEXT_LAYERS):
            yield _name(prefix, level + path), layer


def as_list(text_encoders: TextEncoders) -> list[nn.Module]:
    """None, one text encoder or several, as a list."""
    if text_encoders is None:
        return []
    return [text_encoders] if isinstance(text_encoders, nn.Module) else list(text_encoders)


def is_sdxl(unet: nn.Module) -> bool:
    """SDXL's UNet takes a pooled text and sizes besides the timestep."""
    return unet.config.addition_embed_type == "text_time"


def is_3x3(layer: nn.Module) -> bool:
    """Whether a target is a convolution that takes conv_dim."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def ldm_path(unet: nn.Module, path: str) -> str:
    """The original UNet's name of a layer that diffusers calls `path`.

    The original numbers all blocks in one row: on the way down each level has layers_per_block
    residual blocks and a downsampler, on the way up one residual block more, whose last block also
    holds the upsampler.
    """
    row = unet.config.layers_per_block + 1
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


def family(keys: Iterable[str]) -> str | None:
    """`sd1` or `sdxl`, as far as the keys of a LoRA file tell."""
    signs = {sign[1] for key in keys if (sign := _SIGN.match(key))}
    if signs & {"lora_unet_input", "lora_unet_middle", "lora_unet_output", "lora_te2"}:
        return "sdxl"
    return "sd1" if signs else None


def _name(prefix: str, path: str) -> str:
    return f"{prefix}.{path}".replace(".", "_")


def _inside(model: nn.Module, containers: tuple[str, ...]) -> Iterator[Target]:
    for path, container in model.named_modules():
        if type(container).__name__ in containers:
            for inner, layer in container.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    yield f"{path}.{inner}", layer
