"""Draws pictures with one base and any number of LoRAs, all of them in full batches.

The drawing itself is a stock `StableDiffusionPipeline` or `StableDiffusionXLPipeline` with a sampler
made from the model's own scheduler config: whoever loads the base and a LoRA file in diffusers gets the
same picture. A batch may mix LoRAs; each row goes through its own (see `lora.py`). One LoRA alone is
added to SD1's weights where these are in float32, and then costs nothing.

What the UNet's layers make of the text is the same at every step, so it is computed at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.models.attention import BasicTransformerBlock
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from bakery.families import base as bases
from bakery.io.errors import BakeryError
from bakery.lora.network import LoRANetwork
from bakery.sampling import samplers
from bakery.settings.sample import Sample

Pipeline = StableDiffusionPipeline | StableDiffusionXLPipeline


class Shot(NamedTuple):
    """What one picture is drawn from."""

    lora: int
    """Place in the list that `use` was given."""
    prompt: str
    seed: int


@dataclass
class Artist:
    """A loaded model that draws shots; `network` carries the LoRAs in use."""

    base: bases.Base
    pipeline: Pipeline
    settings: Sample
    clip_skip: int
    network: LoRANetwork | None = None
    _texts: dict[str, bases.Conditioning] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        settings: Sample,
        *,
        base: str,
        clip_skip: int,
        device: str,
        dtype: torch.dtype = torch.float32,
        v_parameterization: bool | None = None,
        zero_terminal_snr: bool | None = None,
    ) -> Artist:
        """`dtype` is the precision of the base; latents stay in float32 from step to step."""
        loaded = bases.load(
            base,
            device=device,
            dtype=dtype,
            v_parameterization=v_parameterization,
            zero_terminal_snr=zero_terminal_snr,
        )
        unit = loaded.pixels_per_latent
        for name, side in (("width", settings.width), ("height", settings.height)):
            if side % unit:
                raise BakeryError(
                    f"sample.{name} is {side}, but {base} draws in steps of {unit} pixels: "
                    f"give {side - side % unit or unit} or {side - side % unit + unit}"
                )
        for part in (loaded.unet, loaded.vae):  # convolutions then need no other layout
            part.to(memory_format=torch.channels_last)
        return cls(loaded, _pipeline(loaded, settings.sampler), settings, clip_skip)

    def use(self, loras: Sequence[tuple[Path | None, float]]) -> None:
        """Take up these LoRAs, each at its weight, instead of those before; None is the bare base.

        They may be of different ranks and train different layers, and lie in memory in float32 all
        at once.
        """
        if self.network is not None:
            self.network.remove()
        self._texts.clear()
        states = [{} if file is None else _read(file) for file, _ in loras]
        self.network = LoRANetwork.for_files(self.base.unet, self.base.text_encoders, states)
        for k, ((file, weight), state) in enumerate(zip(loras, states, strict=True)):
            with _named(file):
                self.network.load_kohya(state, k)
            self.network.routing.multiplier[k] = weight if file else 0.0
        self.network.requires_grad_(False).eval()
        if len(loras) == 1 and self._mergeable:
            self.network.merge()
        else:
            self.network.apply()

    @property
    def _mergeable(self) -> bool:
        """In half precision the sum would lose digits, and SDXL's weights once more are 8 GB."""
        return self.base.dtype == torch.float32 and self.base.kind == "sd1"

    def check(self, lora: Path) -> None:
        """`BakeryError` if the file is damaged or does not fit the base."""
        state = _read(lora)
        with _named(lora):
            LoRANetwork.for_files(self.base.unet, self.base.text_encoders, [state]).fitted(state)

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """How many chunks of text each prompt is drawn with; pictures of a batch share that."""
        different = list(dict.fromkeys([*prompts, self.settings.negative_prompt]))
        needed = bases.chunks_needed(self.base, different)
        chunks = dict(zip(different, needed, strict=True))
        least = chunks[self.settings.negative_prompt]
        return [min(bases.MAX_CHUNKS, max(chunks[prompt], least)) for prompt in prompts]

    @torch.inference_mode()
    def draw(self, batch: Sequence[Shot]) -> tuple[list[Image.Image], list[bool]]:
        """The pictures of a batch, and whether the arithmetic of each stayed finite."""
        guided = self.settings.cfg_scale > 1
        pairs = [self._text(shot) for shot in batch]
        text = {
            "prompt_embeds": torch.cat([pair.hidden[:1] for pair in pairs]),  # (B, T, C)
            "negative_prompt_embeds": torch.cat([pair.hidden[1:] for pair in pairs]),
        }
        if self.base.kind == "sdxl":
            text["pooled_prompt_embeds"] = torch.cat([pair.pooled[:1] for pair in pairs])  # (B, P)
            text["negative_pooled_prompt_embeds"] = torch.cat([pair.pooled[1:] for pair in pairs])
        # the pipeline puts the negative prompts of all rows before the prompts
        self.network.route([shot.lora for shot in batch] * (2 if guided else 1))
        generators = [torch.Generator("cpu").manual_seed(shot.seed) for shot in batch]
        half = self.base.dtype != torch.float32
        autocast = torch.autocast(self.base.device.type, self.base.dtype, enabled=half)
        with autocast, text_projected_once(self.base.unet):
            latents = self.pipeline(
                **text,
                latents=torch.cat([self.noise(generator) for generator in generators]),
                generator=generators,  # goes on where the noise ended: some samplers add more
                num_inference_steps=self.settings.steps,
                guidance_scale=self.settings.cfg_scale,
                width=self.settings.width,
                height=self.settings.height,
                output_type="latent",
            ).images  # (B, C, h, w)
        pixels = self._decoded(latents)  # (B, H, W, 3) in 0..1
        finite = np.isfinite(pixels).all(axis=(1, 2, 3))
        return self.pipeline.numpy_to_pil(np.nan_to_num(pixels)), finite.tolist()

    def noise(self, generator: torch.Generator) -> torch.Tensor:
        """The start of a picture, (1, C, height / unit, width / unit).

        Drawn on the CPU and for one picture at a time, so that neither the device nor the batch
        size changes it; the same numbers that a stock pipeline draws from this generator.
        """
        unit = self.base.pixels_per_latent
        shape = (
            1,
            self.base.unet.config.in_channels,
            self.settings.height // unit,
            self.settings.width // unit,
        )
        return torch.randn(shape, generator=generator).to(self.base.device)

    def _decoded(self, latents: torch.Tensor) -> np.ndarray:
        """The VAE's pictures; SDXL's one by one, for at 1024 px a batch would take the most memory.

        Outside of autocast: SDXL's VAE is in float32 because it needs to be.
        """
        vae = self.base.vae
        latents = (latents / vae.config.scaling_factor).to(vae.dtype)
        rows = latents.split(1 if self.base.kind == "sdxl" else len(latents))
        pixels = torch.cat([vae.decode(row).sample.float() for row in rows])
        return self.pipeline.image_processor.postprocess(pixels, output_type="np")

    def _text(self, shot: Shot) -> bases.Conditioning:
        """Two rows: the shot's prompt and the negative prompt, as its LoRA reads them.

        A prompt is encoded with the negative prompt and no other, for all LoRAs at once, so no
        prompt changes another's picture.
        """
        if shot.prompt not in self._texts:
            self.network.route()
            pair = [shot.prompt, self.settings.negative_prompt]
            self._texts[shot.prompt] = bases.encode(
                self.base, pair * len(self.network), self.clip_skip
            )
        return self._texts[shot.prompt][2 * shot.lora : 2 * shot.lora + 2]


