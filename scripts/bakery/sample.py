"""Sample: the same prompts on the same noise, once for the base and once for each epoch.

Steps: choose the prompts (`prompts`); find the bake's LoRA files; draw every prompt with every
seed for epoch 0 (the base) and for each file; lay the first seed's pictures out as a grid.

A cell (prompt, seed) starts from the same noise in every epoch and every bake, so what differs
between two of its pictures is the LoRA. Epochs share batches: as many LoRAs as `batch_size` are in
use at once, and which pictures are drawn together depends on the plan alone. So a run that was
interrupted ends in the same bytes; another batch size changes roundings, at most a level of 255.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from bakery import base as bases
from bakery import grid, infotext, prompts, tables, vocabulary
from bakery.artist import Artist, Shot
from bakery.config import Sample
from bakery.errors import BakeryError
from bakery.prompts import Cell, Epoch

COLUMNS = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_log = logging.getLogger(__name__)


Picture = tuple[Epoch, Cell]
Infos = Mapping[Picture, infotext.Infotext]


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
    mixed_precision: str = "no",
    v_parameterization: bool | None = None,
    zero_terminal_snr: bool | None = None,
    tagger: Path | None = None,
) -> dict[str, Any]:
    """Draws every epoch of the bake in `train`, and the base.

    `clip_skip`, `mixed_precision`, `v_parameterization` and `zero_terminal_snr` are those of the
    bake; a CPU draws in full precision all the same. `tagger` is the folder whose vocabulary prompts
    are derived from. Writes `images/`, `prompts.csv`, `samples.csv`, `grid.png` and, while it works,
    `progress.jsonl`. Pictures carry their infotext. A batch whose pictures are all there with it
    already is not drawn again.
    """
    torch.set_num_threads(max(1, threads))
    clip_skip = settings.clip_skip or clip_skip
    cells, warnings = choose(settings, prune=prune, tagger=tagger, out=out)
    epochs = read_epochs(train, settings.lora_weight)
    epochs += prompts.weighed(epochs, settings)
    artist = Artist.load(
        settings,
        base=base,
        clip_skip=clip_skip,
        device=device,
        dtype=torch.float32 if device == "cpu" else DTYPES[mixed_precision],
        v_parameterization=v_parameterization,
        zero_terminal_snr=zero_terminal_snr,
    )
    asked = (cell.prompt for cell in cells if cell.purpose != "base")
    texts = dict.fromkeys([*asked, settings.negative_prompt])
    warnings += too_long(artist.base, list(texts))
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    infos = {
        (epoch, cell): describe(cell, epoch, settings, base, clip_skip)
        for epoch in epochs
        for cell in prompts.of_epoch(cells, epoch)
    }
    broken = draw(artist, infos, images, out / "progress.jsonl")
    rows = [row(cell, epoch) for epoch, cell in infos]
    tables.write(out / "samples.csv", rows, COLUMNS)
    draw_grid(out / "grid.png", images, epochs, settings, cells)
    warnings += _burnt(broken)
    for warning in warnings:
        _log.warning("sample: %s", warning)
    return {
        "epochs": sum(epoch.nominal for epoch in epochs) - 1,
        "images": len(rows),
        "broken": len(broken),
        "warnings": warnings,
    }


def _burnt(broken: Sequence[str]) -> list[str]:
    if not broken:
        return []
    return [
        f"{len(broken)} pictures are broken (not a number), first {broken[0]}: "
        "the LoRA is burnt, lower its learning rate"
    ]


def draw(artist: Artist, infos: Infos, images: Path, progress: Path) -> list[str]:
    """Draw what is missing of the pictures; returns the names of those that are not a number."""
    progress.write_text("", encoding="utf-8")
    done, broken = 0, []
    epochs = list(dict.fromkeys(epoch for epoch, _ in infos))
    size = artist.settings.batch_size
    for start in range(0, len(epochs), size):
        group = epochs[start : start + size]
        pictures = [(epoch, cell) for epoch, cell in infos if epoch in group]
        in_use = False
        for places in artist.batches([cell.prompt for _, cell in pictures]):
            batch = [pictures[place] for place in places]
            if not all(_drawn_before(images, picture, infos) for picture in batch):
                if not in_use:
                    artist.use([(epoch.file, epoch.weight) for epoch in group])
                    in_use = True
                shots = [Shot(group.index(epoch), cell.prompt, cell.seed) for epoch, cell in batch]
                for picture, image, finite in zip(batch, *artist.draw(shots), strict=True):
                    epoch, cell = picture
                    infotext.save_png(image, images / cell.image(epoch), infos[picture])
                    broken += [] if finite else [cell.image(epoch)]
            done += len(batch)
            _report(progress, batch[-1][0], done, len(infos))
    return broken


def choose(
    settings: Sample, *, prune: Path, tagger: Path | None, out: Path
) -> tuple[list[Cell], list[str]]:
    """The cells to draw, and warnings; writes `prompts.csv` with the reason for each prompt."""
    trigger = prompts.read_trigger(prune / "trigger.json")
    texts, words = [], {}
    if settings.prompts is None and tagger is not None:
        texts = list(tables.read(prune / "captions.csv", ("image", "caption"))["caption"])
        words = vocabulary.read(tagger)
    asked, warnings = prompts.resolve(settings, texts, words, trigger)
    if not asked:
        raise BakeryError(
            "sample.auto derives no prompt at all: raise its numbers, or write sample.prompts"
        )
    out.mkdir(parents=True, exist_ok=True)
    tables.write(out / "prompts.csv", (entry.row() for entry in asked), prompts.COLUMNS)
    return prompts.cells([entry.prompt for entry in asked], settings.seeds, trigger), warnings


def read_epochs(train: Path, weight: float) -> list[Epoch]:
    """The base and every saved epoch of `train`'s epochs.csv at `weight`; each file must be there."""
    table = tables.read(train / "epochs.csv", ("epoch", "file", "sshs_model_hash"))
    numbers = tables.numbers(table["epoch"], train / "epochs.csv")
    epochs = [Epoch(0)]
    for number, file, digest in zip(numbers, table["file"], table["sshs_model_hash"], strict=True):
        if not (train / file).is_file():
            raise BakeryError(
                f"{train / file} is missing although epochs.csv lists it: train again, or "
                "copy the file back"
            )
        epochs.append(Epoch(int(number), train / file, digest, weight))
    return epochs


