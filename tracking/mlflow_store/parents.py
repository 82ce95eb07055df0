"""The runs above those of trials in MLflow, as data: one for each cell, and one for the study.

A cell is a candidate on a workload; the settings of a candidate that is tuned share one, and so
do those that several searches have found for it. Means
and verdicts are logged only once nothing can change them: MLflow never removes a logged value.
Imports no MLflow.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from statistics import fmean
from typing import get_args

from jobs.contract.command_template import select_settings
from jobs.contract.content import digest
from jobs.contract.trial import Trial
from tracking.compare.endpoints import ComparisonError, UnmeasuredError, final_metric, score_trial
from tracking.compare.result import EXPLORATORY, Comparison, Difference
from tracking.history import State
from tracking.metric import Scale
from tracking.mlflow_store.record import (
    CELL_TAG,
    MAX_NAME,
    MAX_TAG,
    NOTE_TAG,
    STUDY_TAG,
    DataRecord,
    MetricPoint,
    RunRecord,
    Status,
    data_of,
    mlflow_key,
    params_of,
    part,
    parts,
    run_name,
    shorten,
    shorten_key,
    source_tags,
    spell,
)
from tracking.outcomes import Outcome
from tracking.questions.interim import DECIDED
from tracking.report.wording import title, verdict_words

_VERDICT_TAG = "thermolion.verdict"
# Of the params of a trial, those that its block alone decides.
_OF_A_BLOCK = ("seed.", "noise_seed")


def study_record(
    outcomes: Sequence[Outcome],
    study: str,
    note: str | None,
    comparison: Comparison | None = None,
) -> RunRecord:
    """Return the run of a study, of which at least one trial has started.

    `note` is Markdown, the description that the page of the run shows; `comparison` has the
    verdicts on these trials.
    """
    tags = {STUDY_TAG: study, "thermolion.study": study} | source_tags(study)
    tags |= {NOTE_TAG: shorten_note(note, MAX_TAG)} if note else {}
    metrics = list(_means_by_cell(outcomes))
    if comparison is not None:
        tags |= _verdict_tags(comparison)
        metrics += _verdict_points(comparison, outcomes)
    return _record(outcomes, shorten(study, MAX_NAME), tags, {}, metrics)


def cell_record(key: str, trials: Sequence[Outcome], study: str) -> RunRecord:
    """Return the run of a cell, of which at least one trial has started."""
    trial = next(one.trial for one in trials if one.started_ms is not None)
    facts = {
        "study": study,
        "phase": trial.phase,
        "candidate": trial.candidate.declared,
        "workload": trial.workload.name,
    }
    tags = {f"thermolion.{fact}": spell(value, MAX_TAG) for fact, value in facts.items()}
    # Settings differ in their hyperparameters, so that no value and no mean is of all of them.
    # Those of several searches do as well, but their means are of one candidate.
    tuned = trial.candidate.setting_of is not None
    varied = tuned or trial.candidate.search_number is not None
    differing = _OF_A_BLOCK + ("hyperparameter.",) * varied
    given = select_settings(trial.workload, trial.candidate) if varied else {}
    params = {
        name: value
        for name, value in params_of(trial).items()
        if name not in given and not name.startswith(differing)
    }
    metrics = [] if tuned else [*means(trials), *_spreads(trials)]
    return _record(
        trials,
        run_name(trial, trial.candidate.declared),
        tags | {CELL_TAG: key} | source_tags(study),
        params,
        metrics,
        tuple(dict.fromkeys(data for one in trials for data in data_of(one))),
    )


def _record(
    trials: Sequence[Outcome],
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Sequence[MetricPoint],
    data: tuple[DataRecord, ...] = (),
) -> RunRecord:
    """Return the run above these trials: it lasts from the first start to the last end."""
    status = _status(trials)
    ends = [one.ended_ms for one in trials if one.ended_ms is not None]
    return RunRecord(
        name=name,
        tags={**tags, "mlflow.runName": name, **_counts(trials)},
        params=params,
        metrics=tuple(metrics),
        status=status,
        start_ms=min(one.started_ms for one in trials if one.started_ms is not None),
        end_ms=None if status == "RUNNING" else max(ends),
        data=data,
    )


def by_cell(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of every cell in which a trial has started, by the key of the cell.

    The key is made of what the trials have in common, names aside: renaming costs nothing.
    """
    cells: dict[str, list[Outcome]] = {}
    keys: dict[tuple[int, int, str], str] = {}  # trials of a study share what they are made of
    for one in outcomes:
        trial = one.trial
        seen = (id(trial.workload), id(trial.candidate), trial.phase)
        key = keys.get(seen) or keys.setdefault(seen, _cell_key(trial))
        cells.setdefault(key, []).append(one)
    return {
        key: trials
        for key, trials in cells.items()
        if any(one.started_ms is not None for one in trials)
    }


