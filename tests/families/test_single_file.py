"""One file as people download it: what it is, and that its weights arrive where they belong."""

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import save_file
from single_file import checkpoint_of
from tiny_base import TINY, tiny_vae

from bakery.families import loading, recognise, registry, single_file
from bakery.families import published as shapes_of
from bakery.families.recognise import Header
from bakery.families.weights import tensor_files
from bakery.io.errors import BakeryError

PROMPTS = ["cat", "a dog, 1girl"]


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def base(request, tmp_path_factory):
    return registry.load(str(TINY[request.param](tmp_path_factory.mktemp(request.param))))


@pytest.fixture
def beside(base, tmp_path):
    """The base's configs and tokenizers without its weights."""
    folder = Path(shutil.copytree(base.path, tmp_path / "base"))
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    return folder


def refused(path, *words):
    with pytest.raises(BakeryError) as caught:
        registry.load(str(path))
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


@torch.no_grad()
def same_model(base, single):
    assert single.family.name == base.family.name
    pairs = [(base.unet, single.unet), (base.vae, single.vae)]
    pairs += zip(base.text_encoders, single.text_encoders, strict=True)
    for ours, theirs in pairs:
        ours, theirs = ours.state_dict(), theirs.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = (model.encode(PROMPTS) for model in (base, single))
    assert torch.allclose(ours["hidden"], theirs["hidden"], atol=1e-5)
    noise, t = torch.randn(2, 4, 4, 4), torch.tensor([900, 30])
    answers = base.predict(noise, t, ours), single.predict(noise, t, theirs)
    assert torch.allclose(*answers, atol=1e-5)


@pytest.mark.slow
def test_checkpoint_beside_its_configs(base, beside):
    save_file(checkpoint_of(base), beside / "any name.safetensors")
    single = registry.load(str(beside / "any name.safetensors"))
    same_model(base, single)
    assert single.prediction_type == base.prediction_type


