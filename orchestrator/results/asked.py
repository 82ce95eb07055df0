"""What the command line asks of studies in place of what they declared: a metric, a baseline.

It only explores: nobody has frozen these questions. Reads no log and compares nothing.
"""

import itertools
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.contract.workloads.workload import MetricSpec, Workload
from orchestrator.sweep.document import SweepError, choices
from orchestrator.sweep.endpoint_keys import read_known
from tracking.metric import find_impossible
from tracking.outcomes import Outcome

# The options that say how a metric is read, by the field that they fill.
_READINGS = ("metric", "final_metric", "goal", "unit", "chance", "target")
# Those that name fields of runs that this tool did not make, and those that pair such runs.
_OF_RUNS = (
    *("candidate", "seed", "workload", "step", "run", "path", "filter", "mlflow"),
    *("unpaired", "duplicates", "at_step", "any_length", "separate_workloads"),
)


@dataclass(frozen=True)
class Asked:
    """The metric that studies are compared by, and the candidate that all others are against.

    None stands for what is declared, also of the parts of how the metric is read.
    """

    metric: str | None = None
    final_metric: str | None = None
    goal: str | None = None
    unit: str | None = None
    chance: float | None = None
    target: float | None = None
    baseline: str | None = None

    @staticmethod
    def parse(arguments: Namespace) -> "Asked | None":
        """Return what options ask of studies, None if nothing; raises SweepError for others."""
        given = {name: getattr(arguments, name, None) for name in (*_READINGS, "baseline")}
        for name in _OF_RUNS:
            if getattr(arguments, name, None) not in (None, False):
                raise SweepError(
                    f"--{name.replace('_', '-')} is for runs that other tools have made, and "
                    f"{' and '.join(arguments.studies)} is a study: leave it out, or name the "
                    "runs and no study (--experiment, --csv, --tensorboard)"
                )
        asked = Asked(**given)
        return None if asked == Asked() else asked

    @property
    def reads(self) -> bool:
        """True if a metric is to be read otherwise than declared."""
        return any(getattr(self, name) is not None for name in _READINGS)

    def read(self, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
        """Return outcomes whose metric is read as asked.

        Raises SweepError for a metric that no trial has logged, and one of which nothing says what
        is better.
        """
        if not self.reads:
            return tuple(outcomes)
        for name in (self.metric, self.final_metric):
            if name is not None:
                _check_logged(name, outcomes)
        specs: dict[str, MetricSpec] = {}
        for one in outcomes:
            workload = one.trial.workload
            if workload.name not in specs:
                specs[workload.name] = self._read_on(workload)
        return tuple(_with_spec(one, specs[one.trial.workload.name]) for one in outcomes)

    def ask(
        self, declared: Sequence[tuple[str, str]], names: Sequence[str]
    ) -> tuple[tuple[str, str], ...]:
        """Return the questions, of candidates with these `names`; raises SweepError.

        Without a baseline they are those that were declared, or about every pair if none was.
        """
        if self.baseline is None:
            return tuple(declared) or tuple(itertools.combinations(names, 2))
        if self.baseline not in names:
            raise SweepError(
                f"no candidate {self.baseline!r} to compare with: {choices(self.baseline, names)}"
            )
        return tuple((name, self.baseline) for name in names if name != self.baseline)

    def describe(self) -> str:
        """Say what was asked, as a note for the reader."""
        parts = [
            f"--{name.replace('_', '-')} {value:g}"
            if isinstance(value, float)
            else f"--{name.replace('_', '-')} {value}"
            for name in (*_READINGS, "baseline")
            if (value := getattr(self, name)) is not None
        ]
        return f"Asked on the command line, for exploration: {' '.join(parts)}."

    def _read_on(self, workload: Workload) -> MetricSpec:
        own = workload.metric_spec
        spec: MetricSpec | None = own
        if self.metric is not None:
            known = read_known(self.metric, workload)
            is_own = known is own and self.metric == own.metric
            spec = known if is_own or known is None else replace(known, metric=self.metric)
            if spec is not None and not is_own:
                spec = replace(spec, final_metric=None, target=None)
        changed: dict[str, Any] = {
            name: value
            for name in ("final_metric", "goal", "unit", "chance", "target")
            if (value := getattr(self, name)) is not None
        }
        if spec is None:
            assert self.metric is not None
            if self.goal is None:
                raise SweepError(
                    f"nothing says what is better, more or less of {self.metric}: add --goal max "
                    "or --goal min"
                )
            spec = MetricSpec(self.metric)
        spec = replace(spec, **changed)
        if (wrong := find_impossible(spec)) is not None:
            raise SweepError(f"--{wrong}")
        return spec


def _with_spec(one: Outcome, spec: MetricSpec) -> Outcome:
    workload = replace(one.trial.workload, declared_metric=spec)
    return replace(one, trial=replace(one.trial, workload=workload))


def _check_logged(metric: str, outcomes: Iterable[Outcome]) -> None:
    """Raise SweepError if trials have logged metrics, and none of them this one."""
    logged = {
        name
        for one in outcomes
        for metrics in (one.metrics, *(point.metrics for point in one.curve))
        for name in metrics
    }
    if logged and metric not in logged:
        raise SweepError(f"no trial has logged {metric!r}: {choices(metric, sorted(logged))}")
