"""ONNX files and tag lists that are no good, made from tiny ones that are.

Each maker takes a random generator and a folder, writes there, and says whether what it wrote `must` be
refused, or may be.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_tagger import tiny_tagger, write_tags

SIDE = 8
TAGS = ["pink hair", "smile", "hat", "general", "sensitive", "questionable", "explicit"]
CATEGORIES = dict.fromkeys(TAGS[3:], "rating")
_TYPES = {"float": TensorProto.FLOAT, "half": TensorProto.FLOAT16, "double": TensorProto.DOUBLE,
          "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "bool": TensorProto.BOOL,
          "text": TensorProto.STRING}  # fmt: skip
MAY, MUST = False, True


def constant(path: Path, answer: np.ndarray, shape: list[int | str], kind: str = "float") -> Path:
    """A model that looks at its input `x` of `shape` and answers with `answer`, whatever it sees."""
    start = helper.make_node("Identity", ["answer"], ["y"])
    looks = helper.make_node("Shape", ["x"], ["unused"])
    graph = helper.make_graph(
        [looks, start],
        "constant",
        [helper.make_tensor_value_info("x", _TYPES[kind], shape)],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(answer.dtype), None)],
        [numpy_helper.from_array(answer, "answer")],
    )
    return saved(path, graph)


def saved(path: Path, graph: onnx.GraphProto, opset: int = 17, version: int = 9) -> Path:
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version
    )
    path.write_bytes(model.SerializeToString())
    return path


def mean(path: Path, shape: list[int | str], *, kind: str = "float", **more: int) -> Path:
    """A good one: (batch, 3, side, side) -> (batch, 3), how red, green and blue a picture is."""
    axes = [2, 3] if shape[1:2] == [3] else [1, 2]
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", _TYPES[kind], shape)],
        [helper.make_tensor_value_info("y", _TYPES[kind], None)],
    )
    return saved(path, graph, **more)


def endless(path: Path) -> Path:
    """A loop of 2^62 rounds."""

    def info(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "round",
        [info("n", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
         info("v", TensorProto.FLOAT, [1, 3])],
        [info("goes", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
         helper.make_node("Loop", ["rounds", "yes", "m"], ["y"], body=body)],
        "endless",
        [info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.int64(2**62), "rounds"),
         numpy_helper.from_array(np.bool_(True), "yes")],
    )  # fmt: skip
    return saved(path, graph)


def slow_to_load(path: Path, side: int = 1500, products: int = 600) -> Path:
    """Products of large constant matrices, which onnxruntime computes while it loads the model."""
    first = helper.make_tensor("value", TensorProto.FLOAT, [1], [1 / side])
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"], value=first)]
    nodes += [helper.make_node("MatMul", [f"m{n}", "m0"], [f"m{n + 1}"]) for n in range(products)]
    graph = helper.make_graph(
        [*nodes, helper.make_node("ReduceMean", [f"m{products}"], ["one"], keepdims=0),
         helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
         helper.make_node("Mul", ["mean", "one"], ["y"])],
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array([side, side]), "shape")],
    )  # fmt: skip
    return saved(path, graph)


def odd_answer(rng: random.Random, path: Path) -> bool:
    """Numbers that are none, or none of the kind."""
    shape: list[int | str] = rng.choice(
        [[1, 3, SIDE, SIDE], [1, SIDE, SIDE, 3], ["n", 3, SIDE, SIDE]]
    )
    what = rng.randrange(8)
    size = rng.choice([(1, 3), (1, 512), (1, 5, 20), (1, 20, 6), (1, 1)])
    answer = np.full(size, 0.5, np.float32)
    if what < 3:
        answer.flat[rng.randrange(answer.size)] = rng.choice([np.nan, np.inf, -np.inf])
        constant(path, answer, shape)
        return MUST
    if what == 3:
        kind = rng.choice([np.int64, np.bool_, np.uint8, np.complex64])
        constant(path, np.ones(size, kind), shape)
        return MUST
    if what == 4:
        constant(path, np.array([["smile"]], dtype=object), shape)
        return MUST
    if what == 5:
        odd = rng.choice([(), (1,), (0,), (1, 0), (0, 3), (2, 3), (5, 1), (1, 1, 1), (2, 5, 3),
                          (1, 3, SIDE, SIDE), (0, 0, 0)])  # fmt: skip
        constant(path, np.full(odd, 0.5, np.float32), shape)
        return MUST
    if what == 6:  # confidences that are none; as classes or an embedding they may be any
        constant(path, rng.choice([5, -5, 300]) * np.ones((1, 6, 9), np.float32), shape)
        return MUST
    constant(path, answer.astype(rng.choice([np.float16, np.float64])), shape)
    return MAY


def odd_input(rng: random.Random, path: Path) -> bool:
    """Inputs of other shapes, kinds and numbers."""
    shape: list[int | str] = rng.choice([
        [1, 3, SIDE], [3, SIDE, SIDE], [], [1, 1, SIDE, SIDE], [1, 4, SIDE, SIDE], [1, SIDE, SIDE, 4],
        [1, 3, SIDE, 2 * SIDE], [1, 3, 100_000, 100_000], [1, 2**31, 2**31, 3], [10**6, 3, SIDE, SIDE],
        [0, 3, SIDE, SIDE], [1, 3, 0, 0], [1, 3, 3, 3], [4, 3, SIDE, SIDE], ["n", 3, "h", "w"],
        ["n", "c", "h", "w"], [1, 3, "h", SIDE],
    ])  # fmt: skip
    kind = rng.choice(["float", "float", "half", "double", "uint8", "int64", "text", "bool"])
    constant(path, np.full((1, 3), 0.5, np.float32), shape, kind)
    return MUST if kind in ("uint8", "int64", "text", "bool") or len(shape) != 4 else MAY


def odd_graph(rng: random.Random, path: Path) -> bool:
    """Graphs that cannot be run: two inputs, an operator of nobody's, an opset of the future."""
    shape: list[int | str] = [1, 3, SIDE, SIDE]
    what = rng.randrange(7)
    if what == 0:
        mean(path, shape, opset=rng.choice([99, 1000, 0]))
        return MUST
    if what == 1:
        mean(path, shape, version=rng.choice([99, 1000]))
        return MUST
    if what == 2:
        x, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xz")
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        saved(
            path,
            helper.make_graph([helper.make_node("Add", ["x", "z"], ["y"])], "two", [x, z], [y]),
        )
        return MUST
    if what == 3:
        endless(path)
        return MUST
    if what == 4:  # 2^40 numbers out of nothing
        node = helper.make_node("ConstantOfShape", ["size"], ["y"])
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        size = numpy_helper.from_array(np.int64([1, 2**40]), "size")
        saved(path, helper.make_graph([node], "large", [x], [y], [size]))
        return MUST
    if what == 5:  # a domain of its own, which would have to be loaded as a library
        node = helper.make_node("Run", ["x"], ["y"], domain="com.example")
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        saved(path, helper.make_graph([node], "own", [x], [y]))
        return MUST
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    saved(path, helper.make_graph([node], "list", [x], [y]))
    return MUST


