"""What models of SD 1.x and SDXL have in common: a UNet on a VAE's latents, CLIP as text encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bakery.families import clip, recognise, samplers, targets
from bakery.families.attention import text_projected_once
from bakery.families.family import (
    DENOISER,
    LATENTS,
    TEXT_ENCODER,
    TEXTS,
    UNET,
    Drawing,
    LatentSpace,
    Model,
    Target,
    Text,
)
from bakery.families.loading import Files
from bakery.families.noise import Diffusion
from bakery.families.recognise import Place
from bakery.families.stable_diffusion import StableDiffusion
from bakery.io import devices

_NAMES = {
    LATENTS: ("vae",),
    TEXTS: ("text_encoder", "text_encoder_2"),
    DENOISER: ("unet",),
}
"""The folders in a diffusers model that a part is read from; SD 1.x has only the first of its texts."""


class Pipeline(Protocol):
    """What a stock pipeline of diffusers is used for here."""

    def set_progress_bar_config(self, *, disable: bool) -> None: ...

    def __call__(self, *args: Any, **wanted: Any) -> Any: ...


class VaeLatents(LatentSpace):
    """Latents of a Stable Diffusion VAE: one factor for all channels."""

    module: AutoencoderKL

    def __init__(self, vae: AutoencoderKL, *, one_by_one: bool = False) -> None:
        """`one_by_one` decodes so: at 1024 px a batch would take the most memory."""
        self.module = vae
        self.channels = vae.config["latent_channels"]
        self.pixels = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self._one_by_one = one_by_one

    @property
    def dtype(self) -> torch.dtype:
        return self.module.dtype

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spread = self.module.encode(pixels).latent_dist
        return spread.mean, spread.std

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * self.module.config["scaling_factor"]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        latents = (latents / self.module.config["scaling_factor"]).to(self.dtype)
        rows = latents.split(1 if self._one_by_one else len(latents))
        return torch.cat([self.module.decode(row).sample.float() for row in rows])


@dataclass
class LatentDiffusion(Model):
    """A model of SD 1.x or SDXL, on `device` in `dtype`; SDXL's VAE is always in float32."""

    family: StableDiffusion
    path: str
    device: torch.device
    dtype: torch.dtype
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: list[CLIPTextModel | CLIPTextModelWithProjection]
    """One for SD 1.x, two for SDXL."""
    tokenizers: list[CLIPTokenizer]
    noise_scheduler: DDPMScheduler
    files: Files
    clip_skip: int = 1
    max_chunks: int = clip.MAX_TOKENS // clip.TOKENS_PER_CHUNK
    decodes_one_by_one = False
    _pipelines: dict[str, Pipeline] = field(default_factory=dict, init=False)
    _needed: dict[str, int] = field(default_factory=dict, init=False)
    _draws: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.noise = Diffusion(self.noise_scheduler)

    def read(self, part: str) -> list[nn.Module]:
        return [self.files.load(name) for name in self._names(part)]

    def settle(self, part: str) -> None:
        if self._draws and part != TEXTS:  # convolutions then need no other layout
            for module in self.modules(part):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it

    def source(self, part: str) -> str | None:
        found = [self.files.digest(name) for name in self._names(part)]
        return None if None in found else " ".join(map(str, found))

    def _names(self, part: str) -> tuple[str, ...]:
        return _NAMES[part][: len(self.modules(part))]

    @property
    def latents(self) -> VaeLatents:
        return VaeLatents(self.vae, one_by_one=self.decodes_one_by_one)

    @property
    def prediction_type(self) -> str:
        """`epsilon` or `v_prediction`: what the UNet was trained to predict."""
        return self.noise_scheduler.config["prediction_type"]

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.noise_scheduler.config["rescale_betas_zero_snr"])

    @property
    def chunk_size(self) -> int:
        """Tokens of a caption in one pass of a text encoder, without BOS and EOS (75 for CLIP)."""
        positions = self.text_encoders[0].config.max_position_embeddings
        return min(self.tokenizers[0].model_max_length, positions) - 2

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        return {UNET: [self.unet], TEXT_ENCODER: list(self.text_encoders)}

    @property
    def core(self) -> nn.Module:
        return self.unet

    @property
    def encoders(self) -> list[nn.Module]:
        return list(self.text_encoders)

    @property
    def encoding(self) -> dict[str, Any]:
        return {
            "clip_skip": self.clip_skip,
            "chunk": self.chunk_size,
            "most": self.max_chunks,
            "pad": [tokenizer.pad_token_id for tokenizer in self.tokenizers],
        }

    def targets(
        self, parts: Iterable[str] | None = None, *, convolutions: bool = False
    ) -> Iterator[Target]:
        wanted = (UNET, TEXT_ENCODER) if parts is None else tuple(parts)
        if UNET in wanted:
            yield from targets.of_unet(self.unet, self.unet_path, convolutions=convolutions)
        if TEXT_ENCODER in wanted:
            yield from targets.of_text_encoders(self.text_encoders)

    def unet_path(self, path: str) -> str:
        """What kohya's files call the UNet's layer that diffusers calls `path`, dots for underscores."""
        return path

    def tokens(self, caption: str) -> list[int]:
        return clip.ids(self.tokenizers[0], caption)

    def chunks_needed(self, caption: str) -> int:
        """Passes of the text encoder for a caption that is not cut, at least 1."""
        if caption not in self._needed:
            needed = clip.chunks_needed(self.tokenizers[0], caption, self.chunk_size)
            self._needed[caption] = needed
        return self._needed[caption]

    def length(self, caption: str) -> int:
        """In chunks."""
        return min(self.max_chunks, self.chunks_needed(caption))

    def cuts(self, caption: str) -> bool:
        return self.chunks_needed(caption) > self.max_chunks

    def about_length(self, prompt: str) -> str:
        needed, room = self.chunks_needed(prompt), f"{self.chunk_size} tokens"
        if self.cuts(prompt):
            return (
                f"is cut: it needs {needed} chunks of {room}, and only {self.max_chunks} are read"
            )
        if needed > 1:
            return (
                f"is longer than {room} and is read in {needed} chunks, as A1111 does; a stock "
                "diffusers pipeline would cut it"
            )
        return ""

    def encode(self, captions: Sequence[str]) -> Text:
        n = max(map(self.length, captions), default=1)
        tokens = [
            devices.moved(clip.tokens(tokenizer, captions, n, self.chunk_size), self.device)
            for tokenizer in self.tokenizers
        ]  # (B, n, 2 + size) for each text encoder
        return self.encode_tokens(tokens, n)

    @abstractmethod
    def encode_tokens(self, tokens: Sequence[torch.Tensor], n: int) -> Text:
        """`hidden` (B, T, C), where C is the width of all text encoders together, and more."""

    def predict(
        self, noisy: torch.Tensor, t: torch.Tensor, text: Text, views: Text | None = None
    ) -> torch.Tensor:
        return self.unet(
            noisy.to(self.dtype),
            t,
            text["hidden"].to(self.dtype),
            added_cond_kwargs=self.added(noisy, text, views),
        ).sample

    def added(
        self, noisy: torch.Tensor, text: Text, views: Text | None
    ) -> dict[str, torch.Tensor] | None:
        """Further conditioning of the UNet."""
        return None

    def recompute_activations(self, parts: Iterable[str]) -> None:
        self.unet.enable_gradient_checkpointing()
        for encoder in self.text_encoders if TEXT_ENCODER in parts else ():
            encoder.activation_checkpointing_enable()
            encoder.train()  # CLIP recomputes in this mode only; it has no dropout

    def prepare_to_draw(self) -> None:
        self._draws = True
        for part in (DENOISER, LATENTS):
            if self.holds(part):
                self.settle(part)

    def draw(
        self,
        text: Text,
        negative: Text,
        starts: torch.Tensor,
        drawing: Drawing,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """A stock pipeline, so that loading the same files in diffusers gives the same picture."""
        if drawing.sampler not in self._pipelines:
            scheduler = samplers.scheduler(drawing.sampler, self.noise_scheduler.config)
            pipeline = self.pipeline(scheduler)
            pipeline.set_progress_bar_config(disable=True)
            self._pipelines[drawing.sampler] = pipeline
        height, width = (side * self.latents.pixels for side in starts.shape[-2:])
        with devices.autocast(self.device, self.dtype), text_projected_once(self.unet):
            return self._pipelines[drawing.sampler](
                **self.prompt_embeds(text, negative),
                latents=starts,
                generator=list(generators),
                num_inference_steps=drawing.steps,
                guidance_scale=drawing.cfg_scale,
                width=width,
                height=height,
                output_type="latent",
            ).images  # (B, C, h, w)

    def schedule_type(self, sampler: str) -> str:
        return samplers.schedule_type(sampler, self.noise_scheduler.config)

    def prompt_embeds(self, text: Text, negative: Text) -> dict[str, torch.Tensor]:
        """Texts under the pipeline's names."""
        return {"prompt_embeds": text["hidden"], "negative_prompt_embeds": negative["hidden"]}

    @abstractmethod
    def pipeline(self, scheduler: Any) -> Pipeline:
        """A stock pipeline of these parts; imported here, as training draws nothing."""

    def pipeline_parts(self) -> dict[str, Any]:
        """The parts of the pipelines of both families; texts come to them encoded."""
        return {
            "vae": self.vae,
            "unet": self.unet,
            "text_encoder": None,
            "tokenizer": self.tokenizers[0],
            "feature_extractor": None,
        }

    def describe(self) -> dict[str, object]:
        return {
            "ss_base_model_version": self.family.base_version,
            "ss_v2": False,
            "ss_zero_terminal_snr": self.zero_terminal_snr,
            "modelspec.prediction_type": "epsilon" if self.prediction_type == "epsilon" else "v",
        } | recognise.file_facts(self.files.place)

    @classmethod
    def outline(
        cls,
        family: StableDiffusion,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> LatentDiffusion:
        """See `Family.outline`."""
        files = Files(family, place, dtype)
        parts = files.outline(settings)
        cls.check_parts(files.path, parts)
        max_tokens = settings.get("max_token_length", clip.MAX_TOKENS)
        return cls(
            family=family,
            path=files.path,
            device=device,
            dtype=dtype,
            unet=parts["unet"],
            vae=parts["vae"],
            text_encoders=[parts[n] for n in ("text_encoder", "text_encoder_2") if n in parts],
            tokenizers=[parts[n] for n in ("tokenizer", "tokenizer_2") if n in parts],
            noise_scheduler=parts["scheduler"],
            files=files,
            clip_skip=settings.get("clip_skip", 1),
            max_chunks=max_tokens // clip.TOKENS_PER_CHUNK,
        )

    @classmethod
    def check_parts(cls, path: str, parts: Mapping[str, Any]) -> None:
        """`BakeryError` unless the parts are those of one model of this family."""
