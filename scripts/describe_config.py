"""Writes what people read about the config from the models that check it.

- `workflow/schemas/config.schema.json`, for editors
- `config/README.md`, for people
"""

from __future__ import annotations

import json
import typing
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bakery import config

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
README = ROOT / "config" / "README.md"

HEAD = """\
# The config

`config.yaml` describes one bake; every key below may be left out. A typo, a wrong type or a value out
of range is refused with a sentence. Numbers may be written as `1e-4` or `1.0e-4`. On the command line:
`snakemake --cores all --config 'train={{network_dim: 32}}'`, or another file with `--configfile`.

A changed setting remakes its own stage and the ones below it. Nothing else does.

(Written by `make schema` from `scripts/bakery/config.py`.)
"""

SWEEPS = """
## sweeps

Each sweep is a set of bakes that end on one page. Settings are named with their stage.

```yaml
sweeps:
  rates:
    grid:                        # every combination
      train.unet_lr: [1e-4, 2e-4]
      train.network_dim: [16, 32]
    variants:                    # and single bakes besides
      - {prune.enabled: false}
```

Bakes share every stage above the first difference. Without sweeps, the config is baked as it stands.
"""


def row(name: str, field: FieldInfo) -> str:
    """One line of a section's table."""
    default = "" if field.default is PydanticUndefined else json.dumps(_plain(field.default))
    if len(default) > 60:
        default = "(see config.py)"
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {_type(field)} | `{default}` | {meaning} |"


def _type(field: FieldInfo) -> str:
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(field.annotation))
    kind = getattr(field.annotation, "__name__", str(field.annotation))
    names = {"int": "whole number", "float": "number", "bool": "true/false", "str": "text"}
    bounds = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in field.metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"),
                                ("multiple_of", "multiple of"))
        if getattr(limit, attribute, None) is not None
    ]  # fmt: skip
    return ", ".join([names.get(kind, "list" if kind == "tuple" else "number or null"), *bounds])


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if isinstance(value, config.Section) else value


def readme() -> str:
    parts = [HEAD.format()]
    for stage in config.STAGES:
        section = config.Config.model_fields[stage].annotation
        parts.append(f"\n## {stage}\n\n{section.__doc__}\n\n")
        parts.append("| setting | type | default | meaning |\n| --- | --- | --- | --- |\n")
        parts += [row(name, field) + "\n" for name, field in section.model_fields.items()]
    return "".join(parts) + SWEEPS


def schema() -> str:
    return json.dumps(config.Config.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
