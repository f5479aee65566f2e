"""What the layers of Anima are called in LoRA files.

kohya's files have one underscore for every dot and for every underscore. Files with dots have the
makers' paths, under a prefix that differs from program to program, or diffusers' paths.
"""

from __future__ import annotations

import re

from bakery.families.anima import names

KOHYA, DOTTED = "lora_unet_", "diffusion_model."
"""What the names begin with in either form."""
_PREFIXES = ("model.diffusion_model.", DOTTED, "net.", "base_model.model.", "")
"""In front of the makers' paths: ComfyUI and the makers, the makers' checkpoints, peft, OneTrainer."""
_ATTENTION = (f"{kind}_attn.{which}_proj" for kind in ("self", "cross") for which in "qkvo")
_ADAPTER_BLOCK = (*_ATTENTION, "mlp.0", "mlp.2")
_ADAPTER = ("in_proj", "out_proj")


def underscored(path: str) -> str:
    """A path as it is in the names of kohya's files."""
    return path.replace(".", "_")


_OUTSIDE = {
    underscored(path): path
    for path in (*names.TRANSFORMER, *(f"{names.ADAPTER}{name}" for name in _ADAPTER))
}
_INSIDE = {
    "blocks": {underscored(path): path for path in names.BLOCK},
    "llm_adapter_blocks": {underscored(path): path for path in _ADAPTER_BLOCK},
}
_BLOCK = re.compile(r"((?:llm_adapter_)?blocks)_(\d+)_(\w+)")


def path_of(name: str) -> str | None:
    """The makers' path, with `diffusion_model.`, of a layer that kohya's files call `name`."""
    if not name.startswith(KOHYA):
        return None
    layer = name.removeprefix(KOHYA)
    if (inside := _BLOCK.fullmatch(layer)) is None:
        found = _OUTSIDE.get(layer)
    else:
        where, number, rest = inside.groups()
        inner = _INSIDE[where].get(rest)
        found = inner and f"{where.replace('adapter_', 'adapter.')}.{number}.{inner}"
    return f"{DOTTED}{found}" if found else None


def name_of(path: str) -> str | None:
    """kohya's name of the layer at a path of the makers or of diffusers; None for others' layers."""
    if path.startswith("transformer."):
        try:
            layer = names.to_original(path.removeprefix("transformer."))
        except KeyError:
            return None
    elif path.startswith("text_conditioner."):
        layer = names.ADAPTER + path.removeprefix("text_conditioner.")
    else:
        prefix = next(one for one in _PREFIXES if path.startswith(one))
        layer = path.removeprefix(prefix)
    found = KOHYA + underscored(layer)
    return found if path_of(found) == DOTTED + layer else None
