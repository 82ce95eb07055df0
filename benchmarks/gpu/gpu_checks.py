"""What has to be true of ThermoLion on a GPU: plain assertions, each a function of the device.

`python -m benchmarks.gpu` runs them. They use torch alone, no test runner; on a CPU, in Triton's
interpreter, those run that need no GPU, so that they are known to run at all.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from thermolion import ThermoLion, attach, verify_replicas

SHAPES = [(), (3,), (0,), (7, 11), (8, 16, 3, 3), (513,), (1025,), (2048,)]
FORMS: dict[str, dict[str, Any]] = {
    "lists": {"foreach": True},
    "lists, capturable": {"foreach": True, "capturable": True},
    "fused": {"fused": True},
    "fused, capturable": {"fused": True, "capturable": True},
}


def _trained(device: str, steps: int, dtype: torch.dtype, **options: Any) -> list[Tensor]:
    """Return weights, m and v after steps with fixed gradients, the same ones for every form."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator) for shape in SHAPES]
    values[4] = values[4].to(memory_format=torch.channels_last)
    params = [nn.Parameter(value.to(device, dtype)) for value in values]
    optimizer = ThermoLion(params, lr=1e-2, **options)
    for step in range(steps):
        generator.manual_seed(step)
        for number, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator) * 10.0**-number
            param.grad = None if (step, number) == (2, 3) else grad.to(device, dtype)
        optimizer.step()
    states = [optimizer.state[param] for param in params]
    moments = [state[name] for name in ("exp_avg", "exp_avg_sq") for state in states]
    return [*(param.detach() for param in params), *moments]


def check_forms_agree(device: str) -> None:
    """Lists have the loop's bits, fused its moments' bits and its weights within 1e-6."""
    steps = 20 if device == "cuda" else 4
    for options in ({"noise": False}, {}, {"temp_decay": 0.3}, {"maximize": True}):
        loop = _trained(device, steps, torch.float32, foreach=False, **options)
        for name, form in FORMS.items():
            found = _trained(device, steps, torch.float32, **form, **options)
            weights = len(SHAPES)
            for place, (one, other) in enumerate(zip(found, loop, strict=True)):
                exact = "fused" not in name or (place >= weights and device == "cuda")
                if exact and "capturable" not in name:
                    assert torch.equal(one, other), (name, options, place)
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def check_half_types_agree(device: str) -> None:
    """bfloat16 and float16 agree to the accuracy of the type."""
    for dtype in (torch.bfloat16, torch.float16):
        loop = _trained(device, 4, dtype, foreach=False)
        for form in FORMS.values():
            for one, other in zip(_trained(device, 4, dtype, **form), loop, strict=True):
                torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def check_noise_is_that_of_a_cpu(device: str) -> None:
    """The draws on this device are those on a CPU, but for their last bits."""
    one = _trained(device, 3, torch.float32, foreach=True)
    other = _trained("cpu", 3, torch.float32, foreach=False)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-5, atol=1e-5)


def check_nan_stays_nan(device: str) -> None:
    """An element whose gradient is not a number becomes none, and no other does."""
    for dtype in (torch.float32, torch.float16):
        for name, form in FORMS.items():
            param = nn.Parameter(torch.ones(3000, device=device, dtype=dtype))
            param.grad = torch.full_like(param, 0.5)
            param.grad[7], param.grad[2900] = torch.nan, torch.inf
            ThermoLion([param], **form).step()
            bad = param.isnan().nonzero().flatten().tolist()
            assert bad == [7, 2900], (name, dtype, bad)


