"""What the library needs from a base model of any family. No torch is needed to import this.

A `Family` is what is known without weights: its name, how to recognise its files, what it refuses. A
`Model` is a frozen base whose weights are in memory part by part. Training, sampling and LoRA files know
nothing else of one. `registry.FAMILIES` lists the families; `tests/families/test_contract.py` holds them
to what this says.

What is written so that a family unlike Stable Diffusion fits, as Anima does:

- `t` is a tensor (B,) of the model's own kind: integers of a schedule or numbers in 0 .. 1. Only
  `NoiseProcess` and `predict` look into it.
- Latents are (B, C, h, w) for everyone. A model with a frame axis adds and drops it in `predict`,
  `LatentSpace.encode` and `LatentSpace.decode`. `normalise` may have a mean and a deviation a channel.
- `Text` has tensors of any names, rows first: hidden states, second token ids, masks. Texts of one
  `length` share a batch; one that needs padding to a floor says so in `length`.
- `parts` has no `text_encoder_lr` where the text encoder cannot learn; `encoders` has it all the same.
- `targets` gives the layers of any module under any names, and which part they belong to.
- `Family.parts` are the files that `train.base` may name one by one; the first shows the family.
- `draw` runs whatever draws, a pipeline or a modular one; it gives latents.
- A model begins without weights (`Family.outline`); `need` reads a part from the files, `release` frees
  it. A phase of a bake holds what it works with: `LATENTS` to encode pictures, `TEXTS` to encode
  captions, `DENOISER` to train. A family says how its parts are read (`Model.read`); `modules` says
  which modules a part is, if it is not the encoder of `latents`, `encoders` and `core`.
- Settings arrive by name (`train`'s own), so a family may have settings that no other reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bakery.families.customs import Customs

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from bakery.families.recognise import Header, Place
    from bakery.io.images import Size

Text = dict[str, "torch.Tensor"]
"""Tensors by name, each (B, ...): cut, joined and cached by name."""
UNET, TEXT_ENCODER = "unet_lr", "text_encoder_lr"
"""The parts of a model that learn, by the setting that holds their rate."""
LATENTS, TEXTS, DENOISER = "latents", "texts", "denoiser"
"""The parts of a model that are in memory or not: what turns pictures into latents and back, what
encodes texts, and what is trained and draws."""


class Target(NamedTuple):
    """A layer that gets an adapter."""

    name: str
    """What kohya's files call it."""
    layer: nn.Linear | nn.Conv2d
    part: str
    """`UNET` or `TEXT_ENCODER`."""


class View(NamedTuple):
    """How a training picture is shown."""

    picture: Size
    """Width and height before resizing."""
    bucket: Size
    flipped: bool


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn."""

    sampler: str
    """A1111's name."""
    steps: int
    cfg_scale: float
    """Above 1, a negative text takes part."""


class Family(Customs, ABC):
    """What is known about a kind of model without loading it."""

    name: ClassVar[str]
    """In keys, metadata and the record of code versions."""
    resolution: ClassVar[int]
    """Side of the squares that its models were trained on, in pixels."""
    code_version: ClassVar[int] = 1
    """Raised when this family's code gives different results: its bakes are rerun, and no
    others."""
    parts: ClassVar[tuple[str, ...]]
    """The files that `train.base` may name one by one; the first shows the family."""

    @abstractmethod
    def recognises(self, header: Header) -> bool:
        """Whether files with these tensors, or of this diffusers pipeline, are of this family."""

    def stranger(self, header: Header) -> str:
        """What a file is that resembles this family's and cannot be trained; "" for all others."""
        return ""

    @abstractmethod
    def owns_lora(self, keys: Iterable[str]) -> bool:
        """Whether a LoRA file with these keys was made for this family."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """`BakeryError` for settings of `train` that do nothing with this family."""

    def parts_beside(self, checkpoint: Path) -> dict[str, str]:
        """Paths of other `parts` that lie beside a file with one part only."""
        return {}

    def check_place(self, place: Place) -> None:
        """`BakeryError` for files that do not belong together, as far as it shows without torch."""

    @abstractmethod
    def outline(
        self,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        """A frozen model, its weights not read yet; `settings` are those of `train` by name; missing
        ones have their defaults.

        Raises `BakeryError` when the model is missing, incomplete or made of parts of others.
        """


class LatentSpace(ABC):
    """Pictures as the model sees them."""

    channels: int
    pixels: int
    """Side of the square of pixels of one latent pixel."""
    module: nn.Module
    """The encoder; its weights and `dtype` decide the latents."""

    @property
    def grid(self) -> int:
        """Sides of pictures are multiples of this many pixels."""
        return self.pixels

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the module's weights."""

    @abstractmethod
    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) in -1 .. 1 -> mean and deviation, (B, C, h, w) each, not normalised."""

    @abstractmethod
    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        """(..., C, h, w) drawn from mean and deviation -> what the model is trained on."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w), normalised -> (B, 3, H, W) in about -1 .. 1, float32."""


