"""Writes what people read about the config from the models that check it.

- `workflow/schemas/config.schema.yaml`, for editors and for the workflow catalog's table of parameters
- `config/README.md`, for people
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bakery.settings import config
from bakery.settings.gather import Gather
from bakery.settings.halve import Halving
from bakery.settings.sections import Section

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
README = ROOT / "config" / "README.md"

HEAD = """\
# The config

`config.yaml` describes one bake. You may leave out any key below. A typo, a wrong type or a value
out of range is an error with a clear message. Numbers may be written as `1e-4` or `1.0e-4`. Where a
list is wanted, a single value does; `~` in paths is your home folder. To
change a setting on the command line: `snakemake --cores all --config 'train={{network_dim: 32}}'`;
to use another file: `--configfile`. Run it in a clone of the repository, because the rules need the
library in `scripts/`.

Changing a setting reruns its own stage and the later ones. Nothing else does.

(Written by `make docs` from `scripts/bakery/settings/config.py`.)
"""

SWEEPS = """
## sweeps

Each sweep is a set of bakes that are compared on one page. Settings are written with their stage.

```yaml
sweeps:
  rates:
    grid:                        # every combination
      train.unet_lr: [1e-4, 2e-4]
      train.network_dim: [16, 32]
    variants:                    # plus single bakes
      - {prune.enabled: false}
    halving:                     # optional: stop the worst bakes early
      after: [1, 2]
      keep: 0.5
```

Bakes share every stage up to the first difference. Without sweeps, the config itself is the only
bake. In a file that is laid over another config, `rates: null` leaves that config's sweep `rates` out.
`config/experiments/` has sweeps that each answer a question
([docs/experiments.md](../docs/experiments.md)).

With `halving`, all bakes are trained to the first epoch in `after`, sampled, scored and ranked by
their trade-off. The best continue to the next epoch in `after`; the others stop and keep their
files. The page shows which, and why. A bake whose loss becomes NaN is stopped as well; the run goes
on without it.
"""


def row(name: str, field: FieldInfo) -> str:
    """One line of a section's table."""
    default = "" if field.default is PydanticUndefined else json.dumps(_plain(field.default))
    if len(default) > 60:
        default = "(see config.py)"
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {_type(field)} | `{default}` | {meaning} |"


def _type(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    kinds = typing.get_args(field.annotation) if _is_union(field.annotation) else [field.annotation]
    words = " or ".join(_word(kind) for kind in kinds)
    return ", ".join([words, *_bounds(field.metadata)])


def _word(kind: typing.Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if origin is typing.Annotated:
        first, *metadata = typing.get_args(kind)
        limits = [limit for m in metadata for limit in getattr(m, "metadata", [m])]
        return " ".join([_word(first), *_bounds(limits)])
    if isinstance(kind, type) and issubclass(kind, Section):
        return "section"
    names = {int: "whole number", float: "number", bool: "true/false", str: "text",
             tuple: "list", dict: "mapping", type(None): "null"}  # fmt: skip
    return names.get(origin or kind, str(kind))


def _is_union(annotation: typing.Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _bounds(metadata: typing.Iterable[typing.Any]) -> list[str]:
    return [
        f"{sign} {getattr(limit, attribute)}"
        for limit in metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"),
                                ("multiple_of", "multiple of"))
        if getattr(limit, attribute, None) is not None
    ]  # fmt: skip


def _nested(stage: str) -> str:
    """A table for each kind of entry that a section holds."""
    parts = []
    for name, field in config.section_of(stage).model_fields.items():
        section = config.section_in(field.annotation)
        if section is not None:
            what = f"`{stage}.{name}`" if field.default is None else f"Each of `{stage}.{name}`"
            parts.append(f"\n{what}: {section.__doc__}\n\n{_table(section)}")
    return "".join(parts)


def _table(section: type[Section]) -> str:
    head = "| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"
    fields = section.model_fields.items()
    return head + "".join(row(f.alias or name, f) + "\n" for name, f in fields)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def readme() -> str:
    parts = [HEAD.format()]
    for stage in config.STAGES:
        section = config.section_of(stage)
        parts.append(f"\n## {stage}\n\n{section.__doc__}\n\n{_table(section)}{_nested(stage)}")
    parts.append(f"\n## gather\n\n{Gather.__doc__}\n\n{_table(Gather)}")
    halving = f"\n`sweeps.<name>.halving`: {Halving.__doc__}\n\n{_table(Halving)}"
    return "".join(parts) + SWEEPS + halving


def schema() -> str:
    """The JSON schema as YAML, each section in its place: the catalog follows no references."""
    nested = config.Config.model_json_schema()
    whole = _in_place(nested, nested.pop("$defs"))
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)


def _in_place(part: typing.Any, definitions: dict[str, typing.Any]) -> typing.Any:
    """`part` of a schema, references replaced by what they refer to, each text in one line."""
    if isinstance(part, list):
        return [_in_place(item, definitions) for item in part]
    if isinstance(part, str):
        return " ".join(part.split())
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("$ref"), str):
        referred = definitions[part["$ref"].removeprefix("#/$defs/")]
        part = {**referred, **{key: value for key, value in part.items() if key != "$ref"}}
    return {key: _in_place(value, definitions) for key, value in part.items()}


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
