"""What Anima's parts are called: by their makers, and by diffusers. No torch is needed to import this.

The makers' names are those of single files and of LoRAs, under a prefix that differs from program to
program. The adapter between text encoder and transformer has the same names
in both, but for `llm_adapter.` at the front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

PATCHES = "x_embedder.proj.1.weight"
"""The transformer's first layer: what is in front of it is the prefix of all its tensors."""
ADAPTER = "llm_adapter."
ADAPTER_SIGN = f"{ADAPTER}embed.weight"
QWEN3_SIGN = "layers.0.self_attn.q_norm.weight"
"""A layer of the text encoder that language models of other makers lack."""
WHOLE_TEXT_ENCODER, WHOLE_VAE = "text_encoders.", "vae."
"""Where ComfyUI puts the other parts if it saves all of them as one file."""
VAE_SIGNS = ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma")
"""A layer of a VAE like Qwen-Image's, in its makers' words and in diffusers'."""
NO_WEIGHTS = re.compile(
    r"(.*\.)?(_extra_state|accum_\w+|inv_freq)|(pos_embedder|extra_pos_embedder)\.(seq|dim_\w+_range)"
)
"""Tables and counters that some files hold, and that every program makes itself."""

TRANSFORMER = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
    "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
    "t_embedding_norm": "time_embed.norm",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}
"""The makers' name of a layer outside of the blocks -> diffusers'."""
BLOCK = {
    "adaln_modulation_self_attn.1": "norm1.linear_1",
    "adaln_modulation_self_attn.2": "norm1.linear_2",
    "self_attn.q_proj": "attn1.to_q",
    "self_attn.k_proj": "attn1.to_k",
    "self_attn.v_proj": "attn1.to_v",
    "self_attn.q_norm": "attn1.norm_q",
    "self_attn.k_norm": "attn1.norm_k",
    "self_attn.output_proj": "attn1.to_out.0",
    "adaln_modulation_cross_attn.1": "norm2.linear_1",
    "adaln_modulation_cross_attn.2": "norm2.linear_2",
    "cross_attn.q_proj": "attn2.to_q",
    "cross_attn.k_proj": "attn2.to_k",
    "cross_attn.v_proj": "attn2.to_v",
    "cross_attn.q_norm": "attn2.norm_q",
    "cross_attn.k_norm": "attn2.norm_k",
    "cross_attn.output_proj": "attn2.to_out.0",
    "adaln_modulation_mlp.1": "norm3.linear_1",
    "adaln_modulation_mlp.2": "norm3.linear_2",
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}
"""The same inside of a block."""
_THEIRS = {theirs: ours for ours, theirs in (TRANSFORMER | BLOCK).items()}
_IN_BLOCK = re.compile(r"(blocks|transformer_blocks)\.(\d+)\.(.+)")

_VAE_ENDS = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    "encoder.conv1": "encoder.conv_in",
    "encoder.head.0": "encoder.norm_out",
    "encoder.head.2": "encoder.conv_out",
    "decoder.conv1": "decoder.conv_in",
    "decoder.head.0": "decoder.norm_out",
    "decoder.head.2": "decoder.conv_out",
}
_VAE_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_VAE_RESNET = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_VAE_BLOCK = re.compile(r"(encoder|decoder)\.(downsamples|upsamples|middle)\.(\d+)\.(.+)")


def prefix_of(names: Iterable[str]) -> str | None:
    """What the transformer's tensors begin with in a file, `net.` say; None if it has no such."""
    signs = (name for name in names if name == PATCHES or name.endswith(f".{PATCHES}"))
    return next((name.removesuffix(PATCHES) for name in signs), None)


def block_count(names: Iterable[str]) -> int:
    """Blocks among the names without prefix, `blocks.<number>. ...`."""
    return 1 + max((int(m[2]) for m in map(_IN_BLOCK.match, names) if m), default=-1)


