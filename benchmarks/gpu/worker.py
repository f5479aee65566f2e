"""The process that measures: told an item by a line on stdin, it answers with a line of JSON.

Its first line says on which device. An item's line has its `state` (done, left out or failed) with
`result` or `why`; a traceback goes to stderr. After an error of the GPU itself nothing works in this
process any more: `ends` says so.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import models  # it puts the library on the path
from gpu.items import ITEMS, Item
from gpu.workshop import LeftOut, Workshop

from bakery.io import devices
from bakery.io.errors import BakeryError, first_line

REPEATS = 999
"""Of the picture: more are listed for nothing, and all steps of an item take fewer."""
MODULES = sorted({item.measure.partition(":")[0] for item in ITEMS})


def work(asked: Mapping[str, Any], parent: int) -> None:
    """Measure until stdin ends; `asked` are the fields of `Workshop`, paths as text. The process ends
    with its `parent`.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed must not be taken for an answer
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    paths = {
        name: Path(asked[name]) for name in ("scratch", "kohya", "kohya_packages") if asked[name]
    }
    device = asked["device"] or devices.best()
    shop = Workshop(**{**asked, **paths, "device": device})
    models.REPEATS = REPEATS
    for name in MODULES:
        importlib.import_module(f"gpu.{name}")
    answers.write(json.dumps({"device": device}) + "\n")
    by_name = {item.name: item for item in ITEMS}
    for line in sys.stdin:
        answers.write(json.dumps(measured(shop, by_name[line.rstrip("\n")])) + "\n")
    os._exit(0)  # whatever threads libraries have


def measured(shop: Workshop, item: Item) -> dict[str, Any]:
    """The answer for an item."""
    module, _, function = item.measure.partition(":")
    try:
        measure = getattr(importlib.import_module(f"gpu.{module}"), function)
        return {"state": "done", "result": measure(shop, **item.given)}
    except LeftOut as why:
        return {"state": "left out", "why": str(why)}
    except BakeryError as error:
        said = str(error)
    except (Exception, SystemExit) as error:  # recorded; the next item may work all the same
        traceback.print_exc()
        said = f"{type(error).__name__}: {first_line(error)}"  # type: ignore[arg-type]
    shop.make_room()
    return {"state": "failed", "why": said, "ends": "CUDA error" in said}


def _end_with(parent: int) -> None:
    """A run that was killed leaves nobody at work."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
