"""Anima: files of its parts, what is refused, how times are drawn, and that pictures are diffusers'."""

from __future__ import annotations

import dataclasses
import math
import types

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import CosmosTransformer3DModel, ModularPipeline
from safetensors.torch import save_file
from single_file import anima_transformer, wan_vae
from tiny_base import tiny_anima, tiny_sdxl, tiny_vae
from transformers import Qwen2Tokenizer

from bakery.families import recognise, registry
from bakery.families.anima import shapes, text
from bakery.families.anima.flow import RectifiedFlow
from bakery.families.anima.model import AnimaModel
from bakery.families.family import Drawing
from bakery.io.errors import BakeryError
from bakery.settings.train import Train

PROMPTS = ["mirael, smile", "cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model whose texts have as many tokens as the published one's."""
    return tiny_anima(tmp_path_factory.mktemp("anima"), floor=shapes.FLOOR)


@pytest.fixture(scope="module")
def model(folder):
    return registry.load(str(folder))


@pytest.fixture(scope="module")
def pieces(folder, model, tmp_path_factory):
    """The same model as the files that people have of it, in a folder with nothing else."""
    place = tmp_path_factory.mktemp("pieces")
    text = model.text.encoder.state_dict()
    save(anima_transformer(model), place / "anima.safetensors")
    save({f"model.{key}": value for key, value in text.items()}, place / "qwen_3.safetensors")
    save(wan_vae(model.vae), place / "vae.safetensors")
    return {
        "checkpoint": str(place / "anima.safetensors"),
        "text_encoder": str(place / "qwen_3.safetensors"),
        "vae": str(place / "vae.safetensors"),
        "tokenizer": str(folder / "tokenizer"),
        "t5_tokenizer": str(folder),
    }


def save(state, path):
    """Writes tensors and returns the path as a config has it."""
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return str(path)


@torch.no_grad()
def answer(model):
    """What the model says to a picture that went through its VAE, under noise."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(2, 3, 32, 48, generator=generator) * 2 - 1
    latents = model.latents.normalise(model.latents.encode(pixels)[0])
    noise, t = model.noise.draw(latents.shape, generator)
    return model.predict(model.noise.noisy(latents, noise, t), t, model.encode(PROMPTS))


def test_files_of_its_parts_are_the_folder(model, pieces):
    assert torch.allclose(answer(registry.load(pieces)), answer(model), atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model.net."])
def test_any_prefix_is_read(model, pieces, tmp_path, prefix):
    state = anima_transformer(model, prefix)
    state[f"{prefix}pos_embedder.seq"] = torch.arange(4)
    file = save(state, tmp_path / "x.safetensors")
    assert torch.allclose(
        answer(registry.load(pieces | {"checkpoint": file})), answer(model), atol=1e-5
    )


def test_parts_may_be_folders_and_a_folders_parts_may_be_replaced(folder, model, pieces, tmp_path):
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    place = pieces | {"text_encoder": str(folder / "text_encoder"), "vae": str(vae)}
    assert torch.allclose(answer(registry.load(place)), answer(model), atol=1e-5)
    other = {key: value * 2 for key, value in wan_vae(model.vae).items()}
    place = {"checkpoint": str(folder), "vae": save(other, tmp_path / "vae.safetensors")}
    assert not torch.allclose(answer(registry.load(place)), answer(model), atol=1e-2)


def test_the_number_of_blocks_is_the_files(pieces, tmp_path):
    deep = registry.load(str(tiny_anima(tmp_path, blocks=3)))
    file = save(anima_transformer(deep), tmp_path / "x.safetensors")
    found = registry.load(pieces | {"checkpoint": file})
    assert len(found.transformer.transformer_blocks) == 3
    assert len(list(found.targets())) == 30


def test_a_family_is_told_by_its_tensors(model, pieces, tmp_path):
    shown = {key: tuple(value.shape) for key, value in anima_transformer(model).items()}
    for prefix, what in {
        "net.llm_adapter.": "a Cosmos-Predict2 model without Anima's text adapter",
        "net.": "not a supported model",
    }.items():
        left = {key: shape for key, shape in shown.items() if not key.startswith(prefix)}
        with pytest.raises(BakeryError, match=f"x is {what}"):
            registry.recognised("x", recognise.Header(left))
    for key, what in {
        "transformer_blocks.0.img_mod.1.weight": "a Qwen-Image model",
        "model.diffusion_model.blocks.0.self_attn.norm_q.weight": "a Wan model",
        "transformer_blocks.0.norm1.linear_1.weight": "a transformer alone",
        "diffusion_model.blocks.0.mlp.layer1.lora_A.weight": "a LoRA",
    }.items():
        with pytest.raises(BakeryError, match=f"x is {what}"):
            registry.recognised("x", recognise.Header({key: (1, 1)}))
    for part, what in {"text_encoder": "a language model", "vae": "a VAE alone"}.items():
        with pytest.raises(BakeryError, match=what):
            registry.family_of(pieces[part])


def test_parts_of_other_models_are_refused_without_torch(model, pieces, tmp_path):
    wide = dict(model.text.encoder.state_dict())
    wide["embed_tokens.weight"] = torch.zeros(257, 32)
    fp8 = anima_transformer(model) | {"net.blocks.0.mlp.layer1.scale_weight": torch.ones(1)}
    more = anima_transformer(model) | {"net.blocks.0.mlp.layer3.weight": torch.ones(1)}
    small = wan_vae(model.vae) | {"conv2.weight": torch.zeros(48, 48, 1, 1, 1)}
    sdxl = {f"first_stage_model.{key}": value for key, value in tiny_vae().state_dict().items()}
    clip = {"text_model.embeddings.token_embedding.weight": torch.zeros(2, 2)}
    for part, state, says in (
        ("vae", sdxl, r"train\.base\.vae: .* is a VAE of Stable Diffusion"),
        ("vae", small, "latents of 16 channels, and the VAE in .* gives 48"),
        ("text_encoder", clip, r"train\.base\.text_encoder: .* is no text encoder of Qwen3's kind"),
        ("text_encoder", wide, "takes text of width 16, and the text encoder in .* gives 32"),
        ("checkpoint", fp8, r"has weights in scaled fp8 in it \(net\.blocks\.0\.mlp"),
        ("checkpoint", more, "has 1 weights that Anima's has not"),
    ):
        with pytest.raises(BakeryError, match=says):
            registry.family_of(pieces | {part: save(state, tmp_path / "x.safetensors")})
    with pytest.raises(BakeryError, match="is Anima's transformer alone: name its other parts"):
        registry.family_of(pieces["checkpoint"])


def test_what_the_files_lack_is_named(folder, model, pieces, tmp_path):
    without = {name: path for name, path in pieces.items() if name != "t5_tokenizer"}
    with pytest.raises(BakeryError, match="name t5_tokenizer in"):
        registry.load(without)
    with pytest.raises(BakeryError, match=r"t5_tokenizer: cannot read .*: give a folder with T5"):
        registry.load(pieces | {"t5_tokenizer": str(folder / "tokenizer")})
    few = str(tmp_path / "few")
    Qwen2Tokenizer(vocab={letter: i for i, letter in enumerate("abc")}, merges=[]).save_pretrained(
        few
    )
    with pytest.raises(BakeryError, match=r"tokenizer of .* has 4 words, and the model knows 257"):
        registry.load(pieces | {"tokenizer": few})
    sdxl = tiny_sdxl(tmp_path / "sdxl")
    with pytest.raises(BakeryError, match=r"train\.base\.text_encoder: .* holds a clip_text_model"):
        registry.load(pieces | {"text_encoder": str(sdxl / "text_encoder")})
    with pytest.raises(BakeryError, match=r"train\.base\.vae: .* holds a AutoencoderKL"):
        registry.load(pieces | {"vae": str(sdxl / "vae")})
    state = anima_transformer(model)
    lacking = {
        key: value for key, value in state.items() if "blocks.1.cross_attn.q_proj" not in key
    }
    with pytest.raises(BakeryError, match=r"lacks the weight transformer_blocks\.1\.attn2"):
        registry.load(pieces | {"checkpoint": save(lacking, tmp_path / "x.safetensors")})
    state["net.final_layer.linear.weight"] = torch.full((64, 32), math.nan)
    with pytest.raises(BakeryError, match="NaN or infinite values in proj_out"):
        registry.load(pieces | {"checkpoint": save(state, tmp_path / "x.safetensors")})


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"min_snr_gamma": 5.0}, "no noise schedule to weigh by"),
        ({"v_parameterization": True}, "always predicts the velocity"),
        ({"zero_terminal_snr": True}, "no noise schedule"),
        ({"noise_offset": 0.05}, "begin as plain noise"),
        ({"clip_skip": 2}, "has no CLIP"),
        ({"conv_dim": 4}, "no convolutions"),
        ({"max_token_length": 75}, "reads up to 512 tokens"),
        ({"text_encoder_lr": 1e-4}, "language model that is not trained"),
        ({"unet_lr": 0.0}, "nothing of Anima is trained besides its transformer"),
        ({"mixed_precision": "fp16"}, "leaves the range of fp16"),
        ({"resolution": 2304, "max_bucket_reso": 2560}, "no positions beyond 2048 pixels"),
    ],
)
def test_settings_that_do_nothing_are_refused(model, setting, why):
    settings = Train(**setting).model_dump()
    with pytest.raises(BakeryError, match=why):
        registry.check(model.family, "x", settings)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"timestep_sampling": "sigma"}, "take one of uniform, sigmoid"),
        ({"discrete_flow_shift": 3.0}, "does nothing with timestep_sampling sigmoid: take shift"),
        ({"timestep_sampling": "uniform", "sigmoid_scale": 2.0}, "take sigmoid or shift"),
        ({"logit_mean": 1.0}, "take logit_normal"),
        ({"weighting_scheme": "logit_normal"}, "weighs no loss"),
    ],
)
def test_so_are_those_of_its_flow(model, setting, why):
    with pytest.raises(BakeryError, match=why):
        model.family.check(setting)


def test_samplers_without_a_flow_are_refused(model):
    registry.check_sampler(model.family, "Euler")
    with pytest.raises(BakeryError, match="DDIM, which does not fit an Anima model: take Euler or"):
        registry.check_sampler(model.family, "DDIM")


def test_times_are_drawn_as_sd_scripts_draws_them():
    normal = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    s = torch.sigmoid(2 * normal)
    for settings, expected in (
        ({}, torch.sigmoid(normal)),
        ({"sigmoid_scale": 2.0}, s),
        (
            {"timestep_sampling": "shift", "sigmoid_scale": 2.0, "discrete_flow_shift": 3.0},
            (s * 3) / (1 + (3 - 1) * s),
        ),
        (
            {"timestep_sampling": "logit_normal", "logit_mean": 0.5, "logit_std": 2.0},
            torch.sigmoid(0.5 + 2 * normal),
        ),
    ):
        found = RectifiedFlow().set_by(settings).times(1000, torch.Generator().manual_seed(1))
        assert torch.allclose(found, expected)
    uniform = RectifiedFlow("uniform").times(10_000, torch.Generator().manual_seed(1))
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.std() - math.sqrt(1 / 12)) < 0.01


def test_times_are_weighed_as_sd_scripts_weighs_them():
    t = torch.tensor([0.25, 0.5, 1.0])
    assert RectifiedFlow().weights(t) is None
    assert torch.allclose(
        RectifiedFlow(weighting_scheme="sigma_sqrt").weights(t), torch.tensor([16.0, 4.0, 1.0])
    )
    cosmap = RectifiedFlow(weighting_scheme="cosmap").weights(t)
    assert torch.allclose(cosmap, 2 / (math.pi * torch.tensor([0.625, 0.5, 1.0])))


def test_noise_is_mixed_in_along_a_line():
    flow, t = RectifiedFlow(), torch.tensor([0.0, 0.25, 1.0])
    x, e = torch.full((3, 1, 1, 1), 2.0), torch.full((3, 1, 1, 1), 4.0)
    assert flow.noisy(x, e, t).flatten().tolist() == [2.0, 2.5, 4.0]
    assert flow.target(x, e, t).flatten().tolist() == [2.0, 2.0, 2.0]
    assert flow.snr(t)[1] == 9.0


def test_targets_are_those_of_sd_scripts():
    """280 modules with 1,433,600 weights a rank in the published shape."""
    with init_empty_weights():
        transformer = CosmosTransformer3DModel(
            num_attention_heads=16, rope_scale=(1.0, 4.0, 4.0), extra_pos_embed_type=None
        )
    base = types.SimpleNamespace(transformer=transformer)
    found = list(AnimaModel.targets(base))
    assert len(found) == 280
    assert sum(sum(target.layer.weight.shape) for target in found) == 1_433_600
    assert {target.name for target in found} == {
        f"lora_unet_blocks_{i}_{layer}"
        for i in range(28)
        for layer in (
            *(f"{a}_attn_{p}_proj" for a in ("self", "cross") for p in ("q", "k", "v", "output")),
            "mlp_layer1",
            "mlp_layer2",
        )
    }


def test_layers_that_other_trainers_adapt_can_be_read(model):
    every = {target.name for target in model.targets(convolutions=True)}
    assert every > {target.name for target in model.targets()}
    for name in (
        "blocks_0_adaln_modulation_self_attn_1",
        "x_embedder_proj_1",
        "t_embedder_1_linear_2",
        "final_layer_linear",
        "llm_adapter_blocks_1_self_attn_o_proj",
        "llm_adapter_blocks_0_mlp_2",
    ):
        assert f"lora_unet_{name}" in every


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_blocks_0_self_attn_q_proj.lora_down.weight",
        "lora_unet_llm_adapter_blocks_0_mlp_0.alpha",
        "diffusion_model.blocks.27.mlp.layer2.lora_B.weight",
        "diffusion_model.llm_adapter.blocks.0.cross_attn.q_proj.lora_A.weight",
    ],
)
def test_its_loras_are_told_by_their_keys(model, key):
    assert registry.family_of_lora([key]) is model.family


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_blocks_0_self_attn_q.lora_down.weight",  # Wan's
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight",  # Flux's
    ],
)
def test_loras_of_others_are_not_its(key):
    assert registry.family_of_lora([key]) is None


@torch.no_grad()
def test_a_text_without_tokens_and_one_that_is_cut(model):
    found = model.encode(["", "x" * 2000])["hidden"]
    assert torch.isfinite(found).all()
    assert (found[0, 1:] == 0).all()  # but for T5's end
    assert (found[1] != 0).any(dim=-1).all()
    assert model.text.tokens("").text == []
    assert torch.allclose(model.encode([""])["hidden"], found[:1], atol=1e-6)


def test_tokens_of_so_many_captions_are_kept(model, monkeypatch):
    """Shuffled captions are new each time; a bake of many pictures shows millions."""
    monkeypatch.setattr(text, "_KEPT", 3)
    side = dataclasses.replace(model.text)
    captions = [f"mirael, {word}" for word in ("smile", "cat", "hat", "sea", "sky")]
    expected = [model.text.tokens(caption) for caption in captions]
    assert [side.tokens(caption) for caption in captions] == expected
    assert 0 < len(side._tokens) <= 3
    assert side.tokens(captions[-1]) is side.tokens(captions[-1])


@pytest.fixture
def pipeline(folder, monkeypatch):
    """diffusers' own; what it takes torchvision for is done by torch."""

    def resize(mask, size, interpolation):
        return torch.nn.functional.interpolate(mask, size=size, mode=interpolation)

    stand_in = types.SimpleNamespace(
        functional=types.SimpleNamespace(resize=resize),
        InterpolationMode=types.SimpleNamespace(NEAREST="nearest"),
    )
    monkeypatch.setattr(
        "diffusers.models.transformers.transformer_cosmos.transforms", stand_in, raising=False
    )
    made = ModularPipeline.from_pretrained(str(folder))
    made.load_components(torch_dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made


@torch.inference_mode()
def test_pictures_are_those_of_diffusers(model, pipeline):
    start = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    wanted = pipeline(
        prompt=PROMPTS, negative_prompt=["bad"] * 2, latents=start[:, :, None], height=32, width=48,
        num_inference_steps=4, output_type="pt",
    )  # fmt: skip
    text, negative = model.encode(PROMPTS), model.encode(["bad"] * 2)
    assert torch.equal(text["hidden"], wanted.get("prompt_embeds"))
    latents = model.draw(text, negative, start, Drawing("Euler", 4, 4.0), [])
    assert torch.allclose(latents, wanted.get("latents")[:, :, 0], atol=1e-5)
    pictures = (model.latents.decode(latents) / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(pictures, wanted.get("images"), atol=1e-5)


@torch.inference_mode()
def test_other_samplers_end_near_the_same_picture(model):
    """They follow the same flow."""
    start = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    text = model.encode(["cat"])
    drawn = [
        model.draw(text, text, start, Drawing(sampler, 20, 1.0), [])
        for sampler in model.family.samplers
    ]
    for other in drawn[1:]:
        assert (other - drawn[0]).abs().mean() < 0.05 * (drawn[0] - start).abs().mean()
