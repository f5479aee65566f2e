"""Trains the embedded base: a small but genuine Stable Diffusion, UNet and text encoder from scratch.

`python -m world.fit_base world/build/base world/build/vae world/build/fit`

Resumable: the state is saved every few minutes and the same command goes on from it. `--steps` may be
raised or lowered in between: the learning rate is constant until the last third, then falls to zero.
`--export FOLDER` writes the averaged weights as a `save_pretrained` folder, fp16.

What makes so small a model obey its tags, found by experiment: high noise levels are sampled more often
(colour and layout are decided there), zero terminal SNR with v-prediction (no mean colour leaks into the
first step), token embeddings that start large, and captions that leave tags out.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from world import fitting, words
from world.vae_fitting import as_input

WIDTH = 128  # of the text encoder
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def new_unet(channels: int) -> UNet2DConditionModel:
    """`channels` are those of the VAE's latents."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(48, 112, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=words.MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)  # 25x CLIP's: tags must be loud
    return encoder


def loss_weights() -> Tensor:
    """(16, 16), mean 1: how much each place of a latent counts.

    Brows, eyes and mouth are a few percent of a picture and carry a fifth of its tags. The best
    prediction at a place does not depend on the weights of other places, so they change what is learned
    first and not what is true.
    """
    weights = torch.ones(16, 16)
    weights[:5, 3:13] = 2.0  # headwear
    weights[6:13, 4:12] = 4.0  # brows, eyes, nose
    weights[10:13, 5:11] = 8.0  # the mouth
    return weights / weights.mean()


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> latents fp16 (N, C, 16, 16)."""
    return torch.cat(
        [
            vae.encode(as_input(pictures[i : i + 64])).latent_dist.mean.half()
            for i in range(0, len(pictures), 64)
        ]
    )


class Model(nn.Module):
    def __init__(self, tokenizer: CLIPTokenizer, channels: int) -> None:
        super().__init__()
        self.unet = new_unet(channels)
        self.text_encoder = new_text_encoder(tokenizer)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        text = self.text_encoder(tokens).last_hidden_state  # (B, T, WIDTH)
        return self.unet(noisy, timesteps, text).sample  # (B, C, 16, 16)


class Fit(fitting.Fit):
    """The training of UNet and text encoder."""

    def __init__(self, tokenizer: CLIPTokenizer, channels: int, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.tokenizer, self.noise_centre = tokenizer, args.noise_centre
        self.noise = DDPMScheduler(**NOISE)
        weights = loss_weights() ** args.faces
        super().__init__(Model(tokenizer, channels), weights / weights.mean(), args.lr, args.seed)

    def caption(self, tags: list[str], rng: np.random.Generator) -> str:
        return words.caption(tags, rng)

    def tokens(self, captions: list[str], rng: np.random.Generator) -> Tensor:
        # stock pipelines pad to the full length; shorter padding is cheaper: learn both
        padding = "max_length" if rng.random() < 0.5 else "longest"
        return self.tokenizer(
            captions, padding=padding, truncation=True, max_length=words.MAX_LENGTH,
            return_tensors="pt",
        ).input_ids  # fmt: skip

    def guess(
        self, clean: Tensor, tokens: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        noise = torch.randn(clean.shape, generator=generator)
        level = torch.sigmoid(self.noise_centre + torch.randn(len(clean), generator=generator))
        timesteps = (level * 1000).long().clamp(0, 999)
        noisy = self.noise.add_noise(clean, noise, timesteps)
        target = self.noise.get_velocity(clean, noise, timesteps)
        return self.model(noisy, timesteps, tokens), target

    def start_from(self, folder: Path) -> None:
        """Take over the weights of an exported base; the optimizer starts anew."""
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        self.model.unet.load_state_dict(unet.float().state_dict())
        self.model.text_encoder.load_state_dict(text_encoder.float().state_dict())
        self.average.load_state_dict(self.model.state_dict())

    def export(self, vae: Path, out: Path) -> None:
        """Write the averaged model as a stock pipeline, fp16."""
        pipeline = StableDiffusionPipeline(
            vae=fitting.exported_vae(AutoencoderKL, vae),
            text_encoder=copy.deepcopy(self.average.text_encoder).half(),
            tokenizer=self.tokenizer,
            unet=copy.deepcopy(self.average.unet).half(),
            scheduler=DDIMScheduler(**NOISE, set_alpha_to_one=True),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(out)
        fitting.without_spaces(out / "tokenizer")


def tokenizer_of(out: Path, init: Path | None) -> CLIPTokenizer:
    """The tokenizer of this training: made once, then read again.

    A new one is never quite the same: BPE's trainer breaks ties at random, and two words swap places.
    """
    if not (out / "tokenizer").exists():
        known = CLIPTokenizer.from_pretrained(init / "tokenizer") if init else words.new_tokenizer()
        known.save_pretrained(out / "tokenizer")
    return CLIPTokenizer.from_pretrained(out / "tokenizer")


def main() -> None:
    parser = fitting.arguments(__doc__, steps=5_000)
    parser.add_argument("--init", type=Path, help="an exported base to start from, without a state")
    parser.add_argument(
        "--noise-centre", type=float, default=0.6,
        help="logit of the noise level drawn most: above 0 for colours and layout, below for detail",
    )  # fmt: skip
    parser.add_argument(
        "--faces", type=float, default=1.0, help="power of the places' weights: 0 counts all alike"
    )
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    channels = AutoencoderKL.load_config(args.vae)["latent_channels"]
    fit = Fit(tokenizer_of(args.out, args.init), channels, args)
    if (args.out / fitting.STATE).exists():
        fit.load(args.out / fitting.STATE)
    elif args.init:
        fit.start_from(args.init)
    if args.export:
        fit.export(args.vae, args.export)
        print(f"step {fit.step} written to {args.export}")
        return

    def encode(pictures: np.ndarray) -> Tensor:
        return encode_pictures(AutoencoderKL.from_pretrained(args.vae).eval(), pictures)

    latents = fitting.load_latents(args.renders, args.out / "latents.pt", encode)
    fitting.run(fit, latents, args)


if __name__ == "__main__":
    main()
