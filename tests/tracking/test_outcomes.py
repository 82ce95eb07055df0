"""Outcomes from logs that real writers wrote, in every order that attempts can take."""

import math
import shutil
import time
from pathlib import Path

import pytest

from jobs.contract import events
from jobs.contract.events import EventLog, LogError
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload
from tracking.outcomes import read_outcomes

FIXTURE = Path(__file__).parents[1] / "jobs" / "contract" / "events-v1.jsonl"
WORKLOAD = ImageWorkload(name="w", dataset="digits", model="mlp", epochs=1, global_batch=64)


def _trial(block: int = 0, name: str = "c") -> Trial:
    candidate = Candidate(name, "adamw", {"lr": 1e-3})
    return Trial(WORKLOAD, candidate, "compare", block, block_seeds(0, "compare", WORKLOAD, block))


class Writer:
    """Writes the logs of attempts, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = 0

    def attempt(self, *lines: tuple) -> None:
        self._logs += 1
        log = EventLog(self._folder / f"{self._logs:04d}-0-0-0.jsonl", attempt=0)
        log.append(events.OPENED, host=f"host{self._logs}", submission=f"{self._logs:04d}", pack=0)
        for event_type, trial, payload in lines:
            log.append(event_type, trial.id, **payload)
        log.close()


@pytest.fixture
def writer(tmp_path):
    return Writer(tmp_path)


def _started(trial: Trial) -> tuple:
    return (events.STARTED, trial, {"config": trial.to_json(), "steps": 4, "chance": {}})


def _evaluated(trial: Trial, step: int, accuracy: float) -> tuple:
    metrics = {"val_accuracy": accuracy}
    where = {"step": step, "epoch": step / 4, "samples": 64 * step, "train_seconds": 0.1 * step}
    return (events.EVALUATED, trial, where | {"metrics": metrics})


def _completed(trial: Trial, accuracy: float = 0.9) -> tuple:
    end = {"step": 4, "train_seconds": 0.4, "metrics": {"test_accuracy": accuracy}}
    return (events.COMPLETED, trial, end)


def test_a_trial_without_events_is_waiting(tmp_path):
    trial = _trial()
    (outcome,) = read_outcomes(tmp_path / "none", [trial]).values()
    assert (outcome.state, outcome.attempts, outcome.has_result) == ("waiting", 0, False)


def test_states_follow_the_last_event(writer, tmp_path):
    running, done, bad, broken, stopped = (_trial(block) for block in range(5))
    writer.attempt(
        *(_started(running), _evaluated(running, 0, 0.1)),
        *(_started(done), _completed(done)),
        *(_started(bad), (events.DIVERGED, bad, {"step": 1, "metrics": {}, "error": "NaN"})),
        *(_started(broken), (events.FAILED, broken, {"error": "E: x", "traceback": "T"})),
        *(_started(stopped), (events.INTERRUPTED, stopped, {"step": 1, "error": "SIGTERM"})),
    )
    outcomes = read_outcomes(tmp_path)
    assert [outcomes[t.id].state for t in (running, done, bad, broken, stopped)] == [
        *("running", "completed", "diverged", "failed", "interrupted")
    ]
    assert outcomes[done.id].metrics == {"test_accuracy": 0.9}
    assert outcomes[done.id].train_seconds == 0.4
    assert outcomes[done.id].ended_ms >= outcomes[done.id].started_ms
    assert (outcomes[broken.id].error, outcomes[broken.id].traceback) == ("E: x", "T")
    assert outcomes[running.id].job["host"] == "host1"
    assert "config" not in outcomes[running.id].started


def test_a_recorded_divergence_of_a_finite_loss_reads_as_completed_at_chance(writer, tmp_path):
    """Early versions called a model that had learnt nothing diverged."""
    idle, lost = _trial(0), _trial(1)
    why = "val_accuracy 0.050 at the end, chance is 0.056"
    end = {"step": 4, "metrics": {"test_accuracy": 0.06}, "error": why}
    writer.attempt(
        *(_started(idle), _evaluated(idle, 4, 0.05), (events.DIVERGED, idle, end)),
        *(_started(lost), (events.DIVERGED, lost, {"step": 1, "error": "train_loss is nan"})),
    )
    outcomes = read_outcomes(tmp_path)
    found = outcomes[idle.id]
    assert (found.state, found.at_chance, found.error) == ("completed", why, None)
    assert found.metrics == {"test_accuracy": 0.06}
    assert (found.attempt_log[0].end, found.attempt_log[0].error) == ("completed", None)
    assert (outcomes[lost.id].state, outcomes[lost.id].at_chance) == ("diverged", None)


def test_a_resumed_trial_doubles_no_step_and_keeps_the_first_time(writer, tmp_path):
    trial = _trial()
    writer.attempt(_started(trial), _evaluated(trial, 0, 0.1), _evaluated(trial, 2, 0.5))
    first = read_outcomes(tmp_path)[trial.id]
    writer.attempt(
        _started(trial),
        *(_evaluated(trial, step, accuracy) for step, accuracy in ((0, 0.1), (2, 0.5), (4, 0.8))),
        _completed(trial),
    )
    second = read_outcomes(tmp_path)[trial.id]
    assert [point.step for point in second.curve] == [0, 2, 4]
    assert second.curve[:2] == first.curve
    assert (second.attempts, second.nondeterministic) == (2, False)
    assert second.started_ms == first.started_ms
    assert second.job["host"] == "host2"


def test_a_later_unequal_value_flags_the_trial_and_the_first_counts(writer, tmp_path):
    trial = _trial()
    writer.attempt(_started(trial), _evaluated(trial, 2, 0.5))
    writer.attempt(_started(trial), _evaluated(trial, 2, 0.6), _completed(trial))
    outcome = read_outcomes(tmp_path)[trial.id]
    assert outcome.nondeterministic
    assert outcome.curve[0].metrics == {"val_accuracy": 0.5}


def test_nan_twice_is_the_same_value(writer, tmp_path):
    trial = _trial()
    for _ in range(2):
        writer.attempt(_started(trial), _evaluated(trial, 2, math.nan))
    assert not read_outcomes(tmp_path)[trial.id].nondeterministic


def test_a_result_is_never_undone_by_a_later_attempt(writer, tmp_path):
    trial = _trial()
    writer.attempt(_started(trial), _completed(trial, 0.9))
    writer.attempt(_started(trial), (events.FAILED, trial, {"error": "late"}))
    outcome = read_outcomes(tmp_path)[trial.id]
    assert (outcome.state, outcome.error, outcome.attempts) == ("completed", None, 1)


def test_events_count_in_the_order_of_time_not_of_logs(tmp_path):
    trial = _trial()
    early, late = (EventLog(tmp_path / f"000{n}-0-0-0.jsonl", attempt=0) for n in (1, 2))
    for log in (early, late):
        log.append(events.OPENED, host=log.path.stem)
    for log, accuracy in ((late, 0.9), (early, 0.5)):  # the lane that opened first runs it last
        for event_type, of, payload in (_started(trial), _completed(trial, accuracy)):
            log.append(event_type, of.id, **payload)
            time.sleep(0.002)
        log.close()
    outcome = read_outcomes(tmp_path)[trial.id]
    assert outcome.metrics == {"test_accuracy": 0.9}
    assert outcome.job["host"] == "0002-0-0-0"


def test_a_trial_of_another_id_version_is_named_with_its_log(tmp_path):
    log = EventLog(tmp_path / "0001-0-0-0.jsonl", attempt=0)
    trial = _trial()
    log.append(events.STARTED, trial.id, config=trial.to_json() | {"id_version": 7})
    log.close()
    with pytest.raises(LogError, match=r"0001-0-0-0\.jsonl.*id version 7"):
        read_outcomes(tmp_path)


def test_a_failed_trial_that_is_sent_again_completes(writer, tmp_path):
    trial = _trial()
    failed = (events.FAILED, trial, {"error": "x", "traceback": "t", "config": trial.to_json()})
    writer.attempt(failed)
    before = read_outcomes(tmp_path)[trial.id]
    assert (before.state, before.attempts, before.job["host"]) == ("failed", 1, "host1")
    assert before.started_ms == before.ended_ms
    writer.attempt(_started(trial), _completed(trial))
    outcome = read_outcomes(tmp_path)[trial.id]
    assert (outcome.state, outcome.error, outcome.traceback) == ("completed", None, None)
    assert outcome.attempts == 2


def test_labels_come_from_the_plan_and_unplanned_trials_follow(writer, tmp_path):
    old, other = _trial(0, "old name"), _trial(1)
    writer.attempt(_started(other), _started(old))
    outcomes = read_outcomes(tmp_path, [_trial(0, "new name")])
    assert [o.trial.candidate.name for o in outcomes.values()] == ["new name", "c"]


def test_a_trial_that_was_interrupted_before_it_started_is_known_by_its_start(writer, tmp_path):
    begun, never = _trial(), _trial(block=1)
    died = {"step": 0, "error": "rank 1 died", "kind": "RankDied"}
    writer.attempt((events.INTERRUPTED, begun, died), (events.INTERRUPTED, never, died))
    writer.attempt(_started(begun), _completed(begun))
    outcomes = read_outcomes(tmp_path)
    assert {one.trial.id: one.state for one in outcomes.values()} == {begun.id: "completed"}
    assert read_outcomes(tmp_path, [begun, never])[never.id].state == "interrupted"


def test_an_empty_and_a_torn_log_are_attempts_that_said_nothing(writer, tmp_path):
    trial = _trial()
    writer.attempt(_started(trial))
    (tmp_path / "0008-0-0-0.jsonl").touch()
    (tmp_path / "0009-0-0-0.jsonl").write_text('{"v":1,"ty')
    assert read_outcomes(tmp_path)[trial.id].state == "running"


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "0001-0-0-0.jsonl").write_text("garbage\n")
    with pytest.raises(LogError, match=r"0001-0-0-0\.jsonl, line 1"):
        read_outcomes(tmp_path)


def test_the_log_of_version_1_gives_its_outcomes(tmp_path):
    shutil.copy(FIXTURE, tmp_path / "0001-0-0-0.jsonl")
    outcomes = list(read_outcomes(tmp_path).values())
    assert [o.state for o in outcomes] == ["completed", "diverged", "interrupted"]
    assert outcomes[0].metrics["test_accuracy"] == 0.91
    assert outcomes[1].curve[0].metrics["train_loss"] == math.inf
