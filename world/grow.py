"""Grows an embedded Stable Diffusion to pictures of twice the side, with as many places in a latent.

`python -m world.grow FOLDER world/build/grown` writes a base from which `fit_vae` and `fit_base --init`
go on. The new VAE has one level more on the outside. The first channels of its latents are to be those
that the old one makes of the picture at half the side (`fit_vae --anchor`). So the base keeps what it
knows, and has to learn the new channels alone.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from world import fit_base, fit_vae


@torch.no_grad()
def put(new: Tensor, old: Tensor, channels: dict[int, list[int]]) -> None:
    """Copy weights into larger ones: `channels` says where a row or column of so many goes.

    Rows that are filled ignore the columns that the old weights did not have.
    """
    rows = torch.tensor(channels.get(len(old), range(len(old))))
    new[rows] = 0
    if old.dim() == 1:
        new[rows] = old
    else:
        columns = torch.tensor(channels.get(old.shape[1], range(old.shape[1])))
        new[rows[:, None], columns] = old


def grown_vae(old: AutoencoderKL) -> AutoencoderKL:
    """The old levels lie within a new one, which has learned nothing."""
    new = fit_vae.new_vae(2 * old.config.sample_size)
    had, have = old.config.latent_channels, new.config.latent_channels
    moments = [*range(had), *range(have, have + had)]  # means, then logarithms of variances
    state = new.state_dict()
    for key, weight in old.state_dict().items():
        if key.startswith("encoder.conv_in."):
            continue  # here pictures came in
        place = re.sub(r"(?<=encoder\.down_blocks\.)\d+", lambda level: str(int(level[0]) + 1), key)
        known = {} if state[place].shape == weight.shape else {had: [*range(had)], 2 * had: moments}
        put(state[place], weight, known)
    new.load_state_dict(state)
    return new


def grown_unet(old: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """It does not see the new of the latents' channels yet, and guesses 0 for them."""
    new = fit_base.new_unet(channels)
    state = new.state_dict()
    for key, weight in old.state_dict().items():
        state[key].zero_()
        put(state[key], weight, {})
    new.load_state_dict(state)
    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path, help="a base of pictures of half the side")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    vae = grown_vae(AutoencoderKL.from_pretrained(args.base / "vae").float())
    unet = UNet2DConditionModel.from_pretrained(args.base / "unet").float()
    shutil.copytree(args.base, args.out, dirs_exist_ok=True)
    vae.save_pretrained(args.out / "vae")
    grown_unet(unet, vae.config.latent_channels).save_pretrained(args.out / "unet")


if __name__ == "__main__":
    main()
