"""Draws pictures with one base and any number of LoRAs, in full batches.

The base does the drawing (`Model.draw`): loading the base and a LoRA file in diffusers gives the
same picture. A batch may mix LoRAs; each row goes through its own (see `lora.network`). One LoRA
alone is added to the weights if the base allows it, and then costs nothing.

Prompts can be encoded before anything is drawn (`encode`), for many batches: then text encoders and
denoiser need not be in memory together. What was not encoded is when it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from bakery.families import registry
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
    join,
    rows,
)
from bakery.families.recognise import Place, label
from bakery.io import devices, weight_files
from bakery.io.errors import BakeryError
from bakery.lora import file_forms
from bakery.lora.network import LoRANetwork
from bakery.sampling.pictures import Lora
from bakery.settings.sample import Sample


class ImageRequest(NamedTuple):
    """Everything one picture is drawn from."""

    lora: int
    """Place in the list that `use` was given."""
    prompt: str
    seed: int


@dataclass
class ImagePipeline:
    """A model that draws requested pictures; `network` carries the LoRAs in use, on the denoiser."""

    base: Model
    settings: Sample
    network: LoRANetwork | None = None
    _in_use: tuple[Lora, ...] = ()
    _texts: dict[tuple[Hashable, str], Text] = field(default_factory=dict)
    """Prompts with the LoRAs that read them -> two rows for each of these LoRAs."""
    _reads: dict[Path | None, bool] = field(default_factory=dict)
    """Whether a LoRA changes how texts are read."""

    @classmethod
    def load(
        cls,
        settings: Sample,
        *,
        base: Place,
        device: str,
        dtype: torch.dtype = torch.float32,
        **train: Any,
    ) -> ImagePipeline:
        """`dtype` is the precision of the base; latents stay in float32 from step to step.

        `train` are settings of the bakes that the base is loaded with (`Train.drawn_with`).
        """
        loaded = registry.outline(base, device, dtype, **train)
        registry.check_sampler(loaded.family, settings.sampler)
        unit = loaded.latents.grid
        for name, side in (("width", settings.width), ("height", settings.height)):
            if side % unit:
                raise BakeryError(
                    f"sample.{name} is {side}, but {label(base)} draws in steps of {unit} pixels: "
                    f"give {side - side % unit or unit} or {side - side % unit + unit}"
                )
        loaded.prepare_to_draw()
        return cls(loaded, settings)

    def use(self, loras: Sequence[Lora]) -> None:
        """Load these LoRAs, each at its weight, instead of the previous ones; None means the base
        alone.

        They may have different ranks and layers, and are all kept in memory in float32.
        """
        if self.network is not None:
            self.network.remove()
        self.base.need(DENOISER)
        self.network = self._carrying(UNET, loras)
        self._in_use = tuple(loras)

    @torch.inference_mode()
    def encode(self, loras: Sequence[Lora], prompts: Iterable[str]) -> None:
        """Keep these prompts encoded as each of `loras` reads them, on the CPU, until `forget`.

        A prompt is encoded only with the negative prompt, for all LoRAs at once, so that no
        prompt changes another's picture.
        """
        readers = self._readers(loras)
        missing = [p for p in dict.fromkeys(prompts) if (readers, p) not in self._texts]
        if not missing:
            return
        self.base.need(TEXTS)
        network = self._carrying(TEXT_ENCODER, loras)
        try:
            for prompt in missing:
                network.route()
                pairs = [prompt, self.settings.negative_prompt] * len(loras)
                text = self.base.encode(pairs)
                self._texts[readers, prompt] = {name: x.cpu() for name, x in text.items()}
        finally:
            network.remove()

    @property
    def texts_size(self) -> int:
        """Bytes of the prompts that are kept encoded."""
        return sum(x.nbytes for text in self._texts.values() for x in text.values())

    def forget(self) -> None:
        """Drop the prompts that are kept encoded."""
        self._texts.clear()

    def check(self, lora: Path) -> None:
        """`BakeryError` if the file is damaged or does not fit the base."""
        state = _read(lora)
        with _named(lora):
            LoRANetwork.for_files(self._targets(), [state]).fitted(state)

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """The length of the text that each prompt is drawn with; it is the same in a batch."""
        least = self.base.length(self.settings.negative_prompt)
        return [max(self.base.length(prompt), least) for prompt in prompts]

    @torch.inference_mode()
    def draw(self, batch: Sequence[ImageRequest]) -> tuple[list[Image.Image], list[bool]]:
        """The pictures of a batch, and whether the arithmetic of each stayed finite."""
        self.base.need(DENOISER, LATENTS)
        pairs = [self._text(request) for request in batch]
        text, negative = (join([rows(pair, slice(i, i + 1)) for pair in pairs]) for i in (0, 1))
        guided = self.settings.cfg_scale > 1
        self._loras().route([request.lora for request in batch] * (2 if guided else 1))
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in batch]
        latents = self.base.draw(
            text,
            negative,
            torch.cat([self.noise(generator) for generator in generators]),
            Drawing(self.settings.sampler, self.settings.steps, self.settings.cfg_scale),
            generators,
        )  # (B, C, h, w)
        # outside of autocast: a VAE is in float32 because it needs to be
        decoded = VaeImageProcessor.denormalize(self.base.latents.decode(latents))
        pixels = VaeImageProcessor.pt_to_numpy(decoded)  # (B, H, W, 3) in 0..1
        finite = np.isfinite(pixels).all(axis=(1, 2, 3))
        return VaeImageProcessor.numpy_to_pil(np.nan_to_num(pixels)), finite.tolist()

    def noise(self, generator: torch.Generator) -> torch.Tensor:
        """The start of a picture, (1, C, height / unit, width / unit).

        Drawn on the CPU and for one picture at a time, so that neither the device nor the batch
        size changes it; the same numbers that a stock pipeline draws from this generator.
        """
        space = self.base.latents
        height, width = self.settings.height // space.pixels, self.settings.width // space.pixels
        shape = (1, space.channels, height, width)
        return torch.randn(shape, generator=generator).to(self.base.device)

    def _loras(self) -> LoRANetwork:
        if self.network is None:
            raise ValueError("`use` comes before drawing, also for the bare base")
        return self.network

    def _carrying(self, part: str, loras: Sequence[Lora]) -> LoRANetwork:
        """The adapters of `loras` on one part of the base, switched on."""
        states = [self._of_part(part, file) for file, _ in loras]
        network = LoRANetwork.for_files(self.base.targets([part], convolutions=True), states)
        network.known = {target.name for target in self._targets()}
        for k, ((file, weight), state) in enumerate(zip(loras, states, strict=True)):
            with _named(file):
                network.load_kohya(state, k)
            network.routing.multiplier[k] = weight if file else 0.0
        network.requires_grad_(False).eval()
        return network.merge() if len(loras) == 1 and self.base.mergeable else network.apply()

    def _of_part(self, part: str, file: Path | None) -> dict[str, torch.Tensor]:
        """What a LoRA has for a part; what belongs to none is the denoiser's, which refuses it."""
        if file is None:
            return {}
        read_by_texts = self._is_of_texts()
        return _read(file, lambda name: read_by_texts(name) == (part == TEXT_ENCODER))

    def _readers(self, loras: Sequence[Lora]) -> Hashable:
        """What the texts of these LoRAs depend on: if none reads otherwise than the base, on their
        number alone."""
        for file, _ in loras:
            if file not in self._reads:
                names = [] if file is None else _names(file)
                self._reads[file] = any(map(self._is_of_texts(), names))
        return tuple(loras) if any(self._reads[file] for file, _ in loras) else len(loras)

    def _is_of_texts(self) -> Callable[[str], bool]:
        """Whether a tensor of this name is of a layer that reads texts."""
        inside = {target.name for target in self.base.targets([TEXT_ENCODER])}
        return lambda name: name.partition(".")[0] in inside

    def _targets(self) -> Iterator[Target]:
        return self.base.targets(convolutions=True)

    def _text(self, request: ImageRequest) -> Text:
        """Two rows: the request's prompt and the negative prompt, as its LoRA reads them."""
        self.encode(self._in_use, [request.prompt])
        text = self._texts[self._readers(self._in_use), request.prompt]
        pair = rows(text, slice(2 * request.lora, 2 * request.lora + 2))
        return {name: devices.moved(x, self.base.device) for name, x in pair.items()}


@contextmanager
def _named(file: Path | None) -> Iterator[None]:
    """Adds the file's name to a `BakeryError`."""
    try:
        yield
    except BakeryError as problem:
        raise BakeryError(f"{file}: {problem}") from None


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """A LoRA file of any form, no tensor of it read yet, and kohya's names for its keys."""
    with weight_files.opened(file, "bake it again", framework="pt") as tensors, _named(file):
        yield tensors, file_forms.kohya({key: key for key in tensors.keys()})  # noqa: SIM118


def _names(file: Path) -> list[str]:
    """What kohya's files call the tensors."""
    with _opened(file) as (_, named):
        return list(named)


def _read(file: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, torch.Tensor]:
    """The tensors whose names are wanted, under kohya's names."""
    with _opened(file) as (tensors, named):
        return {name: tensors.get_tensor(key) for name, key in named.items() if wanted(name)}
