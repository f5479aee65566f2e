"""The second loss: what is shown without the trigger has to be predicted as the base predicts it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from bakery.dataset import repeat_folders
from bakery.dataset.repeat_folders import Batch, View
from bakery.families import registry
from bakery.io.errors import BakeryError
from bakery.settings.train import Train
from bakery.training import preservation, setup, train_step
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

pytest_plugins = ("bake_fixtures",)


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("mirael, smile, red shirt", "smile, red shirt"),
        ("1girl, Mirael, smile", "1girl, smile"),
        ("mirael", ""),
        ("mirael, idol_dress, stage", "stage"),
        ("smile, Mirael smiles at a cat.", "smile, smiles at a cat."),
        ("smile, miraelle,  red", "smile, miraelle,  red"),
        ("", ""),
    ],
)
def test_bare(caption, left):
    assert preservation.bare(caption, ("mirael", "idol dress")) == left


def test_without_a_trigger_nothing_can_be_left_out():
    assert preservation.bare("mirael, smile", ()) == "mirael, smile"


@pytest.mark.parametrize(
    ("share", "rows"), [(0.1, (0,)), (0.25, (0,)), (0.5, (0, 2)), (1.0, (0, 2, 3))]
)
def test_only_captions_that_have_the_trigger_are_shown_again(share, rows):
    shown = ("mirael, a", "b", "mirael, c", "mirael, d")
    batch = Batch(0, (View(0, 0, 0),) * 4, shown, (False,) * 4)
    settings = Train(output_preservation=1, output_preservation_share=share)
    again = preservation.shown_again(settings, batch, ("mirael",))
    assert again.rows == rows
    assert again.captions == tuple(shown[row].removeprefix("mirael, ") for row in rows)
    assert not len(preservation.shown_again(Train(), batch, ("mirael",)))


@pytest.fixture
def prepared(bases_at, layout, tmp_path):
    """Context and run of a bake whose LoRA has learned something, and its first batch."""

    def make(**changes):
        settings = Train(
            base=bases_at["v_prediction"], resolution=48, min_bucket_reso=32, max_bucket_reso=64,
            bucket_reso_steps=16, network_dim=4, train_batch_size=2, num_epochs=1,
            lr_warmup_ratio=0, **changes,
        )  # fmt: skip
        base = registry.outline(settings.base, "cpu", torch.float32)
        context = setup.make_context(settings, repeat_folders.read_folders(layout), base, 1, None)
        context.triggers = ("mirael",)
        setup.encode([TrainSpec(settings, tmp_path / "o", "m", {})], context)
        run = setup.prepare(settings, context, out=tmp_path / "o", name="m")
        for parameter in run.parameters:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
        context.latents.prepare(context.data.views(settings))
        (batch, *_) = [b for b in context.data.epoch(settings, 1) if len(b.views) == 2]
        return context, run, batch

    return make


@pytest.mark.parametrize("text_encoder_lr", [0.0, 1e-3])
def test_the_second_loss_is_the_distance_to_the_base(prepared, text_encoder_lr):
    """Against the definition: base and LoRA asked in passes of their own."""
    context, run, batch = prepared(
        output_preservation=0.5, output_preservation_share=1, text_encoder_lr=text_encoder_lr
    )
    noisy_batch = train_step.add_noise(context, run, batch)
    (both,) = train_step.losses(context, [noisy_batch])
    x = run.diffusion.noisy(noisy_batch.latents, noisy_batch.noise, noisy_batch.t)
    base, t = context.base, noisy_batch.t
    bare = [caption.replace("mirael, ", "") for caption in batch.captions]
    base.need("texts", "denoiser")
    with torch.no_grad():
        shown = base.predict(x, t, base.encode(list(batch.captions)))
        without = base.predict(x, t, base.encode(bare))
        with run.network.switched_off():
            by_base = base.predict(x, t, base.encode(bare))
    own = run.diffusion.loss(
        shown, noisy_batch.latents, noisy_batch.noise, t, noisy_batch.importance
    )
    kept = (without - by_base).square().mean()
    assert kept > 0.01 * own
    torch.testing.assert_close(both.detach(), own + 0.5 * kept, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_of_the_lora_alone(prepared):
    """Weight 0 in the training's own loss: what is left pulls the LoRA back to the base."""
    context, run, batch = prepared(output_preservation=1, output_preservation_share=1)
    noisy_batch = train_step.add_noise(context, run, batch)
    noisy_batch.importance.zero_()
    optimizer = torch.optim.Adam(run.parameters, lr=3e-3)
    found = []
    for _ in range(12):
        (loss,) = train_step.losses(context, [noisy_batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]
    assert run.network.routing.multiplier == [1.0]


@pytest.mark.slow
def test_bakes_side_by_side_ask_the_base_once(bases_at, layout, tmp_path, monkeypatch):
    """Those that differ in a rate have the same noise; each is what it would be alone."""
    small = {
        "base": bases_at["v_prediction"], "resolution": 48, "min_bucket_reso": 32,
        "max_bucket_reso": 64, "bucket_reso_steps": 16, "network_dim": 4, "train_batch_size": 2,
        "num_epochs": 1, "save_precision": "float", "output_preservation": 1.0, "fuse": 2,
    }  # fmt: skip
    asked = []
    real = preservation.base_predictions

    def counted(base, network, questions):
        asked.append((len(questions), len({question.same for question in questions})))
        return real(base, network, questions)

    monkeypatch.setattr(preservation, "base_predictions", counted)
    settings = [Train(**small, unet_lr=rate) for rate in (1e-3, 3e-4)]
    together, alone = (
        [TrainSpec(one, tmp_path / name / str(i), "m", {}) for i, one in enumerate(settings)]
        for name in ("together", "alone")
    )
    Trainer(layout, triggers=("mirael",)).fit(together)
    assert set(asked) == {(2, 1)}
    for beside, spec in zip(together, alone, strict=True):
        Trainer(layout, triggers=("mirael",)).fit_one(spec)
        mine, own = (load_file(s.out / "m.safetensors") for s in (beside, spec))
        for key, weight in own.items():
            torch.testing.assert_close(mine[key], weight, rtol=1e-3, atol=2e-5, msg=key)


def test_without_the_trigger_in_any_caption_it_is_refused(bases_at, layout, tmp_path):
    settings = Train(base=bases_at["v_prediction"], output_preservation=1)
    with pytest.raises(BakeryError, match=r"no caption has the trigger \(other\)"):
        Trainer(layout, triggers=("other",)).fit_one(TrainSpec(settings, tmp_path, "m", {}))


def test_a_share_alone_is_refused():
    with pytest.raises(ValueError, match="does nothing without output_preservation"):
        Train(output_preservation_share=0.25)
