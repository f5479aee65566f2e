"""Bases, LoRAs, tokenizers and saved states that are no good, made from tiny ones that are.

Each maker writes below a folder, and says what to open there and whether it must be refused.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from single_file import checkpoint_of
from tiny_base import TINY

from bakery.families import registry

Made = tuple[Path, str | bool]
"""What to open, and whether it must be refused."""
MAY, MUST = False, True
ORIGINALS = Path(os.environ.get("TMPDIR", "/tmp")) / f"attacked-bases-{os.getpid()}"


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path, how: int) -> None:
        self.marker, self.how = str(marker), how

    def __reduce__(self) -> Any:
        ways = (
            (exec, (f"open({self.marker!r}, 'w')",)),
            (os.system, (f"touch {self.marker}",)),
            (open, (self.marker, "w")),
            (eval, (f"open({self.marker!r}, 'w')",)),
            (Path.touch, (Path(self.marker),)),
            (__import__("subprocess").Popen, (["touch", self.marker],)),
            (torch.save, (torch.zeros(1), self.marker)),
            (__import__("builtins").getattr, (Path(self.marker), "touch")),
        )
        return ways[self.how % len(ways)]


@cache
def original(family: str) -> Path:
    """A tiny base of the family, made once a process."""
    folder = ORIGINALS / family
    if not (folder / "model_index.json").is_file():
        TINY[family](folder)
    return folder


@cache
def tensors(family: str) -> dict[str, torch.Tensor]:
    """Its weights as one file holds them."""
    return checkpoint_of(registry.load(str(original(family))))


def forget() -> None:
    shutil.rmtree(ORIGINALS, ignore_errors=True)


def configs(folder: Path, family: str) -> Path:
    """A copy of the base without its weights: configs and tokenizers for a file beside them."""
    shutil.copytree(original(family), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def odd_tensors(rng: random.Random, folder: Path, family: str) -> Made:
    """A single file whose weights are other ones than they should be."""
    state = dict(tensors(family))
    path = configs(folder, family) / "model.safetensors"
    parts = [k for k, v in state.items() if v.ndim > 1 and v.is_floating_point()]
    name = rng.choice(parts)
    value, must = state[name].clone(), MUST
    what = rng.randrange(10)
    if what == 0:
        value.view(-1)[rng.randrange(value.numel())] = rng.choice([float("nan"), float("inf")])
    elif what == 1:
        value = value.to(rng.choice([torch.complex64, torch.int64, torch.uint8, torch.bool]))
    elif what == 2:
        value, must = value.to(rng.choice([torch.float16, torch.bfloat16, torch.float64])), MAY
    elif what == 3:
        value, must = value.to(rng.choice([torch.float8_e4m3fn, torch.float8_e5m2])), MAY
    elif what == 4:
        value = rng.choice([value[:0], value.flatten(), value.T.contiguous()[None], torch.zeros(2)])
    elif what == 5:
        state = {k: v for k, v in state.items() if k != name}
        name = "somebody.elses"
    elif what == 6:
        name = rng.choice(["model.diffusion_model.foo.weight", f"{name}.lora_up.weight",
                           "control_model.x",
                           name.replace(".weight", ".scale_weight")])  # fmt: skip
        must = MUST if name.startswith(("model.diffusion", "control")) or "lora" in name else MAY
    elif what == 7:
        prefix = rng.choice(["first_stage_model.", "model.diffusion_model."])
        state = {k: v for k, v in state.items() if not k.startswith(prefix)}
        name = "somebody.elses"
    elif what == 8:
        name, value, must = rng.choice(["x" * 5000, "a\nb", "\u202e", ""]), torch.zeros(1), MAY
    else:
        state = {"lora_unet_mid_block_x.lora_down.weight": torch.zeros(2, 2)}
        name = "lora_unet_mid_block_x.alpha"
    save_file({**state, name: value.contiguous()}, path)
    return path, must and f"odd_tensors {what}: {name} {value.dtype}"


def odd_lora(rng: random.Random, path: Path, good: dict[str, torch.Tensor]) -> str | bool:
    """A LoRA with a rank, an alpha, a number or a layer that is none."""
    state = {name: value.clone() for name, value in good.items()}
    name = rng.choice([key for key in state if key.endswith("down.weight")])
    layer = name.partition(".")[0]
    what = rng.randrange(9)
    if what == 0:
        state[name].view(-1)[0] = rng.choice([float("nan"), float("inf")])
    elif what == 1:
        state[name] = rng.choice([state[name][:1], state[name].T.contiguous(), torch.zeros(()),
                                  torch.zeros(2), state[name][None]])  # fmt: skip
    elif what == 2:
        del state[rng.choice([name, name.replace("down", "up")])]
    elif what == 3:
        del state[f"{layer}.alpha"]
    elif what == 4:
        state[f"{layer}.alpha"] = rng.choice([torch.zeros(2), torch.tensor(float("nan")), torch.zeros(0),
                                              torch.tensor(float("inf")), torch.tensor(1j)])  # fmt: skip
    elif what == 5:
        state[
            rng.choice(
                ["lora_unet_foo.lora_down.weight", "x", f"{layer}.hada_w1_a", f"{layer}.dora_scale"]
            )
        ] = torch.zeros(2, 2)
    elif what == 6:
        state[name] = state[name].to(rng.choice([torch.complex64, torch.int64, torch.bool]))
    elif what == 7:
        state[name] = state[name].to(rng.choice([torch.float8_e4m3fn, torch.float16]))
    save_file(state, path)
    if what == 8:
        _damaged(rng, path, path.read_bytes())
    return what not in (3, 7) and f"odd_lora {what}: {name}"


def odd_header(rng: random.Random, folder: Path, family: str) -> Made:
    """A safetensors file whose header lies."""
    path = configs(folder, family) / "model.safetensors"
    save_file({k: v.clone() for k, v in tensors(family).items()}, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = rng.choice([key for key in header if key != "__metadata__"])
    what = rng.randrange(9)
    if what == 0:
        return _damaged(rng, path, data)
    if what == 1:
        path.write_bytes(
            rng.choice([2**63, 2**40, 0, length + 10**6, 10**8]).to_bytes(8, "little") + data[8:]
        )
        return path, MUST
    if what == 2:
        header[name]["data_offsets"] = rng.choice(
            [[0, 10**12], [-4, 4], [8, 4], [0, 0], "x", [0.5, 4], [0]]
        )
    elif what == 3:
        header[name]["dtype"] = rng.choice(["F128", "", "Q4", None, 5, "f32", "I64"])
    elif what == 4:
        header[name]["shape"] = rng.choice(
            [[-1], [2**40, 2**40], [10**9], "x", None, [1.5], [0], [[1]]]
        )
    elif what == 5:
        header[f"{name}.copy"] = header[name]  # two tensors in one place
    elif what == 6:
        header[name] = rng.choice([None, [], {}, "x", 5])
    elif what == 7:
        header = rng.choice([[], None, 5, "x", {}])
    else:
        header["__metadata__"] = rng.choice([5, [1], {"a": 1}, {"a": None}, {"a": {"b": "c"}}])
    told = json.dumps(header).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + rest)
    return path, f"odd_header {what}: {name} {str(header)[:99]}"


def _damaged(rng: random.Random, path: Path, data: bytes) -> Made:
    """Cut off, zeroed, or another file under this name."""
    what = rng.randrange(4)
    if what == 0:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif what == 1:
        at = rng.randrange(len(data))
        path.write_bytes(data[:at] + bytes(len(data) - at) if at < 9000 else data[:-9])
    elif what == 2:
        path.write_bytes(rng.randbytes(rng.randrange(2000)))
    else:
        path.write_bytes(rng.choice([
            b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b"\0" * 999,
            b"<!DOCTYPE html><html>Sign in</html>", b'{"error":"Unauthorized"}', b"GGUF\x03\0\0\0",
            b"Rar!\x1a\x07\x01\0", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x02.", b"\x93NUMPY",
        ]))  # fmt: skip
    return path, MUST


def odd_pickle(rng: random.Random, folder: Path, family: str) -> Made:
    """A `.ckpt` that would run something, or is no checkpoint."""
    path = configs(folder, family) / f"model{rng.choice(['.ckpt', '.pt', '.bin', '.pth'])}"
    marker = folder / "ran"
    state: Any = dict(tensors(family))
    what = rng.randrange(9)
    zipped = rng.random() < 0.6
    if what == 0:
        state = {"state_dict": state, "callbacks": Code(marker, rng.randrange(8))}
    elif what == 1:
        state["hidden"] = Code(marker, rng.randrange(8))
    elif what == 2:
        name = rng.choice(sorted(state))
        state[name] = rng.choice(
            [Code(marker, rng.randrange(8)), "text", None, 5, [1], torch.zeros(1, 1)]
        )
    elif what == 3:
        state[rng.choice(sorted(state))] = rng.choice([
            torch.sparse_coo_tensor([[0], [0]], [1.0], (4, 4)), torch.zeros(4, 4, dtype=torch.complex64),
            torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.qint8),
            torch.zeros(4, 4, device="meta"),
        ])  # fmt: skip
    elif what == 4:
        state = rng.choice([[1, 2], 5, None, "x", torch.zeros(3), {1: torch.zeros(2)}, {}, set()])
    elif what == 5:
        path.write_bytes(_raw_pickle(rng, marker))
        return path, MUST
    elif what == 6:
        with zipfile.ZipFile(path, "w") as archive:
            for name in rng.sample(["a/data.pkl", "b/data.pkl", "data.pkl", "x", "../data.pkl"], 2):
                archive.writestr(name, _raw_pickle(rng, marker))
        return path, MUST
    elif what == 7:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", bytes(300 * 2**20))
        return path, MUST
    torch.save(state, path, _use_new_zipfile_serialization=zipped or what == 3)
    if what == 8:
        data = path.read_bytes()
        return _damaged(rng, path, data)
    return path, f"odd_pickle {what}"


def _raw_pickle(rng: random.Random, marker: Path) -> bytes:
    """Opcodes written by hand: calls by every opcode that calls, memory, depth, names of extensions."""
    command = f"touch {marker}".encode()
    return rng.choice([
        b"cos\nsystem\n(S'" + command + b"'\ntR.",
        b"(S'" + command + b"'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command + b"\x85R.",
        b"(cos\nsystem\nS'" + command + b"'\no.",
        b"\x80\x02c__builtin__\neval\nX" + struct.pack("<I", 19) + b"open('/dev/null')  " + b"\x85R.",
        b"\x80\x02\x82\x01.", b"\x80\x04\x95" + b"\xff" * 8, b"(" * 100_000 + b".",
        b"]" + b"]a" * 50_000 + b".", b"\x80\x02X\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"ccollections\nOrderedDict\n(tR}X\x01\0\0\0ads(dcos\nsystem\nb.", b"\x80\x05\x97.", b"P1\n.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI-5\n(I99999999999\nt(I1\nt\x89NtR.",
        b"ctorch.storage\n_load_from_bytes\n(C\x03abctR.",
        b"ctorch.hub\nload\n(S'a/b'\nS'c'\ntR.", b"ctorch.serialization\nload\n(S'x'\ntR.",
        pickle.dumps(0x1950A86A20F9469CFC6C) + b"cos\nsystem\n(S'" + command + b"'\ntR.",
    ])  # fmt: skip


def odd_folder(rng: random.Random, folder: Path, family: str) -> Made:
    """A diffusers folder with a part that is missing, hostile or damaged."""
    shutil.copytree(original(family), folder)
    part = rng.choice(["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
    what = rng.randrange(8)
    if what == 0:
        shutil.rmtree(folder / part)
        if kind := rng.randrange(3):
            (folder / part).symlink_to("nowhere" if kind == 1 else ".")
        return folder, MUST
    if what == 1:
        _hostile_code(rng, folder, part)
        return folder, MAY
    if what == 2:
        index = folder / "model_index.json"
        index.write_text(rng.choice([
            "", "[]", "null", "{}", '{"_class_name": 5}', '{"_class_name": ["a"]}', "{" * 9999,
            '{"_class_name": "os.system"}', '{"_class_name": "FluxPipeline"}', "[" * 9999,
            '{"_class_name": "DiffusionPipeline", "unet": ["os", "system"]}', '"x"', "\x00",
        ]))  # fmt: skip
        return folder, MUST
    if what == 3:
        return folder, _odd_scheduler(rng, folder / "scheduler/scheduler_config.json")
    if what == 4:
        weights = rng.choice(sorted(folder.glob("*/*.safetensors")))
        _damaged(rng, weights, weights.read_bytes())
        return folder, MUST
    if what == 5:
        _index_of_shards(rng, folder / "unet")
        return folder, MUST
    if what == 6:
        return folder, odd_config(rng, folder, rng.choice(["unet", "vae", "text_encoder"]))
    return folder, odd_tokenizer(rng, folder / "tokenizer")


def _hostile_code(rng: random.Random, folder: Path, part: str) -> None:
    """Python that only a reader who trusts the folder would run."""
    code = f"open({str(folder / 'ran')!r}, 'w')\n"
    (folder / part / "modeling_evil.py").write_text(code)
    (folder / "pipeline.py").write_text(code)
    (folder / part / "__init__.py").write_text(code)
    for name in ("config.json", "tokenizer_config.json", "scheduler_config.json"):
        path = folder / part / name
        if path.is_file():
            config = json.loads(path.read_text())
            config["auto_map"] = {
                "AutoModel": "modeling_evil.Evil",
                "AutoTokenizer": ["modeling_evil.Evil", None],
                "AutoConfig": "modeling_evil.Evil",
            }
            config["_class_name"] = rng.choice(
                ["Evil", "modeling_evil.Evil", config.get("_class_name", "")]
            )
            config["trust_remote_code"] = config["custom_pipeline"] = True
            path.write_text(json.dumps(config))
    index = json.loads((folder / "model_index.json").read_text())
    index[part] = ["modeling_evil", "Evil"]
    index["_diffusers_version"] = rng.choice(["99.0", None, 5, "x"])
    (folder / "model_index.json").write_text(json.dumps(index))


def _odd_scheduler(rng: random.Random, path: Path) -> bool:
    config = json.loads(path.read_text())
    nan = float("nan")
    name, values = rng.choice([
        ("beta_start", [nan, float("inf"), -1, 5, "x", None]), ("beta_end", [nan, -2, 1e9, "x", None]),
        ("num_train_timesteps", [0, -5, 10**12, "x", 1.5, None]), ("beta_schedule", ["evil", 5, None]),
        ("trained_betas", [[nan] * 1000, [], [0.5], "x", [2.0] * 1000, [None] * 1000]),
        ("prediction_type", ["sample", 5, None, "x"]),
    ])  # fmt: skip
    config[name] = rng.choice(values)
    path.write_text(json.dumps(config))
    return MUST if name != "trained_betas" else MAY


def _index_of_shards(rng: random.Random, part: Path) -> None:
    """An index that names files outside of the folder, or none."""
    (weights,) = part.glob("*.safetensors")
    elsewhere = part.parent.parent / "elsewhere.safetensors"
    shutil.move(weights, elsewhere)
    file = rng.choice(["../../elsewhere.safetensors", str(elsewhere), "gone.safetensors", "",
                       "/etc/passwd", None, 5])  # fmt: skip
    names = list(tensors("sd1"))[:3]
    index = rng.choice([{"metadata": {}, "weight_map": dict.fromkeys(names, file)}, {"weight_map": file},
                        {}, [], None])  # fmt: skip
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def odd_config(rng: random.Random, folder: Path, part: str) -> bool:
    """A part's config with a value that does not fit its weights, or is none."""
    path = folder / part / "config.json"
    config = json.loads(path.read_text())
    name = rng.choice([k for k in config if not k.startswith("_")])
    config[name] = rng.choice([None, -1, 0, 10**9, "x", [], {}, [[]], 1.5, True, "os.system"])
    path.write_text(
        rng.choice(["", "[]", "{", "null"]) if rng.random() < 0.2 else json.dumps(config)
    )
    return MAY


def odd_tokenizer(rng: random.Random, folder: Path) -> bool:
    """A tokenizer's folder that is empty, damaged, or of another model."""
    what = rng.randrange(6)
    if what == 0:
        shutil.rmtree(folder)
        folder.mkdir()
        return MUST
    path = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    if what == 1:
        path.unlink()
        return MAY
    if what == 2:
        path.write_text(rng.choice(["", "[]", "{}", "null", "5", "{" * 999, "[" * 9999]))
        return MAY
    if what == 3:
        data = path.read_bytes()
        path.write_bytes(data[: rng.randrange(len(data))])
        return MAY
    if what == 4:
        config = json.loads(path.read_text()) if path.suffix == ".json" else {}
        if isinstance(config, dict) and config:
            config[rng.choice(sorted(config))] = rng.choice([None, -1, 10**9, "x", [], {"a": 1}])
        path.write_text(json.dumps(config))
        return MAY
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": rng.choice([0, -1, 10**9, 5])}))
    (folder / "merges.txt").write_text(rng.choice(["a b\n", "a\n", "\xff", "a b c\n"]))
    return MAY
