"""Where a bake stands after an epoch, so that it can go on after a kill as if nothing had happened.

Nothing of the random numbers is in it: they depend on the seed and on what they are for (`seeds`).
The order of writing is what makes a kill harmless: the epoch's LoRA, then `epochs.csv`, then this
state, each whole or not at all. Files that the state does not vouch for are of no epoch. The state of
the epoch before stays until the next: bakes side by side save one after another, and who was killed in
between goes back to where all stood.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from bakery.io.files import whole, write_text

log = logging.getLogger(__name__)

STATE = "resume.state"
BEFORE = "resume.before.state"
"""The state of the epoch before."""
STOPPED = "stopped.json"


def identity(**parts: Any) -> str:
    """A digest of all that must be equal for a state to be of use (plain JSON values)."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def save(folder: Path, owner: str, state: Mapping[str, Any]) -> None:
    """Replace the state of the bake `owner` (its identity); the last one is the one before now."""
    with whole(folder / STATE, sync=True) as part:
        torch.save({"owner": owner, **state}, part)
        if (folder / STATE).exists():
            (folder / STATE).rename(folder / BEFORE)


def load(folder: Path, *owners: str) -> dict[str, Any] | None:
    """The newest state of the bake `owners`, by one of these identities; None if there is none of it."""
    return next(states(folder, *owners), None)


def states(folder: Path, *owners: str) -> Iterator[dict[str, Any]]:
    """The states of the bake `owners`, the newest first; one at a time, since they are large.

    What is of no use gets a word in the log.
    """
    for path in (folder / STATE, folder / BEFORE):
        if not path.exists():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes of torch's readers
            log.warning("%s is damaged (%s): not going on from it", path, type(error).__name__)
            continue
        if not isinstance(state, dict) or state.pop("owner", None) not in owners:
            log.warning(
                "%s belongs to other settings, code, versions or threads: starting over", path
            )
            return
        yield state


def go_back(folder: Path) -> None:
    """Have the state before be the newest; without one, the bake starts over."""
    (folder / STATE).unlink(missing_ok=True)
    if (folder / BEFORE).exists():
        (folder / BEFORE).rename(folder / STATE)


def forget(folder: Path) -> None:
    """The bake is finished: its states have done their work."""
    for name in (STATE, BEFORE):
        (folder / name).unlink(missing_ok=True)


def record_failure(folder: Path, owner: str, sentence: str, **facts: Any) -> None:
    """Put on record why a bake cannot be finished; it would fail again in the same way."""
    record = {"owner": owner, "failure": sentence, **facts}
    write_text(folder / STOPPED, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def failure(folder: Path, owner: str) -> str | None:
    """The sentence of an earlier failure of the bake `owner`; those of others are removed."""
    path = folder / STOPPED
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        record = {}
    if isinstance(record, dict) and record.get("owner") == owner:
        return str(record["failure"])
    path.unlink()
    log.info("%s is of other settings, code, versions or threads: trying again", path)
    return None
