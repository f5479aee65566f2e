import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load, save_file
from tiny_base import tiny_sd1

from bakery import base as bases
from bakery.errors import BakeryError

SHORT = ["cat", "a dog, 1girl"]
LONG = "mirael, pink hair, long hair, purple eyes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd1(tmp_path_factory.mktemp("base"), max_length=20)


@pytest.fixture(scope="module")
def base(folder):
    return bases.load(str(folder))


@pytest.fixture
def broken(folder, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "base"))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(path, *words):
    with pytest.raises(BakeryError) as caught:
        bases.load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_all_parts_are_frozen(base):
    for part in (base.unet, base.vae, base.text_encoder):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


def test_facts_come_from_the_model(base):
    assert base.prediction_type == "v_prediction"
    assert (base.pixels_per_latent, base.chunk_size) == (8, 18)
    assert base.noise_scheduler.alphas_cumprod[-1] == 0  # zero terminal SNR


def test_epsilon_model_keeps_its_schedule(tmp_path):
    base = bases.load(str(tiny_sd1(tmp_path, prediction_type="epsilon")))
    assert base.prediction_type == "epsilon"
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    assert torch.allclose(base.noise_scheduler.alphas_cumprod, (1 - betas).cumprod(0), atol=1e-6)


def test_dtype(folder):
    base = bases.load(str(folder), dtype=torch.bfloat16)
    assert {p.dtype for p in base.unet.parameters()} == {torch.bfloat16}
    assert bases.encode(base, SHORT, 2).dtype == torch.bfloat16


@torch.no_grad()
def test_short_prompts_as_in_the_stock_pipeline(folder, base):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    stock, _ = pipeline.encode_prompt(SHORT, "cpu", 1, False)
    assert torch.equal(bases.encode(base, SHORT, 1), stock)


