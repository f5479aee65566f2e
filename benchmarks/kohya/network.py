"""Our LoRA files in kohya's own network code, and its files in ours: are the outputs equal?

    python benchmarks/kohya/network.py --sd-scripts PATH [--python PYTHON] [--packages DIR]

PATH is a checkout of kohya-ss/sd-scripts; its networks/lora.py and UNets run beside, in `--python` (an
interpreter with its requirements; the default is this one, with `--packages` in front of its path).
The models are small and random, but have every block of the real ones, so that all 264 (SD1) and 986
(SDXL) modules take part. Prints a table; ends with 1 if a difference exceeds 1e-5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bakery.families import targets
from bakery.lora.network import LoRANetwork

LIMIT = 1e-5
DIM, ALPHA = 4, 2.0
JOBS = {
    "sd1": {"channels": [32, 64, 128, 128], "context": 64, "layers": [12], "adm": 0},
    "sdxl": {"channels": [32, 64, 128], "context": 2048, "layers": [12, 32], "adm": 64 + 6 * 32},
}
"""context: width of the text that the UNet sees; layers: of the text encoders; adm: of SDXL's vector."""


def models(job: dict) -> tuple[UNet2DConditionModel, list[torch.nn.Module]]:
    """diffusers' UNet and the text encoders: every block of the real ones, few channels."""
    torch.manual_seed(0)
    if job["family"] == "sdxl":
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=job["channels"], cross_attention_dim=job["context"],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(1, 1, 2),
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=job["adm"],
        )  # fmt: skip
    else:
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=job["channels"], cross_attention_dim=job["context"],
            attention_head_dim=8,
        )  # fmt: skip
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    encoders = [
        kind(CLIPTextConfig(**config))
        for kind, config in zip(kinds, job["text_encoders"], strict=False)
    ]
    return unet.eval(), [encoder.eval() for encoder in encoders]


def inputs(job: dict) -> dict[str, torch.Tensor]:
    """Two pictures at two timesteps."""
    torch.manual_seed(2)
    made = {
        "latents": torch.randn(2, 4, 16, 16),
        "timesteps": torch.tensor([7, 803]),
        "hidden": torch.randn(2, 77, job["context"]),
        "tokens": torch.randint(1, 998, (2, 77)),
    }
    if job["adm"]:
        made["pooled"] = torch.randn(2, 64)
        made["sizes"] = torch.tensor(
            [[1024.0, 768, 0, 0, 1024, 768], [512, 512, 16, 0, 1024, 1024]]
        )
    return made


@torch.no_grad()
def outputs(unet, encoders, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    added = None
    if "pooled" in given:
        added = {"text_embeds": given["pooled"], "time_ids": given["sizes"]}
    made = {
        "unet": unet(
            given["latents"], given["timesteps"], given["hidden"], added_cond_kwargs=added
        ).sample
    }
    for number, encoder in enumerate(encoders, 1):
        made[f"text_encoder_{number}"] = encoder(given["tokens"]).last_hidden_state
    return made


def vector(unet: UNet2DConditionModel, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """SDXL's pooled text and embedded sizes as one vector, which kohya's UNet wants ready-made."""
    sizes = unet.add_time_proj(given["sizes"].flatten()).reshape(len(given["sizes"]), -1)
    return torch.cat((given["pooled"], sizes), dim=-1)


def network(unet, encoders, conv_dim: int) -> LoRANetwork:
    """Ours, switched on. All that this script uses of it is here and in `compare`."""
    more = {"conv_dim": conv_dim} if conv_dim else {}
    named = partial(targets.ldm_path, unet) if len(encoders) > 1 else str
    found = [
        *targets.of_unet(unet, named, convolutions=bool(conv_dim)),
        *targets.of_text_encoders(encoders),
    ]
    return LoRANetwork(found, DIM, ALPHA, torch.Generator().manual_seed(3), **more).apply()


def compare(family: str, conv_dim: int, folder: Path, run) -> list[tuple[str, float, float, str]]:
    """Rows (what, largest difference, what the LoRA changes, modules)."""
    job = JOBS[family] | {"family": family, "dim": DIM, "alpha": ALPHA, "conv_dim": conv_dim}
    job["text_encoders"] = [
        {"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": n,
         "num_attention_heads": 2, "projection_dim": 64, "eos_token_id": 999}
        for n in job["layers"]
    ]  # fmt: skip
    unet, encoders = models(job)
    given = inputs(job)
    if job["adm"]:
        given["vector"] = vector(unet, given)
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(job))
    save_file(unet.state_dict(), folder / "unet.safetensors")
    for number, encoder in enumerate(encoders, 1):
        save_file(encoder.state_dict(), folder / f"text_encoder_{number}.safetensors")
    save_file(given, folder / "inputs.safetensors")

    base = outputs(unet, encoders, given)
    made = network(unet, encoders, conv_dim)
    torch.manual_seed(4)
    for weight in made.parameters():
        if not weight.any():  # lora_up is zero in a new network
            torch.nn.init.normal_(weight, std=0.05)
    save_file(made.state_dict_kohya(), folder / "ours.safetensors")
    results = {"base": base, "ours": outputs(unet, encoders, given)}
    made.remove()

    run("network", folder)
    made = network(unet, encoders, conv_dim)
    made.load_kohya(load_file(folder / "theirs.safetensors"))
    results["theirs"] = outputs(unet, encoders, given)
    made.remove()

    kohya = load_file(folder / "kohya.safetensors")
    counts = json.loads((folder / "counts.json").read_text())
    rows = []
    for case, said in (("base", "no LoRA"), ("ours", "our file"), ("theirs", "its file")):
        for part, value in results[case].items():
            difference = (value - kohya[f"{case}.{part}"]).abs().max().item()
            effect = (value - base[part]).abs().max().item()
            rows.append(
                (f"{said}: {part}", difference, effect, f"{counts['unet']} + {counts['text']}")
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="interpreter for sd-scripts")
    parser.add_argument("--packages", type=Path, action="append", default=[])
    parser.add_argument("--family", choices=JOBS, action="append")
    parser.add_argument("--conv-dim", type=int, default=0)
    given = parser.parse_args()
    path = os.pathsep.join(str(p.absolute()) for p in (*given.packages, given.sd_scripts))

    def run(what: str, folder: Path) -> None:
        side = Path(__file__).with_name("side.py")
        subprocess.run([given.python, side, what, folder], check=True, cwd=given.sd_scripts,
                       env={**os.environ, "PYTHONPATH": path})  # fmt: skip

    torch.set_num_threads(1)
    worst = 0.0
    print("| model | modules | outputs | largest difference | what the LoRA changes |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for family in given.family or JOBS:
            for what, difference, effect, modules in compare(
                family, given.conv_dim, Path(scratch) / family, run
            ):
                print(f"| {family} | {modules} | {what} | {difference:.1e} | {effect:.2g} |")
                worst = max(worst, difference)
    print(f"\nlargest difference {worst:.1e}, allowed {LIMIT:.0e}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
