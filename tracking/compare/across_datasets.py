"""The answers about data sets like those of a study. Their unit is the data set, not the seed.

Answers about the same data sets with new seeds are in `differences`; the two are never mixed, and
more seeds are no substitute for more data sets.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from jobs.contract.workloads.workload import Workload
from tracking.compare.result import (
    AcrossDatasets,
    AcrossDatasetsWord,
    Difference,
    interval_level,
)
from tracking.metric import PP
from tracking.questions.analysis import Question, data_sets_needed
from tracking.questions.units import LOST_BASELINE, LOST_CANDIDATE
from tracking.stats.multiplicity import holm
from tracking.stats.signed_rank import hodges_lehmann, signed_rank_test

_RESOLUTION_PP = 1e-4  # means that differ by less are ties
_RESOLUTION = 1e-9  # of the largest mean, for metrics with a unit of their own


def compare_across_datasets(
    by_question: Sequence[Sequence[Difference]],
    workloads: Mapping[str, Workload],
    alpha: float,
    looks: int = 1,
    unanswered: int = 0,
    waiting: Collection[Question] = (),
) -> tuple[AcrossDatasets, ...]:
    """Answer every question and endpoint, given its differences on single workloads.

    The p-values are adjusted by Holm over a family of their own, and by Bonferroni for as many
    `looks`: when a study stops depends on what it has seen. `unanswered` tests of the family have
    no differences, and those of questions that are `waiting` for trials no answer; they count. A
    verdict that is not upheld without the blocks of diverged trials is undecided, and so is one in
    favour of a candidate that lost trials by its own doing. The test drops data sets without a
    difference, and the interval counts them: no word stands beside an interval that holds zero.
    """
    tests = len(by_question) + unanswered
    least = data_sets_needed(max(1, tests) * looks, alpha)
    level = 1 - (1 - interval_level(alpha)) / looks
    ready = [rows for rows in by_question if rows[0].question not in waiting]
    # A test without an answer counts with p = 1, whatever it would be.
    others = tests - len(ready)
    is_diverged = any(any(row.divergences) for rows in ready for row in rows)
    of_all = _judge(
        [_test(rows, workloads, least, level, False) for rows in ready], alpha, looks, others
    )
    of_clean = of_all
    if is_diverged:
        clean = [_test(rows, workloads, least, level, True) for rows in ready]
        of_clean = _judge(clean, alpha, looks, others)
    return tuple(
        _restrict(one, other, rows)
        for one, other, rows in zip(of_all, of_clean, ready, strict=True)
    )


def _restrict(
    one: AcrossDatasets, without_divergence: AcrossDatasets, rows: Sequence[Difference]
) -> AcrossDatasets:
    """Withdraw a word that rests on diverged trials, or favours an arm that lost trials."""
    if one.word in ("undecided", "not claimable"):
        return one
    if one.word == "worse" and one.endpoint.one_sided:  # which was not asked
        return replace(one, word="undecided")
    favoured = LOST_CANDIDATE if one.word == "better" else LOST_BASELINE
    if any(favoured in row.flags for row in rows):
        return replace(one, word="undecided", p_adjusted=None, flags=(*one.flags, favoured))
    if one.word != without_divergence.word:
        return replace(one, word="undecided", flags=(*one.flags, "rests on collapse"))
    return one


def _test(
    rows: Sequence[Difference],
    workloads: Mapping[str, Workload],
    least: int,
    level: float,
    clean: bool,
) -> AcrossDatasets:
    first = rows[0]
    mixed = len({(one.unit, one.lower_is_better) for one in rows}) > 1
    means = () if mixed else _means(rows, workloads, clean)
    values = [mean for _, mean in means]
    size = max(map(abs, values), default=0.0)
    resolution = _RESOLUTION_PP if first.unit == PP else _RESOLUTION * size
    rounded = [round(value / resolution) if resolution else 0 for value in values]
    is_enough = len(values) >= least
    ranked = signed_rank_test(values, resolution) if is_enough else None
    return AcrossDatasets(
        question=first.question,
        endpoint=first.endpoint,
        measure=first.measure if len({one.measure for one in rows}) == 1 else first.endpoint.name,
        unit="mixed" if mixed else first.unit,
        means=means,
        needed=least,
        ahead=sum(value > 0 for value in rounded),
        behind=sum(value < 0 for value in rounded),
        tied=sum(value == 0 for value in rounded),
        p=None if ranked is None else ranked.p,
        middle=hodges_lehmann(values, level) if is_enough else None,
        flags=("mixed units",) if mixed else (),
    )


def _means(
    rows: Sequence[Difference], workloads: Mapping[str, Workload], clean: bool
) -> tuple[tuple[str, float], ...]:
    by_data_set: dict[str, list[float]] = {}
    for one in rows:
        estimate = (one.without_divergence if clean else None) or one.estimate
        if estimate.mean is not None and one.workload is not None:
            by_data_set.setdefault(workloads[one.workload].data_set, []).append(estimate.mean)
    return tuple((name, fmean(values)) for name, values in by_data_set.items())


def _judge(
    answers: Sequence[AcrossDatasets], alpha: float, looks: int, others: int
) -> list[AcrossDatasets]:
    valid = [None if one.p is None else min(1.0, looks * one.p) for one in answers]
    adjusted = holm([*valid, *[None] * others])[: len(valid)]
    return [
        replace(one, p_adjusted=p, word=_word(one, p, alpha))
        for one, p in zip(answers, adjusted, strict=True)
    ]


def _word(one: AcrossDatasets, p: float | None, alpha: float) -> AcrossDatasetsWord:
    if len(one.means) < one.needed:
        return "not claimable"
    if p is None or p > alpha or one.middle is None:
        return "undecided"
    if one.middle.low <= 0 <= one.middle.high:
        return "undecided"
    return "better" if one.middle.estimate > 0 else "worse"
