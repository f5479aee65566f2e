import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from tiny_base import tiny_sd1, tiny_sdxl

from bakery.families import registry
from bakery.families.family import TEXT_ENCODER, UNET
from bakery.io.errors import BakeryError
from bakery.lora.adapters import Routing, adapters_on
from bakery.lora.network import LoRANetwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd1(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(folder):
    return registry.load(str(folder))


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


def baked(base, dim=4, alpha=2.0, seed=1, **more):
    """A network whose B is not zero, as after training."""
    layers = base.targets(convolutions="conv_dim" in more)
    network = LoRANetwork(layers, dim, alpha, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return network


@torch.no_grad()
def predict(base, prompt="mirael, pink hair"):
    """The UNet's answer to fixed noise."""
    noise = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(5)).to(base.dtype)
    text = base.encode([prompt, "cat"])
    return base.predict(noise, torch.tensor([900, 30]), text)


def test_parts_split_the_parameters(base):
    network = LoRANetwork(base.targets(), 4, 4)
    unet, text = (network.parameters_of(p) for p in (UNET, TEXT_ENCODER))
    assert (len(unet), len(text)) == (2 * 48, 2 * 18)
    assert len(list(network.parameters())) == len(unet) + len(text)
    assert not LoRANetwork(base.targets([UNET]), 4, 4).parameters_of(TEXT_ENCODER)


@pytest.mark.parametrize("multiplier", [1.0, -0.5])
def test_the_equation(multiplier):
    linear, conv = torch.nn.Linear(5, 7), torch.nn.Conv2d(5, 7, 1)
    x = torch.randn(2, 3, 5)
    for layer, shown in ((linear, x), (conv, x.movedim(-1, 1)[..., None])):
        module = adapters_on(layer, 3, [1.5], Routing((0,), [multiplier], [0.0]))
        module.reset(0, None)
        torch.nn.init.normal_(module.ups[0])
        a, b = (w.flatten(1) for w in module.weights(0))
        w = layer.weight.flatten(1) + multiplier * (1.5 / 3) * b @ a
        merged = x @ w.T + layer.bias
        if layer is conv:
            merged = merged.movedim(-1, 1)[..., None]
        assert torch.allclose(module(shown), merged, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_equation_of_a_3x3_convolution(stride):
    """The merged weight as kohya's `merge_to` makes it: A's kernels mixed by B."""
    layer = torch.nn.Conv2d(4, 6, 3, stride, 1)
    module = adapters_on(layer, 2, [1.0], Routing((0,), [1.0], [0.0]))
    module.reset(0, None)
    torch.nn.init.normal_(module.ups[0])
    down, up = module.weights(0)
    w = layer.weight + 0.5 * torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
    x = torch.randn(2, 4, 6, 8)
    merged = torch.nn.functional.conv2d(x, w, layer.bias, stride, 1)
    assert torch.allclose(module(x), merged, atol=1e-5)


@pytest.mark.slow
def test_initial_weights(base):
    network, again, other = (
        LoRANetwork(base.targets(), 4, 0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    state = network.state_dict_kohya()
    for key, value in state.items():
        assert torch.equal(value, again.state_dict_kohya()[key])
        if key.endswith("alpha"):
            assert value == 4  # alpha 0 means alpha = dim
        elif key.endswith("lora_up.weight"):
            assert not value.any()
        else:
            # kaiming_uniform with a = sqrt 5: uniform within 1 / sqrt(in)
            bound = value.shape[1] ** -0.5
            assert 0.7 * bound < value.abs().max() <= bound
    down = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
    assert not torch.equal(state[down], other.state_dict_kohya()[down])


@pytest.mark.slow
def test_new_zero_and_removed_networks_are_the_base(base):
    bare = predict(base)
    LoRANetwork(base.targets(), 4, 4).apply()
    assert torch.equal(predict(base), bare)
    network = baked(base).apply()
    assert not torch.allclose(predict(base), bare, atol=1e-2)
    network.multiplier = 0.0
    assert torch.equal(predict(base), bare)
    network.multiplier = 1.0
    network.remove()
    assert torch.equal(predict(base), bare)
    assert all("forward" not in module.__dict__ for module in base.unet.modules())


def test_only_adapters_learn(base):
    network = baked(base).apply()
    text = base.encode(["cat"])
    base.predict(torch.randn(1, 4, 4, 4), torch.tensor(500), text).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert sum(bool(p.grad.any()) for p in network.parameters()) > 0.9 * 2 * 66
    parts = (base.unet, *base.text_encoders)
    assert all(p.grad is None for part in parts for p in part.parameters())
    assert not set(map(id, network.parameters())) & set(map(id, base.unet.parameters()))


def test_bfloat16_model(folder):
    base = registry.load(str(folder), dtype=torch.bfloat16)
    network = baked(base).apply()
    in_bfloat = predict(base).float()
    assert next(network.parameters()).dtype == torch.float32
    full = registry.load(str(folder))
    baked(full).apply()
    exact = predict(full)
    assert (in_bfloat - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_autocast(base):
    baked(base).apply()
    exact = predict(base)
    with torch.autocast("cpu", torch.bfloat16):
        rough = predict(base).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("dim", [2, 4, 8])
def test_a_file_of_any_rank_can_be_loaded(base, dim):
    source = copy.deepcopy(base)
    trained = baked(source, dim=dim, alpha=3.0).apply()
    network = LoRANetwork(base.targets(), 4, 4).apply()
    network.load_kohya(trained.state_dict_kohya())
    assert torch.equal(predict(base), predict(source))


def test_partial_file(base):
    source = copy.deepcopy(base)
    unet_only = LoRANetwork(source.targets([UNET]), 4, 4).apply()
    torch.nn.init.normal_(next(iter(unet_only.layers.values())).ups[0])
    network = baked(base).apply()  # what it held before must go
    network.load_kohya(unet_only.state_dict_kohya())
    assert torch.equal(predict(base), predict(source))


def test_missing_alpha_is_the_rank(base):
    state = baked(base, dim=4, alpha=4.0).state_dict_kohya()
    network = LoRANetwork(base.targets(), 2, 2)
    network.load_kohya({k: v for k, v in state.items() if not k.endswith("alpha")})
    assert {float(v) for k, v in network.state_dict_kohya().items() if k.endswith("alpha")} == {4.0}


def test_files_that_do_not_fit(base):
    network = LoRANetwork(base.targets(), 4, 4)
    before = network.state_dict_kohya()
    state = baked(base).state_dict_kohya()
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    strange = state | {"lora_te1_text_model_x.alpha": torch.tensor(1.0)}
    half = {k: v for k, v in state.items() if k != f"{name}.lora_up.weight"}
    wide = state | {f"{name}.lora_up.weight": torch.zeros(99, 4)}
    for bad, words in (
        (strange, "lora_te1_text_model_x.alpha"),
        (half, f"{name} has no lora_up.weight"),
        (wide, f"{name} has shapes"),
    ):
        with pytest.raises(BakeryError, match=words):
            network.load_kohya(bad)
    after = network.state_dict_kohya()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.slow
@pytest.mark.parametrize("conv_dim", [None, 3])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_stock_pipeline_draws_the_same(kind, conv_dim, request, tmp_path):
    """diffusers' own reader and peft's layers agree with ours on the file."""
    path = request.getfixturevalue("folder" if kind == "sd1" else "sdxl_folder")
    base = registry.load(str(path))
    network = baked(
        base, dim=4, alpha=2.0, **({"conv_dim": conv_dim, "conv_alpha": 1.0} if conv_dim else {})
    ).apply()
    save_file(network.state_dict_kohya(), tmp_path / "x.safetensors")
    pipeline = {"sd1": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}[kind]
    stock = pipeline.from_pretrained(path)
    bare = encoded(stock)
    stock.load_lora_weights(tmp_path, weight_name="x.safetensors")
    theirs, ours = encoded(stock), base.encode(["mirael"])
    assert (theirs[0] - bare[0]).abs().max() > 0.1
    assert (theirs[0] - ours["hidden"]).abs().max() < 1e-5
    added = {}
    if kind == "sdxl":
        assert (theirs[1] - bare[1]).abs().max() > 0.1
        assert (theirs[1] - ours["pooled"]).abs().max() < 1e-5
        sizes = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]])
        added = {"added_cond_kwargs": {"text_embeds": theirs[1], "time_ids": sizes}}
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        answer = stock.unet(noise, 500, theirs[0], **added).sample
        assert (answer - base.predict(noise, torch.tensor([500]), ours)).abs().max() < 1e-5
        network.remove()
        plain = base.predict(noise, torch.tensor([500]), ours)
        assert (answer - plain).abs().max() > 0.05  # the adapters took part


def encoded(pipeline):
    """(hidden, pooled) of a prompt by the stock pipeline; SD1 has nothing pooled."""
    hidden, _, *pooled = pipeline.encode_prompt(
        ["mirael"], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return hidden, pooled[0] if pooled else None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lora_down.weight", float("nan"), "holds NaN or infinite numbers"),
        ("lora_up.weight", float("inf"), "holds NaN or infinite numbers"),
        ("alpha", float("nan"), "holds NaN or infinite numbers"),
        ("lora_down.weight", torch.int64, "holds int64 instead of floating-point numbers"),
        ("lora_down.weight", torch.complex64, "holds complex64 instead of floating-point numbers"),
        ("alpha", torch.zeros(2), r"alpha has the shape \(2,\) instead of one number"),
    ],
)
def test_what_is_no_number_is_no_lora(base, key, value, words):
    network = LoRANetwork(base.targets(convolutions=False), 2)
    state = network.state_dict_kohya()
    name = next(name for name in state if name.endswith(key))
    if isinstance(value, torch.dtype):
        state[name] = state[name].to(value)
    elif isinstance(value, torch.Tensor):
        state[name] = value
    else:
        state[name].view(-1)[0] = value
    before = network.state_dict_kohya()
    with pytest.raises(BakeryError, match=words) as caught:
        network.load_kohya(state)
    assert name in str(caught.value)
    after = network.state_dict_kohya()
    assert all(torch.equal(after[one], before[one]) for one in before), "nothing was changed"
    network.remove()
