"""Anima beside sd-scripts' own trainer: text, predictions, times and loss of the same weights.

    python benchmarks/kohya/anima.py --sd-scripts PATH [--python PYTHON] [--packages DIR]

PATH is a checkout of kohya-ss/sd-scripts that has anima_train_network.py. Its model and its functions
for times and weights run beside, in `--python` (an interpreter with its requirements; the default is
this one, with `--packages` in front of its path). The transformer is narrow, with every layer of the
real one; the adapter of the text has its real size. Prints a table; ends with 1 if a difference exceeds
1e-5.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
LIMIT = 1e-5
WIDTH, HEADS, BLOCKS, MODULATION = 256, 2, 3, 32
WORDS = 32_128
TIMES: dict[str, dict[str, object]] = {
    "uniform": {"timestep_sampling": "uniform"},
    "sigmoid": {"timestep_sampling": "sigmoid", "sigmoid_scale": 1.5},
    "shift": {"timestep_sampling": "shift", "discrete_flow_shift": 3.0},
}
SCHEMES = ("none", "sigma_sqrt", "cosmap")
UNUSED = (
    "train_util", "flux_models", "flux_utils", "strategy_base", "anima_utils",
    "qwen_image_autoencoder_kl",
)  # fmt: skip
"""Modules that are imported by those with the functions, and that these do without."""
COUNT = 4
"""Pictures in a batch."""


class Unused(types.ModuleType):
    """Has whatever it is asked for in annotations."""

    def __getattr__(self, name: str) -> object:
        return object


def ours(folder: Path) -> dict[str, torch.Tensor]:
    """Write a model's file and what goes into it; what our code makes of it."""
    from diffusers import AnimaTextConditioner, CosmosTransformer3DModel

    from bakery.families.anima import names
    from bakery.families.anima.flow import RectifiedFlow
    from bakery.families.anima.model import AnimaModel
    from bakery.training import losses

    torch.manual_seed(0)
    transformer = CosmosTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, num_layers=BLOCKS,
        adaln_lora_dim=MODULATION, rope_scale=(1.0, 4.0, 4.0), extra_pos_embed_type=None,
    ).eval()  # fmt: skip
    conditioner = AnimaTextConditioner().eval()
    state = {}
    for name, weight in transformer.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"net.{names.to_original(layer)}.{kind}"] = weight
    adapter = conditioner.state_dict()
    state |= {f"net.{names.ADAPTER}{name}": weight for name, weight in adapter.items()}
    save_file({name: w.contiguous() for name, w in state.items()}, folder / "anima.safetensors")
    given = inputs()
    save_file(given, folder / "inputs.safetensors")

    transformer.register_to_config(concat_padding_mask=False)
    base = types.SimpleNamespace(transformer=transformer, dtype=torch.float32)
    made = {}
    with torch.no_grad():
        hidden = conditioner(
            source_hidden_states=given["states"], target_input_ids=given["t5_ids"],
            target_attention_mask=given["t5_mask"], source_attention_mask=given["mask"],
        )  # fmt: skip
        made["text"] = hidden
        for name, settings in TIMES.items():
            generator = torch.Generator().manual_seed(1)
            noise = torch.randn(given["latents"].shape, generator=generator)
            flow = RectifiedFlow().set_by(settings)
            t = flow.times(COUNT, generator)
            made[f"times.{name}"] = t
            noisy = flow.noisy(given["latents"], noise, t)
            predicted = AnimaModel.predict(base, noisy, t, {"hidden": hidden})
            made[f"prediction.{name}"] = predicted
            for scheme in SCHEMES:
                process = RectifiedFlow().set_by(settings | {"weighting_scheme": scheme})
                loss = losses.Loss(process, None, 0.0)
                value = loss.loss(predicted, given["latents"], noise, t, torch.ones(COUNT))
                made[f"loss.{name}.{scheme}"] = value[None]
    return made


def inputs() -> dict[str, torch.Tensor]:
    """Latents, and texts of different lengths, one of them empty, padded as sd-scripts pads them."""
    torch.manual_seed(2)
    mask, t5_mask = torch.zeros(2, COUNT, 512, dtype=torch.long)
    for row, (length, t5_length) in enumerate(((7, 11), (0, 1), (60, 90), (512, 512))):
        mask[row, :length], t5_mask[row, :t5_length] = 1, 1
    return {
        "latents": torch.randn(COUNT, 16, 12, 16),
        "states": torch.randn(COUNT, 512, 1024) * mask[..., None],
        "mask": mask,
        "t5_ids": torch.randint(3, WORDS, (COUNT, 512)) * t5_mask,
        "t5_mask": t5_mask,
    }


