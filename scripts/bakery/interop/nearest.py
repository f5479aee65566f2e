"""What another program's setting is nearest to here, each with a sentence that says so.

`settle` takes a Train section as it was translated and gives one that `Train` takes. A value that is
no value at all is replaced by the other program's default, never by ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types as limits
from pydantic import TypeAdapter, ValidationError

from bakery.interop import plain_values
from bakery.settings import optimizers
from bakery.settings.train import LrScheduler, Train

_PRECISIONS = {
    "fp32": "float", "float32": "float", "float16": "fp16", "bfloat16": "bf16", "half": "fp16",
    "float_16": "fp16", "bfloat_16": "bf16", "float_32": "float",
}  # fmt: skip
_SCHEDULERS = (
    ("rex", "rex"), ("restart", "cosine_with_restarts"), ("cosine", "cosine"),
    ("polynomial", "polynomial"), ("linear", "linear"), ("warmup", "constant_with_warmup"),
)  # fmt: skip
_OPTIMIZERS = (
    ("prodigyplus", "ProdigyPlusScheduleFree"), ("dadapt", "DAdaptAdam"), ("prodigy", "Prodigy"),
    ("came", "CAME"), ("lion", "Lion"), ("adafactor", "Adafactor"),
    ("schedulefree", "AdamWScheduleFree"), ("8bit", "AdamW8bit"),
)  # fmt: skip
_MOST_RANK = 4096
"""Of a matrix, not of a LoRA: kohya_ss' presets for LoKr say 10000 and more."""
Said = tuple[dict[str, Any], list[str], list[str]]


def settle(given: dict[str, Any], defaults: dict[str, Any]) -> Said:
    """(settings that Train takes, notes, what was left out) of a translated Train section.

    `defaults` are the other program's, under our names.
    """
    ours = dict(given)
    notes: list[str] = []
    lost: list[str] = []
    _optimizer(ours, notes, lost)
    _scheduler(ours, notes)
    _whole_matrices(ours, defaults, notes, lost)
    for name in list(ours):
        if name in Train.model_fields and ours[name] is not None:
            _into_range(name, ours, defaults, notes, lost)
    _sizes(ours, notes)
    _rates(ours, defaults, notes)
    if ours.get("conv_dim") is None and ours.pop("conv_alpha", None) is not None:
        notes.append("conv_alpha does nothing without conv_dim")
    if not ours.get("max_data_loader_n_workers"):
        ours["persistent_data_loader_workers"] = False
    return ours, notes, lost


def nearest_optimizer(name: str) -> str:
    """The optimizer of ours that does most nearly what the one called `name` does."""
    plain = "".join(c for c in name.rpartition(".")[2].lower() if c.isalnum())
    exact = {known.lower(): known for known in optimizers.OPTIMIZERS}
    if plain in exact:
        return exact[plain]
    for part, ours in _OPTIMIZERS:
        if part in plain:
            if ours in optimizers.OPTIMIZERS:
                return ours
            return "Prodigy" if part in ("prodigyplus", "dadapt") else "AdamW"
    return "AdamW"


def nearest_scheduler(name: str) -> str:
    """The schedule of ours that is most like the one called `name`."""
    plain = name.rpartition(".")[2].lower()
    known = get_args(LrScheduler)
    if plain in known:
        return plain
    for part, ours in _SCHEDULERS:
        if part in plain:
            return ours if ours in known else "cosine"
    return "constant"


