import json
import math
import re
from types import SimpleNamespace
from typing import get_args

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tiny_base import tiny_sd1

from bakery import base as bases
from bakery import dataset, kohya, seeds, train
from bakery.errors import BakeryError
from bakery.train_settings import LrScheduler, Train

SMALL = {
    "resolution": 48,
    "min_bucket_reso": 32,
    "max_bucket_reso": 64,
    "bucket_reso_steps": 16,
    "network_dim": 4,
    "network_alpha": 2,
    "train_batch_size": 2,
    "num_epochs": 2,
    "text_encoder_lr": 4e-4,
}


@pytest.fixture(scope="module")
def bases_at(tmp_path_factory):
    """prediction type -> folder."""
    root = tmp_path_factory.mktemp("bases")
    return {
        kind: str(tiny_sd1(root / kind, prediction_type=kind))
        for kind in ("v_prediction", "epsilon")
    }


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Four pictures in two buckets, shown twice: 3 + 1 pictures, batch 2, so 4 steps an epoch."""
    root = tmp_path_factory.mktemp("layout")
    folder = root / "2_mirael"
    folder.mkdir()
    for i, size in enumerate([(32, 32), (40, 40), (64, 60), (20, 60)]):
        image = Image.new("RGB", size, (240, 120, 40 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 16, 16), fill=(30, 60 * i, 200))
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"mirael, smile, red, blue, t{i}")
    (root / "notes").mkdir()
    return root


@pytest.fixture
def bake(bases_at, layout, tmp_path):
    def run(folder="out", kind="v_prediction", **changes):
        settings = Train(**{"base": bases_at[kind], **SMALL, **changes})
        return train.run(
            settings,
            layout=layout,
            out=tmp_path / folder,
            name="mirael",
            metadata={"trigger": "mirael", "config": {"train": changes}},
            device="cpu",
            threads=1,
        )

    return run


@pytest.fixture
def prepared(bases_at, layout):
    def make(kind="v_prediction", **changes):
        settings = Train(**{"base": bases_at[kind], **SMALL, **changes})
        base = bases.load(settings.base)
        data = dataset.encode(dataset.read(layout), ((48, 48),), base, settings.seed)
        return train.prepare(settings, base, data)

    return make


def progress(out):
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]


def test_files_and_facts(bake, tmp_path):
    facts = bake()
    out = tmp_path / "out"
    files = {"mirael-000001.safetensors", "mirael.safetensors", "epochs.csv", "progress.jsonl"}
    assert {path.name for path in out.iterdir()} == files
    assert facts["pictures"] == 4
    assert facts["buckets"] == {"32x64": 2, "48x48": 6}
    assert (facts["steps_per_epoch"], facts["steps"], facts["adapters"]) == (4, 8, 66)
    assert (facts["ignored"], facts["truncated_captions"]) == (["notes"], 0)
    json.dumps(facts)

    table = pd.read_csv(out / "epochs.csv")
    assert list(table.columns) == ["epoch", "step", "file", "sshs_model_hash", "loss"]
    assert list(table["step"]) == [4, 8]
    lines = progress(out)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss_average"] == pytest.approx(table["loss"].iloc[-1], abs=1e-5)
    for _, row in table.iterrows():
        state, metadata = kohya.read(out / row["file"])
        assert metadata["sshs_model_hash"] == row["sshs_model_hash"]
        assert (metadata["ss_epoch"], metadata["ss_steps"]) == (str(row["epoch"]), str(row["step"]))
        assert len(state) == 3 * 66
        assert {value.dtype for value in state.values()} == {torch.float16}


def test_same_config_same_bytes(bake, tmp_path):
    first, second = bake("a"), bake("b")
    assert first == second
    for name in ("mirael-000001.safetensors", "mirael.safetensors", "epochs.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = bake("c", seed=24)
    assert other["epochs"][-1]["sshs_model_hash"] != first["epochs"][-1]["sshs_model_hash"]


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_training_lowers_the_loss(prepared, kind):
    """On the very noise of step 0, which a few steps can learn by heart."""
    bake = prepared(kind, unet_lr=1e-2, lr_scheduler="constant", lr_warmup_ratio=0)
    with torch.no_grad():
        before = train.batch_loss(bake, [0, 1], 0).item()
    for _ in range(15):
        train.training_step(bake, [0, 1], 0)
    with torch.no_grad():
        assert train.batch_loss(bake, [0, 1], 0).item() < 0.9 * before


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_steps_are_those_of_peft(prepared, bases_at, kind, tmp_path):
    """An independent loop over peft's layers, with the formulas written out, goes the same way."""
    bake = prepared(
        kind, shuffle_caption=False, lr_scheduler="constant", lr_warmup_ratio=0, max_grad_norm=0.01
    )
    save_file(bake.network.state_dict_kohya(), tmp_path / "start.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(bases_at[kind])
    pipeline.load_lora_weights(tmp_path, weight_name="start.safetensors")
    parts = {2e-3: pipeline.unet, 4e-4: pipeline.text_encoder}
    groups = []
    for rate, part in parts.items():
        learn = [p for name, p in part.named_parameters() if "lora_" in name]
        groups.append({"params": [p.requires_grad_(True) for p in learn], "lr": rate})
    optimizer = torch.optim.AdamW(groups)
    everything = [p for group in groups for p in group["params"]]
    betas = bases.load(bases_at[kind]).noise_scheduler.betas
    batch = [0, 2]
    for step in range(3):
        ours, norm = train.training_step(bake, batch, step)
        x = torch.stack([bake.data.latents[i] for i in batch])
        draw = seeds.generator(23, "noise", step)
        noise = torch.randn(x.shape, generator=draw)
        t = torch.randint(1000, (2,), generator=draw)
        signal = (1 - betas).cumprod(0)[t].view(2, 1, 1, 1)
        noisy = signal.sqrt() * x + (1 - signal).sqrt() * noise
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * x
        text, _ = pipeline.encode_prompt(
            [bake.data.items[i].caption for i in batch], "cpu", 1, False
        )
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
        our_text = bases.encode(bake.base, ["mirael"], 1).hidden
        assert (their_text - our_text).abs().max() < 1e-4
        theirs = pipeline.unet(probe, 500, their_text).sample
        assert (theirs - bake.base.unet(probe, 500, our_text).sample).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", get_args(LrScheduler))
def test_every_scheduler_sets_the_rates(bake, tmp_path, scheduler):
    warm = 0 if scheduler == "constant" else 0.25
    bake(lr_scheduler=scheduler, lr_warmup_ratio=warm, max_steps=4, lr_scheduler_num_cycles=1)
    rates = [(line["unet_lr"], line["text_encoder_lr"]) for line in progress(tmp_path / "out")]
    end = {
        "linear": 1 / 3,
        "polynomial": 1 / 3,
        "cosine": 0.25,
        "cosine_with_restarts": 0.25,
        "constant": 1,
        "constant_with_warmup": 1,
    }[scheduler]
    assert rates[0] == ((2e-3, 4e-4) if scheduler == "constant" else (0, 0))
    assert rates[1] == (2e-3, 4e-4)
    assert rates[3] == pytest.approx((2e-3 * end, 4e-4 * end), rel=1e-3)


def test_a_warm_up_step_at_rate_zero_changes_nothing(bake, tmp_path):
    bake(max_steps=1, lr_warmup_ratio=1)
    state, _ = kohya.read(tmp_path / "out" / "mirael.safetensors")
    assert not any(value.any() for key, value in state.items() if "lora_up" in key)


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [({"text_encoder_lr": 0}, "lora_unet_"), ({"unet_lr": 0}, "lora_te_text_model_")],
)
def test_a_part_at_rate_zero_is_left_out(bake, tmp_path, changes, prefix):
    bake(max_steps=2, lr_warmup_ratio=0, **changes)
    state, _ = kohya.read(tmp_path / "out" / "mirael.safetensors")
    assert all(key.startswith(prefix) for key in state)
    ups = [value for key, value in state.items() if "lora_up" in key]
    assert sum(bool(value.any()) for value in ups) > 0.9 * len(ups)


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


