"""CLIP's text encoders, run the way kohya's scripts do: long prompts chunk by chunk.

T is 2 + n * size, where n is what the longest prompt of a batch needs and size what one pass takes; each
chunk is encoded with BOS and EOS of its own, and the inner ones are taken out again. With n = 1 this is
what a stock pipeline computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

MAX_TOKENS = 225
"""kohya's largest max_token_length."""
TOKENS_PER_CHUNK = 75  # what max_token_length counts in, whatever the encoder's own chunk size


def chunks_needed(tokenizer: CLIPTokenizer, prompt: str, size: int) -> int:
    """How many chunks of `size` tokens a prompt would need, at least 1."""
    return max(1, -(-len(ids(tokenizer, prompt)) // size))


def ids(tokenizer: CLIPTokenizer, prompt: str) -> list[int]:
    """Token ids of a prompt, uncut, without BOS and EOS."""
    return tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids


def tokens(tokenizer: CLIPTokenizer, prompts: Sequence[str], n: int, size: int) -> torch.Tensor:
    """(B, n, 2 + size) token ids: each chunk has a BOS, and EOS or padding at its end."""
    rows = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=n * size + 2,
        truncation=True,
        return_tensors="pt",
    ).input_ids  # (B, 2 + n * size)
    first, middle, last = rows[:, :1], rows[:, 1:-1], rows[:, -1:]
    chunks = torch.cat(
        (
            first[:, None].expand(-1, n, -1),
            middle.unflatten(1, (n, size)),
            last[:, None].expand(-1, n, -1),
        ),
        dim=2,
    )
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    if n > 1 and pad != eos:  # a full chunk ends in EOS, an empty one begins with it
        full = (chunks[..., -2] != eos) & (chunks[..., -2] != pad)
        chunks[..., -1] = chunks[..., -1].masked_fill(full, eos)
        chunks[..., 1] = chunks[..., 1].masked_fill(chunks[..., 1] == pad, eos)
    return chunks


def states(
    encoder: CLIPTextModel | CLIPTextModelWithProjection, tokens: torch.Tensor, clip_skip: int
) -> torch.Tensor:
    """(rows, T) token ids -> (rows, T, C), the `clip_skip`-th last layer through the final norm."""
    if clip_skip == 1:
        return encoder(tokens).last_hidden_state
    inner = encoder(tokens, output_hidden_states=True).hidden_states[-clip_skip]
    # transformers >= 5.6 has no text_model level inside CLIPTextModel any more
    level: Any = getattr(encoder, "text_model", encoder)
    return level.final_layer_norm(inner)


def joined(states: torch.Tensor, n: int) -> torch.Tensor:
    """(B * n, 2 + size, C) -> (B, 2 + n * size, C): one BOS, all chunks, one EOS."""
    if n == 1:
        return states
    chunks = states.unflatten(0, (-1, n))  # (B, n, 2 + size, C)
    return torch.cat((chunks[:, 0, :1], chunks[:, :, 1:-1].flatten(1, 2), chunks[:, -1, -1:]), 1)


def pooled(
    encoder: CLIPTextModelWithProjection,
    states: torch.Tensor,
    tokens: torch.Tensor,
    tokenizer: CLIPTokenizer,
) -> torch.Tensor:
    """(B, T, C) -> (B, P): the state at the first EOS, projected (kohya's `pool_workaround`)."""
    end = (tokens == tokenizer.eos_token_id).int().argmax(dim=1)  # (B,)
    return encoder.text_projection(states[torch.arange(len(states), device=states.device), end])
