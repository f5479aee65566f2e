"""Our LoRA files for a flow model in others' loaders, and theirs in ours: do they change the same?

    python benchmarks/kohya/lora_forms.py [--sd-scripts PATH] [--comfyui PATH] [--packages DIR]

PATHs are checkouts of kohya-ss/sd-scripts and ComfyUI, whose networks/lora_anima.py and comfy/lora.py
run here as they are; DIR is a folder with packages that they need. diffusers' own loader always takes
part. The base is small and random, but has every layer of the real one. Compared are the weights with
the LoRA in them, layer by layer. Prints a table; ends with 1 if a key is left over or a difference
exceeds 1e-6.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests/support"))

import torch
from diffusers.modular_pipelines import ModularPipeline
from safetensors.torch import load_file, save_file
from single_file import anima_transformer
from tiny_base import TINY

from bakery.families import registry
from bakery.families.anima import lora_names, names
from bakery.lora import file_forms
from bakery.lora.network import LoRANetwork

LIMIT = 1e-6
DIM, ALPHA = 4, 2.0
Weights = dict[str, torch.Tensor]
"""The makers' path of a layer -> its weight."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sd-scripts", type=Path)
    parser.add_argument("--comfyui", type=Path)
    parser.add_argument("--packages", type=Path)
    given = parser.parse_args()
    sys.path += [str(given.packages)] if given.packages else []
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        return report([*rows(Path(place), given)])


def rows(place: Path, given: argparse.Namespace) -> Iterator[tuple[str, str, int, float]]:
    """(program, file, layers that changed, largest difference from what ours makes of it)"""
    folder = TINY["anima"](place / "base", blocks=3)
    base = registry.load(str(folder))
    ours = {"blocks": adapted(base, whole=False), "all layers": adapted(base, whole=True)}
    for kind, state in ours.items():
        files = {"kohya": state, "dotted": file_forms.dotted(state)}
        for form, tensors in files.items():
            save_file(tensors, place / f"{form}.safetensors")
        wanted = merged(base, state)
        yield compared("diffusers", f"ours, dotted, {kind}", wanted, base,
                       by_diffusers(folder, place / "dotted.safetensors"))  # fmt: skip
        for form in files if given.comfyui else ():
            found = by_comfyui(given.comfyui, base, load_file(place / f"{form}.safetensors"))
            yield compared("ComfyUI", f"ours, {form}, {kind}", wanted, base, found)
        if given.sd_scripts and kind == "blocks":
            found, theirs = by_sd_scripts(given.sd_scripts, base, place)
            yield compared("sd-scripts", f"ours, kohya, {kind}", wanted, base, found)
            read = merged(base, file_forms.kohya(torch.load(theirs[0], weights_only=True)))
            yield compared("sd-scripts", "its own, in ours", read, base, theirs[1])
    yield compared("diffusers", "its own, in ours", *of_diffusers(base, folder, place))


def adapted(base: Any, *, whole: bool) -> Weights:
    """A LoRA of ours, kohya's names."""
    network = LoRANetwork(
        base.targets(convolutions=whole), DIM, ALPHA, torch.Generator().manual_seed(0)
    )
    for number, layer in enumerate(network.layers.values()):
        layer.ups[0].normal_(std=0.3, generator=torch.Generator().manual_seed(number))
    return network.state_dict_kohya()


def merged(base: Any, state: Weights) -> Weights:
    """The base's weights with a LoRA in them, as our own network reads it."""
    network = LoRANetwork.for_files(base.targets(convolutions=True), [state])
    found = weights_of(base)
    for name, weights in network.fitted(state).items():
        if weights is not None:
            down, up, alpha = weights
            path = lora_names.path_of(name).removeprefix(lora_names.DOTTED)
            found[path] = found[path] + alpha / len(down) * up @ down
    return found


def weights_of(base: Any) -> Weights:
    return {
        key.removesuffix(".weight"): value.clone()
        for key, value in anima_transformer(base, "").items()
        if key.endswith(".weight") and value.ndim == 2
    }


def compared(
    program: str, what: str, wanted: Weights, base: Any, found: Weights
) -> tuple[str, str, int, float]:
    plain = weights_of(base)
    changed = [k for k in plain if not torch.equal(wanted[k], plain[k])]
    missed = [k for k in changed if k not in found or torch.equal(found[k], plain[k])]
    if missed:
        raise SystemExit(f"{program}: {what}: {len(missed)} layers are not changed: {missed[:3]}")
    return (
        program,
        what,
        len(changed),
        max(float((found[k] - wanted[k]).abs().max()) for k in changed),
    )


def by_diffusers(folder: Path, file: Path) -> Weights:
    """As AnimaLoraLoaderMixin loads it."""
    pipeline = ModularPipeline.from_pretrained(str(folder))
    pipeline.load_components()
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    pipeline.fuse_lora(components=["transformer", "text_conditioner"])
    return diffusers_weights(pipeline)


def diffusers_weights(pipeline: Any) -> Weights:
    found = {}
    for part, prefix in (("transformer", ""), ("text_conditioner", names.ADAPTER)):
        for path, layer in getattr(pipeline, part).named_modules():
            if isinstance(layer, torch.nn.Linear) and ".lora_" not in path:
                plain = path.removesuffix(".base_layer")
                found[(prefix + plain) if prefix else names.to_original(plain)] = (
                    layer.weight.clone()
                )
    return found


