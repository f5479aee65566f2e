"""The shapes of the models that can be trained, as their makers published them.

A single-file checkpoint contains only tensors. With these facts it needs nothing else but the
tokenizer's vocabulary, which both families take from CLIP.
"""

from __future__ import annotations

from typing import Any

import torch

VOCABULARY = "openai/clip-vit-large-patch14"
"""Where the vocabulary comes from; OpenCLIP's is the same, padded with "!" instead of the end."""
SDXL_PADDING = "!"

UNET: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),  # heads, whatever the name says
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}

_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
VAE: dict[str, dict[str, Any]] = {
    "sd1": {**_VAE, "sample_size": 512, "scaling_factor": 0.18215, "force_upcast": False},
    "sdxl": {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
}

_CLIP = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
_VIT_L = {
    **_CLIP,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "pad_token_id": 49407,
}
_VIT_BIG_G = {
    **_CLIP,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
TEXT_ENCODERS: dict[str, tuple[dict[str, Any], ...]] = {
    "sd1": (_VIT_L,),
    "sdxl": (_VIT_L, _VIT_BIG_G),
}

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}


UPCAST = {("sdxl", "vae")}
"""Parts that stay in float32: in half precision the activations of SDXL's VAE overflow."""


def dtype_of(family: str, part: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of a part in a model of `dtype`."""
    return torch.float32 if (family, part) in UPCAST else dtype
