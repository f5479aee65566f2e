"""Sample: the same prompts on the same noise, once for the base and once for each epoch.

Steps: put the trigger into the prompts; find the bake's LoRA files; for epoch 0 (the base) and
each file, draw every prompt with every seed; lay the first seed's pictures out as a grid.

A cell (prompt, seed) starts from the same noise in every epoch and every bake, so what differs
between two of its pictures is the LoRA. The drawing itself is a stock `StableDiffusionPipeline`
with DDIM made from the model's own scheduler config: whoever loads the base and a LoRA file in
diffusers gets the same picture.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from bakery import base as bases
from bakery import captions, grid, infotext, tables
from bakery.config import Sample
from bakery.errors import BakeryError
from bakery.lora import LoRANetwork

SAMPLER = "DDIM"
COLUMNS = ("epoch", "prompt_id", "purpose", "prompt", "asked", "seed", "image")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """A row of the grid: the base (number 0, no file) or a saved LoRA."""

    number: int
    file: Path | None = None
    sshs_model_hash: str = ""


@dataclass(frozen=True)
class Cell:
    """One picture of every epoch."""

    prompt_id: str
    purpose: str
    prompt: str
    asked: tuple[str, ...]
    seed: int

    def image(self, epoch: Epoch) -> str:
        """File name of the picture in `images/`."""
        return f"e{epoch.number}_{self.prompt_id}_s{self.seed}.png"


@dataclass
class Artist:
    """A loaded model that draws cells; `network` carries the LoRA in use."""

    base: bases.Base
    network: LoRANetwork
    pipeline: StableDiffusionPipeline
    settings: Sample
    clip_skip: int

    @classmethod
    def load(cls, settings: Sample, *, base: str, clip_skip: int, device: str) -> Artist:
        loaded = bases.load(base, device=device)
        unit = loaded.pixels_per_latent
        for name, side in (("width", settings.width), ("height", settings.height)):
            if side % unit:
                raise BakeryError(
                    f"sample.{name} is {side}, but {base} draws in steps of {unit} pixels: "
                    f"give {side - side % unit or unit} or {side - side % unit + unit}"
                )
        network = LoRANetwork(loaded.unet, loaded.text_encoder, dim=1, alpha=1).apply()
        network.requires_grad_(False)
        return cls(loaded, network, _pipeline(loaded), settings, clip_skip)

    def use(self, epoch: Epoch) -> None:
        """Switches to the LoRA of `epoch`, or to none."""
        if epoch.file is None:
            self.network.multiplier = 0.0
            return
        try:
            self.network.load_kohya(load_file(epoch.file))
        except (OSError, SafetensorError) as problem:
            raise BakeryError(
                f"{epoch.file} is not a readable LoRA file ({problem}): train again"
            ) from None
        except BakeryError as problem:
            raise BakeryError(f"{epoch.file}: {problem}") from None
        self.network.multiplier = self.settings.lora_weight

    @torch.inference_mode()
    def draw(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Image.Image, bool]]:
        """Every cell with its picture, and whether its arithmetic stayed finite.

        Prompts share a batch where their conditioning has the same length. A prompt is encoded
        together with the negative prompt and no other, so no prompt changes another's picture.
        """
        pairs = {
            cell.prompt: bases.encode(
                self.base, [cell.prompt, self.settings.negative_prompt], self.clip_skip
            )
            for cell in cells
        }  # prompt -> (2, T, C)

        def length(cell: Cell) -> int:
            return pairs[cell.prompt].shape[1]

        for _, group in groupby(sorted(cells, key=length), key=length):
            alike = list(group)
            for start in range(0, len(alike), self.settings.batch_size):
                batch = alike[start : start + self.settings.batch_size]
                yield from zip(batch, *self._denoise(batch, pairs), strict=True)

    def _denoise(
        self, batch: Sequence[Cell], pairs: dict[str, torch.Tensor]
    ) -> tuple[list[Image.Image], list[bool]]:
        both = torch.stack([pairs[cell.prompt] for cell in batch])  # (B, 2, T, C)
        pixels = self.pipeline(
            prompt_embeds=both[:, 0],
            negative_prompt_embeds=both[:, 1],
            latents=torch.cat([self.noise(cell.seed) for cell in batch]),
            num_inference_steps=self.settings.steps,
            guidance_scale=self.settings.cfg_scale,
            width=self.settings.width,
            height=self.settings.height,
            output_type="np",
        ).images  # (B, H, W, 3) in 0..1
        finite = np.isfinite(pixels).all(axis=(1, 2, 3))
        return self.pipeline.numpy_to_pil(np.nan_to_num(pixels)), finite.tolist()

    def noise(self, seed: int) -> torch.Tensor:
        """The start of a picture, (1, C, height / unit, width / unit).

        Drawn on the CPU and for one picture at a time, so that neither the device nor the batch
        size changes it; the same numbers that a stock pipeline draws from this seed.
        """
        unit = self.base.pixels_per_latent
        shape = (
            1,
            self.base.unet.config.in_channels,
            self.settings.height // unit,
            self.settings.width // unit,
        )
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(shape, generator=generator, dtype=self.base.dtype)
        return noise.to(self.base.device)


def run(
    settings: Sample,
    *,
    train: Path,
    prune: Path,
    out: Path,
    base: str,
    clip_skip: int,
    device: str,
    threads: int,
) -> dict[str, Any]:
    """Draws every epoch of the bake in `train`, and the base.

    Writes `images/`, `samples.csv`, `grid.png` and, while it works, `progress.jsonl`. Pictures
    carry their infotext. An epoch whose pictures are all there with it already is not redrawn.
    """
    torch.set_num_threads(max(1, threads))
    called, own = read_trigger(prune / "trigger.json")
    cells = plan(settings, called, own)
    epochs = read_epochs(train)
    artist = Artist.load(settings, base=base, clip_skip=clip_skip, device=device)
    prompts = dict.fromkeys([*(cell.prompt for cell in cells), settings.negative_prompt])
    warnings = too_long(artist.base, list(prompts))
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    progress = out / "progress.jsonl"
    progress.write_text("", encoding="utf-8")
    done, broken = 0, []
    for epoch in epochs:
        infos = {cell: describe(cell, epoch, settings, base, clip_skip) for cell in cells}
        if not _drawn_before(images, epoch, infos):
            artist.use(epoch)
            for cell, picture, finite in artist.draw(cells):
                infotext.save_png(picture, images / cell.image(epoch), infos[cell])
                broken += [] if finite else [cell.image(epoch)]
                done += 1
                _report(progress, epoch, done, len(cells) * len(epochs))
        else:
            done += len(cells)
    rows = [_row(cell, epoch) for epoch in epochs for cell in cells]
    tables.write(out / "samples.csv", rows, COLUMNS)
    draw_grid(out / "grid.png", images, epochs, settings, cells)
    if broken:
        warnings.append(
            f"{len(broken)} pictures are broken (not a number), first {broken[0]}: "
            "the LoRA is burnt, lower its learning rate"
        )
    for warning in warnings:
        _log.warning("sample: %s", warning)
    return {
        "epochs": len(epochs) - 1,
        "images": len(rows),
        "broken": len(broken),
        "warnings": warnings,
    }


def plan(settings: Sample, called: str, own: Sequence[str]) -> list[Cell]:
    """Every prompt with every seed, `{trigger}` replaced by `called`.

    `own` are the tags that stand for the character; the other tags of a prompt are what it asks.
    """
    mine = {captions.same(tag) for tag in own}
    cells = []
    for prompt in settings.prompts:
        text = prompt.prompt.replace("{trigger}", called)
        tags = (captions.normalise(tag) for tag in captions.split(text))
        asked = tuple(tag for tag in tags if captions.same(tag) not in mine)
        for seed in settings.seeds:
            cells.append(Cell(prompt.id, prompt.purpose, text, asked, seed))
    return cells


def read_trigger(path: Path) -> tuple[str, list[str]]:
    """What calls the character (`mirael, 1girl`), and the same as a list of tags."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        own = captions.split(f"{facts['trigger']}, {facts['class_tokens']}")
    except FileNotFoundError:
        raise BakeryError(f"{path} does not exist: run the prune stage again") from None
    except (ValueError, KeyError, TypeError):
        raise BakeryError(
            f"{path} does not hold a trigger and class_tokens: delete its folder and run again"
        ) from None
    return captions.join(own), own


