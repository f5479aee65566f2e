"""Says what of the results is damaged, missing or surplus, and what makes it again.

Steps: hold every file below results against what was recorded of it (`inspection`); write the findings
to `verify.csv`; say them. Nothing is changed, and no config is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bakery.io import tables
from bakery.report.inspection import BAD, Finding, Inspection

TABLE = "verify.csv"
COLUMNS = ("state", "path", "why", "again")
SHOWN = 20
"""How many findings of a state are said; all are in the table."""
_ORDER = ("damaged", "missing", "changed", "unfinished", "unsealed", "surplus")


def run(results: Path, *, out: Path) -> tuple[str, str]:
    """Look at everything below `results` and write `out`/verify.csv (a line for each finding).

    Returns what is to be said, and a sentence where something must not be used; else an empty one.
    """
    found = Inspection(results).run()
    out.mkdir(parents=True, exist_ok=True)
    ordered = sorted(found.findings, key=lambda one: (_ORDER.index(one.state), str(one.path)))
    rows = [dict(zip(COLUMNS, (o.state, o.path, o.why, o.again), strict=True)) for o in ordered]
    tables.write(out / TABLE, rows, COLUMNS)
    counts = Counter(one.state for one in ordered)
    total = f"{found.files} files compared, {found.folders} finished folders"
    said = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    text = "\n".join([*_lines(ordered), f"{total}: {said or 'all as they were made'}"])
    bad = sum(counts[state] for state in BAD)
    if not bad:
        return text, ""
    verb = "file of results is" if bad == 1 else "files of results are"
    return (
        text,
        f"{bad} {verb} damaged or missing; {out / TABLE} says which, and how to make it again",
    )


def _lines(ordered: Sequence[Finding]) -> Iterator[str]:
    for state in _ORDER:
        own = [one for one in ordered if one.state == state]
        for one in own[:SHOWN]:
            yield f"{state:<10}  {one.path} {one.why}" + (f": {one.again}" if one.again else "")
        if own[SHOWN:]:
            yield f"{state:<10}  ... and {len(own) - SHOWN} more"
