"""What a backend gives to a lane: its rank, device, threads, stop flag.

Knows no scheduler: SLURM's variables are translated into this record in `slurm.node`.
"""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch


class StopFlag:
    """Set by a signal, read between steps: nothing else is safe inside a handler.

    `classify` returns the class of failure that a stop is, given its reason and its time
    (monotonic seconds); it is called outside the handler.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.classify: Callable[[str, float], str] = lambda _reason, _at: ""
        self._at = 0.0

    def __bool__(self) -> bool:
        return self.reason is not None

    def set(self, reason: str) -> None:
        """Ask for a stop at the next step; the first reason counts."""
        if self.reason is None:
            self._at, self.reason = time.monotonic(), reason

    @property
    def kind(self) -> str:
        """The class of failure that this stop is; empty if somebody asked for it."""
        return "" if self.reason is None else self.classify(self.reason, self._at)

    def listen(self, *signals: signal.Signals) -> None:
        """Turn signals of this process into the flag; may be called from the main thread only."""
        for number in signals:
            signal.signal(number, self._set)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        self.set(signal.Signals(number).name)


@dataclass(frozen=True)
class Rendezvous:
    """Where the ranks of one lane meet: rank 0 listens, the others connect.

    `host` is the name by which the others reach rank 0. Rank 0 writes it into `file`, with a port
    and a key that nobody else can read: the name of the file must be new for every attempt, and
    every rank must see its folder.

    A rank that has not connected after `timeout_s` is given up; `silence_s` is how long a rank may
    keep the others waiting after that. The death of a rank is noticed at once.
    """

    file: Path
    host: str = "127.0.0.1"
    timeout_s: float = 120.0
    silence_s: float = 1800.0


@dataclass(frozen=True)
class Launch:
    """One process of a job. `device` is `cpu` or `cuda`; `threads` are those of one rank.

    `rank` counts the processes that train one trial together, `local_rank` those of this node;
    several of them need a `rendezvous`. `device_index` is the GPU of this rank among those that it
    sees, None for the only one. `job` is the scheduler's id of the job, as its own tools take it,
    or None. `on_gpu_fault` is called with the error if the GPU of this rank is broken.

    For a person at the terminal: the training stops after step `stop_after`, `on_log` is called
    with every step that is logged and its metrics, and with `post_mortem` an exception of the
    training leaves the lane instead of becoming an event.
    """

    device: str = "cpu"
    threads: int = 1
    lane: int = 0
    stop: StopFlag = field(default_factory=StopFlag)
    stop_after: int | None = None
    on_log: Callable[[int, Mapping[str, float]], None] | None = None
    post_mortem: bool = False
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    rendezvous: Rendezvous | None = None
    device_index: int | None = None
    job: str | None = None
    on_gpu_fault: Callable[[str], None] = lambda _error: None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} of {self.world_size}: ranks count from 0")
        if self.world_size > 1 and self.rendezvous is None:
            raise ValueError(f"{self.world_size} ranks need a rendezvous")

    @property
    def torch_device(self) -> torch.device:
        """The device of this rank."""
        if self.device_index is None:
            return torch.device(self.device)
        return torch.device(self.device, self.device_index)

    def make_deterministic(self, algorithms: bool = True, fill: bool = True) -> None:
        """Fix whatever changes bits in this process: threads, algorithms, reduced precision.

        If `algorithms` is False, torch does not refuse nondeterministic operations: a user's own
        training decides that for itself. If `fill` is False, torch does not write NaN into memory
        before its first use, which costs time and has no effect on code that reads no such memory.
        """
        torch.set_num_threads(self.threads)
        if self.device_index is not None:
            torch.cuda.set_device(self.device_index)
        # As use_deterministic_algorithms, which would load torch's compiler in every process.
        torch.set_deterministic_debug_mode("error" if algorithms else "default")
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]  # the module makes it
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
