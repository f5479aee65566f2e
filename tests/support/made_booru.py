"""A small booru of a test's own, for the embedded address of one character."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from PIL import Image

ADA = ("embedded://posts?tags=ada",)


def md5_of(file: Path) -> str:
    """What a site says of its file."""
    return hashlib.md5(file.read_bytes()).hexdigest()


def small_booru(tmp_path, number: int = 12, **changes) -> Path:
    """A booru of `number` posts of one character; `changes` maps an id to changed fields."""
    folder = tmp_path / "booru"
    (folder / "files").mkdir(parents=True)
    listed = []
    for n in range(1, number + 1):
        file = folder / "files" / f"{n:032x}.jpg"
        Image.new("RGB", (64, 64), (n * 9 % 256, 90, 90)).save(file)
        md5 = md5_of(file)
        listed.append({
            "id": n, "md5": md5, "rating": "g", "score": n, "fav_count": n, "source": "",
            "created_at": "2024-01-01T00:00:00.000+00:00", "file_ext": "jpg", "image_width": 64,
            "image_height": 64, "parent_id": None, "is_deleted": False,
            "tag_string": "1girl ada", "tag_string_general": "1girl",
            "tag_string_character": "ada", "tag_string_copyright": "", "tag_string_artist": "",
            "tag_string_meta": "", "file_url": f"/data/{file.name}",
        } | changes.get(f"p{n}", {}))  # fmt: skip
    (folder / "posts.json").write_text(json.dumps(listed))
    return folder
