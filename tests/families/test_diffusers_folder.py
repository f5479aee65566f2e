import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load, save_file
from tiny_base import tiny_sd1, tiny_sdxl
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bakery.families import registry
from bakery.families.sd import SD1
from bakery.io.errors import BakeryError

SHORT = ["cat", "a dog, 1girl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd1(tmp_path_factory.mktemp("base"), max_length=20)


@pytest.fixture(scope="module")
def base(folder):
    return registry.load(str(folder))


@pytest.fixture
def broken(folder, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "base"))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(path, *words):
    with pytest.raises(BakeryError) as caught:
        registry.load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def test_all_parts_are_frozen(base):
    for part in (base.unet, base.vae, *base.text_encoders):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


def test_facts_come_from_the_model(base):
    assert (base.family.name, base.prediction_type, base.zero_terminal_snr) == (
        "sd1",
        "v_prediction",
        True,
    )
    assert (base.latents.pixels, base.chunk_size) == (8, 18)
    assert base.noise_scheduler.alphas_cumprod[-1] == 0  # zero terminal SNR


def test_epsilon_model_keeps_its_schedule(tmp_path):
    base = registry.load(str(tiny_sd1(tmp_path, prediction_type="epsilon")))
    assert base.prediction_type == "epsilon"
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    assert torch.allclose(base.noise_scheduler.alphas_cumprod, (1 - betas).cumprod(0), atol=1e-6)


def test_dtype(folder):
    base = registry.load(str(folder), dtype=torch.bfloat16)
    assert {p.dtype for p in base.unet.parameters()} == {torch.bfloat16}
    assert base.encode(SHORT)["hidden"].dtype == torch.bfloat16


def test_nothing_there(tmp_path):
    refused(tmp_path / "nowhere", "there is no model")


def test_folder_of_something_else(tmp_path):
    refused(tmp_path, "model_index.json")


def test_index_that_is_no_json(broken):
    (broken / "model_index.json").write_text("{")
    with pytest.raises(BakeryError, match="is not a diffusers index"):
        registry.load(str(broken))


@pytest.mark.parametrize("part", SD1.folders)
def test_missing_part(broken, part):
    shutil.rmtree(broken / part)
    refused(broken, f"lacks its {part} folder")


@pytest.mark.slow
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
    refused(broken, f"{part}/{file} is damaged", f"instead of {len(whole):,}")
    weights.unlink()
    refused(broken, f"cannot read {part}")
    save_file({k: v for k, v in state.items() if k != key}, weights, {"format": "pt"})
    refused(broken, f"{part} of", "lacks the weight")
    state[key].view(-1)[3] = float("nan")
    save_file(state, weights, {"format": "pt"})
    refused(broken, "NaN", key.removeprefix("text_model."))


def test_other_families(broken):
    index = broken / "model_index.json"
    for kind in ("StableDiffusion3Pipeline", "FluxPipeline"):
        edit(index, _class_name=kind)
        refused(broken, kind, "SD 1.x, SDXL or Anima")
    edit(index, _class_name="StableDiffusionXLPipeline")
    refused(broken, "lacks its text_encoder_2 folder")


def test_prediction_that_cannot_be_trained(broken):
    edit(broken / "scheduler" / "scheduler_config.json", prediction_type="sample")
    refused(broken, "prediction_type sample")


def test_text_encoder_of_another_model(broken, tmp_path):
    stranger = registry.load(str(broken)).text_encoders[0].config.to_dict()
    stranger |= {"hidden_size": 32}
    CLIPTextModel(CLIPTextConfig(**stranger)).save_pretrained(broken / "text_encoder")
    refused(broken, "width 16", "gives 32")


def test_inpainting_model(broken):
    config = json.loads((broken / "unet" / "config.json").read_text())
    UNet2DConditionModel.from_config(config | {"in_channels": 9}).save_pretrained(broken / "unet")
    refused(broken, "takes 9 channels", "inpainting")


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.mark.slow
def test_sdxl(sdxl_folder):
    base = registry.load(str(sdxl_folder), dtype=torch.bfloat16)
    assert (base.family.name, base.prediction_type, base.zero_terminal_snr) == (
        "sdxl",
        "epsilon",
        False,
    )
    assert [type(encoder) for encoder in base.text_encoders] == [
        CLIPTextModel, CLIPTextModelWithProjection,
    ]  # fmt: skip
    assert [tokenizer.pad_token for tokenizer in base.tokenizers] == ["<|endoftext|>", "!"]
    assert (base.unet.dtype, base.vae.dtype) == (torch.bfloat16, torch.float32)


def test_sdxl_with_v_prediction(tmp_path):
    base = registry.load(str(tiny_sdxl(tmp_path, prediction_type="v_prediction")))
    assert (base.family.name, base.prediction_type, base.zero_terminal_snr) == (
        "sdxl", "v_prediction", True,
    )  # fmt: skip
    assert base.noise_scheduler.alphas_cumprod[-1] == 0


def kohyas_zero_snr(betas):
    """Algorithm 1 of https://arxiv.org/abs/2305.08891, as kohya's scripts have it."""
    roots = (1 - betas).cumprod(0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    return ((roots - last) * first / (first - last)) ** 2


def test_settings_that_overrule_the_model(sdxl_folder, folder):
    plain = DDPMScheduler.from_pretrained(sdxl_folder, subfolder="scheduler").betas
    base = registry.load(str(sdxl_folder), v_parameterization=True, zero_terminal_snr=True)
    assert (base.prediction_type, base.zero_terminal_snr) == ("v_prediction", True)
    assert base.noise_scheduler.config.timestep_spacing == "trailing"
    expected = kohyas_zero_snr(plain)
    assert torch.allclose(base.noise_scheduler.alphas_cumprod, expected, atol=1e-5)
    base = registry.load(str(folder), v_parameterization=False, zero_terminal_snr=False)
    assert (base.prediction_type, base.zero_terminal_snr) == ("epsilon", False)
    with pytest.raises(BakeryError, match=r"predicts the noise .* zero terminal SNR") as caught:
        registry.load(str(sdxl_folder), zero_terminal_snr=True)
    assert "\n" not in str(caught.value)


def test_parts_of_another_sdxl(sdxl_folder, tmp_path):
    broken = Path(shutil.copytree(sdxl_folder, tmp_path / "base"))
    second = registry.load(str(broken)).text_encoders[1].config.to_dict()
    other = CLIPTextModelWithProjection(CLIPTextConfig(**(second | {"projection_dim": 32})))
    other.save_pretrained(broken / "text_encoder_2")
    refused(broken, "pooled text of width 24", "gives 32")
    shutil.rmtree(broken / "text_encoder_2")
    refused(broken, "lacks its text_encoder_2 folder")