def _cell_key(trial: Trial) -> str:
    workload, candidate = trial.workload.content(), trial.candidate.content()
    if trial.candidate.setting_of is not None:
        candidate = {"setting_of": trial.candidate.setting_of}
    elif trial.candidate.search_number is not None:
        candidate = {"tuned": trial.candidate.name}
    ran = [trial.world_size, trial.threads, trial.precision, trial.execution]
    return digest([trial.phase, workload, candidate, ran])


def shorten_note(note: str, limit: int) -> str:
    """Cut Markdown at the end of a line, and say where the rest is."""
    if len(note) <= limit:
        return note
    rest = "\n\n*Cut here: the whole report is among the artifacts of the parent run.*\n"
    head = note[: limit - len(rest)]
    return head[: head.rfind("\n") + 1 or None] + rest


def _status(outcomes: Sequence[Outcome]) -> Status:
    """Return the status of a run above these trials: RUNNING while one may bring a result."""
    if all(one.has_result for one in outcomes):
        return "FINISHED"
    ended = all(one.has_result or one.state == "failed" for one in outcomes)
    return "FAILED" if ended else "RUNNING"


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return the tags that say how many trials are in each state."""
    counter = Counter(one.state for one in outcomes)
    counts = {state: counter[state] for state in get_args(State)}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    each = {f"thermolion.trials.{state}": str(count) for state, count in counts.items()}
    return {"thermolion.trials": summary} | each


def _means_by_cell(outcomes: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield the means of every candidate on every workload, each under a name of its own."""
    compared = [one for one in outcomes if one.trial.phase == "compare"]
    workloads = parts(sorted({one.trial.workload.name for one in compared}))
    candidates = parts(sorted({one.trial.candidate.name for one in compared}))
    cells: dict[str, list[Outcome]] = {}
    for one in compared:
        cell = f"{workloads[one.trial.workload.name]}/{candidates[one.trial.candidate.name]}"
        cells.setdefault(cell, []).append(one)
    for cell, trials in cells.items():
        for point in means(trials):
            yield point._replace(key=shorten_key(f"{point.key}/{cell}"))


