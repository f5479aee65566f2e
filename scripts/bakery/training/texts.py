"""The text embeddings of the captions, computed once if the text encoder does not learn.

A frozen text encoder gives a caption the same embedding in every epoch. If there are only so many
captions (none is shuffled, no tag dropped, or `text_variants` bounds them), each is encoded once, alone,
before anything is trained, and kept on disk, shared by all bakes of the base; then the text encoder is
freed. Otherwise captions are encoded batch by batch, with gradients if the encoder learns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from bakery.families.family import TEXT_ENCODER, TEXTS, Model, Text, join, rows
from bakery.io import devices, status
from bakery.settings.train import Train
from bakery.training.cache import Store, Tensors, arithmetic, fingerprints


class EncodedTexts:
    """The embeddings of single captions, for all bakes of a base."""

    def __init__(self, base: Model, store: Store, *, threads: int) -> None:
        self.base, self.store = base, store
        self._threads = threads
        self._encoder: dict[str, Any] | None = None
        self._known: dict[tuple[str, int], Text] = {}

    @property
    def size(self) -> int:
        """Bytes of all that are known."""
        return sum(x.nbytes for text in self._known.values() for x in text.values())

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, captions: Sequence[str]) -> Text:
        """The text of `captions` on the CPU; it is as long as the longest of them needs."""
        needed = max(map(self.base.length, captions))
        return join([self._row(caption, needed, captions) for caption in captions])

    def prepare(self, batches: Iterable[Sequence[str]]) -> None:
        """Encode the captions of these batches that are not known."""
        wanted: dict[tuple[str, int], Sequence[str]] = {}
        for captions in batches:
            needed = max(map(self.base.length, captions))
            for caption in captions:
                wanted.setdefault((caption, needed), captions)
        missing = [one for one in wanted if one not in self._known]
        with devices.autocast(self.base.device, self.base.dtype):
            for caption, needed in status.each(missing, "encoding captions"):
                self._row(caption, needed, wanted[caption, needed])

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
        self.base.need(TEXTS)
        captions = [caption]
        if self.base.length(caption) != needed:
            captions.append(next(other for other in group if self.base.length(other) == needed))
        text = rows(self.base.encode(captions), slice(1))
        return {name: tensor.cpu() for name, tensor in text.items()}

    def _made_from(self, caption: str, needed: int) -> dict[str, Any]:
        """Everything an entry of the store depends on."""
        if self._encoder is None:
            self._encoder = {
                "kind": "text 2",
                "family": self.base.family.name,
                "encoders": fingerprints(self.base, TEXTS, self.store),
                **self.base.encoding,
                **arithmetic(self.base.device, self.base.dtype, self._threads),
            }
        return {
            **self._encoder,
            "tokens": self.base.tokens(caption),
            "length": needed,
            "alone": self.base.length(caption) == needed,
        }


class Texts:
    """The text embeddings of captions, for one bake."""

    def __init__(self, settings: Train, encoded: EncodedTexts) -> None:
        self.base, self.encoded = encoded.base, encoded
        self.learns = TEXT_ENCODER in self.base.trained(settings.rates)
        self.kept = is_kept(settings, self.base)

    def __call__(self, captions: Sequence[str]) -> Text:
        """The text of `captions`; it is as long as the longest of them needs."""
        if not self.kept:
            with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
                return self.base.encode(captions)
        device = self.base.device
        return {name: devices.moved(x, device) for name, x in self.encoded(captions).items()}

    def length(self, caption: str) -> int:
        """Captions of one length share a pass through the base."""
        return self.base.length(caption)


def is_kept(settings: Train, base: Model) -> bool:
    """Whether a bake's captions are encoded once: its text encoder is not needed after that."""
    endless = settings.varies_tags and settings.text_variants is None
    return TEXT_ENCODER not in base.trained(settings.rates) and not endless
