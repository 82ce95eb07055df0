"""How a candidate on a workload looks in MLflow: one run above its trials, as data.

The settings of a candidate that is tuned have one run above all of them. What is averaged, and why
it never changes, is `tracking.mlflow_store.parents`'s. Imports no MLflow.

How a whole study looks in MLflow: its parent run, as data. Imports no MLflow.

Says how many trials are where, what the candidates reached on average, and the verdicts; the
comparison itself is the report, which the run carries as its note and its artifacts.

How the verdicts of a study look on its parent run in MLflow, as data. Imports no MLflow.

A tag says the word, also of an interim answer; a metric is logged once its number stands, for
MLflow takes nothing back.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from jobs.contract.command_template import select_hyperparameters
from jobs.contract.trial import Trial, digest
from tracking.compare.analysis import Endpoint, Question
from tracking.compare.endpoints import ComparisonError, UnmeasuredError, final_metric, score_trial
from tracking.compare.interim import DECIDED
from tracking.compare.result import Comparison, Difference
from tracking.history import State
from tracking.metric import Scale
from tracking.mlflow_store.record import (
    CELL_TAG,
    MAX_NAME,
    MAX_TAG,
    NOTE_TAG,
    STUDY_TAG,
    MetricPoint,
    RunRecord,
    Status,
    data_of,
    mlflow_key,
    params_of,
    part,
    parts,
    shorten,
    shorten_key,
    source_tags,
    spell,
)
from tracking.outcomes import Outcome
from tracking.report.wording import title, verdict_words

TAG = "thermolion.verdict"


def verdict_tags(comparison: Comparison) -> dict[str, str]:
    """Return the word of every pooled answer by its tag, `thermolion.verdict/MEASURE/QUESTION`."""
    interim = "" if _stands(comparison) else " (interim)"
    names = _titles(comparison)
    return {
        f"{TAG}/{part(one.measure)}/{names[one.question]}": verdict_words(one) + interim
        for one in comparison.pooled
    }


def verdict_points(comparison: Comparison, outcomes: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield difference, interval and adjusted p of each pooled answer, `NAME/MEASURE/QUESTION`.

    Differences are in percentage points, or in the unit of their metric. The step is the number
    of seeds of a workload. Every complete look has its difference and its p; the interval and the
    answer of a study without looks come when no trial can change them any more.
    """
    names = _titles(comparison)
    measures = {(one.question, one.endpoint): one.measure for one in comparison.pooled}

    def key(name: str, question: Question, endpoint: Endpoint) -> str:
        return f"{name}/{part(measures[question, endpoint])}/{names[question]}"

    for row in comparison.ledger:
        at = _time_ms(outcomes, row.seeds), row.seeds
        for name, value in (("difference", row.mean), ("p_adjusted", row.p_adjusted)):
            if value is not None:
                yield MetricPoint(key(name, row.question, row.endpoint), value, *at)
    if not _stands(comparison):
        return
    logged = {(row.question, row.endpoint) for row in comparison.ledger}
    for one in comparison.pooled:
        seeds = _seeds(one, outcomes)
        found = {"difference_low": one.estimate.low, "difference_high": one.estimate.high}
        if (one.question, one.endpoint) not in logged:
            found |= {"difference": one.estimate.mean, "p_adjusted": one.p_adjusted}
        for name, value in found.items():
            if value is not None:
                yield MetricPoint(
                    key(name, one.question, one.endpoint), value, _time_ms(outcomes, seeds), seeds
                )


def _titles(comparison: Comparison) -> dict[Question, str]:
    named = parts(title(one) for one in comparison.questions)
    return {one: named[title(one)] for one in comparison.questions}


def _stands(comparison: Comparison) -> bool:
    """Whether no trial that is still to come can change the answers."""
    looks = comparison.looks
    if looks is None:
        return comparison.open_trials == 0
    decided = all(one.verdict in DECIDED for one in comparison.confirmatory)
    return looks.complete == len(looks.seeds) or (looks.complete > 0 and decided)


def _seeds(one: Difference, outcomes: Sequence[Outcome]) -> int:
    if one.reached is not None and one.reached.look:
        return one.reached.seeds[one.reached.look - 1]
    return 1 + max(_blocks(outcomes), default=0)


def _blocks(outcomes: Iterable[Outcome]) -> list[int]:
    return [one.trial.block for one in outcomes if one.trial.phase == "compare" and one.has_result]


def _time_ms(outcomes: Sequence[Outcome], seeds: int) -> int:
    """Return when the last trial of so many seeds ended."""
    return max(
        (
            one.ended_ms
            for one in outcomes
            if one.trial.phase == "compare" and one.trial.block < seeds and one.ended_ms
        ),
        default=0,
    )


_STATES: tuple[State, ...] = (
    "waiting",
    "running",
    "interrupted",
    "completed",
    "diverged",
    "failed",
)