def test_the_marks_of_a_file_overrule_the_configs_beside_it(base, beside):
    config = beside / "scheduler" / "scheduler_config.json"
    plain = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
    config.write_text(json.dumps(json.loads(config.read_text()) | plain))
    state = checkpoint_of(base) | {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    save_file(state, beside / "model.safetensors")
    single = registry.load(str(beside / "model.safetensors"))
    assert (single.prediction_type, single.zero_terminal_snr) == ("v_prediction", True)


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_pickle_of_nothing_but_weights(base, beside, wrapped):
    state = checkpoint_of(base)
    torch.save({"state_dict": state, "global_step": 5} if wrapped else state, beside / "x.ckpt")
    same_model(base, registry.load(str(beside / "x.ckpt")))


def test_pickle_that_runs_code(tmp_path):
    class Code:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    file = tmp_path / "model.ckpt"
    torch.save({"state_dict": Code()}, file)
    refused(file, "could run code", "convert it to .safetensors")
    assert not (tmp_path / "ran").exists()
    file.write_bytes(b"x")
    refused(file, "damaged")
    torch.save([1, 2], file)
    refused(file, "holds a list")
    other = tmp_path / "model.txt"
    other.write_text("x")
    refused(other, "neither .safetensors nor .ckpt")


@pytest.mark.slow
def test_weights_that_are_missing_strange_or_broken(base, beside):
    file = beside / "model.safetensors"
    state = checkpoint_of(base)
    key = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    save_file({k: v for k, v in state.items() if k != key}, file)
    refused(file, "unet of", "lacks the weight down_blocks.0.resnets.0.conv1.weight")
    save_file({**state, key: torch.zeros(3, 3)}, file)
    refused(file, "the weights of unet", "do not fit")
    layer = "encoder.layers.0."
    fourth = {
        key.replace(layer, "encoder.layers.3."): weight.clone()
        for key, weight in state.items()
        if layer in key
    }
    save_file({**state, **fourth}, file)
    refused(file, "an unexpected weight")
    state[key].view(-1)[3] = float("nan")
    try:
        save_file(state, file)
    finally:
        state[key].view(-1)[3] = 0.0
    refused(file, "NaN", "down_blocks.0.resnets.0.conv1.weight")


def test_truncated_checkpoint(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"model.diffusion_model.input_blocks.x": torch.zeros(99)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    refused(file, "damaged", f"{len(whole) - 9} bytes instead of {len(whole)}")
    file.write_bytes(whole[:20])
    refused(file, "damaged")
    file.write_bytes(b"")
    refused(file, "is empty", "download it again")


SDXL = dict.fromkeys(
    (
        "model.diffusion_model.input_blocks.x",
        "first_stage_model.x",
        "conditioner.embedders.0.transformer.x",
        "conditioner.embedders.1.model.x",
    ),
    (2,),
)
SD1 = dict.fromkeys(
    (
        "model.diffusion_model.input_blocks.x",
        "first_stage_model.x",
        "cond_stage_model.transformer.x",
    ),
    (2,),
)
FIRST = single_file.FIRST_CONVOLUTION


def test_the_family_is_in_the_names():
    for shapes, name in ((SD1, "sd1"), (SDXL, "sdxl"), (SDXL | {FIRST: (320, 4, 3, 3)}, "sdxl")):
        assert registry.recognised("x", Header(shapes)).name == name


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"lora_unet_x.lora_down.weight": (2,)}, "is a LoRA"),
        (SD1 | {"cond_stage_model.model.x": (2,)}, "is an SD 2 model"),
        ({"model.diffusion_model.joint_blocks.0.x": (2,)}, "is a Stable Diffusion 3 model"),
        ({"double_blocks.0.img_attn.x": (2,)}, "is a Flux model"),
        ({"clip_txt_mapper.weight": (2,)}, "is a Stable Cascade model"),
        (SDXL | {"edm_mean": (4,)}, "is an SDXL model of the EDM formulation"),
        ({"conditioner.embedders.0.model.x": (2,)}, "is an SDXL refiner"),
        ({"down_blocks.0.resnets.0.conv1.weight": (2,)}, "is a UNet alone"),
        ({"model.diffusion_model.input_blocks.x": (2,)}, "no first_stage_model"),
        ({k: v for k, v in SDXL.items() if "embedders.1" not in k}, "no conditioner.embedders.1"),
        (SD1 | {FIRST: (320, 9, 3, 3)}, "9 channels"),
    ],
)
def test_other_families(shapes, words, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, file)
    refused(file, words)


def published(monkeypatch, base):
    """Let the published shapes be those of the tiny base: no folder lies beside the file."""
    monkeypatch.setitem(shapes_of.UNET, base.family.name, dict(base.unet.config))
    monkeypatch.setitem(shapes_of.VAE, base.family.name, dict(base.vae.config))
    monkeypatch.setitem(
        shapes_of.TEXT_ENCODERS,
        base.family.name,
        tuple(encoder.config.to_dict() for encoder in base.text_encoders),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marks", "metadata", "expected"),
    [
        ((), {}, ("epsilon", False)),
        (("v_pred",), {}, ("v_prediction", False)),
        (("v_pred", "ztsnr"), {}, ("v_prediction", True)),
        ((), {"modelspec.prediction_type": "v"}, ("v_prediction", False)),
    ],
)
def test_a_file_alone_says_what_it_predicts(base, tmp_path, monkeypatch, marks, metadata, expected):
    """Only the vocabulary comes from outside: from a folder `tokenizer` beside the file."""
    published(monkeypatch, base)
    shutil.copytree(Path(base.path) / "tokenizer", tmp_path / "tokenizer")
    state = checkpoint_of(base) | {mark: torch.empty(0) for mark in marks}
    save_file(state, tmp_path / "model.safetensors", metadata)
    single = registry.load(str(tmp_path / "model.safetensors"))
    same_model(base, single)
    assert (single.prediction_type, single.zero_terminal_snr) == expected
    scheduler = single.noise_scheduler
    assert scheduler.config.timestep_spacing == ("trailing" if expected[1] else "leading")
    assert (scheduler.alphas_cumprod[-1] == 0) == expected[1]


