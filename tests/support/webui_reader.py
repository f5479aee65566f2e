"""A reader of infotexts and prompts that follows A1111's rules, step by step.

Written from how the code of A1111 and its fork Forge works: what "PNG info" takes from an infotext, and
what is then given to the text encoder with which weights. `benchmarks/webui/prompts.py` puts the same
kinds of prompts to their own code instead of this.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

KARRAS_BY_DEFAULT = {"DPM++ 2M", "DPM2", "DPM2 a"}
EXPONENTIAL_BY_DEFAULT = {"DPM++ 2M SDE"}
"""Samplers that do not take evenly spaced timesteps unless they are told to."""
SCHEDULES = {"Uniform", "Karras", "Exponential", "SGM Uniform", "Simple", "DDIM"}
_SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:[^"\\]|\\.)+"|[^,]*)(?:,|$)')


@dataclass
class Read:
    """What is understood of an infotext."""

    prompt: str
    negative: str
    settings: dict[str, str]


@dataclass
class Conditions:
    """What a prompt asks: per part of `AND` its weight and its words, each with an emphasis."""

    networks: list[str]
    parts: list[tuple[float, list[tuple[str, float]]]]

    @property
    def literal(self) -> str:
        """The words, where none is emphasised, divided or weighed."""
        ((weight, words),) = self.parts
        assert weight == 1
        assert {emphasis for _, emphasis in words} <= {1}, words
        return "".join(text for text, _ in words)


def read_infotext(infotext: str) -> Read:
    """The fields, as they would be pasted into the interface."""
    *lines, last = infotext.strip().split("\n")
    pairs = _SETTING.findall(last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    fields: dict[bool, list[str]] = {False: [], True: []}
    negative = False
    for line in map(str.strip, lines):
        said = line.removeprefix("Negative prompt:")
        negative |= said != line
        fields[negative].append(said.strip())
    settings = {}
    for name, value in pairs:
        assert value, f"{name} is empty, which A1111 reports as an error"
        quoted = value[0] == value[-1] == '"'
        settings[name] = json.loads(value) if quoted else value
    return Read("\n".join(fields[False]), "\n".join(fields[True]), settings)


def sampler_and_schedule(settings: dict[str, str]) -> tuple[str, str]:
    """What it would draw with; `Automatic` resolved to what the sampler takes by default."""
    sampler, schedule = settings["Sampler"], settings.get("Schedule type", "Automatic")
    schedule = schedule if schedule in SCHEDULES else "Automatic"
    for known in SCHEDULES:
        if sampler.endswith(f" {known}"):
            sampler, schedule = sampler.removesuffix(f" {known}"), known
    if schedule == "Automatic":
        schedule = "Karras" if sampler in KARRAS_BY_DEFAULT else "Uniform"
        schedule = "Exponential" if sampler in EXPONENTIAL_BY_DEFAULT else schedule
    return sampler, schedule


def read_prompt(prompt: str) -> Conditions:
    """Networks taken out, comments cut, divided at AND, words weighed."""
    prompt = re.sub(r"#.*", "", prompt)
    networks = re.findall(r"<\w+:[^>]+>", prompt)
    for network in networks:
        prompt = prompt.replace(network, "", 1)
    parts = []
    for part in re.split(r"\bAND\b", prompt):
        weight = re.search(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$", part)
        text = part[: weight.start()] if weight else part
        parts.append((float(weight[1]) if weight else 1.0, _weighed(text)))
    return Conditions(networks, parts)


def _weighed(text: str) -> list[tuple[str, float]]:
    """Words and emphasis; a `BREAK` has a NaN, as it weighs nothing."""
    words: list[list] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def emphasise(start: int, factor: float) -> None:
        for word in words[start:]:
            word[1] *= factor

    place = 0
    while place < len(text):
        rest, char = text[place:], text[place]
        closing = re.match(r":\s*([+-]?[.\d]+)\s*\)", rest)
        plain = re.match(r"[^\\()\[\]:]+", rest)
        taken = 1
        if char == "\\":
            following = text[place + 1 : place + 2]
            taken = 2 if following and following in "\\()[]" else 1
            words.append([following if taken == 2 else "", 1.0])
        elif char in "([":
            (open_round if char == "(" else open_square).append(len(words))
        elif closing and open_round:
            emphasise(open_round.pop(), float(closing[1]))
            taken = len(closing[0])
        elif char == ")" and open_round:
            emphasise(open_round.pop(), 1.1)
        elif char == "]" and open_square:
            emphasise(open_square.pop(), 1 / 1.1)
        else:
            taken = len(plain[0]) if plain else 1
            first, *others = re.split(r"\s*\bBREAK\b\s*", text[place : place + taken])
            words.append([first, 1.0])
            for other in others:
                words += [["BREAK", float("nan")], [other, 1.0]]
        place += taken
    for start in open_round:
        emphasise(start, 1.1)
    for start in open_square:
        emphasise(start, 1 / 1.1)
    return [(said, emphasis) for said, emphasis in words]
