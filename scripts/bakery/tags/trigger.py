"""The trigger: the word that calls the character, and what it stands for.

The prune stage writes it to `trigger.json`; later stages read it there. This class puts it in front
of captions and into prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.settings.prune import Prune, is_class_first
from bakery.settings.tag import Thresholds
from bakery.tags import captions

NAME = "trigger.json"
"""The file in the prune stage's folder."""


@dataclass(frozen=True)
class Trigger:
    """What calls the character. Tags are spelled as captions and prompts spell them."""

    word: str
    class_tokens: str = ""
    """Tags, separated by commas, that always go with the word: after it, or before (`class_first`)."""
    pruned: tuple[str, ...] = ()
    """The tags that it absorbs."""
    traits: tuple[str, ...] = ()
    """The character's traits as found by pruning, even if pruning is switched off."""
    outfits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sub-trigger -> the tags that it absorbs."""
    thresholds: Thresholds | None = None
    """Thresholds from which a tagger's tag counts; None until the prune stage has decided."""
    class_first: bool = False
    """Whether the class tokens are before the word, as `prune.caption_order` has it in captions."""

    @classmethod
    def of(cls, settings: Prune) -> Trigger:
        """The trigger by the config alone."""
        return cls(
            settings.trigger,
            settings.class_tokens,
            outfits=settings.outfits,
            class_first=is_class_first(settings.caption_order),
        )

    @classmethod
    def read(cls, folder: Path) -> Trigger:
        """The trigger in the prune stage's folder. Raises `BakeryError` when its file is broken."""
        path = folder / NAME
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                word=str(facts["trigger"]),
                class_tokens=str(facts["class_tokens"]),
                pruned=_tags(facts["pruned"]),
                traits=_tags(facts["traits"]),
                outfits={word: _tags(tags) for word, tags in facts["outfits"].items()},
                thresholds=Thresholds(
                    **{kind: float(facts["thresholds"][kind]) for kind in ("general", "character")}
                ),
                class_first=facts.get("class_first", False) is True,
            )
        except FileNotFoundError:
            raise BakeryError(f"{path} does not exist: run the prune stage again") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise BakeryError(
                f"{path} does not hold a trigger as the prune stage writes it ({problem!r}): delete "
                "its folder and run again"
            ) from None

    def write(self, folder: Path) -> None:
        """Writes `NAME` to `folder`, whole or not at all. Needs the thresholds."""
        facts = {
            "trigger": self.word,
            "class_tokens": self.class_tokens,
            "pruned": list(self.pruned),
            "traits": list(self.traits),
            "outfits": {word: list(tags) for word, tags in self.outfits.items()},
            "thresholds": {
                "general": self.decided.general,
                "character": self.decided.character,
            },
        } | ({"class_first": True} if self.class_first else {})
        write_text(folder / NAME, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    @property
    def decided(self) -> Thresholds:
        """The thresholds; raises ValueError where the prune stage has not decided."""
        if self.thresholds is None:
            raise ValueError("a trigger without thresholds is not the prune stage's")
        return self.thresholds

    @property
    def own(self) -> list[str]:
        """The tags that stand for the character: trigger word and class tokens, in their order."""
        words = (self.word, self.class_tokens)
        return captions.split(", ".join(reversed(words) if self.class_first else words))

    @property
    def activation_text(self) -> str:
        """What calls the character in a prompt, in the order of captions: `mirael, 1girl`."""
        return captions.join(self.own)

    def front(self, caption: str) -> str:
        """`caption` with trigger and class tokens in front, and nowhere else."""
        mine = set(map(captions.same, self.own))
        rest = [tag for tag in captions.split(caption) if captions.same(tag) not in mine]
        return captions.join([*self.own, *rest])

    def call(self, prompt: str) -> str:
        """`prompt` with its placeholders `{trigger}` and `{class_tokens}` filled in."""
        text = prompt.replace("{trigger}", self.activation_text)
        if "{class_tokens}" in text:  # which may be empty, and would leave a comma alone
            return captions.join(captions.split(text.replace("{class_tokens}", self.class_tokens)))
        return text

    def bare(self, prompt: str) -> str:
        """`prompt` without the trigger word; class tokens stay."""
        word = captions.same(self.word)
        return captions.join(tag for tag in captions.split(prompt) if captions.same(tag) != word)


def _tags(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise TypeError(f"{listed!r} is no list of tags")
    return tuple(map(str, listed))