def _optimizer(ours: dict[str, Any], notes: list[str], lost: list[str]) -> None:
    given = plain_values.text_of(ours.get("optimizer_type") or "AdamW")
    ours["optimizer_type"] = nearest_optimizer(given)
    arguments = ours.get("optimizer_args") or {}
    if given.lower() != ours["optimizer_type"].lower():
        last = given.rpartition(".")[2].replace("_", "").lower()
        if last != ours["optimizer_type"].lower():
            notes.append(f"optimizer {given} is not here: {ours['optimizer_type']} is the nearest")
            lost.append(f"optimizer_type = {given!r}")
            lost += [plain_values.entry(f"optimizer_args.{k}", v) for k, v in arguments.items()]
            arguments = {}
    arguments = {k: v for k, v in arguments.items() if k and not plain_values.is_secret(k, v)}
    if "lr" in arguments:
        lost.append(plain_values.entry("optimizer_args.lr", arguments.pop("lr")))
    _arguments(ours["optimizer_type"], arguments, notes, lost)
    if problem := optimizers.problem(ours["optimizer_type"], arguments):
        lost.append(
            f"{plain_values.entry('optimizer_args.betas', arguments.pop('betas'))} ({problem})"
        )
    if arguments:
        ours["optimizer_args"] = arguments
    else:
        ours.pop("optimizer_args", None)


def _arguments(kind: str, arguments: dict[str, Any], notes: list[str], lost: list[str]) -> None:
    """Only what our class of the optimizer takes; another one would end the bake when it trains."""
    for theirs, name in optimizers.OPTIMIZERS[kind].called.items():
        if theirs in arguments and name not in arguments:
            arguments[name] = arguments.pop(theirs)
            notes.append(f"optimizer_args {theirs} is called {name} here")
    for name in optimizers.unknown(kind, arguments):
        entry = plain_values.entry(f"optimizer_args.{name}", arguments.pop(name))
        lost.append(f"{entry} ({kind} takes no such argument)")


def _scheduler(ours: dict[str, Any], notes: list[str]) -> None:
    given = plain_values.text_of(ours.get("lr_scheduler") or "constant")
    found = nearest_scheduler(given)
    if found != given.lower():
        notes.append(f"lr_scheduler {given} is not here: {found} is the nearest")
    ours["lr_scheduler"] = found
    share, steps = ours.get("lr_warmup_ratio"), ours.get("lr_warmup_steps")
    if found == "constant" and (share or steps):
        long = f"{steps} steps" if steps else f"{share:g} of all steps"
        notes.append(f"the warm-up of {long} is left out: constant has none")
        ours["lr_warmup_ratio"], ours["lr_warmup_steps"] = 0.0, 0


def _whole_matrices(
    ours: dict[str, Any], defaults: dict[str, Any], notes: list[str], lost: list[str]
) -> None:
    """A rank that no LoRA has is LyCORIS' word for a LoKr of whole matrices, which has no scale."""
    asked = plain_values.number(ours.get("network_dim")) or 0
    if asked > _MOST_RANK:
        instead = defaults.get("network_dim") or 16
        notes.append(
            f"network_dim {asked} asks LyCORIS for whole matrices, which a LoRA has not: {instead} is "
            "taken, with as much alpha"
        )
        ours["network_dim"] = ours["network_alpha"] = instead
    if (plain_values.number(ours.get("conv_dim")) or 0) > _MOST_RANK:
        lost.append(plain_values.entry("conv_dim", ours.pop("conv_dim")))
        ours.pop("conv_alpha", None)


def _into_range(
    name: str, ours: dict[str, Any], defaults: dict[str, Any], notes: list[str], lost: list[str]
) -> None:
    """One value that its field takes: the nearest, or the other program's default."""
    field = Train.model_fields[name]
    value = ours[name]
    kind = TypeAdapter(_annotated(name))
    for candidate in (value, *_candidates(value, field)):
        try:
            kind.validate_python(candidate)
        except (ValidationError, OverflowError):
            continue
        if candidate is not value:
            ours[name] = candidate
            if (candidate is not None or value) and not name.endswith("precision"):
                notes.append(f"{name} {value!r} is not possible here: {candidate!r} is the nearest")
        return
    instead = defaults.get(name)
    lost.append(
        f"{plain_values.entry(name, value)} (cannot be read as {name}; {instead!r} is taken)"
    )
    if instead is None:
        ours.pop(name)
    else:
        ours[name] = instead


