"""Which words an answer may have: enough units, no arm that lost trials, the row of its look."""

from dataclasses import replace

import numpy as np
import pytest

from tracking.compare.compare import compare
from tracking.questions.analysis import Analysis, Question
from tracking.questions.endpoint import FINAL
from tracking.questions.interim import Looks
from tracking.report.terminal import verdict_text
from tracking.stats.group_sequential import limits, repeated_p
from tracking.stats.multiplicity import holm
from tracking.stats.t_tests import at_level, paired_t

QUESTION = Question("thermolion", "adamw")
BASE = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065, 0.9080, 0.9085, 0.9055, 0.9075, 0.9095]
NOISE = [0.0004, -0.0003, 0.0001, -0.0002, 0.0003, -0.0001, 0.0002, -0.0004, 0.0001, 0.0]


def final(found, workload=None):
    rows = found.pooled if workload is None else found.by_workload
    (one,) = [one for one in rows if (one.endpoint, one.workload) == (FINAL, workload)]
    return one


def ahead(by, n, turn=0):
    """Return candidate and baseline on `n` blocks, the first one `by` so much ahead."""
    base = BASE[turn:] + BASE[:turn]
    return [b + by + e for b, e in zip(base[:n], NOISE, strict=False)], base[:n]


def declare(outcomes, blocks, **changes):
    made = Analysis(
        questions=(QUESTION,),
        workloads={one.trial.workload.name: one.trial.workload.key for one in outcomes},
        candidates={one.trial.candidate.name: one.trial.candidate.key for one in outcomes},
        blocks=tuple(range(blocks)),
    )
    return replace(made, **changes)


def lose(outcomes, candidate, blocks, workload="digits"):
    """Return the outcomes of which some trials of one arm failed."""
    return [
        replace(one, state="failed", metrics={})
        if (one.trial.candidate.name, one.trial.workload.name) == (candidate, workload)
        and one.trial.block in blocks
        else one
        for one in outcomes
    ]


def with_final(outcome, accuracy):
    """Return the outcome with another final accuracy, and a curve that ends with it."""
    curve = (*outcome.curve[:-1], replace(outcome.curve[-1], metrics={"val_accuracy": accuracy}))
    return replace(outcome, metrics={"test_accuracy": accuracy}, curve=curve)


def lost_ids(outcomes):
    return [one.trial.id for one in outcomes if one.state == "failed"]


@pytest.mark.parametrize(
    ("blocks", "word"),
    [
        *[([4], "undecided"), ([5], "better"), ([2, 3], "undecided"), ([3, 3], "better")],
        *[([2, 2, 2, 2], "undecided"), ([3, 2, 3], "undecided"), ([3, 3, 3], "better")],
    ],
)
def test_a_word_needs_five_units_in_all_and_three_on_each_workload(arms, blocks, word):
    outcomes = [
        one for turn, n in enumerate(blocks) for one in arms(f"w{turn}", *ahead(0.02, n, turn))
    ]
    found = compare("s", outcomes, [QUESTION])
    assert final(found).verdict == word
    assert ("too few units" in final(found).flags) == (word == "undecided")
    assert (final(found).p_adjusted is None) == (word == "undecided")
    assert {one.verdict for one in found.by_workload} == {
        "better" if blocks == [5] else "undecided"
    }


def test_equivalence_needs_as_many_units(arms):
    words = [
        final(compare("s", arms("digits", *ahead(0.0, n)), [QUESTION])).verdict for n in (4, 5)
    ]
    assert words == ["undecided", "equivalent"]


def test_a_declared_workload_without_results_is_one_with_too_few_units(arms):
    outcomes = [*arms("digits", *ahead(0.02, 5)), *arms("mnist", *ahead(0.02, 5, 1))]
    found = compare("s", outcomes[:10], [QUESTION], analysis=declare(outcomes, 5), closed=True)
    assert final(found).verdict == "undecided"
    assert {"partial", "too few units"} <= set(final(found).flags)
    assert final(found).workloads_asked == 2
    assert final(found, "digits").verdict == "better"


