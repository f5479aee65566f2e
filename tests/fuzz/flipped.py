"""One file of finished results is altered: what reads it must notice; what nothing reads, `verify`.

Altered is a file of a page's results, the store of downloads, the cache, a killed bake or what was set
apart and gathered: a flipped bit, a cut, an empty file, or another folder's file of the same name.
"""

# ruff: noqa: E402 - the library and the tests' support have to be found first

from __future__ import annotations

import atexit
import functools
import random
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
for place in (ROOT / "scripts", ROOT / "tests" / "support"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import torch
from made_bakes import made_bake
from PIL import Image

from bakery.io import manifest, seals
from bakery.io.errors import BakeryError
from bakery.jobs import claims
from bakery.report.inspection import CHANGED, Inspection
from bakery.settings.compare import Compare
from bakery.settings.gather import Gather
from bakery.sources.store import Shelf
from bakery.stages import best, compare, gather
from bakery.training.cache import Store
from bakery.training.checkpoint import STATE, Checkpoint
from tests.fuzz.outcome import Outcome

LONG, SHORT = 300, 25
KEY = "0123456789ab"
SCORES = {"a": [(0.2, 0.8), (0.9, 0.7)], "b": [(0.2, 0.8), (0.5, 0.9)]}


def attack(seed: int, folder: Path) -> Outcome:
    """Alter one file of a copy of the results, and look at it as the program does."""
    rng = random.Random(seed)
    results = folder / "results"
    shutil.copytree(made(), results)
    place = rng.choice(sorted({p.parent for p in results.rglob("*") if p.is_file()}))
    path = rng.choice(sorted(p for p in place.iterdir() if p.is_file()))
    name = path.relative_to(results).as_posix()
    if not alter(path, rng):
        return Outcome("taken", f"{name} is the same")
    said = read(path, results)
    found = Inspection(results).run()
    if not found.bad and not any(one.state == CHANGED for one in found.findings):
        return Outcome("failed", f"verify does not see that {name} was altered; read: {said}")
    if said is None:
        return Outcome("recorded", f"{name}: verify")
    return Outcome("refused", said) if said else Outcome("failed", f"{name} was read as if whole")


def alter(path: Path, rng: random.Random) -> bool:
    """Whether the file is another one now."""
    content = path.read_bytes()
    twins = [p for p in path.parents[1].rglob(path.name) if p != path and p.is_file()]
    kind = rng.choice(["flip", "flip", "cut", "empty", *(["swap"] * bool(twins))])
    if kind == "swap":
        twin = rng.choice(twins)
        other = twin.read_bytes()
        twin.write_bytes(content)
    elif kind == "flip" and content:
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        other = bytes(changed)
    else:
        other = content[: rng.randrange(len(content))] if kind == "cut" and content else b""
    path.unlink()  # it may have other names
    path.write_bytes(other)
    return other != content


def read(path: Path, results: Path) -> str | None:
    """What the reader of a file says of it, "" if it takes it; None where nothing reads it."""
    stage, *_, name = path.relative_to(results).parts
    if stage == "cache":
        return "computed again" if Store(results / "cache").find({"n": 1}) is None else ""
    if stage == "downloads":
        fetched = Shelf(path.parent).known(name.partition(".")[0], "")
        return "fetched again" if fetched is None else ""
    if name.endswith(".state") and "resume" in name:
        state = Checkpoint(path.parent, "m", "me").resume()
        newest = 1 if name == STATE else 2
        return f"resumes from {newest}" if (state or {}).get("epoch") == newest else ""
    if stage in ("best", "gather") or name.endswith((".html", ".state", ".jsonl")):
        return None
    try:
        manifest.checked(path.parent if path.parent.parent.name == stage else path.parents[1])
    except BakeryError as error:
        return str(error)
    if name == "finished.seal":
        return None
    # a seal that vouches for something else instead of a file that nothing reads
    return None if name.endswith(seals.ENDING) else ""


@functools.cache
def made() -> Path:
    """Results of two bakes, their page and what was set apart; downloads, a cache, a killed bake."""
    root = Path(tempfile.mkdtemp(prefix="flipped-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    results = root / "results"
    baked = [made_bake(root, label, scores, dataset=KEY) for label, scores in SCORES.items()]
    for bake in baked:
        train = bake.folders["train"]
        facts = manifest.read(train)
        claims.finish(train, facts["summary"], ["epochs.csv"])
        manifest.write(train, facts, facts["summary"])
    page = results / "compare" / f"rates-{KEY}"
    summary = compare.run(Compare(), bakes=baked, out=page, sweep="rates")
    about = {"stage": "compare", "key": KEY, "settings": {}, "above": {}}
    manifest.write(page, about, summary)
    best.place(baked, page=page, out=results / "best/mirael/rates")
    facts = [
        {"label": b.label, "name": b.name, "own": b.own, "settings": b.settings,
         "folders": {stage: str(place) for stage, place in b.folders.items()}}
        for b in baked
    ]  # fmt: skip
    pages = [{"sweep": "rates", "dataset": "mirael", "folder": str(page), "bakes": facts}]
    gather.run(Gather(), pages=pages, out=results / "gather")
    downloads(results / "downloads/site")
    Store(results / "cache").put({"n": 1}, {"latents": torch.arange(8.0)})
    killed(results / "train" / f"killed-{KEY}")
    return results


def downloads(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in (1, 2):
        file = folder / f"site-{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
        note = folder / f"{file.name}.json"
        seals.write(note, '{"md5": ""}\n', {file.name: seals.digest(file)})


def killed(folder: Path) -> None:
    folder.mkdir(parents=True)
    saved = Checkpoint(folder, "m", "me")
    for epoch in (1, 2):
        weights = [torch.full((4,), float(epoch))]
        trained = {"weights": weights, "optimizer": {}, "scaler": {}, "recent": []}
        saved.save({"epoch": epoch, "step": epoch, "rows": [], **trained})
    assert saved.resume() is not None, "or an altered state could not be told from a whole one"
