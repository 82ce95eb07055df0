"""Studies on disk whose event logs a test writes, and what a real store then says of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.events import EventLog
from jobs.contract.layout import Layout
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from tracking.mlflow_store.collect import Collected, Collector
from tracking.mlflow_store.record import trial_record
from tracking.mlflow_store.store import open_store
from tracking.outcomes import Outcome, read_outcomes

_WORKLOAD = ImageWorkload("digits", "digits", "convnet", epochs=3, global_batch=64)


def _name(run: Any) -> str:
    tags = run.data.tags
    cell = f"cell {run.info.run_name}" if "thermolion.cell" in tags else ""
    return str(tags.get("thermolion.trial", cell))


class Study:
    """A study on disk; every log that it opens is one attempt."""

    def __init__(self, root: Path, name: str = "my study") -> None:
        self.layout = Layout(root, name)
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        self.trials: list[Trial] = []
        self._attempts = 0

    def another(self, name: str) -> "Study":
        """Return a second study of the same root."""
        return Study(self.layout.root, name)

    def trial(self, block: int = 0, name: str = "adamw[lr=0.001]", **hyper: Any) -> Trial:
        candidate = Candidate(name, "adamw", hyper or {"lr": 0.001})
        seeds = block_seeds(0, "compare", _WORKLOAD, block)
        self.trials.append(Trial(_WORKLOAD, candidate, "compare", block, seeds))
        return self.trials[-1]

    def log(self) -> EventLog:
        path = self.layout.event_log("s1", 0, self._attempts, 0)
        log = EventLog(path, self._attempts, free_bytes=0)
        log.append(
            "opened", submission="s1", pack=0, lane=0, host="node1", device="cpu", code="c0"
        )
        self._attempts += 1
        return log

    def start(self, log: EventLog, trial: Trial) -> None:
        log.append(
            "started",
            trial.id,
            config=trial.to_json(),
            token="t",
            steps=10,
            steps_per_epoch=5,
            chance={"test_accuracy": 0.1, "val_accuracy": 0.1},
            digests={"data": "d", "split": "s"},
        )

    def evaluate(self, log: EventLog, trial: Trial, *steps: int, **metrics: float) -> None:
        for step in steps:
            values = {"val_accuracy": step / 20, "train_loss": 1 - step / 20} | metrics
            log.append(
                "evaluated",
                trial.id,
                step=step,
                epoch=step / 5,
                samples=64 * step,
                train_seconds=step / 10,
                metrics=values,
            )

    def complete(self, log: EventLog, trial: Trial, accuracy: float = 0.9) -> None:
        metrics = {"test_accuracy": accuracy}
        log.append("completed", trial.id, step=10, train_seconds=1.0, metrics=metrics)

    def run_blocks(self, *blocks: int) -> None:
        """Run one trial on each block to its end."""
        log = self.log()
        for block in blocks:
            trial = self.trial(block)
            self.start(log, trial)
            self.evaluate(log, trial, 0, 5, 10)
            self.complete(log, trial)
        log.close()

    def outcomes(self) -> list[Outcome]:
        return list(read_outcomes(self.layout.events, self.trials).values())

    def collect(
        self,
        uri: str | None = None,
        restore: bool = False,
        checkpoints: bool = False,
        **options: Any,
    ) -> Collected:
        collector = Collector(self.layout, uri, restore, checkpoints)
        return collector.collect(self.outcomes(), **options)

    def runs(self, uri: str | None = None) -> dict[str, Any]:
        """Return active runs: by trial id, cells by `cell` and their name, the parent as "".

        Two runs of one name fail.
        """
        with open_store(self.layout.root, uri) as store:
            experiment = store.client.get_experiment_by_name(self.layout.study)
            assert experiment is not None
            found = store.client.search_runs([experiment.experiment_id], max_results=5000)
        names = [_name(run) for run in found]
        assert len(names) == len(set(names))
        return dict(zip(names, found, strict=True))

    def history(self, run: Any, uri: str | None = None) -> dict[str, list[tuple[int, int, str]]]:
        """Return (step, time in ms, value) of every metric of a run."""
        with open_store(self.layout.root, uri) as store:
            return {
                key: sorted(
                    (one.step, one.timestamp, repr(one.value))
                    for one in store.client.get_metric_history(run.info.run_id, key)
                )
                for key in run.data.metrics
            }

    def content(self, uri: str | None = None) -> dict[str, Any]:
        """Return all that a store says of the study, run ids aside."""
        return {
            name: (
                run.info.run_name,
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                {key: v for key, v in run.data.tags.items() if key != "mlflow.parentRunId"},
                run.data.params,
                self.history(run, uri),
                [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs],
            )
            for name, run in self.runs(uri).items()
        }

    def check(self, uri: str | None = None) -> None:
        """Fail unless the store says exactly what the records say."""
        found = self.runs(uri)
        for outcome in self.outcomes():
            if outcome.started_ms is None:
                assert outcome.trial.id not in found
                continue
            record = trial_record(outcome, self.layout.study)
            run = found[outcome.trial.id]
            expected: dict[str, list[tuple[int, int, str]]] = {}
            for one in record.metrics:
                point = (one.step, one.time_ms, repr(one.value))
                expected.setdefault(one.key, []).append(point)
            wanted = {key: sorted(points) for key, points in expected.items()}
            assert self.history(run, uri) == wanted
            assert run.data.params == record.params
            assert run.data.tags.items() >= record.tags.items()
            assert run.info.status == record.status
            given = {(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs}
            assert given == {("digits", "d")}
            cell = found[f"cell digits · {outcome.trial.candidate.name}"]
            assert run.data.tags["mlflow.parentRunId"] == cell.info.run_id
            assert cell.data.tags["mlflow.parentRunId"] == found[""].info.run_id


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without studies: to make one takes seconds, to copy it nothing."""
    root = tmp_path_factory.mktemp("template")
    with open_store(root, f"sqlite:///{root}/mlflow.db"):
        pass
    return root / "mlflow.db"


@pytest.fixture
def study(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "a root"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return Study(root)