def outside(rng: random.Random, path: Path) -> bool:
    """Weights in another file, which is missing, elsewhere or shorter than it should be."""
    mean(path, [1, 3, SIDE, SIDE])
    model = onnx.load(path)
    weights = model.graph.initializer.add()
    weights.name, weights.data_type = "w", TensorProto.FLOAT
    weights.dims.extend([1, 3])
    weights.data_location = TensorProto.EXTERNAL
    secret = path.parent.parent / "secret.bin"
    secret.write_bytes(np.full(3, 7, np.float32).tobytes())
    place = rng.choice(["gone.bin", "../secret.bin", str(secret), "/etc/passwd", "", "short.bin"])
    (path.parent / "short.bin").write_bytes(b"1")
    for key, value in {
        "location": place,
        "offset": rng.choice(["0", "-1", "999"]),
        "length": "12",
    }.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    model.graph.node[0].output[0] = "m"
    model.graph.node.append(helper.make_node("Add", ["m", "w"], ["y"]))
    path.write_bytes(model.SerializeToString())
    return MUST


def damaged(rng: random.Random, path: Path, data: bytes = b"") -> bool:
    """A file that was cut off, changed, or is another one."""
    if not data:
        mean(path, [1, 3, SIDE, SIDE])
        data = path.read_bytes()
    what = rng.randrange(4)
    if what == 0:
        path.write_bytes(data[: rng.randrange(len(data))])
        return MAY
    if what == 1:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        return MAY
    if what == 2:
        path.write_bytes(rng.randbytes(rng.randrange(500)))
        return MUST
    path.write_bytes(rng.choice([
        b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b"\0" * 99,
        b"<!DOCTYPE html><html>Sign in</html>", b'{"error":"Unauthorized"}', b"GGUF\x03\0\0\0",
        b"PK\x03\x04",
    ]))  # fmt: skip
    return MUST


