"""The layers of kohya's files, on the real architectures without their weights."""

from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bakery.families import registry
from bakery.families.targets import ldm_path, of_text_encoders, of_unet
from bakery.lora.network import LoRANetwork

IN_TEXT_LAYER = ["self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj"]
IN_TEXT_LAYER += ["mlp_fc1", "mlp_fc2"]


def clip(kind, width, layers, heads):
    return kind(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            projection_dim=width,
        )
    )


@pytest.fixture(scope="module")
def sd15():
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        return unet, clip(CLIPTextModel, 768, 12, 12)


@pytest.fixture(scope="module")
def sdxl():
    """UNet, and the text encoders CLIP ViT-L and OpenCLIP ViT-bigG."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        text = clip(CLIPTextModel, 768, 12, 12), clip(CLIPTextModelWithProjection, 1280, 32, 20)
    return unet, text


def transformer(name, width, context, depth, projection=()):
    """Shapes of W in a transformer: kohya's name -> (out, in[, 1, 1])."""
    found = {f"{name}_proj_{end}": (width, width, *projection) for end in ("in", "out")}
    for i in range(depth):
        block = f"{name}_transformer_blocks_{i}"
        for n, source in ((1, width), (2, context)):
            found |= {
                f"{block}_attn{n}_to_q": (width, width),
                f"{block}_attn{n}_to_k": (width, source),
                f"{block}_attn{n}_to_v": (width, source),
                f"{block}_attn{n}_to_out_0": (width, width),
            }
        found[f"{block}_ff_net_0_proj"] = (8 * width, width)  # GEGLU: value and gate
        found[f"{block}_ff_net_2"] = (width, 4 * width)
    return found


def resnet(before, after, names):
    found = {
        names[0]: (after, before, 3, 3),
        names[1]: (after, 1280),
        names[2]: (after, after, 3, 3),
    }
    return found | ({names[3]: (after, before, 1, 1)} if before != after else {})


def unet_of_sdxl():
    """The original UNet walked as its constructor does: ({name: shape}, the same of conv_dim)."""
    plain, more = {}, {}
    depth = {0: 0, 1: 2, 2: 10}

    def add(block, before, after, level):
        inner = ("in_layers_2", "emb_layers_1", "out_layers_3", "skip_connection")
        more.update(resnet(before, after, [f"lora_unet_{block}_0_{name}" for name in inner]))
        if depth[level]:
            plain.update(transformer(f"lora_unet_{block}_1", after, 2048, depth[level]))

    channels, skips, number = 320, [320], 0
    for level in range(3):
        for _ in range(2):
            number += 1
            add(f"input_blocks_{number}", channels, 320 * 2**level, level)
            channels = 320 * 2**level
            skips.append(channels)
        if level < 2:
            number += 1
            more[f"lora_unet_input_blocks_{number}_0_op"] = (channels, channels, 3, 3)
            skips.append(channels)
    for place in (0, 2):
        inner = ("in_layers_2", "emb_layers_1", "out_layers_3", "-")
        names = [f"lora_unet_middle_block_{place}_{name}" for name in inner]
        more |= resnet(1280, 1280, names)
    plain |= transformer("lora_unet_middle_block_1", 1280, 2048, 10)
    number = 0
    for level in (2, 1, 0):
        for last in (False, False, True):
            width = 320 * 2**level
            add(f"output_blocks_{number}", channels + skips.pop(), width, level)
            channels = width
            if last and level:
                more[f"lora_unet_output_blocks_{number}_2_conv"] = (width, width, 3, 3)
            number += 1
    return plain, more


def unet_of_sd15():
    """The same from diffusers' blocks."""
    plain, more = {}, {}
    names = ("conv1", "time_emb_proj", "conv2", "conv_shortcut")
    widths, skips, channels = (320, 640, 1280, 1280), [320], 320

    def add(block, j, before, after, attends):
        prefix = f"lora_unet_{block}_resnets_{j}"
        more.update(resnet(before, after, [f"{prefix}_{name}" for name in names]))
        if attends:
            name = f"lora_unet_{block}_attentions_{j}"
            plain.update(transformer(name, after, 768, 1, projection=(1, 1)))

    for i, width in enumerate(widths):
        for j in range(2):
            add(f"down_blocks_{i}", j, channels, width, i < 3)
            channels = width
            skips.append(channels)
        if i < 3:
            name = f"lora_unet_down_blocks_{i}_downsamplers_0_conv"
            more[name] = (channels, channels, 3, 3)
            skips.append(channels)
    add("mid_block", 0, 1280, 1280, True)
    add("mid_block", 1, 1280, 1280, False)
    for i, width in enumerate(reversed(widths)):
        for j in range(3):
            add(f"up_blocks_{i}", j, channels + skips.pop(), width, i > 0)
            channels = width
        if i < 3:
            more[f"lora_unet_up_blocks_{i}_upsamplers_0_conv"] = (channels, channels, 3, 3)
    return plain, more


