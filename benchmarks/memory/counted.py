"""What a bake needs on a GPU, counted on tensors without content: bytes by part, by step, by phase.

`tables(["sd1", "sdxl", "anima"])`: no weight is made and nothing is computed. The denoiser has our own
adapters, and a training step is a forward and a backward pass as our trainer runs them: layers in
bfloat16 and norms in float32, as CUDA's autocast has them. Attention never holds all products of queries
and keys, as on a GPU. What is counted is the most that is alive at once of all
tensors that a step makes, so the temporary ones of the backward pass are in it. Not counted: the driver,
gaps between allocations, and the workspace of convolutions.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anima
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTextConfig, CLIPTextModel

from bakery.families import published, targets
from bakery.families.anima.model import AnimaModel
from bakery.families.family import UNET
from bakery.lora.network import LoRANetwork

GIB = 2**30
SIDES = {"sd1": 512, "sdxl": 1024, "anima": 1024}
"""Side in pixels of the training pictures of each family."""
TITLES = {"sd1": "SD 1.5, 512 px", "sdxl": "SDXL, 1024 px", "anima": "Anima, 1024 px"}
DIM = 16
GPUS = (8, 12, 16, 24)
DRIVER = 1.0
"""GiB that are left for what is not counted."""
LEARNING = {"AdamW": 4 + 4 + 8, "AdamW8bit": 4 + 4 + 2}
"""Bytes of a trained weight: itself in float32, its gradient, two moments."""
BATCHES = (1, 2)


@dataclass(frozen=True)
class Count:
    """Bytes of a family at its side, in bfloat16."""

    denoiser: int
    texts: int
    vae: int
    adapters: int
    """Trained weights of a LoRA of `DIM`, a number."""
    steps: dict[tuple[int, bool], int]
    """(batch, gradient_checkpointing) -> the most beside the weights in a training step."""
    drawing: int
    """The same for a step of drawing one picture with CFG ..."""
    encode: int
    decode: int
    text: int
    """... and for the passes of VAE and text encoders, a picture or a caption at a time."""

    def training(self, batch: int, again: bool, optimizer: str = "AdamW") -> int:
        return self.denoiser + self.adapters * LEARNING[optimizer] + self.steps[batch, again]

    @property
    def phases(self) -> dict[str, tuple[int, int]]:
        """Phase -> bytes with the parts that work, and with all."""
        learnt = 4 * self.adapters
        every = self.denoiser + self.texts + self.vae
        training = self.training(1, True)
        drawn = self.denoiser + self.vae + learnt + max(self.drawing, self.decode)
        return {
            "latents": (self.vae + self.encode, every + self.encode),
            "texts": (self.texts + self.text, every + self.text),
            "training, gradient_checkpointing": (training, training + every - self.denoiser),
            "prompts": (self.texts + self.text, every + self.text),
            "drawing": (drawn, drawn + self.texts),
        }


def tables(families: list[str]) -> str:
    found = {family: counted(family) for family in families}
    return "\n\n".join([_parts(found), _phases(found), _training(found), _fits(found)])


def counted(family: str, dtype: torch.dtype = torch.bfloat16) -> Count:
    side = SIDES[family]
    with _attention(), torch.device("meta"):
        torch.set_default_dtype(dtype)
        denoiser, call, places = (_anima if family == "anima" else _unet)(family, side)
        denoiser.requires_grad_(False)
        own = weights(denoiser)
        torch.set_default_dtype(torch.float32)
        network = LoRANetwork(places(), DIM).apply()
        adapters = sum(p.numel() for p in network.parameters())
        steps = {}
        for again in (False, True):
            if again:
                denoiser.enable_gradient_checkpointing()
                denoiser.train()
            steps |= {(batch, again): _step(call, batch, network, denoiser) for batch in BATCHES}
        denoiser.eval()
        with torch.no_grad(), _autocast(), Live(network, denoiser) as live:
            call(2)
        texts, text = _texts(family, dtype)
        vae, encode, decode = _vae(family, side, dtype)
    return Count(own, texts, vae, adapters, steps, live.most, encode, decode, text)


def weights(*modules: torch.nn.Module) -> int:
    return sum(w.numel() * w.element_size() for module in modules for w in module.parameters())


def _unet(family: str, side: int) -> tuple[Any, Callable[[int], torch.Tensor], Any]:
    unet = UNet2DConditionModel.from_config(published.UNET[family])

    def call(rows: int) -> torch.Tensor:
        more = None
        if unet.config.addition_embed_type:
            more = {"text_embeds": _half(rows, 1280), "time_ids": _half(rows, 6)}
        text = _half(rows, 77, unet.config.cross_attention_dim)
        times = torch.tensor([500] * rows)
        latents = _half(rows, 4, side // 8, side // 8)
        return unet(latents, times, text, added_cond_kwargs=more).sample

    return unet, call, lambda: targets.of_unet(unet, lambda path: path)


def _anima(family: str, side: int) -> tuple[Any, Callable[[int], torch.Tensor], Any]:
    transformer = anima.PARTS["transformer"]()
    transformer.register_to_config(concat_padding_mask=False)
    model = AnimaModel.__new__(AnimaModel)
    model.transformer, model.dtype = transformer, torch.bfloat16

    def call(rows: int) -> torch.Tensor:
        latents = _half(rows, 16, side // 8, side // 8)
        return model.predict(latents, torch.rand(rows), {"hidden": _half(rows, 512, 1024)})

    return transformer, call, lambda: model.targets([UNET])


def _texts(family: str, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of the text encoders, and the most that a caption takes beside them."""
    torch.set_default_dtype(dtype)
    if family == "anima":
        encoder, adapter = (anima.PARTS[n]().eval() for n in ("text_encoder", "text_conditioner"))
        ids = torch.ones(1, 512, dtype=torch.long)

        def run() -> None:
            causal = {"full_attention": None}  # without a mask, nothing is looked up in tensors
            states = encoder(input_ids=ids, attention_mask=causal, use_cache=False)[0]
            adapter(source_hidden_states=states, target_input_ids=ids)

        found = [encoder, adapter]
    else:
        found = [CLIPTextModel(CLIPTextConfig(**one)) for one in published.TEXT_ENCODERS[family]]

        def run() -> None:
            for encoder in found:
                encoder(torch.ones(3, 77, dtype=torch.long))

    with torch.no_grad(), _autocast(), Live(*found) as live:
        run()
    return weights(*found), live.most


