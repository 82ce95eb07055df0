"""The user's own training: its function is found, seeded, called, and its result is checked."""

import importlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.contract.content import digest
from jobs.contract.trial import Trial
from jobs.contract.workloads import catalog
from jobs.contract.workloads.workload import UserWorkload
from jobs.worker.context import Context, to_number
from jobs.worker.divergence_check import check_finite, check_limit

Train = Callable[[Trial, Context], Mapping[str, Any] | None]

_OURS = ("jobs", "orchestrator", "slurm", "tracking")
_LARGEST_SEED = 2**32  # of numpy's global generator


def load_training(workload: UserWorkload) -> Train:
    """Return the function that trains a workload; raises DataError if it is not found."""
    if workload.train is not None:
        return partial(_run, catalog.resolve(workload.train))
    from jobs.user.command import run_command

    return partial(_run, run_command)


def add_to_path(code_root: Path) -> None:
    """Let the user's modules be imported, behind all others.

    A folder of theirs that is called like one of our packages adds its modules to that package:
    ours are found first, and theirs are found as well.
    """
    # Why the packages' paths are extended: of two packages of one name Python finds one, whatever
    # the order of `sys.path`, and a project that has a folder `jobs/` would lose it or ours
    # (test_folders_that_are_called_like_ours_hide_nothing). Modules of one name, which cannot both
    # be found, are refused before anything is sent (`orchestrator.submit.code_snapshot`).
    packages = [importlib.import_module(name) for name in _OURS]  # ours first: theirs hide nothing
    if str(code_root) not in sys.path:
        sys.path.append(str(code_root))
    for package in packages:
        theirs = code_root / package.__name__
        if theirs.is_dir() and str(theirs) not in package.__path__:
            package.__path__.append(str(theirs))


def _run(train: Train, trial: Trial, context: Context) -> Mapping[str, Any] | None:
    """Start the attempt, seed the global generators, and call the user's training."""
    seed = context.seed("init")
    random.seed(seed)
    np.random.seed(seed % _LARGEST_SEED)
    torch.manual_seed(seed)
    metric_spec = trial.workload.metric_spec
    names = sorted({metric_spec.metric, metric_spec.final_metric or metric_spec.metric})
    facts: dict[str, Any] = {} if context.steps is None else {"steps": context.steps}
    if metric_spec.chance is not None:
        facts["chance"] = dict.fromkeys(names, metric_spec.chance)
    if trial.user_workload.results:
        ways = [source.to_json() for source in trial.user_workload.results]
        facts["digests"] = {"results": digest(ways)}
    context.describe(**facts)
    metrics = train(trial, context)
    if context.stopping.is_early:
        return None
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(
            f"the training returned {metrics!r} ({type(metrics).__name__}): return the final "
            "metrics by name, such as {'test_accuracy': 0.9}, or nothing"
        )
    metrics = metrics or {}
    if context.rank == 0:
        _check_metrics(names, {**context.logged, **metrics})
        limit = trial.workload.diverged
        if limit is not None and limit.metric in metrics:
            value = to_number(limit.metric, metrics[limit.metric])
            check_limit(limit, {limit.metric: value}, "at the end")
    return metrics


def _check_metrics(names: Sequence[str], final: Mapping[str, Any]) -> None:
    """Raise ValueError if a metric in `names` is absent, Diverged if one is not finite."""
    absent = [name for name in names if name not in final]
    if absent:
        raise ValueError(
            f"the training ended without logging {' and '.join(absent)}; it logged "
            f"{', '.join(sorted(final)) or 'nothing'}: log it by context.log or thermolion.log, "
            "or name another `metric` in the sweep"
        )
    check_finite({name: to_number(name, final[name]) for name in names}, "at the end")
