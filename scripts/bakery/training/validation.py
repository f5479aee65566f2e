"""The validation loss: the training's own loss on held-out pictures, the same question after each epoch.

Each picture is shown at four places between picture and noise (`TIMES`), as sd-scripts does, with noise
that depends only on `validation_seed` and the picture, and with its caption as it is written. So two
numbers differ only by what the LoRA has learnt. A bake is measured alone, also where several are trained
side by side: the numbers are those that it would have alone. No random number of the training is used,
and no weight is changed, so the LoRAs are the same bytes with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bakery.dataset.repeat_folders import Dataset, View
from bakery.families import family
from bakery.families.family import Model
from bakery.io import devices, seeds
from bakery.io.images import Size
from bakery.training import compiling, optimizers
from bakery.training.latents import Latents

if TYPE_CHECKING:
    from bakery.training.run import Run

TIMES = (0.2, 0.4, 0.6, 0.8)
"""Where a picture is measured, from 0 (no noise) to 1 (nothing else): timesteps 200 to 800 of 1000."""


@dataclass(frozen=True)
class Validation:
    """The held-out pictures of the bakes that a process trains."""

    base: Model
    data: Dataset
    latents: Latents

    def __len__(self) -> int:
        return len(self.data.items)

    def prepare(self) -> None:
        """Encode the pictures."""
        self.latents.prepare(self._view(index) for index in range(len(self)))

    def captions(self, batch_size: int) -> list[list[str]]:
        """The captions of each batch."""
        return [[self.data.items[i].caption for i in batch] for batch in self._batches(batch_size)]

    @torch.no_grad()
    def measure(self, run: Run) -> dict[float, float]:
        """Place (`TIMES`) -> mean loss of all pictures there, of the weights that would be saved now."""
        sums = torch.zeros(len(TIMES), dtype=torch.float64)
        with _as_saved(run), compiling.plain(self.base.core):
            run.network.route([run.adapter])
            for batch in self._batches(run.settings.train_batch_size):
                found = torch.stack(self._losses(run, batch))
                sums += len(batch) * found.cpu().double()
        means = (sums / len(self)).tolist()
        return dict(zip(TIMES, means, strict=True))

    def _losses(self, run: Run, batch: Sequence[int]) -> list[torch.Tensor]:
        """The mean loss of a batch at each place."""
        base, device, seed = self.base, self.base.device, run.settings.validation_seed
        drawn = [self.latents.draw(self._view(index), seed) for index in batch]
        latents = devices.moved(torch.stack(drawn), device)
        fits = [(self.data.sizes[i], self.data.fits[i].bucket) for i in batch]
        shown = base.views([family.View(size, bucket, False) for size, bucket in fits])
        views = {name: devices.moved(x, device) for name, x in shown.items()}
        importance = torch.ones(len(batch), device=device)
        with devices.autocast(device, base.dtype):
            text = run.texts([self.data.items[index].caption for index in batch])
        losses = []
        for place in TIMES:
            noise = devices.moved(torch.cat([self._noise(run, i, place) for i in batch]), device)
            t = devices.moved(run.diffusion.noise.at(place).repeat(len(batch)), device)
            noisy = run.diffusion.noisy(latents, noise, t)
            with devices.autocast(device, base.dtype):
                predicted = base.predict(noisy, t, text, views)
            losses.append(run.diffusion.loss(predicted, latents, noise, t, importance))
        return losses

    def _noise(self, run: Run, index: int, place: float) -> torch.Tensor:
        """(1, C, h, w), on the CPU."""
        item, (width, height) = self.data.items[index], self.data.fits[index].bucket
        space = self.base.latents
        shape = (1, space.channels, height // space.pixels, width // space.pixels)
        purpose = "validation", f"{item.folder}/{item.image.name}", f"{place:g}"
        generator = seeds.generator(run.settings.validation_seed, *purpose)
        return run.diffusion.draw(shape, generator)[0]

    def _batches(self, size: int) -> list[list[int]]:
        """Indices of pictures of one bucket whose captions have one length: so no picture's loss depends
        on the others."""
        alike: dict[tuple[Size, int], list[int]] = {}
        for index, (item, fit) in enumerate(zip(self.data.items, self.data.fits, strict=True)):
            alike.setdefault((fit.bucket, self.base.length(item.caption)), []).append(index)
        return [
            indices[start : start + size]
            for _, indices in sorted(alike.items())
            for start in range(0, len(indices), size)
        ]

    def _view(self, index: int) -> View:
        return View(index, *self.data.fits[index].centre)


@contextmanager
def _as_saved(run: Run) -> Iterator[None]:
    """Inside, a bake's weights are those that would be saved, and nothing is dropped; afterwards all is
    as it was, to the last bit."""
    before = [parameter.detach().clone() for parameter in run.parameters]
    optimizers.trains(run.optimizer, False)
    learning = run.network.training
    run.network.eval()
    try:
        yield
    finally:
        run.network.train(learning)
        optimizers.trains(run.optimizer, True)
        for parameter, value in zip(run.parameters, before, strict=True):
            parameter.copy_(value)
