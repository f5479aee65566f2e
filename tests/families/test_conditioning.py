"""Prompts as kohya's scripts and the stock pipelines encode them."""

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st
from tiny_base import tiny_sd1, tiny_sdxl

from bakery.families import base as bases
from bakery.io.errors import BakeryError

SHORT = ["cat", "a dog, 1girl"]
LONG = "mirael, pink hair, long hair, purple eyes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd1(tmp_path_factory.mktemp("base"), max_length=20)


@pytest.fixture(scope="module")
def base(folder):
    return bases.load(str(folder))


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"), max_length=20)


@pytest.fixture(scope="module")
def xl(xl_folder):
    return bases.load(str(xl_folder))


@torch.no_grad()
def test_short_prompts_as_in_the_stock_pipeline(folder, base):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    stock, _ = pipeline.encode_prompt(SHORT, "cpu", 1, False)
    found = bases.encode(base, SHORT, 1)
    assert torch.equal(found.hidden, stock)
    assert found.pooled is None
    assert len(found) == 2
    assert torch.equal(found[1:].hidden, stock[1:])


@torch.no_grad()
def test_clip_skip_is_a_text_encoder_without_its_last_layers(folder, base):
    shorter = bases.load(str(folder))
    encoder = shorter.text_encoders[0]
    del getattr(encoder, "text_model", encoder).encoder.layers[-1]
    one, two = (bases.encode(base, SHORT, skip).hidden for skip in (1, 2))
    assert torch.allclose(two, bases.encode(shorter, SHORT, 1).hidden, atol=1e-6)
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
    together = bases.encode(base, [LONG, "cat"], clip_skip).hidden
    assert together.shape == (2, 2 + 2 * 18, 16)
    assert torch.allclose(together[0], expected, atol=1e-5)
    alone = bases.encode(base, ["cat"], clip_skip).hidden[0]
    assert torch.allclose(together[1, :19], alone[:19], atol=1e-5)


def test_chunks_are_counted_and_limited(base):
    assert bases.chunks_needed(base, ["", "cat", "a" * 18, "a" * 19, "a" * 99]) == [1, 1, 1, 2, 6]
    assert bases.encode(base, ["a" * 99], 1).hidden.shape[1] == 2 + 3 * 18
    assert bases.encode(base, ["a" * 99], 1, max_chunks=1).hidden.shape[1] == 20


def test_clip_skip_beyond_the_layers(base):
    with pytest.raises(BakeryError, match=r"clip_skip is 4, .* has 3 layers"):
        bases.encode(base, SHORT, 4)


@torch.no_grad()
def test_sdxl_as_in_the_stock_pipeline(xl_folder, xl):
    pipeline = StableDiffusionXLPipeline.from_pretrained(xl_folder)
    prompts = [*SHORT, "", "! a"]
    hidden, _, pooled, _ = pipeline.encode_prompt(
        prompts, device="cpu", do_classifier_free_guidance=False
    )
    for clip_skip in (1, 2, 12):  # SDXL's layer is always the same
        found = bases.encode(xl, prompts, clip_skip)
        assert torch.equal(found.hidden, hidden)
        assert torch.allclose(found.pooled, pooled, atol=1e-6)
    assert found.hidden.shape == (4, 20, 16 + 24)
    assert found.pooled.shape == (4, 24)


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
    found = bases.encode(xl, [text, "d" * 50], 1)  # the second needs three chunks
    tokenizer, encoder = xl.tokenizers[1], xl.text_encoders[1]
    rows = kohyas_chunks(tokenizer, text, 3)
    out = encoder(rows, output_hidden_states=True)
    states = out.hidden_states[-2]
    expected = torch.cat((states[0, :1], states[:, 1:-1].flatten(0, 1), states[-1, -1:]))
    assert found.hidden.shape == (2, 2 + 3 * 18, 40)
    assert torch.allclose(found.hidden[0, :, 16:], expected, atol=1e-5)
    end = rows[0].tolist().index(tokenizer.eos_token_id)
    pooled = encoder.text_projection(out.last_hidden_state[0, end])
    assert torch.allclose(found.pooled[0], pooled, atol=1e-5)


@torch.no_grad()
def test_sdxl_predicts_with_text_and_sizes(xl):
    text = bases.encode(xl, SHORT, 1)
    noise, t = torch.randn(2, 4, 4, 6), torch.tensor([900, 30])
    sizes = [(100, 200, 3, 4, 32, 48), (64, 64, 0, 0, 32, 48)]
    found = bases.predict(xl, noise, t, text, sizes)
    added = {"text_embeds": text.pooled, "time_ids": torch.tensor(sizes).float()}
    expected = xl.unet(noise, t, text.hidden, added_cond_kwargs=added).sample
    assert torch.equal(found, expected)
    whole = bases.predict(xl, noise, t, text)
    same = bases.predict(xl, noise, t, text, [(32, 48, 0, 0, 32, 48)] * 2)
    assert torch.equal(whole, same)
    assert not torch.allclose(whole, found, atol=1e-3)


@torch.no_grad()
def test_sd1_predicts(base):
    text = bases.encode(base, SHORT, 1)
    noise, t = torch.randn(2, 4, 4, 4), torch.tensor([900, 30])
    expected = base.unet(noise, t, text.hidden).sample
    assert torch.equal(bases.predict(base, noise, t, text), expected)


def test_size_ids_by_hand():
    # a page of 1000x1414 in the bucket 448x576: fitted it would be 407 wide, 20 from the left
    assert bases.size_ids((1000, 1414), (448, 576)) == (1414, 1000, 0, 20, 576, 448)
    assert bases.size_ids((1000, 1414), (448, 576), flipped=True) == (1414, 1000, 0, 20, 576, 448)
    assert bases.size_ids((2000, 1000), (1024, 1024)) == (1000, 2000, 256, 0, 1024, 1024)
    assert bases.size_ids((512, 512), (512, 512)) == (512, 512, 0, 0, 512, 512)


@given(*[st.integers(1, 5000)] * 2, *[st.integers(1, 32).map(lambda n: 64 * n)] * 2)
def test_size_ids_lie_in_the_bucket(width, height, bucket_width, bucket_height):
    for flipped in (False, True):
        sizes = bases.size_ids((width, height), (bucket_width, bucket_height), flipped)
        assert sizes[:2] == (height, width)
        assert 0 <= sizes[2] <= bucket_height / 2
        assert 0 <= sizes[3] <= bucket_width / 2 + 1
        assert sizes[4:] == (bucket_height, bucket_width)
        assert min(sizes[2:4]) <= 1  # one side fills the bucket
