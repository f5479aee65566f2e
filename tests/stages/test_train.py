import json
import math
import re
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from small_bakes import SMALL, progress

from bakery.dataset import repeat_folders
from bakery.families import registry
from bakery.io import seeds
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.settings.train import Train
from bakery.training import checkpoint, loop, setup, train_step, trainer
from bakery.training.run import finish_step

pytest_plugins = ("bake_fixtures",)


@pytest.fixture
def prepared(bases_at, layout, tmp_path):
    """(context, run) in one square bucket, nothing read from or written to disk yet."""

    def make(kind="v_prediction", **changes):
        squares = {"enable_bucket": False, "resolution": 48}
        settings = Train(**{"base": bases_at[kind], **SMALL, **squares, **changes})
        base = registry.load(settings.base)
        context = setup.make_context(settings, repeat_folders.read_folders(layout), base, 1, None)
        context.latents.prepare(context.data.views(settings) or [])
        run = setup.prepare(settings, context, out=tmp_path / "prepared", name="mirael")
        run.out.mkdir(exist_ok=True)
        return context, run

    return make


def batch_of(context, run, indices, number=0):
    """The batch `number` of these pictures with the captions as they are written."""
    items = [context.data.items[i] for i in indices]
    return repeat_folders.Batch(
        number=number,
        views=tuple(repeat_folders.View(i, *context.data.fits[i].centre) for i in indices),
        captions=tuple(item.caption for item in items),
        is_reg=tuple(item.is_reg for item in items),
    )


@pytest.mark.slow
def test_files_and_facts(bake, tmp_path):
    facts = bake()
    out = tmp_path / "out"
    files = {"mirael-000001.safetensors", "mirael.safetensors", "epochs.csv", "progress.jsonl"}
    assert {path.name for path in out.iterdir()} == files | {checkpoint.STATE, checkpoint.BEFORE}
    assert facts["pictures"] == 4
    assert facts["buckets"] == {"32x64": 2, "48x48": 6}
    assert (facts["steps_per_epoch"], facts["steps"], facts["adapters"]) == (4, 8, 66)
    assert (facts["ignored"], facts["truncated_captions"]) == (["notes"], 0)
    assert (facts["threads"], facts["empty_captions"]) == (1, 0)
    json.dumps(facts)

    table = pd.read_csv(out / "epochs.csv")
    assert list(table.columns) == ["epoch", "step", "file", "sshs_model_hash", "loss"]
    assert list(table["step"]) == [4, 8]
    lines = progress(out)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss_average"] == pytest.approx(table["loss"].iloc[-1], abs=1e-5)
    for _, row in table.iterrows():
        state, metadata = lora_file.read_lora(out / row["file"])
        assert metadata["sshs_model_hash"] == row["sshs_model_hash"]
        assert metadata["bakery_threads"] == "1"
        assert (metadata["ss_epoch"], metadata["ss_steps"]) == (str(row["epoch"]), str(row["step"]))
        assert len(state) == 3 * 66
        assert {value.dtype for value in state.values()} == {torch.float16}


