"""Compare candidates with baselines over the blocks of a study: outcomes in, comparison out.

The verdicts are about these data sets with new seeds; those about other data sets come from
`across_datasets` and are kept apart. Reads no log and writes no file.
"""

import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType

import numpy as np

from jobs.contract.workloads.workload import UserWorkload
from tracking.compare.across_datasets import compare_across_datasets
from tracking.compare.blocks import Blocks
from tracking.compare.differences import complete, estimate_on_workload, pool
from tracking.compare.divergence import compare_divergence
from tracking.compare.endpoints import ComparisonError, reads_accuracy
from tracking.compare.ledger import AtLook, Family, judge_looks
from tracking.compare.rankings import rank_candidates
from tracking.compare.result import (
    Comparison,
    Difference,
    MeasuredWorkload,
    Settings,
    Summary,
    interval_level,
)
from tracking.compare.time_to_target import measure_time_to_target
from tracking.compare.unpaired import estimate_unpaired
from tracking.compare.wins import count_wins, pool_wins
from tracking.outcomes import Outcome
from tracking.questions.analysis import ALPHA, ROPE_PP, Analysis, Margins, Question
from tracking.questions.endpoint import AUC, Endpoint, list_endpoints
from tracking.questions.interim import Looks, take_looks
from tracking.questions.readiness import Readiness, find_lost, measure_readiness
from tracking.questions.units import BLOCKS, SeedGroups, Units
from tracking.stats.sensitivity import max_t_p

NOTHING_GIVEN_UP: Mapping[str, str] = MappingProxyType({})

_OPEN = ("waiting", "running", "interrupted")


def compare(
    study: str,
    outcomes: Sequence[Outcome],
    questions: Sequence[Question],
    *,
    rope_pp: float = ROPE_PP,
    margins: Mapping[str, float] = {},
    alpha: float = ALPHA,
    analysis: Analysis | None = None,
    looks: Looks | None = None,
    notes: Sequence[str] = (),
    units: Units = BLOCKS,
    given_up: Mapping[str, str] = NOTHING_GIVEN_UP,
    closed: bool = False,
    is_paired: bool = True,
) -> Comparison:
    """Answer every question for each endpoint, on each workload and pooled over workloads.

    The endpoints are the final score, the speed, and what else the `analysis` declares.

    Only trials of phase "compare" take part, and only blocks in which both candidates of a
    question have a result; the others are named in `incomplete`. `units` says which blocks share a
    search, and so count as one. The primary answers are pooled (stratified t, Holm over questions
    by endpoints); those of single workloads (paired t) are a family of their own, Holm over
    workloads by questions by endpoints; so are those about data sets like these. The `analysis`
    that was declared beforehand says which answers are primary, at what levels, and if they are
    about how often a candidate wins; without it all are primary, about means, and exploratory.

    A question has an answer once its own trials of the declared analysis are in: they have a
    result, or `given_up` has, by id, the failure class of a trial that will not run again.
    `closed` says that the user has ended the look with trials missing. Before that there are
    counts and means; the others' p-values are adjusted as if it were 1. With `looks`, only the
    trials of complete looks are used, and p-values and intervals hold over all looks.

    Unless it `is_paired`, means are compared over all trials of either candidate, by Welch's t
    test, and nothing else that takes pairs is asked; there are then no looks.

    Raises ComparisonError for broken pairing, NaN, and questions about unknown candidates.
    """
    used = [one for one in outcomes if one.trial.phase == "compare"]
    skipped: Collection[tuple[str, int]] = ()
    if looks is not None:
        used = looks.select(used)
        skipped = looks.skipped_blocks({one.trial.candidate.name for one in used})
    lost = find_lost(used, given_up, closed or analysis is None)
    blocks = Blocks(used, skipped, units, lost, is_paired)
    _check_questions(questions, blocks)
    readiness = _measure_readiness(questions, blocks, analysis, looks, given_up, closed)
    waiting = frozenset(one.question for one in readiness if one.is_open)
    endpoints = list_endpoints(() if analysis is None else analysis.endpoints)
    hypotheses = [(question, endpoint) for question in questions for endpoint in endpoints]
    asked = [one for one in hypotheses if one[1] != AUC or any(len(one.curve) > 1 for one in used)]
    family = Family(frozenset(asked), alpha, Margins(rope_pp, margins), len(blocks.workloads))
    if analysis is not None:
        family = Family.of(analysis, hypotheses)
    alpha = family.alpha
    singles = {one: _estimate(blocks, *one, looks, family) for one in hypotheses}
    pooled = [
        [_pool(rows, family, blocks.seeds) for rows in at_looks] for at_looks in singles.values()
    ]
    on_each = [
        [AtLook(row, family.margins) for row in rows]
        for at_looks in singles.values()
        for rows in zip(*at_looks, strict=True)
    ]
    answers = [
        _complete(one, _at_look_of(one, at_looks), family)
        for one, at_looks in zip(family.judge(pooled, waiting), singles.values(), strict=True)
    ]
    cells = product(blocks.workloads, blocks.candidates)
    return Comparison(
        study=study,
        alpha=alpha,
        rope_pp=family.margins.rope_pp,
        margins=family.margins.own,
        primary=family.primary,
        questions=tuple(questions),
        candidates=blocks.candidates,
        workloads=tuple(
            MeasuredWorkload(
                name,
                workload.holds_out,
                blocks.planned_steps(name),
                workload.metric_spec,
                isinstance(workload, UserWorkload),
                not reads_accuracy(workload),
            )
            for name, workload in blocks.workloads.items()
        ),
        pooled=tuple(_add_max_t(answers, list(singles.values()), units)),
        by_workload=tuple(
            replace(_complete(one, [one], family), paired=history[-1].row.paired)
            for one, history in zip(
                family.judge(on_each, waiting, on_each=True), on_each, strict=True
            )
        ),
        across_datasets=compare_across_datasets(
            [rows[-1] for one, rows in singles.items() if one in family.confirmatory],
            blocks.workloads,
            alpha,
            1 if looks is None else len(looks.seeds),
            family.unanswered,
            waiting,
        ),
        time_to_target=measure_time_to_target(
            blocks, questions, alpha, interval_level(alpha), waiting, looks
        ),
        rankings=rank_candidates(blocks, alpha, bool(waiting), endpoints),
        divergence=compare_divergence(blocks, questions, alpha, waiting, looks)
        if is_paired
        else (),
        summaries=tuple(_summarise(blocks, *cell, endpoints) for cell in cells),
        incomplete=blocks.incomplete,
        flags=blocks.flags,
        trials=len(blocks.outcomes),
        open_trials=sum(
            one.state in _OPEN and one.trial.id not in given_up for one in blocks.outcomes
        ),
        notes=tuple(notes),
        looks=looks,
        ledger=() if looks is None else judge_looks(pooled, looks, family, waiting),
        unanswered=family.unanswered,
        units=units,
        readiness=readiness,
        exploratory=analysis is None,
        settings=tuple(_list_settings(blocks.outcomes)),
        is_paired=is_paired,
        endpoints=endpoints,
    )