@torch.no_grad()
def test_clip_skip_is_a_text_encoder_without_its_last_layers(folder, base):
    shorter = bases.load(str(folder))
    layers = getattr(shorter.text_encoder, "text_model", shorter.text_encoder).encoder.layers
    del layers[-1]
    assert torch.allclose(bases.encode(base, SHORT, 2), bases.encode(shorter, SHORT, 1), atol=1e-6)
    assert not torch.allclose(bases.encode(base, SHORT, 1), bases.encode(base, SHORT, 2), atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("clip_skip", [1, 3])
def test_long_prompt_is_encoded_in_chunks(base, clip_skip):
    body = base.tokenizer(LONG, add_special_tokens=False).input_ids
    assert 18 < len(body) <= 36
    bos, eos = base.tokenizer.bos_token_id, base.tokenizer.eos_token_id
    rest = body[18:] + [eos] * (36 - len(body))
    chunks = torch.tensor([[bos, *body[:18], eos], [bos, *rest, eos]])
    states = base.text_encoder(chunks, output_hidden_states=True).hidden_states[-clip_skip]
    norm = getattr(base.text_encoder, "text_model", base.text_encoder).final_layer_norm
    first, second = norm(states)
    expected = torch.cat((first[:-1], second[1:]))
    # beside a short prompt, which gets an empty second chunk
    together = bases.encode(base, [LONG, "cat"], clip_skip)
    assert together.shape == (2, 2 + 2 * 18, 16)
    assert torch.allclose(together[0], expected, atol=1e-5)
    alone = bases.encode(base, ["cat"], clip_skip)[0]
    assert torch.allclose(together[1, :19], alone[:19], atol=1e-5)


def test_chunks_are_counted_and_limited(base):
    assert bases.chunks_needed(base, ["", "cat", "a" * 18, "a" * 19, "a" * 99]) == [1, 1, 1, 2, 6]
    assert bases.encode(base, ["a" * 99], 1).shape[1] == 2 + 3 * 18
    assert bases.encode(base, ["a" * 99], 1, max_chunks=1).shape[1] == 20


def test_clip_skip_beyond_the_layers(base):
    with pytest.raises(BakeryError, match=r"clip_skip is 4, .* has 3 layers"):
        bases.encode(base, SHORT, 4)


def test_nothing_there(tmp_path):
    refused(tmp_path / "nowhere", "there is no model")


def test_folder_of_something_else(tmp_path):
    refused(tmp_path, "model_index.json")


def test_index_that_is_no_json(broken):
    (broken / "model_index.json").write_text("{")
    with pytest.raises(BakeryError, match="is not a diffusers index"):
        bases.load(str(broken))


@pytest.mark.parametrize("part", bases.PARTS)
def test_missing_part(broken, part):
    shutil.rmtree(broken / part)
    refused(broken, f"lacks its {part} folder")


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("text_encoder", "model.safetensors"),
    ],
)
def test_damaged_weights(broken, part, file):
    weights = broken / part / file
    whole = weights.read_bytes()
    state = load(whole)
    key = sorted(key for key, value in state.items() if value.ndim > 1)[0]

    weights.write_bytes(whole[: len(whole) // 2])
    refused(broken, f"cannot read {part}")
    weights.unlink()
    refused(broken, f"cannot read {part}")
    save_file({k: v for k, v in state.items() if k != key}, weights, {"format": "pt"})
    refused(broken, f"{part} of", "lacks the weight")
    state[key].view(-1)[3] = float("nan")
    save_file(state, weights, {"format": "pt"})
    refused(broken, "NaN", key.removeprefix("text_model."))


def test_other_families(broken):
    index = broken / "model_index.json"
    for kind in ("StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline"):
        edit(index, _class_name=kind)
        refused(broken, kind, "SD1")


def test_prediction_that_cannot_be_trained(broken):
    edit(broken / "scheduler" / "scheduler_config.json", prediction_type="sample")
    refused(broken, "prediction_type sample")


def test_text_encoder_of_another_model(broken, tmp_path):
    stranger = bases.load(str(broken)).text_encoder.config.to_dict()
    stranger |= {"hidden_size": 32}
    from transformers import CLIPTextConfig, CLIPTextModel

    CLIPTextModel(CLIPTextConfig(**stranger)).save_pretrained(broken / "text_encoder")
    refused(broken, "width 16", "gives 32")


def test_inpainting_model(broken):
    from diffusers import UNet2DConditionModel

    config = json.loads((broken / "unet" / "config.json").read_text())
    UNet2DConditionModel.from_config(config | {"in_channels": 9}).save_pretrained(broken / "unet")
    refused(broken, "takes 9 channels", "inpainting")


# (diffusers name, name in a checkpoint); the UNet of tiny_sd1 has one layer a block, two levels
UNET_BLOCKS = [
    ("conv_in", "input_blocks.0.0"),
    ("down_blocks.0.resnets.0", "input_blocks.1.0"),
    ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
    ("down_blocks.1.resnets.0", "input_blocks.3.0"),
    ("down_blocks.1.attentions.0", "input_blocks.3.1"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
    ("up_blocks.0.resnets.0", "output_blocks.0.0"),
    ("up_blocks.0.attentions.0", "output_blocks.0.1"),
    ("up_blocks.0.resnets.1", "output_blocks.1.0"),
    ("up_blocks.0.attentions.1", "output_blocks.1.1"),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.2.conv"),
    ("up_blocks.1.resnets.0", "output_blocks.2.0"),
    ("up_blocks.1.resnets.1", "output_blocks.3.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
]
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_NAMES = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
]


def checkpoint_of(base) -> dict[str, torch.Tensor]:
    """The model's weights under the names of a single-file checkpoint."""
    state = {}
    for key, value in base.unet.state_dict().items():
        ours, theirs = next(pair for pair in UNET_BLOCKS if key.startswith(f"{pair[0]}."))
        inner = key.removeprefix(f"{ours}.")
        if ".resnets." in ours:
            name, kind = inner.rsplit(".", 1)
            inner = f"{UNET_RESNET[name]}.{kind}"
        state[f"model.diffusion_model.{theirs}.{inner}"] = value
    for key, value in base.vae.state_dict().items():
        if "mid_block.attentions" in key and value.ndim == 2:
            value = value[..., None, None]  # checkpoints have 1x1 convolutions there
        for pattern, name in VAE_NAMES:
            key = re.sub(pattern, name, key)
        state[f"first_stage_model.{key}"] = value
    for key, value in base.text_encoder.state_dict().items():
        key = key.removeprefix("text_model.")
        state[f"cond_stage_model.transformer.text_model.{key}"] = value
    return {key: value.contiguous() for key, value in state.items()}


@torch.no_grad()
def test_single_checkpoint_beside_its_configs(base, broken):
    save_file(checkpoint_of(base), broken / "model.safetensors")
    for part in ("unet", "vae", "text_encoder"):
        for weights in (broken / part).glob("*.safetensors"):
            weights.unlink()
    single = bases.load(str(broken / "model.safetensors"))
    assert single.prediction_type == "v_prediction"
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = (getattr(model, part).state_dict() for model in (base, single))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(bases.encode(single, SHORT, 2), bases.encode(base, SHORT, 2))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("conditioner.embedders.0.transformer.x", ("SDXL", "SD1")),
        ("cond_stage_model.model.x", ("SD 2", "SD1")),
        ("lora_unet_x.lora_down.weight", ("is a LoRA",)),
        ("model.diffusion_model.x", ("no first_stage_model",)),
    ],
)
def test_checkpoints_that_are_not_sd1(tmp_path, key, words):
    file = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(2)}, file)
    refused(file, *words)


def test_damaged_checkpoint(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"model.diffusion_model.x": torch.zeros(99)}, file)
    file.write_bytes(file.read_bytes()[:-9])
    refused(file, "damaged")
    file.write_bytes(b"")
    refused(file, "damaged")


def test_pickled_checkpoint(tmp_path):
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"x")
    refused(file, "not a .safetensors file")
