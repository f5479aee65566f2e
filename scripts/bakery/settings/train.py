"""The settings of the bake, in kohya's words: one section of the config, in a file of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bakery.settings.named_files import Model, OwnFolder
from bakery.settings.optimizers import OPTIMIZERS, problem
from bakery.settings.scrape import FOLDERS_READ
from bakery.settings.sections import Section, Share, Words, separator

LrScheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "rex",
]
if TYPE_CHECKING:
    OptimizerType = str  # a type checker reads no Literal that is made of a table
else:
    OptimizerType = Literal[*OPTIMIZERS]
Rate = Annotated[float, Field(ge=0)]
FLOW = (
    "timestep_sampling", "discrete_flow_shift", "sigmoid_scale", "logit_mean", "logit_std",
    "weighting_scheme",
)  # fmt: skip
"""Settings of models that follow a flow from noise to pictures, and of no others."""
_USED_BY = {
    "discrete_flow_shift": ("shift", "logit_normal"),
    "sigmoid_scale": ("sigmoid", "shift"),
    "logit_mean": ("logit_normal",),
    "logit_std": ("logit_normal",),
}
"""Setting -> the values of timestep_sampling that heed it."""


class Train(Section):
    """The training, with kohya's names."""

    base: Annotated[str | dict[str, str], Model()] = "resources/world/base"
    """Stable Diffusion 1.x or SDXL model: a diffusers folder, a `.safetensors` checkpoint (or a
    `.ckpt` that holds only weights), or a hub id. Write `{checkpoint: ..., vae: ...}` to use
    another VAE: a `.safetensors` file, a diffusers folder or a hub id."""
    v_parameterization: bool | None = None
    """Whether the model predicts v instead of the noise; null reads it from the model."""
    zero_terminal_snr: bool | None = None
    """Rescale the noise schedule so that its last step is pure noise; null reads it from the
    model."""
    network_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the LoRA."""
    network_alpha: Annotated[float, Field(ge=0)] = 16
    """The LoRA is scaled by alpha/dim; 0 means alpha = dim."""
    conv_dim: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of adapters on the UNet's 3x3 convolutions; null leaves them out."""
    conv_alpha: Annotated[float, Field(ge=0)] | None = None
    """Alpha of these adapters; 0 means alpha = conv_dim, null means 1 as in kohya's scripts."""
    network_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each adapter's inner activations that is set to zero in each step."""
    scale_weight_norms: Annotated[float, Field(gt=0)] | None = None
    """Largest weight norm of an adapter; larger ones are scaled down after each step (1 is
    usual)."""
    network_train_unet_only: bool = False
    """Do not train the text encoder, whatever text_encoder_lr is."""
    learning_rate: Rate = 2e-3
    """Learning rate of the parts without a rate of their own."""
    unet_lr: Rate | None = None
    """Learning rate of the UNet's LoRA; null uses learning_rate, 0 leaves the UNet out."""
    text_encoder_lr: Rate | None = None
    """Learning rate of the text encoder's LoRA; null uses learning_rate, 0 leaves it out."""
    optimizer_type: OptimizerType = "AdamW"
    """AdamW8bit needs a GPU and bitsandbytes. Prodigy finds its own rate: set learning_rate to 1.
    AdamWScheduleFree needs no schedule, Adafactor (relative_step) neither schedule nor rates. CAME takes
    three betas. DAdaptAdam and ProdigyPlusScheduleFree find their own rate, too, the latter without a
    schedule."""
    optimizer_args: dict[str, Any] = {}
    """Further arguments of the optimizer, such as `weight_decay: 0.1`."""
    lr_scheduler: LrScheduler = "cosine_with_restarts"
    """Shape of the learning rate over the optimizer's steps; rex stays high for long and falls late."""
    lr_scheduler_num_cycles: Annotated[int, Field(ge=1)] = 3
    """cosine_with_restarts only: the number of cycles."""
    lr_scheduler_power: Annotated[float, Field(gt=0)] = 1.0
    """polynomial only: the exponent."""
    lr_warmup_ratio: Share = 0.1
    """Share of all steps during which the rate rises from 0."""
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """The same as a number of steps; overrides the share unless it is 0."""
    train_batch_size: Annotated[int, Field(ge=1)] = 4
    """Pictures per batch."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Batches per optimizer step: the effect of a large batch in little memory. An epoch's last
    step may have fewer."""
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them: less memory, slower, the same results."""
    torch_compile: bool = False
    """Compile the UNet for each bucket: takes minutes, then steps are faster on a GPU."""
    dynamo_backend: Literal["inductor", "cudagraphs", "aot_eager", "eager"] = "inductor"
    """Backend that compiles it; the last two are for finding errors."""
    num_epochs: Annotated[int, Field(ge=1)] = 6
    """How many times the repeated dataset is shown."""
    max_steps: Annotated[int, Field(ge=0)] = 0
    """Stop after this many steps, whatever num_epochs is; 0 means num_epochs decides."""
    save_every_n_epochs: Annotated[int, Field(ge=1)] = 1
    """Save every n-th epoch, and always the last."""
    shuffle_caption: bool = True
    """Shuffle the tags of a caption each time it is shown."""
    keep_tokens: Annotated[int, Field(ge=0)] = 1
    """How many tags at the front are neither shuffled nor dropped: 1 keeps the trigger; add the
    number of class tokens, if any."""
    keep_tokens_separator: Words = ""
    """Where a caption holds this text (`|||` is usual), it decides in the place of keep_tokens: what is
    before it stays in front, and what is after the next one stays at the end, such as a sentence. It is
    not part of what is shown. `layout.keep_tokens_separator` writes it."""
    caption_dropout_rate: Share = 0.0
    """Share of showings without a caption; this keeps the model's unconditional prediction
    intact."""
    caption_dropout_every_n_epochs: Annotated[int, Field(ge=0)] = 0
    """Show every n-th epoch without captions; 0 means never."""
    caption_tag_dropout_rate: Share = 0.0
    """Chance that a tag after keep_tokens is left out of a showing."""
    text_variants: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Shuffle and drop the tags of a caption in at most this many ways, drawn beforehand (16 is plenty).
    If the text encoder is not trained, it then encodes all of them once and is freed before training;
    null draws each showing anew and keeps it in memory."""
    resolution: Annotated[int, Field(ge=32, multiple_of=8)] = 128
    """Area of a training picture, given as the side of the square with that area, in pixels."""
    enable_bucket: bool = True
    """Keep aspect ratios by training in several sizes; false crops all pictures to one square."""
    min_bucket_reso: Annotated[int, Field(ge=32, multiple_of=8)] = 96
    """Shortest side of a bucket in pixels."""
    max_bucket_reso: Annotated[int, Field(ge=32, multiple_of=8)] = 192
    """Longest side of a bucket in pixels."""
    bucket_reso_steps: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Sides of buckets are multiples of this many pixels (64 for full-size models)."""
    flip_aug: bool = False
    """Mirror half of the showings; not for asymmetric characters, such as one with a hair pin on
    one side."""
    random_crop: bool = False
    """Crop pictures to their bucket at a random place instead of around the centre."""
    reg_data_dir: Annotated[str | None, OwnFolder("reg")] = None
    """Folder with regularization pictures in `<repeats>_<class>` folders; null uses the dataset's
    `reg/`, if there is one. They are repeated until there are as many as training pictures."""
    prior_loss_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the regularization pictures in the loss."""
    output_preservation: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a second loss: shown without the trigger, a training picture has to be predicted as the
    base alone predicts it. It keeps the character from appearing unasked (bleed) and needs no
    pictures; 1 is usual, 0 leaves it out."""
    output_preservation_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of each batch that is also shown without the trigger, at least one picture. A step takes
    longer by this share, and by the base's prediction of it."""
    clip_skip: Annotated[int, Field(ge=1, le=12)] = 1
    """Use the text encoder's n-th last layer; anime models of the SD1 family need 2."""
    max_token_length: Literal[75, 150, 225] = 225
    """Longest caption in tokens: one, two or three passes of the text encoder, with 75 each in
    SD1."""
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Limit the weight of timesteps to this signal-to-noise ratio (5 is usual); null weighs all
    equally."""
    noise_offset: Annotated[float, Field(ge=0)] = 0.0
    """Shift of each channel's mean in the noise, for darker and brighter pictures (0.05 is usual)."""
    timestep_sampling: Literal["uniform", "sigmoid", "logit_normal", "shift"] = "sigmoid"
    """Flow models (Anima): how the place t between picture (0) and noise (1) is drawn. uniform: all
    alike; sigmoid: mostly the middle; shift: sigmoid, moved by discrete_flow_shift; logit_normal:
    around logit_mean, moved by discrete_flow_shift as well."""
    discrete_flow_shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    """shift and logit_normal only: above 1, t is nearer to the noise, t s / (1 + (s - 1) t)."""
    sigmoid_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    """sigmoid and shift only: t is the sigmoid of a normal number times this; larger is more even."""
    logit_mean: Annotated[float, Field(ge=-20, le=20)] = 0.0
    """logit_normal only: mean of the normal number whose sigmoid is t; above 0 is nearer to the
    noise."""
    logit_std: Annotated[float, Field(gt=0, le=20)] = 1.0
    """logit_normal only: its standard deviation."""
    weighting_scheme: Literal["none", "sigma_sqrt", "cosmap"] = "none"
    """Flow models (Anima): weight of t in the loss. sigma_sqrt: 1 / t^2; cosmap:
    2 / (pi (1 - 2 t + 2 t^2)); none weighs all equally."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Clip the gradient's norm to this; 0 turns clipping off."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """Precision of the frozen model and of the activations."""
    save_precision: Literal["float", "fp16", "bf16"] = "fp16"
    """Number format of the saved LoRA."""
    save_format: Literal["kohya", "diffusion_model"] = "kohya"
    """Names of the layers in the saved LoRA: kohya's, or (Anima) those of the model's makers, which
    diffusers reads as well. `scripts/lora.py convert` turns one into the other."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 23
    """Seed of all random numbers of the bake."""
    validation_seed: Annotated[int, Field(ge=0, lt=2**32)] = 23
    """Seed of the noise on held-out pictures (`layout.holdout`): bakes that share it are asked the same,
    whatever their own seed is."""
    validate_every_n_epochs: Annotated[int, Field(ge=1)] = 1
    """Measure the loss on held-out pictures after every n-th epoch, and always after the last."""
    max_data_loader_n_workers: Annotated[int, Field(ge=0)] = 0
    """Threads that read and resize pictures ahead of the VAE, at most one per CPU; 0 reads one
    picture at a time. Latents are cached, so nothing is loaded between steps."""
    persistent_data_loader_workers: bool = False
    """Keep these threads from epoch to epoch; useful with random_crop, which crops anew in every
    epoch."""
    fuse: Literal["auto", "off"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """How many bakes of a sweep one process trains side by side on one base. auto takes up to 8, as
    many as fit into the free memory, and half as many if memory runs out."""
    log_with: Literal["tensorboard"] | None = None
    """tensorboard writes event files into the bake's folder, in addition to progress.jsonl."""

    not_in_key: ClassVar[frozenset[str]] = frozenset(
        {
            "gradient_checkpointing",
            "max_data_loader_n_workers",
            "persistent_data_loader_workers",
            "log_with",
            "fuse",
        }
    )
    came_later: ClassVar[frozenset[str]] = frozenset(
        {
            *FLOW,
            "save_format",
            "text_variants",
            "keep_tokens_separator",
            "validation_seed",
            "validate_every_n_epochs",
            "output_preservation",
            "output_preservation_share",
        }
    )
    own: ClassVar[frozenset[str]] = frozenset(
        {
            "network_alpha", "conv_alpha", "network_dropout", "scale_weight_norms",
            "learning_rate", "unet_lr", "text_encoder_lr", "network_train_unet_only",
            "optimizer_type", "optimizer_args",
            "lr_scheduler", "lr_scheduler_num_cycles", "lr_scheduler_power", "lr_warmup_ratio",
            "lr_warmup_steps",
            "train_batch_size", "gradient_accumulation_steps", "max_grad_norm",
            "num_epochs", "max_steps", "save_every_n_epochs", "save_precision", "save_format",
            "seed",
            "shuffle_caption", "keep_tokens", "keep_tokens_separator", "caption_dropout_rate",
            "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "text_variants",
            "validation_seed", "validate_every_n_epochs",
            "flip_aug", "random_crop", "prior_loss_weight", "min_snr_gamma", "noise_offset",
            "output_preservation", "output_preservation_share",
            "log_with", *FLOW,
        }
    )  # fmt: skip
    """Settings in which bakes that share a process may differ."""
    drawn_with: ClassVar[frozenset[str]] = frozenset(
        {"base", "clip_skip", "mixed_precision", "v_parameterization", "zero_terminal_snr"}
    )
    """Settings that the bake's pictures are drawn with, too."""

    @property
    def rates(self) -> dict[str, float]:
        """The full learning rate of each part: its own, else learning_rate; 0 is not trained."""
        given = {"unet_lr": self.unet_lr, "text_encoder_lr": self.text_encoder_lr}
        rates = {k: self.learning_rate if rate is None else rate for k, rate in given.items()}
        if self.network_train_unet_only:
            rates["text_encoder_lr"] = 0.0
        return rates

    @property
    def varies_tags(self) -> bool:
        """Whether tags are shuffled or left out, so that a caption differs from showing to showing."""
        return self.shuffle_caption or self.caption_tag_dropout_rate > 0

    def shown_again(self, batch: int) -> int:
        """How many of so many pictures of a batch are also shown without the trigger."""
        share = self.output_preservation_share if self.output_preservation else 0.0
        return math.ceil(share * batch)

    @property
    def rows(self) -> int:
        """Pictures that a full batch shows, those that are shown again included."""
        return self.train_batch_size + self.shown_again(self.train_batch_size)

    def validates(self, epoch: int) -> bool:
        """Whether the loss on held-out pictures is measured after `epoch`; 0 is before the first."""
        return epoch % self.validate_every_n_epochs == 0

    @property
    def side_by_side(self) -> int:
        """The most bakes that may share a process."""
        return self.fuse if isinstance(self.fuse, int) else {"auto": 8, "off": 1}[self.fuse]

    def fits_beside(self, other: Train) -> bool:
        """Whether both can be trained by one process: the same base, rank, sizes and parts."""
        parts = [{name for name, rate in train.rates.items() if rate} for train in (self, other)]
        alone = set(Train.model_fields) - self.own
        return parts[0] == parts[1] and self.model_dump(include=alone) == other.model_dump(
            include=alone
        )

    def drawn_beside(self, other: Train) -> bool:
        """Whether LoRAs of both can be drawn by one process: the same base, used in the same way."""
        return self.model_dump(include=set(self.drawn_with)) == other.model_dump(
            include=set(self.drawn_with)
        )

    _separator_fits = field_validator("keep_tokens_separator")(separator)

    @field_validator("optimizer_type", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        """kohya's scripts take `adamw` for `AdamW`."""
        known = {name.lower(): name for name in OPTIMIZERS}
        return known.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _rates_fit_together(self) -> Train:
        rates = self.rates
        if not any(rates.values()):
            words = " and ".join(f"{name} is {rate:g}" for name, rate in rates.items())
            raise ValueError(f"trains nothing: {words} (null takes learning_rate)")
        if self.lr_scheduler == "constant" and (self.lr_warmup_ratio or self.lr_warmup_steps):
            raise ValueError(
                "lr_scheduler constant has no warm-up: set lr_warmup_ratio and lr_warmup_steps to 0 "
                "or take constant_with_warmup"
            )
        trained = {rate for rate in rates.values() if rate}
        if OPTIMIZERS[self.optimizer_type].finds_rate and len(trained) > 1:
            raise ValueError(
                f"optimizer_type {self.optimizer_type} takes one rate for all parts, not unet_lr "
                f"{rates['unet_lr']:g} and text_encoder_lr {rates['text_encoder_lr']:g}: "
                "set learning_rate to 1 and leave the other two out"
            )
        return self

    @model_validator(mode="after")
    def _arguments_fit_the_optimizer(self) -> Train:
        if wrong := problem(self.optimizer_type, self.optimizer_args):
            given = self.optimizer_args["betas"]
            raise ValueError(
                f"optimizer_args has betas {given!r}, but {wrong}: change or remove them"
            )
        return self

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Train:
        if self.min_bucket_reso > self.max_bucket_reso:
            raise ValueError("min_bucket_reso is larger than max_bucket_reso: swap them")
        inside = self.min_bucket_reso <= self.resolution <= self.max_bucket_reso
        if self.enable_bucket and not inside:
            raise ValueError(
                f"resolution {self.resolution} is outside min_bucket_reso {self.min_bucket_reso} "
                f"to max_bucket_reso {self.max_bucket_reso}: change these too, for example 320 to "
                "960 for a resolution of 512"
            )
        return self

    @model_validator(mode="after")
    def _has_an_effect(self) -> Train:
        """What would silently do nothing is refused where it can only be a mistake."""
        if self.conv_alpha is not None and self.conv_dim is None:
            raise ValueError("conv_alpha does nothing without conv_dim: set conv_dim as well")
        for name, users in _USED_BY.items():
            if self.differs(name) and self.timestep_sampling not in users:
                raise ValueError(
                    f"{name} does nothing with timestep_sampling {self.timestep_sampling}: leave it "
                    f"out, or take {' or '.join(users)}"
                )
        if self.differs("output_preservation_share") and not self.output_preservation:
            raise ValueError(
                "output_preservation_share does nothing without output_preservation: set that as well"
            )
        if self.persistent_data_loader_workers and not self.max_data_loader_n_workers:
            raise ValueError(
                "persistent_data_loader_workers needs max_data_loader_n_workers above 0"
            )
        return self

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        return chosen | ({"folders_read": FOLDERS_READ} if self.reg_data_dir else {})
