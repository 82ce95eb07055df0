"""How a whole study looks in MLflow: its parent run, as data. Imports no MLflow.

Says how many trials are where, what the candidates reached on average, and the verdicts; the
comparison itself is the report, which the run carries as its note and its artifacts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from tracking.browse import NOTE_TAG, STUDY_TAG, MetricPoint, RunRecord, Status, source_tags
from tracking.comparison import Comparison
from tracking.endpoints import ComparisonError, UnmeasuredError, final_metric, score
from tracking.keys import MAX_NAME, MAX_TAG, cut, key, parts, within
from tracking.outcomes import Outcome, State
from tracking.scale import Scale
from tracking.verdict_record import verdict_points, verdict_tags

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
        name=cut(study, MAX_NAME),
        tags=_tags(outcomes, study, note) | (verdict_tags(comparison) if comparison else {}),
        params={},
        metrics=(
            *_metrics(outcomes),
            *(verdict_points(comparison, outcomes) if comparison else ()),
        ),
        status=status,
        start_ms=min(started),
        end_ms=None if status == "RUNNING" else max(ended),
    )


def shortened(note: str, limit: int) -> str:
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


def _tags(outcomes: Sequence[Outcome], study: str, note: str | None) -> dict[str, str]:
    tags = {STUDY_TAG: study, "thermolion.study": study, "mlflow.runName": cut(study, MAX_NAME)}
    tags |= counts(outcomes)
    tags |= {NOTE_TAG: shortened(note, MAX_TAG)} if note else {}
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
            yield point._replace(key=within(f"{point.key}/{of}"))


def settled(trials: Sequence[Outcome]) -> Iterator[Outcome]:
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
    for one in settled(trials):
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
        ends = score(outcome)
    except (UnmeasuredError, ComparisonError):
        return found  # the report says so
    workload = outcome.trial.workload
    factor = Scale.of(workload.read_as).factor
    found[f"final_{key(final_metric(workload))}"] = ends.final / factor
    if workload.has_planned_curve and ends.auc is not None:
        found["val_auc"] = ends.auc / factor
    return found