def test_without_vocabulary_the_sentence_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_of, "VOCABULARY", str(tmp_path / "nowhere" / "clip"))
    file = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in SD1.items()}, file)
    refused(file, "vocabulary", "`tokenizer`", "connect to the internet once")


def test_published_shapes():
    """Facts that are printed in the model cards and papers."""
    with torch.device("meta"):
        unets = {
            kind: UNet2DConditionModel.from_config(config)
            for kind, config in shapes_of.UNET.items()
        }
    sizes = {kind: sum(p.numel() for p in unet.parameters()) for kind, unet in unets.items()}
    assert sizes == {"sd1": 859_520_964, "sdxl": 2_567_463_684}
    for kind, unet in unets.items():
        texts = shapes_of.TEXT_ENCODERS[kind]
        assert unet.config.cross_attention_dim == sum(text["hidden_size"] for text in texts)
    assert shapes_of.VAE["sd1"]["scaling_factor"] == 0.18215
    assert shapes_of.VAE["sdxl"]["scaling_factor"] == 0.13025
    json.dumps(shapes_of.SCHEDULER)


@pytest.fixture
def own_vae(base):
    """Another VAE than the base's, with its name for a place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        return tiny_vae(base.vae.config.scaling_factor)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "whole", "diffusers", "original", "prefixed"])
def test_a_vae_of_its_own(base, own_vae, form, tmp_path, monkeypatch):
    """People take another VAE than the checkpoint's, in any of the forms they are passed on in."""
    published(monkeypatch, base)
    place = tmp_path / "other.safetensors"
    if form in ("folder", "whole"):
        place = tmp_path / "other"
        own_vae.save_pretrained(place / "vae" if form == "whole" else place)
    elif form == "diffusers":
        save_file(own_vae.state_dict(), place)
    else:
        state = checkpoint_of(replace(base, vae=own_vae))
        cut = "first_stage_model." if form == "original" else ""
        save_file(
            {
                k.removeprefix(cut): v
                for k, v in state.items()
                if k.startswith("first_stage_model.")
            },
            place,
        )
    model = registry.load({"checkpoint": base.path, "vae": str(place)})
    ours, theirs = own_vae.state_dict(), model.vae.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not torch.equal(model.vae.encoder.conv_in.weight, base.vae.encoder.conv_in.weight)
    assert torch.equal(model.unet.conv_in.weight, base.unet.conv_in.weight)
    said = model.describe()
    assert said["ss_sd_model_name"] == Path(base.path).name
    assert said["ss_vae_name"] == place.name
    folder = place.is_dir()
    assert (said["ss_new_vae_hash"] == "IsADirectory") == folder
    if not folder:
        content = place.read_bytes()
        assert said["ss_new_vae_hash"] == hashlib.sha256(content).hexdigest()
        window = content[0x100000:0x110000]
        assert said["ss_vae_hash"] == hashlib.sha256(window).hexdigest()[:8]
    assert not {"ss_vae_name", "ss_vae_hash", "ss_new_vae_hash"} & set(base.describe())


def test_a_vae_of_its_own_is_known_by_the_files_that_are_read(base, own_vae, tmp_path):
    """Of a whole model only the VAE's folder counts, of a folder with a VAE alone all of it."""
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    for place in (whole / "vae", alone):
        own_vae.save_pretrained(place)
    (whole / "README.md").write_text("a model")

    def digest(place):
        places = {"checkpoint": base.path, "vae": str(place)}
        return loading.Files(base.family, places, torch.float32).digest("vae")

    first = digest(whole)
    assert first == digest(alone) == tensor_files.digest_of(alone)
    (whole / "README.md").write_text("the same model")
    assert digest(whole) == first
    (whole / "vae" / "config.json").write_text("{}")
    assert digest(whole) != first