def of_diffusers(base: Any, folder: Path, place: Path) -> tuple[Weights, Any, Weights]:
    """(its own file in ours, the base, its weights with it): as peft trains and diffusers saves it."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = ModularPipeline.from_pretrained(str(folder))
    pipeline.load_components()
    layers = ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"]
    config = LoraConfig(r=DIM, lora_alpha=DIM, target_modules=layers, init_lora_weights=False)
    pipeline.transformer.add_adapter(config)
    state = get_peft_model_state_dict(pipeline.transformer)
    save_file(
        {f"transformer.{k}": v.contiguous() for k, v in state.items()}, place / "d.safetensors"
    )
    read = merged(base, file_forms.kohya(load_file(place / "d.safetensors")))
    pipeline.transformer.fuse_lora()
    return read, base, diffusers_weights(pipeline)


class _Nothing(types.ModuleType):
    """A module of which every name can be imported and none is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def stand_in() -> None:
    """What both programs import for pictures and sound, and their LoRA code never calls."""
    for name in ("torchvision", "torchvision.transforms", "cv2", "torchaudio", "av"):
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = _Nothing(name)


def by_comfyui(checkout: Path, base: Any, state: Weights) -> Weights:
    """As comfy/lora.py maps the keys and comfy/weight_adapter adds them."""
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
        sys.argv = [sys.argv[0], "--cpu"]
        stand_in()
        import comfy.options

        comfy.options.enable_args_parsing()
    import comfy.lora

    held = {f"diffusion_model.{k}.weight": v for k, v in weights_of(base).items()}
    model = types.SimpleNamespace(
        state_dict=lambda: held, model_config=types.SimpleNamespace(unet_config={})
    )
    keys = comfy.lora.model_lora_keys_unet(model, {})
    patches = comfy.lora.load_lora(dict(state), keys)
    loaded = set().union(*(patch.loaded_keys for patch in patches.values()))
    if left := sorted(set(state) - loaded):
        raise SystemExit(f"ComfyUI leaves {len(left)} keys: {left[:3]}")
    return {
        key.removeprefix("diffusion_model.").removesuffix(".weight"): patch.calculate_weight(
            held[key].clone(), key, 1.0, 1.0, None, lambda weight: weight
        )
        for key, patch in patches.items()
    }


def by_sd_scripts(checkout: Path, base: Any, place: Path) -> tuple[Weights, tuple[Path, Weights]]:
    """(weights with our file, (a file of its own, weights with that)), by networks/lora_anima.py."""
    sys.path.insert(0, str(checkout))
    stand_in()
    from library import anima_models
    from networks import lora_anima

    def model() -> Any:
        config = base.transformer.config
        heads, wide = config["num_attention_heads"], config["attention_head_dim"]
        made = anima_models.Anima(
            max_img_h=240, max_img_w=240, max_frames=128, in_channels=16, out_channels=16,
            patch_spatial=2, patch_temporal=1, model_channels=heads * wide, num_heads=heads,
            num_blocks=config["num_layers"], mlp_ratio=config["mlp_ratio"],
            crossattn_emb_channels=config["text_embed_dim"], pos_emb_cls="rope3d",
            use_adaln_lora=True, adaln_lora_dim=config["adaln_lora_dim"],
        )  # fmt: skip
        state = {
            k: v for k, v in anima_transformer(base, "").items() if not k.startswith(names.ADAPTER)
        }
        made.load_state_dict(state, strict=False)
        return made

    unet = model()
    network, state = lora_anima.create_network_from_weights(
        1.0, str(place / "kohya.safetensors"), None, None, unet, for_inference=True
    )
    network.apply_to(None, unet, False, True)
    network.load_state_dict(state)
    network.pre_calculation()
    found = {k: layer.weight.clone() for k, layer in linears(unet)}
    own = model()
    theirs = lora_anima.create_network(1.0, DIM, ALPHA, None, [], own)
    for number, lora in enumerate(theirs.unet_loras):
        lora.lora_up.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(number))
    plain = {k: layer.weight.clone() for k, layer in linears(own)}
    changed = {
        lora.original_name: plain[lora.original_name]
        + lora.scale * lora.lora_up.weight @ lora.lora_down.weight
        for lora in theirs.unet_loras
    }
    theirs.apply_to([], own, False, True)
    file = (
        place / "theirs.pt"
    )  # for .safetensors it wants its hashes, and so all of its requirements
    theirs.save_weights(str(file), None, {})
    return found, (file, plain | changed)


def linears(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Linear]]:
    return (
        (path, layer) for path, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)
    )


def report(found: list[tuple[str, str, int, float]]) -> int:
    print(f"| {'loader':<10} | {'file':<26} | layers | largest difference |")
    print(f"| {'-' * 10} | {'-' * 26} | ------ | ------------------ |")
    for program, what, layers, difference in found:
        print(f"| {program:<10} | {what:<26} | {layers:>6} | {difference:>18.1e} |")
    return int(any(difference > LIMIT for *_, difference in found))


if __name__ == "__main__":
    sys.exit(main())
