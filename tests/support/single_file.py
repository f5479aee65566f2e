"""A tiny model's weights under the names that single-file checkpoints give them.

The tables are written down from such files; what reads them back in the tests is diffusers.
"""

from __future__ import annotations

import re

import torch

UNET_BLOCKS = {
    "sd1": [
        ("conv_in", "input_blocks.0.0"),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"),
        ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"),
        ("up_blocks.0.attentions.0", "output_blocks.0.1"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"),
        ("up_blocks.0.attentions.1", "output_blocks.1.1"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.2.conv"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"),
        ("up_blocks.1.resnets.1", "output_blocks.3.0"),
    ],
    "sdxl": [
        ("conv_in", "input_blocks.0.0"),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"),
        ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("down_blocks.1.downsamplers.0.conv", "input_blocks.4.0.op"),
        ("down_blocks.2.resnets.0", "input_blocks.5.0"),
        ("down_blocks.2.attentions.0", "input_blocks.5.1"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"),
        ("up_blocks.0.attentions.0", "output_blocks.0.1"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"),
        ("up_blocks.0.attentions.1", "output_blocks.1.1"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.2.conv"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"),
        ("up_blocks.1.attentions.0", "output_blocks.2.1"),
        ("up_blocks.1.resnets.1", "output_blocks.3.0"),
        ("up_blocks.1.attentions.1", "output_blocks.3.1"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.3.2.conv"),
        ("up_blocks.2.resnets.0", "output_blocks.4.0"),
        ("up_blocks.2.resnets.1", "output_blocks.5.0"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ],
}
UNET_ENDS = [
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
]
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_NAMES = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
]
OPEN_CLIP_NAMES = [
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn", "attn"),
]

COSMOS_NAMES = [
    (r"transformer_blocks\.", "blocks."),
    (r"norm1\.linear_", "adaln_modulation_self_attn."),
    (r"norm2\.linear_", "adaln_modulation_cross_attn."),
    (r"norm3\.linear_", "adaln_modulation_mlp."),
    (r"attn1\.", "self_attn."),
    (r"attn2\.", "cross_attn."),
    (r"norm_([qk])\.", r"\1_norm."),
    (r"to_([qkv])\.", r"\1_proj."),
    (r"to_out\.0\.", "output_proj."),
    (r"ff\.net\.0\.proj\.", "mlp.layer1."),
    (r"ff\.net\.2\.", "mlp.layer2."),
    (r"patch_embed\.proj\.", "x_embedder.proj.1."),
    (r"time_embed\.t_embedder\.", "t_embedder.1."),
    (r"time_embed\.norm\.", "t_embedding_norm."),
    (r"norm_out\.linear_", "final_layer.adaln_modulation."),
    (r"proj_out\.", "final_layer.linear."),
]
WAN_NAMES = [
    (r"^quant_conv", "conv1"),
    (r"^post_quant_conv", "conv2"),
    ("conv_in", "conv1"),
    ("norm_out", "head.0"),
    ("conv_out", "head.2"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"middle.{2 * int(m[1])}"),
    (r"mid_block\.attentions\.0", "middle.1"),
    (r"down_blocks", "downsamples"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"upsamples.{3 * int(m[1]) + int(m[2])}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"upsamples.{3 * int(m[1]) + 2}"),
    ("conv_shortcut", "shortcut"),
]
WAN_RESNET = {"norm1": "0", "conv1": "2", "norm2": "3", "conv2": "6"}
"""Of a VAE with one resnet a stage, so that a stage of the decoder has three blocks."""


def renamed(key: str, names) -> str:
    for pattern, name in names:
        key = re.sub(pattern, name, key)
    return key


def anima_transformer(base, prefix: str = "net.") -> dict[str, torch.Tensor]:
    """The transformer and the adapter of its text, as they are published."""
    transformer = base.transformer.state_dict()
    state = {prefix + renamed(key, COSMOS_NAMES): value for key, value in transformer.items()}
    for key, value in base.text.conditioner.state_dict().items():
        state[f"{prefix}llm_adapter.{key}"] = value
    return state


def wan_vae(vae) -> dict[str, torch.Tensor]:
    state = {}
    for key, value in vae.state_dict().items():
        if resnet := re.fullmatch(r"(.*blocks?\.(?:.*resnets\.)?\d)\.(norm|conv)(\d)\.(\w+)", key):
            inner = WAN_RESNET[resnet[2] + resnet[3]]
            state[f"{renamed(resnet[1], WAN_NAMES)}.residual.{inner}.{resnet[4]}"] = value
        else:
            state[renamed(key, WAN_NAMES)] = value
    return state


def whole_anima(base) -> dict[str, torch.Tensor]:
    """All parts, as ComfyUI saves a checkpoint."""
    state = anima_transformer(base, "model.diffusion_model.")
    text = base.text.encoder.state_dict()
    state |= {f"text_encoders.qwen3_06b.transformer.model.{key}": v for key, v in text.items()}
    return state | {f"vae.{key}": value for key, value in wan_vae(base.vae).items()}


def checkpoint_of(base) -> dict[str, torch.Tensor]:
    """The model's weights as one file holds them."""
    if base.family.name == "anima":
        return {key: value.contiguous() for key, value in whole_anima(base).items()}
    state = {}
    for key, value in base.unet.state_dict().items():
        blocks = UNET_BLOCKS[base.family.name] + UNET_ENDS
        ours, theirs = next(pair for pair in blocks if key.startswith(f"{pair[0]}."))
        inner = key.removeprefix(f"{ours}.")
        if ".resnets." in ours:
            name, kind = inner.rsplit(".", 1)
            inner = f"{UNET_RESNET[name]}.{kind}"
        state[f"model.diffusion_model.{theirs}.{inner}"] = value
    for key, value in base.vae.state_dict().items():
        if "mid_block.attentions" in key and value.ndim == 2:
            value = value[..., None, None]  # checkpoints have 1x1 convolutions there
        for pattern, name in VAE_NAMES:
            key = re.sub(pattern, name, key)
        state[f"first_stage_model.{key}"] = value
    place = "conditioner.embedders.0" if base.family.name == "sdxl" else "cond_stage_model"
    for key, value in base.text_encoders[0].state_dict().items():
        key = key.removeprefix("text_model.")
        state[f"{place}.transformer.text_model.{key}"] = value
    # older files have this in every CLIP
    state[f"{place}.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    if base.family.name == "sdxl":
        state |= open_clip(base.text_encoders[1].state_dict())
    return {key: value.contiguous() for key, value in state.items()}


def open_clip(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = {"logit_scale": torch.tensor(4.6)}
    for key, value in held.items():
        for ours, theirs in OPEN_CLIP_NAMES:
            key = key.replace(ours, theirs)
        if key == "text_projection.weight":
            state["text_projection"] = value.T
        elif match := re.fullmatch(r"(.*attn)\.q_proj\.(weight|bias)", key):
            name = f"text_model.encoder.layers.{key.split('.')[2]}.self_attn"
            parts = [held[f"{name}.{part}_proj.{match[2]}"] for part in "qkv"]
            state[f"{match[1]}.in_proj_{match[2]}"] = torch.cat(parts)
        elif not re.search(r"attn\.[kv]_proj", key):
            state[key] = value
    return {f"conditioner.embedders.1.model.{key}": value for key, value in state.items()}
