"""What a plan says its verdict will be able to claim: power, and how many data sets it takes."""

import numpy as np
import pytest
from scipy.stats import nct, t
from sweep_text import sweep_text as _sweep

from orchestrator.study.design_power import Design, detectable, power
from tracking.questions.endpoint import STANDARD
from tracking.stats.group_sequential import limits


@pytest.mark.parametrize("tests", [1, 2, 16])
@pytest.mark.parametrize("df", [2, 3, 4, 9, 48, 120, 1000])
def test_the_power_on_one_workload_is_that_of_the_noncentral_t_distribution(df, tests):
    alpha = 0.05 / tests
    critical = t.isf(alpha / 2, df)

    def oracle(effect):
        noncentrality = effect * (df + 1) ** 0.5
        return nct.sf(critical, df, noncentrality) + nct.sf(critical, df, -noncentrality)

    for effect in (0.0, 0.2, 0.5, 1.5):
        assert power(effect, df + 1, alpha=alpha) == pytest.approx(oracle(effect), abs=1e-6)
    assert oracle(detectable(df + 1, alpha=alpha)) == pytest.approx(0.8, abs=1e-3)


def test_very_many_seeds_have_the_power_of_a_normal_test():
    assert detectable(5000) == pytest.approx(2.8016 / 5000**0.5, rel=1e-3)
    assert detectable(1) is None


