"""A change of a stage's code asks for a decision: other results, or the same?"""

from __future__ import annotations

import json

import code_versions
import pytest

from bakery.config import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_changed_code_has_a_raised_version_or_a_voucher(stage: str) -> None:
    vouched = json.loads(code_versions.RECORD.read_text(encoding="utf-8"))[stage]
    now = code_versions.current()[stage]
    assert now == vouched, (
        f"the code of {stage} changed: raise plan.CODE_VERSIONS[{stage!r}] if its results differ; "
        "then, or if they do not, run `make same-results`"
    )


def test_the_hash_sees_code_and_not_comments(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    module = tmp_path / "filter.py"
    module.write_text('"""Doc."""\nX = 1  # a comment\n')
    before = code_versions.code_hash("filter")
    module.write_text('"""Other doc."""\n\n\nX = 1\n')
    assert code_versions.code_hash("filter") == before
    module.write_text("X = 2\n")
    assert code_versions.code_hash("filter") != before


def test_the_hash_sees_through_imports(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(code_versions, "LIBRARY", tmp_path)
    (tmp_path / "filter.py").write_text("from bakery import images\n")
    (tmp_path / "images.py").write_text("X = 1\n")
    before = code_versions.code_hash("filter")
    (tmp_path / "images.py").write_text("X = 2\n")
    assert code_versions.code_hash("filter") != before
