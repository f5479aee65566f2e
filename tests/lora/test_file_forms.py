"""A LoRA in kohya's names and in paths with dots: the same tensors, whoever wrote the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bake_fixtures import layout as layout
from diffusers.loaders import lora_conversion_utils
from safetensors.torch import save_file
from small_bakes import SMALL
from tiny_base import TINY

from bakery.families import registry
from bakery.families.anima import lora_names, names
from bakery.io.errors import BakeryError
from bakery.lora import file_forms, lora_file
from bakery.lora.network import LoRANetwork
from bakery.report import origin
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Sample
from bakery.settings.train import Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

SCRIPT = Path(__file__).parents[2] / "scripts/lora.py"
METADATA = {"ss_network_dim": "4", "ss_base_model_version": "anima", "bakery_trigger": "suzu"}
Q = "lora_unet_blocks_0_self_attn_q_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return TINY["anima"](tmp_path_factory.mktemp("flowing"))


@pytest.fixture(scope="module")
def base(folder):
    return registry.load(str(folder))


@pytest.fixture(scope="module")
def state(base) -> dict[str, torch.Tensor]:
    """A LoRA of dim 4 and alpha 2 on all layers that any trainer's file may have."""
    generator = torch.Generator().manual_seed(1)
    network = LoRANetwork(base.targets(convolutions=True), 4, 2.0, generator)
    with torch.no_grad():
        for layer in network.layers.values():
            layer.ups[0].normal_(std=0.3, generator=generator)
    return network.state_dict_kohya()


