"""Trials of several ranks that fail or end early: what the other ranks do."""

import dataclasses
import signal
import time

import pytest
from rank_lanes import Study, ended
from rank_trials import LAB, LONG, PLAIN, started, trial

from jobs.lane import EXIT_GPU_FAULT, EXIT_INTERRUPTED
from jobs.ranks.ending import RANK_DIED
from jobs.ranks.rendezvous import call_off
from tracking.outcomes import read_outcomes


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A module of the user's, found by every rank."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "my_lab.py").write_text(LAB)
    monkeypatch.setenv("LAB_FOLDER", str(folder))
    return folder


@pytest.mark.parametrize("victim", [0, 1])
def test_ranks_leave_at_once_when_one_is_killed(tmp_path, victim):
    study = Study(tmp_path, trial(3, LONG))
    processes = started(study)
    processes[victim].kill()
    begin = time.monotonic()
    codes = [code for code, _ in ended(processes)]
    assert time.monotonic() - begin < 60  # and not the half hour that a rank may be silent
    assert codes == [-signal.SIGKILL if r == victim else EXIT_INTERRUPTED for r in range(3)]
    (outcome,) = study.outcomes()
    if victim:
        assert (outcome.state, outcome.kind) == ("interrupted", RANK_DIED)
        assert outcome.error == "rank 1 died"
    else:
        assert outcome.state == "running"  # nobody was left to say more: the status calls it lost


def test_a_rank_that_hangs_is_given_up(tmp_path):
    study = Study(tmp_path, trial(2, LONG))
    processes = started(study, silence_s=3)
    processes[1].send_signal(signal.SIGSTOP)
    ((code, _),) = ended(processes[:1])
    assert code == EXIT_INTERRUPTED
    assert study.outcomes()[0].error == "rank 1 died"
    processes[1].kill()
    ended(processes[1:])


def test_a_signal_to_one_rank_stops_all_at_one_step(tmp_path):
    study = Study(tmp_path, trial(2, LONG))
    processes = started(study)
    processes[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(processes)] == [EXIT_INTERRUPTED] * 2
    (outcome,) = study.outcomes()
    assert (outcome.state, outcome.error) == ("interrupted", "stopped by SIGTERM")
    assert study.layout.checkpoint(outcome.trial.id).exists()


def test_trials_that_fail_on_several_ranks_do_not_affect_the_next(tmp_path, lab):
    bad = [
        trial(2, PLAIN, "my_lab:Raises", lr=0.1),
        trial(2, PLAIN, "my_lab:Strays", lr=0.1),
        trial(2, PLAIN, "sgd", lr=1e30),
        trial(2, dataclasses.replace(PLAIN, dataset="mnist", dataset_options={})),
    ]
    statistics = dataclasses.replace(PLAIN, model="my_lab:net", model_options={}, epochs=1)
    study = Study(tmp_path / "s", *bad, trial(2, statistics), code_root=lab)
    assert study.run() == [0, 0]
    raises, strays, diverged, absent, good = study.outcomes()
    assert (raises.state, raises.error) == ("failed", "rank 1: ValueError: no such luck")
    assert raises.kind == "ValueError"
    assert "my_lab.py" in raises.traceback
    assert (strays.state, strays.kind) == ("failed", "ReplicasDiffer")
    assert diverged.state == "diverged"
    assert absent.state == "failed"
    assert "'mnist'" in absent.error
    assert good.state == "completed", good.traceback


def test_the_rank_whose_gpu_breaks_says_so_and_no_other_trial_begins_there(tmp_path, lab):
    broken = trial(2, PLAIN, "my_lab:Breaks", lr=0.1)
    study = Study(tmp_path / "s", broken, trial(2), code_root=lab)
    assert study.run() == [EXIT_INTERRUPTED, EXIT_GPU_FAULT]
    (outcome,) = read_outcomes(study.layout.events).values()
    assert outcome.trial.id == broken.id
    assert outcome.state == "failed"
    assert outcome.error == "rank 1: RuntimeError: CUDA error: uncorrectable ECC error encountered"


def test_a_trial_at_chance_keeps_its_test_scores_whichever_rank_ends_first(tmp_path, lab):
    late = dataclasses.replace(PLAIN, model="my_lab:late", model_options={}, epochs=1)
    learns_nothing = trial(2, late, "sgd", lr=0.0)
    study = Study(tmp_path / "s", learns_nothing, code_root=lab)
    assert study.run() == [0, 0]
    (outcome,) = study.outcomes()
    assert outcome.state == "completed"
    assert "at the end, chance is" in outcome.at_chance
    assert set(outcome.metrics) == {"test_accuracy", "test_loss"}
    assert outcome.weights is not None


def test_ranks_that_do_not_come_are_named_with_host_and_port(tmp_path):
    study = Study(tmp_path, trial(3))
    ((code, printed),) = ended(study.start(ranks=[0], timeout_s=1))
    assert code == 1
    assert "rank 0 has waited at 127.0.0.1:" in printed
    assert "ranks 1, 2 of 3 did not come" in printed
    ((code, printed),) = ended(study.start(ranks=[2], timeout_s=1))
    assert code == 1
    assert "rank 2 has waited 1 s for " in printed
    assert not read_outcomes(study.layout.events)


def test_ranks_leave_at_once_if_the_first_one_does_not_come(tmp_path):
    study = Study(tmp_path, trial(2))
    call_off(tmp_path / "study" / "1.meet", "no GPU there")
    ((code, printed),) = ended(study.start(ranks=[1]))
    assert code == 1
    assert "rank 0 does not come: no GPU there" in printed
