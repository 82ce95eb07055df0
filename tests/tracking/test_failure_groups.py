"""Failures grouped by cause, with known answers."""

from dataclasses import replace

from jobs.contract.failures import find_cause
from tracking.failure_groups import group_failures

TRACEBACK = """Traceback (most recent call last):
  File "{root}/jobs/lane.py", line 98, in _attempt
    metrics = train(trial, context)
  File "{root}/code/train.py", line {line}, in train
    raise ValueError({number})
ValueError: {number}
"""


def signature(outcome):
    return find_cause(outcome.kind, outcome.error, outcome.traceback)


def failed(outcome, candidate="adamw", workload="digits", block=0, root="/a", line=12, number=1):
    text = TRACEBACK.format(root=root, line=line, number=number)
    made = outcome(candidate, workload, block, state="failed", error=f"ValueError: {number}")
    return replace(made, kind="ValueError", traceback=text)


def without_traceback(outcome, error, kind="ExitCode"):
    return replace(outcome(state="failed", error=error), kind=kind)


def test_failures_of_one_place_are_one_group_whatever_they_say_and_wherever_it_lies(outcome):
    trials = [
        failed(outcome, "adamw", "digits", 0, root="/a", number=1),
        failed(outcome, "lion", "digits", 0, root="/b/submissions/0002", number=2),
        failed(outcome, "adamw", "mnist", 0, line=40),
        failed(outcome, "adamw", "mnist", 1, number=3),
        outcome("lion", "mnist", 0),
    ]
    first, second = group_failures(trials)
    assert (first.kind, first.count, first.error) == ("ValueError", 3, "ValueError: 1")
    assert first.example is trials[0]
    assert first.candidates == ("adamw", "lion")
    assert first.workloads == ("digits", "mnist")
    assert (second.count, second.example) == (1, trials[2])


def test_the_most_frequent_cause_comes_first(outcome):
    trials = [failed(outcome, line=1), *(failed(outcome, block=b, line=2) for b in range(3))]
    assert [one.count for one in group_failures(trials)] == [3, 1]


def test_another_class_at_the_same_place_is_another_cause(outcome):
    one = failed(outcome)
    assert signature(one) == "ValueError at train.py:12"
    assert signature(replace(one, kind="KeyError")) != signature(one)


def test_without_a_traceback_numbers_addresses_and_paths_make_no_difference(outcome):
    one, other, third = (
        without_traceback(outcome, error)
        for error in (
            "exit code 1 of /scratch/ann/0001/run.sh, at 0x7f3a, of 0123abcdef",
            "exit code 2 of /scratch/bob/run.sh, at 0x11ff, of fedcba98765",
            "killed",
        )
    )
    assert signature(one) == signature(other) != signature(third)


def test_without_a_failure_there_is_no_group(outcome):
    assert (
        group_failures([outcome(), outcome(block=1, state="diverged"), outcome(state="running")])
        == []
    )
