"""Prompts: what a bake's pictures ask for, and the pictures to draw.

A prompt set comes from the config, or is derived from the dataset by rule (`derive`):

- identity: the trigger alone, then with a plain scene;
- flexibility: an outfit, a scene and an expression each, those rarest in the training captions;
- recreate: the most frequent outfit of the training captions;
- bleed: the first flexibility prompts without the trigger.

`cells` crosses the prompts with the seeds. A flexibility cell has a reference, the same prompt on
the same noise without the trigger, which only the base draws (purpose `base`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bakery.gate import gate
from bakery.io.errors import BakeryError
from bakery.settings.sample import Auto, Prompt, Sample
from bakery.tags import captions, vocabulary
from bakery.tags.trigger import Trigger

PLAIN = (
    (),
    ("simple background", "white background"),
    ("simple background", "grey background"),
    ("simple background", "black background"),
)
"""What identity prompts ask for besides the trigger, in order."""
WEIGHED = ("identity", "flexibility")
"""Purposes that are drawn at other LoRA weights, too."""
COLUMNS = ("id", "purpose", "prompt", "why")


@dataclass(frozen=True)
class PromptEntry:
    """A prompt and the reason for it."""

    prompt: Prompt
    why: str

    def row(self) -> dict[str, Any]:
        return {**self.prompt.model_dump(include={"id", "purpose", "prompt"}), "why": self.why}


@dataclass(frozen=True)
class GridRow:
    """A row of the grid: the base (number 0, no file) or a saved LoRA at a weight."""

    number: int
    file: Path | None = None
    sshs_model_hash: str = ""
    weight: float = 0.0
    nominal: bool = True
    """Whether this is the weight that all epochs are drawn at."""

    @property
    def prefix(self) -> str:
        """The beginning of its pictures' names."""
        return f"e{self.number}" if self.nominal else f"e{self.number}w{self.weight:g}"


@dataclass(frozen=True)
class Cell:
    """One picture of every epoch; those with the purpose `base` are drawn without LoRA only."""

    prompt_id: str
    purpose: str
    prompt: str
    asked: tuple[str, ...]
    seed: int
    reference: str = ""
    """Prompt id of the same prompt without the trigger; "" for all but flexibility."""

    def image(self, epoch: GridRow) -> str:
        """File name of the picture in `images/`."""
        return f"{epoch.prefix}_{self.prompt_id}_s{self.seed}.png"


def derive(
    wanted: Auto, texts: Sequence[str], words: Mapping[str, int], own: Iterable[str]
) -> tuple[list[PromptEntry], list[str]]:
    """The prompts for a dataset, and a sentence for each that could not be derived.

    `texts` are the training captions; `words` leads from the tagger's general tags to how many
    pictures taught it each; `own` are the character's tags, which no prompt may contain.

    Of the tags that a prompt may ask (`vocabulary.askable`) and that the tagger knows, those on the
    fewest training captions are taken; among equals the one that the tagger learnt from the most
    pictures, then the first by name. Outfits differ in the kind of garment. Nothing is random.
    Words for children are never asked of themselves.
    """
    said = [{captions.same(tag) for tag in captions.split(text)} for text in texts]
    children = {tag for tag in {*words, *itertools.chain(*said)} if _of_children(tag)}
    said = [tags - children for tags in said]
    words = {tag: count for tag, count in words.items() if tag not in children}
    mine = {captions.same(tag) for tag in own}
    counts = Counter(tag for tags in said for tag in tags)
    ranked = {topic: _rank(topic, words, counts, mine) for topic in vocabulary.ASKED}
    found = _identity(wanted)
    flexible = _flexibility(wanted, ranked, words, counts, len(said))
    found += flexible
    found += _recreate(wanted, said, mine)
    found += [
        PromptEntry(_bleed(asked.prompt, wanted), f"{asked.prompt.id} without the trigger")
        for asked in flexible[: wanted.bleed]
    ]
    return found, _lacking(wanted, ranked, found)


def cells(prompts: Sequence[Prompt], seeds: Sequence[int], trigger: Trigger) -> list[Cell]:
    """Every prompt with its seeds, then the references that only the base draws.

    What a prompt asks are its tags beyond the trigger and the class tokens.
    """
    mine = {captions.same(tag) for tag in trigger.own}
    drawn: list[Cell] = []
    for prompt in prompts:
        text = trigger.call(prompt.prompt)
        tags = (captions.normalise(tag) for tag in captions.split(text))
        asked = tuple(tag for tag in tags if captions.same(tag) not in mine)
        for seed in seeds[: prompt.seeds]:
            drawn.append(Cell(prompt.id, prompt.purpose, text, asked, seed))
    return _with_references(drawn, trigger)


