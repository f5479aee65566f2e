"""What the memory benchmark counts: no weight twice, and what is kept in the precision it is kept in."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "memory"))

import counted
import models
from wide_sums import WideSums

from bakery.training import memory


def test_weights_and_their_views_are_not_what_a_step_holds():
    with torch.device("meta"):
        layer = torch.nn.Linear(1024, 256, bias=False)
        x = torch.randn(8, 1024)
        with torch.no_grad(), counted.Live(layer) as live:
            layer(layer(x) @ layer.weight)
    assert live.most == 4 * 8 * (1024 + 256), "an input is gone when its output is used"
    assert counted.weights(layer) == 4 * 1024 * 256


def test_a_step_holds_what_is_kept_and_no_more_than_twice_that():
    with torch.device("meta"):
        blocks = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(20)))
        blocks.requires_grad_(True)
        most = counted._step(lambda rows: blocks(torch.randn(rows, 512)), 64, blocks)
    kept = 2 * 64 * 512 * 20  # the input of each layer, in bfloat16
    assert kept < most < 2 * kept + 4 * 512 * 512 * 20 * 2, "and gradients"


def test_products_are_wide_and_what_is_kept_is_not():
    torch.manual_seed(0)
    x, w = (torch.randn(32, 32, dtype=torch.bfloat16) for _ in range(2))
    x.requires_grad_(True)
    with WideSums():
        found = x @ w
        kept = memory.kept(lambda: x @ w)
        found.float().sum().backward()
    assert torch.equal(found, (x.float() @ w.float()).bfloat16())
    assert found.dtype == x.grad.dtype == torch.bfloat16
    assert torch.equal(x.grad, (torch.ones(32, 32) @ w.float().T).bfloat16())
    assert kept == 2 * 32 * 32, "the weights of the product, as they are"


def test_phases_of_the_table_are_those_of_a_bake():
    count = counted.Count(100, 50, 10, 2, {(1, True): 30, (2, True): 60}, 5, 20, 25, 1)
    assert count.phases["latents"] == (10 + 20, 160 + 20)
    assert count.phases["training, gradient_checkpointing"] == (100 + 32 + 30, 160 + 32 + 30)
    assert count.phases["drawing"] == (100 + 10 + 8 + 25, 160 + 8 + 25)
    assert models.MODELS.keys() >= {"sd15", "sdxl"}
