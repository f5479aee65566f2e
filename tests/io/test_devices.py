"""MPS without a Mac: what is asked of it by fakes, and that nothing of a bake needs what it lacks; and
a GPU's peaks without one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_base import tiny_sd1, tiny_sdxl
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bakery.families import registry
from bakery.families.family import Drawing, View
from bakery.families.samplers import TABLE
from bakery.io import devices
from bakery.io.errors import OutOfMemory
from bakery.jobs import job, leases, phases
from bakery.lora.network import LoRANetwork
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import Train
from bakery.training import advice, memory, optimizers

GIB = 2**30


class WithoutFloat64(TorchDispatchMode):
    """Stands for MPS: a tensor of float64 with a side is an error, as a tensor there would be."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for x in tree_leaves(found):
            # a Python number becomes a scalar of float64 for a moment on every device
            if isinstance(x, torch.Tensor) and x.dtype == torch.float64 and x.ndim:
                raise TypeError(f"{func} made float64, which MPS has not")
        return found


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch as it answers on a Mac with Apple silicon: 16 GiB for it, of which 3 are held."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name, value in (("recommended_max_memory", 16), ("driver_allocated_memory", 4),
                        ("current_allocated_memory", 3)):  # fmt: skip
        monkeypatch.setattr(torch.mps, name, lambda value=value: value * GIB)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)


def test_a_mac_trains_on_its_gpu_one_job_at_a_time(mac: None, tmp_path: Path) -> None:
    assert job.device() == "mps"
    assert leases.jobs_at_once("", 8) == 1
    with job.leased_gpu():
        assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1", "before torch is imported"


def test_its_memory_is_the_gpus(mac: None) -> None:
    assert memory.free(torch.device("mps"), threads=4) == 13 * GIB
    meter = advice.MemoryMeter("mps")
    assert meter.total() == 16
    meter.rest([])
    assert meter.resting == 4
    error = RuntimeError(
        "MPS backend out of memory (MPS allocated: 17.9 GiB, other allocations: ...)"
    )
    with pytest.raises(OutOfMemory, match=r"more than 4\.0 GiB of 16\.0"), \
         advice.out_of_memory(Train(), meter):  # fmt: skip
        raise error


def test_copies_wait_unless_cuda_is_safe_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    class Copied:
        def to(self, device: torch.device, non_blocking: bool) -> None:
            said.append((device.type, non_blocking))

    for kind in ("cpu", "mps", "cuda"):
        devices.moved(Copied(), torch.device(kind))  # type: ignore[arg-type]
    assert said == [("cpu", False), ("mps", False), ("cuda", True)]
    assert devices.for_random(torch.device("mps")) == "cpu"


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.best() == "cpu"
    assert (
        devices.free(torch.device("cpu"))
        is devices.total("cpu")
        is devices.allocated("cpu")
        is None
    )
    assert devices.peak("cpu") > 2**20


class Cuda:
    """torch's count of what a GPU holds, without one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = self.most = 0
        counts = {
            "is_initialized": lambda: True,
            "memory_allocated": lambda: self.held,
            "max_memory_allocated": lambda: self.most,
            "reset_peak_memory_stats": self.reset,
        }
        for name, answer in counts.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        monkeypatch.setattr(devices, "_most", dict.fromkeys(devices._most, 0))
        monkeypatch.setattr(phases, "_most", {})

    def reset(self) -> None:
        self.most = self.held

    def hold(self, gib: int) -> None:
        self.held = gib * GIB
        self.most = max(self.most, self.held)


def test_peaks_of_a_gpu_outlast_the_resets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all time, of a phase, and of the steps: each begins when it is asked to, and not before."""
    gpu, meter = Cuda(monkeypatch), advice.MemoryMeter("cuda:0")
    gpu.hold(9)
    gpu.hold(1)
    with phases.phase("training", "cuda:0"):
        gpu.hold(6)
        gpu.hold(2)
        meter.rest([])
        gpu.hold(4)
        assert meter.resting == 2
        assert devices.peak("cuda:0") == 4 * GIB
    assert phases.most()["training"] == 6 * GIB
    with phases.phase("drawing", "cuda:0"):
        gpu.hold(5)
    assert phases.most()["drawing"] == 5 * GIB
    assert devices.peak_if_on_gpu() == 9 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("tiny", [tiny_sd1, tiny_sdxl])
def test_neither_training_nor_drawing_needs_float64(tmp_path: Path, tiny: Any) -> None:
    base = registry.load(str(tiny(tmp_path / "base")))
    network = LoRANetwork(base.targets(), 2, 2, torch.Generator().manual_seed(1))
    network.apply()
    latents = torch.zeros(2, base.latents.channels, 8, 8)
    base.prepare_to_draw()
    with WithoutFloat64():
        noise, t = base.noise.draw(latents.shape, torch.Generator().manual_seed(1))
        text = base.encode(["a cat", "a dog"])
        views = base.views([View((64, 64), (64, 64), False)] * 2)
        predicted = base.predict(base.noise.noisy(latents, noise, t), t, text, views)
        wanted = base.noise.target(latents, noise, t)
        ((predicted - wanted) ** 2 / base.noise.snr(t)[:, None, None, None]).mean().backward()
        base.latents.decode(base.latents.normalise(base.latents.encode(
            torch.zeros(1, 3, 64, 64))[0]))  # fmt: skip
    with torch.no_grad(), WithoutFloat64():
        drawing = Drawing(next(iter(TABLE)), 2, 5.0)
        generators = [torch.Generator().manual_seed(1) for _ in range(2)]
        base.draw(text, text, latents, drawing, generators)


@pytest.mark.parametrize("name", [name for name, one in OPTIMIZERS.items() if not one.without_gpu])
def test_optimizers_need_no_float64(name: str) -> None:
    rates = {"learning_rate": 1.0} if OPTIMIZERS[name].finds_rate else {"learning_rate": 1e-3}
    settings = Train(optimizer_type=name, lr_scheduler="cosine", **rates)  # type: ignore[arg-type]
    weight = torch.nn.Parameter(torch.ones(4, 3))
    made = optimizers.make(
        settings,
        [{"params": [weight], "name": "unet_lr", "full_lr": rates["learning_rate"]}],
        "mps",
    )
    with WithoutFloat64():
        for _ in range(3):
            (weight**2).sum().backward()
            made.step()
            made.zero_grad()
    assert torch.isfinite(weight).all()
