"""A step's Python as on a GPU, where there is none: fake tensors know device and dtype, not numbers.

Two tensors on different devices raise, a value that the host would have to wait for raises, and copies
to the device are looked at. What autograd and the kernels do with the tensors is not shown.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_base import tiny_sdxl
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).absolute().parents[2]
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>)
"""
"""What FakeTensorMode sets up by itself in a torch that was built for CUDA."""

STEP = """
import ctypes, sys
from pathlib import Path
import torch
root, folder, guard = sys.argv[1:]
if guard:
    ctypes.CDLL(guard)
sys.path[:0] = [f"{root}/tests/training", f"{root}/tests/support", f"{root}/scripts"]
from test_as_on_cuda import step
step(Path(folder))
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> str:
    """A library that lets a torch without CUDA handle fake tensors of it; "" where none is needed."""
    if torch.backends.cuda.is_built():
        return ""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("a torch without CUDA needs g++ for this")
    folder, torch_folder = tmp_path_factory.mktemp("guard"), Path(torch.__file__).parent
    (folder / "guard.cpp").write_text(GUARD)
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-std=c++20", f"-I{torch_folder}/include", "guard.cpp",
         f"-L{torch_folder}/lib", "-lc10", "-o", "guard.so"],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"this g++ cannot use torch's headers: {made.stderr[-300:]}")
    return str(folder / "guard.so")


@pytest.mark.slow
def test_a_step_of_two_bakes(guard, tmp_path):
    """In a process of its own, as torch keeps in mind what it is told of devices."""
    folder = tiny_sdxl(tmp_path) / "layout" / "9_mirael"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32), (200, 10, 10)).save(folder / "a.png")
    (folder / "a.txt").write_text("mirael, smile")
    job = subprocess.run(
        [sys.executable, "-c", STEP, str(ROOT), str(tmp_path), guard],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert job.returncode == 0, job.stderr[-3000:]


def step(folder: Path) -> None:
    """Two bakes that differ take a step in bf16; asserts what must hold on a GPU."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

    from bakery.dataset import repeat_folders
    from bakery.families import registry
    from bakery.settings.train import Train
    from bakery.training import run, setup, train_step

    settings = Train(
        base=str(folder), resolution=32, enable_bucket=False, network_dim=4, train_batch_size=2,
        mixed_precision="bf16", min_snr_gamma=5, lr_scheduler="linear", output_preservation=1,
    )  # fmt: skip
    other = settings.model_copy(update={"network_alpha": 3.0, "unet_lr": 1e-3})
    base = registry.load(str(folder), "cpu", torch.bfloat16)
    context = setup.make_context(
        settings, repeat_folders.read_folders(folder / "layout"), base, 1, None
    )
    context.triggers = ("mirael",)
    context.latents.prepare(context.data.views(settings))
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False  # else autocast is off
    torch.cuda.is_bf16_supported = lambda *_: True
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # real weights become fake
    answers = []
    base.unet.register_forward_hook(lambda _, __, out: answers.append(out.sample.dtype))
    with FakeTensorMode(allow_non_fake_inputs=True):
        base.device = torch.device("cuda:0")
        for part in (base.unet, *base.text_encoders):
            part.to(base.device)
        orders = [setup.TrainSpec(s, folder / "out", "a", {}) for s in (settings, other)]
        bakes = setup.prepare_all(orders, context)
        for bake in bakes:
            bake.begin_epoch(context.data)
        with Copies() as copies:
            noisy_batches = [
                train_step.add_noise(context, bake, bake.next_batch()) for bake in bakes
            ]
            losses = train_step.losses(context, noisy_batches)
            for parameter in (p for bake in bakes for p in bake.parameters):
                assert parameter.device == base.device
                assert parameter.dtype == torch.float32
                parameter.grad = torch.zeros_like(parameter)
            taken = [bake.accumulate(loss) for bake, loss in zip(bakes, losses, strict=True)]
        # what is copied once and kept: the schedule and its ratios, and the two bakes' scales
        assert sorted(copies.waited_for) == [(2,), (1000,), (1000,)]
        assert copies.others > 0
        assert answers == [torch.bfloat16] * 2  # the base's of what is shown again, then all rows
        for found in (*losses, *taken):
            assert found.device == base.device
            assert found.dtype == torch.float32
        with pytest.raises(DataDependentOutputException):
            run.finish_step(list(zip(bakes, taken, strict=True)))


class Copies(TorchDispatchMode):
    """Sees copies from the host to the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for: list[tuple[int, ...]] = []
        """Shapes of those that the host waits for."""
        self.others = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            if (args[0].device.type, out.device.type) != ("cpu", "cuda"):
                pass
            elif kwargs.get("non_blocking"):
                self.others += 1
            else:
                self.waited_for.append(tuple(out.shape))
        return out
