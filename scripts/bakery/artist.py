"""Draws pictures with one base and any number of LoRAs, all of them in full batches.

The drawing itself is a stock `StableDiffusionPipeline` or `StableDiffusionXLPipeline` with a sampler
made from the model's own scheduler config: whoever loads the base and a LoRA file in diffusers gets the
same picture. A batch may mix LoRAs; each row goes through its own (see `lora.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from bakery import base as bases
from bakery import samplers
from bakery.config import Sample
from bakery.errors import BakeryError
from bakery.lora import LoRANetwork

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
            try:
                self.network.load_kohya(state, k)
            except BakeryError as problem:
                raise BakeryError(f"{file}: {problem}") from None
            self.network.routing.multiplier[k] = weight if file else 0.0
        self.network.requires_grad_(False).eval()
        self.network.apply()

    def batches(self, prompts: Sequence[str]) -> list[list[int]]:
        """Places in `prompts`, in full batches of those that need the same length of text."""
        different = list(dict.fromkeys([*prompts, self.settings.negative_prompt]))
        needed = bases.chunks_needed(self.base, different)
        chunks = dict(zip(different, needed, strict=True))
        least = chunks[self.settings.negative_prompt]

        def length(place: int) -> int:
            return min(bases.MAX_CHUNKS, max(chunks[prompts[place]], least))

        size, found = self.settings.batch_size, []
        for _, group in groupby(sorted(range(len(prompts)), key=length), key=length):
            alike = list(group)
            found += [alike[start : start + size] for start in range(0, len(alike), size)]
        return found

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
        with torch.autocast(self.base.device.type, self.base.dtype, enabled=half):
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
