"""The parts of a model whose transformer is a file of its own, looked for where people put them."""

from __future__ import annotations

from pathlib import Path

from bakery.families.anima import refusals
from bakery.io.errors import BakeryError

_FOLDERS = {"text_encoder": ("text_encoders", "clip", "text_encoder"), "vae": ("vae",)}
"""Folders beside that of the transformer, as ComfyUI has them."""
_MOST = 200
"""Files of a folder whose headers are read."""


def parts(checkpoint: Path) -> dict[str, str]:
    """Paths of the text encoder and the VAE beside `checkpoint`, as far as a file shows itself as one.

    Looked at are its own folder and those of the other kinds beside that. Only headers are read.
    """
    found = {}
    for part, names in _FOLDERS.items():
        places = (checkpoint.parent, *(checkpoint.parent.parent / name for name in names))
        files = (f for place in places for f in sorted(place.glob("*.safetensors"))[:_MOST])
        path = next((file for file in files if file != checkpoint and _is(part, file)), None)
        if path is not None:
            found[part] = str(path)
    return found


def _is(part: str, file: Path) -> bool:
    try:
        return bool(refusals.shapes_of_part(part, str(file)))
    except BakeryError:
        return False
