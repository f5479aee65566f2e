"""Arguments of the benchmarks as their command lines give them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import models


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    models.arguments(parser)
    return models.settled(parser.parse_args(["--device", "cpu", "--threads", "1", *words]))
