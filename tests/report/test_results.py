"""Results as the page shows them."""

from __future__ import annotations

from bakery.report.results import Bake, BakeResult


def test_the_prompt_line_is_for_a1111() -> None:
    settings = {"prune.trigger": "shiroko (blue archive)", "prune.class_tokens": "1girl"}
    result = BakeResult(Bake("a", {}, settings, name="shiroko"), [], {}, preferred_weight=0.8)
    line = r"<lora:shiroko-e02:0.8>, shiroko \(blue archive\), 1girl"
    assert result.prompt_line(2) == line
