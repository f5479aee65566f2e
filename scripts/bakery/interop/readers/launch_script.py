"""The script or command line that starts sd-scripts' training, as a table of its options.

`table` gives what config files of other languages give: names with the two dashes, and texts. A
`--config_file` that the command names is read first, as sd-scripts does, and the options win.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bakery.interop import flow_terms, kohya_terms, plain_values
from bakery.interop.other_config import KohyaConfig, beside
from bakery.interop.readers import shell_words
from bakery.interop.readers.shell_script import TRAINS, ScriptReader
from bakery.io.errors import BakeryError
from bakery.settings.train import Train

SCRIPT = "train_network.py"
"""The key of the table under which the family of the script stands: "", "sdxl", "anima", "flux" ..."""
NETWORKS = {"": "", "sdxl": "", "anima": flow_terms.MODULE}
"""Families of scripts whose models are baked here -> the network that a run without one has."""
NOTEBOOK = ".ipynb"
_ASSIGNED = re.compile(r"^\s*(\w+)\s*=\s*(\"[^\"\n]*\"|'[^'\n]*'|[-\d.eE]+|True|False)\s*(?:#.*)?$")
_TEXTS = (".txt", "")
_NO_NETWORK = re.compile(
    r"\b(sdxl_train|train_db|fine_tune|flux_train|train_textual_inversion|train_dreambooth\w*|"
    r"train_text_to_image\w*)\.py"
)
_CALLED = re.compile(r"train_network(\.py)?\b")
_SEVERAL = ("network_args", "optimizer_args", "lr_scheduler_args", "text_encoder_lr", "base_weights",
            "base_weights_multiplier")  # fmt: skip
_NAMES = {
    *(kohya_terms.kohya_name(name) for name in Train.model_fields), *kohya_terms.ANOTHER_WAY,
    *kohya_terms.NEUTRAL, *_SEVERAL, *plain_values.INTEGERS, *plain_values.FLOATS, *plain_values.FLAGS,
    *plain_values.TEXTS,
}  # fmt: skip


def recognised(path: Path, text: str) -> bool:
    """Whether a file is a script, or a text with a command that trains."""
    suffix = path.suffix.lower()
    if suffix in shell_words.SUFFIXES or suffix == NOTEBOOK:
        return True
    return suffix in _TEXTS and bool(_CALLED.search(text) and re.search(r"\s--\w", text))


def table(path: Path, text: str) -> tuple[dict[str, Any], list[str]]:
    """(options of the first command that trains a network, notes). Raises `BakeryError`
    if none does."""
    here = path.parent.as_posix()
    notebook = path.suffix.lower() == NOTEBOOK
    text = _cells(path, text) if notebook else text
    reader = ScriptReader("bash" if notebook else shell_words.shell_of(path.suffix, text), here)
    reader.read(text)
    if not reader.commands:
        raise BakeryError(_nothing(path, text))
    notes = []
    if len(reader.commands) > 1:
        notes.append(f"{path.name} trains {len(reader.commands)} times: the first is read")
    for condition in dict.fromkeys(reader.untold):
        shown = shell_words.readable(condition)
        notes.append(f"whether `{shown}` cannot be told from {path.name}: it counts as no")
    raw = _options(reader.commands[0], notes)
    return raw, notes


def _nothing(path: Path, text: str) -> str:
    """The sentence about a script that trains no network."""
    if path.suffix.lower() == NOTEBOOK:
        return (
            f"{path} is a notebook, and no command in it runs sd-scripts' train_network.py with its "
            "options: give the config files that it writes, such as training_config.toml and "
            "dataset_config.toml"
        )
    what = "no command in it runs sd-scripts' train_network.py"
    if other := _NO_NETWORK.search(text):
        what = f"it runs {other[0]}, which trains no LoRA of sd-scripts"
    return (
        f"{path} is a script, and {what}: give the config file that it uses, or the command line of the "
        "training in a text file"
    )


def _cells(path: Path, text: str) -> str:
    """A notebook's commands as a script of bash: what cells assign to plain names, and lines after !."""
    try:
        raw = json.loads(text)
        cells = [c for c in raw["cells"] if c.get("cell_type") == "code"]
        sources = ["".join(c["source"]) for c in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BakeryError(
            f"{path} is no notebook that can be read: save it again as .ipynb"
        ) from None
    lines: list[str] = []
    for source in sources:
        goes_on = source.lstrip().startswith(("%%bash", "%%shell"))
        whole = goes_on
        for line in source.splitlines():
            command = re.match(r"\s*!(.*)", line)
            if command or goes_on:
                said = command[1] if command else line
                lines.append(re.sub(r"(?<!\$)\{(\w+)\}", r"${\1}", said))
                goes_on = whole or said.rstrip().endswith("\\")
            elif match := _ASSIGNED.match(line):
                lines.append(f"{match[1]}={match[2]}")
    return "\n".join(lines)


def _options(command: list[str], notes: list[str]) -> dict[str, Any]:
    """Options by name: the words behind each, True where there are none; the last of a name counts."""
    at = next(n for n, word in enumerate(command) if TRAINS.search(word))
    match = TRAINS.search(command[at])
    raw: dict[str, Any] = {SCRIPT: match[1] if match else ""}
    launcher = [word for word in command[:at] if word.startswith("--")]
    if launcher:
        raw["accelerate"] = launcher
    rest = command[at + 1 :]
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            if word.strip():
                notes.append(
                    f"{shell_words.readable(word)} behind the options is no option and is left out"
                )
            continue
        name, equals, value = word[2:].partition("=")
        values = [value] if equals else []
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        name = _in_full(name)
        several = name in _SEVERAL and len(values) > 0
        raw[f"--{name}"] = values if several or len(values) > 1 else values[0] if values else True
    return raw


def _in_full(name: str) -> str:
    """An option may be shortened as long as it is clear which is meant."""
    meant = [known for known in _NAMES if known.startswith(name)]
    return meant[0] if len(meant) == 1 and name not in _NAMES else name


def config_of(raw: dict[str, Any], path: Path) -> Path | None:
    """The `--config_file` that the command names, where it is or beside the script; else None."""
    name = plain_values.path_of(raw.get("--config_file"))
    if not name:
        return None
    name = name if name.endswith(".toml") else f"{name}.toml"
    return beside(name, path)


def read(source: KohyaConfig, raw: dict[str, Any], path: Path) -> None:
    """Take over the options of one command; those whose value the script does not hold are lost."""
    source.fall_back(kohya_terms.SD_SCRIPTS_DEFAULTS)
    family = str(raw.get(SCRIPT) or "")
    if family not in NETWORKS:
        source.other_model(f"{family}_train_network.py")
    elif NETWORKS[family]:
        source.arguments.setdefault("network_module", NETWORKS[family])
    named = Path(plain_values.path_of(raw.get("--config_file"))).name
    given = any(kind.startswith(f"{named.removesuffix('.toml')}.toml (") for kind in source.kinds)
    if named and not given and config_of(raw, path) is None:
        source.notes.append(
            f"--config_file {shell_words.readable(str(raw['--config_file']))} is not here: give it as a "
            "file of its own before the script"
        )
    for word in raw.get("accelerate", ()):
        source.idle.append(f"accelerate launch {shell_words.readable(word)}")
    for word, value in raw.items():
        if not word.startswith("--") or word == "--config_file":
            continue
        texts = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        missing = next((found for text in texts if (found := shell_words.unknown(text))), "")
        if missing:
            shown = plain_values.entry(word, shell_words.readable(" ".join(texts)))
            source.lost.append(f"{shown} ({missing} is not set in the script)")
        elif value == "":
            source.idle.append(word)
        else:
            source.say(word, value, {word: word[2:]})
    source.rename("lr_scheduler_type", "lr_scheduler")