@pytest.mark.parametrize("kind", ["USER_ERROR", "OOM_HOST", "OOM_DEVICE", "TIMEOUT"])
@pytest.mark.parametrize(
    ("gain", "arm", "word"),
    [
        (0.02, "thermolion", "undecided"),  # better, with its worst trials missing
        (0.02, "adamw", "better"),
        (-0.02, "thermolion", "worse"),
        (-0.02, "adamw", "undecided"),
        (0.0, "thermolion", "undecided"),  # equivalent but for what is missing
        (0.0, "adamw", "undecided"),
    ],
)
def test_no_word_favours_an_arm_that_lost_trials_by_its_own_doing(arms, kind, gain, arm, word):
    whole = [*arms("digits", *ahead(gain, 8)), *arms("mnist", *ahead(gain, 8, 1))]
    outcomes = lose(whole, arm, [6, 7])
    given_up = dict.fromkeys(lost_ids(outcomes), kind)
    found = compare("s", outcomes, [QUESTION], analysis=declare(whole, 8), given_up=given_up)
    flag = "lost candidate" if arm == "thermolion" else "lost baseline"
    for one in (final(found), final(found, "digits")):
        assert one.verdict == word
        assert flag in one.flags
    untouched = final(found, "mnist")
    assert untouched.verdict in ("better", "worse", "equivalent")
    assert flag not in untouched.flags


@pytest.mark.parametrize("kind", ["NODE_FAIL", "LOST", "NEVER_STARTED", "PREEMPTED"])
def test_losses_to_the_machine_remove_the_block_for_both_arms(arms, kind):
    whole = arms("digits", *ahead(0.02, 8))
    outcomes = lose(whole, "thermolion", [6, 7])
    given_up = dict.fromkeys(lost_ids(outcomes), kind)
    found = compare("s", outcomes, [QUESTION], analysis=declare(whole, 8), given_up=given_up)
    assert final(found).verdict == "better"
    assert final(found).estimate.n == 6
    assert [one.block for one in found.incomplete] == [6, 7]


def test_where_nothing_is_tried_again_the_error_says_what_a_trial_was_lost_to(arms):
    whole = arms("digits", *ahead(0.02, 8))
    outcomes = [
        replace(one, kind="OutOfMemoryError", error="CUDA out of memory")
        if one.state == "failed"
        else one
        for one in lose(whole, "thermolion", [7])
    ]
    stopped = [
        replace(one, state="interrupted") if one.state == "failed" else one for one in outcomes
    ]
    for each, flags in ((outcomes, {"lost candidate"}), (stopped, set())):
        closed = compare("s", each, [QUESTION], analysis=declare(whole, 8), closed=True)
        without = compare("s", each, [QUESTION])
        assert {*final(closed).flags} == {*final(without).flags} == flags


def test_a_trial_that_ended_without_its_metric_is_lost_like_one_that_failed(
    user_arms, user_outcome
):
    outcomes = user_arms([2.0, 2.1, 2.05, 2.02, 2.07, 2.03], [2.5, 2.6, 2.55, 2.51, 2.58, 2.54])
    ended = user_outcome("thermolion", block=5, state="diverged", curve=[(0, 4.0)])
    found = compare("s", [*outcomes[:5], ended, *outcomes[6:]], [QUESTION])
    assert final(found).verdict == "undecided"
    assert "lost candidate" in final(found).flags


def test_no_claim_beyond_the_data_sets_favours_an_arm_that_lost_trials(arms):
    whole = [one for turn in range(8) for one in arms(f"w{turn}", *ahead(0.02, 5, turn))]
    outcomes = lose(whole, "thermolion", [4], "w3")
    given_up = dict.fromkeys(lost_ids(outcomes), "TIMEOUT")
    analysis = declare(whole, 5)
    there = compare("s", whole, [QUESTION], analysis=analysis).across_datasets[0]
    found = compare("s", outcomes, [QUESTION], analysis=analysis, given_up=given_up)
    assert there.word == "better"
    assert found.across_datasets[0].word == "undecided"
    assert "lost candidate" in found.across_datasets[0].flags


