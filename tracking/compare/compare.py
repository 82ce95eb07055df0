"""Compare candidates with baselines over the blocks of a study: outcomes in, comparison out.

The verdicts are about these data sets with new seeds; those about other data sets come from
`across_datasets` and are kept apart. Reads no log and writes no file.
"""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from types import MappingProxyType

from jobs.contract.trial import UserWorkload
from tracking.compare.across_datasets import compare_across_datasets
from tracking.compare.analysis import ALPHA, ROPE_PP, Analysis, Endpoint, Margins, Question
from tracking.compare.blocks import Blocks
from tracking.compare.differences import estimate_on_workload, judge, pool
from tracking.compare.divergence import compare_divergence
from tracking.compare.endpoints import ComparisonError
from tracking.compare.interim import Looks
from tracking.compare.ledger import Family, judge_looks
from tracking.compare.rankings import rank_candidates
from tracking.compare.readiness import measure_readiness
from tracking.compare.result import (
    Comparison,
    Difference,
    MeasuredWorkload,
    Settings,
    Summary,
)
from tracking.compare.time_to_target import measure_time_to_target
from tracking.compare.units import BLOCKS, Units
from tracking.outcomes import Outcome
from tracking.stats.multiplicity import benjamini_hochberg
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
) -> Comparison:
    """Answer every question for both endpoints, on each workload and pooled over workloads.

    Only trials of phase "compare" take part, and only blocks in which both candidates of a
    question have a result; the others are named in `incomplete`. The primary answers are pooled
    (stratified t, Holm over questions by endpoints); those of single workloads are exploratory
    (paired t, Benjamini-Hochberg over all of them); those about data sets like these are a family
    of their own. The `analysis` that was declared beforehand says which answers are primary, and
    at what levels; without it all are. With `looks`, only the trials of complete looks are used,
    and p-values and intervals hold over all looks. `units` says which blocks share a search.

    `given_up` has, by id, the failure class of the trials that will not run again; `closed` says
    that the user has ended the look with trials missing. Raises ComparisonError for broken
    pairing, NaN, and questions about unknown candidates.
    """
    used = list(outcomes)
    skipped: Collection[tuple[str, int]] = ()
    if looks is not None:
        used = looks.select(one for one in outcomes if one.trial.phase == "compare")
        skipped = looks.skipped_blocks({one.trial.candidate.name for one in used})
    blocks = Blocks(used, skipped)
    _check_questions(questions, blocks)
    hypotheses = [(question, endpoint) for question in questions for endpoint in Endpoint]
    family = Family(frozenset(hypotheses), alpha, Margins(rope_pp, margins))
    if analysis is not None:
        family = Family.of(analysis, hypotheses)
    ledger, least = ((), {}) if looks is None else judge_looks(blocks, hypotheses, looks, family)
    singles = {
        one: [estimate_on_workload(blocks, *one, name) for name in blocks.workloads]
        for one in hypotheses
    }
    alpha = family.alpha
    answers = [
        pool(rows, None if looks is None else looks.last_look(question, looks.complete), alpha)
        for (question, _), rows in singles.items()
    ]
    cells = product(blocks.workloads, blocks.candidates)
    return Comparison(
        study=study,
        alpha=alpha,
        rope_pp=family.margins.rope_pp,
        margins=family.margins.own,
        questions=tuple(questions),
        candidates=blocks.candidates,
        workloads=tuple(
            MeasuredWorkload(
                name,
                workload.holds_out,
                blocks.planned_steps(name),
                workload.metric_spec,
                isinstance(workload, UserWorkload),
            )
            for name, workload in blocks.workloads.items()
        ),
        pooled=tuple(family.judge(_add_max_t(answers, list(singles.values())), least)),
        by_workload=judge(
            list(chain(*singles.values())), benjamini_hochberg, family.margins, alpha, alpha
        ),
        across_datasets=compare_across_datasets(
            [rows for one, rows in singles.items() if one in family.confirmatory],
            blocks.workloads,
            alpha,
            1 if looks is None else len(looks.seeds),
        ),
        time_to_target=measure_time_to_target(blocks, questions, alpha),
        rankings=rank_candidates(blocks, alpha),
        divergence=compare_divergence(blocks, questions, alpha),
        summaries=tuple(_summarise(blocks, *cell) for cell in cells),
        incomplete=blocks.incomplete,
        flags=blocks.flags,
        trials=len(blocks.outcomes),
        open_trials=sum(outcome.state in _OPEN for outcome in blocks.outcomes),
        notes=tuple(notes),
        looks=looks,
        ledger=ledger,
        unanswered=family.unanswered,
        units=units,
        readiness=()
        if analysis is None
        else measure_readiness(questions, outcomes, analysis, looks, given_up, closed),
        exploratory=analysis is None,
        settings=tuple(_list_settings(blocks.outcomes)),
    )


def _list_settings(outcomes: Iterable[Outcome]) -> Iterator[Settings]:
    seen = set()
    for one in outcomes:
        workload, candidate = one.trial.workload.name, one.trial.candidate
        if (at := (workload, candidate.name, candidate.key)) not in seen:
            seen.add(at)
            yield Settings(workload, candidate.name, candidate.hyperparameters)


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
    answers: Sequence[Difference], singles: Sequence[Sequence[Difference]]
) -> list[Difference]:
    """Give pooled answers their max-T p-value, over the questions about one candidate."""
    together: dict[tuple[str, str], list[int]] = {}
    for position, one in enumerate(answers):
        together.setdefault((one.question.candidate, one.endpoint), []).append(position)
    completed = list(answers)
    for positions in together.values():
        differences = [
            {(one.workload or "", block): d for one in singles[at] for block, d in one.paired}
            for at in positions
        ]
        for at, p in zip(positions, max_t_p(differences), strict=True):
            if (tests := answers[at].sensitivity) is not None:
                completed[at] = replace(answers[at], sensitivity=replace(tests, max_t_p=p))
    return completed


def _summarise(blocks: Blocks, workload: str, candidate: str) -> Summary:
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
        sd_final=statistics.stdev(finals) if len(finals) > 1 else None,
        mean_auc=statistics.fmean(aucs) if aucs else None,
        diverged=sum(outcome.state == "diverged" for outcome, _ in results),
        median_seconds=statistics.median(seconds) if seconds else None,
    )
