"""Comparisons by looks: repeated p-values, the family as agreed on, nothing read between looks."""

from dataclasses import replace

import numpy as np
import pytest

from tracking.compare.compare import compare
from tracking.questions.analysis import Analysis, Question
from tracking.questions.endpoint import AUC, FINAL
from tracking.questions.interim import Looks
from tracking.report.preregistration import ledger
from tracking.report.terminal import verdict_text
from tracking.stats.group_sequential import limits, repeated_p
from tracking.stats.multiplicity import holm
from tracking.stats.t_tests import at_level, paired_t

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130, 0.9125]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065, 0.9080]
LOOKS = (3, 6)


def agreed(outcomes, **changes):
    made = Analysis(
        questions=(QUESTION,),
        workloads={one.trial.workload.name: one.trial.workload.key for one in outcomes},
        candidates={one.trial.candidate.name: one.trial.candidate.key for one in outcomes},
        blocks=tuple(range(6)),
        looks=LOOKS,
    )
    return replace(made, **changes)


def final(found, candidate="thermolion"):
    (one,) = [
        one
        for one in found.pooled
        if one.endpoint == FINAL and one.question.candidate == candidate
    ]
    return one


def test_the_least_repeated_p_value_goes_into_holm(arms):
    outcomes = arms("digits", A, B)
    found = compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=2))
    alone = [paired_t([100 * a for a in A[:n]], [100 * b for b in B[:n]]) for n in LOOKS]
    valid = [repeated_p(LOOKS, k, one.p) for k, one in enumerate(alone, 1)]
    answer = final(found)
    assert answer.p_valid == pytest.approx(min(valid))
    both = [one.p_valid for one in found.pooled]
    assert [one.p_adjusted for one in found.pooled] == pytest.approx(holm(both))
    rows = [row for row in found.ledger if row.endpoint == FINAL]
    assert [(row.look, row.n, row.fraction) for row in rows] == [(1, 3, 0.5), (2, 6, 1.0)]
    assert [row.p for row in rows] == pytest.approx([one.p for one in alone])
    assert [row.limit for row in rows] == pytest.approx(limits(LOOKS, 0.025))
    half = answer.estimate.high - answer.estimate.mean
    level = 1 - limits(LOOKS, 0.05)[1]
    wide = at_level(paired_t([100 * a for a in A], [100 * b for b in B]), level)
    assert half == pytest.approx(wide.high - wide.mean)


def test_nothing_is_read_between_two_looks(arms):
    outcomes = arms("digits", A, B)
    early = compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=1))
    fewer = compare("s", outcomes[:3] + outcomes[6:9], [QUESTION], looks=Looks(LOOKS, complete=1))
    assert early.pooled == fewer.pooled
    assert early.trials == 6


def test_before_the_first_look_nothing_is_decided(arms):
    outcomes = arms("digits", [0.99, 0.98, 0.985], [0.5, 0.51, 0.505])
    found = compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=0))
    assert {one.verdict for one in (*found.pooled, *found.by_workload)} == {None}
    assert {(one.p_adjusted, one.estimate.p, one.estimate.low) for one in found.pooled} == {
        (None, None, None)
    }
    assert (final(found).estimate.n, final(found).estimate.mean) == (3, pytest.approx(48.0))
    assert found.any_open
    assert found.ledger == ()
    said = verdict_text(found)
    assert "6 of 6 trials are in; look 1 of 2, at 3 seeds, is decided by the next" in said


def test_a_candidate_that_was_sent_no_more_seeds_has_the_answer_of_its_look(arms, outcome):
    rest = [outcome("lion", "digits", block, value) for block, value in enumerate(B[:3])]
    outcomes = [*arms("digits", A, B), *rest]
    questions = [QUESTION, Question("lion", "adamw")]
    looks = Looks(LOOKS, complete=2, ended={"lion": 1})
    found = compare("s", outcomes, questions, looks=looks)
    assert final(found, "lion").estimate.n == 3
    assert final(found).estimate.n == 6
    assert found.incomplete == ()
    assert {row.look for row in found.ledger if row.question.candidate == "lion"} == {1}


def test_an_answer_of_an_earlier_look_is_said_with_the_numbers_of_that_look(arms):
    low = [a - 0.02 + 0.0001 * place * place for place, a in enumerate(A)]
    outcomes = [*arms("digits", A, low), *arms("faces", A, [one - 0.01 for one in low])]
    found = compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=2))
    answer = final(found)
    assert answer.reached.look == 1
    assert answer.latest is not None
    (said,) = [line for line in verdict_text(found).splitlines() if "in final" in line]
    mean = f"{answer.estimate.mean:+.2f} pp"
    assert f"{mean} on average over 2 workloads; 95% CI" in said
    assert "6 seeds in all at look 1 of 2." in said


def test_what_was_added_later_is_outside_the_family(arms, outcome):
    late = [outcome("lion", "digits", block, 0.7 + 0.001 * block) for block in range(6)]
    outcomes = [*arms("digits", A, B), *late]
    plan = agreed(outcomes[:12], looks=())
    alone = compare("s", outcomes[:12], [QUESTION], analysis=plan)
    found = compare("s", outcomes, [QUESTION, Question("lion", "adamw")], analysis=plan)
    assert found.family == alone.family == 2
    assert final(found).p_adjusted == final(alone).p_adjusted
    assert "exploratory" in final(found, "lion").flags
    assert "none of those that were agreed on" in verdict_text(found)


def test_a_question_that_cannot_be_answered_stays_in_the_family(arms):
    outcomes = arms("digits", A, B)
    gone = Question("lion", "adamw")
    plan = agreed(outcomes, looks=(), questions=(QUESTION, gone))
    found = compare("s", outcomes, [QUESTION], analysis=plan)
    assert (found.family, found.unanswered) == (4, 2)
    alone = [one.estimate.p for one in found.pooled]
    expected = holm([*alone, None, None])[:2]
    assert [one.p_adjusted for one in found.pooled] == pytest.approx(expected)


def test_an_endpoint_that_was_not_declared_is_for_exploration(arms):
    outcomes = arms("digits", A, B)
    plan = agreed(outcomes, looks=(), endpoints=(AUC,))
    found = compare("s", outcomes, [QUESTION], analysis=plan)
    assert found.family == 1
    assert "exploratory" in final(found).flags


@pytest.mark.parametrize("effect", [0.0, 0.004])
def test_a_study_by_looks_finds_what_there_is_and_little_else(arms, effect):
    """Whole comparisons, few of them: the arithmetic at length is in the calibration."""
    random = np.random.default_rng(11)
    found = []
    for _ in range(60):
        base = random.normal(0.9, 0.002, 6)
        arm = base + effect + random.normal(0, 0.001, 6)
        outcomes = arms("digits", arm.tolist(), base.tolist())
        stopped = [
            compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=k)) for k in (1, 2)
        ]
        found.append(any(final(one).verdict in ("better", "worse") for one in stopped))
    assert (np.mean(found) > 0.9) if effect else (np.mean(found) <= 0.1)


def test_the_ledger_has_a_row_for_every_look(arms):
    outcomes = arms("digits", A, B)
    found = compare("s", outcomes, [QUESTION], looks=Looks(LOOKS, complete=2))
    table = ledger(found)
    assert len(table.rows) == 4
    assert {len(row) for row in table.rows} == {len(table.header)}
