"""A loaded Anima."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.transformers.transformer_cosmos import CosmosTransformerBlock
from torch import nn

from bakery.families import recognise
from bakery.families.anima import drawing as drawn
from bakery.families.anima import lora_names, names, reading
from bakery.families.anima.flow import RectifiedFlow
from bakery.families.anima.latents import QwenImageLatents
from bakery.families.anima.shapes import MOST_TOKENS
from bakery.families.anima.text import TextSide
from bakery.families.attention import text_projected_once
from bakery.families.family import (
    DENOISER,
    LATENTS,
    TEXT_ENCODER,
    TEXTS,
    UNET,
    Drawing,
    Model,
    Target,
    Text,
)
from bakery.io import devices

if TYPE_CHECKING:
    from bakery.families.family import Family
    from bakery.families.recognise import Place

_NAMES = {
    LATENTS: ("vae",),
    TEXTS: ("text_encoder", "text_conditioner"),
    DENOISER: ("transformer",),
}
"""The folders in a diffusers model that a part is read from."""
_SMALL = 500_000_000
"""Weights of a transformer that is so small that a second copy of them does not matter."""
_LEFT_ALONE = ("adaln_modulation", "embedder", "final_layer")
"""Layers without an adapter of ours, by a part of their name."""


@dataclass
class AnimaModel(Model):
    """A transformer on latents, a language model and an adapter for the text; all in `dtype`."""

    family: Family
    path: str
    device: torch.device
    dtype: torch.dtype
    files: reading.Files
    transformer: Any
    """diffusers' CosmosTransformer3DModel."""
    text: TextSide
    vae: AutoencoderKLQwenImage
    schedule: Mapping[str, Any]
    """The config of the scheduler that pictures are drawn with."""

    def __post_init__(self) -> None:
        self.noise = RectifiedFlow()
        self._latents = QwenImageLatents(self.vae)
        # The mask of the padding is a channel of zeros. diffusers resizes it with torchvision; here it
        # is handed in at its size, as any other mask.
        self.transformer.register_to_config(concat_padding_mask=False)

    @property
    def latents(self) -> QwenImageLatents:
        return self._latents

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        return {UNET: [self.transformer]}

    def read(self, part: str) -> list[nn.Module]:
        return [self.files.load(name) for name in _NAMES[part]]

    def source(self, part: str) -> str | None:
        found = [self.files.digest(name) for name in _NAMES[part]]
        return None if None in found else " ".join(map(str, found))

    @property
    def core(self) -> nn.Module:
        return self.transformer

    @property
    def encoders(self) -> list[nn.Module]:
        return [self.text.encoder, self.text.conditioner]

    @property
    def encoding(self) -> dict[str, Any]:
        return {"floor": self.text.floor, "most": MOST_TOKENS}

    @property
    def mergeable(self) -> bool:
        weights = sum(weight.numel() for weight in self.transformer.parameters())
        return self.dtype == torch.float32 and weights < _SMALL

    def targets(
        self, parts: Iterable[str] | None = None, *, convolutions: bool = False
    ) -> Iterator[Target]:
        """Attention and MLP of all blocks, as in sd-scripts.

        There are no convolutions. In their place are all other layers that LoRA files of other trainers
        may have adapters on: modulation and embedders, and those of the text's adapter, which decide
        how a text is read and are not trained here.
        """
        wanted = (
            (UNET, *([TEXT_ENCODER] if convolutions else [])) if parts is None else tuple(parts)
        )
        for path, layer in self.transformer.named_modules() if UNET in wanted else ():
            if isinstance(layer, nn.Linear):
                name = names.to_original(path)
                if convolutions or not any(part in name for part in _LEFT_ALONE):
                    yield _target(name, layer, UNET)
        for path, layer in self.text.conditioner.named_modules() if TEXT_ENCODER in wanted else ():
            if isinstance(layer, nn.Linear):
                yield _target(names.ADAPTER + path, layer, TEXT_ENCODER)

    def tokens(self, caption: str) -> list[list[int]]:
        return list(self.text.tokens(caption))

    def length(self, caption: str) -> int:
        """In tokens of T5's, at least the floor."""
        return self.text.length(caption)

    def cuts(self, caption: str) -> bool:
        return self.text.cuts(caption)

    def about_length(self, prompt: str) -> str:
        if not self.cuts(prompt):
            return ""
        needed = max(map(len, self.text.tokens(prompt)))
        return f"is cut: it has {needed} tokens, and only {MOST_TOKENS} are read"

    def encode(self, captions: Sequence[str]) -> Text:
        """`hidden` (B, T, C): the adapter's output, with the zeros at its end."""
        return {"hidden": self.text.encode(captions, self.device)}

    def predict(
        self, noisy: torch.Tensor, t: torch.Tensor, text: Text, views: Text | None = None
    ) -> torch.Tensor:
        noisy = noisy.to(self.dtype)[:, :, None]  # (B, C, 1, h, w), a video of one frame
        return self.transformer(
            hidden_states=noisy,
            timestep=t,
            encoder_hidden_states=text["hidden"].to(self.dtype),
            condition_mask=torch.zeros_like(noisy[:, :1]),
            return_dict=False,
        )[0][:, :, 0]

    def recompute_activations(self, parts: Iterable[str]) -> None:
        self.transformer.enable_gradient_checkpointing()

    def prepare_to_draw(self) -> None:
        """Nothing has to be laid out anew."""

    def draw(
        self,
        text: Text,
        negative: Text,
        starts: torch.Tensor,
        drawing: Drawing,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """As diffusers' AnimaModularPipeline draws, but with both texts in one pass."""
        guided = drawing.cfg_scale > 1
        hidden = text["hidden"]
        if guided:
            hidden = torch.cat((negative["hidden"], hidden))
        hidden = hidden.to(self.dtype)  # the same tensor in all steps

        def flow(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            rows = torch.cat((x, x)) if guided else x
            found = self.predict(rows, t.expand(len(rows)), {"hidden": hidden}).float()
            if not guided:
                return found
            plain, wanted = found.chunk(2)
            return plain + drawing.cfg_scale * (wanted - plain)

        once = text_projected_once(self.transformer, CosmosTransformerBlock)
        with devices.autocast(self.device, self.dtype), once:
            return drawn.follow(flow, starts, drawing, self.schedule)

    def schedule_type(self, sampler: str) -> str:
        return "Simple"

    def describe(self) -> dict[str, object]:
        own: dict[str, object] = {
            "ss_base_model_version": self.family.base_version,
            "modelspec.prediction_type": "epsilon",  # so sd-scripts calls all that do not predict v
            "modelspec.architecture": "anima-preview/lora",
            "modelspec.implementation": "https://huggingface.co/circlestone-labs/Anima",
        }
        return own | recognise.file_facts(self.files.place)

    @classmethod
    def outline(
        cls,
        family: Family,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> AnimaModel:
        """See `Family.outline`."""
        files = reading.Files(place, dtype)
        parts = files.outline()
        return cls(
            family=family,
            path=files.path,
            device=device,
            dtype=dtype,
            files=files,
            transformer=parts["transformer"],
            text=TextSide(
                parts["tokenizer"],
                parts["t5_tokenizer"],
                parts["text_encoder"],
                parts["text_conditioner"],
            ),
            vae=parts["vae"],
            schedule=dict(parts["scheduler"].config),
        )


def _target(name: str, layer: nn.Linear, part: str) -> Target:
    return Target(lora_names.KOHYA + lora_names.underscored(name), layer, part)
