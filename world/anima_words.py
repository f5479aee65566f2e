"""The words of the embedded Anima: two tokenizers of the classes that it has, and its captions.

Qwen's splits text into bytes and joins them to the words of the world's tags; T5's knows the words
whole and spells everything else letter by letter. So a trigger that neither ever met is still a text of
its own.
"""

from __future__ import annotations

import json
import string

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer, T5TokenizerFast

from world import words

MAX_LENGTH = 64
"""Tokens that the transformer sees at least: shorter texts are padded with zeros, as Anima's to 512."""
GLUE = ["A", "girl", "boy", "with", "and", "a", "picture", "of"]
"""What sentences have beside the tags' words."""


def new_qwen() -> Qwen2Tokenizer:
    """BPE over bytes with merges up to each known word, with and without a space before it."""
    known = [*words.known_words(), *GLUE]
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=10_000,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([form for word in known for form in (word, f" {word}")], trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab = model["vocab"] | {"<|endoftext|>": len(model["vocab"])}
    return Qwen2Tokenizer(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]])


def new_t5() -> T5TokenizerFast:
    """Unigrams: the known words, and the printable characters at a score that loses to any word."""
    known = [*words.known_words(), *GLUE]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = string.ascii_letters + string.digits + string.punctuation
    pieces += [(letter, -12.0) for letter in letters]
    seen = {piece for piece, _ in pieces}
    forms = dict.fromkeys(form for word in known for form in (f"▁{word}", word))
    pieces += [(form, -4.0) for form in forms if form not in seen]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, additional_special_tokens=[])


def caption(tags: list[str], rng: np.random.Generator) -> str:
    """As a user might ask: tags, a sentence, or tags and a sentence."""
    kind = rng.random()
    if kind < 0.7:
        return words.caption(tags, rng)
    spoken = sentence(tags, rng)
    return spoken if kind < 0.85 else f"{words.caption(tags, rng)}, {spoken}".removeprefix(", ")


def sentence(tags: list[str], rng: np.random.Generator) -> str:
    """`A girl with blue eyes, pink hair and a hat.`, of some of the tags."""
    rest = [str(tag) for tag in rng.permutation(tags[1:])][: rng.integers(1, 7)]
    listed = " and ".join((", ".join(rest[:-1]), rest[-1])) if len(rest) > 1 else rest[0]
    who = {"1girl": "A girl", "1boy": "A boy"}.get(tags[0], "A picture of")
    return f"{who} with {listed}."