def test_the_hashes_of_a_file_are_those_that_a1111_shows(tmp_path):
    """Golden values, computed with kohya's model_hash and calculate_sha256."""
    file = tmp_path / "x.safetensors"
    file.write_bytes(bytes(range(256)) * 5000)
    assert recognise.hashes(str(file)) == (
        "7daca209",
        "7d471e4af16db5a30ce10aebbc29f5178b2edbad6c7dc2e8ff8ee6e4848a726f",
    )
    file.write_bytes(b"short")
    assert recognise.hashes(str(file))[0] == "e3b0c442"


@pytest.mark.slow
def test_a_vae_that_is_none(base, tmp_path, monkeypatch):
    published(monkeypatch, base)
    file = tmp_path / "x.safetensors"
    for state, words in (
        ({"lora_unet_x.alpha": torch.zeros(1)}, "is no VAE"),
        ({"encoder.down_blocks.0.x": torch.zeros(1)}, "lacks the weight"),
    ):
        save_file(state, file)
        with pytest.raises(BakeryError, match=words) as caught:
            registry.load({"checkpoint": base.path, "vae": str(file)})
        assert str(file) in str(caught.value)
    with pytest.raises(BakeryError, match=r"train\.base\.vae: cannot read"):
        registry.load({"checkpoint": base.path, "vae": str(tmp_path)})


SCHEDULE = DDPMScheduler.from_config(shapes_of.SCHEDULER).alphas_cumprod


def harmless_of(base) -> dict[str, torch.Tensor]:
    """What checkpoints carry besides a model: a tensor or two of each kind."""
    clip = "conditioner.embedders.0" if base.family.name == "sdxl" else "cond_stage_model"
    return {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(3),
        "model_ema.num_updates": torch.tensor(5),
        f"{clip}.transformer.text_projection.weight": torch.zeros(8, 8),
        f"{clip}.transformer.logit_scale": torch.tensor(4.6),
        f"{clip}.transformer.vision_model.embeddings.class_embedding": torch.zeros(4),
        f"{clip}.logit_scale": torch.tensor(4.6),
        "alphas_cumprod": SCHEDULE.clone(),
        "sqrt_one_minus_alphas_cumprod": torch.zeros(1000),
        "betas": torch.zeros(1000),
        "denoiser.sigmas": torch.zeros(1000),
        "logvar": torch.zeros(1000),
        "first_stage_model.loss.logvar": torch.zeros(1),
        "first_stage_model.loss.discriminator.main.0.weight": torch.zeros(2),
        "optimizer.state.0.exp_avg": torch.zeros(2),
        "global_step": torch.tensor(5),
        "metadata": torch.zeros(9, dtype=torch.uint8),
        "somebody.elses": torch.zeros(2),
    }


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_what_no_picture_depends_on_is_counted_and_left_out(base, beside, suffix, caplog):
    file = beside / f"model{suffix}"
    state = checkpoint_of(base) | harmless_of(base)
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    with caplog.at_level(logging.INFO):
        same_model(base, registry.load(str(file)))
    said = [record.getMessage() for record in caplog.records if str(file) in record.getMessage()]
    counts = {line.split("left out, ")[1]: line for line in said}
    assert all(line.startswith(f"{file}: ") for line in said)
    for what, number in {
        "averaged copies of weights": 3,
        "position numbers": 1,
        "a projection that only SDXL's second text encoder has a use for": 1,
        "CLIP's scale of likeness": 3 if base.family.name == "sdxl" else 2,
        "CLIP's encoder of pictures": 1,
        "numbers of the noise schedule": 5,
        "what the VAE was trained with": 2,
        "a trainer's state": 2,
        "notes": 1,
        "of no part of the model (somebody.elses)": 1,
    }.items():
        (line,) = [line for kind, line in counts.items() if kind.startswith(what)]
        assert f": {number} tensors left out" in line


@pytest.mark.parametrize(
    ("change", "warned"),
    [(lambda a: a, False), (lambda a: a.half(), False), (lambda a: a * 0.9, True)],
)
def test_a_noise_schedule_of_its_own_is_said(base, beside, change, warned, caplog):
    file = beside / "model.safetensors"
    save_file(checkpoint_of(base) | {"alphas_cumprod": change(SCHEDULE.clone())}, file)
    registry.load(str(file))
    assert ("alphas_cumprod differs" in caplog.text) == warned