@pytest.mark.slow
def test_same_config_same_bytes(bake, tmp_path):
    first, second = bake("a"), bake("b")
    assert first == second
    for name in ("mirael-000001.safetensors", "mirael.safetensors", "epochs.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = bake("c", seed=24)
    assert other["epochs"][-1]["sshs_model_hash"] != first["epochs"][-1]["sshs_model_hash"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_training_lowers_the_loss(prepared, kind):
    """On the very noise of one batch, which a few steps can learn by heart."""
    context, run = prepared(kind, unet_lr=1e-2, lr_scheduler="constant", lr_warmup_ratio=0)
    batch = batch_of(context, run, [0, 1])
    with torch.no_grad():
        before = train_step.loss(context, run, batch).item()
    for _ in range(15):
        train_step.loss(context, run, batch).backward()
        run._optimize()
    with torch.no_grad():
        assert train_step.loss(context, run, batch).item() < 0.9 * before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_steps_are_those_of_peft(prepared, bases_at, kind, tmp_path):
    """An independent loop over peft's layers, with the formulas written out, goes the same way."""
    context, run = prepared(
        kind, shuffle_caption=False, lr_scheduler="constant", lr_warmup_ratio=0, max_grad_norm=0.01
    )
    save_file(run.network.state_dict_kohya(), tmp_path / "start.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(bases_at[kind])
    pipeline.load_lora_weights(tmp_path, weight_name="start.safetensors")
    parts = {2e-3: pipeline.unet, 4e-4: pipeline.text_encoder}
    groups = []
    for rate, part in parts.items():
        learn = [p for name, p in part.named_parameters() if "lora_" in name]
        groups.append({"params": [p.requires_grad_(True) for p in learn], "lr": rate})
    optimizer = torch.optim.AdamW(groups)
    everything = [p for group in groups for p in group["params"]]
    betas = registry.load(bases_at[kind]).noise_scheduler.betas
    for step in range(3):
        batch = batch_of(context, run, [0, 2], step)
        loss = train_step.loss(context, run, batch)
        loss.backward()
        ours, norm = loss.item(), run._optimize().item()
        x = torch.stack([context.latents.draw(view, 23) for view in batch.views])
        draw = seeds.generator(23, "noise", step)
        noise = torch.randn(x.shape, generator=draw)
        t = torch.randint(1000, (2,), generator=draw)
        signal = (1 - betas).cumprod(0)[t].view(2, 1, 1, 1)
        noisy = signal.sqrt() * x + (1 - signal).sqrt() * noise
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * x
        text, _ = pipeline.encode_prompt(list(batch.captions), "cpu", 1, False)
        target = noise if kind == "epsilon" else velocity
        loss = (pipeline.unet(noisy, t, text).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        theirs = torch.nn.utils.clip_grad_norm_(everything, 0.01)
        optimizer.step()
        assert ours == pytest.approx(loss.item(), rel=1e-5)
        assert norm == pytest.approx(theirs.item(), rel=1e-3)
    assert norm > 0.01  # clipping took part
    probe = torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        their_text = pipeline.encode_prompt(["mirael"], "cpu", 1, False)[0]
        our_text = context.base.encode(["mirael"])["hidden"]
        assert (their_text - our_text).abs().max() < 1e-4
        theirs = pipeline.unet(probe, 500, their_text).sample
        assert (theirs - context.base.unet(probe, 500, our_text).sample).abs().max() < 1e-4


@pytest.mark.slow
def test_a_step_over_two_batches_is_one_over_both(prepared):
    """With gradient accumulation the gradient is the mean of the batches' gradients."""
    steady = {"lr_scheduler": "constant", "lr_warmup_ratio": 0, "optimizer_type": "AdamW"}
    context, halves = prepared(gradient_accumulation_steps=2, **steady)
    halves.begin_epoch(context.data)
    for _ in range(2):
        batch = halves.next_batch()
        loss = train_step.loss(context, halves, batch)
        halves.scaled(loss).backward()
        summed = [p.grad.clone() for p in halves.parameters]
        finish_step([(halves, halves.accumulate(loss))])
        assert halves.step == (halves._place == 2)
    expected = []
    halves.network.remove()
    context, whole = prepared(**steady)
    whole.begin_epoch(context.data)
    for _ in range(2):
        train_step.loss(context, whole, whole.next_batch()).backward()
    expected = [p.grad / 2 for p in whole.parameters]
    for ours, theirs in zip(summed, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)


def test_accumulation_is_refused_beyond_an_epoch(bake):
    with pytest.raises(BakeryError, match=r"gradient_accumulation_steps is 5, .* only 4 batches"):
        bake(gradient_accumulation_steps=5)


@pytest.mark.slow
def test_accumulation_counts_steps_as_kohya_does(bake, tmp_path):
    facts = bake(gradient_accumulation_steps=3)
    assert (facts["steps_per_epoch"], facts["steps"]) == (2, 4)  # 4 batches: 3 and 1
    assert len(progress(tmp_path / "out")) == 4


def test_a_warm_up_step_at_rate_zero_changes_nothing(bake, tmp_path):
    bake(max_steps=1, lr_warmup_ratio=1)
    state, _ = lora_file.read_lora(tmp_path / "out" / "mirael.safetensors")
    assert not any(value.any() for key, value in state.items() if "lora_up" in key)


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [({"text_encoder_lr": 0}, "lora_unet_"), ({"unet_lr": 0}, "lora_te_text_model_")],
)
def test_a_part_at_rate_zero_is_left_out(bake, tmp_path, changes, prefix):
    bake(max_steps=2, lr_warmup_ratio=0, **changes)
    state, _ = lora_file.read_lora(tmp_path / "out" / "mirael.safetensors")
    assert all(key.startswith(prefix) for key in state)
    ups = [value for key, value in state.items() if "lora_up" in key]
    assert sum(bool(value.any()) for value in ups) > 0.9 * len(ups)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({"num_epochs": 5, "save_every_n_epochs": 2}, [(2, 8), (4, 16), (5, 20)]),
        ({"num_epochs": 5, "max_steps": 6}, [(1, 4), (2, 6)]),
        ({"num_epochs": 1, "max_steps": 6}, [(1, 4), (2, 6)]),
    ],
)
def test_which_epochs_are_saved(bake, changes, saved):
    rows = bake(**changes)["epochs"]
    assert [(row["epoch"], row["step"]) for row in rows] == saved
    names = [f"mirael-{epoch:06d}.safetensors" for epoch, _ in saved[:-1]]
    assert [row["file"] for row in rows] == [*names, "mirael.safetensors"]


@pytest.mark.slow
def test_clip_skip_changes_the_bake(bake):
    hashes = {bake(max_steps=2, clip_skip=n)["epochs"][-1]["loss"] for n in (1, 2)}
    assert len(hashes) == 2


def test_without_buckets_everything_is_one_square(bake):
    facts = bake(enable_bucket=False, max_steps=1)
    assert facts["buckets"] == {"48x48": 8}


@pytest.mark.slow
def test_long_captions_are_counted(bake, layout, caplog):
    caption = layout / "2_mirael" / "0.txt"
    kept = caption.read_text()
    caption.write_text("mirael, " + "a" * 80)
    try:
        assert bake(max_steps=1, max_token_length=75)["truncated_captions"] == 1
        assert bake(max_steps=1, max_token_length=150)["truncated_captions"] == 0
    finally:
        caption.write_text(kept)


@pytest.mark.parametrize("precision", ["float", "bf16"])
def test_save_precision(bake, tmp_path, precision):
    bake(max_steps=1, save_precision=precision)
    state, _ = lora_file.read_lora(tmp_path / "out" / "mirael.safetensors")
    assert {value.dtype for value in state.values()} == {lora_file.DTYPES[precision]}


@pytest.mark.slow
def test_bf16_goes_nearly_the_same_way(bake):
    exact, rough = (bake(mixed_precision=mode)["epochs"][-1] for mode in ("no", "bf16"))
    assert rough["loss"] != exact["loss"]
    assert rough["loss"] == pytest.approx(exact["loss"], rel=0.02)


@pytest.mark.slow
def test_a_run_after_a_kill_starts_clean(bake, tmp_path):
    out = tmp_path / "out"
    clean = bake("clean")
    out.mkdir()
    for name in ("mirael-000001.safetensors", "mirael-000009.safetensors", "epochs.csv",
                 "mirael.safetensors.part", "progress.jsonl", checkpoint.STATE):  # fmt: skip
        (out / name).write_text("half")
    (out / "keep.txt").write_text("not ours")
    assert bake() == clean
    names = {path.name for path in (tmp_path / "clean").iterdir()}
    assert {path.name for path in out.iterdir()} == names | {"keep.txt"}


def test_a_bake_that_blows_up_says_so(bake):
    with pytest.raises(BakeryError) as told:
        bake(unet_lr=1e30, lr_scheduler="constant", lr_warmup_ratio=0)
    assert re.search(r"is (nan|inf) at step \d of epoch 1 \(unet_lr 1e\+30, ", str(told.value))
    assert "lower the learning rates" in str(told.value)


class BurningUNet(torch.nn.Module):
    """Answers `good` times, then with NaN."""

    def __init__(self, unet, good):
        super().__init__()
        self.unet, self.good = unet, good

    def forward(self, *args, **more):
        self.good -= 1
        answer = self.unet(*args, **more)
        answer.sample = answer.sample * (1.0 if self.good >= 0 else math.nan)
        return answer


@pytest.mark.slow
def test_the_epochs_before_a_nan_stay(prepared):
    context, run = prepared(num_epochs=3)  # of 4 steps
    run.checkpoint.owner = "me"
    run.restore()
    context.base.unet = BurningUNet(context.base.unet, good=6)
    loop.fit(context, [run])
    assert run.failure.startswith("the loss is nan at step 7 of epoch 2 (unet_lr ")
    names = {path.name for path in run.out.iterdir()}
    kept = {"mirael-000001.safetensors", "epochs.csv", "progress.jsonl"}
    assert names == kept | {checkpoint.STOPPED, "stopped.seal", checkpoint.STATE}
    table = pd.read_csv(run.out / "epochs.csv")
    _, metadata = lora_file.read_lora(run.out / "mirael-000001.safetensors")
    assert list(table["sshs_model_hash"]) == [metadata["sshs_model_hash"]]
    assert len(progress(run.out)) == 6
    record = json.loads((run.out / checkpoint.STOPPED).read_text())
    assert (record["epoch"], record["step"], record["failure"]) == (2, 7, run.failure)


@pytest.mark.slow
def test_a_failed_bake_does_not_fail_again_and_again(bake, tmp_path):
    burnt = {"unet_lr": 1e30, "lr_scheduler": "constant", "lr_warmup_ratio": 0}
    with pytest.raises(BakeryError, match="at step"):
        bake(**burnt)
    (tmp_path / "out" / "progress.jsonl").write_text("")
    with pytest.raises(BakeryError, match="failed before and would again") as told:
        bake(**burnt)
    assert (tmp_path / "out" / "progress.jsonl").read_text() == ""  # no step was taken
    assert "stopped.json" in str(told.value)
    bake(max_steps=1)  # other settings in the same place try again
    assert not (tmp_path / "out" / checkpoint.STOPPED).exists()


def test_weights_too_large_for_the_file(bake):
    with pytest.raises(BakeryError, match="too large for save_precision fp16 after epoch 1"):
        bake(unet_lr=1e5, text_encoder_lr=0, lr_scheduler="constant", lr_warmup_ratio=0,
             max_steps=1)  # fmt: skip


def test_devices_that_are_not_there(bake):
    with pytest.raises(BakeryError, match="fp16, which needs a GPU"):
        bake(mixed_precision="fp16")
    if not torch.cuda.is_available():
        settings = Train(**SMALL)
        with pytest.raises(BakeryError, match="torch sees no GPU"):
            trainer._check_device(settings, "cuda")


def test_bucket_steps_finer_than_the_vae():
    coarse = SimpleNamespace(latents=SimpleNamespace(grid=32), path="x")
    with pytest.raises(BakeryError, match=r"bucket_reso_steps is 16, .* give a multiple of 32"):
        setup._sizes(Train(**SMALL), coarse)


def test_a_caption_of_10000_characters_and_one_without_any(bake, layout, caplog):
    long, empty = layout / "2_mirael" / "0.txt", layout / "2_mirael" / "1.txt"
    kept = long.read_text(), empty.read_text()
    long.write_text("mirael, " + "very long hair, " * 625)
    empty.write_text("\n")
    try:
        facts = bake(max_steps=2)
    finally:
        long.write_text(kept[0])
        empty.write_text(kept[1])
    assert (facts["truncated_captions"], facts["empty_captions"]) == (1, 1)
    assert "1 captions are longer than max_token_length 225 and are cut" in caplog.text
    assert "1 captions are empty, so these pictures train the empty prompt" in caplog.text