def describe(
    cell: Cell, epoch: Epoch, settings: Sample, base: str, clip_skip: int
) -> infotext.Infotext:
    """The infotext of a picture; the LoRA is called as A1111 calls it, at the prompt's end."""
    prompt = cell.prompt
    facts = {
        "Steps": str(settings.steps),
        "Sampler": settings.sampler,
        "CFG scale": f"{settings.cfg_scale:g}",
        "Seed": str(cell.seed),
        "Size": f"{settings.width}x{settings.height}",
        "Model": Path(base).name,
        "Clip skip": str(clip_skip),
    }
    if epoch.file is not None:
        name = epoch.file.stem
        prompt = f"{prompt} {infotext.lora_token(name, epoch.weight)}"
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
    """Rows: base and epochs; columns: the prompts that all of them draw, with the first seed."""
    first = [cell for cell in cells if cell.seed == settings.seeds[0]]
    columns = [cell for cell in first if cell.purpose != "base"]
    epochs = [epoch for epoch in epochs if epoch.nominal]
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


def _drawn_before(images: Path, picture: Picture, infos: Infos) -> bool:
    """Whether an earlier, interrupted run has left the picture."""
    epoch, cell = picture
    file = images / cell.image(epoch)
    return file.is_file() and infotext.read_png(file) == infotext.write(infos[picture])


def row(cell: Cell, epoch: Epoch) -> dict[str, Any]:
    """A row of samples.csv."""
    reference = f"{Epoch(0).prefix}_{cell.reference}_s{cell.seed}.png" if cell.reference else ""
    return {
        "epoch": epoch.number,
        "weight": f"{epoch.weight:g}",
        "nominal": int(epoch.nominal),
        "prompt_id": cell.prompt_id,
        "purpose": cell.purpose,
        "prompt": cell.prompt,
        "asked": tables.join(cell.asked),
        "seed": cell.seed,
        "image": cell.image(epoch),
        "reference": reference,
    }


def _report(progress: Path, epoch: Epoch, done: int, total: int) -> None:
    with progress.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"epoch": epoch.number, "step": done, "steps": total}) + "\n")