def study_record(
    outcomes: Sequence[Outcome],
    study: str,
    note: str | None,
    comparison: Comparison | None = None,
) -> RunRecord:
    """Return the parent run of the trials; raises ValueError where none has started.

    `note` is Markdown, the description that the page of the run shows; `comparison` has the
    verdicts on these trials.
    """
    started = [one.started_ms for one in outcomes if one.started_ms is not None]
    if not started:
        raise ValueError(f"no trial of {study} has started: it has no run yet")
    status = status_of(outcomes)
    ended = [one.ended_ms for one in outcomes if one.ended_ms is not None]
    return RunRecord(
        name=shorten(study, MAX_NAME),
        tags=_parent_tags(outcomes, study, note)
        | (verdict_tags(comparison) if comparison else {}),
        params={},
        metrics=(
            *_metrics(outcomes),
            *(verdict_points(comparison, outcomes) if comparison else ()),
        ),
        status=status,
        start_ms=min(started),
        end_ms=None if status == "RUNNING" else max(ended),
    )


def shorten_note(note: str, limit: int) -> str:
    """Cut Markdown at the end of a line, and say where the rest is."""
    if len(note) <= limit:
        return note
    rest = "\n\n*Cut here: the whole report is among the artifacts of the parent run.*\n"
    head = note[: limit - len(rest)]
    return head[: head.rfind("\n") + 1 or None] + rest


def status_of(outcomes: Sequence[Outcome]) -> Status:
    """Return how a run stands that is made of many: it goes on while one may bring a result."""
    if all(one.has_result for one in outcomes):
        return "FINISHED"
    ended = all(one.has_result or one.state == "failed" for one in outcomes)
    return "FAILED" if ended else "RUNNING"


def _parent_tags(outcomes: Sequence[Outcome], study: str, note: str | None) -> dict[str, str]:
    tags = {
        STUDY_TAG: study,
        "thermolion.study": study,
        "mlflow.runName": shorten(study, MAX_NAME),
    }
    tags |= counts(outcomes)
    tags |= {NOTE_TAG: shorten_note(note, MAX_TAG)} if note else {}
    return tags | source_tags(study)


def counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return the tags that say how many trials are where."""
    states = Counter(one.state for one in outcomes)
    said = ", ".join(f"{states[s]} {s}" for s in _STATES if states[s])
    each = {f"thermolion.trials.{state}": str(states[state]) for state in _STATES}
    return {"thermolion.trials": said} | each


def _metrics(outcomes: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield the means of every candidate on every workload, each under a name of its own."""
    compared = [one for one in outcomes if one.trial.phase == "compare"]
    workloads = parts(sorted({one.trial.workload.name for one in compared}))
    candidates = parts(sorted({one.trial.candidate.name for one in compared}))
    cells: dict[str, list[Outcome]] = {}
    for one in compared:
        of = f"{workloads[one.trial.workload.name]}/{candidates[one.trial.candidate.name]}"
        cells.setdefault(of, []).append(one)
    for of, trials in cells.items():
        for point in means(trials):
            yield point._replace(key=shorten_key(f"{point.key}/{of}"))


def stable_results(trials: Sequence[Outcome]) -> Iterator[Outcome]:
    """Yield results block by block, up to the first that may still come; failures are left out."""
    for one in sorted(trials, key=lambda one: one.trial.block):
        if one.state == "failed":
            continue
        if not one.has_result or one.ended_ms is None:
            return
        yield one


def means(trials: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield the means over the first 1, 2, … blocks of one candidate on one workload.

    The step is the number of blocks. MLflow only ever appends to a history, so a mean of whatever
    has arrived would leave behind what it was before. These stand for good: block after block in
    order, up to the first that may still bring a result. So the means of candidates at one step
    are of the same blocks.
    """
    values: dict[str, list[float]] = {}
    time_ms = 0
    for one in stable_results(trials):
        time_ms = max(time_ms, one.ended_ms or 0)
        for name, value in endpoints_of(one).items():
            so_far = values.setdefault(name, [])
            so_far.append(value)
            yield MetricPoint(name, fmean(so_far), time_ms, len(so_far))


def endpoints_of(outcome: Outcome) -> dict[str, float]:
    """Return the numbers of the report (diverged counts as chance), as logged, and seconds.

    The AUC of the user's own training is not among them: where one diverged, it depends on trials
    that may be still to come.
    """
    found = {}
    if outcome.train_seconds is not None:
        found["train_seconds"] = outcome.train_seconds
    try:
        ends = score_trial(outcome)
    except (UnmeasuredError, ComparisonError):
        return found  # the report says so
    workload = outcome.trial.workload
    factor = Scale.of(workload.metric_spec).factor
    found[f"final_{mlflow_key(final_metric(workload))}"] = ends.final / factor
    if workload.has_planned_curve and ends.auc is not None:
        found["val_auc"] = ends.auc / factor
    return found


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
    named = select_hyperparameters(trial.workload, trial.candidate)
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
    return shorten(name if trial.phase == "compare" else f"{trial.phase} · {name}", MAX_NAME)


def _tags(key: str, trials: Sequence[Outcome], study: str) -> dict[str, str]:
    trial = trials[0].trial
    facts = {
        "study": study,
        "phase": trial.phase,
        "candidate": trial.candidate.declared,
        "workload": trial.workload.name,
    }
    ours = {f"thermolion.{fact}": spell(value, MAX_TAG) for fact, value in facts.items()}
    named = {CELL_TAG: key, "mlflow.runName": _name(trial)}
    return ours | named | counts(trials) | source_tags(study)


def _spreads(trials: Sequence[Outcome]) -> list[MetricPoint]:
    """Return the standard deviations (ddof 1) beside the means, from two blocks on."""
    spreads: dict[str, _Spread] = {}
    found = []
    time_ms = 0
    for one in stable_results(trials):
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
