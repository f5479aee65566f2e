"""A small family, `pastel`, as the recipe in CONTRIBUTING.md has it: its files, and lines in others.

It has little in common with Stable Diffusion: a transformer without convolutions that follows a flow
(t from 0 to 1), latents without a VAE's factor, letters instead of CLIP, a text encoder that does not
learn, and no diffusers pipeline.
"""

from __future__ import annotations

from project_copy import Line

NAME = "pastel"
FAMILY = '''"""Pastel: a small transformer on folded pixels. Its model is in `pastel_model.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bakery.families.family import Family
from bakery.families.recognise import Header
from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    import torch

    from bakery.families.family import Model
    from bakery.families.recognise import Place


class Pastel(Family):
    """Pastel."""

    name = "pastel"
    title = "Pastel"
    parts = ("checkpoint",)
    webui_version = "Other"
    base_version = "pastel_v1"
    training_script = "pastel_train_network.py"

    def recognises(self, header: Header) -> bool:
        return header.pipeline == "PastelPipeline" or header.has("pastel.")

    def owns_lora(self, keys: Iterable[str]) -> bool:
        return any(key.startswith("lora_unet_pastel_") for key in keys)

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings.get("clip_skip", 1) > 1:
            raise BakeryError(
                f"train.clip_skip is {settings['clip_skip']}, but Pastel has no CLIP: leave it out"
            )

    def outline(
        self,
        place: Place,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        from bakery.families.pastel_model import PastelModel  # torch takes seconds

        return PastelModel(self, place, device, dtype)
'''
MODEL = '''"""A loaded Pastel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bakery.families import recognise
from bakery.families.family import (
    DENOISER, LATENTS, TEXTS, UNET, Drawing, Family, LatentSpace, Model, NoiseProcess, Target, Text,
    View,
)  # fmt: skip
from bakery.io.errors import BakeryError

LETTERS, LINE, LINES = 128, 75, 3
FOLD, WIDTH = 4, 32


class Folded(LatentSpace):
    """Squares of 4 x 4 pixels as channels, by a spread that the file holds."""

    channels, pixels = 3 * FOLD**2, FOLD

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = F.pixel_unshuffle(pixels.to(self.module.dtype), FOLD)
        return mean, self.module.spread.expand_as(mean)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * 2

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(latents / 2, FOLD).float()


class Flow(NoiseProcess):
    """x_t = (1 - t) x + t e, and the model says e - x, for t from 0 to 1."""

    def draw(
        self, shape: Sequence[int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn(tuple(shape), generator=generator)
        return noise, torch.rand(shape[0], generator=generator).clamp(0.01, 0.99)

    def at(self, place: float) -> torch.Tensor:
        return torch.tensor([place])

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.lerp(latents, noise, t[:, None, None, None])

    def target(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def snr(self, t: torch.Tensor) -> torch.Tensor:
        return ((1 - t) / t) ** 2

    def target_scale(self, snr: torch.Tensor) -> torch.Tensor:
        return (snr.sqrt() + 1) ** 2  # an error d of e - x is one of t d in x, and t = 1 / (sqrt + 1)


class Spread(nn.Module):
    """The deviation of a channel's latents."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.full((Folded.channels, 1, 1), 0.1))

    @property
    def dtype(self) -> torch.dtype:
        return self.spread.dtype


class Painter(nn.Module):
    """Pixels look at letters."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(Folded.channels, WIDTH)
        self.time = nn.Linear(1, WIDTH)
        self.ask, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.leave = nn.Linear(WIDTH, Folded.channels)
        self.again = False

    def forward(self, noisy: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        if self.again and torch.is_grad_enabled():
            return checkpoint(self._paint, noisy, t, text, use_reentrant=False)
        return self._paint(noisy, t, text)

    def _paint(self, noisy: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        x = self.enter(noisy.flatten(2).transpose(1, 2))  # (B, h w, W)
        x = x + self.time(t[:, None].to(x.dtype))[:, None]
        x = x + F.scaled_dot_product_attention(self.ask(x), self.key(text), self.value(text))
        return self.leave(F.gelu(x)).transpose(1, 2).reshape(noisy.shape)


class Parts(nn.Module):
    """What a file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.painter, self.spread = Painter(), Spread()
        self.words = nn.Embedding(LETTERS, WIDTH)


class PastelModel(Model):
    """Lines of 75 letters, three at most."""

    mergeable = True
    noise = Flow()

    def __init__(
        self, family: Family, place: recognise.Place, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.family, self.device, self.dtype = family, device, dtype
        self.path = recognise.main_part(place)
        with torch.device("meta"):
            self.all = Parts().to(dtype).requires_grad_(False).eval()
        self._latents = Folded(self.all.spread)

    def read(self, part: str) -> list[nn.Module]:
        file, fresh = Path(self.path), Parts()
        tensors = load_file(file / "model.safetensors" if file.is_dir() else file)
        held = {name.removeprefix("pastel."): value for name, value in tensors.items()}
        missing = sorted(fresh.state_dict().keys() - held.keys())
        if missing:
            raise BakeryError(f"train.base: {self.path} lacks {missing[0]}: download it again")
        fresh.load_state_dict(held)
        fresh.to(self.dtype).requires_grad_(False).eval()
        return [{LATENTS: fresh.spread, TEXTS: fresh.words, DENOISER: fresh.painter}[part]]

    @property
    def latents(self) -> Folded:
        return self._latents

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        return {UNET: [self.all.painter]}

    @property
    def core(self) -> nn.Module:
        return self.all.painter

    @property
    def encoders(self) -> list[nn.Module]:
        return [self.all.words]

    @property
    def encoding(self) -> dict[str, Any]:
        return {"line": LINE, "lines": LINES}

    def targets(
        self, parts: Iterable[str] | None = None, *, convolutions: bool = False
    ) -> Iterator[Target]:
        for name, layer in self.all.painter.named_modules():
            if isinstance(layer, nn.Linear) and (parts is None or UNET in parts):
                yield Target(f"lora_unet_pastel_{name}", layer, UNET)

    def tokens(self, caption: str) -> list[int]:
        return [ord(letter) % LETTERS for letter in caption]

    def length(self, caption: str) -> int:
        return min(LINES, max(1, -(-len(caption) // LINE)))

    def cuts(self, caption: str) -> bool:
        return len(caption) > LINES * LINE

    def about_length(self, prompt: str) -> str:
        return f"is cut after {LINES * LINE} letters" if self.cuts(prompt) else ""

    def encode(self, captions: Sequence[str]) -> Text:
        room = LINE * max(map(self.length, captions), default=1)
        ids = torch.zeros(len(captions), room, dtype=torch.long)
        for row, caption in enumerate(captions):
            letters = self.tokens(caption)[:room]
            ids[row, : len(letters)] = torch.tensor(letters, dtype=torch.long)
        return {"letters": self.all.words(ids.to(self.device))}  # (B, T, W)

    def predict(
        self, noisy: torch.Tensor, t: torch.Tensor, text: Text, views: Text | None = None
    ) -> torch.Tensor:
        return self.all.painter(noisy.to(self.dtype), t, text["letters"].to(self.dtype))

    def recompute_activations(self, parts: Iterable[str]) -> None:
        self.all.painter.again = UNET in parts

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
        """Euler's steps along the flow."""
        x, times = starts, torch.linspace(1, 0, drawing.steps + 1).tolist()
        for now, then in zip(times, times[1:], strict=False):
            t = torch.full((len(x),), now, device=x.device)
            flow = self.predict(x, t, text)
            if drawing.cfg_scale > 1:
                plain = self.predict(x, t, negative)
                flow = plain + drawing.cfg_scale * (flow - plain)
            x = x + (then - now) * flow
        return x

    def describe(self) -> dict[str, object]:
        return {
            "ss_base_model_version": self.family.base_version,
            "ss_sd_model_name": Path(self.path).name,
            "modelspec.architecture": "pastel-v1/lora",
        }
'''
TINY = '''def tiny_pastel(folder: Path, seed: int = 0) -> Path:
    """Random weights of Pastel's one size."""
    from bakery.families.pastel_model import Parts

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = Parts()
    save_file({f"pastel.{name}": w for name, w in parts.state_dict().items()},
              Path(folder) / "model.safetensors")  # fmt: skip
    (Path(folder) / "model_index.json").write_text('{"_class_name": "PastelPipeline"}')
    return Path(folder)


'''
SINGLE_FILE = """    if base.family.name == "pastel":
        return {f"pastel.{name}": weight.clone() for name, weight in base.all.state_dict().items()}
"""
NEW_FILES = {
    "scripts/bakery/families/<name>.py": FAMILY,
    "scripts/bakery/families/<name>_model.py": MODEL,
}
"""Path as the recipe names it -> content."""
LINES = (
    Line(
        "from bakery.families.recognise import Header, Place\nfrom bakery.families.sd import",
        "from bakery.families.pastel import Pastel\n",
    ),
    Line("    SDXL(),\n", "    Pastel(),\n"),
    Line('TINY = {"sd1"', TINY),
    Line("from tokenizers.pre_tokenizers import", "from safetensors.torch import save_file\n"),
    Line('"anima": tiny_anima}\n', '"pastel": tiny_pastel, '),
    Line("    state = {}\n    for key, value in base.unet", SINGLE_FILE),
)