def to_diffusers(layer: str) -> str | None:
    """diffusers' name of a layer of the transformer that its makers call so; None if it has none."""
    if (inside := _IN_BLOCK.fullmatch(layer)) is None:
        return TRANSFORMER.get(layer)
    name = BLOCK.get(inside[3])
    return None if name is None else f"transformer_blocks.{inside[2]}.{name}"


def to_original(layer: str) -> str:
    """The makers' name of a layer of the transformer that diffusers calls so. KeyError for others."""
    if (inside := _IN_BLOCK.fullmatch(layer)) is None:
        return _THEIRS[layer]
    return f"blocks.{inside[2]}.{_THEIRS[inside[3]]}"


def vae_to_diffusers(shapes: Mapping[str, object]) -> dict[str, str]:
    """The makers' names of the VAE's tensors -> diffusers', for those that have one.

    On the way up the makers number all blocks in one row; diffusers begins a new stage behind each
    upsampler.
    """
    places = _places_on_the_way_up(shapes)
    found = {}
    for name in shapes:
        layer, _, kind = name.rpartition(".")
        if layer in _VAE_ENDS:
            found[name] = f"{_VAE_ENDS[layer]}.{kind}"
        elif inside := _VAE_BLOCK.fullmatch(layer):
            side, way, number, rest = inside.groups()
            rest = _VAE_RESNET.get(rest, rest)
            if way == "middle":
                if number in _VAE_MIDDLE:
                    found[name] = f"{side}.mid_block.{_VAE_MIDDLE[number]}.{rest}.{kind}"
            else:
                place = f"down_blocks.{number}" if way == "downsamples" else places[int(number)]
                found[name] = f"{side}.{place}.{rest}.{kind}"
    return found


def _places_on_the_way_up(shapes: Mapping[str, object]) -> dict[int, str]:
    """Number of a block of the decoder -> where diffusers has it."""
    matches = [m for m in map(re.compile(r"decoder\.upsamples\.(\d+)\.(\w+)").match, shapes) if m]
    samplers = {int(m[1]) for m in matches if m[2] in ("resample", "time_conv")}
    stage, inner, places = 0, 0, {}
    for number in sorted({int(m[1]) for m in matches}):
        if number in samplers:
            places[number] = f"up_blocks.{stage}.upsamplers.0"
            stage, inner = stage + 1, 0
        else:
            places[number] = f"up_blocks.{stage}.resnets.{inner}"
            inner += 1
    return places


def split(content: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """What a single file holds of each part, under names without prefix.

    `transformer` and `text_conditioner`; `text_encoder` and `vae` as well where ComfyUI has saved a
    whole checkpoint.
    """
    prefix = prefix_of(content)
    found: dict[str, dict[str, T]] = {"transformer": {}, "text_conditioner": {}}
    inner: dict[str, T] = {}
    for name, value in content.items():
        if name.startswith(WHOLE_TEXT_ENCODER):
            inner[name.removeprefix(WHOLE_TEXT_ENCODER)] = value
        elif name.startswith(WHOLE_VAE):
            found.setdefault("vae", {})[name.removeprefix(WHOLE_VAE)] = value
        elif prefix is not None and name.startswith(prefix):
            plain = name.removeprefix(prefix)
            if NO_WEIGHTS.fullmatch(plain):
                continue
            part = "text_conditioner" if plain.startswith(ADAPTER) else "transformer"
            found[part][plain.removeprefix(ADAPTER)] = value
    if inner:
        found["text_encoder"] = language_model(inner)
    return found


def language_model(content: Mapping[str, T]) -> dict[str, T]:
    """A text encoder's tensors under names without prefix and without the layer that names a next word;
    empty if these are none of Qwen3's."""
    signs = (name for name in content if name.endswith(QWEN3_SIGN))
    prefix = next((name.removesuffix(QWEN3_SIGN) for name in signs), None)
    if prefix is None:
        return {}
    return {
        n.removeprefix(prefix): v for n, v in content.items() if n.startswith(prefix + "layers.")
    } | {
        plain: content[prefix + plain]
        for plain in ("embed_tokens.weight", "norm.weight")
        if prefix + plain in content
    }
