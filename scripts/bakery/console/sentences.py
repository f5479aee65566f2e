"""What a finished stage has done, as a line; from the summary in its manifest."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

TARGETS = ("all", "plan", "gather", "clean", "verify")
"""What can be asked for by name."""

Summary = Mapping[str, Any]


def line(stage: str, summary: Summary) -> str:
    """`33 of 42 kept; 4 too small, 3 duplicate`; "" for a stage that says nothing."""
    say = _SAID.get(stage)
    return say(summary) if say else ""


def warnings(summary: Summary) -> list[str]:
    """The warnings that a stage leaves in its manifest."""
    return [str(one) for one in summary.get("warnings", ())]


def no_target(name: str) -> str:
    """That there is nothing of this name to make: a mistyped command."""
    close = difflib.get_close_matches(name, TARGETS, n=1)
    if name.endswith((".yaml", ".yml")):
        return f"{name} is taken for a file to make: a config is given as --configfile {name}"
    hint = f"; did you mean {close[0]}?" if close else f": known are {', '.join(TARGETS)}"
    return f"{name} is neither a command nor a file that can be made here{hint}"


def _scrape(summary: Summary) -> str:
    text = f"{summary['images']} of {_count(summary['posts'], 'picture')} fetched"
    return _with_reasons(text, summary.get("reasons", {}))


def _filter(summary: Summary) -> str:
    text = f"{summary['kept']} of {summary['images']} kept"
    return _with_reasons(text, summary.get("reasons", {}))


def _tag(summary: Summary) -> str:
    text = f"{_count(summary['tagged'], 'picture')}, {_count(summary['distinct_tags'], 'tag')}"
    return text + _besides(summary, "unreadable")


def _prune(summary: Summary) -> str:
    pruned = summary["pruned"]
    if own := summary.get("own_captions"):
        removed = f", without {_listed(pruned)}" if pruned else ""
        return f"{_count(own, 'caption')} of your own kept{removed}; the trigger is in front"
    absorbed = _listed(pruned) if pruned else "nothing"
    return f"the trigger absorbs {absorbed}; {_count(summary['kept'], 'tag')} stay"


def _layout(summary: Summary) -> str:
    folders = _listed(list(summary["folders"]))
    return f"{_count(summary['images'], 'picture')} in {folders}"


def _train(summary: Summary) -> str:
    epochs = summary["epochs"]
    text = f"{_count(len(epochs), 'epoch')}, {_count(summary['steps'], 'step')}"
    text = f"{text}, loss {epochs[-1]['loss']:.4f}" if epochs else text
    stopped = summary.get("stopped", {}).get("sentence")
    return f"{text}; {stopped}" if stopped else text


def _sample(summary: Summary) -> str:
    text = f"{_count(summary['images'], 'picture')} of {_count(summary['epochs'], 'epoch')}"
    return text + _besides(summary, "broken")


def _score(summary: Summary) -> str:
    return f"{_count(summary['samples'], 'picture')} looked at"


def _compare(summary: Summary) -> str:
    if not summary.get("best_epoch"):
        return str(summary["verdict"])
    score = summary.get("best_score")
    told = "" if score is None else f" (score {score:.2f})"
    told += f"; {summary['best_stopped']}" if summary.get("best_stopped") else ""
    best = f"{summary['best_bake']}, epoch {summary['best_epoch']}"
    if best.casefold().endswith(str(summary["verdict"]).casefold()):
        return f"the best is {best}{told}"
    return f"{summary['verdict']}; the best of them is {best}{told}"


_SAID: Mapping[str, Callable[[Summary], str]] = {
    "scrape": _scrape, "filter": _filter, "tag": _tag, "prune": _prune, "layout": _layout,
    "train": _train, "sample": _sample, "score": _score, "compare": _compare,
}  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _with_reasons(text: str, reasons: Mapping[str, int]) -> str:
    by_count = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in by_count)
    return f"{text}; left out: {why}" if why else text


def _besides(summary: Summary, what: str) -> str:
    return f"; {summary[what]} {what}" if summary.get(what) else ""


def _listed(words: list[str], most: int = 6) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")