def read_epochs(train: Path) -> list[Epoch]:
    """The base and every saved epoch of `train`'s epochs.csv; each file must be there."""
    table = tables.read(train / "epochs.csv", ("epoch", "file", "sshs_model_hash"))
    numbers = tables.numbers(table["epoch"], train / "epochs.csv")
    epochs = [Epoch(0)]
    for number, file, digest in zip(numbers, table["file"], table["sshs_model_hash"], strict=True):
        if not (train / file).is_file():
            raise BakeryError(
                f"{train / file} is missing although epochs.csv lists it: train again, or "
                "copy the file back"
            )
        epochs.append(Epoch(int(number), train / file, digest))
    return epochs


def describe(
    cell: Cell, epoch: Epoch, settings: Sample, base: str, clip_skip: int
) -> infotext.Infotext:
    """The infotext of a picture; the LoRA is called as A1111 calls it, at the prompt's end."""
    prompt = cell.prompt
    facts = {
        "Steps": str(settings.steps),
        "Sampler": SAMPLER,
        "CFG scale": f"{settings.cfg_scale:g}",
        "Seed": str(cell.seed),
        "Size": f"{settings.width}x{settings.height}",
        "Model": Path(base).name,
        "Clip skip": str(clip_skip),
    }
    if epoch.file is not None:
        name = epoch.file.stem
        prompt = f"{prompt} {infotext.lora_token(name, settings.lora_weight)}"
        # A1111 shows the first 12 digits of sshs_model_hash
        facts["Lora hashes"] = f"{name}: {epoch.sshs_model_hash[:12]}"
    return infotext.Infotext(prompt, settings.negative_prompt, facts)


