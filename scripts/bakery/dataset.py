"""kohya's repeat folders as training data: captions, latents in buckets, and the order of epochs.

Steps: `read` finds pictures and captions, `encode` fits each picture into its bucket and encodes
it once, `Dataset.batches` gives an epoch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bakery import captions, images, seeds
from bakery.base import Base
from bakery.buckets import Fit, Size, fit, steps_per_epoch
from bakery.errors import BakeryError

FOLDER = re.compile(r"(\d+)_(.*)")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CAPTIONS = (".txt", ".caption")


@dataclass(frozen=True)
class Item:
    """A picture of the dataset."""

    image: Path
    folder: str
    """`5_name`."""
    caption: str
    repeats: int


@dataclass(frozen=True)
class Folders:
    """What was found in a layout."""

    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    """What kohya's scripts would not read either, relative to the layout: folders without a
    number of repeats, and in the others whatever is neither picture nor caption."""

    def directories(self) -> dict[str, dict[str, int]]:
        """Repeats and pictures of each folder, as in ss_dataset_dirs."""
        counts = Counter((item.folder, item.repeats) for item in self.items)
        return {
            folder: {"n_repeats": repeats, "img_count": count}
            for (folder, repeats), count in counts.items()
        }

    def tag_frequency(self) -> dict[str, dict[str, int]]:
        """How many pictures of each folder carry each tag, as in ss_tag_frequency."""
        counts: dict[str, Counter[str]] = {}
        for item in self.items:
            tags = captions.split(item.caption.lower())
            counts.setdefault(item.folder, Counter()).update(tags)
        return {folder: dict(count) for folder, count in counts.items()}


def read(layout: Path) -> Folders:
    """The repeat folders under `layout`: `5_name` is shown five times, `name` are class tokens.

    A caption is the `.txt` or `.caption` with the picture's stem; without one, the class tokens
    stand in. Raises `BakeryError` if there is nothing to train on or two pictures share a caption.
    """
    if not layout.is_dir():
        raise BakeryError(f"there is no dataset folder {layout}: run layout first")
    items: list[Item] = []
    ignored: list[str] = []
    for folder in sorted(path for path in layout.iterdir() if path.is_dir()):
        match = FOLDER.fullmatch(folder.name)
        if match is None or int(match[1]) == 0:
            ignored.append(folder.name)
            continue
        found, strangers = _pictures(folder)
        ignored += [f"{folder.name}/{path.name}" for path in strangers]
        items += [
            Item(path, folder.name, _caption(path, match[2]), int(match[1])) for path in found
        ]
    if not items:
        raise BakeryError(
            f"{layout} has no pictures in a folder named <repeats>_<name>, such as "
            "5_mirael: the folder given is the one above it"
        )
    return Folders(tuple(items), tuple(ignored))


@dataclass(frozen=True)
class Dataset:
    """Encoded pictures, in the order of `items`."""

    items: tuple[Item, ...]
    fits: tuple[Fit, ...]
    latents: tuple[torch.Tensor, ...]
    """(C, height / f, width / f) each, float32 on the CPU, scaled as the UNet wants them."""

    def bucket_counts(self) -> dict[Size, int]:
        """Pictures in each bucket, repeats counted, sorted by size."""
        counts: Counter[Size] = Counter()
        for item, place in zip(self.items, self.fits, strict=True):
            counts[place.bucket] += item.repeats
        return dict(sorted(counts.items()))

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches that `batches` gives."""
        return steps_per_epoch(self.bucket_counts().values(), batch_size)

    def batches(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """An epoch: indices of items, shuffled inside each bucket, then the batches shuffled."""
        rng = seeds.rng(seed, "order", epoch)
        batches = []
        for bucket in self.bucket_counts():
            shown = [
                index
                for index, (item, place) in enumerate(zip(self.items, self.fits, strict=True))
                if place.bucket == bucket
                for _ in range(item.repeats)
            ]
            rng.shuffle(shown)
            batches += [shown[i : i + batch_size] for i in range(0, len(shown), batch_size)]
        rng.shuffle(batches)
        return batches


def encode(folders: Folders, buckets: Sequence[Size], base: Base, seed: int) -> Dataset:
    """Encode every picture once. Like kohya's cached latents, each is one draw from the VAE's
    distribution, here from a generator that depends on the seed and the picture's place only.
    """
    fits = tuple(fit(images.size_of(item.image), buckets) for item in folders.items)
    latents = tuple(
        _latent(base, picture(item.image, place), seeds.generator(seed, "latent", index))
        for index, (item, place) in enumerate(zip(folders.items, fits, strict=True))
    )
    for item, latent in zip(folders.items, latents, strict=True):
        if not torch.isfinite(latent).all():
            raise BakeryError(
                f"the VAE of {base.path} turns {item.image} into NaN: "
                "set mixed_precision to bf16 or no"
            )
    return Dataset(folders.items, fits, latents)


def picture(path: Path, place: Fit) -> torch.Tensor:
    """(3, height, width) in -1 .. 1, resized (area to shrink, Lanczos to enlarge) and cropped."""
    image = images.open_rgb(path)
    if image.size != place.resized:
        shrinks = image.width > place.resized[0] and image.height > place.resized[1]
        method = Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS
        image = image.resize(place.resized, method)
    pixels = np.asarray(image.crop(place.crop), dtype=np.float32)  # (H, W, 3), 0 .. 255
    return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1


@torch.no_grad()
def _latent(base: Base, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    batch = pixels[None].to(base.device, base.vae.dtype)
    spread = base.vae.encode(batch).latent_dist
    mean, std = spread.mean[0].float().cpu(), spread.std[0].float().cpu()
    noise = torch.randn(mean.shape, generator=generator)
    return (mean + std * noise) * base.vae.config.scaling_factor


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """(pictures, what is neither picture nor caption), both sorted."""
    found: dict[str, Path] = {}
    strangers = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES and path.is_file():
            if path.stem in found:
                raise BakeryError(
                    f"{found[path.stem]} and {path.name} share one caption file: rename one"
                )
            found[path.stem] = path
        elif path.suffix.lower() not in CAPTIONS:
            strangers.append(path)
    return list(found.values()), strangers


def _caption(image: Path, class_tokens: str) -> str:
    for suffix in CAPTIONS:
        path = image.with_suffix(suffix)
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError:
                raise BakeryError(f"{path} is not UTF-8 text: save it with that encoding") from None
            return ", ".join(text for line in lines if (text := line.strip(" \t,")))
    return class_tokens