class NoiseProcess(ABC):
    """How noise is added to latents, and what the model should predict."""

    def set_by(self, settings: Mapping[str, Any]) -> NoiseProcess:
        """This process with what a bake sets of it; `settings` are those of `train` by name."""
        return self

    @abstractmethod
    def draw(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(noise of `shape` = (B, C, h, w), t (B,)), on the CPU."""

    @abstractmethod
    def at(self, place: float) -> torch.Tensor:
        """(1,) t at a place from 0, no noise, to 1, nothing else; on the CPU."""

    @abstractmethod
    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The model's input at t, (B, C, h, w)."""

    @abstractmethod
    def target(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the model should predict, (B, C, h, w)."""

    @abstractmethod
    def snr(self, t: torch.Tensor) -> torch.Tensor:
        """(B,) signal-to-noise ratios, all above 0."""

    @abstractmethod
    def target_scale(self, snr: torch.Tensor) -> torch.Tensor:
        """Ratio of the squared error of the target to the squared error of x0."""

    def weights(self, t: torch.Tensor) -> torch.Tensor | None:
        """(B,) what the settings weigh the squared error at t with; None for 1."""
        return None


class Model(ABC):
    """A model, every part frozen and in eval mode; a part's weights are in memory once needed."""

    family: Family
    path: str
    """Where it came from, for messages."""
    device: torch.device
    dtype: torch.dtype
    noise: NoiseProcess

    @property
    @abstractmethod
    def latents(self) -> LatentSpace:
        """Where the model draws."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, list[nn.Module]]:
        """What each learning rate trains: `UNET`, and `TEXT_ENCODER` where that can learn."""

    def trained(self, rates: Mapping[str, float]) -> dict[str, float]:
        """The learning rates of the parts that learn: what this model has, at rates above 0."""
        return {part: rate for part, rate in rates.items() if rate and part in self.parts}

    @property
    @abstractmethod
    def core(self) -> nn.Module:
        """The module whose forward takes the time: torch.compile compiles it."""

    @property
    @abstractmethod
    def encoders(self) -> list[nn.Module]:
        """What `encode` runs through."""

    @property
    @abstractmethod
    def encoding(self) -> dict[str, Any]:
        """Plain JSON values that `encode` depends on besides the encoders' weights."""

    @property
    @abstractmethod
    def mergeable(self) -> bool:
        """Whether one LoRA alone may be added to the weights for drawing, given memory and
        precision."""

    @abstractmethod
    def read(self, part: str) -> list[nn.Module]:
        """The modules of a part (`modules`) anew from the model's files, on the CPU.

        Raises `BakeryError` for weights that are missing, unreadable or not finite.
        """

    def modules(self, part: str) -> list[nn.Module]:
        """What `need` and `release` bring and free: `LATENTS`, `TEXTS` or `DENOISER`.

        The same objects all the time; without weights their tensors are on torch's meta device.
        """
        if part == TEXTS:
            return self.encoders
        return [self.latents.module if part == LATENTS else self.core]

    def settle(self, part: str) -> None:  # noqa: B027 - most have nothing to do
        """Called when the weights of a part have been read."""

    def source(self, part: str) -> str | None:
        """What the weights of a part depend on, without reading them as a model: sha256 of its files;
        None where that is not known."""
        return None

    def holds(self, part: str) -> bool:
        """Whether the weights of a part are in memory."""
        tensors = (w for module in self.modules(part) for w in module.parameters())
        return not any(w.is_meta for w in tensors)

    def need(self, *parts: str) -> None:
        """Read the weights of these parts, unless they are in memory; errors as in `read`."""
        for part in parts:
            if not self.holds(part):
                fresh = self.read(part)
                for module in self.modules(part):
                    take_weights(module, fresh.pop(0).to(self.device))
                self.settle(part)

    def release(self, *parts: str) -> None:
        """Free the memory of these parts; `need` reads the same weights again."""
        for part in parts:
            for module in self.modules(part):
                module.to("meta")

    @abstractmethod
    def targets(
        self, parts: Iterable[str] | None = None, *, convolutions: bool = False
    ) -> Iterator[Target]:
        """Every layer that gets an adapter, of some parts or all; `convolutions` is for conv_dim."""

    @abstractmethod
    def tokens(self, caption: str) -> Any:
        """The tokens of a caption, uncut, as plain JSON values."""

    @abstractmethod
    def length(self, caption: str) -> int:
        """Captions of one length are encoded to tensors of one shape."""

    @abstractmethod
    def cuts(self, caption: str) -> bool:
        """Whether the rest of a caption is cut off."""

    @abstractmethod
    def about_length(self, prompt: str) -> str:
        """A note on how a prompt is read, to follow `the prompt '...' `; "" for none."""

    @abstractmethod
    def encode(self, captions: Sequence[str]) -> Text:
        """Captions in their order, all as long as the longest needs.

        A row depends only on its caption and that length. Gradients flow if the caller lets them.
        """

    def views(self, views: Sequence[View]) -> Text:
        """The model's conditioning on how pictures are shown, rows first, on the CPU."""
        return {}

    @abstractmethod
    def predict(
        self, noisy: torch.Tensor, t: torch.Tensor, text: Text, views: Text | None = None
    ) -> torch.Tensor:
        """The model's prediction, (B, C, h, w); without `views` each row is a whole picture."""

    @abstractmethod
    def recompute_activations(self, parts: Iterable[str]) -> None:
        """Gradient checkpointing, for a backward pass through these parts."""

    @abstractmethod
    def prepare_to_draw(self) -> None:
        """Called once, before the first `draw`."""

    @abstractmethod
    def draw(
        self,
        text: Text,
        negative: Text,
        starts: torch.Tensor,
        drawing: Drawing,
        generators: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """(B, C, h, w) of noise -> latents of pictures, normalised.

        Above cfg_scale 1 the model runs on 2 B rows, those of the negative text first. A generator
        continues after the noise of its row: some samplers add more.
        """

    def schedule_type(self, sampler: str) -> str:
        """A1111's name of the noise levels that `draw` takes with this sampler; "" for its
        default."""
        return ""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """The base's entries in a LoRA file, under the names that other programs read."""


def take_weights(module: nn.Module, other: nn.Module) -> None:
    """Give `module` the parameters and buffers of `other`, which is built alike."""
    for mine, theirs in zip(module.modules(), other.modules(), strict=True):
        mine._parameters.update(theirs._parameters)
        mine._buffers.update(theirs._buffers)


def rows(text: Text, wanted: slice) -> Text:
    """Some of the captions."""
    return {name: tensor[wanted] for name, tensor in text.items()}


def join(parts: Sequence[Text]) -> Text:
    """All captions of `parts`, which have the same tensors of the same shapes."""
    import torch  # takes seconds, and families are recognised without

    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