def text_layers(prefix, width, layers):
    found = {}
    for n in range(layers):
        for part in IN_TEXT_LAYER:
            rows, columns = {"fc1": (4, 1), "fc2": (1, 4)}.get(part[-3:], (1, 1))
            name = f"{prefix}_text_model_encoder_layers_{n}_{part}"
            found[name] = (rows * width, columns * width)
    return found


def targets(unet, text, convolutions=False):
    """All layers as the models list them."""
    texts = [] if text is None else list(text) if isinstance(text, tuple) else [text]
    if unet is not None:
        ldm = unet.config.addition_embed_type is not None
        named = partial(ldm_path, unet) if ldm else str
        yield from of_unet(unet, named, convolutions=convolutions)
    yield from of_text_encoders(texts)


def shapes(found):
    """{name: shape of W}; a name that comes twice would be lost in a file."""
    listed = [(name, tuple(layer.weight.shape)) for name, layer, _ in found]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


def test_sd15(sd15):
    plain, more = unet_of_sd15()
    assert (len(plain), len(more)) == (192, 86)
    assert shapes(targets(sd15[0], None)) == plain
    assert shapes(targets(sd15[0], None, convolutions=True)) == plain | more
    text = text_layers("lora_te", 768, 12)
    assert len(text) == 72
    assert shapes(targets(None, sd15[1])) == text


@pytest.mark.slow
def test_sdxl(sdxl):
    plain, more = unet_of_sdxl()
    assert (len(plain), len(more)) == (722, 66)
    assert shapes(targets(sdxl[0], None)) == plain
    assert shapes(targets(sdxl[0], None, convolutions=True)) == plain | more
    first, second = text_layers("lora_te1", 768, 12), text_layers("lora_te2", 1280, 32)
    assert (len(first), len(second)) == (72, 192)
    assert shapes(targets(None, sdxl[1])) == first | second


def test_names_known_from_files(sdxl):
    names = {target.name for target in targets(*sdxl, convolutions=True)}
    for name in (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_1_0_in_layers_2",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_middle_block_2_out_layers_3",
        "lora_unet_output_blocks_0_1_transformer_blocks_9_ff_net_2",
        "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_8_0_skip_connection",
        "lora_te2_text_model_encoder_layers_31_mlp_fc2",
    ):
        assert name in names


@pytest.mark.parametrize(("model", "size"), [("sd15", 144), ("sdxl", 870)])
def test_file_size(model, size, request):
    """MiB at dim 128 in fp16, as kohya's files are."""
    found = shapes(targets(*request.getfixturevalue(model)))
    numbers = sum(128 * (rows + columns) for rows, columns, *_ in found.values())
    assert round(numbers * 2 / 2**20) == size


def test_shapes_and_alphas_of_a_file(sd15, sdxl):
    for (unet, text), count in ((sd15, 278 + 72), (sdxl, 788 + 72 + 192)):
        network = LoRANetwork(
            targets(unet, text, convolutions=True), 4, 2.0, conv_dim=3, conv_alpha=0.5
        )
        assert len(network.layers) == count
        for layer in network.layers.values():
            rows, columns, *kernel = layer.shape
            rank, alpha = (3, 0.5) if kernel == [3, 3] else (4, 2.0)
            down, up = layer.weights(0)
            assert tuple(down.shape) == (rank, columns, *kernel)
            assert tuple(up.shape) == (rows, rank, *[1 for _ in kernel])
            assert layer.alphas == [alpha]


def test_family():
    def family(*keys):
        found = registry.family_of_lora(keys)
        return found and found.name

    assert family("lora_te_text_model_x.alpha") == "sd1"
    assert family("lora_unet_mid_block_attentions_0_proj_in.alpha") == "sd1"
    assert family("lora_te1_text_model_x.alpha", "lora_te2_text_model_x.alpha") == "sdxl"
    assert family("lora_unet_output_blocks_0_1_proj_in.alpha") == "sdxl"
    assert family("diffusion_model.double_blocks.0.alpha") is None
