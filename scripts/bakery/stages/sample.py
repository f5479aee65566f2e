"""Sample: the same prompts on the same noise, once for the base and once for each epoch.

Steps: choose the prompts (`prompts`); find the bakes' LoRA files; draw every prompt with every
seed for epoch 0 (the base) and for each file; lay the first seed's pictures out as a grid.

A cell (prompt, seed) starts from the same noise in every epoch and every bake, so what differs
between two of its pictures is the LoRA. Bakes of a sweep are drawn by one process: the base once for
all of them, then LoRA by LoRA (`batches`). A LoRA with pictures enough for half a batch has batches of
its own, and these pictures have the same bytes in any company and after any interruption; pictures of
smaller sets, and those of another batch size, are the same up to a level of 255.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from bakery.families import base as bases
from bakery.interop import infotext
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.jobs import claims, rungs
from bakery.pages import grid
from bakery.sampling import batches, prompts
from bakery.sampling.pictures import IMAGES, Lora, Picture, Portfolio, Writer
from bakery.sampling.pipeline import Artist, Shot
from bakery.sampling.prompts import Asked, Cell, Epoch
from bakery.settings.sample import Sample
from bakery.tags import vocabulary

COLUMNS = (
    "epoch", "weight", "nominal", "prompt_id", "purpose", "prompt", "asked", "seed", "image",
    "reference",
)  # fmt: skip
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
GRID = "grid.png"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A bake to be drawn: where its LoRAs lie, and where the pictures go."""

    train: Path
    out: Path
    album: Path | None = None
    """Another sample folder of the same bake: what it has is not drawn again, and what is drawn goes
    there, too."""


def run(settings: Sample, *, train: Path, out: Path, **stage: Any) -> dict[str, Any]:
    """Draws every epoch of the bake in `train`, and the base, into `out`; the rest as `run_all`."""
    (made,) = run_all([Order(train, out)], settings, **stage)
    if isinstance(made, BakeryError):
        raise made
    claims.put_back(out / GRID)
    return made


def draw_claimed(
    bakes: Mapping[Path, Path],
    settings: Sample,
    *,
    albums: Mapping[str, str] | None = None,
    **stage: Any,
) -> None:
    """As `run_all`, and each folder gets what its own job looks for (`claims`).

    `bakes` leads from the folders that were claimed to those of their LoRAs, `albums` to their albums,
    where they have one.
    """
    kept = {Path(out): Path(album) for out, album in (albums or {}).items()}
    orders = [Order(train, out, kept.get(out)) for out, train in bakes.items()]
    _log.info("%d bakes drawn together: %s", len(orders), ", ".join(o.out.name for o in orders))
    made = run_all(orders, settings, **stage)
    for order, facts in zip(orders, made, strict=True):
        if isinstance(facts, BakeryError):
            claims.fail(order.out, str(facts))
            continue
        images = sorted(f"{IMAGES}/{path.name}" for path in (order.out / IMAGES).glob("*.png"))
        claims.finish(order.out, facts, ["prompts.csv", "samples.csv", *images], [GRID])


def run_all(
    orders: Sequence[Order],
    settings: Sample,
    *,
    prune: Path,
    base: str,
    clip_skip: int,
    device: str,
    threads: int,
    mixed_precision: str = "no",
    v_parameterization: bool | None = None,
    zero_terminal_snr: bool | None = None,
    tagger: Path | None = None,
) -> list[dict[str, Any] | BakeryError]:
    """Draws the bakes of `orders` on one base; one that cannot be drawn gives its error.

    `clip_skip`, `mixed_precision`, `v_parameterization` and `zero_terminal_snr` are those of all the
    bakes; a CPU draws in full precision all the same. `tagger` is the folder whose vocabulary prompts
    are derived from. Writes `images/`, `prompts.csv`, `samples.csv`, the grid and, while it works,
    `progress.jsonl`. Pictures carry their infotext. A batch whose pictures are all there with it
    already is not drawn again.
    """
    torch.set_num_threads(max(1, threads))
    clip_skip = settings.clip_skip or clip_skip
    asked, cells, warnings = choose(settings, prune=prune, tagger=tagger)
    found = [_portfolio(order, settings, cells, base, clip_skip) for order in orders]
    if not any(isinstance(one, Portfolio) for one in found):
        return found
    artist = Artist.load(
        settings,
        base=base,
        clip_skip=clip_skip,
        device=device,
        dtype=torch.float32 if device == "cpu" else DTYPES[mixed_precision],
        v_parameterization=v_parameterization,
        zero_terminal_snr=zero_terminal_snr,
    )
    warnings += too_long(artist.base, _texts(cells, settings))
    found = [_checked(artist, one) for one in found]
    portfolios = [one for one in found if isinstance(one, Portfolio)]
    for portfolio in portfolios:
        portfolio.open()
        rows = (entry.row() for entry in asked)
        tables.write(portfolio.out / "prompts.csv", rows, prompts.COLUMNS)
    draw(artist, portfolios)
    return [
        _finish(one, settings, cells, warnings) if isinstance(one, Portfolio) else one
        for one in found
    ]


