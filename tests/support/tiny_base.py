"""Random pipelines of stock classes, one a family, small enough for a test (about 1 MB)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AnimaAutoBlocks,
    AnimaTextConditioner,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    CosmosTransformer3DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5TokenizerFast,
)

WIDTH = 16  # of the text encoder
WIDTH_2 = 24  # of SDXL's second


def tiny_tokenizer(max_length: int = 77, **more: str) -> CLIPTokenizer:
    """Every letter is a token, so any word can be written. As in CLIP, "!" is token 0."""
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[],
        model_max_length=max_length,
        **more,
    )


def tiny_vae(scaling_factor: float = 0.5) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=32,
        scaling_factor=scaling_factor,
    )


def tiny_text_encoder(
    tokenizer: CLIPTokenizer, kind: type = CLIPTextModel, width: int = WIDTH
) -> CLIPTextModel | CLIPTextModelWithProjection:
    encoder = kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,  # as in OpenCLIP bigG
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # CLIP starts its tokens at 0.02: too quiet for different prompts to differ untrained
    encoder.get_input_embeddings().weight.data.normal_()
    return encoder


def tiny_scheduler(prediction_type: str) -> DDIMScheduler:
    zero_snr = prediction_type == "v_prediction"
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing" if zero_snr else "leading",
        clip_sample=False,
        steps_offset=1,
    )


def tiny_sd1(
    folder: Path,
    seed: int = 0,
    *,
    max_length: int = 77,
    prediction_type: str = "v_prediction",
) -> Path:
    """Write the pipeline in save_pretrained layout: pictures of 32 px are latents of 4x4x4."""
    tokenizer = tiny_tokenizer(max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
        )
        vae = tiny_vae()
        text_encoder = tiny_text_encoder(tokenizer)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=tiny_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return Path(folder)


def tiny_sdxl(
    folder: Path,
    seed: int = 0,
    *,
    max_length: int = 77,
    prediction_type: str = "epsilon",
) -> Path:
    """SDXL's blocks and text encoders in the same layout and for pictures of the same size."""
    tokenizer, second = tiny_tokenizer(max_length), tiny_tokenizer(max_length, pad_token="!")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            norm_num_groups=4,
            cross_attention_dim=WIDTH + WIDTH_2,
            attention_head_dim=(2, 2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=WIDTH_2 + 6 * 8,
        )
        vae = tiny_vae()
        text_encoder = tiny_text_encoder(tokenizer)
        text_encoder_2 = tiny_text_encoder(second, CLIPTextModelWithProjection, WIDTH_2)
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=second,
        unet=unet,
        scheduler=tiny_scheduler(prediction_type),
        add_watermarker=False,
    ).save_pretrained(folder)
    return Path(folder)


def tiny_qwen_tokenizer() -> Qwen2Tokenizer:
    """Every letter is a token, and a text has no others."""
    letters = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    return Qwen2Tokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])


def tiny_t5_tokenizer() -> T5TokenizerFast:
    """Every ASCII letter is a token; a text begins with a space and ends with `</s>`."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("\u2581", -2.0)]
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    return T5TokenizerFast(vocab=special + letters, extra_ids=0)


def tiny_anima(folder: Path, seed: int = 0, *, blocks: int = 2, floor: int = 48) -> Path:
    """Anima's parts in the layout of a modular pipeline; a text has at least `floor` tokens.

    Of a modular pipeline's index the names of the classes count, not the paths in it.
    """
    tokenizer, t5_tokenizer = tiny_qwen_tokenizer(), tiny_t5_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = CosmosTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=blocks,
            mlp_ratio=2.0,
            text_embed_dim=24,
            adaln_lora_dim=8,
            rope_scale=(1.0, 4.0, 4.0),
            extra_pos_embed_type=None,
        )
        conditioner = AnimaTextConditioner(
            source_dim=WIDTH,
            target_dim=24,
            model_dim=24,
            num_layers=2,
            num_attention_heads=2,
            target_vocab_size=len(t5_tokenizer),
            min_sequence_length=floor,
        )
        encoder = Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
                max_position_embeddings=1024,
                rope_theta=1_000_000.0,
                tie_word_embeddings=False,
            )
        )
        encoder.get_input_embeddings().weight.data.normal_()  # as with CLIP
        vae = AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 2, 2], num_res_blocks=1)
    pipeline = AnimaAutoBlocks().init_pipeline()
    pipeline.update_components(
        text_encoder=encoder,
        tokenizer=tokenizer,
        t5_tokenizer=t5_tokenizer,
        text_conditioner=conditioner,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
    return Path(folder)


TINY = {"sd1": tiny_sd1, "sdxl": tiny_sdxl, "anima": tiny_anima}
"""Family -> what writes a tiny random model of it."""
