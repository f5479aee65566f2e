"""What every family of base models has to do: the how-to for the next one.

A new family is in `registry.FAMILIES`; it needs a tiny random model in `tiny_base.TINY` and, where
people have it as a single file, its tensors' names in `single_file`. Nothing else is to be changed here.
"""

from __future__ import annotations

import json
import re
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from single_file import checkpoint_of
from small_bakes import SMALL
from tiny_base import TINY

from bakery.families import recognise, registry
from bakery.families.family import (
    DENOISER,
    LATENTS,
    TEXT_ENCODER,
    TEXTS,
    UNET,
    Drawing,
    View,
    join,
    rows,
)
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.lora.network import Adapter, LoRANetwork
from bakery.settings.train import Train
from bakery.training import losses
from bakery.training.run import Run
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

PARTS = (LATENTS, TEXTS, DENOISER)
NAMES = [family.name for family in registry.FAMILIES]
CAPTIONS = ["mirael, smile", "cat", "mirael, " + "pink, " * 20]
VIEWS = [View((100, 50), (48, 32), False), View((48, 48), (48, 32), True)]


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory):
    """A tiny random model in a folder of its own."""
    return TINY[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(folder):
    return registry.load(str(folder))


@pytest.fixture(scope="module")
def single(folder, model, tmp_path_factory):
    """The same model as one file, its configs and tokenizers beside it."""
    beside = tmp_path_factory.mktemp("single") / "base"
    shutil.copytree(folder, beside, ignore=shutil.ignore_patterns("*.safetensors"))
    file = beside / "any name.safetensors"
    save_file(checkpoint_of(model), file)
    return file


def noise(model, seed=1, count=2):
    """Latents of pictures of 6 x 4 latent pixels."""
    shape = (count, model.latents.channels, 4, 6)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def answer(model, captions=CAPTIONS[:2]):
    """The model's answer to fixed noise, at times of its own."""
    latents = noise(model)
    e, t = model.noise.draw(latents.shape, torch.Generator().manual_seed(2))
    noisy = model.noise.noisy(latents, e, t)
    return model.predict(noisy, t, model.encode(captions), model.views(VIEWS))


def test_it_is_recognised_by_its_header_and_by_no_other_family(folder, single, model):
    for path in (folder, single):
        header = recognise.header(str(path))
        assert [f.name for f in registry.FAMILIES if f.recognises(header)] == [model.family.name]
        assert registry.family_of(str(path)) is model.family
    with pytest.raises(BakeryError, match="is a FluxPipeline: give a whole"):
        registry.recognised("x", recognise.Header(pipeline="FluxPipeline"))


def test_a_folder_and_a_file_are_the_same_model(model, single):
    other = registry.load(str(single))
    assert other.family is model.family
    assert torch.allclose(answer(model), answer(other), atol=1e-5)


def test_it_is_frozen(model):
    for part in (*chain(*model.parts.values()), *model.encoders, model.core, model.latents.module):
        assert not part.training
        assert not any(weight.requires_grad for weight in part.parameters())


def held(model, part):
    """Bytes of a part's weights and buffers that are in memory."""
    modules = model.modules(part)
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return sum(t.untyped_storage().nbytes() for t in tensors if not t.is_meta)


def test_its_weights_are_in_memory_while_they_are_needed(folder, single, model):
    """Each part alone: read when needed, gone when released, and read again as it was."""
    expected = answer(model)
    for place in (folder, single):
        other = registry.outline(str(place))
        assert not any(held(other, part) for part in PARTS)
        before = {part: list(map(id, other.modules(part))) for part in PARTS}
        for part in PARTS:
            assert not other.holds(part)
            other.need(part)
            assert [one for one in PARTS if other.holds(one)] == [part]
            assert held(other, part) == held(model, part) > 0
            other.release(part)
            assert held(other, part) == 0
        other.need(*PARTS)
        assert {part: list(map(id, other.modules(part))) for part in PARTS} == before
        assert torch.allclose(answer(other), expected, atol=1e-5)
        again = answer(other)
        other.release(*PARTS)
        other.need(*PARTS)
        assert torch.equal(answer(other), again)
        assert not any(w.requires_grad for m in other.modules(DENOISER) for w in m.parameters())


def test_what_a_part_is_read_from_is_known(folder, single, model):
    for place in (folder, single):
        first, second = registry.outline(str(place)), registry.outline(str(place))
        assert all(first.source(part) == second.source(part) for part in PARTS)
        assert not any(held(first, part) for part in PARTS)


def test_adapters_stay_on_a_part_that_is_read_again(folder):
    model = registry.load(str(folder))
    network = adapted(model).apply()
    expected = answer(model)
    model.release(DENOISER)
    model.need(DENOISER)
    assert torch.equal(answer(model), expected)
    network.remove()
    assert not torch.equal(answer(model), expected)


def test_settings_of_others_are_no_matter_and_strange_parts_are_told(model, folder):
    model.family.check(Train().model_dump())
    assert registry.load({model.family.parts[0]: str(folder)}).family is model.family
    with pytest.raises(BakeryError, match=r"train\.base\.wheel is not a part"):
        registry.load({model.family.parts[0]: str(folder), "wheel": "x"})


@pytest.mark.parametrize("convolutions", [False, True])
def test_targets_are_unique_and_named_as_kohya_does(model, convolutions):
    found = list(model.targets(convolutions=convolutions))
    assert len({target.name for target in found}) == len({id(t.layer) for t in found}) == len(found)
    assert all(re.fullmatch(r"lora_(unet|te\d?)_[a-zA-Z0-9_]+", target.name) for target in found)
    learns = {target.part for target in model.targets()}
    assert learns == set(model.parts) <= {target.part for target in found} <= {UNET, TEXT_ENCODER}
    for part, modules in model.parts.items():
        inside = {id(layer) for module in modules for layer in module.modules()}
        own = list(model.targets([part], convolutions=convolutions))
        assert own == [target for target in found if target.part == part]
        assert all(id(target.layer) in inside for target in own)
    keys = [f"{target.name}.alpha" for target in found]
    assert registry.family_of_lora(keys) is model.family


@torch.no_grad()
def test_a_text_does_not_depend_on_its_neighbours_and_can_be_cut_and_joined(model):
    lengths = {caption: model.length(caption) for caption in CAPTIONS}
    assert lengths["cat"] == lengths[CAPTIONS[0]] < lengths[CAPTIONS[2]]
    whole = model.encode(CAPTIONS[:2])
    assert all(len(tensor) == 2 for tensor in whole.values())
    alone = [model.encode([caption]) for caption in CAPTIONS[:2]]
    for name, tensor in join(alone).items():
        assert torch.allclose(tensor, whole[name], atol=1e-5)
    beside = rows(model.encode(CAPTIONS), slice(1, 2))
    again = rows(model.encode([CAPTIONS[1], CAPTIONS[2]]), slice(1))
    assert all(torch.allclose(beside[name], again[name], atol=1e-5) for name in beside)
    json.dumps([model.encoding, model.tokens("cat")])
    assert not model.cuts("cat")
    assert model.cuts("a, " * 500)
    assert model.about_length("a, " * 500).startswith("is cut")


@torch.no_grad()
def test_latents_and_answers_have_the_same_shape(model):
    space = model.latents
    pixels = torch.rand(2, 3, 4 * space.pixels, 6 * space.pixels) * 2 - 1
    mean, std = space.encode(pixels)
    latents = space.normalise(mean)
    assert mean.shape == std.shape == latents.shape == noise(model).shape == answer(model).shape
    assert torch.equal(space.normalise(mean[0]), latents[0])  # without a batch, too
    assert (std >= 0).all()
    assert space.decode(latents).shape == pixels.shape


def test_noise_comes_and_goes_as_the_target_says(model):
    process, latents = model.noise, noise(model, count=64)
    e, t = process.draw(latents.shape, torch.Generator().manual_seed(1))
    assert e.shape == latents.shape
    assert t.shape == (64,)
    again, same = process.draw(latents.shape, torch.Generator().manual_seed(1))
    assert torch.equal(e, again)
    assert torch.equal(t, same)
    assert process.noisy(latents, e, t).shape == process.target(latents, e, t).shape
    assert (process.snr(t) > 0).all()
    assert (process.target_scale(process.snr(t)) > 0).all()


def adapted(model, count=1, seed=1):
    """`count` adapters on all layers, none of them zero."""
    network = LoRANetwork.stack(model.targets(), 4, [Adapter(alpha=4.0)] * count)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return network


@torch.no_grad()
def test_several_loras_side_by_side_are_each_alone(model):
    network = adapted(model, 3).apply()
    alone = []
    for k in range(3):
        network.route([k])
        alone.append(answer(model))
    network.route()
    text = model.encode(CAPTIONS[:2] * 3)
    latents = noise(model)
    e, t = model.noise.draw(latents.shape, torch.Generator().manual_seed(2))
    noisy = model.noise.noisy(latents, e, t).repeat(3, 1, 1, 1)
    views = join([model.views(VIEWS)] * 3)
    together = model.predict(noisy, t.repeat(3), text, views).chunk(3)
    network.remove()
    for ours, theirs in zip(together, alone, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_a_lora_file_there_and_back(model, tmp_path):
    network = adapted(model).apply()
    before = answer(model)
    metadata = {key: str(value) for key, value in model.describe().items()}
    lora_file.write(tmp_path / "x.safetensors", network.state_dict_kohya(), metadata)
    network.remove()
    state, said = lora_file.read_lora(tmp_path / "x.safetensors")
    assert registry.family_of_metadata(said) is model.family
    again = LoRANetwork.for_files(model.targets(convolutions=True), [state]).apply()
    again.load_kohya(state)
    assert torch.allclose(answer(model), before, atol=1e-6)
    again.remove()
    assert not torch.allclose(answer(model), before, atol=1e-3)


@pytest.mark.slow
def test_the_loss_falls_in_20_steps(model):
    network = LoRANetwork(model.targets(), 8, 8, torch.Generator().manual_seed(1)).apply()
    learns = losses.of(Train(), model.noise)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    latents = noise(model)
    e, t = learns.draw(latents.shape, torch.Generator().manual_seed(2))
    found = []
    for _ in range(20):
        predicted = model.predict(
            learns.noisy(latents, e, t), t, model.encode(CAPTIONS[:2]), model.views(VIEWS)
        )
        loss = learns.loss(predicted, latents, e, t, torch.ones(2))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    network.remove()
    assert found[-1] < 0.9 * found[0]


@torch.inference_mode()
def test_pictures_are_finite_and_follow_text_and_generator(folder):
    model = registry.load(str(folder))
    model.prepare_to_draw()
    drawing = Drawing(next(iter(model.family.samplers), "Euler a"), 2, 4.0)

    def drawn(caption, seed=1):
        text = model.encode([caption, ""])
        generator = torch.Generator().manual_seed(seed)
        shape = (1, model.latents.channels, 4, 4)
        start = torch.randn(shape, generator=generator)
        negative = rows(text, slice(1, 2))
        return model.draw(rows(text, slice(1)), negative, start, drawing, [generator])

    first = drawn("mirael")
    assert first.shape == (1, model.latents.channels, 4, 4)
    assert torch.isfinite(first).all()
    assert torch.isfinite(model.latents.decode(first)).all()
    assert torch.equal(first, drawn("mirael"))
    assert not torch.equal(first, drawn("cat"))
    assert not torch.equal(first, drawn("mirael", seed=2))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pictures that are shown once."""
    layout = tmp_path_factory.mktemp("layout")
    repeats = layout / "1_mirael"
    repeats.mkdir()
    for i in range(2):
        Image.new("RGB", (32, 32), (240, 120, 90 * i)).save(repeats / f"{i}.png")
        (repeats / f"{i}.txt").write_text(f"mirael, smile, t{i}")
    return layout


@pytest.mark.slow
def test_a_killed_bake_ends_in_the_same_file(folder, model, pictures, tmp_path, monkeypatch):
    # SMALL trains a text encoder, where there is one that can learn
    rates = {"text_encoder_lr": SMALL["text_encoder_lr"] if TEXT_ENCODER in model.parts else None}
    settings = Train(base=str(folder), **SMALL | rates)

    def bake(out: Path):
        return Trainer(pictures).fit_one(TrainSpec(settings, out, "mirael", {}))

    whole = bake(tmp_path / "whole")
    end = Run._end_epoch

    def killed(run):
        end(run)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_end_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            bake(tmp_path / "killed")
    resumed = bake(tmp_path / "killed")
    hashes = [[row["sshs_model_hash"] for row in made["epochs"]] for made in (whole, resumed)]
    assert len(hashes[0]) == settings.num_epochs
    assert hashes[0] == hashes[1]
