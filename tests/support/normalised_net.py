"""A small network with batch normalisation, as a model of a user's."""

from torch import nn


def net(channels: int, size: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * (size - 2) ** 2, classes),
    )
