"""Adding one more of a kind is adding one record: tried on a copy of the project, by a real bake.

A filter check, an optimizer and a sampler are patched in, each in at most `MOST` files besides what
`make schema` writes. Then the workflow runs with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open
from tiny_base import tiny_sd1
from tiny_tagger import draw, tiny_tagger

from bakery.interop import infotext
from bakery.io import tables

ROOT = Path(__file__).parents[1]
MOST = 2
COPIED = ("Snakefile", "workflow", "scripts", "profiles", "envs", "config")
LIBRARY = "scripts/bakery"
WRITTEN = ("config/README.md", "workflow/schemas")
"""What `make schema` writes: documents."""
TAGS = ["1girl", "solo", "pink_hair", "halo", "beach", "smile"]


@dataclass(frozen=True)
class Line:
    """A piece of code that is put in front of one that is there once in the library."""

    before: str
    new: str


ADDED = {
    "filter check": (
        Line(
            '    Check(\n        "too_small",',
            '    Check(\n        "too_large",\n        "its longer side is above `filter.max_side`",\n'
            "        lambda settings, one: (\n"
            "            settings.max_side is not None and max(one.size) > settings.max_side\n"
            '        ),\n        cure="filter.max_side: null",\n    ),\n',
        ),
        Line(
            "    max_aspect: Annotated",
            "    max_side: Annotated[int, Field(ge=1)] | None = None\n"
            '    """Longer side in pixels above which a picture is too large; null keeps all."""\n',
        ),
    ),
    "optimizer": (
        Line('    "AdamW": Optimizer(', '    "SGD": Optimizer("torch.optim", "plain descent"),\n'),
    ),
    "sampler": (
        Line('    "UniPC": (', '    "DEIS": ("DEISMultistepScheduler", {}),\n'),
        Line('    "UniPC",\n', '    "DEIS",\n'),
    ),
}
CONFIG = {
    "scrape": {"name": "little", "urls": [], "folders": ["pictures"]},
    "filter": {"monochrome": False, "duplicate_distance": -1, "max_side": 200},
    "tag": {"model": "models/tagger"},
    "prune": {"trigger": "littlest"},
    "layout": {"repeats": 1},
    "train": {
        "base": "models/base", "network_dim": 2, "network_alpha": 1, "train_batch_size": 4,
        "num_epochs": 1, "resolution": 32, "min_bucket_reso": 32, "max_bucket_reso": 32,
        "optimizer_type": "SGD", "optimizer_args": {"momentum": 0.9},
    },
    "sample": {
        "steps": 3, "seeds": [1], "width": 32, "height": 32, "sampler": "DEIS",
        "prompts": [{"id": "alone", "prompt": "{trigger}", "purpose": "identity"}],
    },
}  # fmt: skip


def files(tree: Path) -> dict[str, bytes]:
    """Path -> content of all files of the project in `tree` that a person writes."""
    found = (p for name in COPIED for p in (tree / name, *(tree / name).rglob("*")) if p.is_file())
    content = {path.relative_to(tree).as_posix(): path.read_bytes() for path in found}
    return {
        name: text
        for name, text in content.items()
        if "__pycache__" not in name and not name.startswith(WRITTEN)
    }


def put(tree: Path, line: Line) -> None:
    places = [p for p in (tree / LIBRARY).rglob("*.py") if line.before in p.read_text("utf-8")]
    (place,) = places
    text = place.read_text("utf-8")
    assert text.count(line.before) == 1, place
    place.write_text(text.replace(line.before, line.new + line.before), "utf-8")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A copy of the project with all of `ADDED`, and the files that each addition touched."""
    tree = tmp_path_factory.mktemp("grown")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    (tree / "resources").symlink_to(ROOT / "resources")
    touched = {}
    for kind, lines in ADDED.items():
        before = files(tree)
        for line in lines:
            put(tree, line)
        after = files(tree)
        touched[kind] = [name for name in after if after[name] != before.get(name)]
    made = subprocess.run(  # make schema
        [sys.executable, tree / "scripts/describe_config.py"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return tree, touched


@pytest.fixture(scope="module")
def results(grown: tuple[Path, dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a bake leaves that uses all of `ADDED`, up to its samples."""
    tree, _ = grown
    place = tmp_path_factory.mktemp("bake")
    (place / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        seen = {"1girl", "solo", "pink_hair", "halo", *rng.choice(["beach", "smile"], 1)}
        picture = draw(TAGS, seen).resize((256, 256) if number == 5 else (128, 128))
        noise = rng.integers(0, 24, np.asarray(picture).shape)
        pixels = (np.asarray(picture) * 0.9 + noise).astype(np.uint8)
        Image.fromarray(pixels).save(place / "pictures" / f"{number}.png")
    tiny_sd1(place / "models/base")
    tiny_tagger(place / "models/tagger", TAGS)
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG), "utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", tree / "Snakefile", "--cores", "2",
         "--directory", place, "--configfile", place / "config.yaml", "--until", "sample",
         "--workflow-profile", tree / "profiles/default"],
        capture_output=True, text=True, check=False, timeout=500, cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "TMPDIR": str(place)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return place / "results"


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.mark.parametrize("kind", ADDED)
def test_adding_touches_few_files(kind: str, grown: tuple[Path, dict[str, list[str]]]) -> None:
    touched = grown[1][kind]
    assert 1 <= len(touched) <= MOST, touched


def test_what_is_added_is_described_to_people(grown: tuple[Path, dict]) -> None:
    told = (grown[0] / "config/README.md").read_text("utf-8")
    assert "| `max_side` |" in told
    assert "`SGD`" in told
    assert "`DEIS`" in told


def test_a_new_filter_check_is_on_record_and_on_the_page(results: Path) -> None:
    table = tables.read(only(results, "filter/*/decisions.csv"), ("image", "kept", "reasons"))
    assert sorted(table["reasons"]) == ["", "", "", "", "", "too_large"]
    assert set(table["kept"][table["reasons"] == "too_large"]) == {"false"}
    page = only(results, "filter/*/contact_sheet.html").read_text("utf-8")
    assert '<option value="too_large">too large (1)</option>' in page
    assert '<span class="reason">too large</span>' in page


def test_a_new_optimizer_trains(results: Path) -> None:
    with safe_open(only(results, "train/*/little.safetensors"), framework="np") as file:
        metadata = file.metadata()
        weights = [file.get_tensor(name) for name in file.keys() if "lora_up" in name]  # noqa: SIM118
    assert metadata["ss_optimizer"] == "torch.optim.sgd.SGD(momentum=0.9)"
    assert any(np.abs(weight).max() > 0 for weight in weights)  # they start at 0


def test_a_new_sampler_draws(results: Path) -> None:
    pictures = sorted(only(results, "sample/*/images").glob("*.png"))
    assert len(pictures) == 2  # the base and one epoch
    for picture in pictures:
        told = infotext.parse(infotext.read_png(picture))
        assert told.settings["Sampler"] == "DEIS"
        assert np.asarray(Image.open(picture)).std() > 1