@contextmanager
def _named(file: Path | None) -> Iterator[None]:
    """Says which file a `BakeryError` is about."""
    try:
        yield
    except BakeryError as problem:
        raise BakeryError(f"{file}: {problem}") from None


@contextmanager
def text_projected_once(unet: nn.Module) -> Iterator[None]:
    """Cross-attention's keys and values are kept as long as they are asked of the very same text."""
    with ExitStack() as undo:
        for block in unet.modules():
            if isinstance(block, BasicTransformerBlock) and block.attn2 is not None:
                for layer in (block.attn2.to_k, block.attn2.to_v):
                    before = layer.__dict__.get("forward")  # of an adapter
                    layer.forward = _remembering(layer.forward)
                    undo.callback(_restore, layer, before)
        yield


def _remembering(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    seen: list[torch.Tensor] = []

    def remembered(text: torch.Tensor) -> torch.Tensor:
        if not seen or seen[0] is not text:
            seen[:] = [text, forward(text)]
        return seen[1]

    return remembered


def _restore(layer: nn.Module, forward: Callable[..., torch.Tensor] | None) -> None:
    if forward is None:
        del layer.forward
    else:
        layer.forward = forward


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as problem:
        raise BakeryError(f"{file} is not a readable LoRA file ({problem}): train again") from None


def _pipeline(base: bases.Base, sampler: str) -> Pipeline:
    parts = {
        "vae": base.vae,
        "unet": base.unet,
        "text_encoder": base.text_encoders[0],
        "tokenizer": base.tokenizers[0],
        "scheduler": samplers.scheduler(sampler, base.noise_scheduler.config),
        "feature_extractor": None,
    }
    if base.kind == "sdxl":
        pipeline = StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=base.text_encoders[1],
            tokenizer_2=base.tokenizers[1],
            add_watermarker=False,
        )
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
