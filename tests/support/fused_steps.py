"""A script, run with TRITON_INTERPRET=1: fused steps against the for-loop, by assertions."""

from typing import Any

import torch
from imagined import attach_to_nobody
from torch import Tensor, nn
from triton.runtime import interpreter

from thermolion import ThermoLion

SHAPES = [(), (3,), (0,), (7, 11), (8, 16, 3, 3), (513,), (1025,), (2048,)]


def rounded_once(_: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x·y + z of float32, exact in float64 but for the sum, as a GPU does in one go.

    The interpreter of some versions rounds the product as well.
    """
    found = x.data.astype("float64") * y.data + z.data
    return interpreter.TensorHandle(found.astype(x.data.dtype), z.dtype.scalar)


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


def check_another_order_in_memory() -> None:
    """Moments that a model in another memory format has saved are brought to that of this one."""
    results = []
    for form in ({"foreach": False}, {"fused": True}):
        states: dict[str, Any] = {}
        for memory_format in (torch.contiguous_format, torch.channels_last):
            generator = torch.Generator().manual_seed(6)
            values = torch.randn(8, 4, 3, 3, generator=generator)
            param = nn.Parameter(values.to(memory_format=memory_format))
            optimizer = ThermoLion([param], lr=1e-2, **form)
            if states:
                optimizer.load_state_dict(states)
            for _ in range(2):
                param.grad = torch.randn(param.shape, generator=generator)
                optimizer.step()
            states = optimizer.state_dict()
        results.append((param.detach(), optimizer.state[param]["exp_avg"]))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=1e-6)
    assert torch.equal(results[1][1], results[0][1])


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


def check_not_a_number(dtype: torch.dtype, **options: Any) -> None:
    """What is not a number stays none, in its own element alone, whichever form meets it."""
    found = []
    for form in ({"foreach": False}, {"foreach": True, "capturable": True}, {"fused": True}):
        tensors = [nn.Parameter(torch.ones(1030, dtype=dtype)) for _ in range(2)]
        optimizer = ThermoLion(tensors, **form, **options)
        attach_to_nobody(optimizer)
        for place, param in enumerate(tensors):
            param.grad = torch.full_like(param, 0.25)
            param.grad[3 + place] = torch.nan
            param.grad[1028] = torch.inf
        optimizer.step()
        states = [optimizer.state[param] for param in tensors]
        found.append([*tensors, *(state["exp_avg"] for state in states)])
    for place in range(2):
        bad = [torch.nonzero(one[place].isnan()).flatten().tolist() for one in found]
        assert bad == [[3 + place, 1028]] * 3, bad
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-2, atol=1e-5, equal_nan=True)


def check_any_address() -> None:
    """Gradients in the buckets of DDP, and parameters in a flat buffer, begin anywhere."""
    for shift in (1, 4):
        steps = []
        for form in ({"foreach": False}, {"fused": True}):
            whole, grads = torch.ones(2, 4096).unbind()
            param = nn.Parameter(whole[shift : shift + 3000])
            param.grad = grads[8 - shift :][:3000].copy_(torch.linspace(-1, 1, 3000))
            ThermoLion([param], lr=1e-2, **form).step()
            steps.append(param.detach())
            assert whole.ne(1).sum() == 3000
        torch.testing.assert_close(*steps, rtol=0, atol=1e-6)


def check_restored_count() -> None:
    """A step count of a million is counted on, and its temperature is nothing."""
    param = nn.Parameter(torch.ones(5))
    optimizer = ThermoLion([param], fused=True)
    for steps in (1e6, 457, 458):
        param.grad = torch.ones(5)
        optimizer.step()
        mean = float(optimizer.state[param]["exp_avg_sq_mean"])
        optimizer.state[param]["step"].fill_(steps)
        before = param.detach().clone()
        param.grad = torch.zeros(5)
        optimizer.step()
        assert optimizer.state[param]["step"] == steps + 1
        moved = float(optimizer.state[param]["exp_avg_sq_mean"]) != mean
        assert moved == (steps == 457)
        assert len(set((param.detach() - before).tolist())) == (5 if steps == 457 else 1)


if __name__ == "__main__":
    interpreter.InterpreterBuilder.create_fma = rounded_once
    for noise in (False, True):
        check(None, noise=noise)
        check(None, noise=noise, maximize=True)
        check(None, noise=noise, capturable=True)
        check(2.0**10, noise=noise)
        check(None, noise=noise, gate="local")
        check(None, noise=noise, gate="replicas")
        check(None, noise=noise, gate="replicas", reference_batch=4)
    check_end_of_noise()
    check_another_order_in_memory()
    check_any_address()
    check_restored_count()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for gate in ("averaged", "replicas"):
            check_not_a_number(dtype, gate=gate)
