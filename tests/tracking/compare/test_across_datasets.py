"""What is said of data sets like these: the exact test over them, and when it says nothing."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.contract.workloads.workload import ImageWorkload, UserWorkload
from tracking.compare.compare import compare
from tracking.questions.analysis import Question, data_sets_needed
from tracking.questions.endpoint import FINAL
from tracking.report.page import write_report
from tracking.report.terminal import verdict_text

QUESTION = Question("thermolion", "adamw")
MEANS = [0.3, 0.1, -0.05, 0.4, 0.25, 0.6, 0.02, 0.15, -0.1, 0.35, 0.5, 0.2]


def study_of(arms, means, noise=(0.0004, -0.0004, 0.0)):
    """Return a study of one data set for each mean difference, in pp, three seeds each."""
    return [
        one
        for position, mean in enumerate(means)
        for one in arms(
            f"set{position}", [0.9 + mean / 100 + d for d in noise], [0.9 for _ in noise]
        )
    ]


def final(comparison):
    return next(one for one in comparison.across_datasets if one.endpoint == FINAL)


@pytest.mark.parametrize(("tests", "least"), [(1, 6), (2, 7), (4, 8), (8, 9), (16, 10), (32, 11)])
def test_the_number_of_data_sets_that_is_needed_follows_from_the_floor(tests, least):
    assert data_sets_needed(tests, 0.05) == least


def test_twelve_data_sets_give_the_known_answer(arms):
    found = final(compare("s", study_of(arms, MEANS), [QUESTION]))
    assert found.p == pytest.approx(0.0068359, abs=1e-7)
    assert found.p_adjusted == pytest.approx(2 * 0.0068359, abs=1e-6)
    assert (found.ahead, found.behind, found.tied, found.word) == (10, 2, 0, "better")
    assert found.middle.estimate == pytest.approx(0.225)


def test_swapping_the_arms_turns_the_answer_and_keeps_the_p_value(arms):
    outcomes = study_of(arms, MEANS)
    there, back = (
        final(compare("s", outcomes, [question]))
        for question in (QUESTION, Question("adamw", "thermolion"))
    )
    assert (there.word, back.word) == ("better", "worse")
    assert there.p == back.p
    assert there.middle.low == pytest.approx(-back.middle.high)


@pytest.mark.parametrize("level_on", [4, 20])
def test_no_word_stands_beside_an_interval_that_holds_zero(arms, level_on):
    # The test drops the data sets on which both are level, and the interval counts them: ahead on
    # nine and behind on none would even be "worse", the typical difference being 0.
    means = [1.0, 1.2, 2.0, 1.5, 0.8, 0.7, 0.9, 1.1, 1.3] + [0.0] * level_on
    found = final(compare("s", study_of(arms, means), [QUESTION]))
    assert found.p_adjusted == pytest.approx(2 * 2**-8)
    held = found.middle.low <= 0 <= found.middle.high
    assert held == (level_on == 20)
    assert found.word == ("undecided" if held else "better")


def test_at_a_level_above_five_percent_the_interval_has_that_of_the_word(arms):
    comparison = compare("s", study_of(arms, MEANS[:2] + MEANS[3:7]), [QUESTION], alpha=0.1)
    found = final(comparison)
    assert found.word == "better"
    assert found.middle.low > 0
    assert "90% CI [" in verdict_text(comparison)


def test_too_few_data_sets_claim_nothing_and_say_how_many_it_takes(arms):
    comparison = compare("s", study_of(arms, MEANS[:5]), [QUESTION])
    assert [one.word for one in comparison.across_datasets] == ["not claimable"] * 2
    assert [one.p for one in comparison.across_datasets] == [None] * 2
    text = verdict_text(comparison)
    assert "there are 5, and the exact Wilcoxon test over data sets needs 7" in text
    assert "like these:" not in text


def test_more_seeds_are_no_substitute_for_data_sets(arms):
    many = study_of(arms, MEANS[:5], noise=np.linspace(-0.001, 0.001, 20).tolist())
    assert final(compare("s", many, [QUESTION])).word == "not claimable"


def test_two_models_on_one_data_set_are_one_data_set(arms):
    outcomes = []
    for one in study_of(arms, MEANS):
        workload = one.trial.workload
        number = int(workload.name.removeprefix("set"))
        shared = replace(workload, dataset=f"set{number // 2}", model=f"model{number % 2}")
        outcomes.append(replace(one, trial=replace(one.trial, workload=shared)))
    found = final(compare("s", outcomes, [QUESTION]))
    assert found.needed == 7
    assert len(found.means) == 6
    assert found.means[0][1] == pytest.approx(0.2)
    assert found.word == "not claimable"


def test_options_tell_data_sets_apart_only_if_the_loader_is_the_users():
    ours = ImageWorkload("a", "cifar10", "mlp", dataset_options={"images": 5000})
    user_outcome = ImageWorkload("b", "my_lab.data:load", "mlp", dataset_options={"name": "b"})
    assert ours.data_set == "cifar10"
    assert user_outcome.data_set == 'my_lab.data:load {"name":"b"}'
    assert UserWorkload("lm", train="my_lab.lm:train").data_set == "lm"


def test_an_answer_that_only_diverged_trials_carry_is_undecided(arms, outcome):
    outcomes = study_of(arms, [0.01 * (-1) ** i for i in range(12)])
    for position in range(12):
        outcomes[6 * position + 3] = outcome(
            "adamw", f"set{position}", 0, 0.1, curve=[(0, 0.1)], state="diverged"
        )
    found = final(compare("s", outcomes, [QUESTION]))
    assert found.p == pytest.approx(2 / 2**12)
    assert (found.word, found.flags) == ("undecided", ("rests on collapse",))


def test_unlike_units_have_no_common_ranks(arms, user_arms):
    outcomes = [*study_of(arms, MEANS), *user_arms([2.0, 2.1], [2.2, 2.4])]
    comparison = compare("s", outcomes, [QUESTION])
    assert [one.word for one in comparison.across_datasets] == ["not claimable"] * 2
    assert "unlike units or directions have no common ranks" in verdict_text(comparison)


def test_the_page_keeps_the_two_claims_apart(arms, tmp_path):
    outcomes = study_of(arms, MEANS)
    page = write_report(compare("s", outcomes, [QUESTION]), outcomes, tmp_path).read_text()
    assert '<p class="beyond">On data sets like these</p>' in page
    assert "ahead on 10, behind on 2 of 12 data sets" in page
    assert "as far as these data sets are a fair sample" in page