def means(trials: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield the means over the first 1, 2, … blocks of one candidate on one workload.

    The step is the number of blocks. MLflow only ever appends to a history, so a mean of whatever
    has arrived would leave behind what it was before. These never change: they go block after
    block in order, up to the first that may still bring a result. So the means of candidates at
    one step are of the same blocks.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for name, value, time_ms in _final_values(trials):
        values[name].append(value)
        yield MetricPoint(name, fmean(values[name]), time_ms, len(values[name]))


def _spreads(trials: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield the standard deviations (ddof 1) beside the means, from two blocks on.

    Sums are exact fractions, so that no digit is lost in their difference.
    """
    sums: dict[str, tuple[int, Fraction, Fraction]] = {}
    for name, value, time_ms in _final_values(trials):
        count, total, squares = sums.get(name, (0, Fraction(0), Fraction(0)))
        exact = Fraction(value)
        count, total, squares = count + 1, total + exact, squares + exact * exact
        sums[name] = count, total, squares
        if count > 1:
            spread = squares - total * total / count
            yield MetricPoint(f"{name}.sd", math.sqrt(spread / (count - 1)), time_ms, count)


def _final_values(trials: Sequence[Outcome]) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and time of results block by block, up to the first that may still come.

    Trials that failed are left out.
    """
    time_ms = 0
    for one in sorted(trials, key=lambda one: one.trial.block):
        if one.state == "failed":
            continue
        if not one.has_result or one.ended_ms is None:
            return
        time_ms = max(time_ms, one.ended_ms)
        for name, value in _endpoint_values(one).items():
            yield name, value, time_ms


def _endpoint_values(outcome: Outcome) -> dict[str, float]:
    """Return the numbers of the report (diverged counts as chance), as logged, and seconds.

    The AUC of the user's own training is not among them: if one diverged, it depends on trials
    that may be still to come.
    """
    values = {}
    if outcome.train_seconds is not None:
        values["train_seconds"] = outcome.train_seconds
    try:
        ends = score_trial(outcome)
    except (UnmeasuredError, ComparisonError):
        return values  # the report says so
    workload = outcome.trial.workload
    factor = Scale.of(workload.metric_spec).factor
    values[f"final_{mlflow_key(final_metric(workload))}"] = ends.final / factor
    if workload.has_planned_curve and ends.auc is not None:
        values["val_auc"] = ends.auc / factor
    return values


def _verdict_tags(comparison: Comparison) -> dict[str, str]:
    """Return the word of every pooled answer by its tag, `thermolion.verdict/MEASURE/QUESTION`.

    While the question is open, the tag says how much is in: a word of before is replaced, as
    MLflow would keep it.
    """
    in_yet = {
        one.question: f"no verdict yet: {one.arrived} of {one.planned} trials are in"
        for one in comparison.readiness
        if one.is_open
    }
    origin = ["interim"] * (not _is_final(comparison)) + [EXPLORATORY] * comparison.exploratory
    added = f" ({', '.join(origin)})" if origin else ""
    return {
        f"{_VERDICT_TAG}/{key}": in_yet.get(one.question, verdict_words(one, comparison) + added)
        for one, key in _answer_keys(comparison)
    }


def _answer_keys(comparison: Comparison) -> list[tuple[Difference, str]]:
    """Return every pooled answer with its key, `MEASURE/QUESTION`."""
    titles = parts(title(one) for one in comparison.questions)
    return [(o, f"{part(o.measure)}/{titles[title(o.question)]}") for o in comparison.pooled]


def _verdict_points(comparison: Comparison, outcomes: Sequence[Outcome]) -> Iterator[MetricPoint]:
    """Yield difference, interval and adjusted p of each pooled answer, `NAME/MEASURE/QUESTION`.

    Differences are in percentage points, or in the unit of their metric. The step is the number
    of seeds of a workload. Every complete look has its difference and its p; the interval and the
    answer of a study without looks come when no trial can change them any more.
    """
    answers = _answer_keys(comparison)
    keys = {(one.question, one.endpoint): key for one, key in answers}

    def points(seeds: int, key: str, numbers: Mapping[str, float | None]) -> Iterator[MetricPoint]:
        for name, value in numbers.items():
            if value is not None and math.isfinite(value):  # one-sided, an interval has one end
                yield MetricPoint(f"{name}/{key}", value, _end_ms(outcomes, seeds), seeds)

    for row in comparison.ledger:
        numbers = {"difference": row.mean, "p_adjusted": row.p_adjusted}
        yield from points(row.seeds, keys[row.question, row.endpoint], numbers)
    if not _is_final(comparison):
        return
    logged = {(row.question, row.endpoint) for row in comparison.ledger}
    for one, key in answers:
        if comparison.is_open(one.question):
            continue
        numbers = {"difference_low": one.estimate.low, "difference_high": one.estimate.high}
        if (one.question, one.endpoint) not in logged:
            numbers |= {"difference": one.estimate.mean, "p_adjusted": one.p_adjusted}
        yield from points(_seeds(one, outcomes), key, numbers)


def _is_final(comparison: Comparison) -> bool:
    """Return True if no trial that is still to come can change the answers."""
    looks = comparison.looks
    if comparison.any_open:
        return False
    if looks is None:
        return comparison.open_trials == 0 or bool(comparison.readiness)
    decided = all(one.verdict in DECIDED for one in comparison.confirmatory)
    return looks.complete == len(looks.seeds) or (looks.complete > 0 and decided)


def _seeds(one: Difference, outcomes: Iterable[Outcome]) -> int:
    """Return how many seeds an answer rests on: those of its look, or all that have results."""
    if one.reached is not None and one.reached.look:
        return one.reached.seeds[one.reached.look - 1]
    results = (o.trial for o in outcomes if o.has_result and o.trial.phase == "compare")
    return 1 + max((trial.block for trial in results), default=0)


def _end_ms(outcomes: Sequence[Outcome], seeds: int) -> int:
    """Return when the last trial of the first `seeds` blocks ended, in ms UTC; 0 if none has."""
    compared = (o for o in outcomes if o.trial.phase == "compare" and o.trial.block < seeds)
    return max((one.ended_ms or 0 for one in compared), default=0)
