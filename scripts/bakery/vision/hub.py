"""Models that a config names by a hub id: fetched once, into the hub's own cache.

Nothing is fetched unless the config names it so, and only files of the named kinds: never code, never a
pickle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bakery.io.errors import BakeryError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def is_id(name: str) -> bool:
    """Whether `name` has the form `owner/name` or `owner/name@revision`."""
    return bool(_HUB_ID.fullmatch(name))


def download(model: str, patterns: Sequence[str], what: str) -> Path:
    """The folder with the files of the hub id `model` that match `patterns`.

    `what` (tagger, captioner) begins the sentence of a `BakeryError`, where there is no such repository.
    """
    from huggingface_hub import snapshot_download  # imported late: only hub ids need it
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError

    repository, _, revision = model.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=[*patterns])
        )
    except RevisionNotFoundError:
        raise BakeryError(
            f"{what}: {repository} has no revision {revision}; see its list of commits on the hub"
        ) from None
    except (OSError, HFValidationError) as problem:
        first_line = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        raise BakeryError(
            f"{what}: {model} is no folder here, and could not be fetched from the hub "
            f"({first_line}); check the name and the connection, or give a folder"
        ) from None
