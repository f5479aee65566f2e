"""Bakes of seconds on a tiny base: their settings, and what they tell."""

import json

SMALL = {
    "resolution": 48,
    "min_bucket_reso": 32,
    "max_bucket_reso": 64,
    "bucket_reso_steps": 16,
    "network_dim": 4,
    "network_alpha": 2,
    "train_batch_size": 2,
    "num_epochs": 2,
    "text_encoder_lr": 4e-4,
}


def progress(out):
    """The lines of a bake's progress.jsonl."""
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
