"""The verdicts on the parent run in MLflow: a word as a tag, numbers once they stand."""

from dataclasses import replace

import pytest

from tracking.compare.compare import compare
from tracking.mlflow_store.parents import study_record
from tracking.questions.analysis import Analysis, Question
from tracking.questions.interim import Looks

QUESTION = Question("thermolion", "adamw")
A = [0.9120, 0.9085, 0.9140, 0.9105, 0.9130, 0.9125]
B = [0.9070, 0.9060, 0.9095, 0.9090, 0.9065, 0.9080]
KEY = "final_test_accuracy/thermolion vs adamw"


@pytest.fixture
def ended(arms):
    return [
        replace(one, started_ms=1, ended_ms=1000 + one.trial.block) for one in arms("digits", A, B)
    ]


def declare(outcomes):
    """Return the analysis that was frozen before these trials."""
    content = {
        kind: {one.name: one.key for one in (getattr(o.trial, kind) for o in outcomes)}
        for kind in ("workload", "candidate")
    }
    blocks = tuple(sorted({one.trial.block for one in outcomes}))
    return Analysis((QUESTION,), content["workload"], content["candidate"], blocks)


def points(record):
    return {
        (one.key.partition("/")[0], one.step): (one.value, one.time_ms)
        for one in record.metrics
        if one.key.endswith(KEY) and not one.key.startswith("final")
    }


def test_the_parent_has_difference_interval_and_adjusted_p_of_a_finished_study(ended):
    found = compare("s", ended, [QUESTION], analysis=declare(ended))
    record = study_record(ended, "s", None, found)
    one = found.pooled[0]
    assert points(record) == {
        ("difference", 6): (one.estimate.mean, 1005),
        ("difference_low", 6): (one.estimate.low, 1005),
        ("difference_high", 6): (one.estimate.high, 1005),
        ("p_adjusted", 6): (one.p_adjusted, 1005),
    }
    assert record.tags[f"thermolion.verdict/{KEY}"] == one.verdict == "better"
    assert not points(study_record(ended, "s", None))


def test_an_interim_answer_is_a_tag_and_no_number(ended):
    begun = [replace(ended[5], state="running", ended_ms=None, metrics={})]
    outcomes = [*ended[:5], *begun, *ended[6:]]
    found = compare("s", outcomes, [QUESTION], analysis=declare(ended))
    record = study_record(outcomes, "s", None, found)
    assert record.tags[f"thermolion.verdict/{KEY}"] == "no verdict yet: 11 of 12 trials are in"
    assert not points(record)


def test_words_without_a_frozen_analysis_are_called_exploratory(ended):
    record = study_record(ended, "s", None, compare("s", ended, [QUESTION]))
    assert record.tags[f"thermolion.verdict/{KEY}"] == "better (exploratory)"


def test_the_numbers_of_a_look_stay_when_the_next_one_is_complete(ended):
    at = [
        study_record(
            ended,
            "s",
            None,
            compare(
                "s", ended, [QUESTION], analysis=declare(ended), looks=Looks((3, 6), complete=k)
            ),
        )
        for k in (0, 1, 2)
    ]
    found = [points(record) for record in at]
    assert found[0] == {}
    assert set(found[1]) == {("difference", 3)}  # three seeds are too few for a word
    assert found[1].items() < found[2].items()
    assert {name for name, step in found[2] if step == 6} == {
        "difference",
        "difference_low",
        "difference_high",
        "p_adjusted",
    }
    assert at[0].tags[f"thermolion.verdict/{KEY}"] == "no verdict yet: 6 of 6 trials are in"
    assert at[1].tags[f"thermolion.verdict/{KEY}"] == "undecided (too few seeds) (interim)"
    assert at[2].tags[f"thermolion.verdict/{KEY}"] == "better"
