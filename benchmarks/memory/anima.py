"""Anima in its real shape with random weights, as `phase_memory.py` measures and counts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AnimaTextConditioner, AutoencoderKLQwenImage, CosmosTransformer3DModel
from tiny_base import tiny_anima
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model, T5TokenizerFast

TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 16, "attention_head_dim": 128, "num_layers": 28,
    "max_size": (128, 240, 240), "rope_scale": (1.0, 4.0, 4.0), "extra_pos_embed_type": None,
}  # fmt: skip
TEXT_ENCODER: dict[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 32768, "tie_word_embeddings": False,
}  # fmt: skip
"""Of Qwen3-0.6B-Base; the layer that turns states into words is not read."""
T5_WORDS = 32_128

PARTS: dict[str, Callable[[], torch.nn.Module]] = {
    "transformer": lambda: CosmosTransformer3DModel(**TRANSFORMER),
    "text_conditioner": AnimaTextConditioner,
    "text_encoder": lambda: Qwen3Model(Qwen3Config(**TEXT_ENCODER)),
    "vae": AutoencoderKLQwenImage,
}
"""A folder of the diffusers model -> what makes its part, with random weights."""


def write(folder: Path, dtype: torch.dtype) -> None:
    """The model as a diffusers folder, its parts drawn one by one so that not all are in memory."""
    tiny_anima(folder)
    torch.manual_seed(0)
    for name, part in parts():
        part.to(dtype).save_pretrained(folder / name)
        del part
    tokenizer().save_pretrained(folder / "tokenizer")
    t5_tokenizer().save_pretrained(folder / "t5_tokenizer")


def parts() -> Iterator[tuple[str, torch.nn.Module]]:
    for name, make in PARTS.items():
        yield name, make()


def tokenizer() -> Qwen2Tokenizer:
    """Knows as many words as the text encoder; every letter is a token of a text."""
    letters = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    known = TEXT_ENCODER["vocab_size"]
    words = [*letters, *(f"<word {number}>" for number in range(len(letters), known))]
    return Qwen2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def t5_tokenizer() -> T5TokenizerFast:
    """The same for the words that the adapter reads."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("\u2581", -2.0)]
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    found = special + letters
    found += [(f"<word {number}>", -9.0) for number in range(len(found), T5_WORDS)]
    return T5TokenizerFast(vocab=found, extra_ids=0)
