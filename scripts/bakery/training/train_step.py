"""One pass through the base, for one bake or for several side by side.

A showing is what one bake's step looks at: pictures under noise, with their captions. Showings of one
shape share a pass; each bake's rows go through its own adapters (`lora`) and give its own loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.families import base as bases
from bakery.io import seeds
from bakery.training.cache import Store
from bakery.training.latents import Latents
from bakery.training.run import Variant, settle


@dataclass
class Kitchen:
    """What all variants share."""

    base: bases.Base
    data: Dataset
    latents: Latents
    store: Store
    threads: int


@dataclass(frozen=True)
class Showing:
    """What one variant shows in a forward pass."""

    variant: Variant
    batch: Batch
    latents: torch.Tensor
    """(B, C, h, w)"""
    noise: torch.Tensor
    t: torch.Tensor
    importance: torch.Tensor
    """(B,)"""
    sizes: torch.Tensor
    """(B, 6), `conditioning.size_ids`"""

    @property
    def shape(self) -> tuple[int, ...]:
        """What showings of one pass have in common: (B, C, h, w) and the passes of their captions."""
        chunks = max(map(self.variant.texts.chunks, self.batch.captions))
        return (*self.latents.shape, chunks)


def show(kitchen: Kitchen, variant: Variant, batch: Batch) -> Showing:
    """A batch with its noise, at uniformly drawn timesteps."""
    seed, device = variant.settings.seed, kitchen.base.device
    latents = torch.stack([kitchen.latents.draw(view, seed) for view in batch.views])
    noise, t = variant.diffusion.draw(latents.shape, seeds.generator(seed, "noise", batch.number))
    prior = variant.settings.prior_loss_weight
    importance = torch.tensor([prior if is_reg else 1.0 for is_reg in batch.is_reg])
    sizes = torch.tensor(_size_ids(kitchen.data, batch), dtype=torch.float32)
    drawn = (latents, noise, t, importance, sizes)
    return Showing(variant, batch, *(x.to(device, non_blocking=True) for x in drawn))


def step(kitchen: Kitchen, live: Sequence[Variant]) -> None:
    """The next batch of each variant, and what it learns from it.

    Variants that show batches of one shape share a pass: with equal seeds, all of them always do.
    """
    showings = [show(kitchen, variant, variant.next_batch()) for variant in live]
    taken = []
    for shape in dict.fromkeys(showing.shape for showing in showings):
        together = [showing for showing in showings if showing.shape == shape]
        found = losses(kitchen, together)
        scaled = [s.variant.scaled(loss) for s, loss in zip(together, found, strict=True)]
        torch.stack(scaled).sum().backward()
        taken += [
            (s.variant, s.variant.take(loss)) for s, loss in zip(together, found, strict=True)
        ]
    settle(taken)


def loss(kitchen: Kitchen, variant: Variant, batch: Batch) -> torch.Tensor:
    """The loss of one variant's batch."""
    (loss,) = losses(kitchen, [show(kitchen, variant, batch)])
    return loss


def losses(kitchen: Kitchen, together: Sequence[Showing]) -> list[torch.Tensor]:
    """The loss of each showing; all of one shape, in one pass through the base."""
    base = kitchen.base
    _route(together)
    noisy = [s.variant.diffusion.noisy(s.latents, s.noise, s.t) for s in together]
    sizes = torch.cat([s.sizes for s in together])
    with torch.autocast(base.device.type, base.dtype, enabled=base.dtype != torch.float32):
        predicted = bases.predict(
            base, torch.cat(noisy), torch.cat([s.t for s in together]), _texts(together), sizes
        )  # (K B, C, h, w)
    return [
        s.variant.diffusion.loss(part, s.latents, s.noise, s.t, s.importance)
        for s, part in zip(together, predicted.chunk(len(together)), strict=True)
    ]


def _route(together: Sequence[Showing]) -> None:
    """Send each showing's rows through its variant's adapter."""
    network = together[0].variant.network
    masks = [0] * len(network)
    for s in together:
        masks[s.variant.adapter] = seeds.number(s.variant.settings.seed, "dropout", s.batch.number)
    network.seed_dropout(masks)
    network.route([s.variant.adapter for s in together])


def _texts(together: Sequence[Showing]) -> bases.Conditioning:
    """The conditioning of all rows; in one pass if the text encoder learns."""
    first = together[0].variant.texts
    if first.learns:
        return first([caption for s in together for caption in s.batch.captions])
    return bases.Conditioning.join([s.variant.texts(s.batch.captions) for s in together])


def _size_ids(data: Dataset, batch: Batch) -> list[tuple[int, ...]]:
    """What SDXL is told of each picture's size and place."""
    return [
        bases.size_ids(data.sizes[view.index], data.fits[view.index].bucket, view.flipped)
        for view in batch.views
    ]
