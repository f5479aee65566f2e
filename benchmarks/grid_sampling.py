"""A grid of samples: our pipeline against a stock one with `load_lora_weights`.

    python benchmarks/grid_sampling.py                           on the embedded base, one thread
    python benchmarks/grid_sampling.py --rounds 1 --steps 2      does it run?

A round is one LoRA of the grid (random weights at dim 16, written to a file) with all its prompts and
seeds, drawn by each contender in turn:

- ours: `ImagePipeline.use` and full batches, as the sample stage draws;
- one call a LoRA: load_lora_weights, one pipeline call with all pictures as its batch, unload;
- one call a picture: load_lora_weights, then a call for each, unload;
- the UNet alone: as many rows through the bare UNet, with no LoRA, text, VAE or scheduler, in the batch
  size that is fastest here;
- a matrix product: as many operations as those forwards have (products, convolutions and attention, two
  for each multiply-add, convolutions as the plain definition has them), done by products of large
  matrices. No way of drawing these pictures with this arithmetic is faster.

All draw the same pictures (the largest difference is printed). Ratios are medians over rounds. With
one thread seconds are those of the processor, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ceiling import operations  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402
from hardware import describe  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from bakery.families import registry  # noqa: E402
from bakery.families.attention import text_projected_once  # noqa: E402
from bakery.families.family import DENOISER, TEXTS, Model  # noqa: E402
from bakery.lora.network import LoRANetwork  # noqa: E402
from bakery.sampling import batches  # noqa: E402
from bakery.sampling.pipeline import ImagePipeline, ImageRequest  # noqa: E402
from bakery.settings.sample import Sample  # noqa: E402

BASE = ROOT / "resources" / "world" / "base"
SIZES = (4, 8, 16)
"""Pictures a batch that are tried for the UNet alone, where all batches are full."""
SIDES = (512, 1024, 2048)
"""Of the matrices whose product is tried."""
BOUND = "as many operations at the speed of a matrix product"


def loras(folder: Path, count: int, base: Model) -> list[Path]:
    """Files as a bake of `base` leaves them, with changes of a bake's size."""
    base.need(DENOISER, TEXTS)
    files = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        network = LoRANetwork(base.targets(), 16, 16, generator)
        for layer in network.layers.values():
            layer.ups[0].data.normal_(generator=generator).mul_(0.02)
        files.append(folder / f"{number}.safetensors")
        save_file(network.state_dict_kohya(), files[-1])
    return files


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def ours(pipeline: ImagePipeline, cells: list[tuple[str, int]]) -> Callable[[Path | None], list]:
    """Draws the cells with a LoRA, None for the bare base, as the sample stage does."""

    def draw(file: Path | None) -> list[Any]:
        pipeline.use([(file, 1.0)])
        lengths = pipeline.lengths([prompt for prompt, _ in cells])
        looks = [(file, length) for length in lengths]
        found: dict[int, Any] = {}
        for places in batches.arrange(looks, pipeline.settings.batch_size):
            images, _ = pipeline.draw([ImageRequest(0, *cells[place]) for place in places])
            found |= dict(zip(places, images, strict=True))
        return [found[place] for place in range(len(cells))]

    return draw


def stock_pipeline() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(BASE)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.float()  # the embedded base is kept in fp16
    return pipe


def stock(
    pipe: StableDiffusionPipeline, settings: Sample, cells: list[tuple[str, int]], at_once: int
) -> Callable[[Path], list[Any]]:
    pipe.set_progress_bar_config(disable=True)

    def draw(file: Path) -> list[Any]:
        pipe.load_lora_weights(file.parent, weight_name=file.name)
        images = []
        for start in range(0, len(cells), at_once):
            some = cells[start : start + at_once]
            images += pipe(
                [prompt for prompt, _ in some],
                negative_prompt=[settings.negative_prompt] * len(some),
                generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in some],
                num_inference_steps=settings.steps,
                guidance_scale=settings.cfg_scale,
                width=settings.width,
                height=settings.height,
            ).images
        pipe.unload_lora_weights()
        return images

    return draw


