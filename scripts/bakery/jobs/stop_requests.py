"""A person asks a running bake to stop after the epoch it is in; the request is a file.

    touch results/train/<bake>/stop-after-epoch      this bake, after the epoch that it is in
    echo 6 > results/train/<bake>/stop-after-epoch   this bake, after epoch 6
    touch results/train/stop-after-epoch             every bake that is training now

A bake looks for requests at the end of each epoch. If it follows one, it saves that epoch's LoRA,
records the stop in `STOPPED` and ends well, with fewer epochs; its state stays (`training.checkpoint`).
Removing the file in time takes the request back. What a run leaves unfollowed is removed at the start of
the next one (`clear`), so that no bake is stopped by a request that nobody remembers. Going on later:
`resuming`.
"""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Any

from bakery.io.files import TICK, write_text

log = logging.getLogger(__name__)

REQUEST = "stop-after-epoch"
STOPPED = "stopped-by-you.json"
"""In a bake's folder: after which epoch it was stopped on request (`record`)."""
BY = "you"
"""In the summary of such a bake: `stopped.by`."""


def asked(folder: Path, epoch: int, *, since: float) -> bool:
    """Whether the bake in `folder` is asked to stop after its running `epoch`.

    A request for all bakes counts if it was made after `since` (seconds since 1970), when this bake
    began: it is for those that are training, not for those that follow.
    """
    own, everyone = folder / REQUEST, folder.parent / REQUEST
    if (text := _read(own)) is not None and epoch >= _epoch(own, text):
        return True
    text = _read(everyone)
    try:
        made = everyone.stat().st_mtime
    except OSError:
        return False
    return text is not None and made + TICK >= since and epoch >= _epoch(everyone, text)


def ask_all(place: Path) -> None:
    """Ask every bake that is training in `place` (`results/train`) to stop after its epoch."""
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / REQUEST, "")


def withdraw(folder: Path) -> bool:
    """Remove the request to the bake in `folder`; returns whether there was one."""
    there = (folder / REQUEST).exists()
    (folder / REQUEST).unlink(missing_ok=True)
    return there


def clear(place: Path) -> list[Path]:
    """Remove all requests in `place` (`results/train`), when no bake is running; returns them."""
    found = [
        path for path in (place / REQUEST, *sorted(place.glob(f"*/{REQUEST}"))) if path.exists()
    ]
    for path in found:
        path.unlink()
    return found


def record(folder: Path, owner: str, epoch: int, epochs: int) -> None:
    """Record that the bake with the identity `owner` stops after `epoch` of `epochs`."""
    text = json.dumps({"owner": owner, "epoch": epoch, "epochs": epochs})
    write_text(folder / STOPPED, text + "\n")


def recorded(folder: Path) -> dict[str, Any] | None:
    """`owner`, `epoch` and `epochs` of a stop that was recorded; None without one."""
    try:
        read = json.loads((folder / STOPPED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(read, dict) and isinstance(read.get("epoch"), int)
    return read if whole else None


def forget(folder: Path) -> None:
    """The bake in `folder` goes on."""
    (folder / STOPPED).unlink(missing_ok=True)


def about(epoch: int, epochs: int, bake: str) -> dict[str, Any]:
    """The entry `stopped` in the summary of the bake in the folder named `bake`."""
    sentence = f"stopped by you after epoch {epoch} of {epochs}"
    return {"until": epoch, "by": BY, "bake": bake, "sentence": sentence}


def is_by_you(summary: Any) -> bool:
    """Whether a summary (of a manifest) is that of a bake stopped on request."""
    stopped = summary.get("stopped") if isinstance(summary, dict) else None
    return isinstance(stopped, dict) and stopped.get("by") == BY


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


@functools.lru_cache  # asked after each step, said once
def _epoch(path: Path, text: str) -> int:
    """The epoch that a request names; 0, which is always reached, for the running one."""
    if text.isascii() and text.isdigit():
        return int(text)
    if text:
        log.warning(
            "%s says %.40r, which is no epoch: stopping after the running one; next time leave the "
            "file empty, or write a number into it",
            path, text,
        )  # fmt: skip
    return 0