def too_long(base: bases.Base, prompts: Sequence[str]) -> list[str]:
    """A warning for each prompt that does not fit into one pass of the text encoder."""
    warnings = []
    for prompt, needed in zip(prompts, bases.chunks_needed(base, prompts), strict=True):
        short = prompt if len(prompt) <= 60 else prompt[:57] + "..."
        room = f"{base.chunk_size} tokens"
        if needed > bases.MAX_CHUNKS:
            warnings.append(
                f"the prompt {short!r} is cut: it needs {needed} chunks of {room}, and only "
                f"{bases.MAX_CHUNKS} are read"
            )
        elif needed > 1:
            warnings.append(
                f"the prompt {short!r} is longer than {room} and is read in {needed} chunks, as "
                "A1111 does; a stock diffusers pipeline would cut it"
            )
    return warnings


def draw_grid(
    path: Path, images: Path, epochs: Sequence[Epoch], settings: Sample, cells: Sequence[Cell]
) -> None:
    """Rows: base and epochs; columns: prompts, with the first seed."""
    columns = [cell for cell in cells if cell.seed == settings.seeds[0]]
    rows = []
    for epoch in epochs:
        tiles = []
        for cell in columns:
            with Image.open(images / cell.image(epoch)) as tile:
                tiles.append(tile.convert("RGB"))
        rows.append(tiles)
    picture = grid.draw(
        rows,
        [f"epoch {epoch.number}" if epoch.file else "base" for epoch in epochs],
        [f"{cell.prompt_id}: {cell.prompt}" for cell in columns],
        title=f"seed {settings.seeds[0]}, {settings.steps} steps, CFG {settings.cfg_scale:g}",
    )
    part = path.with_name(path.name + ".part")
    picture.save(part, format="PNG", optimize=True)
    part.replace(path)


def _pipeline(base: bases.Base) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        # the model's config says prediction type, zero-terminal-SNR and spacing; a latent is no
        # picture and must not be clipped to -1..1
        scheduler=DDIMScheduler.from_config(base.noise_scheduler.config, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _drawn_before(images: Path, epoch: Epoch, infos: dict[Cell, infotext.Infotext]) -> bool:
    """Whether an earlier, interrupted run has left all of the epoch's pictures."""
    return all(
        (images / cell.image(epoch)).is_file()
        and infotext.read_png(images / cell.image(epoch)) == infotext.write(info)
        for cell, info in infos.items()
    )


def _row(cell: Cell, epoch: Epoch) -> dict[str, Any]:
    return {
        "epoch": epoch.number,
        "prompt_id": cell.prompt_id,
        "purpose": cell.purpose,
        "prompt": cell.prompt,
        "asked": tables.join(cell.asked),
        "seed": cell.seed,
        "image": cell.image(epoch),
    }


def _report(progress: Path, epoch: Epoch, done: int, total: int) -> None:
    with progress.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"epoch": epoch.number, "step": done, "steps": total}) + "\n")
