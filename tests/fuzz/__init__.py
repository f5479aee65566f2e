"""Attacks: what people and sites send that is no good, made by the thousand from a seed.

A kind of attack is a module of this folder with `LONG` and `SHORT`, how many cases its long and its
short form try, and `attack(seed, folder)`. The short form is part of the suite; the long form is
`python -m tests.fuzz`.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
for _place in ("scripts", "scripts/upkeep", "tests/support"):  # as pytest's own pythonpath
    if str(_ROOT / _place) not in sys.path:
        sys.path.append(str(_ROOT / _place))
