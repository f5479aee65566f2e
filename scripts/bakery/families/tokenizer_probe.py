"""How the text encoder's tokenizer cuts a word, without loading the model (or torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

_WORD_END = "</w>"
# CLIP's own: contractions, letters, single digits, other signs
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Pieces:
    """A word as the text encoder reads it."""

    pieces: tuple[str, ...]
    rank: float
    """0..1, the position of the first piece in the vocabulary; frequent words come first."""

    @property
    def whole(self) -> bool:
        return len(self.pieces) == 1


def cut(base: Path, word: str) -> Pieces | None:
    """The pieces of `word` for the diffusers model in the folder `base`.

    None if there is no local tokenizer: a single checkpoint, a hub id, a folder without one.
    """
    tokenizer = _load(base / "tokenizer")
    if tokenizer is None:
        return None
    encoded = tokenizer.encode(word, add_special_tokens=False)
    if not encoded.ids:
        return None
    words = [piece.removesuffix(_WORD_END) for piece in encoded.tokens]
    return Pieces(tuple(words), encoded.ids[0] / tokenizer.get_vocab_size())


def lengths(base: Path, texts: Sequence[str]) -> list[int] | None:
    """How many tokens each of `texts` is to the diffusers model in the folder `base`, or to the
    checkpoint file `base` with a `tokenizer` folder beside it.

    Uncut, and without the tokens of beginning and end. None as for `cut`, and for a tokenizer that is
    not CLIP's, since its text encoder has another limit.
    """
    home = base.parent if base.is_file() else base
    tokenizer = _load(home / "tokenizer")
    if tokenizer is None or not any(token.endswith(_WORD_END) for token in tokenizer.get_vocab()):
        return None
    tokenizer.no_truncation()  # what a saved tokenizer cuts would never seem too long
    tokenizer.no_padding()
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [len(one.ids) for one in encoded]


def _load(folder: Path) -> Tokenizer | None:
    whole, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    try:
        if whole.is_file():
            return Tokenizer.from_file(str(whole))
        if not (vocabulary.is_file() and merges.is_file()):
            return None
        bpe = models.BPE.from_file(str(vocabulary), str(merges), end_of_word_suffix=_WORD_END)
    except Exception:  # the tokenizers library raises bare exceptions for files it cannot read
        return None
    tokenizer = Tokenizer(bpe)
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), spaces, normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
