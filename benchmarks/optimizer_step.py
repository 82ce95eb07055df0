"""One optimizer step: ThermoLion in all its forms, the published formula, AdamW and Lion.

Gradients are fixed, nothing is trained: whole training steps of a network under data parallelism
are another file's. All take turns in one process; ratios are to AdamW, foreach and fused.

    python -m benchmarks.optimizer_step [--shapes convnet] [--device cuda]
"""

import argparse
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

from jobs.images import models
from thermolion import Lion, ThermoLion

QUIET_BAR, NOISY_BAR = 2.3, 4.5  # CPU, default form: times AdamW foreach, at most
PUBLISHED_BAR = 3.5  # CPU, default form: times faster than the published formula, at least
FUSED_QUIET_BAR, FUSED_NOISY_BAR = 1.10, 1.35  # CUDA: times AdamW fused, at most
# CPU, fused: times AdamW fused, at most; then for tensors that cost less than their calls.
ONE_PASS_BARS, ONE_PASS_SMALL_BARS = (1.25, 2.2), (1.6, 2.8)
BYTES = 28  # read p, g, m, v and write p, m, v, in float32

VIT_S = {"patch": 4, "layers": 12, "heads": 6, "width": 384, "dropout": 0.0}


def _small() -> nn.Module:
    return nn.ParameterList([torch.zeros(32, 32) for _ in range(100)])


SHAPES: dict[str, Callable[[], nn.Module]] = {
    "convnet": lambda: models.build("convnet", {}, 1, 32, 10),
    "resnet18": lambda: models.build("resnet18", {}, 3, 32, 10),
    "vit_s": lambda: models.build("vit", VIT_S, 3, 32, 10),
    "100_small": _small,
}


class Published:
    """The equations tensor by tensor, with torch's own noise, as in the author's class."""

    def __init__(self, params: list[nn.Parameter], noise: bool) -> None:
        self._moments = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in params]
        self._noise = noise

    @torch.no_grad()
    def step(self) -> None:
        lr = 1e-3
        for param, m, v in self._moments:
            grad = param.grad
            assert grad is not None
            m.mul_(0.9).add_(grad, alpha=1 - 0.9)
            v.mul_(0.99).addcmul_(grad, grad, value=1 - 0.99)
            gate = torch.tanh(m.abs() / (v.sqrt() + 1e-8))
            sign = torch.sign(m)
            gas = sign * (1 + 0.5 * torch.clamp(sign * torch.sign(grad), 0, 1))
            solid = m / (v.sqrt() + 1e-8)
            update = (1 - gate) * gas * lr + gate * solid * lr * 2
            if self._noise:
                scale = math.sqrt(0.99 * float(v.mean()) + 1e-10)
                update = update + torch.randn_like(param) * (scale * lr * (1 - gate))
            param.mul_(1 - lr * 0.01)
            param.add_(update, alpha=-1)


def contestants(device: str) -> dict[str, Callable[[list[nn.Parameter]], Any]]:
    """Return what makes each optimizer; the noise of ours never ends."""
    made: dict[str, Callable[[list[nn.Parameter]], Any]] = {
        "AdamW for-loop": lambda p: torch.optim.AdamW(p, foreach=False),
        "AdamW foreach": lambda p: torch.optim.AdamW(p, foreach=True),
        "AdamW fused": lambda p: torch.optim.AdamW(p, fused=True),
        "Lion for-loop": lambda p: Lion(p),
        "published, noise off": lambda p: Published(p, noise=False),
        "published, noise on": lambda p: Published(p, noise=True),
    }
    forms: dict[str, dict[str, Any]] = {"for-loop": {"foreach": False}, "foreach": {}}
    try:
        ThermoLion([nn.Parameter(torch.zeros(1, device=device))], fused=True)
        forms["fused"] = {"fused": True}
    except ValueError as refusal:
        print(refusal)
    for form, options in forms.items():
        for word, noise in (("off", False), ("on", True)):
            kind = {"noise": noise, "temp_decay": 1.0, **options}
            made[f"ours {form}, noise {word}"] = lambda p, kind=kind: ThermoLion(p, **kind)
    return made