def test_captions_are_shuffled_behind_the_kept_tokens(prepared):
    bake = prepared(keep_tokens=2)
    shown = {train.shown_captions(bake, [0], step)[0] for step in range(20)}
    assert len(shown) > 3
    for caption in shown:
        tags = caption.split(", ")
        assert tags[:2] == ["mirael", "smile"]
        assert sorted(tags[2:]) == ["blue", "red", "t0"]
    still = prepared(keep_tokens=2, shuffle_caption=False)
    assert train.shown_captions(still, [0], 5) == ["mirael, smile, red, blue, t0"]


def test_clip_skip_changes_the_bake(bake):
    hashes = {bake(max_steps=2, clip_skip=n)["epochs"][-1]["loss"] for n in (1, 2)}
    assert len(hashes) == 2


def test_without_buckets_everything_is_one_square(bake):
    facts = bake(enable_bucket=False, max_steps=1)
    assert facts["buckets"] == {"48x48": 8}


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
    state, _ = kohya.read(tmp_path / "out" / "mirael.safetensors")
    assert {value.dtype for value in state.values()} == {kohya.DTYPES[precision]}


def test_bf16_goes_nearly_the_same_way(bake):
    exact, rough = (bake(mixed_precision=mode)["epochs"][-1] for mode in ("no", "bf16"))
    assert rough["loss"] != exact["loss"]
    assert rough["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_a_run_after_a_kill_starts_clean(bake, tmp_path):
    out = tmp_path / "out"
    clean = bake("clean")
    out.mkdir()
    for name in ("mirael-000001.safetensors", "mirael-000009.safetensors", "epochs.csv",
                 "mirael.safetensors.part", "progress.jsonl"):  # fmt: skip
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

    def forward(self, *args):
        self.good -= 1
        answer = self.unet(*args)
        answer.sample = answer.sample * (1.0 if self.good >= 0 else math.nan)
        return answer


def test_the_epochs_before_a_nan_stay(prepared, tmp_path):
    bake = prepared(num_epochs=3)  # of 4 steps
    bake.base.unet = BurningUNet(bake.base.unet, good=6)
    with pytest.raises(BakeryError, match="the loss is nan at step 7 of epoch 2"):
        train.fit(bake, tmp_path, "mirael", {})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mirael-000001.safetensors", "epochs.csv", "progress.jsonl"}
    table = pd.read_csv(tmp_path / "epochs.csv")
    _, metadata = kohya.read(tmp_path / "mirael-000001.safetensors")
    assert list(table["sshs_model_hash"]) == [metadata["sshs_model_hash"]]
    assert len(progress(tmp_path)) == 6


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
            train._check_device(settings, "cuda")


def test_bucket_steps_finer_than_the_vae(prepared):
    coarse = SimpleNamespace(pixels_per_latent=32, path="x")
    with pytest.raises(BakeryError, match=r"bucket_reso_steps is 16, .* give a multiple of 32"):
        train._encode(Train(**SMALL), None, coarse)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_advice(error):
    with pytest.raises(BakeryError) as told, train._memory(Train(**SMALL)):
        raise error
    for word in ("train_batch_size (2)", "resolution (48)", "network_dim (4)", "mixed_precision"):
        assert word in str(told.value)


def test_other_errors_are_not_called_memory():
    with pytest.raises(RuntimeError, match="something else"), train._memory(Train(**SMALL)):
        raise RuntimeError("something else")


def test_progress_lines(prepared, tmp_path):
    bake = prepared()
    with (tmp_path / "p").open("w") as stream:
        progress = train.Progress(stream, bake.plan)
        progress.write(1, 1, 0.5, 0.25, bake.optimizer)
        progress.write(2, 1, 0.3, math.inf, bake.optimizer)
    first, second = map(json.loads, (tmp_path / "p").read_text().splitlines())
    assert {"steps", "epochs", "steps_per_second", "eta_seconds", "unet_lr"} <= first.keys()
    assert (first["grad_norm"], second["grad_norm"]) == (0.25, None)
    assert second["loss_average"] == pytest.approx(0.4)