def odd_tagger(rng: random.Random, folder: Path) -> bool:
    """A tagger's folder with a wrong list or a wrong model."""
    tiny_tagger(folder, TAGS, categories=CATEGORIES, side=32)
    model, listed = folder / "model.onnx", folder / "selected_tags.csv"
    what = rng.randrange(9)
    if what == 0:
        return damaged(rng, model, model.read_bytes())
    if what < 3:
        row = np.full((1, len(TAGS)), 0.5, np.float32)
        kind = rng.randrange(5)
        if kind == 0:
            row[0, rng.randrange(len(TAGS))] = rng.choice([np.nan, np.inf, -0.1, 1.5])
        elif kind == 1:
            row = rng.choice([row[0], row[None], row[:, :0], np.repeat(row, 7, 0), row[:, :3]])
        elif kind == 2:
            row = row.astype(rng.choice([np.int64, np.bool_]))
        elif kind == 3:
            row = np.float32(0.5)
        else:
            row = np.array([TAGS], dtype=object)
        constant(model, np.asarray(row), [rng.choice([1, "n"]), 32, 32, 3])
        return MUST
    if what == 3:
        constant(model, np.full((1, len(TAGS)), 0.5, np.float32),
                 rng.choice([[1, 3, 32, 32], ["n", "h", "w", 3], [1, 32, 64, 3], [1, 99_999, 99_999, 3],
                             [9_999_999, 32, 32, 3], [0, 32, 32, 3]]))  # fmt: skip
        return MUST
    if what == 4:
        fewer = rng.choice([TAGS[:-1], [*TAGS, "one more"], TAGS[:0]])
        write_tags(listed, fewer, CATEGORIES)
        return MUST
    return odd_list(rng, listed)


def odd_list(rng: random.Random, listed: Path) -> bool:
    """A tag list that is damaged or in another form."""
    data = listed.read_bytes()
    what = rng.randrange(7)
    if what == 0:
        return damaged(rng, listed, data)
    if what == 1:
        code = rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
        listed.write_bytes(data.decode().encode(code))
        return MAY
    if what == 2:
        odd = [b"hat", b"", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"a,b,c,d", b"\0", b"=1+1"]
        listed.write_bytes(data.replace(b"smile", rng.choice(odd)))
        return MAY
    if what == 3:
        listed.write_bytes(
            data.replace(b",0,", rng.choice([b",", b",x,", b",-1,", b",1e9,", b",99,"]))
        )
        return MUST
    if what == 4:
        listed.write_bytes(data.replace(b"1000", rng.choice([b"-5", b"many", b"1e3", b"NaN"])))
        return MUST
    if what == 5:
        listed.write_bytes(b"\n".join(data.splitlines()[1:]))
        return MUST
    listed.unlink()
    rng.choice([listed.mkdir, lambda: listed.symlink_to("nowhere"), lambda: listed.touch()])()
    return MUST
