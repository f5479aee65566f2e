"""Only regular files are opened, and everything of the user's is opened in one place."""

from __future__ import annotations

import ast
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_versions import modules

from bakery.edits import caption_edits, image_edits, tag_edits
from bakery.graph import build
from bakery.interop import kohya_import
from bakery.io import images, regular_files, tables, text_files
from bakery.io.errors import BakeryError
from bakery.settings import config, config_file
from bakery.settings.named_files import locate
from bakery.sources import archives

KINDS = ("pipe", "device", "socket", "folder", "loop", "dangling", "link to a device")


def odd(kind: str, folder: Path) -> Path:
    """A path that names no regular file."""
    path = folder / "odd.yaml"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            bound = socket.socket(socket.AF_UNIX)
            here = Path.cwd()
            os.chdir(folder)  # a socket's path has at most 107 bytes
            bound.bind(path.name)
            os.chdir(here)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case "dangling":
            path.symlink_to("gone")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "device":
            return Path("/dev/zero")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_odd_is_opened(tmp_path: Path, kind: str) -> None:
    path = odd(kind, tmp_path)
    for opening in (regular_files.open_binary, regular_files.read_bytes, regular_files.check):
        with pytest.raises(OSError, match=r"\w") as caught:
            opening(path)
        assert caught.value.strerror


def test_links_to_files_are_followed_and_sizes_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\r\ny\n")
    (tmp_path / "b").symlink_to("a")
    assert regular_files.read_text(tmp_path / "b", largest=5) == "x\ny\n"
    with pytest.raises(OSError, match="larger than"):
        regular_files.read_bytes(tmp_path / "b", largest=4)
    with pytest.raises(OSError, match="no name"):
        regular_files.check(Path("a\0b"))


def _base(path: Path) -> None:
    locate(str(path), [path.parent], "train.base")


def _edit(path: Path) -> None:
    edits = path.parent / "config/edits/mirael"
    edits.mkdir(parents=True, exist_ok=True)
    (edits / "exclude.txt").unlink(missing_ok=True)
    (edits / "exclude.txt").symlink_to(path)
    build.build(config.load({}), [path.parent, ROOT])


def _archive(path: Path) -> None:
    archives.unpack(path, path.parent / "unpacked")


ROOT = Path(__file__).parents[2]
DOORS = {
    "config": config_file.read,
    "base": _base,
    "picture": images.open_rgb,
    "picture's size": images.size_of,
    "sidecar": text_files.read,
    "excluded pictures": image_edits.read_images,
    "tags by hand": tag_edits.read_decisions,
    "caption by hand": caption_edits.caption,
    "captions by hand": lambda path: caption_edits.with_table(
        caption_edits.CaptionEdits({}, ()), path, []
    ),
    "table": lambda path: tables.read(path, ()),
    "another program's config": lambda path: kohya_import.convert([path]),
}


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_what_is_no_file(tmp_path: Path, door: str, kind: str) -> None:
    path = odd(kind, tmp_path)
    with pytest.raises((BakeryError, OSError)) as caught:
        DOORS[door](path)
    assert "odd.yaml" in str(caught.value) or isinstance(caught.value, OSError)
    assert "pipe" in str(caught.value) or "device" in str(caught.value)


def test_a_list_by_hand_that_is_a_pipe_is_not_forgotten(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BakeryError, match=r"exclude\.txt cannot be read \(a named pipe"):
        _edit(tmp_path / "pipe")


OPENS = {
    "open", "read_text", "read_bytes", "safe_open", "load_file", "ZipFile", "is_zipfile", "read_csv",
    "InferenceSession", "CascadeClassifier", "copyfile", "copy2",
}  # fmt: skip
"""How a file's content is reached; `json.load`, `csv.reader` and so on take what is open already."""
HERE = "io.regular_files"
OURS = "written by this project, below results/ or shipped with it"
NAMED = "named by a setting, which `named_files.locate` looked at"
ASKED = "looked at a few lines above"
REVIEWED = {
    "console.one_run": OURS,
    "dataset.entries": "pictures that were opened before",
    "dataset.second_look": OURS,
    "edits.tag_edits": "bytes in memory",
    "families.anima.reading": NAMED,
    "families.recognise": NAMED,
    "families.single_file": NAMED,
    "families.weights.pickled": NAMED,
    "families.weights.tensor_files": NAMED,
    "forecast.history": OURS,
    "graph.parts": OURS,
    "gate.sidecars": "its `read_text` is `io.text_files`",
    "interop.infotext": OURS,
    "interop.kohya_export": ASKED,
    "interop.previews": OURS,
    "io.files": OURS,
    "io.images": "what `regular_files` opened",
    "io.manifest": OURS,
    "io.seals": OURS,
    "io.status": OURS,
    "io.tables": ASKED,
    "io.devices": "the system's own",
    "io.weight_files": ASKED,
    "jobs.claims": OURS,
    "jobs.job": OURS,
    "jobs.job_times": OURS,
    "jobs.leases": OURS,
    "jobs.rungs": OURS,
    "jobs.stop_requests": OURS,
    "lora.lora_file": OURS,
    "pages.contact_sheet": "bytes in memory",
    "pages.page": OURS,
    "report.expected": OURS,
    "report.inspection": OURS,
    "report.overview": OURS,
    "report.records": OURS,
    "sampling.newest": OURS,
    "sampling.pictures": OURS,
    "sampling.while_training": "a set of samples, no file",
    "sources.archives": "a regular file: `folders.collect` asks",
    "sources.booru": OURS,
    "sources.folder_notes": "its `read_text` is `io.text_files`",
    "sources.store": OURS,
    "stages.clean": OURS,
    "stages.sample": OURS,
    "stages.scrape": OURS,
    "starting.new_config": OURS,
    "tags.tagger_list": NAMED,
    "tags.tagging": OURS,
    "tags.trigger": OURS,
    "tags.vocabulary": OURS,
    "training.cache": OURS,
    "training.checkpoint": OURS,
    "training.memory": "the system's own",
    "training.progress": OURS,
    "vision.cascade": NAMED,
    "vision.onnx_model": NAMED,
    "vision.tagger": NAMED,
}
"""Modules that open files past `regular_files`, and why none of these can be a pipe or a device."""
PASSED_ON = {"regular_files", "text_files", "caption_edits"}
"""Modules whose functions of these names open files as they should."""


def openings(tree: ast.Module) -> Iterator[str]:
    """Calls that open a file, as they are written."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, last = name.rpartition(".")
        if last in OPENS and owner.rpartition(".")[2] not in PASSED_ON:
            yield name


def test_files_are_opened_in_one_place() -> None:
    found = {
        module: Counter(openings(ast.parse(path.read_text("utf-8"))))
        for module, path in modules().items()
    }
    past = {module: dict(calls) for module, calls in found.items() if calls and module != HERE}
    new = {module: calls for module, calls in past.items() if module not in REVIEWED}
    assert not new, "open it with io.regular_files, or add why it can only be a regular file"
    assert not REVIEWED.keys() - past.keys(), "no longer needed"


@pytest.mark.parametrize(
    "line", ["open(x)", "path.open('rb')", "Image.open(p)", "p.read_text()", "pd.read_csv(p)"]
)
def test_the_guard_sees_every_spelling(line: str) -> None:
    assert [*openings(ast.parse(line))]
    assert not [*openings(ast.parse("regular_files.read_text(p)"))]
