"""K adapters on one base are K adapters each on its own, and none hears of the others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_base import tiny_sd1
from torch import nn

from bakery.families import registry, targets
from bakery.families.family import TEXT_ENCODER, UNET
from bakery.io.errors import BakeryError
from bakery.lora.adapters import Routing, adapters_on
from bakery.lora.network import Adapter, LoRANetwork

LAYERS = {
    "linear": lambda: nn.Linear(6, 10),
    "1x1": lambda: nn.Conv2d(6, 10, 1),
    "3x3": lambda: nn.Conv2d(6, 10, 3, padding=1),
    "downsampling": lambda: nn.Conv2d(6, 10, 3, stride=2, padding=1),
    "wide 1x1": lambda: nn.Conv2d(6, 10, 1, stride=2),
}


def shown(kind, rows, generator, whole=False, last=False):
    """Rows for a layer; `whole` numbers make every sum exact."""
    size = (rows, 3, 6) if kind == "linear" else (rows, 6, 4, 5)
    if whole:
        return torch.randint(-4, 5, size, generator=generator).float()
    x = torch.randn(size, generator=generator)
    return x.to(memory_format=torch.channels_last) if last and x.ndim == 4 else x


def fill(module, k, generator, whole=False):
    for w in (module.downs[k], module.ups[k]):
        new = (
            torch.randint(-3, 4, w.shape, generator=generator).float()
            if whole
            else torch.randn(w.shape, generator=generator) / 3
        )
        w.data.copy_(new)


def alone(module, k):
    """A copy of adapter k without the others, on the same layer."""
    routing = Routing(
        (0,),
        [module.routing.multiplier[k]],
        [module.routing.dropout[k]],
        module.routing.seeds and [module.routing.seeds[k]],
    )
    single = adapters_on(module._target[0], module.ranks[k], [module.alphas[k]], routing, "layer")
    single.load(0, *module.weights(k), module.alphas[k])
    return single


def run(module, x):
    """(y, gradient of x); gradients of the adapters are left in them."""
    x = x.detach().requires_grad_()
    y = module(x)
    slope = torch.arange(y.numel()).remainder(7).sub(3).float().view(y.shape)
    # the same slope for each share, wherever it stands in the batch
    slope = slope[: len(y) // len(module.routing.adapters)].repeat(
        len(module.routing.adapters), *[1] * (y.ndim - 1)
    )
    (y * slope).sum().backward()
    return y.detach(), x.grad


def stack_and_solos(kind, alphas, route, rows, generator, rank=3, whole=False, last=False, **more):
    layer = LAYERS[kind]().requires_grad_(False)
    if whole:
        for w in layer.parameters():
            w.copy_(torch.randint(-3, 4, w.shape, generator=generator).float())
    routing = Routing(tuple(route), [1.0, 0.5, -2.0, 1.0][: len(alphas)], [0.0] * len(alphas))
    for name, value in more.items():
        setattr(routing, name, value)
    module = adapters_on(layer, rank, alphas, routing, "layer")
    for k in range(len(alphas)):
        fill(module, k, generator, whole)
    x = shown(kind, rows * len(route), generator, whole, last)
    solos = [alone(module, k) for k in route]
    return module, x, solos


def compare(module, x, solos, equal):
    y, dx = run(module, x)
    for k, single, share, rows, grads in zip(
        module.routing.adapters,
        solos,
        x.chunk(len(solos)),
        y.chunk(len(solos)),
        dx.chunk(len(solos)),
        strict=True,
    ):
        own, own_dx = run(single, share)
        assert equal(rows, own)
        assert equal(grads, own_dx)
        assert equal(module.downs[k].grad, single.downs[0].grad)
        assert equal(module.ups[k].grad, single.ups[0].grad)
    idle = set(range(len(module.downs))) - set(module.routing.adapters)
    assert all(module.downs[k].grad is None for k in idle)


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * max(1.0, b.abs().max())


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    count=st.integers(1, 4),
    data=st.data(),
    rows=st.integers(1, 3),
    rank=st.integers(1, 5),
    last=st.booleans(),
    whole=st.booleans(),
)
def test_stacked_is_solo(kind, count, data, rows, rank, last, whole):
    """Within rounding for any numbers; in every bit where the sums are exact."""
    route = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
    alphas = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=count, max_size=count))
    if whole:
        alphas = [rank * (2.0 ** round(alpha)) for alpha in alphas]  # scales are powers of two
    generator = torch.Generator().manual_seed(rows)
    case = stack_and_solos(kind, alphas, route, rows, generator, rank, whole, last)
    compare(*case, torch.equal if whole else close)


@pytest.mark.parametrize("kind", LAYERS)
def test_one_of_a_stack_runs_as_if_alone(kind):
    """Equal bits, whatever the numbers: the operations are those of a stack of one."""
    for k in (0, 2):
        case = stack_and_solos(kind, [1.0, 2.0, 0.7], [k], 4, torch.Generator().manual_seed(3))
        compare(*case, torch.equal)


@pytest.mark.parametrize("kind", LAYERS)
def test_nan_stays_where_it_is(kind):
    module, x, _ = stack_and_solos(
        kind, [1.0, 2.0, 0.7], [0, 1, 2], 2, torch.Generator().manual_seed(3)
    )
    y, dx = run(module, x)
    grads = [w.grad.clone() for k in (0, 2) for w in (module.downs[k], module.ups[k])]
    for broken in ("weights", "rows"):
        for w in module.parameters():
            w.grad = None
        sick = x.clone()
        if broken == "weights":
            module.downs[1].data.fill_(float("nan"))
        else:
            sick[2:4] = float("inf")
        sick_y, sick_dx = run(module, sick)
        assert sick_y[2:4].isnan().any()
        for healthy in (slice(0, 2), slice(4, 6)):
            assert torch.equal(sick_y[healthy], y[healthy])
            assert torch.equal(sick_dx[healthy], dx[healthy])
        after = [w.grad for k in (0, 2) for w in (module.downs[k], module.ups[k])]
        assert all(torch.equal(a, b) for a, b in zip(after, grads, strict=True))


@pytest.mark.parametrize("kind", ["linear", "1x1", "3x3"])
@pytest.mark.parametrize("how", ["model in bfloat16", "autocast"])
def test_half_precision(kind, how):
    """The adapters stay in float32 and their gradients come in it; scales differ, so K is mixed."""
    generator = torch.Generator().manual_seed(6)
    module, x, _ = stack_and_solos(kind, [1.0, 2.0, 0.7], [0, 1, 2], 2, generator)
    exact, _ = run(module, x)
    grads = [w.grad.clone() for w in module.parameters()]
    module.zero_grad()
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = run(module, x)
    else:
        module._target[0].bfloat16()
        y, _ = run(module, x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).abs().max() < 0.03 * exact.abs().max()
    for parameter, expected in zip(module.parameters(), grads, strict=True):
        assert parameter.grad.dtype == parameter.dtype == torch.float32
        assert (parameter.grad - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_merged_is_routed_and_leaves_no_trace(kind, last):
    generator = torch.Generator().manual_seed(5)
    layer = LAYERS[kind]().requires_grad_(False)
    if last and kind != "linear":
        layer = layer.to(memory_format=torch.channels_last)
    routing = Routing((1,), [1.0, 0.7], [0.0, 0.0])
    module = adapters_on(layer, 3, [3, 2], routing, "layer").requires_grad_(False)
    for k in range(2):
        fill(module, k, generator)
    x = shown(kind, 4, generator, last=last)
    before, weight = layer(x), layer.weight.clone()
    routed = module(x)
    module.merge_into_target(1)
    close(layer(x), routed)
    assert not torch.allclose(layer(x), before, atol=1e-2)
    module.remove_from_target()
    assert torch.equal(layer(x), before)
    assert torch.equal(layer.weight, weight)
    routing.multiplier[1] = 0.0
    module.merge_into_target(1)
    assert torch.equal(layer(x), before)


def test_routes():
    network = LoRANetwork.stack(targets.of_text_encoders([tiny_text()]), 2, [Adapter()] * 3)
    routing = network.routing
    assert len(network) == 3
    assert routing.adapters == (0, 1, 2)
    for route, shares in (
        ([2, 0], (2, 0)),
        ([1, 1, 1], (1,)),
        ([0, 0, 2, 2], (0, 2)),
        ([0, 0, 0, 1], (0, 0, 0, 1)),
        ([0, 1, 0, 1], (0, 1, 0, 1)),
        (None, (0, 1, 2)),
    ):
        assert network.route(route).routing.adapters == shares
    layer = next(iter(network.layers.values()))
    with pytest.raises(ValueError, match="4 rows are no 3 equal shares"):
        layer(torch.randn(4, 2, 8))


def test_an_entry_may_repeat():
    """As the two halves of a batch with a negative prompt."""
    generator = torch.Generator().manual_seed(1)
    module, x, solos = stack_and_solos("linear", [1.0, 2.0], [0, 1, 0, 1], 2, generator)
    y = module(x)
    for share, single, own in zip(x.chunk(4), solos, y.chunk(4), strict=True):
        assert close(own, single(share))


@pytest.mark.parametrize("kind", ["linear", "3x3"])
def test_dropout_is_the_adapters_own(kind):
    """The same mask in any group, at any place in the batch, and when computed again."""
    generator = torch.Generator().manual_seed(4)
    rates, seeds = [0.5, 0.0, 0.25], [11, 12, 2**64 - 1]
    module, x, solos = stack_and_solos(
        kind, [2.0, 1.0, 2.0], [2, 0, 1], 4, generator, rank=8, dropout=rates, seeds=seeds
    )
    compare(module, x, solos, close)
    first = module(x)
    assert torch.equal(module(x), first)
    module.routing.seeds = [1, 12, 2**64 - 1]
    other = module(x)
    assert [bool(same) for same in (other == first).flatten(1).all(1).unflatten(0, (3, 4)).all(1)] == [
        True, False, True
    ]  # fmt: skip
    module.eval()
    silent = module(x)
    module.routing.dropout = [0.0] * 3
    module.train()
    assert torch.equal(module(x), silent)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    routing = Routing((0,), [1.0], [0.25], [7])
    module = adapters_on(nn.Linear(1, 1, bias=False), 4000, [4000.0], routing, "layer")
    ax = module._dropped(torch.ones(2, 4000))
    assert ax.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs(float((ax == 0).float().mean()) - 0.25) < 0.03
    routing.seeds = None
    with pytest.raises(ValueError, match="seed_dropout"):
        module._dropped(ax)


def tiny_text():
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
        )
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return registry.load(str(tiny_sd1(tmp_path_factory.mktemp("base"))))


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]


def test_a_stack_is_drawn_as_solo_networks_are(base):
    layers = list(base.targets(convolutions=True))
    adapters = [
        Adapter(alpha=alpha, conv_alpha=2.0, generator=g)
        for alpha, g in zip((0.0, 1.0, 4.0), generators(), strict=True)
    ]
    stack = LoRANetwork.stack(layers, 4, adapters, conv_dim=2)
    for k, (adapter, again) in enumerate(zip(adapters, generators(), strict=True)):
        solo = LoRANetwork(layers, 4, adapter.alpha, again, conv_dim=2, conv_alpha=2.0)
        ours, theirs = stack.state_dict_kohya(adapter=k), solo.state_dict_kohya()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def trained(network, base, route, rates, steps=2):
    """Some steps, each adapter with an optimizer of its own; returns the files."""
    optimizers = [
        torch.optim.AdamW(
            [
                {"params": network.parameters_of(UNET, k), "lr": rate},
                {"params": network.parameters_of(TEXT_ENCODER, k), "lr": 0.01},
            ]
        )
        for k, rate in enumerate(rates)
    ]
    network.route(route).apply()
    rows = len(network.routing.adapters)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        noise = torch.randn(2, 4, 4, 4, generator=generator).repeat(rows, 1, 1, 1)
        text = base.encode(["mirael, smile", "mirael"] * rows)
        out = base.predict(noise, torch.tensor(500), text)
        out.square().unflatten(0, (rows, 2)).flatten(1).mean(1).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    network.remove()
    return [network.state_dict_kohya(adapter=k) for k in range(len(network))]


@pytest.mark.slow
def test_fused_training_is_solo_training(base):
    """Text encoder, linears and convolutions; and in turn, one adapter of the stack after another,
    every bit is that of a bake of its own.
    """
    layers = list(base.targets(convolutions=True))
    alphas, rates = (2.0, 4.0), (0.01, 0.02)

    def stack():
        pairs = zip(alphas, generators(), strict=False)
        adapters = [Adapter(alpha=alpha, generator=draw) for alpha, draw in pairs]
        return LoRANetwork.stack(layers, 4, adapters, conv_dim=2)

    together = trained(stack(), base, None, rates)
    network = stack()
    trained(network, base, [0], rates)
    in_turn = trained(network, base, [1], rates)
    for k, (alpha, draw) in enumerate(zip(alphas, generators(), strict=False)):
        solo = LoRANetwork(layers, 4, alpha, draw, conv_dim=2)
        (state,) = trained(solo, base, None, [rates[k]])
        for key, value in state.items():
            assert torch.equal(in_turn[k][key], value), key
            assert (together[k][key] - value).abs().max() < 1e-4, key  # AdamW magnifies rounding


def kohyas_max_norm(state, limit):
    """`apply_max_norm_regularization` by its formula; returns (state, count, mean, largest)."""
    state, norms, count = dict(state), [], 0
    for key in [key for key in state if key.endswith("lora_down.weight")]:
        name = key.removesuffix(".lora_down.weight")
        down, up = state[key], state[f"{name}.lora_up.weight"]
        product = up.flatten(1) @ down.flatten(1) * (state[f"{name}.alpha"] / down.shape[0])
        norm = float(product.norm())
        ratio = limit / norm if norm > limit else 1.0
        count += ratio != 1
        state[key], state[f"{name}.lora_up.weight"] = down * ratio**0.5, up * ratio**0.5
        norms.append(norm * ratio)
    return state, count, sum(norms) / len(norms), max(norms)


def test_scale_weight_norms(base):
    stack = LoRANetwork.stack(
        base.targets([UNET], convolutions=True), 4, [Adapter(alpha=2.0)] * 2, conv_dim=2
    )
    generator = torch.Generator().manual_seed(8)
    for parameter in stack.parameters():
        parameter.data.normal_(generator=generator).mul_(0.3)
    before = [stack.state_dict_kohya(adapter=k) for k in range(2)]
    _, _, limit, _ = kohyas_max_norm(before[1], float("inf"))
    state, count, mean, largest = kohyas_max_norm(before[1], limit)
    assert 0 < count < len(stack.layers)
    result = stack.apply_max_norm(limit, adapter=1)
    assert result[0] == count
    assert result[1:] == (pytest.approx(mean, rel=1e-5), pytest.approx(largest, rel=1e-5))
    after = [stack.state_dict_kohya(adapter=k) for k in range(2)]
    assert all(torch.allclose(after[1][key], state[key], atol=1e-6) for key in state)
    assert all(torch.equal(after[0][key], before[0][key]) for key in state)


def test_files_of_several_ranks_in_one_stack(base):
    layers = list(base.targets(convolutions=True))
    states = []
    for rank, alpha in ((2, 1.0), (8, 8.0), (4, 1.0)):
        network = LoRANetwork(layers, rank, alpha, conv_dim=rank, conv_alpha=alpha)
        for parameter in network.parameters():
            parameter.data.normal_(std=0.2, generator=torch.Generator().manual_seed(rank))
        states.append(network.state_dict_kohya())
    stack = LoRANetwork.stack(layers, 1, [Adapter()] * 3, conv_dim=1)
    for k, state in enumerate(states):
        stack.load_kohya(state, k)
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    text = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        stack.apply()
        together = base.unet(noise.repeat(3, 1, 1, 1), 500, text.repeat(3, 1, 1)).sample
        stack.remove()
        for k, state in enumerate(states):
            back = stack.state_dict_kohya(adapter=k)
            assert all(torch.equal(back[key], state[key]) for key in state)
            solo = LoRANetwork(layers, 1, 1, conv_dim=1).apply()
            solo.load_kohya(state)
            assert close(together[k : k + 1], base.unet(noise, 500, text).sample)
            solo.remove()


def test_loading_keeps_the_parameters_an_optimizer_knows(base):
    network = LoRANetwork(base.targets([UNET]), 4, 4)
    known = network.parameters_of(UNET)
    state = network.state_dict_kohya()
    network.load_kohya({key: value + 1 for key, value in state.items()})
    assert all(a is b for a, b in zip(known, network.parameters_of(UNET), strict=True))
    after = network.state_dict_kohya()
    assert all(torch.equal(after[key], value + 1) for key, value in state.items())


def test_a_lora_of_the_other_family(base):
    network = LoRANetwork(base.targets(), 4, 4)
    strange = {"lora_unet_input_blocks_4_1_proj_in.alpha": torch.tensor(1.0)}
    with pytest.raises(
        BakeryError, match=r"trained on an SDXL model, and the base is an SD 1.x model"
    ):
        network.load_kohya(strange)
