"""Settings of training that do nothing beside the others, so that nobody looks for their effect."""

from __future__ import annotations

from bakery.settings.train import Train

_STILL = "tags are neither shuffled (shuffle_caption) nor left out (caption_tag_dropout_rate)"


def idle(train: Train) -> dict[str, str]:
    """Setting -> why it does nothing, whatever its value; some of what is valid and sensible."""
    of_unet, of_text = train.unet_lr is not None, train.text_encoder_lr is not None
    only_unet = train.network_train_unet_only
    schedule = f"the schedule is {train.lr_scheduler}, and only"
    reasons = {
        "keep_tokens": not train.varies_tags and _STILL,
        "keep_tokens_separator": not train.varies_tags and _STILL,
        "text_variants": not train.varies_tags and _STILL,
        "lr_scheduler_num_cycles": train.lr_scheduler != "cosine_with_restarts"
        and f"{schedule} cosine_with_restarts has cycles",
        "lr_scheduler_power": train.lr_scheduler != "polynomial"
        and f"{schedule} polynomial has a power",
        "text_encoder_lr": only_unet
        and "network_train_unet_only leaves the text encoder as it is",
        "learning_rate": of_unet and (of_text or only_unet)
        and "each part that is trained has a rate of its own",
    }  # fmt: skip
    return {name: reason for name, reason in reasons.items() if reason}


def told(train: Train) -> list[str]:
    """A clause for each idle setting with a value that somebody may count on, without a full stop."""
    return [
        f"{name} {_plain(getattr(train, name))} does nothing: {reason}"
        for name, reason in idle(train).items()
        if _is_counted_on(train, name)
    ]


def _is_counted_on(train: Train, name: str) -> bool:
    value = getattr(train, name)
    match name:
        case "keep_tokens":  # also where it has its usual value: it is there to protect the trigger
            return value > 0
        case "learning_rate":  # the same rate once more misleads nobody
            return train.differs(name) and value not in train.rates.values()
        case "lr_scheduler_num_cycles":  # one cycle is what every schedule has
            return train.differs(name) and value > 1
        case _:
            return bool(value) and train.differs(name)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
