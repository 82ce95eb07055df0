"""What an edit does to what is recorded: known cases, and through the user's door."""

from dataclasses import replace

import pytest

from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from orchestrator.progress.sweep_diff import compare_plans
from tracking.logs import Point
from tracking.outcomes import Outcome, read_outcomes

DIGITS = ImageWorkload("digits", "digits", "mlp", 4, 32)
USPS = ImageWorkload("usps", "usps", "mlp", 4, 32)


def _candidate(name, lr=0.001, **more):
    return Candidate(name, "adamw", {"lr": lr}, **more)


def _plan(workloads=(DIGITS,), candidates=("a", "b"), blocks=2, root_seed=0, **more):
    named = [_candidate(c) if isinstance(c, str) else c for c in candidates]
    named = [replace(c, replica=ord(c.name[0])) for c in named]
    return [
        Trial(w, c, "compare", block, block_seeds(root_seed, "compare", w, block), **more)
        for w in workloads
        for c in named
        for block in range(blocks)
    ]


def _done(trials, state="completed"):
    return {trial.id: Outcome(trial, state=state) for trial in trials}


@pytest.mark.parametrize(
    "grown",
    [
        {"blocks": 5},
        {"candidates": ("a", "b", "c")},
        {"workloads": (DIGITS, USPS)},
        {"workloads": (USPS, DIGITS), "candidates": ("c", "b", "a"), "blocks": 3},
    ],
)
def test_additions_leave_everything_where_it_is(grown):
    old, new = _plan(), _plan(**grown)
    change = compare_plans(old, new, _done(old))
    assert len(change.added) == len(new) - len(old)
    assert (change.removed, change.orphaned, change.edits) == ((), (), ())


def test_renaming_is_no_change():
    old = _plan()
    new = [
        replace(
            trial,
            workload=replace(trial.workload, name="handwriting"),
            candidate=replace(trial.candidate, name=f"our {trial.candidate.name}"),
        )
        for trial in old
    ]
    change = compare_plans(old, new, _done(old))
    assert (change.added, change.removed, change.orphaned) == ((), (), ())


def test_names_that_are_swapped_are_no_change():
    swapped = {"a": "b", "b": "a"}
    old = _plan()
    new = [
        replace(trial, candidate=replace(trial.candidate, name=swapped[trial.candidate.name]))
        for trial in old
    ]
    change = compare_plans(old, new, _done(old))
    assert (change.added, change.removed, change.orphaned) == ((), (), ())


def test_a_removal_says_how_many_results_it_hides():
    old = _plan()
    change = compare_plans(old, _plan(candidates=("a",)), _done(old[:3]))
    assert len(change.removed) == 2
    assert change.hidden == 1
    assert change.orphaned == ()
    assert "2 recorded trials (1 with results)" in change.removal()


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ({"candidates": (_candidate("a", 0.1), "b")}, "candidates.a.lr: 0.001 -> 0.1 (2 trials"),
        (
            {"workloads": (replace(DIGITS, epochs=8),)},
            "workloads.digits.epochs: 4 -> 8 (4 trials",
        ),
        (
            {"workloads": (replace(DIGITS, model_options={"hidden": [8]}),)},
            "workloads.digits.model_options.hidden: (none) -> [8] (4 trials",
        ),
        ({"threads": 2}, "resources.cpus_per_task: 1 -> 2 (4 trials"),
        ({"precision": "bf16"}, "workloads.digits.precision: fp32 -> bf16 (4 trials"),
    ],
)
def test_an_edit_that_leaves_results_behind_is_named_by_its_key(edited, expected):
    old, new = _plan(), _plan(**edited)
    change = compare_plans(old, new, _done(old))
    assert [str(edit) for edit in change.edits] == [f"{expected} with results)"]
    assert (change.added, change.removed) == ((), ())
    for words in (expected, "--accept-change", "new `study:` name"):
        assert words in change.refusal("s")


def test_another_root_seed_is_named_and_nothing_else():
    old, new = _plan(root_seed=0), _plan(root_seed=7)
    change = compare_plans(old, new, _done(old), root_seeds=(0, 7))
    assert [str(edit) for edit in change.edits] == ["root_seed: 0 -> 7 (4 trials with results)"]


