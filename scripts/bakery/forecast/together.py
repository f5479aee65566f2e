"""Which bakes will be trained side by side, and how long a whole training takes then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bakery.forecast.known_pictures import PlannedBake
from bakery.io.manifest import NAME
from bakery.jobs import claims
from bakery.settings.train import Train


def shares(bake: PlannedBake) -> list[list[str]]:
    """The bakes of `bake`'s group that are still to be trained, as the processes will share them."""
    group = [Path(folder) for folder in bake.group or (bake.folders["train"],)]
    most = Train.model_validate(bake.settings["train"]).side_by_side
    dealt = claims.deal(group, max(1, bake.workers), most)
    left = ([str(one) for one in share if not (one / NAME).is_file()] for share in dealt)
    return [share for share in left if share]


def share(bake: PlannedBake) -> list[str]:
    """The folders that will be trained side by side, that of `bake` among them; [] if it is done."""
    own = str(Path(bake.folders["train"]))
    return next((share for share in shares(bake) if own in share), [])


def seconds(bakes: Sequence[PlannedBake], each: Mapping[str, float | None]) -> float | None:
    """How long it takes until all are trained; None if the time of one is not known.

    `each` gives the seconds of a bake's own training, by its folder. As many processes as there are
    workers take share after share, and a share takes as long as its longest bake.
    """
    todo: dict[tuple[str, ...], None] = {}
    for bake in bakes:
        for one in shares(bake):
            todo.setdefault(tuple(one))
    ends = [0.0] * max((bake.workers for bake in bakes), default=1)
    for folders in todo:
        times = [each.get(folder) for folder in folders if folder in each]
        if None in times:
            return None
        first = ends.index(min(ends))
        ends[first] += max((time for time in times if time is not None), default=0.0)
    return max(ends)
