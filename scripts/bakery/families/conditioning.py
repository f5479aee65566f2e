"""Prompts as the UNet takes them, and the UNet's answer, the way kohya's scripts do both.

SD1 has one text encoder and takes its `clip_skip`-th last layer through the final norm. SDXL has
two, takes the last layer but one of both without the norm, whatever clip_skip says, and besides a
pooled text of the second and the sizes of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from bakery.io.errors import BakeryError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

    from bakery.families.base import Base
    from bakery.io.images import Size

MAX_CHUNKS = 3  # kohya's max_token_length 225 = 3 x 75


@dataclass(frozen=True)
class Conditioning:
    """What the UNet knows of some prompts."""

    hidden: torch.Tensor
    """(B, T, C); C is the width of all text encoders together."""
    pooled: torch.Tensor | None = None
    """(B, P), only for SDXL."""

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice | torch.Tensor) -> Conditioning:
        """Some of the prompts."""
        return Conditioning(self.hidden[rows], None if self.pooled is None else self.pooled[rows])

    @classmethod
    def join(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """All prompts of `parts`, which share T."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        hidden = torch.cat([part.hidden for part in parts])
        return cls(hidden, torch.cat(pooled) if pooled else None)


def encode(
    base: Base, prompts: Sequence[str], clip_skip: int, max_chunks: int = MAX_CHUNKS
) -> Conditioning:
    """The conditioning of `prompts`, in their order.

    T is 2 + n * `chunk_size`, where n (at most `max_chunks`) is what the longest prompt of the
    batch needs; each chunk is encoded with BOS and EOS of its own, and the inner ones are taken
    out again, as in kohya's scripts. With n = 1 this is what a stock pipeline computes. Prompts
    that must share T (a prompt and its negative) go into one call. The rest of a prompt longer
    than `max_chunks` is cut off: `chunks_needed` tells. Gradients flow if the caller lets them.
    """
    check_clip_skip(base, clip_skip)
    n = min(max_chunks, max(chunks_needed(base, prompts), default=1))
    parts = zip(base.text_encoders, base.tokenizers, strict=True)
    if base.kind == "sd1":
        ((encoder, tokenizer),) = parts
        tokens = _tokens(tokenizer, prompts, n, base.chunk_size).to(base.device, non_blocking=True)
        return Conditioning(_joined(_states_of_sd1(encoder, tokens.flatten(0, 1), clip_skip), n))
    hidden, pooled = [], None
    for encoder, tokenizer in parts:
        tokens = _tokens(tokenizer, prompts, n, base.chunk_size).to(base.device, non_blocking=True)
        out = encoder(tokens.flatten(0, 1), output_hidden_states=True)
        hidden.append(_joined(out.hidden_states[-2], n))
        if encoder is base.text_encoders[-1]:  # the chunk that begins a prompt speaks for it
            pooled = _pooled(encoder, out.last_hidden_state[::n], tokens[:, 0], tokenizer)
    return Conditioning(torch.cat(hidden, dim=-1), pooled)


def predict(
    base: Base,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: Conditioning,
    sizes: Sequence[Sequence[int]] | torch.Tensor | None = None,
) -> torch.Tensor:
    """The UNet's prediction (B, C, h, w) for noisy latents of that shape at timesteps (B,).

    `sizes` are SDXL's `size_ids`, a row for each picture; None takes each for a whole picture of
    the latents' size. SD1 has no use for them.
    """
    added = None
    if base.kind == "sdxl":
        if sizes is None:
            height, width = (side * base.pixels_per_latent for side in noisy.shape[-2:])
            sizes = [(height, width, 0, 0, height, width)] * len(noisy)
        added = {
            "text_embeds": conditioning.pooled.to(base.dtype),
            # float32 whatever the model: bfloat16 has no number between 1024 and 1032
            "time_ids": torch.as_tensor(sizes, dtype=torch.float32, device=noisy.device),
        }
    return base.unet(
        noisy.to(base.dtype),
        timesteps,
        conditioning.hidden.to(base.dtype),
        added_cond_kwargs=added,
    ).sample


def size_ids(picture: Size, bucket: Size, flipped: bool = False) -> tuple[int, ...]:
    """(height, width) before resizing, (top, left) of the crop, (height, width) of the bucket.

    As kohya's `BucketManager.get_crop_ltrb` counts them, who follows Stability AI's preprocessing:
    the crop is where the whole picture would begin if it were fitted into the bucket.
    """
    (width, height), (bucket_width, bucket_height) = picture, bucket
    ratio = width / height
    if bucket_width / bucket_height > ratio:
        fitted = (bucket_height * ratio, bucket_height)
    else:
        fitted = (bucket_width, bucket_width / ratio)
    left, top = (bucket_width - fitted[0]) // 2, (bucket_height - fitted[1]) // 2
    if flipped:
        left = bucket_width - (left + fitted[0])
    return height, width, int(top), int(left), bucket_height, bucket_width


def check_clip_skip(base: Base, clip_skip: int) -> None:
    """`BakeryError` if the text encoder of an SD1 model has not that many layers."""
    layers = base.text_encoders[0].config.num_hidden_layers
    if base.kind == "sd1" and clip_skip > layers:
        raise BakeryError(
            f"train.clip_skip is {clip_skip}, but the text encoder of {base.path} has {layers} "
            f"layers: give 1 to {layers}"
        )


def chunks_needed(base: Base, prompts: Sequence[str]) -> list[int]:
    """How many chunks of `chunk_size` tokens each prompt would need, at least 1."""
    if not prompts:
        return []
    tokenizer = base.tokenizers[0]
    rows = tokenizer(list(prompts), add_special_tokens=False, verbose=False).input_ids
    return [max(1, -(-len(row) // base.chunk_size)) for row in rows]


def _tokens(tokenizer: CLIPTokenizer, prompts: Sequence[str], n: int, size: int) -> torch.Tensor:
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


def _states_of_sd1(encoder: nn.Module, tokens: torch.Tensor, clip_skip: int) -> torch.Tensor:
    """(rows, T) token ids -> (rows, T, C)."""
    if clip_skip == 1:
        return encoder(tokens).last_hidden_state
    states = encoder(tokens, output_hidden_states=True).hidden_states[-clip_skip]
    # transformers >= 5.6 has no text_model level inside CLIPTextModel any more
    return getattr(encoder, "text_model", encoder).final_layer_norm(states)


def _joined(states: torch.Tensor, n: int) -> torch.Tensor:
    """(B * n, 2 + size, C) -> (B, 2 + n * size, C): one BOS, all chunks, one EOS."""
    if n == 1:
        return states
    chunks = states.unflatten(0, (-1, n))  # (B, n, 2 + size, C)
    return torch.cat((chunks[:, 0, :1], chunks[:, :, 1:-1].flatten(1, 2), chunks[:, -1, -1:]), 1)


def _pooled(
    encoder: nn.Module, states: torch.Tensor, tokens: torch.Tensor, tokenizer: CLIPTokenizer
) -> torch.Tensor:
    """(B, T, C) -> (B, P): the state at the first EOS, projected (kohya's `pool_workaround`)."""
    end = (tokens == tokenizer.eos_token_id).int().argmax(dim=1)  # (B,)
    return encoder.text_projection(states[torch.arange(len(states), device=states.device), end])