def test_single_workloads_have_a_holm_of_their_own(arms, outcome):
    more = [
        outcome("lion", name, block, value + shift)
        for name, shift in (("digits", 0.003), ("mnist", -0.001))
        for block, value in enumerate(BASE[:6])
    ]
    outcomes = [*arms("digits", *ahead(0.001, 6)), *arms("mnist", *ahead(0.0, 6, 1)), *more]
    asked = [QUESTION, Question("lion", "adamw")]
    found = compare("s", outcomes, asked)
    assert len(found.by_workload) == 8
    ps = [one.estimate.p for one in found.by_workload]
    assert [one.p_adjusted for one in found.by_workload] == pytest.approx(holm(ps), nan_ok=True)
    declared = declare(outcomes, 6, endpoints=(FINAL,))
    apart = compare("s", outcomes, asked, analysis=declared)
    inside = [one for one in apart.by_workload if "exploratory" not in one.flags]
    assert [(one.question, one.endpoint) for one in inside] == [(QUESTION, FINAL)] * 2
    assert [one.p_adjusted for one in inside] == pytest.approx(
        holm([one.estimate.p for one in inside])
    )


def test_single_workloads_have_repeated_p_values_and_the_intervals_of_their_look(arms):
    looks = Looks((5, 10), complete=2)
    first, second = ahead(0.0015, 10)
    outcomes = [*arms("digits", first, second), *arms("mnist", *ahead(0.0, 10, 1))]
    found = final(compare("s", outcomes, [QUESTION], looks=looks), "digits")
    alone = [paired_t(100 * np.array(first[:n]), 100 * np.array(second[:n])) for n in (5, 10)]
    valid = [repeated_p((5, 10), k, one.p) for k, one in enumerate(alone, 1)]
    assert valid[1] < valid[0]  # and yet the word is that of the first look
    assert found.p_valid == pytest.approx(valid[0])
    assert (found.reached.look, found.estimate.n) == (1, 5)
    wide = at_level(alone[0], 1 - limits((5, 10), 0.05)[0])
    assert (found.estimate.low, found.estimate.high) == pytest.approx((wide.low, wide.high))


def test_an_answer_that_a_look_has_decided_stays_that_of_its_look(arms):
    first, second = ahead(0.004, 10)
    later = [value - 0.025 * (block % 2) for block, value in enumerate(first[5:])]
    outcomes = arms("digits", [*first[:5], *later], second)
    early, late = (
        compare("s", outcomes, [QUESTION], looks=Looks((5, 10), complete=k)) for k in (1, 2)
    )
    assert final(early).verdict == final(late).verdict == "better"
    assert final(late).reached.look == 1
    assert final(late).estimate == final(early).estimate
    assert final(late).p_adjusted == final(early).p_adjusted
    assert final(late).sensitivity == final(early).sensitivity
    today = final(late).latest
    assert (today.n, final(early).latest) == (10, None)
    assert today.mean < 0 < final(late).estimate.low  # what the word would have stood beside
    assert len(final(late, "digits").paired) == 10


def test_a_look_with_too_few_units_is_not_the_one_that_decides(arms):
    outcomes = arms("digits", *ahead(0.02, 10))
    looks = (4, 10)
    early, late = (
        final(compare("s", outcomes, [QUESTION], looks=Looks(looks, complete=k))) for k in (1, 2)
    )
    assert (early.verdict, late.verdict) == ("undecided", "better")
    assert early.estimate.p < 0.001
    assert (early.p_valid, early.p_adjusted, early.equivalence_p) == (None, None, None)
    assert late.reached.look == 2
    assert late.p_valid == pytest.approx(repeated_p(looks, 2, late.estimate.p))


