"""benchmarks/webui/prompts.py: other programs' functions are run without their imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.webui import prompts as webui

SOURCE = """
import a_whole_interface
LIMIT = 2
LIST = [("DDIM", a_whole_interface.ddim, unknown)]

def twice(x):
    return LIMIT * x
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.py"
    path.write_text(SOURCE)
    return path


def test_functions_are_taken_with_what_they_need(file: Path) -> None:
    assert webui.taken(file, {"LIMIT", "twice"}).twice(3) == 6
    with pytest.raises(SystemExit, match="has no thrice: another version"):
        webui.taken(file, {"thrice"})


def test_a_list_is_read_whatever_it_refers_to(file: Path) -> None:
    ((name, _, _),) = webui.listed(file, "LIST", a_whole_interface=webui.whatever())
    assert name == "DDIM"


def test_a_difference_ends_the_run() -> None:
    webui.check("prompt", "a", "a", "a")
    with pytest.raises(SystemExit, match="'b' is read as 'c' instead of 'b'"):
        webui.check("prompt", "b", "c", "b")


def test_the_texts_hold_every_special_sign() -> None:
    assert len(webui.texts()) == webui.RANDOM + len(webui.TEXTS)
    assert set("()[]\\:<|") <= set("".join(webui.texts()[: len(webui.TEXTS)]))