def _vae(family: str, side: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Bytes of the VAE, and the most that it takes to encode and to decode a picture."""
    torch.set_default_dtype(published.dtype_of(family, "vae", dtype))
    small = side // 8
    if family == "anima":
        vae = anima.PARTS["vae"]().eval()
        pixels, latents = torch.randn(1, 3, 1, side, side), torch.randn(1, 16, 1, small, small)
    else:
        vae = AutoencoderKL.from_config(published.VAE[family]).eval()
        pixels, latents = torch.randn(1, 3, side, side), torch.randn(1, 4, small, small)
    most = []
    for run, given in ((vae.encode, pixels), (vae.decode, latents)):
        with torch.no_grad(), Live(vae) as live:
            run(given)
        most.append(live.most)
    torch.set_default_dtype(torch.float32)
    return weights(vae), most[0], most[1]


def _step(call: Callable[[int], torch.Tensor], rows: int, *modules: torch.nn.Module) -> int:
    """The most that forward and backward hold beside the weights of `modules`.

    The gradients of the adapters are in it as they come; where the most is held, few are there yet.
    """
    with Live(*modules) as live, _autocast():  # also around what gradient checkpointing does again
        call(rows).float().square().mean().backward()
    return live.most


def _half(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.bfloat16)


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, of those made inside; weights of `modules` and
    views of them are none."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        super().__init__()
        self.now = self.most = 0
        kept = (w for module in modules for w in (*module.parameters(), *module.buffers()))
        self._known = {w.untyped_storage()._cdata for w in kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self._note(x.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            weakref.finalize(storage, self._gone, key, size).atexit = False
            self.now += size
            self.most = max(self.most, self.now)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@contextmanager
def _attention() -> Iterator[None]:
    """Inside, attention is `flash`, and tensors are float32 again afterwards."""
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = flash
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before
        torch.set_default_dtype(torch.float32)


@contextmanager
def _autocast() -> Iterator[None]:
    """CUDA's autocast to bfloat16 for tensors without content, which torch's own leaves alone."""
    names = {"linear": torch.bfloat16, "conv2d": torch.bfloat16, "group_norm": torch.float32,
             "layer_norm": torch.float32}  # fmt: skip
    before = {name: getattr(F, name) for name in names}
    for name, dtype in names.items():
        setattr(F, name, _cast(before[name], dtype))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(F, name, function)


def _cast(function: Callable[..., torch.Tensor], dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    def to(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x

    def cast(*given: Any, **named: Any) -> torch.Tensor:
        return function(*map(to, given), **{name: to(x) for name, x in named.items()})

    return cast


def flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, **_: Any
) -> torch.Tensor:
    """Attention that never holds all products of a query and a key, as on a GPU."""
    groups = query.shape[-3] // key.shape[-3]
    if groups > 1:  # queries share keys
        key, value = (x.repeat_interleave(groups, -3) for x in (key, value))
    query, key = query.to(value.dtype), key.to(value.dtype)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0]


def _parts(found: dict[str, Count]) -> str:
    """What is counted, one by one."""
    rows: list[tuple[str, Callable[[Count], float]]] = [
        ("denoiser, weights", lambda c: c.denoiser),
        ("text encoders, weights", lambda c: c.texts),
        ("VAE, weights", lambda c: c.vae),
        (f"LoRA of dim {DIM}, with gradients and AdamW's moments",
         lambda c: c.adapters * LEARNING["AdamW"]),
        ("the same, AdamW8bit", lambda c: c.adapters * LEARNING["AdamW8bit"]),
        *((f"a training step, batch {batch}{_checkpointed(again)}",
           lambda c, batch=batch, again=again: c.steps[batch, again])
          for again in (False, True) for batch in BATCHES),
        ("a drawing step with CFG", lambda c: c.drawing),
        ("the VAE encodes a picture", lambda c: c.encode),
        ("the VAE decodes a picture", lambda c: c.decode),
        ("the text encoders read a caption", lambda c: c.text),
    ]  # fmt: skip
    return _table("counted, GiB", found, [(n, [f"{of(c) / GIB:.2f}" for c in found.values()])
                                          for n, of in rows])  # fmt: skip


def _phases(found: dict[str, Count]) -> str:
    """Each phase with the parts that work in it, and with all."""
    phases = {family: count.phases for family, count in found.items()}
    first = next(iter(phases.values()))
    rows = [
        (name, ["{:.1f} / {:.1f}".format(*(n / GIB for n in of[name])) for of in phases.values()])
        for name in first
    ]
    return _table("phase, GiB: parts that work / all parts", found, rows)


def _training(found: dict[str, Count]) -> str:
    """A training step with all that is in memory then."""
    rows = [
        (f"batch {batch}{_checkpointed(again)}",
         [f"{count.training(batch, again) / GIB:.1f}" for count in found.values()])
        for again in (True, False) for batch in BATCHES
    ]  # fmt: skip
    return _table("training in all, GiB", found, rows)


def _fits(found: dict[str, Count]) -> str:
    """What a GPU of each size allows: the largest batch without checkpointing, else with it."""
    rows = []
    for size in GPUS:
        room = (size - DRIVER) * GIB
        cells = []
        for count in found.values():
            ways = [(batch, again) for again in (False, True) for batch in reversed(BATCHES)]
            fitting = [way for way in ways if count.training(*way) <= room]
            cell = "no training"
            if fitting:
                batch, again = fitting[0]
                cell = f"batch {batch}{_checkpointed(again)}"
            drawn, _ = count.phases["drawing"]
            more = "" if drawn <= room else "; no drawing"
            cells.append(cell + more)
        rows.append((f"{size} GB", cells))
    return _table("GPU", found, rows)


def _checkpointed(again: bool) -> str:
    return ", gradient_checkpointing" * again


def _table(head: str, found: dict[str, Count], rows: list[tuple[str, list[str]]]) -> str:
    lines = [f"| {head} | {' | '.join(TITLES[family] for family in found)} |"]
    lines.append("|" + " --- |" * (1 + len(found)))
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])
