"""One pass through the base, for one bake or for several side by side.

A noisy batch is one run's input in a step: noisy pictures with their captions. Batches of the same
shape share a pass; each bake's rows go through its own adapters (`lora`) and give its own loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.families.family import Model, Text, View, join
from bakery.io import devices, seeds
from bakery.training.latents import Latents
from bakery.training.run import Run, finish_step
from bakery.training.texts import EncodedTexts
from bakery.training.validation import Validation


@dataclass
class TrainContext:
    """What all runs share."""

    base: Model
    data: Dataset
    latents: Latents
    texts: EncodedTexts
    threads: int
    validation: Validation | None = None
    """The held-out pictures, if there are any."""


@dataclass(frozen=True)
class NoisyBatch:
    """A run's batch with noise, as the base sees it."""

    run: Run
    batch: Batch
    latents: torch.Tensor
    """(B, C, h, w)"""
    noise: torch.Tensor
    t: torch.Tensor
    importance: torch.Tensor
    """(B,)"""
    views: Text
    """How the pictures are shown, for bases that are conditioned on it."""
    dropout_seed: int
    """Decides which inner activations of the adapters are dropped."""

    @property
    def shape(self) -> tuple[int, ...]:
        """What the batches of a pass have in common: (B, C, h, w) and the length of their
        captions."""
        length = max(map(self.run.texts.length, self.batch.captions))
        return (*self.latents.shape, length)


def add_noise(context: TrainContext, run: Run, batch: Batch) -> NoisyBatch:
    """A batch with its noise, at times drawn by its base."""
    seed, device = run.settings.seed, context.base.device
    shown = context.base.views(_views(context.data, batch))
    latents = torch.stack([context.latents.draw(view, seed) for view in batch.views])
    noise, t = run.diffusion.draw(latents.shape, seeds.generator(seed, "noise", batch.number))
    prior = run.settings.prior_loss_weight
    importance = torch.tensor([prior if is_reg else 1.0 for is_reg in batch.is_reg])
    drawn = (latents, noise, t, importance)
    latents, noise, t, importance = (devices.moved(x, device) for x in drawn)
    return NoisyBatch(
        run,
        batch,
        latents,
        noise,
        t,
        importance,
        views={name: devices.moved(x, device) for name, x in shown.items()},
        dropout_seed=seeds.number(seed, "dropout", batch.number),
    )


def step(context: TrainContext, live: Sequence[Run]) -> None:
    """Train each run on its next batch.

    Runs whose batches have the same shape share a pass: with equal seeds, all of them always do.
    """
    noisy_batches = [add_noise(context, run, run.next_batch()) for run in live]
    taken = []
    for shape in dict.fromkeys(noisy_batch.shape for noisy_batch in noisy_batches):
        together = [noisy_batch for noisy_batch in noisy_batches if noisy_batch.shape == shape]
        found = losses(context, together)
        scaled = [s.run.scaled(loss) for s, loss in zip(together, found, strict=True)]
        torch.stack(scaled).sum().backward()
        taken += [(s.run, s.run.accumulate(loss)) for s, loss in zip(together, found, strict=True)]
    finish_step(taken)


def loss(context: TrainContext, run: Run, batch: Batch) -> torch.Tensor:
    """The loss of one run's batch."""
    noisy_batch = add_noise(context, run, batch)
    (loss,) = losses(context, [noisy_batch])
    return loss


def losses(context: TrainContext, together: Sequence[NoisyBatch]) -> list[torch.Tensor]:
    """The loss of each noisy batch; all of one shape, in one pass through the base."""
    base = context.base
    _route(together)
    noisy = torch.cat([s.run.diffusion.noisy(s.latents, s.noise, s.t) for s in together])
    t = torch.cat([s.t for s in together])
    with devices.autocast(base.device, base.dtype):
        text = _texts(together)
        views = join([s.views for s in together])
        predicted = base.predict(noisy, t, text, views)  # (K B, C, h, w)
    return [
        s.run.diffusion.loss(part, s.latents, s.noise, s.t, s.importance)
        for s, part in zip(together, predicted.chunk(len(together)), strict=True)
    ]


def _route(together: Sequence[NoisyBatch]) -> None:
    """Send each batch's rows through its run's adapter."""
    network = together[0].run.network
    masks = [0] * len(network)
    for s in together:
        masks[s.run.adapter] = s.dropout_seed
    network.seed_dropout(masks)
    network.route([s.run.adapter for s in together])


def _texts(together: Sequence[NoisyBatch]) -> Text:
    """The texts of all rows; in one pass if the text encoder learns."""
    first = together[0].run.texts
    if first.learns:
        return first([caption for s in together for caption in s.batch.captions])
    return join([s.run.texts(s.batch.captions) for s in together])


def _views(data: Dataset, batch: Batch) -> list[View]:
    return [
        View(data.sizes[view.index], data.fits[view.index].bucket, view.flipped)
        for view in batch.views
    ]