def unet_alone(settings: Sample, count: int) -> tuple[Callable[[Path], list[Any]], float]:
    """The forwards that `count` pictures need, prompt and negative prompt; their operations."""
    base = registry.load(str(BASE))
    base.unet.to(memory_format=torch.channels_last)
    config = base.unet.config
    side = settings.width // base.latents.pixels
    text = base.text_encoders[0].config.max_position_embeddings

    @torch.inference_mode()
    def forwards(size: int, steps: int) -> float:
        noisy = torch.randn(2 * size, config.in_channels, side, side)
        hidden = torch.randn(2 * size, text, config.cross_attention_dim)
        start = clock()
        with text_projected_once(base.unet):
            for step in range(steps):
                base.unet(noisy, torch.tensor(step), hidden)
        return (clock() - start) / size

    sizes = [size for size in SIZES if count % size == 0] or [count]
    tried = {size: min(forwards(size, 2) for _ in range(3)) for size in sizes}
    best = min(tried, key=tried.get)

    def draw(_: Path) -> list[Any]:
        for _ in range(0, count, best):
            forwards(best, settings.steps)
        return []

    return draw, operations(lambda: forwards(best, settings.steps)) * count / best


def product(count: float) -> Callable[[Path], list[Any]]:
    """As many operations as products of the size that is fastest here."""

    def products(side: int, times: int) -> float:
        a, b, out = (torch.randn(side, side) for _ in range(3))
        start = clock()
        for _ in range(times):
            torch.mm(a, b, out=out)
        return (clock() - start) / times / side**3

    tried = {side: min(products(side, 1) for _ in range(3)) for side in SIDES}
    best = min(tried, key=tried.get)

    def draw(_: Path) -> list[Any]:
        products(best, max(1, round(count / 2 / best**3)))
        return []

    return draw


def measure(
    settings: Sample, cells: list[tuple[str, int]], files: list[Path]
) -> tuple[dict[str, list[float]], int]:
    """Seconds of each contender in each round, and the largest difference of two pictures."""
    unet, count = unet_alone(settings, len(cells))
    pipeline = ImagePipeline.load(settings, base=str(BASE), clip_skip=1, device="cpu")
    contenders = {
        "ours": ours(pipeline, cells),
        "one call a LoRA": stock(stock_pipeline(), settings, cells, len(cells)),
        "one call a picture": stock(stock_pipeline(), settings, cells, 1),
        "the UNet alone": unet,
        BOUND: product(count),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    worst = 0
    for turn, file in enumerate(files):
        images = {}
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            start = clock()
            images[name] = contenders[name](file)
            times[name].append(clock() - start)
            print(f"{turn}: {name} {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
        pixels = {n: np.asarray([np.asarray(i) for i in drawn], int) for n, drawn in images.items()}
        for name in list(contenders)[1:3]:
            worst = max(worst, int(np.abs(pixels[name] - pixels["ours"]).max()))
    return times, worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=Sample().steps)
    parser.add_argument(
        "--rounds", type=int, default=5, help="LoRAs of the grid; one more to warm up"
    )
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    settings = Sample(steps=given.steps, negative_prompt="sad")
    scenes = ("beach", "street", "forest", "night sky", "indoors", "white background")
    asked = [
        f"mirael, 1girl, smile, {scene}"
        for scene in itertools.islice(itertools.cycle(scenes), given.prompts)
    ]
    cells = list(itertools.product(asked, range(1, given.seeds + 1)))
    with tempfile.TemporaryDirectory() as folder:
        files = loras(Path(folder), given.rounds + 1, registry.load(str(BASE)))
        times, worst = measure(settings, cells, files)
    print(
        f"{describe()}, {given.threads} threads; {len(cells)} pictures a LoRA, {given.steps} steps, "
        f"medians of {given.rounds} LoRAs; pictures differ by at most {worst} of 255\n"
    )
    print("| how | seconds a LoRA | time over ours |")
    print("| --- | --- | --- |")
    for name, seconds in times.items():
        ratio = statistics.median(
            theirs / mine for theirs, mine in zip(seconds[1:], times["ours"][1:], strict=True)
        )
        print(f"| {name} | {statistics.median(seconds[1:]):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
