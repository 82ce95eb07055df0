"""The user's own training: the function that trains a workload, where the user's code is found."""

import importlib
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs import catalog
from jobs.context import Context
from jobs.trial import Trial, Workload

Train = Callable[[Trial, Context], Mapping[str, Any] | None]

_OURS = ("jobs", "orchestrator", "slurm", "tracking")
_LARGEST_SEED = 2**32  # of numpy's global generator


def door(workload: Workload) -> Train:
    """Return the function that trains a workload; raises DataError where there is no such one."""
    if workload.train is not None:
        train: Train = catalog.resolve(workload.train)
        return _own(train)
    if workload.command is not None:
        from jobs.command import run_command

        return _own(run_command)
    from jobs import images

    return images.train


def _own(train: Train) -> Train:
    """Start the attempt and seed the global generators before the user's code runs."""

    def started(trial: Trial, context: Context) -> Mapping[str, Any] | None:
        seed = context.seed("init")
        random.seed(seed)
        np.random.seed(seed % _LARGEST_SEED)
        torch.manual_seed(seed)
        reading = trial.workload.read_as
        facts: dict[str, Any] = {} if context.steps is None else {"steps": context.steps}
        if reading.chance is not None:
            names = {reading.metric, reading.final_metric or reading.metric}
            facts["chance"] = dict.fromkeys(sorted(names), reading.chance)
        context.describe(**facts)
        metrics = train(trial, context)
        context.check_ending(metrics)
        return metrics

    return started


def add_to_path(code_root: Path) -> None:
    """Let the user's modules be imported, behind all others.

    A folder of theirs that is called like one of our packages adds its modules to that package:
    ours are found first, and theirs are not lost.
    """
    if str(code_root) not in sys.path:
        sys.path.append(str(code_root))
    for name in _OURS:
        theirs = code_root / name
        if theirs.is_dir():
            package = importlib.import_module(name)
            if str(theirs) not in package.__path__:
                package.__path__.append(str(theirs))
