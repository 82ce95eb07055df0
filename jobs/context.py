"""The door between a training and the rest: a training logs, saves and stops through this alone.

The built-in image classification and a user's own `train(trial, context)` get the same one.
"""

import contextlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jobs import checkpoint, events
from jobs.attempts import Attempt, Attempts
from jobs.checkpoint import Checkpoint
from jobs.events import EventLog
from jobs.launch import Launch
from jobs.pack import Pack
from jobs.trial import STREAMS, Trial
from thermolion import registry

if TYPE_CHECKING:
    from torch.optim import Optimizer

_LOOK_EVERY_S = 5.0  # for a newer attempt: a look is a listing of the events folder

_log = logging.getLogger(__name__)


class Diverged(Exception):  # noqa: N818 - a result, not a mistake
    """The training has broken down; `metrics` are final ones, where it still has any."""

    def __init__(self, why: str, metrics: Mapping[str, float] | None = None) -> None:
        super().__init__(why)
        self.metrics = metrics or {}


class Superseded(Exception):  # noqa: N818 - a state, not a mistake
    """A newer attempt at this trial lives: this one ends and writes nothing more."""


class Context:
    """What one attempt at a trial may use of the world.

    `rank` and `world_size` are those of data parallelism, `device` is where to train, `data_root`
    the folder of the data sets or None, `code_root` that of the user's code or None.
    """

    def __init__(
        self, trial: Trial, pack: Pack, launch: Launch, log: EventLog, attempts: Attempts
    ) -> None:
        self.trial = trial
        self.launch = launch
        self.rank, self.world_size = 0, trial.world_size
        self.device = torch.device(launch.device)
        self.data_root, self.code_root = pack.data_root, pack.code_root
        self.download = pack.download
        self.keep = pack.keep
        self._path = pack.layout.checkpoint(trial.id)
        self._best_path = pack.layout.best_checkpoint(trial.id)
        self._every_s = pack.checkpoint_every_s
        self._events = log
        self._attempts = attempts
        self._attempt: Attempt | None = None
        self._kept: Checkpoint | None = None
        self._seen: tuple[int, int] | None = None
        self._step = 0
        self._last: dict[str, float] = {}
        self._weights: str | None = None
        self._seconds, self._since = 0.0, time.perf_counter()
        self.clock: Callable[[], float] = self._elapsed
        self._saved_at = self._looked_at = time.monotonic()
        self._asked = False
        self.told_to_stop = False

    @property
    def options(self) -> Mapping[str, Any]:
        """The `options` of the workload."""
        return self.trial.workload.options

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """The hyperparameters of the candidate."""
        return self.trial.candidate.hyperparameters

    @property
    def state_folder(self) -> Path:
        """A folder that the attempts of this trial share; it goes once the result is on disk."""
        return checkpoint.state_folder(self._path)

    @property
    def logged(self) -> Mapping[str, float]:
        """The last value of every metric, those of the attempts it goes on from included."""
        return self._last

    @property
    def steps(self) -> int | None:
        """The declared budget, if any."""
        return self.trial.workload.steps

    def seed(self, stream: str) -> int:
        """Return the 64-bit seed of a stream; raises ValueError for an unknown one."""
        if stream not in self.trial.seeds:
            raise ValueError(f"no stream {stream!r}: choose from {', '.join(STREAMS)}")
        return self.trial.seeds[stream]

    def optimizer(self, params: Iterable[Any]) -> "Optimizer":
        """Build the candidate's optimizer for `params` (tensors, or param groups)."""
        candidate = self.trial.candidate
        return registry.build(
            candidate.optimizer, params, candidate.hyperparameters, self.seed("noise")
        )

    def describe(self, **facts: Any) -> None:
        """Log that the attempt starts, with what is known of the trial by now; once an attempt."""
        self._seen = checkpoint.mark(self._path)
        self._kept = checkpoint.read(self._path, self.trial.id)
        generation = self._attempts.look().next_generation(self.trial.id)
        if self._kept is not None:
            generation = max(generation, self._kept.generation + 1)
        self._attempt = Attempt(generation, secrets.token_hex(8))
        config = self.trial.to_json()
        mine = {"token": self._attempt.token, "generation": generation}
        self._events.append(events.STARTED, self.trial.id, **mine, config=config, **facts)
        self._since = time.perf_counter()

    def log(self, step: int, **metrics: Any) -> None:
        """Log metrics at a step, durably; the same step may come again with other metrics.

        Raises TypeError for what is no number, ValueError for a bad step or none at all, and
        `Diverged`, once it is logged, where the metric of the curve is not finite.
        """
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"step is {step!r}: it must be a whole number, 0 or more")
        if not metrics:
            raise ValueError(f"nothing to log at step {step}: give metrics by name")
        numbers = {name: number(name, value) for name, value in metrics.items()}
        paused = time.perf_counter()
        self.log_point(step, numbers)
        name = self.trial.workload.read_as.metric
        if not math.isfinite(numbers.get(name, 0.0)):
            raise Diverged(f"{name} is {numbers[name]} at step {step}")
        self._since += time.perf_counter() - paused

    def log_point(self, step: int, metrics: Mapping[str, float], **more: Any) -> None:
        """Log one point of the curve, with `epoch` and `samples` where they are known."""
        self._look_for_newer()
        self._step = step
        self._last |= metrics
        point = {"step": step, **more, "train_seconds": self.clock(), "metrics": metrics}
        self._events.append(events.EVALUATED, self.trial.id, **point)
        if self.launch.on_log is not None:
            self.launch.on_log(step, metrics)
        if self.launch.stop_after is not None and step >= self.launch.stop_after:
            self.launch.stop.set(f"step {step}, as asked")

    def save(self, state: Any) -> None:
        """Keep `state` (tensors and plain types) for the next attempt, durably.

        The states of the generators of torch, numpy and random go with it. On a full disk the
        checkpoint before it stays. Raises TypeError for what could not be read back.
        """
        paused = time.perf_counter()
        checkpoint.check_plain(state)
        self._look_for_newer(now=True)
        self._look_at_checkpoint()
        self._write(self._path, state)
        self._seen = checkpoint.mark(self._path)
        self._saved_at, self._asked = time.monotonic(), False
        self._since += time.perf_counter() - paused

    def save_best(self, state: Any) -> None:
        """Keep `state` beside the checkpoint, as that of the best value of the curve so far."""
        checkpoint.check_plain(state)
        self._write(self._best_path, state)

    def load(self) -> Any:
        """Return what an earlier attempt has saved, or None; generators and clock go on."""
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        checkpoint.restore_rng(kept.rng[self.rank])
        self._step, self._last, self._seconds = kept.step, dict(kept.logged), kept.seconds
        self._since = time.perf_counter()
        return kept.state

    def should_stop(self) -> bool:
        """Say whether to save and return now; to be asked at every step, it costs nothing.

        A training that returns after this has answered True counts as interrupted.
        """
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._look_for_newer()
        self.told_to_stop = self.told_to_stop or bool(self.launch.stop)
        return self.told_to_stop

    def should_save(self) -> bool:
        """Say whether a checkpoint is due: before a stop, and every so often.

        Between two that time alone asks for lies at least one step, however short the time.
        """
        due = self._asked and time.monotonic() - self._saved_at >= self._every_s
        self._asked = True
        return self.should_stop() or due

    def record_weights(self, weights: str) -> None:
        """Have a digest of the final weights logged with the end: equal bits, equal digests."""
        self._weights = weights

    def interrupt(self, why: str) -> None:
        """Log that the attempt ends and the trial does not."""
        self._look_for_newer(now=True)
        self._events.append(events.INTERRUPTED, self.trial.id, step=self._step, error=why)

    def fail(self, error: str, kind: str, traceback: str) -> None:
        """Log that the training has raised: `kind` is the class of the exception."""
        self._look_for_newer(now=True)
        failure = {"error": error, "kind": kind, "traceback": traceback}
        # A failure before `started` must still be known by its trial.
        self._events.append(events.FAILED, self.trial.id, **failure, config=self.trial.to_json())

    def end(self, metrics: Mapping[str, Any] | None, diverged: str | None = None) -> None:
        """Log the result: the metrics given, or the last ones logged; then drop the checkpoint."""
        final = {**self._last, **(metrics or {})} if self.trial.workload.is_own else metrics or {}
        self._look_for_newer(now=True)
        end: dict[str, Any] = {
            "step": self._step,
            "train_seconds": self.clock(),
            "metrics": {name: number(name, value) for name, value in final.items()},
        }
        if self._weights is not None:
            end["weights"] = self._weights
        if self.device.type == "cuda":
            end["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        if diverged is None:
            self._events.append(events.COMPLETED, self.trial.id, **end)
        else:
            self._events.append(events.DIVERGED, self.trial.id, error=diverged, **end)
        if self.keep != "last":
            checkpoint.remove(self._path)

    def _write(self, path: Path, state: Any) -> None:
        assert self._attempt is not None
        kept = Checkpoint(
            trial=self.trial.id,
            generation=self._attempt.generation,
            token=self._attempt.token,
            step=self._step,
            logged=dict(self._last),
            seconds=self.clock(),
            rng=[checkpoint.rng_state()],
            state=state,
        )
        self._events.sync()  # or a crash of the machine might leave a checkpoint and not its curve
        try:
            checkpoint.write(path, kept)
        except OSError as error:
            _log.warning("no checkpoint of trial %s: %s", self.trial.id, error)

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._since

    def _look_at_checkpoint(self) -> None:
        """Raise Superseded where a newer attempt has written the checkpoint since our last look.

        Its log may not be visible yet where the folder is shared by hosts.
        """
        if checkpoint.mark(self._path) == self._seen:
            return
        there = checkpoint.read(self._path, self.trial.id)
        if there is not None and self._attempt is not None and there.attempt > self._attempt:
            raise Superseded(f"a newer attempt at trial {self.trial.id} has taken over")

    def _look_for_newer(self, now: bool = False) -> None:
        """Raise Superseded where a newer attempt lives or the trial has its result by now."""
        if not now and time.monotonic() - self._looked_at <= _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        mine, trial = self._attempt, self.trial.id
        newest = self._attempts.look().newest(trial)
        newer = mine is not None and newest is not None and newest > mine
        if newer or self._attempts.is_done(trial):
            raise Superseded(f"a newer attempt at trial {trial} has taken over")


def number(name: str, value: Any) -> float:
    """Return a metric's value; raises TypeError, with its name, for what is no number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise TypeError(f"{name} is a tensor of shape {tuple(value.shape)}: log one number")
    if not isinstance(value, (str, bytes)):  # float would read a number in a text
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    raise TypeError(f"{name} is {value!r} ({type(value).__name__}): log a number")
