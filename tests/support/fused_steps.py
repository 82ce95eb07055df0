"""A script, run with TRITON_INTERPRET=1: fused steps against the for-loop, by assertions."""

from typing import Any

import torch
from imagined import attach_to_nobody
from torch import Tensor, nn

from thermolion import ThermoLion

SHAPES = [(), (3,), (0,), (7, 11), (8, 16, 3, 3), (513,), (1025,), (2048,)]


def params() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    made[4].data = made[4].data.to(memory_format=torch.channels_last)
    return made


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    grads = [torch.randn(s, generator=generator) * 10.0**-i for i, s in enumerate(SHAPES)]
    for grad in grads:
        grad[torch.rand(grad.shape, generator=generator) < 0.1] = 0
    return grads


def trained(steps: int = 6, scale: float | None = None, **options: Any) -> Any:
    """Train; with a scale, the gradients are scaled and every third step is to be skipped."""
    tensors = params()
    optimizer: Any = ThermoLion(tensors, lr=1e-2, alignment=0.3, solid_gain=1.7, **options)
    attach_to_nobody(optimizer)
    for step in range(steps):
        skipped = scale is not None and step % 3 == 1
        if scale is not None and options.get("fused"):
            optimizer.grad_scale = torch.tensor(scale)
            optimizer.found_inf = torch.tensor(float(skipped))
        elif skipped:
            continue
        factor = scale if scale is not None and options.get("fused") else 1.0
        for number, (param, grad) in enumerate(zip(tensors, gradients(step), strict=True)):
            param.grad = None if (step, number) == (2, 3) else grad * factor
            if skipped and param.grad is not None:
                param.grad.fill_(torch.inf)
        optimizer.step()
    return tensors, optimizer


def check(scale: float | None, **options: Any) -> None:
    expected, loop = trained(scale=scale, foreach=False, **options)
    found, fused = trained(scale=scale, fused=True, **options)
    for one, other in zip(expected, found, strict=True):
        mine, theirs = fused.state[other], loop.state[one]
        assert mine["step"] == theirs["step"]
        assert torch.equal(mine["exp_avg"], theirs["exp_avg"])
        assert torch.equal(mine["exp_avg_sq"], theirs["exp_avg_sq"])
        for name in {"exp_avg_sq_mean", "gate_avg_sq"} & theirs.keys():
            torch.testing.assert_close(mine[name], theirs[name])
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def check_end_of_noise() -> None:
    """Where the device counts the steps, the noise ends after the step after which it should."""
    for decay in (0.5, 0.99):
        (cold, _), (hot, _) = (
            trained(8, fused=True, temp_decay=decay, noise=noise) for noise in (False, True)
        )
        assert not torch.equal(cold[7], hot[7])
    expected, _ = trained(10, foreach=False, temp_decay=0.5)
    found, _ = trained(10, fused=True, temp_decay=0.5)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


if __name__ == "__main__":
    for noise in (False, True):
        check(None, noise=noise)
        check(None, noise=noise, maximize=True)
        check(None, noise=noise, capturable=True)
        check(2.0**10, noise=noise)
        check(None, noise=noise, gate="local")
        check(None, noise=noise, gate="replicas")
        check(None, noise=noise, gate="replicas", reference_batch=4)
    check_end_of_noise()
