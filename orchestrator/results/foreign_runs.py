"""Runs that this tool did not make, read and paired as the command line says."""

import itertools
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.workloads.workload import MetricSpec
from orchestrator.results.comparison_input import ComparisonInput
from orchestrator.sweep.document import SweepError

if TYPE_CHECKING:
    from tracking.foreign.run import ForeignRuns, RunQuery


_EXAMPLE = (
    "compare --mlflow URI --experiment NAME --candidate params.optimizer --seed params.seed "
    "--workload params.dataset --metric val_acc"
)


def read_foreign(arguments: Namespace, root: Path) -> ComparisonInput:
    """Read runs of other tools and pair them as the command line says.

    Raises SweepError for the command line, StoreError and RunSourceError for the runs.
    """
    from tracking.foreign.pairing import RunFields, check_fields, pair_runs
    from tracking.foreign.run import RunQuery

    needed = ("experiment", "candidate", "seed", "metric")
    missing = [f"--{name}" for name in needed if getattr(arguments, name) is None]
    if missing:
        raise SweepError(f"{', '.join(missing)} to be named as well: {_EXAMPLE}")
    spec = MetricSpec(
        arguments.metric,
        arguments.final_metric,
        arguments.goal,
        arguments.unit,
        arguments.chance,
        arguments.target,
    )
    fields = RunFields(arguments.candidate, arguments.seed, arguments.workload, spec)
    check_fields(fields)
    named = (arguments.candidate, arguments.seed, arguments.workload)
    query = RunQuery(
        tuple(dict.fromkeys((spec.metric, spec.final_metric or spec.metric))),
        tuple(name for name in named if name is not None),
        arguments.filter or "",
    )
    name, found = _read_source(arguments, root, query)
    paired = pair_runs(found.runs, name, fields)
    names = sorted({one.trial.candidate.name for one in paired.outcomes})
    questions, notes = _make_questions(names, arguments.baseline)
    return ComparisonInput(name, paired.outcomes, questions, (*notes, *found.notes, *paired.notes))


def _read_source(arguments: Namespace, root: Path, query: "RunQuery") -> tuple[str, "ForeignRuns"]:
    """Return the name of the source that the command line names, and its runs."""
    from tracking.foreign.mlflow_runs import read_mlflow

    experiment: str = arguments.experiment
    return experiment, read_mlflow(root, arguments.mlflow, experiment, query)


def _make_questions(
    names: Sequence[str], baseline: str | None
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    if len(names) < 2:
        raise SweepError(f"only one candidate, {names[0]}: there is nothing to compare it with")
    if baseline is None:
        pairs = tuple(itertools.combinations(names, 2))
        return pairs, ("No --baseline is named, so every pair of candidates is asked about.",)
    if baseline not in names:
        raise SweepError(f"no run of candidate {baseline!r}: there are {', '.join(names)}")
    return tuple((name, baseline) for name in names if name != baseline), ()
