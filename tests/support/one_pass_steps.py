"""Steps in C on a CPU against the for-loop; run as a script, prints OK if they agree."""

from collections.abc import Sequence
from typing import Any

import torch
from imagined import attach_to_nobody
from torch import Tensor, nn

from thermolion import ThermoLion

# Around rows and batches of rows; the last three are laid out otherwise.
SHAPES = [(), (3,), (0,), (7, 11), (511,), (1024,), (1025,), (16 * 1024 + 7,), (40_000,)]
SHAPES += [(16, 8, 3, 3), (40, 100), (40, 100)]


def make_params() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(shape, generator=generator) for shape in SHAPES]
    values[-3] = values[-3].to(memory_format=torch.channels_last)
    values[-2] = values[-2].t()
    values[-1] = values[-1][:, ::2]  # not dense: no form but the loop takes it
    return [nn.Parameter(value) for value in values]


def train(
    steps: int, chosen: Sequence[int] = range(len(SHAPES)), **options: Any
) -> tuple[list[nn.Parameter], Any]:
    """Return parameters after some steps, and their optimizer; one lacks a gradient once.

    `chosen` are places in SHAPES.
    """
    made = make_params()
    params = [made[place] for place in chosen]
    optimizer = ThermoLion(params, **options)
    attach_to_nobody(optimizer)
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        for index, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator) * 10.0 ** -(index % 5)
            grad[torch.rand(param.shape, generator=generator) < 0.1] = 0
            param.grad = None if (step, index) == (2, 3) else grad
        optimizer.step()
    return params, optimizer


def compare(steps: int, **options: Any) -> None:
    """Assert that state is equal to the bit, and that weights are within 1e-6."""
    expected, loop = train(steps, foreach=False, **options)
    found, fused = train(steps, fused=True, **options)
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        right, mine = loop.state[one], fused.state[other]
        assert right.keys() == mine.keys()
        for name in right:
            assert torch.equal(right[name], mine[name]), (number, name)
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6, msg=f"tensor {number}")


def everything(params: list[nn.Parameter], optimizer: Any) -> list[Tensor]:
    """Return weights and states."""
    states = [optimizer.state[param] for param in params]
    return [param.detach() for param in params] + [each for one in states for each in one.values()]


if __name__ == "__main__":
    for noise in (False, True):
        compare(8, noise=noise)
    print("OK")  # noqa: T201 - what the test waits for
