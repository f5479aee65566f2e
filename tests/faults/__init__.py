"""Faults of the machine in the middle of a bake: kills, power cuts, full and read-only disks, two
runs at once.

A bake that was hit has to go on by the same command to the same bytes as one that was left alone.
The short form is part of the suite; the long form is `python -m tests.faults`, and
docs/reliability.md has its figures.
"""