def _list_settings(outcomes: Iterable[Outcome]) -> Iterator[Settings]:
    seen = set()
    for one in outcomes:
        workload, candidate = one.trial.workload.name, one.trial.candidate
        if (at := (workload, candidate.name, candidate.key)) not in seen:
            seen.add(at)
            yield Settings(workload, candidate.name, candidate.settings)


def _measure_readiness(
    questions: Sequence[Question],
    blocks: Blocks,
    analysis: Analysis | None,
    looks: Looks | None,
    given_up: Mapping[str, str],
    closed: bool,
) -> tuple[Readiness, ...]:
    """Measure readiness by the declared analysis or, without one, by the looks alone."""
    if analysis is not None:
        keys, numbers = tuple(analysis.workloads.values()), analysis.blocks
    elif looks is not None:
        keys = tuple(one.key for one in blocks.workloads.values())
        numbers = tuple(range(looks.first, looks.first + looks.seeds[-1]))
    else:
        return ()
    return measure_readiness(questions, blocks.outcomes, keys, numbers, looks, given_up, closed)


def _estimate(
    blocks: Blocks, question: Question, endpoint: Endpoint, looks: Looks | None, family: Family
) -> list[list[Difference]]:
    """Estimate a difference at every look that both candidates have been through.

    Return the rows of all workloads for each, or once without looks and before the first.
    """
    at_looks, level = [], interval_level(family.alpha)
    for look in take_looks(looks, question):
        below = math.inf if look is None or looks is None else looks.blocks(look.look)
        rows = []
        for name in blocks.workloads:
            if not blocks.is_paired:
                rows.append(estimate_unpaired(blocks, question, endpoint, name, level))
                continue
            of = blocks.pairs(name, question, endpoint, below)
            row = estimate_on_workload(blocks, question, endpoint, name, of, look, level)
            if family.primary == "win_probability":
                row = count_wins(row, blocks, of, below, level)
            rows.append(row)
        at_looks.append(rows)
    return at_looks