def test_no_failure_of_a_later_look_takes_back_what_was_said(arms):
    """Without the blocks that diverge later the second look, far surer of itself, says nothing."""
    base = [BASE[block % 10] + block // 10 / 10000 for block in range(20)]
    gains = [*(0.0015 + 2 * e for e in NOISE[:5]), *[-0.02] * 4, *[0.0] * 11]
    outcomes = [
        replace(with_final(one, 0.1), state="diverged")
        if one.trial.candidate.name == "adamw" and one.trial.block >= 9
        else one
        for one in arms("digits", [b + g for b, g in zip(base, gains, strict=True)], base)
    ]
    early, late = (
        compare("s", outcomes, [QUESTION], looks=Looks((5, 20), "pocock", complete=k))
        for k in (1, 2)
    )
    assert (final(early).verdict, final(early).flags) == ("better", ())
    for one, before in zip(late.pooled, early.pooled, strict=True):
        assert replace(one, latest=None, flags=()) == before
        assert (one.flags, one.latest.n) == (("failed since",), 20)
    assert [row.word for row in late.ledger] == ["better"] * 4
    assert "At later looks trials diverged or were lost" in verdict_text(late)
    assert "At later looks" not in verdict_text(early)


def test_an_answer_that_can_have_no_word_counts_with_p_one(arms):
    """Seven clear seeds on one workload, and two far clearer ones on another."""
    _, second = ahead(0.0, 7)
    gains = [0.006, 0.010, -0.004, 0.004, 0.009, 0.002, 0.005]
    clear = [b + gain for b, gain in zip(second, gains, strict=True)]
    few = arms("few", [0.95, 0.951, 0.953], [0.90, 0.902, 0.903])
    outcomes = [*arms("digits", clear, second), *few]
    declared = declare(outcomes, 7, endpoints=(FINAL,))
    found = compare("s", outcomes, [QUESTION], analysis=declared, closed=True)
    digits, other = final(found, "digits"), final(found, "few")
    assert 0.025 < digits.estimate.p < 0.05
    assert other.estimate.p < digits.estimate.p
    assert digits.p_adjusted == pytest.approx(2 * digits.estimate.p)
    assert (digits.verdict, other.verdict, other.p_adjusted) == ("undecided", "undecided", None)


def test_an_undecided_answer_has_the_p_value_of_the_row_that_is_shown(arms):
    gains = [0.004, 0.0005, 0.0032, 0.0001, 0.0034, -0.004, 0.004, -0.004, 0.004, -0.004]
    outcomes = arms("digits", [b + gain for b, gain in zip(BASE, gains, strict=True)], BASE)
    comparison = compare("s", outcomes, [QUESTION], looks=Looks((5, 10), complete=2))
    found = final(comparison)
    assert found.verdict == "undecided"
    assert found.reached.look == 2
    assert found.p_valid == pytest.approx(repeated_p((5, 10), 2, found.estimate.p))
    assert found.p_valid > min(row.p_repeated for row in comparison.ledger)


def test_no_word_stands_beside_an_interval_that_holds_zero(arms):
    """Thousands of studies with and without an effect, by looks and without, at any level."""
    random = np.random.default_rng(8)
    template = arms("digits", BASE[:8], BASE[:8])
    rows = 0
    for number in range(2000):
        gain, spread = random.choice([0.0, 0.001, 0.003]), random.choice([0.001, 0.004])
        base = random.normal(0.9, 0.002, 8)
        arm = base + gain * random.normal(1, 1) + random.normal(0, spread, 8)
        outcomes = [
            with_final(one, value) for one, value in zip(template, [*arm, *base], strict=True)
        ]
        looks = Looks((3, 5, 8), complete=number % 3 + 1) if number % 2 else None
        analysis = declare(
            outcomes,
            8,
            alpha=random.choice([0.01, 0.05, 0.2]),
            looks=() if looks is None else looks.seeds,
        )
        found = compare("s", outcomes, [QUESTION], analysis=analysis, looks=looks)
        for one in (*found.pooled, *found.by_workload):
            if one.verdict in ("better", "worse"):
                rows += 1
                low, high = one.estimate.low, one.estimate.high
                assert low > 0 if one.verdict == "better" else high < 0
                assert one.p_adjusted <= analysis.alpha
    assert rows > 1000
