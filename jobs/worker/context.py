"""The context of a training: what it logs, saves and stops by.

The built-in image classification and a user's `train(trial, context)` get the same one; neither
writes an event or a checkpoint by other means.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from jobs.contract import events
from jobs.contract.attempts import Attempt
from jobs.contract.events import LogError
from jobs.contract.pack import Pack
from jobs.contract.trial import STREAMS, Trial
from jobs.ranks.ending import Ending
from jobs.ranks.group import RankGroup
from jobs.ranks.launch import Launch
from jobs.worker import checkpoint
from jobs.worker.checkpoint import Checkpoint
from jobs.worker.divergence_check import check_finite, check_limit
from jobs.worker.fencing import Fence, FencedOut
from jobs.worker.journal import Journal
from jobs.worker.machine import Usage
from jobs.worker.stopping import Stopping
from thermolion import registry

_log = logging.getLogger(__name__)


def to_number(name: str, value: Any) -> float:
    """Return the value of the metric `name` as a float; raises TypeError for what is no number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{name} is a tensor of shape {tuple(value.shape)}: log one number")
    if not isinstance(value, (str, bytes)):  # float would read a number in a text
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    raise TypeError(f"{name} is {value!r} ({type(value).__name__}): log a number")


class Context:
    """What one attempt at a trial is given, and by which it reports.

    `hyperparameters` are those of the candidate, `steps` is the declared budget, if any; `rank`
    and `world_size` are those of data parallelism, `device` is the one to train on, `data_root`
    the folder of the data sets or None, `code_root` that of the user's code or None and `code` its
    digest; `logged` has the last value of every metric, those of earlier attempts included.
    `weights`, the digest of the final weights, and `at_chance`, why its model has learnt nothing,
    are set by a training that knows them, and logged with its end. Every rank calls `save`,
    `should_save` and `should_stop` alike; rank 0 alone writes.
    """

    def __init__(
        self,
        trial: Trial,
        pack: Pack,
        launch: Launch,
        group: RankGroup,
        journal: Journal,
    ) -> None:
        self.trial = trial
        self.hyperparameters: Mapping[str, Any] = trial.candidate.hyperparameters
        self.steps = trial.workload.steps
        self.launch, self.group = launch, group
        self.rank, self.world_size = group.rank, group.size
        self.device = launch.torch_device
        self.data_root, self.code_root, self.code = pack.data_root, pack.code_root, pack.code
        self.download, self.keep = pack.download, pack.keep
        self._path = pack.layout.checkpoint(trial.id)
        self._best_path = pack.layout.best_checkpoint(trial.id)
        self._every_s = pack.checkpoint_every_s
        self._journal = journal
        self._fence = Fence(trial.id, self._path, journal)
        self.stopping = Stopping(trial, journal, launch.stop, group)
        self._usage = Usage(self.device) if pack.usage and self.rank == 0 else None
        self._attempt: Attempt | None = None
        self._kept: Checkpoint | None = None
        self._step = 0
        self.logged: dict[str, float] = {}
        self.weights: str | None = None
        self.at_chance: str | None = None
        self._seconds, self._since = 0.0, time.perf_counter()
        self.clock: Callable[[], float] = lambda: self._seconds + time.perf_counter() - self._since
        self._saved_at = time.monotonic()
        self._asked = False

    @property
    def options(self) -> Mapping[str, Any]:
        """The `options` of the workload, with the `args` of the candidate, which come first."""
        return self.trial.options

    @property
    def state_folder(self) -> Path:
        """A folder that the attempts of this trial share, until its result is on disk."""
        return checkpoint.state_folder(self._path)

    @property
    def run_folder(self) -> Path:
        """A folder for what a command writes and prints, until its result is on disk."""
        return checkpoint.run_folder(self._path)

    @property
    def told_to_stop(self) -> bool:
        """True once the training was told to stop: after that, it may return anything."""
        return self.stopping.reason is not None

    def seed(self, stream: str) -> int:
        """Return the 64-bit seed of a stream; raises ValueError for an unknown one."""
        if stream not in self.trial.seeds:
            raise ValueError(f"no stream {stream!r}: choose from {', '.join(STREAMS)}")
        return self.trial.seeds[stream]

    def optimizer(self, params: Iterable[Any]) -> Optimizer:
        """Build the candidate's optimizer for `params` (tensors, or param groups)."""
        name = self.trial.candidate.optimizer
        return registry.build(name, params, self.hyperparameters, self.seed("noise"))

    def describe(self, **facts: Any) -> None:
        """Log that the attempt starts, with facts about the trial; to be called once."""
        if self.rank == 0:
            self._attempt, self._kept = self._fence.begin()
            self.stopping.judge.restore()
            attempt = {"token": self._attempt.token, "generation": self._attempt.generation}
            self._append(events.STARTED, **attempt, config=self.trial.to_json(), **facts)
        if self.world_size > 1:
            # Its file may not be visible here yet if another node has written it.
            whole = self.group.broadcast_bytes(
                None if self._kept is None else self._path.read_bytes()
            )
            self._kept = None if whole is None else checkpoint.parse(whole)
        self._since = time.perf_counter()

    def log(self, step: int, **metrics: Any) -> None:
        """Log metrics at a step, durably; the same step may come again with other metrics.

        Raises TypeError for what is no number, ValueError for a bad step or no metric at all, and
        `Diverged`, once it is logged, if the metric of the curve is not finite, or that of the
        workload's limit is past it.
        """
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"step is {step!r}: it must be a whole number, 0 or more")
        if not metrics:
            raise ValueError(f"nothing to log at step {step}: give metrics by name")
        self.log_values(step, {name: to_number(name, value) for name, value in metrics.items()})

    def log_values(
        self, step: int, numbers: Mapping[str, float], seconds: float | None = None
    ) -> None:
        """Log numbers at a step, as `log` does; `seconds` is the training time they are of."""
        paused = time.perf_counter()
        self.log_point(step, numbers, seconds)
        name = self.trial.workload.metric_spec.metric
        if self.rank == 0 and name in numbers:
            check_finite({name: numbers[name]}, f"at step {step}")
        if self.rank == 0:
            check_limit(self.trial.workload.diverged, numbers, f"at step {step}")
        self._since += time.perf_counter() - paused

    def log_point(
        self, step: int, metrics: Mapping[str, float], seconds: float | None = None, **more: Any
    ) -> None:
        """Log one point of the curve, with `epoch` and `samples` if they are known.

        `seconds` is the training time that it was measured at; None for now.
        """
        self._fence.check()
        self._step = step
        self.logged |= metrics
        clock = self.clock() if seconds is None else seconds
        point = {"step": step, **more, "train_seconds": clock, "metrics": metrics}
        self._append(events.EVALUATED, **point)
        self.stopping.add_point(step, more.get("epoch", step), metrics)
        self._log_usage()
        if self.launch.on_log is not None:
            self.launch.on_log(step, metrics)
        if self.launch.stop_after is not None and step >= self.launch.stop_after:
            self.launch.stop.set(f"step {step}, as asked")

    def _log_usage(self, now: bool = False) -> None:
        used = None if self._usage is None else self._usage.sample(now)
        if used is not None:
            self._append(events.USAGE, step=self._step, metrics=used)

    def log_layers(self, step: int, layers: Mapping[str, Any]) -> None:
        """Log the telemetry of the optimizer on rank 0, by layer."""
        self._append(events.TELEMETRY, step=step, layers=layers)

    def save(self, state: Any) -> None:
        """Keep `state` (tensors and plain types) for the next attempt, durably.

        The generators of torch, numpy and random, of every rank, go with it. On a full disk the
        checkpoint before it stays. Raises TypeError for what could not be read back.
        """
        paused = time.perf_counter()
        checkpoint.check_plain(state)
        generators = self.group.gather("save", checkpoint.rng_state())
        if generators is not None:
            self._fence.check(now=True)
            self._fence.check_checkpoint()
            self._write(self._path, state, generators)
            self._fence.accept_checkpoint()
        self._saved_at, self._asked = time.monotonic(), False
        self._since += time.perf_counter() - paused

    def save_best(self, state: Any) -> None:
        """Keep `state` beside the checkpoint, as that of the best value of the curve so far."""
        checkpoint.check_plain(state)
        if self.rank == 0:
            self._write(self._best_path, state, [checkpoint.rng_state()])

    def load(self) -> Any:
        """Return what an earlier attempt has saved, or None; resumes generators and clock."""
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        checkpoint.restore_rng(kept.rng[self.rank])
        self._step, self.logged, self._seconds = kept.step, dict(kept.logged), kept.seconds
        self._since = time.perf_counter()
        return kept.state

    def resume_clock(self, seconds: float) -> None:
        """Go on from the training time of an earlier attempt, as `load` does."""
        self._seconds, self._since = seconds, time.perf_counter()

    def should_stop(self) -> bool:
        """Return True if the training has to save and return now; ask at every step, it is cheap.

        A training that returns after this was True counts as interrupted.
        """
        return self._ask_all(save=False)[0]

    def should_save(self) -> bool:
        """Return True if a checkpoint is due: before a stop, and at the interval of the study.

        However short the interval, at least one step lies between two checkpoints.
        """
        due = self._asked and time.monotonic() - self._saved_at >= self._every_s
        self._asked = True
        return any(self._ask_all(save=due))

    def has_to_stop(self) -> bool:
        """Return True if this rank has to stop, without asking the others."""
        self._fence.check()
        return self.stopping.ask_alone()

    def end(self, ending: Ending) -> None:
        """Log how the attempt has ended; raises FencedOut if a newer one has taken over.

        Raises LogError if the log of another rank cannot be written.
        """
        if ending.state == "superseded":
            raise FencedOut(ending.error)
        if ending.state == "unlogged":
            raise LogError(ending.error)
        self._fence.check(now=True)
        if ending.state == "interrupted":
            kind = {"kind": ending.kind} if ending.kind else {}
            self._append(events.INTERRUPTED, step=self._step, error=ending.error, **kind)
        elif ending.state == "failed":
            why = {"error": ending.error, "kind": ending.kind, "traceback": ending.traceback}
            # With the trial: an attempt may fail before it has logged `started`.
            self._append(events.FAILED, **why, config=self.trial.to_json())
        elif ending.state == "diverged":
            self._log_result(events.DIVERGED, None, error=ending.error)
        else:
            flag = {} if self.at_chance is None else {"at_chance": self.at_chance}
            self._log_result(events.COMPLETED, ending.metrics, **flag)

    def _log_result(self, event_type: str, metrics: Mapping[str, Any] | None, **why: str) -> None:
        """Log the last metrics logged and `metrics`; then remove the checkpoint."""
        logged = self.logged if self.trial.workload.ends_as_logged else {}
        final = {**logged, **(metrics or {})}
        rung = self.stopping.rung
        self._log_usage(now=True)
        end: dict[str, Any] = {
            "step": self._step,
            "train_seconds": self.clock(),
            "metrics": {name: to_number(name, value) for name, value in final.items()},
        }
        if rung is not None:
            end |= {"rung": rung, "metrics": {}}  # the metrics would be those of another budget
        if self.weights is not None:
            end["weights"] = self.weights
        if self.device.type == "cuda":
            end["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        self._append(event_type, **why, **end)
        if self.keep != "last":
            checkpoint.remove(self._path)

    def _append(self, event_type: str, **payload: Any) -> None:
        self._journal.append(event_type, self.trial.id, **payload)

    def _ask_all(self, save: bool) -> tuple[bool, bool]:
        """Return two answers: do all ranks stop now, and do they save?"""
        self._fence.check()
        return self.stopping.ask_all(save)

    def _write(self, path: Path, state: Any, generators: list[Any]) -> None:
        assert self._attempt is not None  # rank 0 has begun
        kept = Checkpoint(
            trial=self.trial.id,
            generation=self._attempt.generation,
            token=self._attempt.token,
            step=self._step,
            logged=dict(self.logged),
            seconds=self.clock(),
            rng=generators,
            state=state,
        )
        # Otherwise a crash of the machine might leave a checkpoint without its curve.
        self._journal.sync()
        try:
            checkpoint.write(path, kept)
        except OSError as error:
            _log.warning("no checkpoint of trial %s: %s", self.trial.id, error)
