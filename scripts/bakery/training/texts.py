"""What the text encoder makes of the captions, computed once where it does not learn.

A frozen text encoder says the same to a caption in every epoch. Where captions do not change either
(no shuffling, no tag dropout), each is encoded once, alone, and kept on disk, shared by all bakes of
the base. Otherwise captions are encoded batch by batch, with gradients if the encoder learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bakery.families import base as bases
from bakery.families.base import Base, Conditioning
from bakery.settings.train import Train
from bakery.training.cache import Store, Tensors, arithmetic, fingerprint

TOKENS_PER_PASS = 75  # what max_token_length counts in, whatever the base's own chunk size


class Texts:
    """The conditioning of captions for one bake."""

    def __init__(self, base: Base, settings: Train, store: Store, *, threads: int) -> None:
        self.base, self.store = base, store
        self.clip_skip = settings.clip_skip
        self.most_chunks = settings.max_token_length // TOKENS_PER_PASS
        self.learns = settings.rates["text_encoder_lr"] > 0
        changing = settings.shuffle_caption or settings.caption_tag_dropout_rate > 0
        self.kept = not self.learns and not changing
        self._threads = threads
        self._encoder: dict[str, Any] | None = None
        self._chunks: dict[str, int] = {}
        self._known: dict[tuple[str, int], Tensors] = {}

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """The conditioning of `captions`; it is as long as the longest of them needs."""
        if not self.kept:
            with torch.set_grad_enabled(self.learns):
                return self._encode(captions)
        needed = max(map(self.chunks, captions))
        rows = [self._row(caption, needed, captions) for caption in captions]
        joined = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        device = self.base.device
        return Conditioning(**{name: x.to(device, non_blocking=True) for name, x in joined.items()})

    def chunks(self, caption: str) -> int:
        """Passes of the text encoder that `caption` takes, at most what max_token_length allows."""
        if caption not in self._chunks:
            (needed,) = bases.chunks_needed(self.base, [caption])
            self._chunks[caption] = min(needed, self.most_chunks)
        return self._chunks[caption]

    def _row(self, caption: str, needed: int, company: Sequence[str]) -> Tensors:
        if (caption, needed) not in self._known:
            made_from = self._made_from(caption, needed) if self.store.folder else {}
            self._known[caption, needed] = self.store.get(
                made_from, lambda: self._alone(caption, needed, company)
            )
        return self._known[caption, needed]

    @torch.no_grad()
    def _alone(self, caption: str, needed: int, company: Sequence[str]) -> Tensors:
        """The conditioning of one caption, as long as its company wants it.

        A row of a matrix product does not depend on what stands in the other rows, so it does not
        matter which long caption lends its length.
        """
        if self.chunks(caption) == needed:
            return _tensors(self._encode([caption]))
        longest = next(other for other in company if self.chunks(other) == needed)
        return _tensors(self._encode([caption, longest])[:1])

    def _encode(self, captions: Sequence[str]) -> Conditioning:
        return bases.encode(self.base, captions, self.clip_skip, self.most_chunks)

    def _made_from(self, caption: str, needed: int) -> dict[str, Any]:
        """What an entry of the store depends on."""
        if self._encoder is None:
            self._encoder = {
                "kind": "text 1",
                "encoders": [fingerprint(encoder) for encoder in self.base.text_encoders],
                "clip_skip": self.clip_skip,
                "chunk": self.base.chunk_size,
                "pad": [tokenizer.pad_token_id for tokenizer in self.base.tokenizers],
                **arithmetic(self.base.device, self.base.dtype, self._threads),
            }
        ids = self.base.tokenizers[0](caption, add_special_tokens=False, verbose=False).input_ids
        return {
            **self._encoder,
            "tokens": ids,
            "chunks": needed,
            "alone": self.chunks(caption) == needed,
        }


def _tensors(text: Conditioning) -> Tensors:
    """What can be kept; a pooled text is SDXL's."""
    named = {"hidden": text.hidden, "pooled": text.pooled}
    return {name: tensor.cpu() for name, tensor in named.items() if tensor is not None}
