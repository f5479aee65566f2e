"""What the trainings of the embedded bases have in common: their steps, their state, their command line.

A training is resumable: the state is saved every few minutes, and what a step draws depends on the seed
and the number of the step alone. The learning rate is constant until the last third, then falls to zero,
so the number of steps may be changed in between.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATE = "state.pt"
_SAVED = 180  # seconds between two states
_SHOWN = 50  # steps between two lines


class Resumable(ABC):
    """A training that is saved whole, and goes on alike from there."""

    step: int
    """Steps done."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Name -> what has a `state_dict`: all that a resumed run needs beside the step."""

    def save(self, path: Path) -> None:
        states = {name: part.state_dict() for name, part in self.parts().items()}
        write(path, {**states, "step": self.step})

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]


class Fit(Resumable):
    """The training of what draws: a model on latents and captions."""

    def __init__(self, model: nn.Module, weights: Tensor, lr: float, seed: int) -> None:
        """`weights` (h, w), mean 1, is how much each place of a latent counts."""
        self.seed, self.lr, self.step = seed, lr, 0
        self.model, self.weights = model, weights
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr, betas=(0.9, 0.99), weight_decay=0.01
        )

    @abstractmethod
    def caption(self, tags: list[str], rng: np.random.Generator) -> str:
        """What a picture with these tags is called, this time."""

    @abstractmethod
    def tokens(self, captions: list[str], rng: np.random.Generator) -> Any:
        """What the model reads of captions."""

    @abstractmethod
    def guess(
        self, clean: Tensor, tokens: Any, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the model makes of noisy latents, and what it should, (B, C, h, w) each."""

    def rate(self, steps: int, warmup: int = 200, decay: float = 0.35) -> float:
        """Warm-up, constant, and a straight line to zero over the last `decay` of `steps`."""
        return self.lr * min(
            1.0, (self.step + 1) / warmup, max(0.0, (steps - self.step) / (decay * steps))
        )

    def batch(self, latents: Tensor, tags: list[list[str]], size: int) -> tuple[Tensor, Any]:
        rng = np.random.default_rng([self.seed, self.step])
        rows = np.sort(rng.integers(0, len(tags), size))
        captions = [self.caption(tags[row], rng) for row in rows]
        tokens = self.tokens(captions, rng)
        return latents[torch.from_numpy(rows)].float(), tokens

    def train_step(self, clean: Tensor, tokens: Any, steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        guess, target = self.guess(clean, tokens, generator)
        errors = F.mse_loss(guess, target, reduction="none")
        loss = (errors * self.weights).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.999, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - keep
        )
        return loss.detach()

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}


def write(path: Path, content: Any) -> None:
    """Save what torch can load, whole or not at all."""
    torch.save(content, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def exported_vae(kind: Any, folder: Path) -> Any:
    """The VAE of class `kind` in a folder, fp16; its config does not say where that was."""
    vae = kind.from_pretrained(folder).half()
    vae.register_to_config(_name_or_path="")
    return vae


def without_spaces(folder: Path) -> None:
    """Rewrite a tokenizer's json as one line: half of its bytes are indentation."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), "utf-8")


def load_latents(renders: Path, cache: Path, encode: Callable[[np.ndarray], Tensor]) -> Tensor:
    """What `encode` makes of all renders, uint8 (N, H, W, 3) -> (N, C, h, w); computed once."""
    if not cache.exists():
        write(cache, encode(np.load(renders.with_suffix(".npy"), mmap_mode="r")))
    return torch.load(cache, weights_only=True)


def arguments(doc: str, *, steps: int) -> argparse.ArgumentParser:
    """The command line of a training, for which `steps` are enough."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("renders", type=Path, help="OUT of render.py")
    parser.add_argument("vae", type=Path, help="folder of the VAE's training")
    parser.add_argument("out", type=Path, help="folder of the training state")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export", type=Path, help="write the model so far here, and stop")
    return parser


def run(fit: Fit, latents: Tensor, args: argparse.Namespace) -> None:
    """Train until `args.steps` are done."""
    tags = [json.loads(line) for line in args.renders.with_suffix(".jsonl").open(encoding="utf-8")]
    start, first, losses, saved = time.monotonic(), fit.step, [], time.monotonic()
    while fit.step < args.steps:
        losses.append(fit.train_step(*fit.batch(latents, tags, args.batch), args.steps))
        if fit.step % _SHOWN == 0:
            speed = (fit.step - first) * args.batch / (time.monotonic() - start)
            loss = torch.stack(losses[-_SHOWN:]).mean().item()
            print(
                f"step {fit.step}/{args.steps} loss {loss:.4f} lr {fit.rate(args.steps):.2e} "
                f"{speed:.0f} samples/s",
                flush=True,
            )
        if time.monotonic() - saved > _SAVED or fit.step == args.steps:
            fit.save(args.out / STATE)
            saved = time.monotonic()
