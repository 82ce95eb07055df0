"""The appendix of a report: the known numbers come out of it, and it claims nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from tracking.compare.appendix import compute_appendix, profile_candidates
from tracking.compare.compare import compare
from tracking.compare.result import Verdict
from tracking.compare.time_to_target import Arm
from tracking.questions.analysis import Question
from tracking.questions.endpoint import FINAL
from tracking.questions.interim import Looks
from tracking.report.appendix import draw, sections
from tracking.report.figures.plots import lines
from tracking.stats.group_sequential import limits, repeated_p
from tracking.stats.t_tests import proportion_interval

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130, 0.9125]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065, 0.9080]
INF = math.inf


def final(rows):
    return [one for one in rows if one.endpoint == FINAL]


def notes(found, outcomes):
    return {one.key: one.note for one in sections(found, compute_appendix(found, outcomes))}


def test_every_look_has_the_limits_of_both_shapes(arms):
    outcomes, seeds = arms("digits", A, B), (3, 6)
    found = compare("s", outcomes, [QUESTION], looks=Looks(seeds, complete=2))
    rows = final(compute_appendix(found, outcomes).shapes)
    raw = [one.p for one in rows]
    assert [one.limit_pocock for one in rows] == pytest.approx(limits(seeds, 0.025, "pocock"))
    assert [one.limit_obrien_fleming for one in rows] == pytest.approx(limits(seeds, 0.025))
    repeated = [repeated_p(seeds, look, p, "pocock") for look, p in enumerate(raw, 1)]
    assert [one.p_pocock for one in rows] == pytest.approx([repeated[0], min(repeated)])
    assert rows[-1].p_obrien_fleming == pytest.approx(final(found.ledger)[-1].p_repeated)
    assert "Agreed on was O'Brien-Fleming, and it alone keeps" in notes(found, outcomes)["shapes"]


def arm(candidate, workload, times):
    blocks = tuple((block, None if time == INF else time) for block, time in enumerate(times))
    return Arm(workload, candidate, 0.9, 100, blocks, None, 0.0, 0.0, None)


def test_the_profile_of_a_study_is_the_known_one():
    steps = {"a": [10, 20, INF], "b": [20, 10, 30], "c": [40, 81, 30]}
    arms = [
        arm(name, f"w{number}", [time] * 3)
        for name, times in steps.items()
        for number, time in enumerate(times)
    ]
    found, why = profile_candidates(arms, list(steps))
    assert why == ""
    scores = [one.score for one in found]
    assert scores == pytest.approx([0.555556, 0.888889, 0.333333], abs=1e-6)
    assert [(one.low, one.high) for one in found] == [(s, s) for s in scores]
    assert found[0].ratios == (("w0", 1.0), ("w1", 2.0), ("w2", INF))


def test_a_seed_that_one_candidate_lacks_is_in_no_profile():
    arms = [arm("a", "w", [10, 10, 10]), arm("b", "w", [20, 20])]
    found, _ = profile_candidates([*arms, arm("a", "alone", [5])], ["a", "b"])
    assert [one.ratios for one in found] == [(("w", 1.0),), (("w", 2.0),)]
    assert profile_candidates([arm("a", "w", [INF]), arm("b", "w", [INF])], ["a", "b"])[0] == ()


def test_mean_ranks_are_those_of_scipy_over_the_blocks_that_all_have(study, outcome):
    outcomes = study(4)
    broken = outcome("lion", "digits", 0, 0.2, state="failed", metrics={})
    outcomes = [broken if one.trial.id == broken.trial.id else one for one in outcomes]
    found = compare("s", outcomes, [QUESTION])
    ranked = found.rankings[0]
    names, sets = ["thermolion", "adamw", "lion"], ["digits", "fashion_mnist", "cifar10"]
    table = [
        [
            np.mean(
                [
                    one.metrics["test_accuracy"]
                    for one in outcomes
                    if (one.trial.workload.name, one.trial.candidate.name) == (of, name)
                    and (of, one.trial.block) != ("digits", 0)
                ]
            )
            for name in names
        ]
        for of in sets
    ]
    mean = dict(zip(names, stats.rankdata(-np.array(table), axis=1).mean(axis=0), strict=True))
    assert dict(zip(ranked.candidates, ranked.mean_ranks, strict=True)) == pytest.approx(mean)
    oracle = stats.friedmanchisquare(*np.transpose(table))
    assert ranked.friedman.p == pytest.approx(oracle.pvalue)
    assert ranked.cliques == ((0, 1, 2),)
    assert "nobody can be told apart" in notes(found, outcomes)["ranks"]


def test_if_nothing_can_be_ranked_the_appendix_says_why(arms, study):
    outcomes = arms("digits", A, B)
    assert (
        "three candidates or more, not of 2"
        in notes(compare("s", outcomes, [QUESTION]), outcomes)["ranks"]
    )
    alone = [one for one in study(3) if one.trial.workload.name == "digits"]
    said = notes(compare("s", alone, [QUESTION]), alone)
    assert "two data sets or more" in said["ranks"]
    assert said["profile"] == "None: no workload has a target."
    assert "one look, at all seeds" in said["shapes"]
    assert "three settings" in said["tried"]
    unasked = notes(compare("s", alone, []), alone)
    for key in ("max_t", "ahead"):
        assert unasked[key] == "None: the sweep asks no question."


def test_how_often_ahead_is_counted_over_all_pairs(arms):
    outcomes = arms("digits", A, B) + arms("cifar10", [0.7, 0.6, 0.65], [0.7, 0.61, 0.64])
    share = final(compute_appendix(compare("s", outcomes, [QUESTION]), outcomes).ahead)[0].share
    assert (share.wins, share.n) == (7.5, 9)
    assert (share.low, share.high) == proportion_interval(7.5, 9)


def test_the_expected_best_of_the_settings_of_an_optimizer_is_the_known_one(outcome):
    outcomes = []
    for number, value in enumerate([0.6, 0.7, 0.72, 0.8, 0.9]):
        for block in range(2):
            one = outcome(f"sgd{number}", block=block, accuracy=value)
            tuned = replace(
                one.trial.candidate, optimizer="sgd", hyperparameters={"lr": number + 1.0}
            )
            outcomes.append(replace(one, trial=replace(one.trial, candidate=tuned)))
    (found,) = compute_appendix(compare("s", outcomes, []), outcomes).tried
    assert (found.optimizer, found.settings, found.seeds) == ("sgd", 5, 2)
    assert found.expected[:3] == pytest.approx([74.4, 81.4, 85.2])
    assert found.expected[-1] == pytest.approx(90)


def test_the_appendix_gives_no_verdict_and_draws_what_it_has(study):
    outcomes = study(3)
    questions = [QUESTION, Question("thermolion", "lion")]
    found = compare("s", outcomes, questions)
    extra = compute_appendix(found, outcomes)
    cells = {
        cell
        for part in sections(found, extra)
        for it in part.tables
        for row in it.rows
        for cell in row
    }
    assert cells
    assert not cells & set(Verdict.__args__)
    drawn = draw(found, extra, lines(found.candidates))
    counts = {key: len(of) for key, of in drawn.items()}
    assert counts == {"profile": 0, "ranks": 2, "tried": 0}


def _odd(arms, user_arms, outcome, study):
    lost = [outcome("thermolion", "digits", 0, 0.1, curve=[(0, 0.1)], state="diverged")]
    return {
        "one seed": arms("digits", A[:1], B[:1]),
        "no spread": arms("digits", [b + 0.01 for b in B], B),
        "alike": arms("digits", B, B),
        "missing blocks": arms("digits", A, B[:3]) + arms("cifar10", A[:2], B),
        "nothing shared": arms("digits", A[:3], []) + arms("cifar10", [], B),
        "nothing yet": [outcome(name, state="waiting") for name in ("thermolion", "adamw")],
        "a divergence": lost + arms("digits", A, B)[1:],
        "unlike units": arms("digits", A, B) + user_arms([2.5, 2.4, 2.6], [2.6, 2.7, 2.8]),
        "three candidates, one seed": study(1),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "one seed",
        "no spread",
        "alike",
        "missing blocks",
        "nothing shared",
        "nothing yet",
        "a divergence",
        "unlike units",
        "three candidates, one seed",
    ],
)
def test_odd_studies_have_an_appendix_without_a_crash_or_a_certainty(
    kind, arms, user_arms, outcome, study
):
    outcomes = _odd(arms, user_arms, outcome, study)[kind]
    outcomes = [replace(one, trial=_with_target(one.trial)) for one in outcomes]
    found = compare("s", outcomes, [QUESTION])
    extra = compute_appendix(found, outcomes)
    assert len(sections(found, extra)) == 8
    drawn = draw(found, extra, lines(found.candidates))
    assert not any("nan" in one or "inf" in one for of in drawn.values() for one in of)
    assert "NaN" not in json.dumps(extra.to_json(), allow_nan=False)


def _with_target(trial):
    target = 0.91 if trial.workload.has_planned_curve else 2.6
    reading = replace(trial.workload.metric_spec, target=target)
    return replace(trial, workload=replace(trial.workload, declared_metric=reading))


def test_a_baseline_that_never_reaches_the_target_has_a_score_of_nothing(arms):
    outcomes = [
        replace(one, trial=_with_target(one.trial))
        for one in arms("digits", [0.95, 0.96, 0.97], [0.5, 0.51, 0.52])
    ]
    found = compute_appendix(compare("s", outcomes, [QUESTION]), outcomes).profile
    assert [(one.candidate, one.score) for one in found] == [("thermolion", 1.0), ("adamw", 0.0)]
    assert found[1].ratios == (("digits", INF),)
    assert (found[1].low, found[1].high) == (0, 0)


def test_no_p_value_is_printed_beyond_what_any_data_say(arms):
    noise = [0.0001, 0.0, 0.0002, 0.0001, 0.0, 0.0003]
    sure = [b - 0.3 + more for b, more in zip(B, noise, strict=True)]
    outcomes = arms("digits", sure, B)
    found = compare("s", outcomes, [QUESTION], looks=Looks((3, 6), complete=2))
    extra = compute_appendix(found, outcomes)
    assert min(one.p for one in extra.shapes) < 1e-12
    (looks,) = [one for one in sections(found, extra) if one.key == "shapes"]
    assert "<1e-09" in {cell for row in looks.tables[0].rows for cell in row}


def test_scores_over_all_runs_are_those_of_rliable_and_have_an_interval_from_twenty_runs(outcome):
    random = np.random.default_rng(5)
    table = 0.9 + random.normal(0, 0.02, (2, 5, 4)).round(4)  # candidates, blocks, workloads
    outcomes = [
        outcome(name, workload, block, accuracy=float(table[arm, block, place]))
        for arm, name in enumerate(("thermolion", "adamw"))
        for block in range(5)
        for place, workload in enumerate(("digits", "mnist", "usps", "svhn"))
    ]
    found = compare("s", outcomes, [QUESTION])
    extra = compute_appendix(found, outcomes).aggregates
    middle = {one.candidate: one for one in extra.middle if one.endpoint == FINAL}
    for arm, name in enumerate(("thermolion", "adamw")):
        assert middle[name].value == pytest.approx(100 * metrics.aggregate_iqm(table[arm]))
        assert middle[name].low < middle[name].value < middle[name].high
        assert (middle[name].runs, middle[name].workloads) == (20, 4)
    (better,) = [one for one in extra.improvement if one.endpoint == FINAL]
    expected = metrics.probability_of_improvement(table[0], table[1])
    assert better.probability == pytest.approx(expected)
    few = compute_appendix(found, outcomes[:5] + outcomes[20:25]).aggregates
    assert all(one.low is None for one in few.middle)