def measure(shape: str, device: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of a step of each, from interleaved rounds."""
    optimizers = {}
    for name, make in contestants(device).items():
        torch.manual_seed(0)
        params = [
            nn.Parameter(p.detach().clone()) for p in SHAPES[shape]().to(device).parameters()
        ]
        for param in params:
            param.grad = torch.randn_like(param)
        optimizers[name] = make(params)
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for turn in range(rounds + 2):  # the first two warm up
        for name, optimizer in optimizers.items():
            elapsed = _timed(optimizer.step, device)
            if turn >= 2:
                seconds[name].append(elapsed)
    return {name: median(times) for name, times in seconds.items()}


def _timed(call: Callable[[], object], device: str) -> float:
    _wait(device)
    begin = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def copy_rate(device: str, elements: int) -> float:
    """Return the bytes a second of a copy within the device, read and written."""
    source, target = torch.empty(2, elements, device=device).unbind()
    times = [_timed(lambda: target.copy_(source), device) for _ in range(20)]
    return 8 * elements / median(times)


def report(shape: str, device: str, rounds: int) -> None:
    count = sum(param.numel() for param in SHAPES[shape]().parameters())
    tensors = sum(1 for _ in SHAPES[shape]().parameters())
    costs = measure(shape, device, rounds)
    print(f"\n{shape}: {count / 1e6:.2f} M parameters in {tensors} tensors, {device}")
    print(f"{'':<26}{'ms':>9}{'ns/param':>10}{'x AdamW foreach':>17}{'x AdamW fused':>15}")
    for name, seconds in costs.items():
        ratio, fused_ratio = (seconds / costs[f"AdamW {form}"] for form in ("foreach", "fused"))
        line = f"{name:<26}{seconds * 1e3:>9.3f}{seconds / count * 1e9:>10.2f}{ratio:>16.2f}x"
        line += f"{fused_ratio:>14.2f}x"
        if device == "cuda" and "fused" in name:
            rate = BYTES * count / seconds
            line += f"{rate / 1e9:>9.0f} GB/s, {rate / copy_rate(device, 2**28):.2f} of a copy"
        print(line)
    one_pass_bars = ONE_PASS_SMALL_BARS if shape == "100_small" else ONE_PASS_BARS
    fused_bars = one_pass_bars if device == "cpu" else (FUSED_QUIET_BAR, FUSED_NOISY_BAR)
    for word, bar, fused_bar in (
        ("off", QUIET_BAR, fused_bars[0]),
        ("on", NOISY_BAR, fused_bars[1]),
    ):
        ours, published = (
            costs[f"ours foreach, noise {word}"],
            costs[f"published, noise {word}"],
        )
        if device == "cpu":
            _verdict(f"noise {word}, to AdamW foreach", ours / costs["AdamW foreach"], "<=", bar)
            _verdict(f"noise {word}, faster than published", published / ours, ">=", PUBLISHED_BAR)
        if (fused := costs.get(f"ours fused, noise {word}")) is not None:
            of_fused = fused / costs["AdamW fused"]
            _verdict(f"fused, noise {word}, to AdamW fused", of_fused, "<=", fused_bar)
            if device == "cuda":
                _verdict(f"noise {word}, faster than published", published / fused, ">=", 5.0)


def _verdict(name: str, value: float, sense: str, bar: float) -> None:
    met = value <= bar if sense == "<=" else value >= bar
    print(f"  {name}: {value:.2f}x ({sense} {bar:g}: {'met' if met else 'MISSED'})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices if chosen.device is None else [chosen.device]:
        for shape in chosen.shapes:
            report(shape, device, chosen.rounds)


if __name__ == "__main__":
    main()
