"""Imported first by the chores that people call themselves: without the environment, a sentence and
no traceback."""

import importlib.util
import sys

if importlib.util.find_spec("safetensors") is None:
    sys.exit(
        "what LoRA Bakery needs is not installed in this Python: run `source .venv/bin/activate` first "
        "(`make` or docs/install.md set it up)"
    )
