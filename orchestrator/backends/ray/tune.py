"""Ray Tune as the queue over the packs of a submission, and the lanes that run them.

Tune gives a lane the number of a pack, and gets an exit code: the results of trials go to the
event log alone, and no state of Tune's is kept. A searcher that invents trials as it goes would
take the place of `PlannedPacks`. The driver loads this as well, and must not load torch.
"""

import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from jobs.contract.atomic_write import write_atomically
from jobs.contract.layout import Layout
from jobs.contract.oom_kills import OOM_SUFFIX
from orchestrator.backends.ray.signals import TUNE
from orchestrator.backends.records import BackendError

_EPSILON = 1e-3  # Ray counts in ten-thousandths
_RESTARTS = 2  # of a pack whose lane has died, before the sweep's policy decides


class RayLane(tune.Trainable):  # type: ignore[misc]  # Ray has no types
    """An actor that runs the pack in its configuration as one step, and is reused for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._config = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        from orchestrator.backends.ray.pack_runner import PackRunner

        folder, here = Path(self._config["folder"]), Path(self._config["here"])
        runner = PackRunner(folder, self._config["pack"], here)
        if runner.is_stopped():
            return {"exit_code": None, "done": True}
        return {"exit_code": runner.run_all(self._config["ranks"]), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the trials do so themselves."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""


@dataclass(frozen=True)
class PackQueue:
    """Packs of one submission that may share lanes, in their order.

    A trial has `ranks` processes, each with `cpus` and `gpus`, which may be a fraction. At most
    `at_a_time` packs run at once; None for as many as there is room for.
    """

    folder: Path
    packs: Sequence[int]
    ranks: int
    cpus: int
    gpus: float
    at_a_time: int | None

    def run(self, stopped: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Run all packs, or those that have begun before `stopped`; call `beat` often.

        Raises BackendError if this Ray is too small for a trial, however long it waits.
        """
        self._check_room()
        callback = _LaneCallback(self.folder, beat)
        bundle = {"CPU": float(self.cpus)} | ({"GPU": self.gpus} if self.gpus else {})
        needs = tune.PlacementGroupFactory([bundle] * self.ranks)
        fixed = {"folder": str(self.folder), "ranks": self.ranks, "here": str(Path.cwd())}
        tuner = tune.Tuner(
            tune.with_resources(RayLane, needs),
            tune_config=tune.TuneConfig(
                search_alg=PlannedPacks(self.packs, fixed, stopped),
                num_samples=len(self.packs),
                max_concurrent_trials=self.at_a_time,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                stop=_StopWaiting(lambda: stopped() and not callback.running),
                storage_path=str(self.folder),
                failure_config=tune.FailureConfig(max_failures=_RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[callback],
                verbose=0,
            ),
        )
        tuner.fit()

    def _check_room(self) -> None:
        total = ray.cluster_resources()
        needs = {"CPU": float(self.cpus), "GPU": self.gpus}
        for name, each in needs.items():
            if each * self.ranks > total.get(name, 0.0):
                raise BackendError(
                    f"a trial needs {each * self.ranks:g} {name}s ({self.ranks} x {each:g}), and "
                    f"the Ray has {total.get(name, 0.0):g} in all: lower `resources` or `ranks`, "
                    "or let it have more"
                )
        wanted = {name: each for name, each in needs.items() if each}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(
            min(int(has.get(name, 0.0) / each + _EPSILON) for name, each in wanted.items())
            for has in nodes
        )
        if room < self.ranks:
            words = " and ".join(f"{each:g} {name}s" for name, each in wanted.items())
            raise BackendError(
                f"each of the {self.ranks} processes of a trial needs {words} of one node, and "
                f"{len(nodes)} nodes of the Ray have room for {room}: lower `resources` or `ranks`"
            )


class PlannedPacks(Searcher):  # type: ignore[misc]  # Ray has no types
    """Suggests the planned packs in their order, and none any more once they are to stop."""

    def __init__(
        self, packs: Sequence[int], fixed: Mapping[str, Any], stopped: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._waiting = deque(packs)
        self._fixed, self._stopped = fixed, stopped

    def suggest(self, trial_id: str) -> Any:
        if self._stopped() or not self._waiting:
            return Searcher.FINISHED
        return {"pack": self._waiting.popleft(), **self._fixed}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ignore the result."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: packs without a result are planned again from the logs."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: nothing was saved."""


class _StopWaiting(tune.Stopper):  # type: ignore[misc]  # Ray has no types
    """Stops Tune, with the packs that wait, once no lane has a pack; never stops a trial."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._is_over()


class _LaneCallback(tune.Callback):  # type: ignore[misc]  # Ray has no types
    """Writes the exit code of a pack whose lane has died, and calls `beat` at every step of Tune.

    `running` has Tune's ids of the packs that lanes have.
    """

    def __init__(self, folder: Path, beat: Callable[[], None]) -> None:
        self._layout = Layout(folder.parents[2], folder.parents[1].name)
        self._submission, self._beat = folder.name, beat
        self.running: set[str] = set()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._beat()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.add(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        self.running.discard(trial.trial_id)

    on_trial_recover = on_trial_complete

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(trial.trial_id)
        output = self._layout.job_output(self._submission, trial.config["pack"])
        output.parent.mkdir(exist_ok=True)
        with output.open("a") as file:
            file.write(f"{trial.get_error()}\n")
        if isinstance(trial.get_error(), ray.exceptions.OutOfMemoryError):
            write_atomically(output.with_suffix(OOM_SUFFIX), "")
        write_atomically(output.with_suffix(".exit"), f"{-signal.SIGKILL}\n")