def _pool(rows: Sequence[Difference], family: Family, seeds: SeedGroups) -> AtLook:
    level = interval_level(family.alpha)
    pooled = pool(rows, family.workloads, level, seeds)
    if family.primary == "win_probability":
        pooled = pool_wins(pooled, rows, family.workloads, level)
    return AtLook(pooled, family.margins)


def _at_look_of(one: Difference, at_looks: Sequence[Sequence[Difference]]) -> Sequence[Difference]:
    """Return the rows of the workloads that a pooled answer is made of."""
    return at_looks[0 if one.reached is None else max(0, one.reached.look - 1)]


def _complete(one: Difference, singles: Sequence[Difference], family: Family) -> Difference:
    completed = complete(one, singles, family.detectable_level(one))
    tests = completed.sensitivity
    is_word = one.workload is None and one.verdict in ("better", "worse")
    if is_word and tests is not None and tests.contradicts(one.estimate.p, family.alpha):
        return replace(completed, flags=(*completed.flags, "sign-flip disagrees"))
    return completed


def _check_questions(questions: Sequence[Question], blocks: Blocks) -> None:
    if len(set(questions)) < len(questions):
        raise ComparisonError(f"a question is asked twice: {questions}")
    for question in questions:
        for name in (question.candidate, question.baseline):
            if name not in blocks.candidates:
                raise ComparisonError(
                    f"no comparison trial of {name!r}: candidates with trials are "
                    f"{', '.join(blocks.candidates) or '(none)'}"
                )
        if question.candidate == question.baseline:
            raise ComparisonError(
                f"{question.candidate!r} is asked to be compared with itself; for an A/A study "
                "give two candidates of equal content different `replica:` numbers"
            )


def _add_max_t(
    answers: Sequence[Difference],
    singles: Sequence[Sequence[Sequence[Difference]]],
    units: Units,
) -> list[Difference]:
    """Give pooled answers their max-T p-value, over the questions about one candidate.

    Questions of unlike units share no flips.
    """
    together: dict[tuple[str, str, str], list[int]] = {}
    for position, one in enumerate(answers):
        if one.verdict is not None and one.arms is None:
            key = one.question.candidate, one.endpoint.name, units.noun(one.question)
            together.setdefault(key, []).append(position)
    completed = list(answers)
    for positions in together.values():
        if len(positions) < 2:
            continue
        differences = [
            {
                (one.workload or "", unit): difference
                for one in _at_look_of(answers[at], singles[at])
                for unit, difference in one.paired
            }
            for at in positions
        ]
        for at, p in zip(positions, max_t_p(differences), strict=True):
            if (tests := answers[at].sensitivity) is not None:
                completed[at] = replace(answers[at], sensitivity=replace(tests, max_t_p=p))
    return completed


def _summarise(
    blocks: Blocks, workload: str, candidate: str, endpoints: Sequence[Endpoint]
) -> Summary:
    results = blocks.results(workload, candidate)
    finals = [score.final for _, score in results]
    aucs = [score.auc for _, score in results if score.auc is not None]
    seconds = [one.train_seconds for one, _ in results if one.train_seconds is not None]
    return Summary(
        workload=workload,
        candidate=candidate,
        n=len(results),
        planned=blocks.count_planned(workload, candidate),
        mean_final=statistics.fmean(finals) if finals else None,
        sd_final=float(np.std(finals, ddof=1)) if len(finals) > 1 else None,
        mean_auc=statistics.fmean(aucs) if aucs else None,
        diverged=sum(
            one.state == "diverged" for one in blocks.ended_trials(workload, candidate).values()
        ),
        median_seconds=statistics.median(seconds) if seconds else None,
        others=tuple(
            (one.name, _mean(blocks.values(workload, candidate, one), one))
            for one in endpoints
            if not one.is_standard
        ),
    )


def _mean(values: Sequence[float], endpoint: Endpoint) -> float | None:
    if not values:
        return None
    mean = statistics.fmean(values)
    return math.exp(-mean) if endpoint.measure == "time_to_target" else mean
