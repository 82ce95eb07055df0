"""Attempts that overlap, results taken back, lanes that held: from logs that writers wrote."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.contract import events
from jobs.contract.events import EventLog
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import UserWorkload
from tracking.outcomes import read_holds, read_outcomes

WORKLOAD = UserWorkload(name="mine", train="lab:train", steps=4)


def make_trial(block: int = 0) -> Trial:
    candidate = Candidate("c", "adamw", {"lr": 1e-3})
    return Trial(WORKLOAD, candidate, "compare", block, block_seeds(0, "compare", WORKLOAD, block))


class Lane:
    """Writes one log; every line is a millisecond later than the one before it, in any log."""

    def __init__(self, folder: Path, clock: list[int], number: int) -> None:
        self._clock = clock
        self.log = EventLog(folder / f"000{number}-0-0-0.jsonl", attempt=0, free_bytes=0)
        self._write(
            events.OPENED, None, submission=f"000{number}", host=f"host{number}", code="c0de"
        )

    def _write(self, event_type: str, trial: Trial | None, **payload) -> None:
        self._clock[0] += 1
        ns = self._clock[0] * 1_000_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events.time, "time_ns", lambda: ns)
            self.log.append(event_type, trial and trial.id, **payload)

    def start(self, trial: Trial, generation: int | None = None, token: str = "t") -> "Lane":
        order = {} if generation is None else {"generation": generation}
        self._write(events.STARTED, trial, token=token, config=trial.to_json(), **order)
        return self

    def evaluate(self, trial: Trial, step: int, **metrics: float) -> "Lane":
        self._write(events.EVALUATED, trial, step=step, train_seconds=1.0, metrics=metrics)
        return self

    def end(self, trial: Trial, event_type: str, **payload) -> "Lane":
        self._write(event_type, trial, **payload)
        return self

    def hold(self, **payload) -> "Lane":
        self._write(events.HELD, None, **payload)
        return self


@pytest.fixture
def lane(tmp_path):
    clock, made = [1_700_000_000_000], []

    def make() -> Lane:
        made.append(Lane(tmp_path, clock, len(made) + 1))
        return made[-1]

    return make


@pytest.mark.parametrize("late", [events.FAILED, events.INTERRUPTED])
def test_the_late_end_of_a_superseded_attempt_changes_no_state(lane, tmp_path, late):
    trial = make_trial()
    old, new = lane().start(trial, 0), lane().start(trial, 1)
    old.end(trial, late, error="too late", step=3)
    outcome = read_outcomes(tmp_path)[trial.id]
    assert (outcome.state, outcome.error, outcome.job["host"]) == ("running", None, "host2")
    assert outcome.attempts == 2
    new.end(trial, events.INTERRUPTED, error="SIGTERM", step=2)
    outcome = read_outcomes(tmp_path)[trial.id]
    assert (outcome.state, outcome.error) == ("interrupted", "SIGTERM")


def test_of_two_attempts_of_one_generation_the_greater_token_is_newer(lane, tmp_path):
    trial = make_trial()
    winner = lane().start(trial, 1, "zz")
    loser = lane().start(trial, 1, "aa")
    assert read_outcomes(tmp_path)[trial.id].job["host"] == "host1"
    loser.end(trial, events.FAILED, error="E: x")
    assert read_outcomes(tmp_path)[trial.id].state == "running"
    winner.end(trial, events.FAILED, error="E: y", kind="E")
    assert read_outcomes(tmp_path)[trial.id].error == "E: y"


def test_without_generations_the_one_that_came_later_is_newer(lane, tmp_path):
    trial = make_trial()
    old = lane().start(trial, token="zz")
    lane().start(trial, token="aa")
    old.end(trial, events.INTERRUPTED, error="late")
    assert read_outcomes(tmp_path)[trial.id].state == "running"


def test_a_result_counts_whoever_has_it_and_the_first_one_wins(lane, tmp_path):
    trial = make_trial()
    old, new = lane().start(trial, 0), lane().start(trial, 1)
    old.end(trial, events.COMPLETED, step=4, train_seconds=1.0, metrics={"acc": 0.5})
    new.end(trial, events.COMPLETED, step=4, train_seconds=1.0, metrics={"acc": 0.6})
    outcome = read_outcomes(tmp_path)[trial.id]
    assert (outcome.metrics, outcome.job["host"]) == ({"acc": 0.5}, "host1")
    assert outcome.started["generation"] == 0
    assert [one.end for one in outcome.attempt_log] == ["completed", "completed"]


def test_a_trial_that_failed_before_its_start_has_failed_though_its_lane_ran_another(
    lane, tmp_path
):
    first, second = make_trial(0), make_trial(1)
    lane().start(first, 0).end(first, events.COMPLETED, metrics={}).end(
        second, events.FAILED, error="OSError: no data", config=second.to_json()
    )
    outcomes = read_outcomes(tmp_path)
    assert outcomes[first.id].state == "completed"
    assert (outcomes[second.id].state, outcomes[second.id].attempts) == ("failed", 1)
    assert outcomes[second.id].kind == "OSError"


def test_the_class_of_a_failure_is_as_logged_or_else_what_the_error_begins_with(lane, tmp_path):
    named, guessed, running = (make_trial(block) for block in range(3))
    lane().start(named).end(named, events.FAILED, error="exit code 3", kind="ExitCode").start(
        guessed
    ).end(guessed, events.FAILED, error="KeyError: 'x'").start(running)
    outcomes = read_outcomes(tmp_path)
    kinds = [outcomes[trial.id].kind for trial in (named, guessed, running)]
    assert kinds == ["ExitCode", "KeyError", None]


def test_every_attempt_is_told_with_its_log_its_place_and_its_end(lane, tmp_path):
    trial = make_trial()
    lane().start(trial, 0, "a").evaluate(trial, 2, acc=0.1)
    lane().start(trial, 1, "b").end(trial, events.INTERRUPTED, step=3, error="SIGTERM")
    lane().start(trial, 2, "c").evaluate(trial, 1, acc=0.1)
    attempts = read_outcomes(tmp_path)[trial.id].attempt_log
    assert [(one.log, one.host, one.end, one.step, one.token) for one in attempts] == [
        ("0001-0-0-0.jsonl", "host1", None, 2, "a"),
        ("0002-0-0-0.jsonl", "host2", "interrupted", 3, "b"),
        ("0003-0-0-0.jsonl", "host3", "running", 1, "c"),
    ]
    assert attempts[0].started_ms < attempts[1].started_ms < attempts[1].ended_ms
    assert [one.generation for one in attempts] == [0, 1, 2]


def test_a_point_without_epoch_and_samples_is_read(lane, tmp_path):
    trial = make_trial()
    lane().start(trial, 0).evaluate(trial, 3, acc=0.4).evaluate(trial, 3, loss=2.0)
    (point,) = read_outcomes(tmp_path)[trial.id].curve
    assert (point.step, point.epoch, point.samples) == (3, None, None)
    assert point.metrics == {"acc": 0.4, "loss": 2.0}


def test_a_step_taken_twice_is_flagged_only_if_a_metric_has_two_values(lane, tmp_path):
    same, other = make_trial(0), make_trial(1)
    lane().start(same, 0).evaluate(same, 2, loss=math.nan).start(other, 0).evaluate(
        other, 2, loss=2.0
    )
    again = lane().start(same, 1).evaluate(same, 2, loss=math.nan, grad_norm=math.nan)
    again.start(other, 1).evaluate(other, 2, loss=math.nan)
    outcomes = read_outcomes(tmp_path)
    assert [outcomes[one.id].nondeterministic for one in (same, other)] == [False, True]
    assert outcomes[same.id].curve[0].metrics.keys() == {"loss", "grad_norm"}


def test_what_a_log_says_of_a_trial_can_be_taken_back(lane, tmp_path):
    again, kept = make_trial(0), make_trial(1)
    old = lane()
    for trial in (again, kept):
        old.start(trial, 0).evaluate(trial, 4, acc=0.5)
        old.end(trial, events.COMPLETED, metrics={"acc": 0.5})
    discarded = {again.id: frozenset({"0001-0-0-0.jsonl"})}
    outcomes = read_outcomes(tmp_path, [again, kept], discarded)
    assert (outcomes[again.id].state, outcomes[again.id].curve) == ("waiting", ())
    assert outcomes[kept.id].state == "completed"
    lane().start(again, 1).evaluate(again, 4, acc=0.7).end(
        again, events.COMPLETED, metrics={"acc": 0.7}
    )
    outcome = read_outcomes(tmp_path, [again, kept], discarded)[again.id]
    assert (outcome.metrics, outcome.attempts) == ({"acc": 0.7}, 1)
    assert not outcome.nondeterministic
    assert read_outcomes(tmp_path, [again, kept])[again.id].metrics == {"acc": 0.5}


def test_a_second_look_sees_what_was_appended_and_what_was_cut_off(lane, tmp_path):
    trial = make_trial()
    writer = lane().start(trial, 0)
    whole = writer.log.path.read_bytes()
    assert read_outcomes(tmp_path)[trial.id].state == "running"
    writer.end(trial, events.COMPLETED, metrics={})
    assert read_outcomes(tmp_path)[trial.id].state == "completed"
    os.truncate(writer.log.path, len(whole))
    assert read_outcomes(tmp_path)[trial.id].state == "running"


def test_a_look_takes_the_labels_of_its_own_plan(lane, tmp_path):
    trial = make_trial()
    lane().start(trial, 0)
    renamed = replace(trial, candidate=replace(trial.candidate, name="ours"))
    assert read_outcomes(tmp_path, [trial])[trial.id].trial.candidate.name == "c"
    assert read_outcomes(tmp_path, [renamed])[trial.id].trial.candidate.name == "ours"


def test_what_lanes_held_is_told_oldest_first(lane, tmp_path):
    trial = make_trial()
    first, second = lane(), lane()
    why = {"reason": "failed alike", "error": "KeyError: 'x'", "traceback": "Traceback"}
    second.hold(trials=[trial.id], failures=3, **why)
    first.hold(trials=[trial.id], **why)
    holds = read_holds(tmp_path)
    assert [one.submission for one in holds] == ["0002", "0001"]
    assert (holds[0].reason, holds[0].error) == ("failed alike", "KeyError: 'x'")
    assert holds[0].trials == (trial.id,)
    assert read_outcomes(tmp_path) == {}
