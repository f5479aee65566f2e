"""Where torch works, and what differs there: CUDA (and ROCm, under its name), Apple's MPS, the CPU.

MPS has no float64 and does not wait for copies that were said not to block, and some operations run on
the CPU there only if torch is told so before it is imported (`jobs/job.py`). Random numbers are drawn on
the CPU for all devices but for dropout on CUDA.
"""

from __future__ import annotations

import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_OWN = Path("/proc/self")
_most = {"resident": 0, "gpu": 0, "recent_gpu": 0}
"""The most bytes that the system's own counts no longer tell: of this process, as far as `restart_peak`
and `recent_peak` saw it; of the GPU before `restart_gpu_peak`, ever and since `restart_peak`."""


def is_apple_silicon() -> bool:
    """Whether this is a Mac whose one GPU torch can use; asks without importing torch."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def best() -> str:
    """`cuda`, `mps` or `cpu`: the first that torch has here."""
    import torch  # imported here, so that light stages do not load torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor` on `device`, without waiting for the copy where that is safe."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The precision that a base in `dtype` computes in."""
    import torch

    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def for_random(device: torch.device) -> torch.device | str:
    """Where to draw what `device` needs: there on CUDA, else on the CPU."""
    return device if device.type == "cuda" else "cpu"


def allocated(kind: str) -> int | None:
    """Bytes that torch holds on the GPU now; None on the CPU. `kind` is a device, such as `cuda:0`."""
    import torch

    if kind.startswith("cuda"):
        return torch.cuda.memory_allocated()
    return torch.mps.driver_allocated_memory() if kind.startswith("mps") else None


def total(kind: str) -> int | None:
    """Bytes that the GPU has for torch; None on the CPU."""
    import torch

    if kind.startswith("cuda"):
        return torch.cuda.get_device_properties(kind).total_memory
    return torch.mps.recommended_max_memory() if kind.startswith("mps") else None


def free(device: torch.device) -> int | None:
    """Bytes that this process may still take of the GPU; None on the CPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        torch.mps.synchronize()
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return None


def peak(kind: str) -> int:
    """The most bytes held: of the GPU by torch since `restart_gpu_peak` (on MPS: held now), else of this
    process so far."""
    import torch

    if kind.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    if kind.startswith("mps"):
        return torch.mps.driver_allocated_memory()
    return resident_peak()


def resident_peak() -> int:
    """The most bytes of memory that this process held."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return max(_most["resident"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def restart_peak(kind: str) -> None:
    """Let `recent_peak` begin at what is held now; the peaks of all time stay known."""
    _most["resident"] = resident_peak()
    restart_gpu_peak(kind)
    _most["recent_gpu"] = 0
    with suppress(OSError):  # Linux alone has it
        (_OWN / "clear_refs").write_text("5")


def restart_gpu_peak(kind: str) -> None:
    """Let `peak` begin at what is held now on a GPU whose peak torch keeps (CUDA), and no other peak."""
    if not kind.startswith("cuda"):
        return
    import torch

    most = torch.cuda.max_memory_allocated()
    for name in ("gpu", "recent_gpu"):
        _most[name] = max(_most[name], most)
    torch.cuda.reset_peak_memory_stats()


def recent_peak(kind: str) -> int:
    """The most bytes held since `restart_peak`, of the GPU by torch, else of this process.

    Where the system cannot tell (macOS), the most so far.
    """
    if kind.startswith("cuda"):
        return max(_most["recent_gpu"], peak(kind))
    if kind.startswith("mps"):
        return peak(kind)
    most = _high_water() or resident_peak()
    _most["resident"] = max(most, _most["resident"])  # Linux forgets a few pages of it
    return most


def _high_water() -> int:
    """The most bytes of this process since `restart_peak`, as Linux counts them; 0 elsewhere."""
    with suppress(OSError):
        for line in (_OWN / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def peak_if_on_gpu() -> int | None:
    """The most bytes that torch held on a GPU, if this process has used one; loads no torch."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return max(_most["gpu"], torch.cuda.max_memory_allocated())
    if torch is not None and is_apple_silicon() and torch.backends.mps.is_available():
        return torch.mps.driver_allocated_memory()
    return None
