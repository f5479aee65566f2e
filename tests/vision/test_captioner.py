"""The captioner: tiny models of two kinds, built here; one of them learns two pictures by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

from bakery.io.errors import BakeryError
from bakery.settings.tag import Tag
from bakery.vision import captioner
from bakery.vision.captioner import Captioner, Request, finished

SAID = {"red": "A girl waves at a blue cat. She", "blue": "A cat sits on red ."}
TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %}ask{% endif %} {% endfor %}{% endfor %}"
)


def _tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, spaces told."""
    words = sorted({word for text in SAID.values() for word in text.replace(".", " .").split()})
    known = ["<s>", "<pad>", "</s>", "<unk>", "<image>", "ask", *words]
    tokens = Tokenizer(models.WordLevel({w: n for n, w in enumerate(known)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def _pictures(side: int, **more: int) -> CLIPImageProcessorPil:
    size = {"height": side, "width": side}
    return CLIPImageProcessorPil(size=size, crop_size=size, **more)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA, which has a chat template, trained until it tells red from blue."""
    folder, tokenizer = tmp_path_factory.mktemp("llava"), _tokenizer()
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16,
                       "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32,
                       "patch_size": 16},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 32,
                     "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 2,
                     "pad_token_id": 1},
        image_token_index=4, image_token_id=4, image_seq_length=4, vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    processor = LlavaProcessor(
        image_processor=_pictures(32), tokenizer=tokenizer, patch_size=16,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    seen = [
        processor(text=f"<image> ask {text} </s>", images=_picture(color), return_tensors="pt")
        for color, text in SAID.items()
    ]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(40):
        for one in seen:
            model(**one, labels=one["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def florence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Florence-2 with random weights."""
    folder, tokenizer = tmp_path_factory.mktemp("florence"), _tokenizer()
    config = Florence2Config(
        text_config={"model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16,
                     "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                     "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
                     "max_position_embeddings": 128, "pad_token_id": 1, "bos_token_id": 0,
                     "eos_token_id": 2, "decoder_start_token_id": 2},
        vision_config={"model_type": "florence_vision", "embed_dim": (8, 8, 8, 8),
                       "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1),
                       "num_groups": (1, 1, 1, 1), "projection_dim": 16, "window_size": 4,
                       "max_temporal_embeddings": 4, "max_position_embeddings": 20},
        image_token_id=4,
    )  # fmt: skip
    torch.manual_seed(1)
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.update(suppress_tokens=[0, 1, 2, 3, 4], forced_eos_token_id=None)
    model.save_pretrained(folder)
    Florence2Processor(
        image_processor=_pictures(64, image_seq_length=5), tokenizer=tokenizer
    ).save_pretrained(folder)
    return folder


QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
        "<|image_pad|>", "<|video_pad|>")  # fmt: skip
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with random weights, its configs as its makers publish them."""
    folder, letters = tmp_path_factory.mktemp("qwen"), sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [*letters, *QWEN]
    tokenizer = Qwen2Tokenizer(
        vocab={word: n for n, word in enumerate(known)}, merges=[], extra_special_tokens=[*QWEN[1:]]
    )
    number = {word: known.index(word) for word in QWEN}
    config = Qwen2_5_VLConfig(
        text_config={"vocab_size": len(known), "hidden_size": 32, "intermediate_size": 32,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                     "eos_token_id": number["<|im_end|>"], "pad_token_id": number["<|endoftext|>"],
                     "bos_token_id": number["<|endoftext|>"], "max_position_embeddings": 1024,
                     "rope_scaling": {"type": "mrope", "rope_type": "default",
                                      "mrope_section": [2, 3, 3]}},
        vision_config={"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2,
                       "out_hidden_size": 32, "fullatt_block_indexes": [0], "window_size": 56},
        image_token_id=number["<|image_pad|>"], video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(2)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pictures = {
        "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2,
        "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.3] * 3,
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_TEMPLATE}))
    return folder


def _picture(color: str) -> Image.Image:
    return Image.new("RGB", (40, 30), color)


@pytest.fixture
def drawn(tmp_path: Path) -> dict[str, Path]:
    paths = {color: tmp_path / f"{color}.png" for color in SAID}
    for color, path in paths.items():
        _picture(color).save(path)
    return paths


def _all(made: Captioner, drawn: dict[str, Path]) -> dict[str, str]:
    return dict(made.sentences(drawn.items(), lambda name: _picture(name)))


def _captioner(folder: Path, cache: Path | None = None, **request: object) -> Captioner:
    return Captioner(folder, Request(**request), cache, lambda: "cpu")


def test_each_picture_gets_what_the_model_says_of_it(chatty: Path, drawn: dict[str, Path]) -> None:
    said = _all(_captioner(chatty), drawn)
    assert said == {"red": "A girl waves at a blue cat.", "blue": "A cat sits on red."}
    assert _all(_captioner(chatty, most_tokens=8), drawn)["blue"] == said["blue"]


def test_sentences_are_kept_and_the_model_is_not_loaded_again(
    chatty: Path, drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _captioner(chatty, tmp_path / "cache")
    said = _all(first, {"red": drawn["red"]})  # the other is still to be made when a job is killed
    again = _captioner(chatty, tmp_path / "cache")
    assert _all(again, drawn)["red"] == said["red"]
    assert (first.made, again.made) == (1, 1)
    monkeypatch.setattr(captioner, "_load", lambda *_: pytest.fail("it is loaded"))
    last = _captioner(chatty, tmp_path / "cache")
    assert len(_all(last, drawn)) == 2
    assert last.made == 0


def test_another_request_model_or_picture_is_asked_anew(
    chatty: Path, drawn: dict[str, Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    _all(_captioner(chatty, cache), drawn)
    asked = _captioner(chatty, cache, prompt="Name the colours.")
    _all(asked, drawn)
    assert asked.made == 2
    _picture("green").save(drawn["red"])
    other = _captioner(chatty, cache)
    _all(other, drawn)
    assert other.made == 1
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in chatty.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps(config | {"repetition_penalty": 1.5}))
    changed = _captioner(copy, cache)
    _all(changed, {"blue": drawn["blue"]})
    assert changed.made == 1


def test_florence_is_asked_by_its_task(florence: Path, drawn: dict[str, Path]) -> None:
    loaded = captioner._load(florence, "cpu")
    said = loaded.say(_picture("red"), Request(most_tokens=6))
    processor, model = loaded.processor, loaded.model
    given = processor(text="<DETAILED_CAPTION>", images=_picture("red"), return_tensors="pt")
    tokens = model.generate(**given, max_new_tokens=6, do_sample=False, num_beams=1)
    assert said == processor.batch_decode(tokens, skip_special_tokens=True)[0]
    assert len(said.split()) >= 5
    assert set(_all(_captioner(florence, most_tokens=60), drawn).values()) == {""}, "never ends"


def test_a_model_that_also_reads_videos_needs_no_torchvision(qwen: Path) -> None:
    """Every token is one of a picture of 90 x 70: 3 x 2 of its 28 pixels, or a letter."""
    model = captioner._load(qwen, "cpu")
    given = model._asked(Image.new("RGB", (90, 70), "red"), "say")
    tokens = model.processor.tokenizer.convert_ids_to_tokens(given["input_ids"][0])
    assert tokens.count("<|image_pad|>") == 6
    assert given["image_grid_thw"].tolist() == [[1, 4, 6]]
    assert given["pixel_values"].shape == (24, 3 * 2 * 14 * 14)
    expected = (torch.tensor([1.0, 0.0, 0.0]) - 0.5) / 0.3
    seen = given["pixel_values"].reshape(24, 3, -1)
    assert torch.allclose(seen, expected[None, :, None].expand_as(seen), atol=1e-5)
    said = model.say(Image.new("RGB", (90, 70), "red"), Request("say", 8))
    assert said == model.say(Image.new("RGB", (90, 70), "red"), Request("say", 8))
    assert 0 < len(said) <= 8


@pytest.mark.parametrize(
    ("problem", "words"),
    [("operator torchvision::nms does not exist", "another build of torch"),
     ("X requires the Torchvision library", "needs torchvision"), ("no such file", "")],
)  # fmt: skip
def test_the_missing_package_is_named(problem: str, words: str) -> None:
    found = captioner._missing_package(problem)
    assert words in found
    assert bool(found) == bool(words)


def test_lacking_weights_are_no_random_ones(florence: Path, tmp_path: Path) -> None:
    for path in florence.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    gone = sorted(weights)[3]
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BakeryError, match=r"lacks 1 of the model's weights"):
        captioner._load(tmp_path, "cpu")


def test_code_and_pickles_are_not_run(florence: Path, tmp_path: Path) -> None:
    for path in florence.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(florence / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(BakeryError, match=r"tag\.captioner: .* cannot be loaded"):
        captioner._load(tmp_path, "cpu")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit(7)")
    with pytest.raises(BakeryError, match="cannot be loaded"):
        captioner._load(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  A girl\n waves. ", "A girl waves."),
        ("A girl waves. She wears a", "A girl waves."),
        ("A girl waves", "A girl waves"),
        ("1.5 girls wave.", "1.5 girls wave."),
        ('She says "hi." And', 'She says "hi."'),
        ("She waves. Behind her is Dr. Stone with a", "She waves."),
        ("She waves at Mrs. Lee. A cat of J. R. Ito sits", "She waves at Mrs. Lee."),
        ("She waves in Main St.", "She waves in Main St."),
        ("a girl waves. she smiles. behind", "a girl waves. she smiles."),
        ("她说：“你好。”然后", "她说：“你好。”"),
        ("女の子が手を振っている。そして", "女の子が手を振っている。"),
        ("word " * 40, ""),
        ("", ""),
        ("...", ""),
        ("123 .", ""),
    ],
)
def test_only_finished_sentences_are_kept(text: str, kept: str) -> None:
    assert finished(text) == kept


def test_nothing_is_fetched_that_the_config_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(captioner.hub, "download", lambda *a: asked.append(a) or tmp_path)
    assert captioner.fetch(None) is None
    assert captioner.fetch(str(tmp_path)) == tmp_path
    with pytest.raises(BakeryError, match="is no folder of a model"):
        captioner.fetch(str(tmp_path / "gone.bin"))
    assert asked == []
    captioner.fetch("florence-community/Florence-2-base@main")
    ((model, patterns, _),) = asked
    assert model == "florence-community/Florence-2-base@main"
    assert not {"*.py", "*.bin"} & set(patterns)
    settings = Tag(captioner=str(tmp_path), captioner_prompt="Say.", captioner_tokens=20)
    made = captioner.named(settings, str(tmp_path), cache=tmp_path, device=lambda: "cpu")
    assert made is not None
    assert made.request == Request("Say.", 20)
    assert captioner.named(Tag(), None, cache=tmp_path, device=lambda: "cpu") is None
