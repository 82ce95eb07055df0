"""What a lane is given by whatever started it: its place among ranks, device, threads, stop flag.

Foreign variables (SLURM's, a local pool's) are translated into this record at their own border.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

import torch


class StopFlag:
    """Set by a signal, looked at between steps: nothing else is safe inside a handler."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __bool__(self) -> bool:
        return self.reason is not None

    def set(self, reason: str) -> None:
        """Ask for a stop at the next step."""
        self.reason = reason

    def listen(self, *signals: signal.Signals) -> None:
        """Turn signals of this process into the flag; may be called from the main thread only."""
        for number in signals:
            signal.signal(number, self._set)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        self.set(signal.Signals(number).name)


@dataclass(frozen=True)
class Launch:
    """One process of a job. `device` is `cpu` or `cuda`; `threads` are those of one rank.

    For a person at the terminal: the training stops after step `stop_after`, `on_log` is told
    every step that is logged with its metrics, and with `post_mortem` an exception of the training
    leaves the lane instead of becoming an event.
    """

    device: str = "cpu"
    threads: int = 1
    lane: int = 0
    stop: StopFlag = field(default_factory=StopFlag)
    stop_after: int | None = None
    on_log: Callable[[int, Mapping[str, float]], None] | None = None
    post_mortem: bool = False

    def make_deterministic(self, algorithms: bool = True) -> None:
        """Fix whatever changes bits in this process: threads, algorithms, reduced precision.

        `algorithms` False leaves out what makes torch refuse operations: a user's own training
        decides that for itself.
        """
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(algorithms)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
