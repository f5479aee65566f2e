"""What runs kohya's own code, in an interpreter of its own; started by the other scripts here.

    python benchmarks/kohya/side.py network FOLDER      networks/lora.py on the models in FOLDER
    python benchmarks/kohya/side.py dataset FOLDER      the parser and dataset code on a config TOML
    python benchmarks/kohya/side.py settings FOLDER     the parser, optimizers and schedulers
    python benchmarks/kohya/side.py train FOLDER        train_network.py itself, or
                                                        sdxl_train_network.py, step by step

PYTHONPATH must lead to sd-scripts. Nothing of ours is imported, nothing of theirs is kept. sd-scripts
uses three transforms of torchvision; where that is not installed, stand-ins of the same meaning are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

logging.disable(logging.WARNING)


def stand_in_for_torchvision() -> None:
    if importlib.util.find_spec("torchvision") is not None:
        return
    import diffusers.loaders  # noqa: F401  both look for torchvision when first imported
    import transformers.models.clip  # noqa: F401

    def compose(steps):
        def apply(x):
            for step in steps:
                x = step(x)
            return x

        return apply

    def to_tensor():
        return lambda a: torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))).float() / 255

    module = types.ModuleType("torchvision")
    module.transforms = types.ModuleType("torchvision.transforms")
    module.transforms.Compose = compose
    module.transforms.ToTensor = to_tensor
    module.transforms.Normalize = lambda mean, std: lambda x: (x - mean[0]) / std[0]
    sys.modules |= {"torchvision": module, "torchvision.transforms": module.transforms}


def unet_of(folder: Path, job: dict) -> torch.nn.Module:
    """kohya's own UNet with the weights of a diffusers one of the same, small, sizes."""
    weights, channels = load_file(folder / "unet.safetensors"), job["channels"]
    if job["family"] == "sdxl":
        from library import sdxl_model_util

        sdxl_original_unet = narrow_sdxl(channels)
        sdxl_original_unet.ADM_IN_CHANNELS = job["adm"]
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
        weights = sdxl_model_util.convert_diffusers_unet_state_dict_to_sdxl(weights)
    else:
        original_unet = narrow(channels)
        unet = original_unet.UNet2DConditionModel(
            sample_size=8, attention_head_dim=8, cross_attention_dim=job["context"]
        )
    unet.load_state_dict(weights)
    return unet.eval()


def narrow(channels: list[int]) -> types.ModuleType:
    """kohya's SD1 UNet, told to build its blocks with other numbers of channels."""
    from library import original_unet

    original_unet.BLOCK_OUT_CHANNELS = tuple(channels)
    original_unet.TIMESTEP_INPUT_DIM = channels[0]
    original_unet.TIME_EMBED_DIM = 4 * channels[0]
    return original_unet


def narrow_sdxl(channels: list[int]) -> types.ModuleType:
    """The same for its SDXL UNet; the width of the text stays what it is."""
    from library import sdxl_original_unet

    sdxl_original_unet.MODEL_CHANNELS = channels[0]
    sdxl_original_unet.TIME_EMBED_DIM = 4 * channels[0]
    return sdxl_original_unet


def text_encoders_of(folder: Path, job: dict) -> list[torch.nn.Module]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    encoders = []
    for number, config in enumerate(job["text_encoders"], 1):
        kind = CLIPTextModelWithProjection if number == 2 else CLIPTextModel
        encoder = kind(CLIPTextConfig(**config))
        weights = load_file(folder / f"text_encoder_{number}.safetensors")
        flat = hasattr(encoder, "text_model") and not any(
            k.startswith("text_model") for k in weights
        )
        if flat:
            weights = {k if "projection" in k and "attn" not in k else f"text_model.{k}": w
                       for k, w in weights.items()}  # fmt: skip
        missing, _ = encoder.load_state_dict(weights, strict=False)
        assert not [key for key in missing if "position_ids" not in key], missing
        encoders.append(encoder.eval())
    return encoders


@torch.no_grad()
def outputs(unet, encoders, given: dict[str, torch.Tensor], job: dict) -> dict[str, torch.Tensor]:
    latents, t, hidden = given["latents"], given["timesteps"], given["hidden"]
    if job["family"] == "sdxl":
        predicted = unet(latents, t, hidden, given["vector"])
    else:
        predicted = unet(latents, t, hidden).sample
    made = {"unet": predicted}
    for number, encoder in enumerate(encoders, 1):
        made[f"text_encoder_{number}"] = encoder(given["tokens"]).last_hidden_state
    return made


