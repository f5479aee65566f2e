"""Anima's text: what a language model makes of a caption, read by an adapter word by word of T5's.

The adapter's input is T5's token ids (no T5 is run) and the language model's last states; its output is
what the transformer attends to. Both inputs are padded at their ends, and padded places are zero. The
output is as long as T5's tokens, but at least `floor`, filled up with zeros: the transformer was trained
with these, so they are neither cut off nor masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from bakery.families.anima.shapes import MOST_TOKENS
from bakery.io import devices

_KEPT = 4096
"""Captions whose tokens are kept: with shuffle_caption, each showing of a picture may have a new one."""


class Tokens(NamedTuple):
    """A caption's token ids, uncut."""

    text: list[int]
    t5: list[int]


@dataclass
class TextSide:
    """The parts that a caption goes through, all frozen."""

    tokenizer: Any
    t5_tokenizer: Any
    encoder: nn.Module
    """transformers' Qwen3Model."""
    conditioner: Any
    """diffusers' AnimaTextConditioner, the adapter."""
    _tokens: dict[str, Tokens] = field(default_factory=dict, init=False)

    @property
    def floor(self) -> int:
        """The least length of a text, in tokens."""
        return self.conditioner.config["min_sequence_length"]

    def tokens(self, caption: str) -> Tokens:
        if caption not in self._tokens:
            found = (
                t(caption, verbose=False).input_ids for t in (self.tokenizer, self.t5_tokenizer)
            )
            if len(self._tokens) >= _KEPT:
                self._tokens.clear()
            self._tokens[caption] = Tokens(*found)
        return self._tokens[caption]

    def length(self, caption: str) -> int:
        """Tokens of the text that is made of a caption."""
        return max(self.floor, min(MOST_TOKENS, len(self.tokens(caption).t5)))

    def cuts(self, caption: str) -> bool:
        return max(map(len, self.tokens(caption))) > MOST_TOKENS

    def encode(self, captions: Sequence[str], device: torch.device) -> torch.Tensor:
        """(B, T, C), as long as the longest caption needs."""
        found = [self.tokens(caption) for caption in captions]
        ids, mask = _padded([one.text[:MOST_TOKENS] for one in found], device)
        end = self.t5_tokenizer.eos_token_id
        t5_ids, t5_mask = _padded([_cut(one.t5, end) for one in found], device)
        states = self.encoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        # a caption without tokens has states that are no numbers: they are replaced, not multiplied
        states = torch.where(mask[..., None].bool(), states, 0).to(self.conditioner.dtype)
        return self.conditioner(
            source_hidden_states=states,
            target_input_ids=t5_ids,
            target_attention_mask=t5_mask,
            source_attention_mask=mask,
        )


def _cut(ids: list[int], end: int) -> list[int]:
    """T5's ids always end in `end`, also of a caption that is cut."""
    return ids if len(ids) <= MOST_TOKENS else [*ids[: MOST_TOKENS - 1], end]


def _padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) token ids and (B, T) ones where there are any; T is at least 1."""
    longest = max([1, *map(len, rows)])
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return devices.moved(ids, device), devices.moved(mask, device)