def deltas(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layer -> what it adds to the weight."""
    found = {}
    for name in {key.partition(".")[0] for key in state}:
        down, up = state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"]
        alpha = float(state.get(f"{name}.alpha", len(down)))
        found[name] = alpha / len(down) * up @ down
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    one, other = deltas(one), deltas(other)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_every_layer_has_a_path_and_every_path_its_layer(base, state) -> None:
    written = file_forms.dotted(state)
    assert not any("alpha" in key for key in written)
    paths = {key.rpartition(".lora_")[0] for key in written}
    assert "diffusion_model.blocks.0.self_attn.q_proj" in paths
    assert "diffusion_model.llm_adapter.blocks.1.mlp.2" in paths
    theirs = lora_conversion_utils._convert_non_diffusers_anima_lora_to_diffusers(written)
    layers = {f"transformer.{path}" for path, _ in base.transformer.named_modules()} | {
        f"text_conditioner.{path}" for path, _ in base.text.conditioner.named_modules()
    }
    assert {key.rpartition(".lora_")[0] for key in theirs} <= layers
    for path in paths:
        name = lora_names.name_of(path)
        assert lora_names.path_of(name) == path


def renamed(state: dict[str, torch.Tensor], program: str) -> dict[str, torch.Tensor]:
    """The file of another program, written after its own code."""
    written = file_forms.dotted(state)
    plain = {k.removeprefix("diffusion_model."): v for k, v in written.items()}
    if program == "the makers":
        return written
    if program == "OneTrainer, original":  # keeps alphas, and has no prefix
        found = {}
        for key, value in state.items():
            name, _, word = key.partition(".")
            path = lora_names.path_of(name).removeprefix("diffusion_model.")
            found[f"{path}.{word.replace('lora_down', 'lora_A').replace('lora_up', 'lora_B')}"] = (
                value
            )
        return found
    if program == "peft":
        return {f"base_model.model.{k}".replace(".weight", ".default.weight"): v
                for k, v in plain.items()}  # fmt: skip
    found = {}
    for key, value in plain.items():
        path, _, word = key.rpartition(".lora_")
        adapter = path.startswith(names.ADAPTER)
        there = path.removeprefix(names.ADAPTER) if adapter else names.to_diffusers(path)
        part = "text_conditioner" if adapter else "transformer"
        found[f"{part}.{there}.lora_{word}"] = value
    return found


@pytest.mark.parametrize("program", ["the makers", "OneTrainer, original", "peft", "diffusers"])
def test_every_program_s_file_is_read(base, state, program: str) -> None:
    theirs = renamed(state, program)
    assert registry.family_of_lora(theirs) is base.family
    assert file_forms.form_of(theirs) == file_forms.DOTTED
    read = file_forms.kohya(theirs)
    assert same(read, state)
    network = LoRANetwork.for_files(base.targets(convolutions=True), [read])
    assert all(weights is not None for weights in network.fitted(read).values())
    assert file_forms.kohya(state) == state, "kohya's own names stay"


def test_what_is_in_two_forms_or_of_another_kind_is_refused(base, state) -> None:
    twice = state | file_forms.dotted({k: v for k, v in state.items() if k.startswith(f"{Q}.")})
    with pytest.raises(BakeryError, match="is there in two forms"):
        file_forms.kohya(twice)
    with pytest.raises(BakeryError, match=f"{Q} has no lora_up.weight: the file is incomplete"):
        file_forms.dotted({k: v for k, v in state.items() if k != f"{Q}.lora_up.weight"})
    for word, kind in (("lokr_w1", "a LoKr"), ("hada_w1_a", "a LoHa"), ("dora_scale", "a DoRA")):
        strange = {f"diffusion_model.blocks.0.mlp.layer1.{word}": torch.zeros(2)}
        with pytest.raises(BakeryError, match=f"{word} is of {kind}: only plain LoRAs are read"):
            file_forms.kohya(strange)
    qwen = {"lora_te_layers_0_self_attn_q_proj.lora_down.weight": torch.zeros(4, 8)}
    with pytest.raises(BakeryError, match=r"adapters on the text encoder.*Anima model takes none"):
        LoRANetwork.for_files(base.targets(convolutions=True), [state]).fitted(state | qwen)


@pytest.mark.parametrize("precision", lora_file.DTYPES)
def test_the_scale_is_taken_in_before_the_numbers_become_short(state, precision: str) -> None:
    dtype = lora_file.DTYPES[precision]
    written = file_forms.dotted(state, dtype)
    assert {value.dtype for value in written.values()} == {dtype}
    up = state[f"{Q}.lora_up.weight"] * 0.5  # alpha 2 of dim 4
    assert torch.equal(
        written["diffusion_model.blocks.0.self_attn.q_proj.lora_B.weight"], up.to(dtype)
    )


def test_both_forms_are_drawn_alike(folder, state, tmp_path) -> None:
    pipeline = ImagePipeline.load(
        Sample(sampler="Euler", steps=2, width=32, height=32), base=str(folder), device="cpu"
    )
    pictures = []
    for name, tensors in (("kohya", state), ("dotted", file_forms.dotted(state))):
        file = tmp_path / f"{name}.safetensors"
        save_file(tensors, file)
        pipeline.check(file)
        pipeline.use([(None, 0.0), (file, 1.0)])
        drawn, finite = pipeline.draw([ImageRequest(k, "suzu, smile", 1) for k in range(2)])
        assert all(finite)
        assert drawn[0].tobytes() != drawn[1].tobytes(), "the LoRA changes the picture"
        pictures.append(drawn[1].tobytes())
    assert pictures[0] == pictures[1]


def test_a_bake_saves_either_form(folder, layout, tmp_path) -> None:
    settings = SMALL | {"base": str(folder), "text_encoder_lr": 0, "num_epochs": 1, "max_steps": 1}
    files = {}
    for form in (file_forms.KOHYA, file_forms.DOTTED):
        spec = TrainSpec(Train(**settings, save_format=form, timestep_sampling="shift",
                               discrete_flow_shift=3.0), tmp_path / form, "suzu", {})  # fmt: skip
        Trainer(layout, cache=tmp_path / "cache").fit_one(spec)
        files[form] = lora_file.read_lora(tmp_path / form / "suzu.safetensors")
    (kohya, said), (dotted, also) = files.values()
    assert f"{Q}.alpha" in kohya
    assert sorted(dotted) == sorted(file_forms.dotted(kohya))
    assert dotted.keys() == file_forms.dotted(file_forms.kohya(dotted)).keys()
    expected = {
        "ss_base_model_version": "anima", "ss_network_module": "networks.lora_anima",
        "ss_timestep_sampling": "shift", "ss_discrete_flow_shift": "3.0", "ss_sigmoid_scale": "1.0",
        "ss_weighting_scheme": "uniform", "ss_logit_mean": "0.0", "ss_logit_std": "1.0",
        "ss_mode_scale": "1.29", "ss_clip_skip": "None", "ss_max_token_length": "None",
        "modelspec.architecture": "anima-preview/lora", "modelspec.prediction_type": "epsilon",
        "modelspec.implementation": "https://huggingface.co/circlestone-labs/Anima",
    }  # fmt: skip
    for metadata in (said, also):
        assert {name: metadata.get(name) for name in expected} == expected
        assert metadata["sshs_model_hash"]


def converted(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "convert", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_is_converted_there_and_back(state, tmp_path) -> None:
    file, there, back = (tmp_path / f"{n}.safetensors" for n in ("a", "b", "c"))
    first = lora_file.write(file, state, METADATA)
    run = converted(file, "--to", there)
    assert run.returncode == 0, run.stderr
    assert f"in the form diffusion_model: {len(deltas(state))} layers" in run.stdout
    tensors, metadata = lora_file.read_lora(there)
    assert METADATA.items() <= metadata.items()
    assert metadata["sshs_model_hash"] == lora_file.model_hash(there) != first
    assert metadata[lora_file.CONVERTED] == first
    file_forms.convert(there, back)
    again, metadata = lora_file.read_lora(back)
    assert same(again, state)
    assert same(file_forms.kohya(tensors), state)
    assert {float(v) for k, v in again.items() if k.endswith("alpha")} == {4.0}, (
        "sd-scripts wants it"
    )
    assert metadata[lora_file.CONVERTED] == first
    with pytest.raises(BakeryError, match=r"a.safetensors: LoRA: it has the form kohya already"):
        file_forms.convert(file, tmp_path / "d.safetensors", file_forms.KOHYA)


def test_nothing_is_replaced_and_stable_diffusion_has_no_second_form(tmp_path) -> None:
    sd = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": torch.zeros(2, 4),
          "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": torch.zeros(4, 2)}  # fmt: skip
    lora_file.write(tmp_path / "sd.safetensors", sd, {})
    run = converted(tmp_path / "sd.safetensors", "--to", tmp_path / "new.safetensors")
    assert run.returncode == 1
    assert "LoRAs for SD 1.x can only be written in the form kohya" in run.stderr
    run = converted(tmp_path / "sd.safetensors", "--to", tmp_path / "sd.safetensors")
    assert "exists already" in run.stderr
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path / "missing.safetensors", tmp_path):
        run = converted(odd, "--to", tmp_path / "new.safetensors")
        assert run.returncode == 1
        assert "cannot be read" in run.stderr
        assert run.stderr.count("\n") == 1
    assert not (tmp_path / "new.safetensors").exists()


def test_what_it_was_made_from_is_found_in_either_form(state, tmp_path) -> None:
    train = tmp_path / "results/train/suzu-abc"
    train.mkdir(parents=True)
    model_hash = lora_file.write(train / "suzu.safetensors", state, METADATA)
    (train / "epochs.csv").write_text(
        f"epoch,step,file,sshs_model_hash,loss\n1,1,suzu.safetensors,{model_hash},0.1\n"
    )
    file_forms.convert(train / "suzu.safetensors", tmp_path / "mine.safetensors")
    found = origin.find(tmp_path / "mine.safetensors", tmp_path / "results")
    assert found.trained is not None
    assert found.trained[0] == train
    assert not found.doubts
