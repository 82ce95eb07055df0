"""The user's door for the orchestrator's tests: the command line, run in this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from warm_python import copied_store

from jobs.contract.layout import Layout
from orchestrator.backends import local
from orchestrator.cli.main import main
from tracking.mlflow_store import store


@dataclass(frozen=True)
class Said:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str


Thermolion = Callable[..., Said]

SMALL = """\
study: small
defaults: {model: {mlp: {hidden: [64]}}, epochs: 4, global_batch: 32, train_images: 256}
workloads: [{dataset: digits}]
candidates:
  thermolion: {}
  adamw: {lr: 1e-2}
baseline: adamw
seeds: 2
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A sweep of four trials that train in a fraction of a second each."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def put_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Put an empty store somewhere: MLflow takes seconds to make one, copies take none."""
    return copied_store(tmp_path_factory.mktemp("store") / "empty.db")


@pytest.fixture
def thermolion(
    warm: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    put_store: Callable[[Path], None],
) -> Thermolion:
    """Call the command line with studies below `tmp_path/studies`.

    Its pools and lanes are processes that have loaded torch already; `as_for_everybody` has them
    start their own Python.
    """
    monkeypatch.setattr(store, "_initialise", put_store)
    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=warm))
    monkeypatch.setenv("THERMOLION_ROOT", str(tmp_path / "studies"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse
            code = int(exit_.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def as_for_everybody(thermolion: Thermolion, monkeypatch: pytest.MonkeyPatch) -> Thermolion:
    """Call the command line; pools and lanes start a Python of their own, as outside of tests."""
    monkeypatch.setattr(local, "sys", sys)
    return thermolion


@pytest.fixture
def planned(thermolion: Thermolion, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Plan the text of a sweep; returns the JSON of the plan."""

    def plan(text: str, *arguments: object) -> dict[str, Any]:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        said = thermolion("plan", path, "--json", *arguments)
        assert said.code == 0, said.err
        planned: dict[str, Any] = json.loads(said.out)
        return planned

    return plan


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The study that the sweep `small` makes."""
    return Layout(tmp_path / "studies", "small")
