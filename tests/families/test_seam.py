"""Nothing outside the wing `families` asks which family a base is of."""

from __future__ import annotations

import ast

import pytest
from code_versions import modules

from bakery.families import registry

OUTSIDE = sorted(name for name in modules() if not name.startswith("families."))
NAMES = {family.name for family in registry.FAMILIES}
WORDS_OF_OTHERS = {"interop.kohya_terms": 1, "interop.readers.ai_toolkit": 2,
                   "interop.readers.launch_script": 2, "interop.readers.diffusion_pipe": 2,
                   "interop.readers.civitai": 2, "interop.readers.trained_lora": 2}  # fmt: skip
"""Where such a name is another program's word: other trainers have names of their own."""


def asks(tree: ast.AST) -> list[int]:
    """Lines that name a family, or compare what a family is called."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            found.append(node.lineno)
        elif isinstance(node, ast.Name | ast.Attribute | ast.FunctionDef):
            called = getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))
            if called.lower().strip("_") in {f"is_{name}" for name in NAMES} | {"is_sd"} | NAMES:
                found.append(node.lineno)
        elif isinstance(node, ast.Compare):
            sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
            if any(side.endswith((".family.name", "family_name")) for side in sides):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "line",
    [
        'if kind == "sdxl": pass',
        'x = {"sd1": 1}[kind]',
        "if is_sdxl(unet): pass",
        "if model.family.name == other: pass",
        'said.startswith("sdxl")',
    ],
)
def test_the_grep_finds_such_a_question(line):
    assert asks(ast.parse(line))


@pytest.mark.parametrize("module", OUTSIDE)
def test_no_module_asks_for_a_family(module):
    found = asks(ast.parse(modules()[module].read_text(encoding="utf-8")))
    assert len(found) == WORDS_OF_OTHERS.get(module, 0), found
