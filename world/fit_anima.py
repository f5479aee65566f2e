"""Trains the embedded Anima: a small but genuine one, transformer, conditioner and Qwen3 from scratch.

`python -m world.fit_anima world/build/base world/build/anima/vae world/build/anima/fit`

Resumable, like fit_base: the state is saved every few minutes and the same command goes on from it.
`--steps` may be changed in between. `--export FOLDER` writes the averaged weights in the layout of the
official diffusers folder, fp16.

Rectified flow: x_t = (1 - t) x + t e, and the transformer predicts e - x. High t are drawn more often:
colour and layout are decided there.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AnimaTextConditioner,
    AutoencoderKLQwenImage,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model, T5TokenizerFast

from world import anima_words, fitting
from world.fit_anima_vae import as_stills, latents
from world.fit_base import loss_weights
from world.vae_fitting import LATENT_CHANNELS, as_input

HEADS, LAYERS = 6, 6
TEXT = 96
"""Width of all text parts."""


def new_transformer() -> CosmosTransformer3DModel:
    return CosmosTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=24,
        num_layers=LAYERS,
        mlp_ratio=4.0,
        text_embed_dim=TEXT,
        adaln_lora_dim=16,
        max_size=(1, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
    )


def new_text_encoder(vocab_size: int) -> Qwen3Model:
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=TEXT,
            intermediate_size=2 * TEXT,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=24,
            max_position_embeddings=512,
        )
    )
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)  # tags must be loud
    return encoder


def new_conditioner(vocab_size: int) -> AnimaTextConditioner:
    conditioner = AnimaTextConditioner(
        source_dim=TEXT,
        target_dim=TEXT,
        model_dim=TEXT,
        num_layers=2,
        num_attention_heads=4,
        mlp_ratio=2.0,
        target_vocab_size=vocab_size,
        min_sequence_length=anima_words.MAX_LENGTH,
    )
    nn.init.normal_(conditioner.embed.weight, std=0.5)
    return conditioner


class Tokenizers:
    """Both, made once and then read again, so that a resumed training has the same."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "t5_tokenizer").exists():
            anima_words.new_qwen().save_pretrained(folder / "tokenizer")
            anima_words.new_t5().save_pretrained(folder / "t5_tokenizer")
        self.qwen = Qwen2Tokenizer.from_pretrained(folder / "tokenizer")
        self.t5 = T5TokenizerFast.from_pretrained(folder / "t5_tokenizer")

    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """ids and masks, (B, T) each, both cut at MAX_LENGTH."""
        wanted = {
            "padding": "longest", "truncation": True, "max_length": anima_words.MAX_LENGTH,
            "return_tensors": "pt",
        }  # fmt: skip
        qwen, t5 = self.qwen(captions, **wanted), self.t5(captions, **wanted)
        ids, mask = qwen.input_ids, qwen.attention_mask
        if ids.shape[1] == 0:  # nothing but empty captions
            ids = mask = torch.zeros(len(captions), 1, dtype=torch.long)
        return {"qwen": ids, "qwen_mask": mask, "t5": t5.input_ids, "t5_mask": t5.attention_mask}


class Model(nn.Module):
    def __init__(self, tokenizers: Tokenizers) -> None:
        super().__init__()
        self.transformer = new_transformer()
        # given as a channel of zeros
        self.transformer.register_to_config(concat_padding_mask=False)
        self.text_encoder = new_text_encoder(len(tokenizers.qwen))
        self.text_conditioner = new_conditioner(len(tokenizers.t5))

    def forward(self, noisy: Tensor, t: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        """(B, C, h, w) and (B,) -> (B, C, h, w)."""
        mask = tokens["qwen_mask"]
        hidden = self.text_encoder(tokens["qwen"], attention_mask=mask).last_hidden_state
        # a row without any token attends to nothing, which is not a number
        hidden = torch.nan_to_num(hidden) * mask.unsqueeze(-1)
        text = self.text_conditioner(hidden, tokens["t5"], tokens["t5_mask"], _not_empty(mask))
        return self.transformer(
            hidden_states=noisy[:, :, None],
            timestep=t,
            encoder_hidden_states=text,
            condition_mask=torch.zeros_like(noisy[:, :1, None]),
            return_dict=False,
        )[0][:, :, 0]


def _not_empty(mask: Tensor) -> Tensor:
    """An empty caption attends to one place of zeros."""
    return torch.cat([mask[:, :1] | (mask.sum(1, keepdim=True) == 0).long(), mask[:, 1:]], 1)


class Fit(fitting.Fit):
    """The training of transformer, conditioner and text encoder."""

    def __init__(self, tokenizers: Tokenizers, lr: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.tokenizers = tokenizers
        super().__init__(Model(tokenizers), loss_weights(), lr, seed)

    def caption(self, tags: list[str], rng: np.random.Generator) -> str:
        return anima_words.caption(tags, rng)

    def tokens(self, captions: list[str], rng: np.random.Generator) -> dict[str, Tensor]:
        return self.tokenizers(captions)

    def guess(
        self, clean: Tensor, tokens: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.sigmoid(0.8 + torch.randn(len(clean), generator=generator))  # (B,)
        at = t[:, None, None, None]
        return self.model((1 - at) * clean + at * noise, t, tokens), noise - clean

    def export(self, vae: Path, out: Path) -> None:
        """Write the averaged model as the official folder is laid, fp16."""
        parts = copy.deepcopy(self.average).half()
        parts.transformer.register_to_config(concat_padding_mask=True)
        parts.transformer.save_pretrained(out / "transformer")
        parts.text_encoder.save_pretrained(out / "text_encoder")
        parts.text_conditioner.save_pretrained(out / "text_conditioner")
        self.tokenizers.qwen.save_pretrained(out / "tokenizer")
        self.tokenizers.t5.save_pretrained(out / "t5_tokenizer")
        for name in ("tokenizer", "t5_tokenizer"):
            fitting.without_spaces(out / name)
        fitting.exported_vae(AutoencoderKLQwenImage, vae).save_pretrained(out / "vae")
        FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(out / "scheduler")
        index = {
            "_blocks_class_name": "AnimaAutoBlocks",
            "_class_name": "AnimaModularPipeline",
        }
        (out / "modular_model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def encode_pictures(vae: AutoencoderKLQwenImage, pictures: np.ndarray) -> Tensor:
    """uint8 (N, 64, 64, 3) -> latents fp16 (N, 8, 16, 16), normalised as Anima's are."""
    mean, std = (
        torch.tensor(vae.config[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    with as_stills(vae):
        return torch.cat(
            [
                ((latents(vae, as_input(pictures[i : i + 64])) - mean) / std).half()
                for i in range(0, len(pictures), 64)
            ]
        )


def main() -> None:
    args = fitting.arguments(__doc__, steps=3_200).parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    fit = Fit(Tokenizers(args.out), args.lr, args.seed)
    if (args.out / fitting.STATE).exists():
        fit.load(args.out / fitting.STATE)
    if args.export:
        fit.export(args.vae, args.export)
        print(f"step {fit.step} written to {args.export}")
        return

    def encode(pictures: np.ndarray) -> Tensor:
        vae = AutoencoderKLQwenImage.from_pretrained(args.vae).float().eval()
        return encode_pictures(vae, pictures)

    known = fitting.load_latents(args.renders, args.out / "latents.pt", encode)
    fitting.run(fit, known, args)


if __name__ == "__main__":
    main()