def of_epoch(cells: Iterable[Cell], epoch: GridRow) -> list[Cell]:
    """The cells that are drawn for a row: all by the base, fewer at weights besides the nominal."""
    if not epoch.number:
        return list(cells)
    drawn = [cell for cell in cells if cell.purpose != "base"]
    return drawn if epoch.nominal else [cell for cell in drawn if cell.purpose in WEIGHED]


def weighed(epochs: Sequence[GridRow], settings: Sample) -> list[GridRow]:
    """The rows for `sample.weights`: one epoch, at each weight that is not drawn anyway."""
    saved = {epoch.number: epoch for epoch in epochs if epoch.number}
    if not settings.weights or not saved:
        return []
    number = settings.weights_epoch or max(saved)
    if number not in saved:
        raise BakeryError(
            f"config: sample.weights_epoch is {number}, but the bake has saved only the epochs "
            f"{', '.join(map(str, saved))}: name one of these, or null for the last"
        )
    others = sorted(set(settings.weights) - {settings.lora_weight})
    return [replace(saved[number], weight=weight, nominal=False) for weight in others]


def resolve(
    settings: Sample, texts: Sequence[str], words: Mapping[str, int], trigger: Trigger
) -> tuple[list[PromptEntry], list[str]]:
    """The prompts of the config, or derived ones where it has none; and what is lacking."""
    if settings.prompts is None:
        found, lacking = derive(settings.auto, texts, words, [*trigger.own, *trigger.pruned])
        admitted = [asked for asked in found if not _refused(asked, trigger)]
        if len(admitted) < len(found):
            lacking = [
                *lacking,
                f"{len(found) - len(admitted)} derived prompts are not asked: {gate.FORBIDDEN}",
            ]
        return admitted, lacking
    found = [PromptEntry(prompt, "given in sample.prompts") for prompt in settings.prompts]
    for asked in found:
        if _refused(asked, trigger):
            raise BakeryError(
                f"sample.prompts: {asked.prompt.id} asks for sexualised minors ({gate.FORBIDDEN}), "
                "which are never drawn: write another prompt"
            )
    return found, []


def _of_children(tag: str) -> bool:
    facts = gate.of_text(tag)
    return facts.named or facts.minor


def _refused(asked: PromptEntry, trigger: Trigger) -> bool:
    """Whether the gate refuses a prompt, read with the trigger's own words in it."""
    return gate.of_text(trigger.call(asked.prompt.prompt)).refused


def _with_references(drawn: list[Cell], trigger: Trigger) -> list[Cell]:
    """Flexibility cells led to their reference, which is added where no bleed cell draws it."""
    known = {(c.prompt, c.seed): c.prompt_id for c in drawn if c.purpose == "bleed"}
    taken = {cell.prompt_id for cell in drawn}
    names: dict[str, str] = {}
    extra, result = [], []
    for cell in drawn:
        if cell.purpose == "flexibility":
            text = trigger.bare(cell.prompt)
            if (text, cell.seed) not in known:
                name = names.setdefault(cell.prompt_id, _free(f"{cell.prompt_id}-base", taken))
                known[text, cell.seed] = name
                extra.append(replace(cell, prompt_id=name, purpose="base", prompt=text))
            cell = replace(cell, reference=known[text, cell.seed])
        result.append(cell)
    return result + extra


