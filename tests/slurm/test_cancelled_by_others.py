"""What somebody else has cancelled stays so until a person says otherwise: it is no preemption.

To be somebody else needs root: the tests that do so are skipped without.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from foreign_user import scancel_as_operator
from processes import wait_for
from slurm_lab import Lab
from slurm_trainings import WAITS, odd

from orchestrator.backends.records import read_submissions
from slurm.devcluster.cluster import Cluster
from tracking.outcomes import read_outcomes

UNATTENDED = "failures: {unattended: true}\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def accounted(limited: Cluster, warm: str, tmp_path: Path) -> Lab:
    return Lab(limited, tmp_path, warm)


def _scancel_as_operator(lab: Lab, *jobs: str) -> None:
    assert scancel_as_operator(lab, *jobs)


def _jobs(lab: Lab) -> list[str]:
    return lab.cluster.ask("squeue", "-h", "-r", "-o", "%F_%K").split()


def _trial(lab: Lab) -> dict[str, Any]:
    (trial,) = json.loads(lab.call("status", "odd", "--json").out)["trials"]
    return dict(trial)


def _await_held(lab: Lab) -> None:
    """Wait until nothing is in the queue, the small job that looks after the study included."""
    wait_for(lambda: not _jobs(lab), 60)
    assert len(read_submissions(lab.layout("odd"))) == 1


@needs_root
@pytest.mark.parametrize("verb", ["submit", "release"])
def test_an_unattended_study_that_an_operator_has_cancelled_waits_for_a_person(accounted, verb):
    sweep, go = odd(accounted, WAITS, UNATTENDED)
    assert accounted.call("submit", sweep, "--site", accounted.site(account="lab")).code == 0
    accounted.await_running("odd", 1)
    (job,) = (job for job in _jobs(accounted) if not job.endswith("_N/A"))
    _scancel_as_operator(accounted, job)
    _await_held(accounted)
    trial = _trial(accounted)
    assert (trial["class"], trial["state"]) == ("CANCELLED", "interrupted")
    assert trial["why"] == "its job was cancelled by daemon (user 1)"
    assert trial["next"] == "held until `thermolion submit` or `thermolion release`"
    said = accounted.call("status", "odd").out
    assert "1 ended by CANCELLED on n1 (a)" in said
    assert "its job was cancelled by daemon (user 1); held until `thermolion submit`" in said
    go.touch()
    assert accounted.call(verb, "odd").code == 0
    accounted.await_results("odd", 1)
    (outcome,) = read_outcomes(accounted.layout("odd").events).values()
    assert [attempt.end for attempt in outcome.attempt_log] == ["interrupted", "completed"]
    assert len(read_submissions(accounted.layout("odd"))) == 2


def test_what_its_own_user_has_cancelled_goes_on_by_itself_if_it_is_unattended(accounted):
    sweep, go = odd(accounted, WAITS, UNATTENDED)
    assert accounted.call("submit", sweep, "--site", accounted.site(account="lab")).code == 0
    accounted.await_running("odd", 1)
    go.touch()
    (job,) = (job for job in _jobs(accounted) if not job.endswith("_N/A"))
    accounted.cluster.ask("scancel", job)
    accounted.await_results("odd", 1)


REST = """\
study: odd
workloads: [{name: mine, train: "odd:train", metric: loss, steps: 9}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 4
backend: slurm
pack: {at_least: 0s}
"""


@needs_root
def test_what_is_not_sent_yet_stays_so_if_an_operator_has_cancelled_the_first(accounted):
    _, go = odd(accounted, WAITS)
    sweep = accounted.write(REST, "odd.yaml")
    site = accounted.site(account="lab", limits={"submit": 3})
    assert accounted.call("submit", sweep, "--site", site).code == 0
    accounted.await_running("odd", 2)
    _scancel_as_operator(accounted, *(job for job in _jobs(accounted) if "N/A" not in job))
    _await_held(accounted)
    said = json.loads(accounted.call("status", "odd", "--json").out)
    assert "2 jobs are held back: thermolion release odd" in said["notes"]
    go.touch()
    assert accounted.call("release", "odd").code == 0
    accounted.await_results("odd", 4)
    attempts = [o.attempts for o in read_outcomes(accounted.layout("odd").events).values()]
    assert sorted(attempts) == [1, 1, 2, 2]
