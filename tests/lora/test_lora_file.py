import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from tiny_base import tiny_sd1, tiny_sdxl

from bakery.dataset import repeat_folders
from bakery.families import registry, targets
from bakery.io.errors import BakeryError
from bakery.lora import lora_file
from bakery.lora.network import LoRANetwork
from bakery.settings.train import Train
from bakery.training import metadata, schedules

NOTES = {f"ss_{i}": str(i) for i in range(30)}


def some_state(numbers=10):
    return {
        "lora_unet_x.lora_down.weight": torch.arange(numbers, dtype=torch.float16),
        "lora_unet_x.alpha": torch.tensor(4.0, dtype=torch.float16),
    }


def by_hand(file):
    """(metadata, everything behind the header), by the format's definition."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])["__metadata__"], content[8 + length :]


def test_equal_bytes_for_equal_bakes(tmp_path):
    turned = dict(reversed(NOTES.items()))
    for name, notes in (("a", NOTES), ("b", turned)):
        lora_file.write(tmp_path / name, some_state(), notes)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_model_hash_covers_the_tensors_alone(tmp_path):
    file = tmp_path / "x.safetensors"
    model_hash = lora_file.write(file, some_state(), NOTES)
    metadata, data = by_hand(file)
    assert model_hash == hashlib.sha256(data).hexdigest() == metadata["sshs_model_hash"]
    assert metadata["modelspec.hash_sha256"] == "0x" + model_hash
    assert lora_file.write(file, some_state(), {"ss_0": "something else"}) == model_hash
    assert lora_file.write(file, some_state(11), NOTES) != model_hash


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (10, "e3b0c442"),  # of nothing, in a small file
        (700_000, "54811e1b"),
    ],
)
def test_legacy_hash_is_kohyas(tmp_path, numbers, expected):
    """Golden values of its precalculate_safetensors_hashes."""
    file = tmp_path / "x.safetensors"
    lora_file.write(file, some_state(numbers), NOTES | {"bakery_bake": "not of kohya's" * 99})
    assert by_hand(file)[0]["sshs_legacy_hash"] == expected


@pytest.mark.parametrize("length", range(0, 40, 3))
def test_legacy_hash_is_of_the_file_with_ss_metadata_only(tmp_path, length):
    """Wherever the header's padding ends."""
    state, notes = some_state(700_000), {"ss_note": 'é\n"\\' + "x" * length}
    file = tmp_path / "x.safetensors"
    lora_file.write(file, state, notes | {"bakery_x": "1", "modelspec.title": "mirael"})
    window = save(state, notes)[0x100000 : 0x100000 + 0x10000]
    assert by_hand(file)[0]["sshs_legacy_hash"] == hashlib.sha256(window).hexdigest()[:8]


def test_a_header_beyond_1_mib_has_a_legacy_hash_all_the_same(tmp_path):
    file = tmp_path / "x.safetensors"
    for at in (0x100000 - 300, 0x100000, 0x120000):
        lora_file.write(file, some_state(), {"ss_tag_frequency": "x" * at})
        metadata, data = by_hand(file)
        window = save(some_state(), {"ss_tag_frequency": "x" * at})[0x100000:][:0x10000]
        assert metadata["sshs_legacy_hash"] == hashlib.sha256(window).hexdigest()[:8]
        assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest()


def test_safetensors_reads_what_was_written(tmp_path):
    file = tmp_path / "x.safetensors"
    lora_file.write(file, some_state(), {"note": 'é 日本 "quoted"', **NOTES})
    state, metadata = lora_file.read_lora(file)
    assert metadata["note"] == 'é 日本 "quoted"'
    assert {k: v.tolist() for k, v in state.items()} == {
        k: v.tolist() for k, v in some_state().items()
    }
    with safe_open(file, framework="np") as other:
        assert set(other.keys()) == set(state)


def test_damaged_file(tmp_path):
    file = tmp_path / "x.safetensors"
    with pytest.raises(BakeryError, match="does not exist"):
        lora_file.read_lora(file)
    lora_file.write(file, some_state(), NOTES)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(BakeryError, match=r"x\.safetensors is damaged"):
        lora_file.read_lora(file)


