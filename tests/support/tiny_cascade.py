"""A tiny real cascade of OpenCV that takes every bright spot on a dark ground for a face.

Its one feature, a local binary pattern, compares the middle of a window of 24 pixels with the eight
cells of 8 pixels around it, and asks for a middle that is brighter than all of them.

    cascade = tiny_cascade(tmp_path / "faces.xml")
    spots((64, 64), (20, 20)).save("a.png")  # one face, in the middle of which (20, 20) is
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SPOT = 16
"""Side of a spot in pixels; its face is three times as wide."""

_CASCADE = """<?xml version="1.0"?>
<opencv_storage>
<cascade type_id="opencv-cascade-classifier">
  <stageType>BOOST</stageType>
  <featureType>LBP</featureType>
  <height>24</height>
  <width>24</width>
  <stageParams><maxWeakCount>1</maxWeakCount></stageParams>
  <featureParams><maxCatCount>256</maxCatCount></featureParams>
  <stageNum>1</stageNum>
  <stages><_>
    <maxWeakCount>1</maxWeakCount>
    <stageThreshold>0.5</stageThreshold>
    <weakClassifiers><_>
      <internalNodes>0 -1 0 1 0 0 0 0 0 0 0</internalNodes>
      <leafValues>1. -1.</leafValues>
    </_></weakClassifiers>
  </_></stages>
  <features><_><rect>0 0 8 8</rect></_></features>
</cascade>
</opencv_storage>
"""


def tiny_cascade(path: Path) -> Path:
    """Writes the cascade to `path` and returns it."""
    path.write_text(_CASCADE)
    return path


def spots(size: tuple[int, int], *middles: tuple[int, int], side: int = SPOT) -> Image.Image:
    """A dark picture with a bright square around each of `middles`."""
    picture = Image.new("RGB", size, (20, 20, 60))
    for x, y in middles:
        corner = (x - side // 2, y - side // 2)
        opposite = (corner[0] + side - 1, corner[1] + side - 1)
        ImageDraw.Draw(picture).rectangle((*corner, *opposite), (250, 220, 210))
    return picture