@pytest.mark.parametrize(("n", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_what_a_number_of_seeds_can_find_is_known(n, effect):
    assert detectable(n) == pytest.approx(effect, abs=0.01)


_DIGITS = "workloads: [{dataset: digits, model: mlp, epochs: 1}]"
_PAIR = "candidates: {adamw: {}, lion: {}}\nbaseline: adamw"


def test_a_plan_says_what_its_verdict_will_be_able_to_claim(thermolion, tmp_path, planned):
    found = planned(_sweep(_PAIR, seeds="seeds: 5"))["claims"]
    assert (found["tests"], found["level_a"], found["level_b"]) == (len(STANDARD), True, False)
    assert (found["data_sets"], found["data_sets_needed"]) == (1, 7)
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    found_least = "5 seeds find on this workload a difference of 2.05 sd, 4 times in 5"
    assert f"{found_least}, and 1 sd with probability 0.26 (sd of the paired" in said
    assert "none from 1 data set; the exact test over data sets needs 7 with 2 tests" in said


def test_two_models_on_one_data_set_are_planned_as_one_data_set(planned):
    each = "workloads: {each: {dataset: [digits], model: [mlp, convnet]}, epochs: 1}"
    found = planned(_sweep(_PAIR).replace(_DIGITS, each))["claims"]
    assert (found["workloads"], found["data_sets"]) == (2, 1)


def test_workloads_that_differ_in_ranks_alone_share_seeds_and_tuning_and_count_once(
    thermolion, tmp_path, planned
):
    ranks = "workloads: {each: {ranks: [1, 2]}, dataset: digits, model: mlp, epochs: 1}"
    tune = "tune: {trials: 4, repeats: 5, widen: 0, ranks: 1}"
    one, both = (
        planned(_sweep(_PAIR, workloads=workloads, seeds="seeds: 5", tune=tune))
        for workloads in (_DIGITS, ranks)
    )
    assert (both["claims"]["workloads"], both["claims"]["independent"]) == (2, 1)
    for key in ("power_level_a", "detectable_level_a"):
        assert both["claims"][key] == one["claims"][key]
    tuning, comparison = both["price"]["stages"]
    assert (tuning["name"], tuning["trials"], comparison["trials"]) == ("tuning", 5 * 2 * 4, 20)
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert "the 2 workloads count as 1: those that differ in ranks" in said


def test_seven_data_sets_can_speak_of_data_sets_like_them(thermolion, tmp_path, planned):
    names = "mnist, fashion_mnist, kmnist, usps, cifar10, svhn, digits"
    each = f"workloads: {{each: {{dataset: [{names}]}}, model: mlp, epochs: 1}}"
    found = planned(_sweep(_PAIR, seeds="seeds: 5").replace(_DIGITS, each))["claims"]
    assert found["level_b"]
    assert found["detectable_level_a"] < found["detectable_on_one"] / 2
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert "on data sets like these: possible from 7 data sets" in said


def test_a_plan_without_a_question_or_with_one_seed_promises_nothing(thermolion, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(_sweep())
    assert "none: the sweep asks no question" in thermolion("plan", path).out
    path.write_text(_sweep(_PAIR, seeds="seeds: 1"))
    said = thermolion("plan", path).out
    assert "none, with 1 seed on one workload" in said
    assert "claim" not in said


def simulated(effect, looks, strata, at):
    """Return power and mean seeds of 4000 studies that are pooled as the verdicts are."""
    d = np.random.default_rng(0).normal(effect, 1, (4000, strata, looks[-1]))
    found, used = np.zeros(4000, bool), np.full(4000, looks[-1])
    for n, limit in zip(looks, at, strict=True):
        if n < 3 or n * strata < 5:
            continue  # too few for a word
        variances = d[:, :, :n].var(axis=2, ddof=1) / n
        total = variances.sum(axis=1)
        df = total**2 / (variances**2 / (n - 1)).sum(axis=1)
        statistic = d[:, :, :n].mean(axis=2).sum(axis=1) / np.sqrt(total)
        now = ~found & (2 * t.sf(np.abs(statistic), df) <= limit)
        used[now], found = n, found | now
    return found.mean(), used.mean()


@pytest.mark.parametrize(
    ("n", "strata", "tests"),
    [(5, 1, 1), (3, 4, 1), (3, 12, 1), (5, 12, 8), (3, 2, 2), (4, 3, 6), (10, 4, 1)],
)
def test_the_power_on_several_workloads_is_that_of_simulated_studies(n, strata, tests):
    """By Welch's degrees of freedom: pooled ones promise 0.80 if 0.64 is true (3 seeds on 4)."""
    alpha = 0.05 / tests
    least = detectable(n, strata, alpha)
    assert power(least, n, strata, alpha) == pytest.approx(0.8, abs=1e-3)
    for effect in (0.0, least / 2, least, 1.3 * least):
        found, _ = simulated(effect, (n,), strata, (alpha,))
        assert power(effect, n, strata, alpha) == pytest.approx(found, abs=0.025)


@pytest.mark.parametrize("shape", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize(
    ("looks", "strata", "alpha"),
    [
        ((3, 5, 7, 10), 1, 0.05),
        ((3, 5, 7, 10), 4, 0.05),
        ((2, 4, 6), 2, 0.05),
        ((3, 5, 7, 10), 12, 0.05 / 8),
    ],
)
def test_the_course_of_a_study_by_looks_is_that_of_simulated_ones(looks, strata, alpha, shape):
    design = Design(looks, strata, alpha, shape)
    least = design.detectable()
    for effect in (0.0, least / 2, least, 1.3 * least):
        course = design.course(effect)
        found, seeds = simulated(effect, looks, strata, limits(looks, alpha, shape))
        assert course.power == pytest.approx(found, abs=0.03)
        assert course.units == pytest.approx(seeds, abs=0.035 * looks[-1])


@pytest.mark.parametrize("n", [3, 20])
def test_one_look_has_the_power_of_a_study_without_any(n):
    design = Design((n,), 2, 0.05 / 4)
    for effect in (0.3, 1.0):
        assert design.power(effect) == power(effect, n, 2, 0.05 / 4)
    assert design.course(1.0).units == n


@pytest.mark.parametrize(
    ("n", "strata", "has"), [(4, 1, False), (5, 1, True), (2, 6, False), (3, 2, True)]
)
def test_a_design_without_the_units_of_a_word_has_no_power(n, strata, has):
    design = Design((2, n) if n > 2 else (n,), strata)
    assert (design.detectable() is not None, design.power(9.0) > 0) == (has, has)


def test_a_plan_whose_seeds_are_too_few_for_a_word_says_so(thermolion, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(_sweep(_PAIR, seeds="seeds: 4"))
    said = thermolion("plan", path).out
    assert "none, with 4 seeds on one workload" in said
    assert "write seeds: 5 or more" in said
    assert "seeds find" not in said
    path.write_text(_sweep(_PAIR, seeds="seeds: {looks: [2, 4]}"))
    assert "write a last look at 5 seeds or more" in thermolion("plan", path).out


def test_a_plan_by_looks_says_what_its_last_look_can_find_and_how_many_seeds_that_takes(
    thermolion, tmp_path, planned
):
    looks = "seeds: {looks: [3, 5, 7, 10]}"
    found = planned(_sweep(_PAIR, seeds=looks))["claims"]
    fixed = planned(_sweep(_PAIR, seeds="seeds: 10"))["claims"]
    assert found["looks"] == [3, 5, 7, 10]
    assert 1 < found["detectable_level_a"] / fixed["detectable_level_a"] < 1.05
    assert found["power_level_a"] < fixed["power_level_a"]
    least, half, none = found["mean_units"]
    assert 3 < least < half < none <= 10
    assert found["data_sets_needed"] == 9  # two tests at each of four looks
    (tmp_path / "sweep.yaml").write_text(_sweep(_PAIR, seeds=looks))
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert "looks at 3, 5, 7, 10 seeds (O'Brien-Fleming) find on this workload" in said
    assert f"after {least:.1f} of 10 on average" in said


def test_a_plan_goes_by_the_error_budget_and_the_endpoints_of_its_analysis(planned):
    usual = planned(_sweep(_PAIR, seeds="seeds: 5"))["claims"]
    key = "analysis: {alpha: 0.025, endpoints: [val_auc]}"
    found = planned(_sweep(_PAIR, seeds="seeds: 5", analysis=key))["claims"]
    assert (usual["tests"], found["tests"]) == (2, 1)
    assert found["detectable_level_a"] == pytest.approx(usual["detectable_level_a"])
    assert found["detectable_on_one"] == pytest.approx(usual["detectable_on_one"])


def test_a_single_workload_pays_for_all_workloads(thermolion, tmp_path, planned):
    """Words about single workloads have a Holm of their own over all of them."""
    each = "workloads: {each: {dataset: [digits, usps, mnist]}, model: mlp, epochs: 1}"
    key = "analysis: {endpoints: [val_auc]}"
    found = planned(_sweep(_PAIR, seeds="seeds: 6", workloads=each, analysis=key))["claims"]
    assert found["detectable_on_one"] == pytest.approx(detectable(6, 1, 0.05 / 3), rel=1e-3)
    said = thermolion("plan", tmp_path / "sweep.yaml").out
    assert f"on one of them alone: {found['detectable_on_one']:.2f} sd, 4 times in 5" in said
    said = thermolion("plan", tmp_path / "sweep.yaml", "--set", "seeds=4").out
    assert "on one of them alone: none, for a word takes 5 blocks there" in said