@pytest.mark.parametrize("precision", lora_file.DTYPES)
def test_alpha_has_the_dtype_of_the_weights(tmp_path, precision):
    network = LoRANetwork(targets.of_text_encoders([tiny_text_encoder()]), 4, 2.0)
    lora_file.write(tmp_path / "x", network.state_dict_kohya(lora_file.DTYPES[precision]), {})
    state, _ = lora_file.read_lora(tmp_path / "x")
    assert {value.dtype for value in state.values()} == {lora_file.DTYPES[precision]}
    assert {float(v) for k, v in state.items() if k.endswith(".alpha")} == {2.0}


def tiny_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
    )


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    return described(tiny_sd1, tmp_path_factory)


def described(model, tmp_path_factory, **more):
    folder = model(tmp_path_factory.mktemp("models") / "toon", **more)
    layout = tmp_path_factory.mktemp("layout")
    (layout / "5_mirael").mkdir()
    (layout / "reg" / "1_girl").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(layout / "reg" / "1_girl" / "0.png")
    for i, size in enumerate([(64, 64), (64, 64), (32, 64)]):
        Image.new("RGB", size).save(layout / "5_mirael" / f"{i}.png")
        (layout / "5_mirael" / f"{i}.txt").write_text("mirael, smile")
    settings = Train(
        base=str(folder), network_dim=8, network_alpha=0, train_batch_size=2, num_epochs=4,
        clip_skip=2, resolution=64, min_bucket_reso=32, max_bucket_reso=96, unet_lr=1e-3,
        text_encoder_lr=0, gradient_accumulation_steps=3, min_snr_gamma=5, noise_offset=0.05,
        caption_dropout_rate=0.1, caption_dropout_every_n_epochs=4, caption_tag_dropout_rate=0.2,
        flip_aug=True, random_crop=True, prior_loss_weight=0.5, network_dropout=0.1, conv_dim=4,
        scale_weight_norms=1, gradient_checkpointing=True, optimizer_args={"weight_decay": 0.1},
    )  # fmt: skip
    base = registry.load(settings.base, **settings.model_dump(exclude={"base"}))
    folders = repeat_folders.read_folders(layout)
    data = repeat_folders.arrange(folders, ((32, 96), (64, 64)))
    return metadata.describe(
        settings,
        name="mirael",
        base=base,
        folders=folders,
        data=data,
        counts=schedules.step_counts(settings, data.batches_per_epoch(2)),
        extra={"trigger": "mirael", "config": {"train": {"seed": 23}}},
        optimizer="torch.optim.adamw.AdamW(weight_decay=0.1)",
    )


def test_what_a1111_reads(description):
    expected = {
        "ss_output_name": "mirael",
        "ss_base_model_version": "sd_v1_v",  # the tiny model predicts v
        "ss_training_comment": "None",
        "ss_sd_model_hash": "IsADirectory",  # as kohya's scripts say of a folder
        "ss_new_sd_model_hash": "IsADirectory",
        "ss_v2": "False",
        "ss_sd_model_name": "toon",
        "ss_clip_skip": "2",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "8.0",
        "ss_num_epochs": "4",
        "ss_max_train_steps": "24",
        "ss_resolution": "(64, 64)",
    }
    assert expected.items() <= description.items()
    assert json.loads(description["ss_tag_frequency"]) == {
        "5_mirael": {"mirael": 3, "smile": 3},
        "1_girl": {"girl": 1},
    }
    assert json.loads(description["ss_dataset_dirs"]) == {
        "5_mirael": {"n_repeats": 5, "img_count": 3}
    }
    buckets = json.loads(description["ss_bucket_info"])
    assert buckets["buckets"] == {
        "0": {"resolution": [32, 96], "count": 5},
        "1": {"resolution": [64, 64], "count": 25},
    }
    assert buckets["mean_img_ar_error"] == pytest.approx((1 / 2 - 1 / 3) / 4)


