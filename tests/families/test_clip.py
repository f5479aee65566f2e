"""Prompts as kohya's scripts and the stock pipelines encode them."""

from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st
from tiny_base import tiny_sd1, tiny_sdxl

from bakery.families import registry
from bakery.families.family import View
from bakery.families.sdxl_model import size_ids
from bakery.io.errors import BakeryError

SHORT = ["cat", "a dog, 1girl"]
LONG = "mirael, pink hair, long hair, purple eyes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd1(tmp_path_factory.mktemp("base"), max_length=20)


@pytest.fixture(scope="module")
def base(folder):
    return registry.load(str(folder))


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"), max_length=20)


@pytest.fixture(scope="module")
def xl(xl_folder):
    return registry.load(str(xl_folder))


@torch.no_grad()
def test_short_prompts_as_in_the_stock_pipeline(folder, base):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    stock, _ = pipeline.encode_prompt(SHORT, "cpu", 1, False)
    found = base.encode(SHORT)
    assert torch.equal(found["hidden"], stock)
    assert set(found) == {"hidden"}


@torch.no_grad()
def test_clip_skip_is_a_text_encoder_without_its_last_layers(folder, base):
    shorter = registry.load(str(folder))
    encoder = shorter.text_encoders[0]
    del getattr(encoder, "text_model", encoder).encoder.layers[-1]
    one, two = (replace(base, clip_skip=n).encode(SHORT)["hidden"] for n in (1, 2))
    assert torch.allclose(two, shorter.encode(SHORT)["hidden"], atol=1e-6)
    assert not torch.allclose(one, two, atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("clip_skip", [1, 3])
def test_long_prompt_is_encoded_in_chunks(base, clip_skip):
    (tokenizer,), (encoder,) = base.tokenizers, base.text_encoders
    body = tokenizer(LONG, add_special_tokens=False).input_ids
    assert 18 < len(body) <= 36
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    rest = body[18:] + [eos] * (36 - len(body))
    chunks = torch.tensor([[bos, *body[:18], eos], [bos, *rest, eos]])
    states = encoder(chunks, output_hidden_states=True).hidden_states[-clip_skip]
    first, second = getattr(encoder, "text_model", encoder).final_layer_norm(states)
    expected = torch.cat((first[:-1], second[1:]))
    # beside a short prompt, which gets an empty second chunk
    together = replace(base, clip_skip=clip_skip).encode([LONG, "cat"])["hidden"]
    assert together.shape == (2, 2 + 2 * 18, 16)
    assert torch.allclose(together[0], expected, atol=1e-5)
    alone = replace(base, clip_skip=clip_skip).encode(["cat"])["hidden"][0]
    assert torch.allclose(together[1, :19], alone[:19], atol=1e-5)


def test_chunks_are_counted_and_limited(base):
    prompts = ["", "cat", "a" * 18, "a" * 19, "a" * 99]
    assert [base.chunks_needed(prompt) for prompt in prompts] == [1, 1, 1, 2, 6]
    assert [base.length(prompt) for prompt in prompts] == [1, 1, 1, 2, 3]
    assert [base.cuts(prompt) for prompt in prompts] == [False] * 4 + [True]
    assert base.encode(["a" * 99])["hidden"].shape[1] == 2 + 3 * 18
    assert replace(base, max_chunks=1).encode(["a" * 99])["hidden"].shape[1] == 20


def test_clip_skip_beyond_the_layers(folder, xl_folder):
    with pytest.raises(BakeryError, match=r"clip_skip is 4, .* has 3 layers"):
        registry.load(str(folder), clip_skip=4)
    with pytest.raises(BakeryError, match=r"clip_skip is 3, but SDXL always takes .*: leave"):
        registry.load(str(xl_folder), clip_skip=3)


@torch.no_grad()
def test_sdxl_as_in_the_stock_pipeline(xl_folder, xl):
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    prompts = [*SHORT, "", "! a"]
    hidden, _, pooled, _ = pipeline.encode_prompt(
        prompts, device="cpu", do_classifier_free_guidance=False
    )
    for clip_skip in (1, 2):  # SDXL's layer is always the same
        found = replace(xl, clip_skip=clip_skip).encode(prompts)
        assert torch.equal(found["hidden"], hidden)
        assert torch.allclose(found["pooled"], pooled, atol=1e-6)
    assert found["hidden"].shape == (4, 20, 16 + 24)
    assert found["pooled"].shape == (4, 24)


def kohyas_chunks(tokenizer, text, chunks):
    """The rows that `get_input_ids` of kohya's scripts makes for SDXL's second text encoder."""
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    body = tokenizer(text, add_special_tokens=False).input_ids[: 18 * chunks]
    ids = [bos, *body, eos]
    ids += [pad] * (2 + 18 * chunks - len(ids))
    rows = []
    for i in range(1, 18 * chunks, 18):
        row = [ids[0], *ids[i : i + 18], ids[-1]]
        if row[-2] not in (eos, pad):
            row[-1] = eos
        if row[1] == pad:
            row[1] = eos
        rows.append(row)
    return torch.tensor(rows)


@torch.no_grad()
@pytest.mark.parametrize("text", [LONG, "b" * 18, "cat", "c" * 54])
def test_long_prompts_of_sdxl(xl, text):
    """Chunks as kohya's; the pooled text is that of the first."""
    found = xl.encode([text, "d" * 50])  # the second needs three chunks
    tokenizer, encoder = xl.tokenizers[1], xl.text_encoders[1]
    rows = kohyas_chunks(tokenizer, text, 3)
    out = encoder(rows, output_hidden_states=True)
    states = out.hidden_states[-2]
    expected = torch.cat((states[0, :1], states[:, 1:-1].flatten(0, 1), states[-1, -1:]))
    assert found["hidden"].shape == (2, 2 + 3 * 18, 40)
    assert torch.allclose(found["hidden"][0, :, 16:], expected, atol=1e-5)
    end = rows[0].tolist().index(tokenizer.eos_token_id)
    pooled = encoder.text_projection(out.last_hidden_state[0, end])
    assert torch.allclose(found["pooled"][0], pooled, atol=1e-5)


@torch.no_grad()
def test_sdxl_predicts_with_text_and_sizes(xl):
    text = xl.encode(SHORT)
    noise, t = torch.randn(2, 4, 4, 6), torch.tensor([900, 30])
    sizes = [(100, 200, 3, 4, 32, 48), (64, 64, 0, 0, 32, 48)]
    found = xl.predict(noise, t, text, {"sizes": torch.tensor(sizes).float()})
    added = {"text_embeds": text["pooled"], "time_ids": torch.tensor(sizes).float()}
    expected = xl.unet(noise, t, text["hidden"], added_cond_kwargs=added).sample
    assert torch.equal(found, expected)
    whole = xl.predict(noise, t, text)
    same = xl.predict(noise, t, text, xl.views([View((48, 32), (48, 32), False)] * 2))
    assert torch.equal(whole, same)
    assert not torch.allclose(whole, found, atol=1e-3)


@torch.no_grad()
def test_sd1_predicts(base):
    text = base.encode(SHORT)
    noise, t = torch.randn(2, 4, 4, 4), torch.tensor([900, 30])
    expected = base.unet(noise, t, text["hidden"]).sample
    assert torch.equal(base.predict(noise, t, text), expected)


def test_size_ids_by_hand():
    # a page of 1000x1414 in the bucket 448x576: fitted it would be 407 wide, 20 from the left
    assert size_ids((1000, 1414), (448, 576)) == (1414, 1000, 0, 20, 576, 448)
    assert size_ids((1000, 1414), (448, 576), flipped=True) == (1414, 1000, 0, 20, 576, 448)
    assert size_ids((2000, 1000), (1024, 1024)) == (1000, 2000, 256, 0, 1024, 1024)
    assert size_ids((512, 512), (512, 512)) == (512, 512, 0, 0, 512, 512)


@given(*[st.integers(1, 5000)] * 2, *[st.integers(1, 32).map(lambda n: 64 * n)] * 2)
def test_size_ids_lie_in_the_bucket(width, height, bucket_width, bucket_height):
    for flipped in (False, True):
        sizes = size_ids((width, height), (bucket_width, bucket_height), flipped)
        assert sizes[:2] == (height, width)
        assert 0 <= sizes[2] <= bucket_height / 2
        assert 0 <= sizes[3] <= bucket_width / 2 + 1
        assert sizes[4:] == (bucket_height, bucket_width)
        assert min(sizes[2:4]) <= 1  # one side fills the bucket
