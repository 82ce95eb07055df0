"""What must hold before anything starts: data at hand, user code importable, a device."""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs import catalog
from jobs.events import check_free_space
from jobs.trial import Candidate, Trial
from orchestrator.backends.pool import count_gpus
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError, choices
from thermolion import registry


def check_before_start(
    study: Study, trials: Sequence[Trial], data_root: Path | None, download: bool
) -> None:
    """Raise SweepError or DataError for the first thing that would fail every trial."""
    if data_root is not None and not data_root.is_dir():
        raise SweepError(f"the data root {data_root} does not exist: point --data at a folder")
    check_free_space(study.layout.folder)
    cores = os.cpu_count() or 1
    if study.sweep.threads > cores:
        raise SweepError(
            f"resources.cpus_per_task is {study.sweep.threads}, this machine has {cores} cores"
        )
    if study.sweep.device == "cuda" and count_gpus() == 0:
        raise SweepError(
            "resources.gpus_per_node is 1 and this machine shows no GPU (nvidia-smi -L lists "
            "none): set it to 0 to train on the CPU"
        )
    for workload in {trial.workload.key: trial.workload for trial in trials}.values():
        if not (download and workload.dataset in catalog.DATASETS):
            catalog.check_present(workload.dataset, data_root)
    _check_user_code(trials)


def _check_user_code(trials: Sequence[Trial]) -> None:
    """Import what the user names, from the folder in which thermolion runs, behind all else."""
    sys.path.append(str(Path.cwd()))
    try:
        for trial in {trial.candidate.key: trial for trial in trials}.values():
            if trial.candidate.optimizer not in registry.OPTIMIZERS:
                _check_optimizer(trial.candidate)
        for trial in {trial.workload.key: trial for trial in trials}.values():
            for path in filter(catalog.is_dotted, (trial.workload.dataset, trial.workload.model)):
                _imported(path, catalog.resolve, f"workload {trial.workload.name!r}")
    finally:
        sys.path.pop()


def _imported(path: str, load: Callable[[str], Any], whose: str) -> Any:
    try:
        return load(path)
    except (Exception, SystemExit) as error:  # a user's module may do anything when imported
        raise SweepError(
            f"{whose}: cannot import {path!r}: {type(error).__name__}: {error}; write "
            "module:name, importable from the folder in which you run thermolion"
        ) from error


def _check_optimizer(candidate: Candidate) -> None:
    """Check a user's own optimizer against its signature; ours were checked when read."""
    whose = f"candidate {candidate.name!r}"
    kind = _imported(candidate.optimizer, registry.load, whose)
    try:
        signature = inspect.signature(kind)
    except (TypeError, ValueError) as error:
        raise SweepError(f"{whose}: {candidate.optimizer} is not a class: {error}") from error
    accepted = signature.parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for key in candidate.hyperparameters:
        if key not in accepted and not open_ended:
            names = [name for name in accepted if name != "params"]
            raise SweepError(
                f"{whose}: {candidate.optimizer} has no hyperparameter {key!r}: "
                f"{choices(key, names)}"
            )
    try:
        signature.bind(None, **candidate.hyperparameters)
    except TypeError as error:
        raise SweepError(f"{whose}: {candidate.optimizer}: {error}") from error
