"""One pass through the base, for one bake or for several side by side.

A noisy batch is one run's input in a step: noisy pictures with their captions. Batches of the same
shape share a pass; each bake's rows go through its own adapters (`lora`) and give its own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bakery.dataset.repeat_folders import Batch, Dataset
from bakery.families.family import Model, Text, View, join, rows
from bakery.io import devices, seeds
from bakery.training import preservation
from bakery.training.latents import Latents
from bakery.training.preservation import ShownAgain
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
    triggers: Sequence[str] = ()
    """The words that call the character or an outfit of it."""


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
    again: ShownAgain
    """What of it is shown once more, without the trigger."""

    @property
    def captions(self) -> tuple[str, ...]:
        """Of all rows: the batch's, then those that are shown again."""
        return self.batch.captions + self.again.captions

    @property
    def shape(self) -> tuple[int, ...]:
        """What the batches of a pass have in common: (B, C, h, w), the rows that are shown again,
        and the length of the captions."""
        return (
            *self.latents.shape,
            len(self.again),
            max(map(self.run.texts.length, self.captions)),
        )


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
        again=preservation.shown_again(run.settings, batch, context.triggers),
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
    noisy = [s.run.diffusion.noisy(s.latents, s.noise, s.t) for s in together]
    shown = [s.again.after(x) for s, x in zip(together, noisy, strict=True)]
    t = torch.cat([s.again.after(s.t) for s in together])
    with devices.autocast(base.device, base.dtype):
        text = _texts(together)
        views = join([_each(s.views, s.again.after) for s in together])
        kept = _kept(context, together, noisy, text)
        predicted = base.predict(torch.cat(shown), t, text, views)  # (K (B + n), C, h, w)
    parts = predicted.chunk(len(together))
    return [_loss(s, part, base_s) for s, part, base_s in zip(together, parts, kept, strict=True)]


def _loss(s: NoisyBatch, predicted: torch.Tensor, by_base: torch.Tensor | None) -> torch.Tensor:
    """The loss of the batch's rows, and of those that are shown again: there the base's prediction
    `by_base` is wanted."""
    own = predicted[: len(s.latents)]
    found = s.run.diffusion.loss(own, s.latents, s.noise, s.t, s.importance)
    if by_base is None:
        return found
    again = s.run.diffusion.deviation(predicted[len(own) :], by_base, s.again.of(s.t))
    return found + s.run.settings.output_preservation * again


def _kept(
    context: TrainContext, together: Sequence[NoisyBatch], noisy: Sequence[torch.Tensor], text: Text
) -> Sequence[torch.Tensor | None]:
    """What the base alone predicts for the rows that are shown again; None where there are none."""
    size, more = len(together[0].latents), len(together[0].again)
    if not more:
        return [None] * len(together)
    learns = together[0].run.texts.learns
    questions = []
    for k, (s, x) in enumerate(zip(together, noisy, strict=True)):
        start = k * (size + more) + size
        questions.append(
            preservation.Question(
                preservation.same_question(s.run.settings, s.batch, s.again),
                s.again.of(x),
                s.again.of(s.t),
                _each(s.views, s.again.of),
                None if learns else rows(text, slice(start, start + more)),
                s.again.captions,
                s.batch.captions,
            )
        )
    return preservation.base_predictions(context.base, together[0].run.network, questions)


def _each(views: Text, change: Callable[[torch.Tensor], torch.Tensor]) -> Text:
    return {name: change(x) for name, x in views.items()}


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
        return first([caption for s in together for caption in s.captions])
    return join([s.run.texts(s.captions) for s in together])


def _views(data: Dataset, batch: Batch) -> list[View]:
    return [
        View(data.sizes[view.index], data.fits[view.index].bucket, view.flipped)
        for view in batch.views
    ]