BLOCK = "model.diffusion_model.input_blocks.1.0.in_layers.2"
BESIDE = {
    "lora_unet_mid_block.lora_down.weight": "a LoRA",
    f"{BLOCK}.lora_up.weight": "a LoRA",
    "control_model.input_blocks.0.0.weight": "a ControlNet",
    "ip_adapter.1.to_k_ip.weight": "an IP-Adapter",
    "model.diffusion_model.input_blocks.1.2.motion_modules.0.x": "a motion module",
    "model.diffusion_model.scaled_fp8": "scaled fp8",
    f"{BLOCK}.scale_weight": "scaled fp8",
    f"{BLOCK}.weight.absmax": "few bits",
    "model.diffusion_model.foo.weight": "1 weights that are not of this family",
    "model.diffusion_model.input_blocks.77.0.op.weight": "1 weights that are not of this family",
    "model.diffusion_model.input_blocks.1.5.weight": "1 weights that are not of this family",
}
"""A tensor that changes what a program draws -> how it is called."""


@pytest.mark.parametrize("name", BESIDE)
def test_what_would_change_pictures_is_refused_by_name(base, beside, name):
    file = beside / "model.safetensors"
    save_file(checkpoint_of(base) | {name: torch.zeros(2)}, file)
    refused(file, BESIDE[name], name)


def test_a_checkpoint_without_vae_asks_for_one(base, own_vae, beside, tmp_path):
    file, vae = beside / "model.safetensors", tmp_path / "vae.safetensors"
    state = {k: v for k, v in checkpoint_of(base).items() if not k.startswith("first_stage_model.")}
    save_file(state, file)
    save_file(own_vae.state_dict(), vae)
    refused(file, "has no VAE", f"base: {{checkpoint: {file}, vae: ...}}")


@pytest.mark.parametrize("inside", [False, True])
def test_a_checkpoint_with_a_vae_beside_it_needs_none(
    base, own_vae, beside, tmp_path, monkeypatch, inside
):
    published(monkeypatch, base)
    file, vae = beside / "model.safetensors", tmp_path / "vae.safetensors"
    state = checkpoint_of(base)
    damaged = "first_stage_model.encoder.conv_in.weight"
    if inside:  # and is not read
        state[damaged] = torch.full_like(state[damaged], float("nan"))
    else:
        state = {k: v for k, v in state.items() if not k.startswith("first_stage_model.")}
    save_file(state, file)
    save_file(own_vae.state_dict(), vae)
    model = registry.load({"checkpoint": str(file), "vae": str(vae)})
    assert torch.equal(model.vae.encoder.conv_in.weight, own_vae.encoder.conv_in.weight)
    assert torch.equal(model.unet.conv_in.weight, base.unet.conv_in.weight)


@pytest.mark.slow
def test_names_that_older_programs_wrote(base, beside):
    """A1111 and ComfyUI read a text encoder without the level text_model, and SDXL's projection as
    a layer."""
    state = checkpoint_of(base)
    if base.family.name == "sd1":
        place = "cond_stage_model.transformer."
        state = {k.replace(f"{place}text_model.", place): v for k, v in state.items()}
    else:
        key = "conditioner.embedders.1.model.text_projection"
        state[f"{key}.weight"] = state.pop(key).T.contiguous()
    save_file(state, beside / "model.safetensors")
    same_model(base, registry.load(str(beside / "model.safetensors")))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
def test_low_precision_is_widened(base, beside, dtype):
    file = beside / "model.safetensors"
    state = {
        key: value.to(dtype) if key.startswith("model.") else value
        for key, value in checkpoint_of(base).items()
    }
    save_file(state, file)
    weight = registry.load(str(file)).unet.conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, base.unet.conv_in.weight.to(dtype).float())
