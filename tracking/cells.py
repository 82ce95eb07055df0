"""How a candidate on a workload looks in MLflow: one run above its trials, as data.

The settings of a candidate that is tuned have one run above all of them. What is averaged, and why
it never changes, is `tracking.summary`'s. Imports no MLflow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from jobs.command_line import told
from jobs.trial import Trial, digest
from tracking.browse import (
    CELL_TAG,
    MetricPoint,
    RunRecord,
    data_of,
    params_of,
    source_tags,
)
from tracking.keys import MAX_NAME, MAX_TAG, cut, text
from tracking.outcomes import Outcome
from tracking.summary import counts, endpoints_of, means, settled, status_of

# Of the params of a trial, those that its block alone decides.
_OF_A_BLOCK = ("seed.", "noise_seed")


def by_cell(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of every cell in which a trial has started, by the key of the cell.

    The key is made of what the trials have in common, names aside: renaming costs nothing.
    """
    cells: dict[str, list[Outcome]] = {}
    keys: dict[tuple[int, int, str], str] = {}  # trials of a study share what they are made of
    for one in outcomes:
        trial = one.trial
        seen = (id(trial.workload), id(trial.candidate), trial.phase)
        key = keys.get(seen) or keys.setdefault(seen, _key(trial))
        cells.setdefault(key, []).append(one)
    return {
        key: trials
        for key, trials in cells.items()
        if any(one.started_ms is not None for one in trials)
    }


def cell_record(key: str, trials: Sequence[Outcome], study: str) -> RunRecord:
    """Return the run of a cell."""
    started = [one for one in trials if one.started_ms is not None]
    ended = [one.ended_ms for one in trials if one.ended_ms is not None]
    status = status_of(trials)
    trial = started[0].trial
    is_tuned = trial.candidate.setting_of is not None
    params = {k: v for k, v in params_of(trial).items() if not k.startswith(_OF_A_BLOCK)}
    if is_tuned:
        params = {k: v for k, v in params.items() if not _may_differ(k, trial)}
    return RunRecord(
        name=_name(trial),
        tags=_tags(key, trials, study),
        params=params,
        metrics=() if is_tuned else (*means(trials), *_spreads(trials)),
        status=status,
        start_ms=min(one.started_ms for one in started if one.started_ms is not None),
        end_ms=None if status == "RUNNING" else max(ended),
        data=tuple(dict.fromkeys(record for one in started for record in data_of(one))),
    )


def _may_differ(param: str, trial: Trial) -> bool:
    """Whether a param is of a hyperparameter: in those the settings of a candidate differ."""
    named = told(trial.workload, trial.candidate)
    return param in named or param.startswith("hyperparameter.")


def _key(trial: Trial) -> str:
    workload, candidate = trial.workload.content(), trial.candidate.content()
    if trial.candidate.setting_of is not None:
        candidate = {"setting_of": trial.candidate.setting_of}
    ran = [trial.world_size, trial.threads, trial.precision, trial.execution]
    return digest([trial.phase, workload, candidate, ran])


def _name(trial: Trial) -> str:
    """Name a cell as a person would: `digits · adamw[lr=0.001]`."""
    name = f"{trial.workload.name} · {trial.candidate.declared}"
    return cut(name if trial.phase == "compare" else f"{trial.phase} · {name}", MAX_NAME)


def _tags(key: str, trials: Sequence[Outcome], study: str) -> dict[str, str]:
    trial = trials[0].trial
    facts = {
        "study": study,
        "phase": trial.phase,
        "candidate": trial.candidate.declared,
        "workload": trial.workload.name,
    }
    ours = {f"thermolion.{fact}": text(value, MAX_TAG) for fact, value in facts.items()}
    named = {CELL_TAG: key, "mlflow.runName": _name(trial)}
    return ours | named | counts(trials) | source_tags(study)


def _spreads(trials: Sequence[Outcome]) -> list[MetricPoint]:
    """Return the standard deviations (ddof 1) beside the means, from two blocks on."""
    spreads: dict[str, _Spread] = {}
    found = []
    time_ms = 0
    for one in settled(trials):
        time_ms = max(time_ms, one.ended_ms or 0)
        for name, value in endpoints_of(one).items():
            so_far = spreads.setdefault(name, _Spread())
            so_far.add(value)
            if so_far.count > 1:
                found.append(MetricPoint(f"{name}.sd", so_far.sd(), time_ms, so_far.count))
    return found


@dataclass
class _Spread:
    """The spread of values that come one by one; their sums are exact, so that none is lost."""

    count: int = 0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    def add(self, value: float) -> None:
        exact = Fraction(value)
        self.count += 1
        self.total += exact
        self.squares += exact * exact

    def sd(self) -> float:
        """Return the standard deviation (ddof 1) of two values or more."""
        spread = self.squares - self.total * self.total / self.count
        return math.sqrt(spread / (self.count - 1))
