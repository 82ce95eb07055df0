"""Blocks: what is refused, what is left out and named, what is flagged."""

import math
from dataclasses import replace

import pytest

from jobs.contract.trial import Candidate
from jobs.contract.workloads.workload import ImageWorkload
from tracking.compare.compare import compare
from tracking.compare.endpoints import ComparisonError
from tracking.compare.result import Comparison, Difference
from tracking.outcomes import Outcome
from tracking.questions.analysis import Question
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065]


def final(comparison: Comparison) -> Difference:
    return comparison.pooled[0]


def with_digests(outcome: Outcome, **digests: str) -> Outcome:
    started = {**outcome.started, "digests": {**outcome.started["digests"], **digests}}
    return replace(outcome, started=started)


def test_an_incomplete_block_is_left_out_and_named(outcome, arms):
    outcomes = arms("digits", A, B)
    outcomes[1] = outcome("thermolion", "digits", 1, state="failed", error="OSError: disk")
    outcomes[8] = outcome("adamw", "digits", 3, state="waiting")
    found = compare("s", outcomes, [QUESTION])
    assert final(found).estimate.n == 3
    assert [(one.block, one.reasons) for one in found.incomplete] == [
        (1, (("thermolion", "failed (OSError: disk)"),)),
        (3, (("adamw", "waiting"),)),
    ]
    assert found.open_trials == 1
    text = verdict_text(found)
    assert "digits, block 1: thermolion failed (OSError: disk)" in text
    assert "Interim" in text


def test_a_gap_of_another_candidate_does_not_matter(outcome, arms):
    outcomes = arms("digits", A, B)
    outcomes += [outcome("lion", "digits", block, state="waiting") for block in range(5)]
    assert final(compare("s", outcomes, [QUESTION])).estimate.n == 5


def test_a_missing_trial_is_named(arms):
    found = compare("s", arms("digits", A, B[:4]), [QUESTION])
    assert found.incomplete[0].reasons == (("adamw", "no such trial"),)


def test_a_completed_trial_without_its_curve_is_left_out_by_name(outcome, arms):
    outcomes = arms("digits", A, B)
    outcomes[0] = outcome("thermolion", "digits", 0, curve=[(0, 0.1), (10, 0.5)])
    found = compare("s", outcomes, [QUESTION])
    assert found.incomplete[0].reasons == (("thermolion", "has val_accuracy up to step 10 of 40"),)


@pytest.mark.parametrize("name", ["data", "split", "init", "order"])
def test_a_block_that_mixes_digests_is_refused(arms, name):
    outcomes = arms("digits", A, B)
    outcomes[3] = with_digests(outcomes[3], **{name: "other"})
    found = compare("s", outcomes, [QUESTION])
    assert found.pooled[0].estimate.n == 4
    (left_out,) = found.incomplete
    assert left_out.block == 3
    for _, why in left_out.reasons:
        assert f"differ in {name} (thermolion: other" in why


def test_blocks_of_one_workload_on_unlike_data_are_flagged(arms):
    outcomes = [
        with_digests(one, data="other") if one.trial.block == 4 else one
        for one in arms("digits", A, B)
    ]
    found = compare("s", outcomes, [QUESTION])
    assert [(flag.block, flag.kind) for flag in found.flags] == [(4, "data")]
    assert "data" in found.pooled[0].flags


def test_seeds_that_were_not_applied_are_refused(arms):
    outcomes = [with_digests(one, init="same", order="same") for one in arms("digits", A, B)]
    with pytest.raises(ComparisonError, match=r"blocks 0 and 1 .* seeds were not applied"):
        compare("s", outcomes, [QUESTION])


def test_curves_alike_in_every_value_are_seeds_that_were_not_applied(user_outcome):
    """Own training has no digests: what it logged tells that it ran twice with one seed."""

    def curve(block):
        return [(step, 4.0 - step / (60 + block)) for step in range(0, 100, 10)]

    outcomes = [
        user_outcome(name, block=block, curve=curve(block if name == "adamw" else block // 2))
        for name in ("thermolion", "adamw")
        for block in range(4)
    ]
    with pytest.raises(ComparisonError, match=r"thermolion on lm, blocks 0 and 1 .* seeds were"):
        compare("s", outcomes, [QUESTION])


def test_short_curves_may_come_twice(user_outcome):
    outcomes = [
        user_outcome(name, block=block) for name in ("thermolion", "adamw") for block in range(4)
    ]
    assert compare("s", outcomes, [QUESTION]).pooled[0].verdict == "identical"


def test_nan_in_a_completed_trial_is_refused(outcome, arms):
    outcomes = [*arms("digits", A, B), outcome("lion", "digits", 0, accuracy=math.nan)]
    with pytest.raises(ComparisonError, match="test_accuracy of lion on digits, block 0"):
        compare("s", outcomes, [QUESTION])


@pytest.mark.parametrize("kind", ["code", "device"])
def test_a_block_that_mixes_code_or_devices_is_flagged(arms, kind):
    outcomes = arms("digits", A, B)
    outcomes[3] = replace(outcomes[3], job={**outcomes[3].job, kind: "other"})
    found = compare("s", outcomes, [QUESTION])
    assert [(one.block, one.kind) for one in found.flags] == [(3, kind)]
    assert kind in final(found).flags


def test_a_nondeterministic_trial_is_flagged(arms):
    outcomes = arms("digits", A, B)
    outcomes[3] = replace(outcomes[3], nondeterministic=True)
    assert final(compare("s", outcomes, [QUESTION])).flags == ("nondeterministic",)


def test_other_phases_take_no_part(arms):
    outcomes = arms("digits", A, B)
    tuning = [replace(one, trial=replace(one.trial, phase="tune")) for one in outcomes]
    assert compare("s", outcomes + tuning, [QUESTION]) == compare("s", outcomes, [QUESTION])


def test_two_trials_for_one_place_are_refused(arms):
    outcomes = arms("digits", A, B)
    double = replace(outcomes[0], trial=replace(outcomes[0].trial, world_size=2))
    with pytest.raises(ComparisonError, match="has two trials"):
        compare("s", [*outcomes, double], [QUESTION])


@pytest.mark.parametrize(
    "changed",
    [
        {"workload": ImageWorkload("digits", "digits", "convnet", epochs=99, global_batch=128)},
        {"candidate": Candidate("thermolion", "thermolion", {"lr": 0.5}), "block": 77},
    ],
)
def test_a_name_of_two_contents_is_refused(arms, changed):
    outcomes = arms("digits", A, B)
    edited = replace(outcomes[0], trial=replace(outcomes[0].trial, **changed))
    with pytest.raises(ComparisonError, match="two different contents"):
        compare("s", [*outcomes, edited], [QUESTION])
