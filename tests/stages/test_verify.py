"""verify: what is damaged, missing, surplus or unfinished is named, with what makes it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_bakes import made_bake

from bakery.io import manifest, seals, tables
from bakery.jobs import claims
from bakery.report import records
from bakery.stages import verify
from bakery.training.checkpoint import STATE, Checkpoint

KEY = "0123456789ab"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a bake, a killed one, downloads, a cache, and what was set apart."""
    monkeypatch.chdir(tmp_path)
    bake = made_bake(tmp_path, "a", [(0.2, 0.8), (0.9, 0.7), (0.5, 0.5)], dataset=KEY)
    bake.folders["train"].rename(tmp_path / f"results/train/mirael-{KEY}")
    record = tmp_path / f"results/train/mirael-{KEY}/manifest.json"
    about = manifest.read(record.parent) | {"key": KEY}
    manifest.write(record.parent, about, about["summary"])
    results = tmp_path / "results"
    place = results / f"train/killed-{KEY}"
    place.mkdir()
    saved = Checkpoint(place, "m", "me")
    for epoch in (1, 2):
        saved.save({"epoch": epoch, "step": epoch, "rows": [], "weights": [torch.ones(3)]})
    cached = results / "cache/00/00ff.cache"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(seals.pack(cached.name, b"tensors"))
    for folder, name in (
        ("best/mirael/rates", "from-a.json"),
        ("gather/mirael", "gathered-a.json"),
    ):
        (results / folder).mkdir(parents=True)
        files = {"m-e01.safetensors": b"lora", "m-e01.json": b"{}"}
        for file, content in files.items():
            (results / folder / file).write_bytes(content)
        digests = {file: manifest.digest(results / folder / file) for file in files}
        records.write(results / folder / name, {"page": "a"}, digests)
    (results / "downloads/site").mkdir(parents=True)
    picture = results / "downloads/site/site-1.png"
    picture.write_bytes(b"picture")
    note = picture.with_name("site-1.png.json")
    seals.write(note, '{"md5": ""}\n', {picture.name: manifest.digest(picture)})
    return tmp_path


def found() -> tuple[list[tuple[str, str, str]], str]:
    """(state, path, again) of the table, and the sentence of refusal."""
    _, refusal = verify.run(Path("results"), out=Path("results/verify"))
    rows = tables.records(tables.read(Path("results/verify/verify.csv"), verify.COLUMNS))
    return [(row["state"], row["path"], row["again"]) for row in rows], refusal


def test_whole_results_are_said_to_be_whole(root: Path) -> None:
    text, refusal = verify.run(Path("results"), out=Path("results/verify"))
    assert refusal == ""
    assert "8 finished folders: 1 unfinished" in text
    assert [row[:2] for row in found()[0]] == [("unfinished", f"results/train/killed-{KEY}")]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


TRAIN = f"results/train/mirael-{KEY}"


@pytest.mark.parametrize(
    ("spoil", "state", "path", "again"),
    [
        (flip, "damaged", f"{TRAIN}/mirael.safetensors", f"rm -r {TRAIN}, then run its config"),
        (flip, "damaged", f"{TRAIN}/epochs.csv", f"rm -r {TRAIN}, then run its config"),
        (flip, "damaged", f"{TRAIN}/manifest.json", f"rm -r {TRAIN}, then run its config"),
        (cut, "damaged", f"{TRAIN}/manifest.seal", f"rm -r {TRAIN}, then run its config"),
        (Path.unlink, "missing", f"{TRAIN}/mirael.safetensors", f"rm -r {TRAIN}, then run"),
        (flip, "damaged", "results/cache/00/00ff.cache", "rm results/cache/00/00ff.cache, and"),
        (flip, "damaged", "results/downloads/site/site-1.png",
         "rm results/downloads/site/site-1.png*, and the next scrape fetches it"),
        (flip, "damaged", "results/downloads/site/site-1.png.json",
         "rm results/downloads/site/site-1.png*, and the next scrape fetches it"),
        (flip, "damaged", f"results/train/killed-{KEY}/{STATE}",
         f"rm results/train/killed-{KEY}/{STATE}, then run its config"),
        (flip, "damaged", "results/best/mirael/rates/m-e01.safetensors",
         "rm results/best/mirael/rates/from-a.json, then run its config"),
        (flip, "damaged", "results/best/mirael/rates/m-e01.json",
         "rm results/best/mirael/rates/from-a.json, then run its config"),
        (flip, "damaged", "results/gather/mirael/m-e01.safetensors",
         "rm results/gather/mirael/m-e01.safetensors, then snakemake --cores all gather"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_is_named_with_its_remedy(
    root: Path, spoil: Callable[[Path], None], state: str, path: str, again: str
) -> None:
    spoil(root / path)
    rows, refusal = found()
    wrong = [row for row in rows if row[0] in ("damaged", "missing")]
    assert wrong[0][0] == state
    assert {row[1] for row in wrong} == {path}
    assert all(row[2].startswith(again) for row in wrong)
    assert refusal.startswith("1 file of results is damaged or missing; results/verify/verify.csv")


def test_texts_that_were_gathered_may_be_changed_by_hand(root: Path) -> None:
    (root / "results/gather/mirael/m-e01.json").write_text('{"notes": "mine"}')
    rows, refusal = found()
    assert ("changed", "results/gather/mirael/m-e01.json") in [row[:2] for row in rows]
    assert refusal == ""


def test_surplus_files_are_named_and_harm_nothing(root: Path) -> None:
    extra = [f"{TRAIN}/notes.txt", "results/best/mirael/rates/my.safetensors", "results/mine"]
    for name in extra:
        (root / name).write_text("mine")
    rows, refusal = found()
    assert [row[1] for row in rows if row[0] == "surplus"] == sorted(extra)
    assert refusal == ""
    assert not any(row[2] for row in rows if row[0] == "surplus"), "nobody is told to delete them"


def test_the_result_of_another_key_is_no_result(root: Path) -> None:
    (root / TRAIN).rename(root / "results/train/other-ba9876543210")
    rows, _ = found()
    assert ("damaged", "results/train/other-ba9876543210/manifest.json") in [r[:2] for r in rows]


def test_what_was_freed_by_its_word_is_not_missed(root: Path) -> None:
    (root / TRAIN / "mirael.safetensors").unlink()
    rows = [{"place": TRAIN, "removed": "mirael.safetensors; mirael.json"}]
    (root / "results/clean").mkdir()
    tables.write(root / "results/clean/freed.csv", rows, ("place", "removed"))
    assert found()[1] == ""


def test_results_of_an_earlier_version_have_no_seals_and_are_compared_all_the_same(
    root: Path,
) -> None:
    for seal in (root / "results").rglob("*.seal"):
        seal.unlink()
    rows, refusal = found()
    assert refusal == ""
    assert {row[0] for row in rows} == {"unsealed", "unfinished"}
    flip(root / TRAIN / "mirael.safetensors")
    flip(root / "results/best/mirael/rates/m-e01.safetensors")
    assert found()[1].startswith("2 files")


def test_a_finished_bake_whose_own_job_has_not_run_is_looked_at(root: Path) -> None:
    place = root / f"results/train/killed-{KEY}"
    (place / "m.safetensors").write_bytes(b"lora")
    claims.finish(place, {}, ["m.safetensors"])
    assert found()[1] == ""
    flip(place / "m.safetensors")
    assert [row[1] for row in found()[0] if row[0] == "damaged"] == [
        f"results/train/killed-{KEY}/m.safetensors"
    ]
