"""A loaded Stable Diffusion XL, its inputs made the way kohya's scripts do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import CLIPTextModelWithProjection

from bakery.families import clip, targets
from bakery.families.family import Text, View
from bakery.families.latent_diffusion import LatentDiffusion
from bakery.families.loading import check_width
from bakery.io.errors import BakeryError
from bakery.io.images import Size

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
        StableDiffusionXLPipeline,
    )


class SDXLModel(LatentDiffusion):
    """Two text encoders, both at the second-last layer without the norm, whatever clip_skip is.

    The UNet also gets a pooled text of the second and the sizes of the picture.
    """

    decodes_one_by_one = True

    @property
    def mergeable(self) -> bool:
        return False  # the weights once more are 8 GB

    def unet_path(self, path: str) -> str:
        return targets.ldm_path(self.unet, path)

    def encode_tokens(self, tokens: Sequence[torch.Tensor], n: int) -> Text:
        """`hidden`, and `pooled` (B, P)."""
        hidden = []
        for encoder, ids in zip(self.text_encoders, tokens, strict=True):
            out = encoder(ids.flatten(0, 1), output_hidden_states=True)
            hidden.append(clip.joined(out.hidden_states[-2], n))
        first = out.last_hidden_state[::n]  # a prompt's first chunk gives the pooled text
        pooled = clip.pooled(self._second, first, tokens[-1][:, 0], self.tokenizers[-1])
        return {"hidden": torch.cat(hidden, dim=-1), "pooled": pooled}

    @property
    def _second(self) -> CLIPTextModelWithProjection:
        encoder = self.text_encoders[1]
        assert isinstance(encoder, CLIPTextModelWithProjection)
        return encoder

    def views(self, views: Sequence[View]) -> Text:
        """`sizes` (B, 6), see `size_ids`."""
        rows = [size_ids(view.picture, view.bucket, view.flipped) for view in views]
        return {"sizes": torch.tensor(rows, dtype=torch.float32)}

    def added(
        self, noisy: torch.Tensor, text: Text, views: Text | None
    ) -> dict[str, torch.Tensor] | None:
        if views is None:
            height, width = (side * self.latents.pixels for side in noisy.shape[-2:])
            sizes: Any = [(height, width, 0, 0, height, width)] * len(noisy)
        else:
            sizes = views["sizes"]
        return {
            "text_embeds": text["pooled"].to(self.dtype),
            # float32 whatever the model: bfloat16 has no number between 1024 and 1032
            "time_ids": torch.as_tensor(sizes, dtype=torch.float32, device=noisy.device),
        }

    def prompt_embeds(self, text: Text, negative: Text) -> dict[str, torch.Tensor]:
        return super().prompt_embeds(text, negative) | {
            "pooled_prompt_embeds": text["pooled"],
            "negative_pooled_prompt_embeds": negative["pooled"],
        }

    def pipeline(self, scheduler: Any) -> StableDiffusionXLPipeline:
        from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
            StableDiffusionXLPipeline,
        )

        return StableDiffusionXLPipeline(
            **self.pipeline_parts(),
            scheduler=scheduler,
            text_encoder_2=None,  # type: ignore[arg-type] # diffusers takes None for what is encoded
            tokenizer_2=self.tokenizers[1],
            add_watermarker=False,
        )

    def describe(self) -> dict[str, object]:
        return super().describe() | {
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.encoder_layer": 2,
        }

    @classmethod
    def check_parts(cls, path: str, parts: Mapping[str, Any]) -> None:
        unet = parts["unet"].config
        texts = [parts[name].config for name in ("text_encoder", "text_encoder_2")]
        if unet.addition_embed_type != "text_time":
            raise BakeryError(
                f"train.base: the UNet of {path} takes no pooled text and sizes, as SDXL's does: "
                "these parts are of different models"
            )
        check_width(path, unet, texts)
        pooled = unet.projection_class_embeddings_input_dim - 6 * unet.addition_time_embed_dim
        if pooled != texts[1].projection_dim:
            raise BakeryError(
                f"train.base: the UNet of {path} expects a pooled text of width {pooled}, its text "
                f"encoder gives {texts[1].projection_dim}: these parts are of different models"
            )


def size_ids(picture: Size, bucket: Size, flipped: bool = False) -> tuple[int, ...]:
    """(height, width) before resizing, (top, left) of the crop, (height, width) of the bucket.

    As kohya's `BucketManager.get_crop_ltrb` counts them, who follows Stability AI's preprocessing:
    the crop is where the whole picture would begin if it were fitted into the bucket.
    """
    (width, height), (bucket_width, bucket_height) = picture, bucket
    ratio = width / height
    fitted: tuple[float, float] = (bucket_width, bucket_width / ratio)
    if bucket_width / bucket_height > ratio:
        fitted = (bucket_height * ratio, bucket_height)
    left, top = (bucket_width - fitted[0]) // 2, (bucket_height - fitted[1]) // 2
    if flipped:
        left = bucket_width - (left + fitted[0])
    return height, width, int(top), int(left), bucket_height, bucket_width
