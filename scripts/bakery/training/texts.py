"""The text embeddings of the captions, computed once if the text encoder does not learn.

A frozen text encoder gives a caption the same embedding in every epoch. If captions do not change
either (no shuffling, no tag dropout), each is encoded once, alone, and kept on disk, shared by all
bakes of the base. Otherwise captions are encoded batch by batch, with gradients if the encoder
learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bakery.families.family import TEXT_ENCODER, Model, Text, join, rows
from bakery.io import devices
from bakery.settings.train import Train
from bakery.training.cache import Store, Tensors, arithmetic, fingerprint


class Texts:
    """The text embeddings of captions, for one bake."""

    def __init__(self, base: Model, settings: Train, store: Store, *, threads: int) -> None:
        self.base, self.store = base, store
        self.learns = TEXT_ENCODER in base.trained(settings.rates)
        changing = settings.shuffle_caption or settings.caption_tag_dropout_rate > 0
        self.kept = not self.learns and not changing
        self._threads = threads
        self._encoder: dict[str, Any] | None = None
        self._known: dict[tuple[str, int], Text] = {}

    def __call__(self, captions: Sequence[str]) -> Text:
        """The text of `captions`; it is as long as the longest of them needs."""
        if not self.kept:
            with torch.set_grad_enabled(self.learns):
                return self.base.encode(captions)
        needed = max(map(self.length, captions))
        found = join([self._row(caption, needed, captions) for caption in captions])
        device = self.base.device
        return {name: devices.moved(x, device) for name, x in found.items()}

    def length(self, caption: str) -> int:
        """Captions of one length share a pass through the base."""
        return self.base.length(caption)

    def _row(self, caption: str, needed: int, group: Sequence[str]) -> Text:
        if (caption, needed) not in self._known:
            made_from = self._made_from(caption, needed) if self.store.folder else {}
            self._known[caption, needed] = self.store.get(
                made_from, lambda: self._alone(caption, needed, group)
            )
        return self._known[caption, needed]

    @torch.no_grad()
    def _alone(self, caption: str, needed: int, group: Sequence[str]) -> Tensors:
        """The text of one caption, as long as the longest of its group.

        A row of a matrix product does not depend on the other rows, so it does not matter which
        long caption sets the length.
        """
        captions = [caption]
        if self.length(caption) != needed:
            captions.append(next(other for other in group if self.length(other) == needed))
        text = rows(self.base.encode(captions), slice(1))
        return {name: tensor.cpu() for name, tensor in text.items()}

    def _made_from(self, caption: str, needed: int) -> dict[str, Any]:
        """Everything an entry of the store depends on."""
        if self._encoder is None:
            self._encoder = {
                "kind": "text 2",
                "family": self.base.family.name,
                "encoders": [fingerprint(encoder) for encoder in self.base.encoders],
                **self.base.encoding,
                **arithmetic(self.base.device, self.base.dtype, self._threads),
            }
        return {
            **self._encoder,
            "tokens": self.base.tokens(caption),
            "length": needed,
            "alone": self.length(caption) == needed,
        }
