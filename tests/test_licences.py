"""docs/licences.md lists every package that is pinned or brought along."""

from __future__ import annotations

import re

import licences


def listed() -> dict[str, tuple[str, str]]:
    text = licences.PAGE.read_text("utf-8")
    rows = re.findall(r"^\| ([\w.-]+)(?: ([\w.+-]+))? \| (.+?) \| .+ \|$", text, re.MULTILINE)
    return {name: (version, licence) for name, version, licence in rows}


def test_every_pin_is_listed_as_it_is() -> None:
    pins = {
        name: version for file in licences.FILES for name, version in licences.direct(file).items()
    }
    assert {"gallery-dl", "onnxruntime-gpu", "pytest"} <= pins.keys()
    found = listed()
    assert {name: found[name][0] for name in pins} == pins, "make docs"


def test_everything_that_is_installed_for_them_is_listed_with_its_licence() -> None:
    """Other systems bring others along, so the page may hold more than is installed here."""
    found = listed()
    brought = licences.brought_along()
    assert {"requests", "urllib3"} <= brought.keys(), "what gallery-dl needs"
    assert not brought.keys() - found.keys(), "make docs"
    pins = {name for file in licences.FILES for name in licences.direct(file)}
    for name in pins:
        assert found[name][1] == licences.licence(name), f"{name}: make docs"


def test_the_part_under_another_licence_is_named() -> None:
    text = licences.PAGE.read_text("utf-8")
    assert listed()["gallery-dl"][1] == "GPL-2.0-only"
    assert "`scripts/gallery_driver/` is under GPL-2.0-only" in text
    assert "docs/licences.md" in (licences.ROOT / "README.md").read_text("utf-8")
