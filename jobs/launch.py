"""What a lane is given by whatever started it: its place among ranks, device, threads, stop flag.

Foreign variables (SLURM's, a local pool's) are translated into this record at their own border.
"""

import signal
from dataclasses import dataclass, field
from types import FrameType

import torch


class StopFlag:
    """Set by a signal, looked at between steps: nothing else is safe inside a handler."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __bool__(self) -> bool:
        return self.reason is not None

    def listen(self, *signals: signal.Signals) -> None:
        """Turn signals of this process into the flag; may be called from the main thread only."""
        for number in signals:
            signal.signal(number, self._set)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name


@dataclass(frozen=True)
class Launch:
    """One process of a job. `device` is `cpu` or `cuda`; `threads` are those of one rank."""

    device: str = "cpu"
    threads: int = 1
    lane: int = 0
    stop: StopFlag = field(default_factory=StopFlag)

    def make_deterministic(self) -> None:
        """Fix whatever changes bits in this process: threads, algorithms, reduced precision."""
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