def test_the_dataset_in_detail(description):
    (dataset,) = json.loads(description["ss_datasets"])
    for key in ("tag_frequency", "bucket_info"):
        assert dataset.pop(key) == json.loads(description[f"ss_{key}"])
    train, reg = dataset.pop("subsets")
    assert dataset == {
        "is_dreambooth": True,
        "batch_size_per_device": 2,
        "num_train_images": 15,
        "num_reg_images": 1,
        "resolution": [64, 64],
        "enable_bucket": True,
        "min_bucket_reso": 32,
        "max_bucket_reso": 96,
        "resize_interpolation": None,
    }
    assert train == {
        "img_count": 3, "num_repeats": 5, "color_aug": False, "flip_aug": True,
        "random_crop": True, "shuffle_caption": True, "keep_tokens": 1,
        "keep_tokens_separator": None, "secondary_separator": None, "enable_wildcard": False,
        "caption_prefix": None, "caption_suffix": None, "resize_interpolation": None,
        "image_dir": "5_mirael", "class_tokens": "mirael", "is_reg": False,
    }  # fmt: skip
    same = ("img_count", "num_repeats", "image_dir", "class_tokens", "is_reg")
    assert [reg[key] for key in same] == [1, 1, "1_girl", "girl", True]


def test_nothing_in_it_is_of_this_machine_or_moment(description):
    volatile = {"ss_session_id", "ss_training_started_at", "modelspec.date"}
    assert not volatile & set(description)
    assert not any(str(Path.home()) in value or "/tmp" in value for value in description.values())


def test_every_setting_under_kohyas_name(description):
    expected = {
        "ss_learning_rate": "0.002",
        "ss_unet_lr": "0.001",
        "ss_text_encoder_lr": "0.0",
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.1)",
        "ss_gradient_accumulation_steps": "3",
        "ss_total_batch_size": "6",
        "ss_num_batches_per_epoch": "16",
        "ss_gradient_checkpointing": "True",
        "ss_min_snr_gamma": "5.0",
        "ss_noise_offset": "0.05",
        "ss_caption_dropout_rate": "0.1",
        "ss_caption_dropout_every_n_epochs": "4",
        "ss_caption_tag_dropout_rate": "0.2",
        "ss_flip_aug": "True",
        "ss_random_crop": "True",
        "ss_prior_loss_weight": "0.5",
        "ss_network_dropout": "0.1",
        "ss_network_args": '{"conv_alpha": "1.0", "conv_dim": "4"}',
        "ss_scale_weight_norms": "1.0",
        "ss_zero_terminal_snr": "True",
        "ss_num_train_images": "15",
        "ss_num_reg_images": "1",
        "ss_reg_dataset_dirs": '{"1_girl": {"img_count": 1, "n_repeats": 1}}',
    }
    assert {key: description.get(key) for key in expected} == expected


def test_model_hash_is_read_from_the_bytes(tmp_path):
    file = tmp_path / "x.safetensors"
    expected = lora_file.write(file, some_state(), NOTES)
    assert lora_file.model_hash(file) == expected
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert lora_file.model_hash(file) != expected
    file.write_bytes(b"x")
    assert lora_file.model_hash(file) is None


def test_modelspec(description):
    expected = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": "mirael",
        "modelspec.resolution": "64x64",
        "modelspec.prediction_type": "v",
        "modelspec.trigger_phrase": "mirael",
    }
    assert expected.items() <= description.items()


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_sdxl_says_so(tmp_path_factory, prediction):
    """The second is how NoobAI and its kin are."""
    description = described(tiny_sdxl, tmp_path_factory, prediction_type=prediction)
    v = prediction == "v_prediction"
    expected = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": "False",
        "ss_zero_terminal_snr": str(v),
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.prediction_type": "v" if v else "epsilon",
        "modelspec.encoder_layer": "2",  # whatever clip_skip says
        "ss_clip_skip": "None",
    }
    assert expected.items() <= description.items()


def test_the_config_is_kept_and_nothing_volatile(description):
    assert json.loads(description["bakery_config"]) == {"train": {"seed": 23}}
    volatile = ("started_at", "finished_at", "session_id", "date", "epoch_time")
    assert not [key for key in description if any(word in key for word in volatile)]
    assert all("/" not in v for k, v in description.items() if k not in ("modelspec.architecture",))
