"""Runs that this tool did not make, read and paired as the command line says."""

import itertools
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.workloads.workload import MetricSpec
from orchestrator.results.comparison_input import ComparisonInput
from orchestrator.sweep.document import SweepError
from tracking.metric import find_impossible

if TYPE_CHECKING:
    from tracking.foreign.run import ForeignRuns, RunQuery


_SOURCES = ("mlflow", "csv", "tensorboard")  # options; one of them says where the runs are
_EXAMPLES = {
    "mlflow": "compare --mlflow URI --experiment NAME --candidate params.optimizer "
    "--seed params.seed --workload params.dataset --metric val_acc",
    "csv": "compare --csv runs.csv --candidate optimizer --seed seed --metric val_acc",
    "tensorboard": "compare --tensorboard runs/ --path '{optimizer}/seed{seed}' "
    "--candidate optimizer --seed seed --metric val/acc",
}
# Options that one kind of source alone takes.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "experiment": ("mlflow",),
    "step": ("csv",),
    "run": ("csv",),
    "path": ("csv", "tensorboard"),
}

# Words in the names of metrics of which less is better, mostly.
_LESS_IS_BETTER = frozenset(
    {
        *("loss", "error", "err", "perplexity", "ppl", "nll", "crossentropy"),
        *("mse", "rmse", "mae", "wer", "cer", "bpb", "bpc", "fid", "regret"),
    }
)


def read_foreign(arguments: Namespace, root: Path) -> ComparisonInput:
    """Read runs of other tools and pair them as the command line says.

    Raises SweepError for the command line, StoreError and RunSourceError for the runs.
    """
    from tracking.foreign.pairing import PairingRules, pair_runs, require_pairs
    from tracking.foreign.run import RunQuery
    from tracking.foreign.run_fields import RunFields, check_fields, split_fields

    kind = _source_kind(arguments)
    first = ("experiment",) if kind == "mlflow" else ()
    needed = (*first, "candidate", *(() if arguments.unpaired else ("seed",)), "metric")
    missing = [f"--{name}" for name in needed if not (getattr(arguments, name) or "").strip(", ")]
    if missing:
        raise SweepError(f"{', '.join(missing)} to be named as well: {_EXAMPLES[kind]}")
    spec = MetricSpec(
        arguments.metric,
        arguments.final_metric,
        arguments.goal or "max",
        arguments.unit or "plain",
        arguments.chance,
        arguments.target,
    )
    if (wrong := find_impossible(spec)) is not None:
        raise SweepError(f"--{wrong}")
    fields = RunFields(
        split_fields(arguments.candidate),
        split_fields(arguments.seed),
        split_fields(arguments.workload),
        spec,
    )
    rules = PairingRules(
        arguments.duplicates,
        arguments.at_step,
        arguments.any_length,
        arguments.unpaired,
        arguments.separate_workloads,
    )
    _check_rules(arguments)
    if kind == "mlflow":
        check_fields(fields)
    query = RunQuery(
        tuple(dict.fromkeys((spec.metric, spec.final_metric or spec.metric))),
        fields.all,
        arguments.filter or "",
    )
    name, found = _read_source(kind, arguments, root, query)
    if arguments.goal is None:
        _require_goal(spec)
    paired = pair_runs(found, name, fields, rules)
    names = sorted({one.trial.candidate.name for one in paired.outcomes})
    questions, notes = _make_questions(names, arguments.baseline)
    if not rules.unpaired:
        notes += require_pairs(paired.outcomes, questions, fields)
    return ComparisonInput(
        name,
        paired.outcomes,
        questions,
        (*notes, *found.notes, *paired.notes),
        is_paired=not rules.unpaired,
    )


def _require_goal(spec: MetricSpec) -> None:
    """Raise SweepError for a metric whose name says that less of it may be better."""
    for metric in (spec.metric, spec.final_metric or spec.metric):
        if _LESS_IS_BETTER & set(re.split(r"[^a-z]+", metric.lower())):
            raise SweepError(
                f"nothing says what is better, more or less of {metric}: add --goal min, or "
                "--goal max"
            )


def _check_rules(arguments: Namespace) -> None:
    """Raise SweepError for options that do not go together."""
    if arguments.at_step is not None:
        for option in ("final_metric", "any_length"):
            if getattr(arguments, option):
                raise SweepError(
                    f"--at-step compares the curves of --metric at step {arguments.at_step}: "
                    f"leave out --{option.replace('_', '-')}"
                )
    if arguments.unpaired and arguments.target is not None:
        raise SweepError(
            "--target times the runs of a pair against each other: leave it out with --unpaired"
        )


def _source_kind(arguments: Namespace) -> str:
    """Return the option that says where the runs are; raises SweepError for two of them."""
    named = [name for name in _SOURCES if getattr(arguments, name) is not None]
    if len(named) > 1:
        listed = " and ".join(f"--{name}" for name in named)
        raise SweepError(f"{listed}: runs of one source are compared, so name one of them")
    kind = named[0] if named else "mlflow"
    for option, kinds in _ONLY_FOR.items():
        if getattr(arguments, option) is not None and kind not in kinds:
            takes = " and ".join(f"--{one}" for one in kinds)
            raise SweepError(f"--{option} is an option of {takes}: leave it out for --{kind}")
    return kind


def _read_source(
    kind: str, arguments: Namespace, root: Path, query: "RunQuery"
) -> tuple[str, "ForeignRuns"]:
    """Return the name of the source that the command line names, and its runs."""
    from tracking.foreign.run_paths import PathPattern

    if kind == "mlflow":
        from tracking.foreign.mlflow_runs import read_mlflow

        experiment: str = arguments.experiment
        return experiment, read_mlflow(root, arguments.mlflow, experiment, query)
    path = None if arguments.path is None else PathPattern(arguments.path)
    if kind == "csv":
        from tracking.foreign.table_runs import TableLayout, read_tables

        layout = TableLayout(arguments.step, arguments.run, path)
        return arguments.csv[0].stem, read_tables(arguments.csv, layout, query)
    from tracking.foreign.tensorboard_runs import read_tensorboard

    folder: Path = arguments.tensorboard
    return folder.resolve().name, read_tensorboard(folder, path, query)


def _make_questions(
    names: Sequence[str], baseline: str | None
) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    from tracking.foreign.run_fields import find_candidate

    if len(names) < 2:
        raise SweepError(f"only one candidate, {names[0]}: there is nothing to compare it with")
    if baseline is None:
        pairs = tuple(itertools.combinations(names, 2))
        return pairs, ["No --baseline is named, so every pair of candidates is asked about."]
    known = find_candidate(baseline, names)
    if known is None:
        raise SweepError(f"no run of candidate {baseline!r}: there are {', '.join(names)}")
    return tuple((name, known) for name in names if name != known), []
