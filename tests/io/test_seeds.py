import torch

from bakery.io import seeds


def draw(*purpose, seed=23):
    return torch.rand(4, generator=seeds.generator(seed, *purpose)).tolist()


def test_same_purpose_same_numbers():
    assert draw("noise", 7) == draw("noise", 7)
    assert seeds.rng(23, "order", 1).random() == seeds.rng(23, "order", 1).random()


def test_every_purpose_and_seed_has_its_own():
    drawn = [draw("noise", 7), draw("noise", 8), draw("caption", 7), draw("noise", 7, seed=24)]
    assert len({tuple(numbers) for numbers in drawn}) == 4