def theirs(folder: Path) -> dict[str, torch.Tensor]:
    """The same by sd-scripts' code. Nothing of ours is imported."""
    from side import stand_in_for_torchvision

    stand_in_for_torchvision()
    transforms = sys.modules.get("torchvision.transforms")
    if transforms is not None:
        transforms.InterpolationMode = types.SimpleNamespace(NEAREST="nearest")
        transforms.functional = types.SimpleNamespace(
            resize=lambda x, size, interpolation: torch.nn.functional.interpolate(
                x, size=size, mode=interpolation
            )
        )
    for name in UNUSED:
        sys.modules[f"library.{name}"] = Unused(name)
    from library import anima_models, anima_train_utils, flux_train_utils

    given = load_file(folder / "inputs.safetensors")
    model = anima_models.Anima(
        max_img_h=512, max_img_w=512, max_frames=128, in_channels=16, out_channels=16, patch_spatial=2,
        patch_temporal=1, model_channels=WIDTH, num_blocks=BLOCKS, num_heads=HEADS, pos_emb_cls="rope3d",
        pos_emb_learnable=True, use_adaln_lora=True, adaln_lora_dim=MODULATION,
        rope_h_extrapolation_ratio=4.0, rope_w_extrapolation_ratio=4.0, use_llm_adapter=True,
        rope_enable_fps_modulation=False,
    ).eval()  # fmt: skip
    held = load_file(folder / "anima.safetensors")
    info = model.load_state_dict({k.removeprefix("net."): v for k, v in held.items()}, strict=False)
    assert not info.unexpected_keys, info.unexpected_keys[:3]
    assert all("pos_embedder" in key or "inv_freq" in key for key in info.missing_keys)
    texts = [given[name] for name in ("states", "mask", "t5_ids", "t5_mask")]
    with torch.no_grad():
        made = {"text": model._preprocess_text_embeds(texts[0], texts[2], texts[3], texts[1])}
    padding = torch.zeros(COUNT, 1, 12, 16)
    scheduler = types.SimpleNamespace(config=types.SimpleNamespace(num_train_timesteps=1000))
    for name, settings in TIMES.items():
        arguments = argparse.Namespace(
            **{"discrete_flow_shift": 1.0, "sigmoid_scale": 1.0, "ip_noise_gamma": None} | settings
        )
        torch.manual_seed(1)
        noise = torch.randn_like(given["latents"])
        noisy, t, sigmas = flux_train_utils.get_noisy_model_input_and_timesteps(
            arguments, scheduler, given["latents"], noise, "cpu", torch.float32
        )
        t = t / 1000
        with torch.no_grad():
            predicted = model(
                noisy[:, :, None], t, texts[0], padding_mask=padding, target_input_ids=texts[2],
                target_attention_mask=texts[3], source_attention_mask=texts[1],
            )[:, :, 0]  # fmt: skip
        made |= {f"times.{name}": t, f"prediction.{name}": predicted}
        for scheme in SCHEMES:
            weights = anima_train_utils.compute_loss_weighting_for_anima(scheme, sigmas)
            error = (predicted - (noise - given["latents"])) ** 2 * weights
            made[f"loss.{name}.{scheme}"] = error.mean([1, 2, 3]).mean()[None]
    return {name: value.detach().contiguous() for name, value in made.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sd-scripts", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--packages", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = ours(Path(folder))
        places = [arguments.packages, arguments.sd_scripts, HERE]
        path = os.pathsep.join(str(place.resolve()) for place in places if place is not None)
        command = [arguments.python, __file__, "--side", folder]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
        found = load_file(Path(folder) / "theirs.safetensors")
    worst = 0.0
    print("| what | largest difference | largest value |")
    print("| --- | --- | --- |")
    for name, value in made.items():
        scale = max(1.0, float(value.abs().max()))
        difference = float((value - found[name]).abs().max())
        worst = max(worst, difference / scale)
        print(f"| {name} | {difference:.1e} | {float(value.abs().max()):.3g} |")
    return int(worst > LIMIT)


if __name__ == "__main__":
    if sys.argv[1] == "--side":
        torch.set_num_threads(1)
        save_file(theirs(Path(sys.argv[2])), Path(sys.argv[2]) / "theirs.safetensors")
    else:
        sys.exit(main())
