"""The latents of the pictures, computed once and kept on disk.

The cache has the mean and deviation of the VAE's distribution, which depend only on the picture and
its view. As with kohya's cached latents, a bake trains on one draw from it, here from a generator
that depends on the bake's seed and on the view. So bakes with other seeds share the cache, and a
hit gives the same numbers as a miss.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps

from bakery.dataset.buckets import Fit
from bakery.dataset.repeat_folders import Dataset, View
from bakery.families.family import LATENTS, LatentSpace, Model
from bakery.io import images, seeds, status
from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.io.manifest import digest
from bakery.training.cache import Store, arithmetic, fingerprints


@dataclass(frozen=True)
class Moments:
    """The VAE's normal distribution for one view: (C, height / f, width / f) each, float32, CPU."""

    mean: torch.Tensor
    std: torch.Tensor


class Latents:
    """The views of a dataset, seen by a base's VAE."""

    def __init__(
        self,
        base: Model,
        data: Dataset,
        store: Store,
        *,
        threads: int,
        workers: int = 0,
        persistent: bool = False,
    ) -> None:
        """`workers` threads read pictures ahead, at most one for each CPU; `persistent` ones stay."""
        self.base, self.data, self.store = base, data, store
        self.workers = min(workers, os.cpu_count() or 1)
        self.persistent = persistent
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._vae: dict[str, Any] | None = None
        self._moments: dict[View, Moments] = {}

    def prepare(self, views: Iterable[View], *, forget: bool = False) -> None:
        """Encode the missing views; `forget` drops those that are not given.

        The VAE is in memory only for those that the store lacks, too, and no longer than that.
        """
        wanted = set(views)
        if forget:
            self._moments = {view: self._moments[view] for view in wanted & self._moments.keys()}
        missing = sorted(
            wanted - self._moments.keys(), key=lambda v: (v.index, v.left, v.upper, v.flipped)
        )
        absent = []
        for view in missing:
            found = self.store.find(self._made_from(view)) if self.store.folder else None
            if found is None:
                absent.append(view)
            else:
                self._keep(view, found)
        if absent:
            self._encode(absent)
        self.base.release(LATENTS)  # the denoiser needs its memory more

    def draw(self, view: View, seed: int) -> torch.Tensor:
        """(C, height / f, width / f), float32 on the CPU, normalised as the model needs it.

        Always the same; drawn again each time, as that costs less than the memory to keep it.
        """
        purpose: tuple[str | int, ...] = ("latent", view.index)
        if (view.left, view.upper) != self.data.fits[view.index].centre:
            purpose += (view.left, view.upper)
        if view.flipped:
            purpose += ("flipped",)
        moments = self._moments[view]
        noise = torch.randn(moments.mean.shape, generator=seeds.generator(seed, *purpose))
        return self.base.latents.normalise(moments.mean + moments.std * noise)

    def _encode(self, views: list[View]) -> None:
        self.base.need(LATENTS)
        space = self.base.latents
        sizes = Counter(self.data.fits[view.index].bucket for view in views)
        rooms: dict[Size, Iterator[Moments]] = {}
        for view, pixels in status.each(self._pixels(views), "encoding latents", len(views)):
            moments = _moments(space, pixels.to(self.base.device, space.dtype))
            if not (torch.isfinite(moments.mean).all() and torch.isfinite(moments.std).all()):
                raise BakeryError(
                    f"the VAE of {self.base.path} turns {self.data.items[view.index].image} into "
                    "NaN: set mixed_precision to bf16 or no"
                )
            bucket = self.data.fits[view.index].bucket
            if bucket not in rooms:
                rooms[bucket] = iter(_room(moments, sizes[bucket]))
            kept = self._moments[view] = next(rooms[bucket])
            kept.mean.copy_(moments.mean)
            kept.std.copy_(moments.std)
            if self.store.folder is not None:
                self.store.put(self._made_from(view), {"mean": moments.mean, "std": moments.std})

    def _keep(self, view: View, found: dict[str, torch.Tensor]) -> None:
        self._moments[view] = Moments(found["mean"], found["std"])

    def _pixels(self, views: list[View]) -> Iterator[tuple[View, torch.Tensor]]:
        """The views in order, read ahead by the workers, no further than needed."""
        if not self.workers:
            yield from ((view, self._picture(view)) for view in views)
            return
        pool = self._pool or ThreadPoolExecutor(self.workers, "picture")
        try:
            yield from _ahead(pool, self._picture, views, 2 * self.workers)
        finally:
            if self.persistent:
                self._pool = pool
            else:
                pool.shutdown(cancel_futures=True)

    def _picture(self, view: View) -> torch.Tensor:
        item, place = self.data.items[view.index], self.data.fits[view.index]
        return picture(item.image, place, (view.left, view.upper), view.flipped)

    def _made_from(self, view: View) -> dict[str, Any]:
        """Everything an entry of the store depends on."""
        if self._vae is None:
            self._vae = {
                "kind": "latents 1",
                "vae": fingerprints(self.base, LATENTS, self.store)[0],
                "pillow": PIL.__version__,
                **arithmetic(self.base.device, self.base.latents.dtype, self._threads),
            }
        item, place = self.data.items[view.index], self.data.fits[view.index]
        return {
            **self._vae,
            "picture": digest(item.image),
            "resized": place.resized,
            "bucket": place.bucket,
            "crop": (view.left, view.upper),
            "flipped": view.flipped,
        }


def picture(path: Path, place: Fit, corner: tuple[int, int], flipped: bool = False) -> torch.Tensor:
    """(3, height, width) in -1 .. 1: resized (area to shrink, Lanczos to enlarge), cropped with the
    upper left corner at `corner`, then mirrored if asked.
    """
    image = images.open_rgb(path)
    if image.size != place.resized:
        shrinks = image.width > place.resized[0] and image.height > place.resized[1]
        method = Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS
        image = image.resize(place.resized, method)
    left, upper = corner
    image = image.crop((left, upper, left + place.bucket[0], upper + place.bucket[1]))
    if flipped:
        image = ImageOps.mirror(image)
    pixels = np.asarray(image, dtype=np.float32)  # (H, W, 3), 0 .. 255
    return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1


def _room(like: Moments, count: int) -> list[Moments]:
    """Room for `count` moments, in one block.

    Allocated one by one between the VAE's large temporary tensors, small ones fragment malloc's
    heap: 0.7 MiB a picture.
    """
    means, stds = (torch.empty((count, *part.shape)) for part in (like.mean, like.std))
    return [Moments(mean, std) for mean, std in zip(means, stds, strict=True)]


@torch.no_grad()
def _moments(space: LatentSpace, pixels: torch.Tensor) -> Moments:
    """One picture at a time: its numbers must not depend on others."""
    mean, std = space.encode(pixels[None])
    return Moments(mean[0].float().cpu(), std[0].float().cpu())


def _ahead(
    pool: ThreadPoolExecutor,
    read: Callable[[View], torch.Tensor],
    views: list[View],
    depth: int,
) -> Iterator[tuple[View, torch.Tensor]]:
    waiting: list[tuple[View, Future[torch.Tensor]]] = []
    for view in views:
        waiting.append((view, pool.submit(read, view)))
        if len(waiting) > depth:
            first, result = waiting.pop(0)
            yield first, result.result()
    for view, result in waiting:
        yield view, result.result()