class _Transfers(TorchDispatchMode):
    """Asserts that what goes from the host to a GPU is pinned."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            source, target = (args[0], result) if name == "_to_copy" else (args[1], args[0])
            if source.device.type == "cpu" and target.device.type == "cuda":
                assert source.is_pinned(), f"{func} of an unpinned tensor {tuple(source.shape)}"
        return result


def check_nothing_waits(device: str) -> None:
    """No step waits for the GPU, not even the first one, and all that is sent is pinned."""
    for form in FORMS.values():
        params = [nn.Parameter(torch.ones(shape, device=device)) for shape in SHAPES]
        optimizer = ThermoLion(params, temp_decay=0.3, **form)  # the noise ends after step 3
        for step in range(6):
            for param in params:
                param.grad = torch.full_like(param, 0.1 * step)
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                with _Transfers():
                    optimizer.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")


def _network(device: str) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 200), nn.Tanh(), nn.Linear(200, 10))
    return model.to(device)


def _batch(device: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(32, 64, generator=generator)
    return images.to(device), torch.randint(10, (32,), generator=generator).to(device)


def check_graphs_replay_what_steps_do(device: str) -> None:
    """Captured steps, with gradients that are made in the capture, train as steps by hand do."""
    images, labels = _batch(device)
    for form in (FORMS["lists, capturable"], FORMS["fused, capturable"]):
        plain, captured = _network(device), _network(device)
        rates = [torch.tensor(1e-3, device=device) for _ in range(2)]
        one, other = (
            ThermoLion(model.parameters(), rate, temp_decay=0.6, **form)
            for model, rate in zip((plain, captured), rates, strict=True)
        )

        def train(model: nn.Module, optimizer: ThermoLion) -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                train(captured, other)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        other.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            train(captured, other)
        for step in range(23):
            if step == 13:
                for rate in rates:
                    rate.fill_(3e-3)
            train(plain, one)
            if step >= 3:
                graph.replay()
        for mine, theirs in zip(captured.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
            assert other.state[mine]["step"] == one.state[theirs]["step"] == 23


def check_scaler_skips_and_unscales(device: str) -> None:
    """With a GradScaler a skipped step changes nothing, and others are those without a scale."""
    for form in (FORMS["lists"], FORMS["fused"], FORMS["fused, capturable"]):
        plain, scaled = _network(device), _network(device)
        one, other = (ThermoLion(model.parameters(), **form) for model in (plain, scaled))
        scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
        for step in range(6):
            images, labels = _batch(device, step)
            loss = nn.functional.cross_entropy(scaled(images), labels)
            other.zero_grad()
            scaler.scale(loss).backward()
            skipped = step == 2
            before = [param.detach().clone() for param in scaled.parameters()]
            if skipped:
                for param in scaled.parameters():
                    assert param.grad is not None
                    param.grad.fill_(torch.inf)
            scaler.step(other)
            scaler.update()
            if skipped:
                assert all(map(torch.equal, before, scaled.parameters()))
                continue
            one.zero_grad()
            nn.functional.cross_entropy(plain(images), labels).backward()
            one.step()
        for mine, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
            assert other.state[mine]["step"] == one.state[theirs]["step"] == 5
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def check_data_parallel(device: str) -> None:
    """Two processes on one device (gloo), and one alone (NCCL), with every gate."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (device, "gloo", 2, f"{folder}/two"), 2, daemon=True)
        if device == "cuda" and dist.is_nccl_available():
            mp.spawn(_rank, (device, "nccl", 1, f"{folder}/one"), 1, daemon=True)


def _rank(rank: int, device: str, backend: str, world: int, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(backend, f"file://{meeting}", rank=rank, world_size=world)
    gates: list[dict[str, Any]] = [
        *({"fused": True}, {"foreach": True}),
        *({"gate": "replicas", "fused": True}, {"gate": "local", "fused": True}),
    ]
    for options in gates if device == "cuda" else gates[1:2]:
        model = nn.parallel.DistributedDataParallel(_network(device), gradient_as_bucket_view=True)
        optimizer = ThermoLion(model.parameters(), **options)
        attach(optimizer, model)
        for step in range(4):
            images, labels = _batch(device, world * step + rank)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        verify_replicas(model)
    dist.destroy_process_group()


# What needs a GPU, and cannot be rehearsed on a CPU.
NEED_GPU: list[Callable[[str], None]] = [check_nothing_waits, check_graphs_replay_what_steps_do]
CHECKS: list[Callable[[str], None]] = [
    check_forms_agree,
    check_half_types_agree,
    check_noise_is_that_of_a_cpu,
    check_nan_stays_nan,
    *NEED_GPU,
    check_scaler_skips_and_unscales,
    check_data_parallel,
]
