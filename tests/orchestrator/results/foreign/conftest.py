"""An MLflow store of somebody else, and what is asked about its runs."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tracking.mlflow_store.store import open_store


class TheirStore:
    """A store with one experiment, `nlp`, and its client."""

    def __init__(self, uri: str, client: Any) -> None:
        self.uri = uri
        self.client = client
        self.experiment = client.get_experiment_by_name("nlp").experiment_id

    def log(
        self,
        params: Mapping[str, object],
        curve: Sequence[float] = (),
        status: str = "FINISHED",
        parent: str | None = None,
        **finals: float,
    ) -> str:
        """Log a run with `val_acc` at steps 0, 1, … and other metrics; returns its id."""
        from mlflow.entities import Metric, Param

        tags = {} if parent is None else {"mlflow.parentRunId": parent}
        name = "-".join(str(value) for value in params.values())
        run = self.client.create_run(self.experiment, tags=tags, run_name=name or "run")
        self.client.log_batch(
            run.info.run_id,
            [Metric("val_acc", value, 1000, step) for step, value in enumerate(curve)]
            + [Metric(key, value, 1000, 0) for key, value in finals.items()],
            [Param(key, str(value)) for key, value in params.items()],
        )
        self.client.set_terminated(run.info.run_id, status)
        return str(run.info.run_id)

    def ask(self, *more: object, metric: str = "val_acc") -> tuple[object, ...]:
        """Return the command line that compares optimizers."""
        return (
            *("compare", "--mlflow", self.uri, "--experiment", "nlp"),
            *("--candidate", "params.optimizer", "--seed", "params.seed", "--metric", metric),
            *more,
        )


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one experiment and no run: making its tables takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("theirs") / "empty.db"
    with open_store(path.parent, f"sqlite:///{path}") as store:
        store.client.create_experiment("nlp")
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Iterator[TheirStore]:
    """A store of somebody else, empty but for its experiment."""
    path = tmp_path / "theirs.db"
    shutil.copy(empty_store, path)
    uri = f"sqlite:///{path}"
    with open_store(tmp_path, uri) as opened:
        yield TheirStore(uri, opened.client)
