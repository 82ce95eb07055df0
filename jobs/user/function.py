"""The user's own training: the function that trains a workload, where the user's code is found."""

import importlib
import math
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.contract import catalog
from jobs.contract.trial import MetricSpec, Trial, UserWorkload
from jobs.ranks.ending import Diverged
from jobs.worker.context import Context, to_number

Train = Callable[[Trial, Context], Mapping[str, Any] | None]

_OURS = ("jobs", "orchestrator", "slurm", "tracking")
_LARGEST_SEED = 2**32  # of numpy's global generator


def load_training(workload: UserWorkload) -> Train:
    """Return the function that trains a workload; raises DataError if there is no such one."""
    if workload.train is not None:
        train: Train = catalog.resolve(workload.train)
        return _prepare(train)
    from jobs.user.command import run_command

    return _prepare(run_command)


def _prepare(train: Train) -> Train:
    """Start the attempt and seed the global generators before the user's code runs."""

    def started(trial: Trial, context: Context) -> Mapping[str, Any] | None:
        seed = context.seed("init")
        random.seed(seed)
        np.random.seed(seed % _LARGEST_SEED)
        torch.manual_seed(seed)
        reading = trial.workload.metric_spec
        facts: dict[str, Any] = {} if context.steps is None else {"steps": context.steps}
        if reading.chance is not None:
            names = {reading.metric, reading.final_metric or reading.metric}
            facts["chance"] = dict.fromkeys(sorted(names), reading.chance)
        context.describe(**facts)
        returned = train(trial, context)
        if context.stopping.is_early:
            return None
        metrics = _by_name(returned)
        if context.rank == 0:
            _check_metrics(trial.workload.metric_spec, {**context.logged, **metrics})
        return metrics

    return started


def _by_name(returned: Any) -> Mapping[str, Any]:
    """Return final metrics; raises TypeError for what a function returned in their place."""
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise TypeError(
            f"the training returned {returned!r} ({type(returned).__name__}): return the final "
            "metrics by name, such as {'test_accuracy': 0.9}, or nothing"
        )
    return returned


def _check_metrics(reading: MetricSpec, final: Mapping[str, Any]) -> None:
    """Raise ValueError where a training has ended without what it is read by.

    Raises Diverged where that is not finite.
    """
    wanted = sorted({reading.metric, reading.final_metric or reading.metric})
    absent = [name for name in wanted if name not in final]
    if absent:
        raise ValueError(
            f"the training ended without logging {' and '.join(absent)}; it logged "
            f"{', '.join(sorted(final)) or 'nothing'}: log it by context.log or thermolion.log, "
            "or name another `metric` in the sweep"
        )
    for name in wanted:
        if not math.isfinite(to_number(name, final[name])):
            raise Diverged(f"{name} is {final[name]} at the end")


def add_to_path(code_root: Path) -> None:
    """Let the user's modules be imported, behind all others.

    A folder of theirs that is called like one of our packages adds its modules to that package:
    ours are found first, and theirs are not lost.
    """
    # Why the packages' paths are extended: of two packages of one name Python finds one, whatever
    # the order of `sys.path`, and a project that has a folder `jobs/` would lose it or ours
    # (test_folders_that_are_called_like_ours_hide_nothing). What cannot be had by two, a module of
    # one name, is refused before anything is sent (`orchestrator.submit.code_snapshot.clashes`).
    packages = [importlib.import_module(name) for name in _OURS]  # ours first: theirs hide nothing
    if str(code_root) not in sys.path:
        sys.path.append(str(code_root))
    for package in packages:
        theirs = code_root / package.__name__
        if theirs.is_dir() and str(theirs) not in package.__path__:
            package.__path__.append(str(theirs))
