"""On what, and when: the line above every benchmark's table."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def describe() -> str:
    """For example `2026-11-22, AMD EPYC, 2 cores, Python 3.11.9, torch 2.13.0`."""
    parts = [f"{datetime.now(UTC):%Y-%m-%d}", _processor(), f"{os.cpu_count()} cores"]
    parts.append(f"Python {platform.python_version()}")
    try:
        import torch
    except ImportError:
        return ", ".join(parts)
    parts.append(f"torch {torch.__version__}")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
