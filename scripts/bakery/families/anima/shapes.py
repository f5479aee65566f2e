"""The sizes of Anima's parts, read from the shapes of their tensors. No torch is needed to import this.

What no tensor shows (the scale of positions, the statistics of latents) is as its makers published it.
Shapes are those of a single file, without prefix. A missing tensor is a KeyError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bakery.families.anima import names

Shapes = Mapping[str, tuple[int, ...]]

PATCH = 2
"""Latent pixels a side of what the transformer sees as one."""
FLOOR = 512
"""Tokens that a text has at least: shorter ones end in zeros, which the transformer attends to."""
MOST_TOKENS = 512
"""Of a caption, of either tokenizer; sd-scripts and diffusers cut there, too."""
MOST_POSITIONS = 128
"""Patches a side that have a position: 2048 pixels."""
SHIFT = 3.0
"""Of the noise levels that pictures are drawn with."""
_TRANSFORMER = {
    "max_size": (MOST_POSITIONS, 240, 240),
    "patch_size": (1, PATCH, PATCH),
    "rope_scale": (1.0, 4.0, 4.0),
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
}
_TEXT_ENCODER = {
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "attention_bias": False,
    "tie_word_embeddings": False,
}


def transformer(shapes: Shapes) -> dict[str, Any]:
    """The arguments of diffusers' CosmosTransformer3DModel."""
    width, patch = shapes[names.PATCHES]
    head = shapes["blocks.0.self_attn.q_norm.weight"][0]
    return _TRANSFORMER | {
        "in_channels": patch // PATCH**2 - 1,  # one channel is the mask of the padding
        "out_channels": shapes["final_layer.linear.weight"][0] // PATCH**2,
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "num_layers": names.block_count(shapes),
        "mlp_ratio": shapes["blocks.0.mlp.layer1.weight"][0] / width,
        "text_embed_dim": shapes["blocks.0.cross_attn.k_proj.weight"][1],
        "adaln_lora_dim": shapes["blocks.0.adaln_modulation_self_attn.1.weight"][0],
    }


def text_conditioner(shapes: Shapes) -> dict[str, Any]:
    """The arguments of diffusers' AnimaTextConditioner."""
    width = shapes["out_proj.weight"][1]
    words, target = shapes["embed.weight"]
    return {
        "source_dim": shapes["blocks.0.cross_attn.k_proj.weight"][1],
        "target_dim": target,
        "model_dim": width,
        "num_layers": names.block_count(shapes),
        "num_attention_heads": width // shapes["blocks.0.cross_attn.q_norm.weight"][0],
        "mlp_ratio": shapes["blocks.0.mlp.0.weight"][0] / width,
        "target_vocab_size": words,
        "use_self_attention": "blocks.0.self_attn.q_proj.weight" in shapes,
        "min_sequence_length": FLOOR,
    }


def text_encoder(shapes: Shapes) -> dict[str, Any]:
    """The arguments of transformers' Qwen3Config."""
    words, width = shapes["embed_tokens.weight"]
    head = shapes["layers.0.self_attn.q_norm.weight"][0]
    return _TEXT_ENCODER | {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": _count(shapes, "layers"),
        "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // head,
        "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // head,
        "head_dim": head,
    }


def vae(shapes: Shapes) -> dict[str, Any]:
    """The arguments of diffusers' AutoencoderKLQwenImage, from its makers' names or from diffusers'."""
    own = "encoder.conv1.weight" in shapes
    row = "encoder.downsamples" if own else "encoder.down_blocks"
    convolution = "residual.2.weight" if own else "conv1.weight"
    base = shapes["encoder.conv1.weight" if own else "encoder.conv_in.weight"][0]
    stages: list[list[int]] = [[]]
    in_time = []
    for number in range(_count(shapes, row)):
        block = f"{row}.{number}"
        if f"{block}.{convolution}" in shapes:
            stages[-1].append(shapes[f"{block}.{convolution}"][0])
        else:
            in_time.append(f"{block}.time_conv.weight" in shapes)
            stages.append([])
    return {
        "base_dim": base,
        "z_dim": shapes["conv2.weight" if own else "post_quant_conv.weight"][0],
        "dim_mult": [stage[-1] // base for stage in stages],
        "num_res_blocks": len(stages[0]),
        "temperal_downsample": in_time,  # diffusers' spelling
    }


def _count(shapes: Shapes, row: str) -> int:
    """How many numbers follow `row` in the names."""
    found = map(re.compile(rf"{re.escape(row)}\.(\d+)\.").match, shapes)
    return 1 + max((int(m[1]) for m in found if m), default=-1)