def network(folder: Path) -> None:
    """Write outputs of the base, with our file in kohya's code, and with a network of its own."""
    from networks import lora

    job = json.loads((folder / "job.json").read_text())
    given = load_file(folder / "inputs.safetensors")
    done: dict[str, torch.Tensor] = {}

    def fresh():
        unet, encoders = unet_of(folder, job), text_encoders_of(folder, job)
        return unet, encoders, encoders if len(encoders) > 1 else encoders[0]

    def keep(name: str, made: dict[str, torch.Tensor]) -> None:
        done.update({f"{name}.{part}": value.contiguous() for part, value in made.items()})

    unet, encoders, _ = fresh()
    keep("base", outputs(unet, encoders, given, job))

    unet, encoders, handed = fresh()
    ours = str(folder / "ours.safetensors")
    made, weights = lora.create_network_from_weights(1.0, ours, None, handed, unet)
    made.apply_to(handed, unet)
    info = made.load_state_dict(weights, strict=False)
    assert not info.missing_keys, info.missing_keys[:3]
    assert not info.unexpected_keys, info.unexpected_keys[:3]
    keep("ours", outputs(unet, encoders, given, job))
    counts = {"unet": len(made.unet_loras), "text": len(made.text_encoder_loras)}

    unet, encoders, handed = fresh()
    lora.LoRANetwork.UNET_TARGET_REPLACE_MODULE = ["Transformer2DModel"]  # loading has widened it
    conv = {"conv_dim": str(job["conv_dim"]), "conv_alpha": "1"} if job["conv_dim"] else {}
    torch.manual_seed(1)
    made = lora.create_network(1.0, job["dim"], job["alpha"], None, handed, unet, **conv)
    made.apply_to(handed, unet)
    for name, weight in made.named_parameters():
        if "lora_up" in name:  # zero in a new network
            torch.nn.init.normal_(weight, std=0.05)
    made.save_weights(str(folder / "theirs.safetensors"), torch.float32, {})
    keep("theirs", outputs(unet, encoders, given, job))

    save_file(done, folder / "kohya.safetensors")
    (folder / "counts.json").write_text(json.dumps(counts))


def read_config(path: Path) -> tuple[argparse.Namespace, list[str]]:
    """(arguments as train_network.py reads them from a config TOML, keys that it does not have)."""
    import train_network
    from library import train_util

    parser = train_network.setup_parser()
    known = vars(parser.parse_args([]))
    sys.argv = ["train_network.py", "--config_file", str(path)]
    arguments = train_util.read_config_from_file(parser.parse_args(), parser)
    train_util.verify_training_args(arguments)
    # every value once more through the parser's own types and choices, which a TOML goes around
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if value is None or action.nargs == 0 or action.dest == "dataset_config":
            continue
        for one in value if isinstance(value, list) else [value]:
            parser._check_value(action, parser._get_value(action, str(one)))
    return arguments, sorted(set(vars(arguments)) - set(known))


def settings(folder: Path) -> None:
    """For each `<n>.toml`: strange keys, the optimizer that is made, its learning rate step by step."""
    from library import train_util

    told = []
    for path in sorted(folder.glob("*.toml"), key=lambda p: int(p.stem)):
        arguments, strange = read_config(path)
        weight = torch.nn.Parameter(torch.zeros(8, 8))
        groups = [{"params": [weight], "lr": arguments.unet_lr or arguments.learning_rate}]
        name, _, optimizer = train_util.get_optimizer(arguments, groups)
        scheduler = train_util.get_scheduler_fix(arguments, optimizer, 1)
        rates = []
        for _ in range(arguments.max_train_steps):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        told.append({"strange": strange, "optimizer": name, "rates": rates})
    (folder / "kohya.json").write_text(json.dumps(told))


def dataset(folder: Path) -> None:
    """Read `config.toml` as train_network.py does; list what its dataset code finds."""
    from library import config_util, train_util

    arguments, strange = read_config(folder / "config.toml")
    arguments.dataset_config = str(arguments.dataset_config)
    train_util.prepare_dataset_args(arguments, True)
    sanitizer = config_util.ConfigSanitizer(True, True, False, True)
    user = config_util.load_user_config(arguments.dataset_config)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(user, arguments)
    group, _ = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    pictures = [
        {"image": info.absolute_path, "repeats": info.num_repeats, "caption": info.caption,
         "is_reg": info.is_reg, "bucket": list(info.bucket_reso)}
        for one in group.datasets for info in one.image_data.values()
    ]  # fmt: skip
    told = {"strange": strange, "pictures": pictures, "batches": len(group)}
    (folder / "kohya.json").write_text(json.dumps(told))


def train(folder: Path) -> None:
    """The script for the job's family as it is, on the folder's config; it waits after every step."""
    from library import train_util

    sys.path.append(str(Path(__file__).parents[1]))  # last: their modules go before ours
    from stepwise import obey

    job = json.loads((folder / "job.json").read_text())
    if job["sdxl"]:
        import sdxl_train_network as script

        trainer = script.SdxlNetworkTrainer()
    else:
        import train_network as script

        trainer = script.NetworkTrainer()
    parser = script.setup_parser()
    sys.argv = [f"{script.__name__}.py", "--config_file", str(folder / "config.toml")]
    arguments = train_util.read_config_from_file(parser.parse_args(), parser)
    (narrow_sdxl if job["sdxl"] else narrow)(job["channels"])
    obey(job["device"])
    trainer.train(arguments)


if __name__ == "__main__":
    stand_in_for_torchvision()
    if sys.argv[1] != "train":
        torch.set_num_threads(1)
    commands = {"network": network, "dataset": dataset, "settings": settings, "train": train}
    commands[sys.argv[1]](Path(sys.argv[2]))