def _portfolio(
    order: Order, settings: Sample, cells: Sequence[Cell], base: str, clip_skip: int
) -> Portfolio | BakeryError:
    """The pictures that a bake is to have."""
    try:
        epochs = read_epochs(order.train, settings.lora_weight)
        if not rungs.is_stopped(order.train):  # who knows which epochs it has
            epochs += prompts.weighed(epochs, settings)
    except BakeryError as error:
        return error
    infos = {
        (epoch, cell): describe(cell, epoch, settings, base, clip_skip)
        for epoch in epochs
        for cell in prompts.of_epoch(cells, epoch)
    }
    return Portfolio(order.out, infos, album=order.album and Portfolio(order.album, infos))


def _checked(artist: Artist, found: Portfolio | BakeryError) -> Portfolio | BakeryError:
    """The portfolio if all its LoRAs can be used, before the first picture is drawn."""
    if isinstance(found, BakeryError):
        return found
    try:
        for epoch in found.epochs:
            if epoch.file is not None:
                artist.check(epoch.file)
    except BakeryError as error:
        return error
    return found


def _finish(
    portfolio: Portfolio, settings: Sample, cells: Sequence[Cell], warnings: Sequence[str]
) -> dict[str, Any]:
    """The tables and the grid of a bake whose pictures are all there, and its facts."""
    out, epochs = portfolio.out, portfolio.epochs
    rows = [row(cell, epoch) for epoch, cell in portfolio.infos]
    tables.write(out / "samples.csv", rows, COLUMNS)
    draw_grid(claims.kept(out / GRID), out / IMAGES, epochs, settings, cells)
    broken = [name for name in portfolio.names if name in portfolio.broken]
    warnings = [*warnings, *_burnt(broken)]
    for warning in warnings:
        _log.warning("sample: %s: %s", out.name, warning)
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


def draw(artist: Artist, portfolios: Sequence[Portfolio]) -> None:
    """Draw what is missing of the pictures, the base's once for all.

    Which pictures share a batch depends on which bakes there are, not on their order, nor on what is
    there already.
    """
    portfolios = sorted(portfolios, key=lambda portfolio: portfolio.out.name)
    plan = _batches(artist, portfolios)
    ready = [all([picture.there() for picture in batch]) for batch in plan]  # noqa: C419
    in_use: list[Lora] = []
    with Writer() as writer:
        for batch, there in zip(plan, ready, strict=True):
            if there:
                writer.put(batch)
                continue
            loras = list(dict.fromkeys(picture.lora for picture in batch))
            if loras != in_use:
                artist.use(loras)
                in_use = loras
            shots = [Shot(loras.index(p.lora), p.cell.prompt, p.cell.seed) for p in batch]
            writer.put(batch, artist.draw(shots))


def _batches(artist: Artist, portfolios: Sequence[Portfolio]) -> list[list[Picture]]:
    """The base's batches, which it shares with no LoRA, then the others."""
    base, others = [], []
    for portfolio in portfolios:
        for epoch, cell in portfolio.infos:
            if epoch.file is not None:
                others.append(Picture(epoch, cell, portfolio.places))
            elif portfolio is portfolios[0]:
                places = (place for one in portfolios for place in one.places)
                base.append(Picture(epoch, cell, tuple(places)))
    found = []
    for pictures in (base, others):
        lengths = artist.lengths([picture.cell.prompt for picture in pictures])
        looks = [(p.lora, length) for p, length in zip(pictures, lengths, strict=True)]
        for places in batches.arrange(looks, artist.settings.batch_size):
            found.append([pictures[place] for place in places])
    return found


def choose(
    settings: Sample, *, prune: Path, tagger: Path | None
) -> tuple[list[Asked], list[Cell], list[str]]:
    """The prompts with the reason for each, the cells to draw, and warnings."""
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
    cells = prompts.cells([entry.prompt for entry in asked], settings.seeds, trigger)
    return asked, cells, warnings


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


def _texts(cells: Sequence[Cell], settings: Sample) -> list[str]:
    """What is asked, each once; references are prompts without the trigger, so never longer."""
    asked = (cell.prompt for cell in cells if cell.purpose != "base")
    return list(dict.fromkeys([*asked, settings.negative_prompt]))


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
    grid.save(picture, path, format="PNG", optimize=True)


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
