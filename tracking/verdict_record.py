"""How the verdicts of a study look on its parent run in MLflow, as data. Imports no MLflow.

A tag says the word, also of an interim answer; a metric is logged once its number stands, for
MLflow takes nothing back.
"""

from collections.abc import Iterable, Iterator, Sequence

from tracking.browse import MetricPoint
from tracking.comparison import Comparison, Difference
from tracking.keys import part, parts
from tracking.looks import DECIDED
from tracking.outcomes import Outcome
from tracking.question import Endpoint, Question
from tracking.wording import title, verdict_words

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
