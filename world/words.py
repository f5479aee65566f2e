"""The embedded base's words: a CLIP tokenizer whose vocabulary is the world's tags.

Every word of a tag is one token; everything else (a trigger such as `mirael`) falls to bytes, so any
text can be asked. Also the captions the base learns from.
"""

from __future__ import annotations

import json
import re

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from world import avatar

MAX_LENGTH = 64  # tokens, with begin and end of text
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def known_words() -> list[str]:
    tags = (tag for group in avatar.GROUPS.values() for tag in group if tag not in avatar.NOVEL)
    return sorted(
        {word for tag in tags for word in re.findall(r"\d|[^\W\d]+|[^\w\s]", tag)} | {","}
    )


def new_tokenizer() -> CLIPTokenizer:
    """BPE with the 256 bytes, the 256 bytes that end a word, and merges up to each known word."""
    alphabet = sorted(ByteLevel.alphabet())
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = WhitespaceSplit()
    bpe.train_from_iterator(
        known_words(),
        BpeTrainer(
            vocab_size=10_000, end_of_word_suffix="</w>", initial_alphabet=alphabet,
            show_progress=False,
        ),
    )  # fmt: skip
    merges = [tuple(merge) for merge in _merges(bpe)]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += [a + b for a, b in merges]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_LENGTH)


def _merges(bpe: Tokenizer) -> list[list[str]]:
    return [
        merge if isinstance(merge, list) else merge.split(" ")
        for merge in json.loads(bpe.to_str())["model"]["merges"]
    ]


def caption(tags: list[str], rng: np.random.Generator) -> str:
    """A caption as a user might ask: shuffled, often partial, sometimes with an unknown word.

    The unknown words teach the base that a trigger it never met means nothing in particular.
    """
    if rng.random() < 0.1:
        return ""
    first, rest = tags[:1], list(tags[1:])
    rng.shuffle(rest)
    if rng.random() < 0.5:
        rest = rest[: rng.integers(0, len(rest) + 1)]
    words = first + rest if rng.random() < 0.9 else rest
    if rng.random() < 0.15:
        words.insert(0, "".join(rng.choice(LETTERS, rng.integers(3, 9))))
    return ", ".join(words)