def test_nothing_is_left_behind_where_nothing_was_measured():
    old, new = _plan(), _plan(candidates=(_candidate("a", 0.1), "b"))
    waiting, failed = _done(old, "waiting"), _done(old, "failed")
    for outcomes in ({}, waiting, failed):
        assert compare_plans(old, new, outcomes).orphaned == ()
    first, point = (Point(step, 0.0, 0, 0.0, 0, {"val_accuracy": 0.1}) for step in (0, 1))
    begun = {i: replace(o, state="failed", curve=(first,)) for i, o in waiting.items()}
    assert compare_plans(old, new, begun).orphaned == ()
    halfway = {i: replace(o, state="interrupted", curve=(point,)) for i, o in waiting.items()}
    assert len(compare_plans(old, new, halfway).orphaned) == 2


def test_a_study_grows_by_seeds_candidates_and_workloads_and_runs_only_what_is_new(
    thermolion, small, layout
):
    assert thermolion("run", small).code == 0
    grown = ["--set", "seeds=3", "--set", "candidates.sgd={lr: 0.1}"]
    grown += ["--set", "workloads.1={dataset: digits, name: short, epochs: 2}"]
    small.write_text(small.read_text().replace("[{dataset: digits}]", "[{dataset: digits}, {}]"))
    plan = thermolion("plan", small, *grown)
    assert "18 = 2 x 3 x 3 (workloads x candidates x seeds), 14 new" in plan.out, plan.err
    said = thermolion("run", small, *grown)
    assert said.code == 0, said.err
    assert "14 of 18 trials to run" in said.err
    assert said.err.count("note: ") == 1  # nothing is lost: only what comes late explores
    assert "note: for exploration only: seeds 2; workload short; sgd vs adamw" in said.err
    outcomes = read_outcomes(layout.events)
    assert len(outcomes) == 18
    assert {outcome.attempts for outcome in outcomes.values()} == {1}


def test_removing_a_candidate_is_said_and_hides_its_results(thermolion, small, layout):
    assert thermolion("run", small).code == 0
    small.write_text(small.read_text().replace("  thermolion: {}\n", "  sgd: {lr: 0.1}\n"))
    said = thermolion("run", small)
    assert said.code == 0, said.err
    assert "2 recorded trials (2 with results) no longer asked for" in said.err
    assert "2 of 4 trials to run" in said.err
    assert "thermolion vs adamw:" not in said.out
    assert "Deviation: candidate thermolion was removed" in said.out
    assert "thermolion vs adamw is not asked any more: it stays in the family" in said.out
    assert len(read_outcomes(layout.events)) == 6


def test_removing_what_is_with_a_living_job_offers_to_cancel(thermolion, small):
    longer = ["--set", "workloads.0.epochs=2000"]
    thermolion("submit", small, *longer)
    small.write_text(small.read_text().replace("seeds: 2", "seeds: 1"))
    said = thermolion("submit", small, *longer)
    assert said.code == 0
    assert "2 recorded trials no longer asked for" in said.err
    assert "2 trials that this sweep does not ask for are still with living jobs" in said.err
    assert "thermolion cancel small" in said.err
    thermolion("cancel", "small")


def test_an_edit_that_would_leave_results_behind_is_refused_until_it_is_accepted(
    thermolion, small, layout
):
    assert thermolion("run", small).code == 0
    recorded = layout.sweep.read_bytes()
    edit = ["--set", "candidates.adamw.lr=0.02"]
    key = "candidates.adamw.lr: 0.01 -> 0.02 (2 trials with results)"
    plan = thermolion("plan", small, *edit)
    assert plan.code == 0
    assert key in plan.out
    for verb in ("submit", "run", "retry"):
        said = thermolion(verb, small, *edit)
        assert said.code == 2
        for words in (key, "`study:`", "--accept-change"):
            assert words in said.err
    assert layout.sweep.read_bytes() == recorded
    assert len(list(layout.submissions.iterdir())) == 1

    accepted = thermolion("run", small, *edit, "--accept-change")
    assert accepted.code == 0, accepted.err
    assert len(read_outcomes(layout.events)) == 6
    assert "2 recorded trials are not in this sweep" in thermolion("status", "small").out
    again = thermolion("run", "small")
    assert again.code == 0, again.err
    assert "everything is done" in again.err
