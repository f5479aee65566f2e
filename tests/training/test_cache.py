"""The cache on disk: whole entries or none."""

import json

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.training.cache import Store, arithmetic, fingerprint

ENTRY = {"picture": "abc", "crop": (1, 2)}


def tensors():
    return {"mean": torch.arange(6.0).view(2, 3), "std": torch.ones(1, dtype=torch.bfloat16)}


def refuse():
    raise AssertionError("was there already")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_computed_once(tmp_path):
    assert equal(Store(tmp_path).get(ENTRY, tensors), tensors())
    assert equal(Store(tmp_path).get(dict(reversed(ENTRY.items())), refuse), tensors())
    assert Store(tmp_path).find({**ENTRY, "crop": (1, 3)}) is None
    assert [path.suffix for path in tmp_path.rglob("*.*")] == [".cache"]


def test_without_a_folder_nothing_is_kept():
    store = Store(None)
    calls = [store.get(ENTRY, tensors) for _ in range(2)]
    assert store.find(ENTRY) is None
    assert len(calls) == 2


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory, data):
    """Cut anywhere, or one bit flipped anywhere."""
    folder = tmp_path_factory.mktemp("cache")
    Store(folder).put(ENTRY, tensors())
    (path,) = folder.rglob("*.cache")
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        flipped = whole[place] ^ (1 << data.draw(st.integers(0, 7)))
        path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
    assert Store(folder).find(ENTRY) is None
    assert equal(Store(folder).get(ENTRY, tensors), tensors())
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_no_bake(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file")
    assert equal(store.get(ENTRY, tensors), tensors())
    assert "continuing without" in caplog.text


def test_fingerprint_is_of_the_weights():
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    first = fingerprint(model)
    twin = torch.nn.Linear(3, 2).to(torch.bfloat16)
    assert fingerprint(twin) != first
    twin.load_state_dict(model.state_dict())
    assert fingerprint(twin) == first
    assert fingerprint(twin.float()) != first


def test_arithmetic_is_what_rounding_depends_on():
    one = arithmetic(torch.device("cpu"), torch.float32, 1)
    assert json.loads(json.dumps(one)) == one
    assert one != arithmetic(torch.device("cpu"), torch.float32, 2)
    assert one != arithmetic(torch.device("cpu"), torch.bfloat16, 1)


def test_the_content_of_another_entry_is_not_taken(tmp_path, caplog):
    store, other = Store(tmp_path), {**ENTRY, "crop": (1, 3)}
    store.put(ENTRY, tensors())
    store.put(other, {"mean": torch.zeros(2, 3)})
    one, two = sorted(tmp_path.rglob("*.cache"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert store.find(ENTRY) is None
    assert store.find(other) is None
    assert caplog.text.count("is damaged (its sha256 differs): computing it again") == 2
    assert equal(store.get(ENTRY, tensors), tensors())
    assert equal(store.get(ENTRY, refuse), tensors())
