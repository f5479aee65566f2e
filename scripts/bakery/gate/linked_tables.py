"""Tables of many pictures in which what is said of one stands elsewhere, led to by a number.

COCO's have captions by the number of a picture: `{"images": [{"id": 1, "file_name": "a.png"}],
"annotations": [{"image_id": 1, "caption": "A girl."}]}`. The WD14 tagger for A1111 keeps a `db.json` of
`{"query": {hash: ["a.png", 3]}, "rating": {"general": [3.98]}, "tag": {"1girl": [3.91]}}`, in which a
number is the picture's plus the probability, which is above 0 and at most 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any


def together(data: Any) -> Any:
    """Parsed JSON as a list of tables that name their picture; what is no such table as it is."""
    if not isinstance(data, Mapping):
        return data
    if isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        return _of_annotations(data)
    parts = [data.get(name) for name in ("query", "rating", "tag")]
    return _of_database(*parts) if all(isinstance(one, Mapping) for one in parts) else data


def _of_annotations(data: Mapping[str, Any]) -> list[Any]:
    said: defaultdict[str, list[str]] = defaultdict(list)
    for one in data["annotations"]:
        if isinstance(one, Mapping) and isinstance(one.get("caption"), str):
            said[str(one.get("image_id"))].append(one["caption"])
    return [
        # its number is the table's own, no post's
        {"file_name": one.get("file_name", ""), "captions": said[str(one.get("id"))]}
        for one in data["images"]
        if isinstance(one, Mapping)
    ]


def _of_database(query: Any, ratings: Any, tags: Any) -> list[Any]:
    kinds = [_by_number(ratings), _by_number(tags)]
    found = []
    for entry in query.values():
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], int):
            rating, tag = (kind.get(entry[1], {}) for kind in kinds)
            found.append({"file_name": str(entry[0]), "rating": rating, "tags": tag})
    return found


def _by_number(table: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Number of a picture -> name -> probability."""
    found: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for name, places in table.items():
        for place in places if isinstance(places, list) else ():
            if isinstance(place, (int, float)) and math.isfinite(place):
                number = math.ceil(place) - 1
                found[number][str(name)] = float(place - number)
    return found
