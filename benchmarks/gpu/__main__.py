"""ThermoLion on a GPU: checks, then a step and whole trainings against AdamW fused.

    python -m benchmarks.gpu [--minutes 8] [--rehearse]

Installs nothing and uses no network. Ends with tables for RESULTS.md, and with exit code 1 if a
check fails, if there is no GPU or no Triton, or if the time is up. `--rehearse` runs on a CPU, in
Triton's interpreter, what needs no GPU: it shows that the script runs, its figures mean nothing.
"""

import argparse
import faulthandler
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any


class OutOfTimeError(BaseException):
    """The time that was given is up; no Exception, so that nothing on the way takes it for one."""


def _find_want(device: str) -> str | None:
    """Return what there is not, and nothing is measured without; None if all of it is there."""
    if importlib.util.find_spec("torch") is None:
        return _say_missing("torch")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return f"no GPU: torch {torch.__version__} finds no CUDA device on this machine"
    return _say_missing("triton") if importlib.util.find_spec("triton") is None else None


def _say_missing(package: str) -> str:
    return f"{sys.executable} has no {package}: name a Python that has it, make gpu PYTHON=…"


def run_checks(device: str) -> int:
    """Run all checks, print a line for each, and return how many have failed."""
    from benchmarks.gpu import gpu_checks

    failed = 0
    for check in gpu_checks.CHECKS:
        if device == "cpu" and check in gpu_checks.NEED_GPU:
            print(f"left out  {check.__name__} (needs a GPU)", flush=True)
            continue
        begin = time.monotonic()
        try:
            check(device)
            verdict = "ok       "
        except Exception as error:
            failed += 1
            verdict = f"FAILED    {type(error).__name__}: {error}\n         "
        print(f"{verdict} {check.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
    return failed


def measure_steps(device: str, shapes: list[str], rounds: int) -> None:
    """Print a Markdown table of single steps: milliseconds, and times AdamW fused."""
    from benchmarks import optimizer_step

    print(f"\nOne step, ms (times AdamW fused), medians of {rounds} interleaved rounds:\n")
    costs: dict[str, dict[str, float]] = {}
    for shape in shapes:
        try:
            costs[shape] = optimizer_step.measure(shape, device, rounds)
        except ImportError as error:
            print(f"(left out {shape}: {error})")
    if not costs:
        return
    print("| | " + " | ".join(costs) + " |")
    print("| --- " * (len(costs) + 1) + "|")
    for name in next(iter(costs.values())):
        cells = (
            f"{each[name] * 1e3:.3f} ({each[name] / each['AdamW fused']:.2f})"
            for each in costs.values()
        )
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _trainings() -> dict[str, Callable[[Any], Any]]:
    import torch

    from thermolion import ThermoLion

    # The noise of ours never ends.
    return {
        "AdamW fused": lambda p: torch.optim.AdamW(p, fused=True),
        "ours fused, noise off": lambda p: ThermoLion(p, fused=True, noise=False),
        "ours fused, noise on": lambda p: ThermoLion(p, fused=True, temp_decay=1.0),
        "ours lists, noise on": lambda p: ThermoLion(p, foreach=True, temp_decay=1.0),
    }


def measure_trainings(device: str, shapes: list[str], turns: int, steps: int) -> None:
    """Print a Markdown table of whole training steps (forward, backward, step), in bfloat16."""
    import torch
    from torch import nn

    from benchmarks import optimizer_step
    from jobs.images import models as networks

    made = {
        **optimizer_step.SHAPES,
        "small MLP": lambda: networks.build("mlp", {"hidden": [8]}, 3, 32, 10),
    }
    batch = 256 if device == "cuda" else 4
    print(f"\nWhole training steps of {batch} images, ms (times AdamW fused), {turns} turns:\n")
    print("| | " + " | ".join(shapes) + " |\n" + "| --- " * (len(shapes) + 1) + "|")
    table: dict[str, list[str]] = {name: [] for name in _trainings()}
    for shape in shapes:
        models = {name: made[shape]().to(device) for name in table}
        optimizers = {name: make(models[name].parameters()) for name, make in _trainings().items()}
        channels = 1 if shape == "convnet" else 3
        images = torch.randn(batch, channels, 32, 32, device=device)
        labels = torch.randint(10, (batch,), device=device)

        def train(
            model: nn.Module,
            optimizer: Any,
            images: torch.Tensor = images,
            labels: torch.Tensor = labels,
        ) -> None:
            for _ in range(steps):
                with torch.autocast(device, torch.bfloat16):
                    loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()

        seconds: dict[str, list[float]] = {name: [] for name in table}
        for turn in range(turns + 1):  # the first warms up
            for name, model in models.items():
                begin = time.perf_counter()
                train(model, optimizers[name])
                if turn:
                    seconds[name].append((time.perf_counter() - begin) / steps)
        for name, times in seconds.items():
            ratios = [a / b for a, b in zip(times, seconds["AdamW fused"], strict=True)]
            table[name].append(f"{median(times) * 1e3:.2f} ({median(ratios):.3f})")
    for name, cells in table.items():
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _headline(device: str) -> str:
    import torch
    import triton

    kind = torch.cuda.get_device_name() if device == "cuda" else "a rehearsal on a CPU"
    versions = f"torch {torch.__version__}, Triton {triton.__version__}"
    return f"## {time.strftime('%Y-%m-%d')} · {kind} · {versions}"


def _stop(*_: object) -> None:
    raise OutOfTimeError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which all of it ends")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, what needs no GPU")
    arguments = parser.parse_args()
    device = "cpu" if arguments.rehearse else "cuda"
    if arguments.rehearse:
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    if (reason := _find_want(device)) is not None:
        sys.exit(reason)
    seconds = arguments.minutes * 60
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds - min(10.0, seconds / 10))
    faulthandler.dump_traceback_later(seconds, exit=True)  # if a kernel never ends
    try:
        print(f"{_headline(device)}\n", flush=True)
        failed = run_checks(device)
        if device == "cuda":
            measure_steps(device, ["convnet", "resnet18", "vit_s", "100_small"], rounds=30)
            measure_trainings(device, ["convnet", "resnet18", "vit_s"], turns=10, steps=10)
        else:
            measure_steps(device, ["100_small"], rounds=1)
            measure_trainings(device, ["small MLP"], turns=1, steps=1)
    except OutOfTimeError:
        sys.exit(f"{arguments.minutes:g} minutes are up: what is missing above was not run")
    if failed:
        sys.exit(f"{failed} checks failed")


if __name__ == "__main__":
    main()
