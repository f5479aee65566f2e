"""Durations and sizes as people read them: the same everywhere, on a terminal, on a page, in a table."""

from __future__ import annotations

_SIZES = {1e12: "TB", 1e9: "GB", 1e6: "MB", 1e3: "kB"}


def clock(seconds: float) -> str:
    """A measured time or a countdown: `0:08`, `12:30`, `1:02:03`."""
    whole = max(0, round(seconds))
    minutes, hours = whole // 60 % 60, whole // 3600
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def duration(seconds: float | None) -> str:
    """A time that is only about right: `40 s`, `12 min`, `3 h 20 min`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 99.5:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size(amount: float | None) -> str:
    """Bytes in decimal units, as disks are sold: `0.4 kB`, `3.4 MB`, `120 MB`, `1.4 GB`;
    `unknown` for None."""
    if amount is None:
        return "unknown"
    unit = next((step for step in _SIZES if amount >= 0.9995 * step), 1e3)
    scaled = amount / unit
    return f"{scaled:.{1 if 0 < scaled < 9.95 else 0}f} {_SIZES[unit]}"


def memory(amount: float | None) -> str:
    """Bytes of memory in binary units, as GPUs are sold: `0.7 GiB`, `24 GiB`; `?` for None."""
    if amount is None:
        return "?"
    gib = amount / 2**30
    return f"{gib:.1f} GiB" if gib < 99.95 else f"{gib:.0f} GiB"