def _annotated(name: str) -> Any:
    field = Train.model_fields[name]
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _candidates(value: Any, field: Any) -> Iterator[Any]:
    """Values like `value`, the nearest first."""
    choices = [c for part in _parts(field.annotation) if get_origin(part) is Literal
               for c in get_args(part)]  # fmt: skip
    found = plain_values.number(value)
    if choices:
        if all(isinstance(choice, int) for choice in choices):
            if found is not None:
                yield min(choices, key=lambda choice: abs(choice - found))
        else:
            word = str(value).lower()
            said = _PRECISIONS.get(word, word)
            yield from (said, "no" if said in ("float", "none") else said)
        return
    if found is None:
        return
    marks = [*field.metadata, *(m for part in _parts(field.annotation) for m in _marks(part))]
    # annotated_types knows no more of a limit than that it compares; those of our settings are numbers
    steps = [m.multiple_of for m in _flat(marks) if isinstance(m, limits.MultipleOf)]
    step: Any = next(iter(steps), None)
    if step:
        found = int(found / step + 0.5) * step
    for mark in _flat(marks):
        limit = _limit(mark)
        if isinstance(mark, limits.Ge):
            found = max(found, limit)
        elif isinstance(mark, limits.Le):
            found = min(found, limit)
        elif isinstance(mark, limits.Gt) and found <= limit:
            yield None
            return
        elif isinstance(mark, limits.Lt) and isinstance(found, int) and limit > 1:
            found %= limit
    yield found
    yield round(found)


def _limit(mark: Any) -> Any:
    """The number of a limit; None of another mark. annotated_types calls it any comparable thing."""
    names = {limits.Ge: "ge", limits.Le: "le", limits.Gt: "gt", limits.Lt: "lt"}
    return getattr(mark, names[type(mark)]) if type(mark) in names else None


def _parts(annotation: Any) -> list[Any]:
    inner = get_args(annotation) if get_origin(annotation) is not Literal else ()
    return [annotation, *(deeper for part in inner for deeper in _parts(part))]


def _marks(part: Any) -> tuple[Any, ...]:
    return getattr(part, "__metadata__", ())


def _flat(marks: list[Any]) -> list[Any]:
    """Marks as they are, and those inside of a pydantic Field."""
    return [inner for mark in marks for inner in (mark, *getattr(mark, "metadata", ()))]


def _sizes(ours: dict[str, Any], notes: list[str]) -> None:
    """Limits of buckets that hold the resolution; sd-scripts refuses others."""
    side = ours.get("resolution")
    low, high = ours.get("min_bucket_reso"), ours.get("max_bucket_reso")
    if not side or low is None or high is None:
        return
    if low > high:
        notes.append(f"min_bucket_reso {low} and max_bucket_reso {high} are swapped")
        low, high = high, low
    if ours.get("enable_bucket") and not low <= side <= high:
        notes.append(f"buckets of {low} to {high} are widened to hold resolution {side}")
        low, high = min(low, side), max(high, side)
    ours["min_bucket_reso"], ours["max_bucket_reso"] = low, high


def _rates(ours: dict[str, Any], defaults: dict[str, Any], notes: list[str]) -> None:
    """Rates that train something, and one only for optimizers that find their own."""
    whole = ours.get("learning_rate", defaults.get("learning_rate", 1e-4))
    parts = {name: ours.get(name) for name in ("unet_lr", "text_encoder_lr")}
    rates = {name: whole if rate is None else rate for name, rate in parts.items()}
    if ours.get("network_train_unet_only"):
        rates["text_encoder_lr"] = 0
    if not any(rates.values()):
        rate = defaults.get("learning_rate") or 1e-4
        notes.append(f"all learning rates are 0, which trains nothing: {rate:g} is taken")
        for name in parts:
            ours.pop(name, None)
        ours["network_train_unet_only"] = False
        ours["learning_rate"] = rate
        return
    trained = {rate for rate in rates.values() if rate}
    if optimizers.OPTIMIZERS[ours["optimizer_type"]].finds_rate and len(trained) > 1:
        first = rates["text_encoder_lr"] or rates["unet_lr"]
        notes.append(
            f"{ours['optimizer_type']} takes one rate: {first:g}, the first part's, counts there, too"
        )
        ours["learning_rate"] = first
        for name in parts:
            ours.pop(name, None)
