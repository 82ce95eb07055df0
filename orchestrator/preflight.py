"""What must hold before anything starts: data at hand, user code importable, a device."""

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from jobs import catalog
from jobs.events import check_free_space
from jobs.trial import Trial
from orchestrator.backends.pool import count_gpus
from orchestrator.study import Study
from orchestrator.sweep_file import SweepError, choices
from thermolion import registry


def check_before_start(
    study: Study, trials: Iterable[Trial], data_root: Path | None, download: bool
) -> None:
    """Raise SweepError or DataError for the first thing that would fail every trial."""
    if data_root is not None and not data_root.is_dir():
        raise SweepError(f"the data root {data_root} does not exist: point --data at a folder")
    check_free_space(study.layout.folder)
    if study.sweep.device == "cuda" and count_gpus() == 0:
        raise SweepError(
            "resources.gpus_per_node is 1 and this machine shows no GPU (nvidia-smi -L lists "
            "none): set it to 0 to train on the CPU"
        )
    trials = list(trials)
    for workload in {trial.workload.key: trial.workload for trial in trials}.values():
        if not (download and workload.dataset in catalog.DATASETS):
            catalog.check_present(workload.dataset, data_root)
    sys.path.append(str(Path.cwd()))  # the user's own code, behind everything else
    try:
        for trial in {trial.candidate.key: trial for trial in trials}.values():
            _check_optimizer(trial)
        for trial in {trial.workload.key: trial for trial in trials}.values():
            for path in (trial.workload.dataset, trial.workload.model):
                if catalog.is_dotted(path):
                    catalog.resolve(path)
    finally:
        sys.path.pop()


def _check_optimizer(trial: Trial) -> None:
    """Check a user's own optimizer against its signature; ours were checked when read."""
    candidate = trial.candidate
    if candidate.optimizer in registry.OPTIMIZERS:
        return
    try:
        kind = registry.load(candidate.optimizer)
    except (ImportError, AttributeError, ValueError) as error:
        raise SweepError(
            f"candidate {candidate.name!r}: cannot import {candidate.optimizer!r}: {error}; write "
            "module:Class, importable from the folder in which you run thermolion"
        ) from error
    accepted = inspect.signature(kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    for key in candidate.hyperparameters:
        if key not in accepted:
            names = [name for name in accepted if name != "params"]
            raise SweepError(
                f"candidate {candidate.name!r}: {candidate.optimizer} has no hyperparameter "
                f"{key!r}: {choices(key, names)}"
            )
