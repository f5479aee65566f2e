"""Captions as they are shown, beside sd-scripts' own `process_caption`, with the same random numbers.

    python benchmarks/kohya/captions.py --sd-scripts PATH [--cases 20000]

PATH is a checkout of kohya-ss/sd-scripts. Of its `library/train_util.py` that one function is run, so
none of its packages is needed. Captions are drawn with 0 to 3 separators, in front, behind and without
spaces, with sentences, and with all of keep_tokens, shuffle_caption, caption_tag_dropout_rate and
caption_dropout_rate. Prints how many are equal; ends with 1 at a difference that is not meant. Meant is
one: where nothing is shuffled or left out, sd-scripts leaves the separator in the caption.
"""

from __future__ import annotations

import argparse
import ast
import math
import random
import re
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from bakery.tags.shuffling import Shuffling

SEPARATORS = ("|||", "$$")
TAGS = ("mirael", "1girl", "red hat", "smile", "long hair", "@nameko", "year 2024", ":|", "a;;;b")
SENTENCES = ("She walks, slowly, along a road.", "A girl smiles.", "It costs 1,000 coins, or more.")
SUBSET: dict[str, Any] = {
    "caption_prefix": None, "caption_suffix": None, "caption_dropout_every_n_epochs": 0,
    "enable_wildcard": False, "caption_separator": ",", "token_warmup_step": 0,
    "token_warmup_min": 1, "secondary_separator": None,
}  # fmt: skip
"""What is the same in all cases."""


def theirs(checkout: Path) -> Callable[..., str]:
    """(caption, settings, generator) -> what sd-scripts shows."""
    path = checkout / "library" / "train_util.py"
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "process_caption"
    ]
    (function,) = found
    function.args.args[1].annotation = None  # a class that is not loaded here
    module = ast.Module([function], [])
    dataset = types.SimpleNamespace(
        current_epoch=1, current_step=0, max_train_steps=1, replacements={}
    )

    def shown(caption: str, settings: dict[str, Any], rng: random.Random) -> str:
        known: dict[str, Any] = {"random": rng, "re": re, "math": math, "BaseSubset": None}
        exec(compile(module, str(path), "exec"), known)
        subset = types.SimpleNamespace(**SUBSET, **settings)
        return str(known["process_caption"](dataset, subset, caption))

    return shown


def ours(caption: str, settings: dict[str, Any], rng: random.Random) -> str:
    how = Shuffling(
        settings["keep_tokens"], settings["keep_tokens_separator"],
        settings["shuffle_caption"], settings["caption_tag_dropout_rate"],
    )  # fmt: skip
    return how.shown(caption, rng, settings["caption_dropout_rate"])


def drawn(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A caption and its settings."""
    separator = rng.choice(["", *SEPARATORS])
    parts = []
    for _ in range(rng.choice((1, 1, 2, 3, 3, 4)) if separator else 1):
        pieces = rng.sample(TAGS, rng.randint(0, 5)) + rng.sample(SENTENCES, rng.choice((0, 0, 1)))
        rng.shuffle(pieces)
        parts.append(", ".join(pieces))
    spaces = rng.choice((" ", "", ", "))
    caption = f"{spaces}{separator}{spaces}".join(parts)
    return caption, {
        "keep_tokens_separator": separator,
        "keep_tokens": rng.randint(0, 4),
        "shuffle_caption": rng.random() < 0.6,
        "caption_tag_dropout_rate": rng.choice((0.0, 0.0, 0.3, 1.0)),
        "caption_dropout_rate": rng.choice((0.0, 0.0, 0.2)),
    }


def kind(caption: str, settings: dict[str, Any]) -> str:
    count = caption.count(settings["keep_tokens_separator"] or "\n")
    still = not settings["shuffle_caption"] and not settings["caption_tag_dropout_rate"]
    return f"{count} separators{', nothing shuffled or left out' * still}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20_000)
    given = parser.parse_args()
    shown = theirs(given.sd_scripts)
    cases, equal, wrong = Counter[str](), Counter[str](), 0
    for number in range(given.cases):
        caption, settings = drawn(random.Random(number))
        mine = ours(caption, settings, random.Random(number))
        other = shown(caption, settings, random.Random(number))
        same = kind(caption, settings)
        cases[same] += 1
        equal[same] += mine == other
        meant = "nothing" in same and settings["keep_tokens_separator"] in other
        if mine != other and not meant:
            wrong += 1
            print(f"{caption!r} with {settings}: {mine!r} here, {other!r} there")
    print("| captions with | cases | equal |\n| --- | --- | --- |")
    for name in sorted(cases):
        print(f"| {name} | {cases[name]} | {equal[name]} |")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