def _free(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it; from now on it is taken."""
    options = itertools.chain([name], (f"{name}{number}" for number in itertools.count(2)))
    free = next(option for option in options if option not in taken)
    taken.add(free)
    return free


def _rank(topic: str, words: Mapping[str, int], counts: Counter[str], mine: set[str]) -> list[str]:
    known = [t for t in words if vocabulary.askable(t) == topic and captions.same(t) not in mine]
    return sorted(known, key=lambda tag: (counts[captions.same(tag)], -words[tag], tag))


def _identity(wanted: Auto) -> list[PromptEntry]:
    found = []
    for scene in PLAIN[: wanted.identity]:
        text = captions.join(["{trigger}", *scene])
        name = scene[-1].split()[0] if scene else "trigger"
        why = f"the trigger and {captions.join(scene)}" if scene else "the trigger alone"
        found.append(PromptEntry(Prompt(id=name, prompt=text, purpose="identity"), why))
    return found


def _flexibility(
    wanted: Auto,
    ranked: Mapping[str, Sequence[str]],
    words: Mapping[str, int],
    counts: Counter[str],
    pictures: int,
) -> list[PromptEntry]:
    picks: dict[str, Sequence[str]] = {"outfit": _kinds(ranked["outfit"], wanted.flexibility)}
    picks |= {topic: ranked[topic][: wanted.flexibility] for topic in ("scene", "expression")}
    found: list[PromptEntry] = []
    taken: set[str] = set()
    for number in range(wanted.flexibility):
        chosen = {topic: tags[number % len(tags)] for topic, tags in picks.items() if tags}
        if not chosen:
            break
        asked, why = [], []
        for tag in chosen.values():
            asked.append(tag)
            why.append(f"{tag} (on {counts[captions.same(tag)]} of {pictures} training pictures)")
        plain = vocabulary.plain(chosen.get("outfit", ""))
        if plain in words:  # boorus say both, and so do captions
            asked.insert(1, plain)
        text = captions.join(["{trigger}", *asked])
        if any(text == earlier.prompt.prompt for earlier in found):
            break  # so few words that they come again
        name = _free(_slug(chosen.get("scene", asked[0])), taken)
        prompt = Prompt(id=name, prompt=text, purpose="flexibility")
        found.append(PromptEntry(prompt, ", ".join(why)))
    return found


def _kinds(ranked: Sequence[str], number: int) -> list[str]:
    """The first outfits of `ranked`, each of another kind while there are kinds left."""
    first: dict[str, str] = {}
    for tag in ranked:
        first.setdefault(tag.rsplit(" ", 1)[-1], tag)
    kinds = list(first.values())
    rest = [tag for tag in ranked if tag not in kinds]
    return [*kinds, *rest][:number]


def _recreate(wanted: Auto, said: Sequence[set[str]], mine: set[str]) -> list[PromptEntry]:
    """The most common outfits: the commonest garment, and what most of its pictures also show.

    Only of what a prompt may ask (`vocabulary.askable`). A further outfit is looked for on the
    pictures without the garments before.
    """
    left = [{t for t in tags if vocabulary.askable(t) == "outfit"} - mine for tags in said]
    found: list[PromptEntry] = []
    for number in range(1, wanted.recreate + 1):
        counts = Counter(tag for tags in left for tag in tags)
        if not counts:
            break
        first = min(counts, key=lambda tag: (-counts[tag], tag))
        worn = [tags for tags in left if first in tags]
        together = Counter(tag for tags in worn for tag in tags)
        often = [tag for tag in together if 2 * together[tag] > len(worn)]
        often.sort(key=lambda tag: (-together[tag], tag))
        outfit = often[: wanted.recreate_tags]
        name = "recreate" if number == 1 else f"recreate{number}"
        text = captions.join(["{trigger}", *outfit])
        prompt = Prompt(id=name, prompt=text, purpose="recreate", seeds=wanted.recreate_seeds)
        found.append(
            PromptEntry(prompt, f"{first} is on {len(worn)} of {len(said)} training pictures")
        )
        left = [tags for tags in left if first not in tags]
    return found


def _bleed(prompt: Prompt, wanted: Auto) -> Prompt:
    text = prompt.prompt.replace("{trigger}", "{class_tokens}")
    return Prompt(id=f"{prompt.id}-bleed", prompt=text, purpose="bleed", seeds=wanted.bleed_seeds)


def _lacking(
    wanted: Auto, ranked: Mapping[str, Sequence[str]], found: Sequence[PromptEntry]
) -> list[str]:
    sentences = []
    if wanted.flexibility:
        for topic in vocabulary.ASKED:
            if not ranked[topic]:
                sentences.append(
                    f"the tagger knows no {topic} that a prompt could ask, so none is asked"
                )
    if wanted.recreate and not any(a.prompt.purpose == "recreate" for a in found):
        sentences.append(
            "no caption names an outfit that a prompt could ask, so there is no recreate prompt"
        )
    return sentences


def _slug(tag: str) -> str:
    """A tag as a prompt id: `starry sky` -> `starry-sky`."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in tag).strip("-")
    return letters or "prompt"
