"""The plan of evaluations: its steps, its spellings, and what it makes of a trial's name."""

import math

import pytest

from jobs.contract.workloads.catalog import DataError
from jobs.contract.workloads.evaluation_plan import EvaluationPlan, read_interval


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_usual_plan_has_the_quarters_of_every_epoch_or_all_steps(epochs):
    for steps_per_epoch in range(1, 60):
        quarters = {math.ceil(n * steps_per_epoch / 4) for n in range(4 * epochs + 1)}
        assert EvaluationPlan().steps(steps_per_epoch, epochs) == sorted(quarters)


@pytest.mark.parametrize(
    ("every", "rungs", "expected"),
    [
        ("1ep", (), [0, 10, 20, 30]),
        ("0.5ep", (), [0, 5, 10, 15, 20, 25, 30]),
        ("1.5ep", (), [0, 15, 30]),
        ("0.3ep", (), [*range(0, 31, 3)]),
        ("0.33ep", (), [0, 4, 7, 10, 14, 17, 20, 24, 27, 30]),  # the next step after 3.3, 6.6, …
        ("0.01ep", (), [*range(31)]),
        ("1 step", (), [*range(31)]),
        ("7 steps", (), [0, 7, 14, 21, 28, 30]),
        ("50 steps", (), [0, 30]),
        ("2ep", (), [0, 20, 30]),
        ("2ep", (1,), [0, 10, 20, 30]),
        ("7 steps", (1, 2), [0, 7, 10, 14, 20, 21, 28, 30]),
    ],
)
def test_the_first_model_the_last_one_and_every_rung_are_evaluated_in_any_case(
    every, rungs, expected
):
    plan = EvaluationPlan(every, samples=5)
    assert plan.steps(10, 3, rungs) == expected
    assert plan.whole_steps(10, 3, rungs) == {30, *(10 * rung for rung in rungs)}
    if not rungs:
        assert plan.count_images(10, 3, 40) == 5 * (len(expected) - 1) + 40
        assert plan.count_images(10, 3, 4) == 4 * len(expected)


@pytest.mark.parametrize(
    ("written", "recorded"),
    [
        ("1ep", "1ep"),
        ("1.0 ep", "1ep"),
        ("0.250ep", "0.25ep"),
        ("010ep", "10ep"),
        ("1 steps", "1 step"),
        ("50step", "50 steps"),
        ("50.0 steps", "50 steps"),
    ],
)
def test_one_interval_has_one_spelling(written, recorded):
    assert read_interval(written) == recorded == read_interval(recorded)


@pytest.mark.parametrize("written", ["", "ep", "0ep", "0.0 steps", "-1ep", "1e-3ep", "2.5 steps"])
@pytest.mark.parametrize("more", ["", "x"])
def test_what_is_no_interval_is_named_with_the_choices(written, more):
    with pytest.raises(DataError, match=r"1ep or 0.25ep, or steps, such as '50 steps'"):
        read_interval(written + more)


@pytest.mark.parametrize("value", [50, 0.25, None, True, ["1ep"]])
def test_an_interval_without_a_unit_is_refused(value):
    with pytest.raises(DataError, match="no time between two evaluations"):
        read_interval(value)


def test_only_what_is_not_usual_is_recorded():
    assert EvaluationPlan().content() == EvaluationPlan("0.25ep", None, None).content() == {}
    plan = EvaluationPlan("1ep", 512, 2000)
    assert plan.content() == {"every": "1ep", "batch": 512, "samples": 2000}
    assert plan.describe() == ["evaluated every 1ep", "curve on 2,000 images", "scored by 512"]
