"""No word before its time: a question waits for its own trials of the declared look."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tracking.compare.appendix import compute_appendix
from tracking.compare.compare import compare
from tracking.questions.analysis import Analysis, Question
from tracking.questions.endpoint import FINAL
from tracking.questions.interim import Looks
from tracking.stats.multiplicity import holm

ASKED = [Question("thermolion", "adamw"), Question("lion", "adamw")]
WORKLOADS = ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"]

# What an open question may not have: words, p-values and intervals, by their names in records.
_SAYING = {
    *("verdict", "word", "p", "p_adjusted", "p_valid", "p_repeated", "equivalence_p", "low"),
    *("high", "t", "se", "sign_flip_p", "signed_rank_p", "max_t_p", "log_rank_p", "cliques"),
    *("superiority", "sensitivity", "median", "components", "latest", "friedman"),
    *("smallest_detectable", "middle", "share", "log_ratio", "confirmed", "restricted_mean_se"),
}


@pytest.fixture
def study(outcome):
    """Return a study of eight workloads with a target, on which thermolion is ahead."""

    def make(blocks=5, workloads=WORKLOADS):
        random = np.random.default_rng(2)
        ahead = {"thermolion": 0.02, "adamw": 0.0, "lion": 0.001}
        return [
            with_target(outcome(name, workload, block, 0.9 + gain + random.normal(0, 0.002)))
            for workload in workloads
            for block in range(blocks)
            for name, gain in ahead.items()
        ]

    return make


def with_target(one):
    spec = replace(one.trial.workload.metric_spec, target=0.87)
    workload = replace(one.trial.workload, declared_metric=spec)
    return replace(one, trial=replace(one.trial, workload=workload))


def declare(outcomes, blocks=5, **changes):
    made = Analysis(
        questions=tuple(ASKED),
        workloads={one.trial.workload.name: one.trial.workload.key for one in outcomes},
        candidates={one.trial.candidate.name: one.trial.candidate.key for one in outcomes},
        blocks=tuple(range(blocks)),
    )
    return replace(made, **changes)


def unfinished(outcomes, candidate, block=4, state="running", **changes):
    """Return the outcomes without the result of one trial on the last workload."""
    return [
        replace(one, state=state, metrics={}, **changes)
        if (one.trial.workload.name, one.trial.candidate.name, one.trial.block)
        == (outcomes[-1].trial.workload.name, candidate, block)
        else one
        for one in outcomes
    ]


def said(record, name=""):
    """Yield the names of words, p-values and intervals in a record, wherever they are."""
    if isinstance(record, Mapping):
        for key, value in record.items():
            if key in _SAYING and value is not None:
                yield key
            yield from said(value, key)
    elif isinstance(record, list):
        for each in record:
            yield from said(each, name)


def rows_of(found, question):
    record = found.to_json()
    asked = {"candidate": question.candidate, "baseline": question.baseline}
    tables = ("pooled", "by_workload", "level_b", "failures", "ledger", "later")
    rows = [row for name in tables for row in record[name] if row["question"] == asked]
    return rows + [row for row in record["time_to_target"]["speedups"] if row["question"] == asked]


def test_a_question_has_its_word_once_its_own_trials_are_in(study):
    outcomes = study()
    waits = unfinished(outcomes, "lion")
    found = compare("s", waits, ASKED, analysis=declare(outcomes))
    assert [found.is_open(one) for one in ASKED] == [False, True]
    assert found.any_open
    whole, half = found.readiness
    assert (whole.arrived, whole.planned) == (80, 80)
    assert (half.arrived, half.planned) == (79, 80)
    assert {one.verdict for one in found.pooled if one.question == ASKED[0]} == {"better"}
    assert {one.verdict for one in found.pooled if one.question == ASKED[1]} == {None}
    assert {one.verdict for one in found.by_workload if one.question == ASKED[1]} == {None}


def test_an_open_question_has_counts_and_means_and_nothing_else_anywhere(study):
    outcomes = study()
    found = compare("s", unfinished(outcomes, "lion"), ASKED, analysis=declare(outcomes))
    assert list(said(rows_of(found, ASKED[1]))) == []
    assert list(said(rows_of(found, ASKED[0]))) != []
    (pooled,) = [one for one in found.pooled if one.question == ASKED[1] and one.endpoint == FINAL]
    assert pooled.estimate.n == 39
    assert pooled.estimate.mean is not None
    both = compare("s", unfinished(outcomes, "adamw"), ASKED, analysis=declare(outcomes))
    record = both.to_json()
    appendix = compute_appendix(both, outcomes)
    everything = [*rows_of(both, ASKED[0]), *rows_of(both, ASKED[1])]
    tables = [record["rankings"], record["time_to_target"], record["level_b"], record["failures"]]
    assert list(said(everything)) == list(said(tables)) == []
    assert (appendix.ahead, appendix.profile, appendix.shapes) == ((), (), ())
    assert both.rankings[0].why == "trials of the comparison are still to come"


def test_an_open_question_counts_in_the_families_as_if_its_p_were_one(study):
    outcomes = study()
    found = compare("s", unfinished(outcomes, "lion"), ASKED, analysis=declare(outcomes))
    ready = [one for one in found.pooled if one.verdict is not None]
    expected = holm([*(one.estimate.p for one in ready), None, None])[:2]
    assert [one.p_adjusted for one in ready] == pytest.approx(expected)
    assert found.family == 4
    singles = [one for one in found.by_workload if one.verdict is not None]
    expected = holm([*(one.estimate.p for one in singles), *[None] * 16])[:16]
    assert [one.p_adjusted for one in singles] == pytest.approx(expected)
    beyond = found.across_datasets
    assert [one.p_adjusted for one in beyond] == pytest.approx(
        holm([*(one.p for one in beyond), None, None])[:2]
    )
    whole = compare("s", outcomes, ASKED, analysis=declare(outcomes))
    assert beyond[0].needed == whole.across_datasets[0].needed


@pytest.mark.parametrize("kind", ["NODE_FAIL", "USER_ERROR"])
def test_a_trial_that_was_given_up_is_in(study, kind):
    outcomes = study()
    lost = unfinished(outcomes, "lion", state="failed")
    (gone,) = [one.trial.id for one in lost if one.state == "failed"]
    analysis = declare(outcomes)
    assert compare("s", lost, ASKED, analysis=analysis).is_open(ASKED[1])
    found = compare("s", lost, ASKED, analysis=analysis, given_up={gone: kind})
    assert not found.any_open
    assert None not in {one.verdict for one in found.pooled}


def test_a_look_that_the_user_has_closed_waits_for_nothing(study):
    outcomes = study()
    found = compare(
        "s", unfinished(outcomes, "lion"), ASKED, analysis=declare(outcomes), closed=True
    )
    assert not found.any_open
    assert [one.closed for one in found.readiness] == [True, True]
    assert None not in {one.verdict for one in found.pooled}


def test_trials_that_are_declared_and_not_planned_yet_are_waited_for(study):
    """The comparison trials of an undecided search are not planned at all."""
    outcomes = study()
    planned = [one for one in outcomes if one.trial.workload.name != "w7"]
    found = compare("s", planned, ASKED, analysis=declare(outcomes))
    assert [(one.arrived, one.planned) for one in found.readiness] == [(70, 80)] * 2
    assert {one.verdict for one in found.pooled} == {None}
    assert {one.flags for one in found.pooled} == {()}  # few units say nothing yet


def test_between_two_looks_the_last_complete_one_is_reported(study):
    outcomes = study(8, ["w0", "w1"])
    analysis = declare(outcomes, 8, looks=(5, 8))
    waits = unfinished(outcomes, "thermolion", block=6)
    found = compare("s", waits, ASKED, analysis=analysis, looks=Looks((5, 8), complete=1))
    first = [one for one in outcomes if one.trial.block < 5]
    alone = compare("s", first, ASKED, analysis=analysis, looks=Looks((5, 8), complete=1))
    assert not found.any_open
    assert found.pooled == alone.pooled
    assert [one.planned for one in found.readiness] == [20, 20]


def test_a_result_that_was_taken_back_takes_the_words_of_its_look_back(study):
    outcomes = study(8, ["w0", "w1"])
    analysis = declare(outcomes, 8, looks=(5, 8))
    again = unfinished(outcomes, "thermolion", block=2, state="waiting")
    found = compare("s", again, ASKED, analysis=analysis, looks=Looks((5, 8), complete=1))
    assert [found.is_open(one) for one in ASKED] == [True, False]
    assert list(said(rows_of(found, ASKED[0]))) == []
    assert {row.question for row in found.ledger} == {ASKED[1]}


def test_before_the_first_look_is_decided_nothing_is_said_although_all_is_in(study):
    outcomes = study(8, ["w0", "w1"])
    analysis = declare(outcomes, 8, looks=(5, 8))
    found = compare("s", outcomes, ASKED, analysis=analysis, looks=Looks((5, 8), complete=0))
    assert [(one.arrived, one.planned) for one in found.readiness] == [(20, 20)] * 2
    assert [one.is_open for one in found.readiness] == [True, True]
    assert list(said([row for one in ASKED for row in rows_of(found, one)])) == []


def test_a_comparison_without_an_analysis_is_exploratory_and_waits_for_nothing(study):
    outcomes = unfinished(study(), "lion")
    found = compare("s", outcomes, ASKED)
    assert found.exploratory
    assert not found.any_open
    assert found.to_json()["exploratory"] is True
    assert not compare("s", outcomes, ASKED, analysis=declare(outcomes)).exploratory
