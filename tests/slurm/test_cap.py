"""A cap of hours: what fits is sent, requeues reserve again, and at the cap the study is held."""

import json

import pytest
from processes import wait_for
from slurm_lab import FOUR, Lab
from slurm_trainings import waiting

from orchestrator.backends.records import read_submissions
from slurm.hours_cap import read_ledger
from slurm.submission import read_slurm_submissions
from tracking.outcomes import read_outcomes

TWO_MINUTES = ("--set", "resources.time=2min")


def _cap(hours: float) -> tuple[str, str]:
    return "--set", f"limits={{cpu_hours: {hours}}}"


def _site(lab: Lab, **keys: object) -> tuple[str, object]:
    return "--site", lab.site(grace="20s", **keys)


def _attempts(lab: Lab, study: str) -> list[int]:
    return [outcome.attempts for outcome in read_outcomes(lab.layout(study).events).values()]


def test_no_more_is_sent_than_fits_and_the_rest_follows_as_jobs_end_early(lab):
    sweep = lab.write(FOUR, "four.yaml")
    how = (sweep, *_site(lab, sbatch_on_nodes=False), *TWO_MINUTES, *_cap(0.08))
    assert lab.call("submit", *how).code == 0
    ours = read_slurm_submissions(lab.layout("four"))
    assert len(ours[0].unsent()) == 2  # of 2 min each, two fit into 4.8 min
    lab.await_results("four", 2)
    said = lab.call("run", *how)
    assert said.code == 0, said.err
    assert _attempts(lab, "four") == [1] * 4
    assert read_ledger(ours).open_jobs == 0
    assert 0 < read_ledger(ours).spent.cpu < 0.08


def test_the_jobs_that_send_the_rest_by_themselves_are_paid_for_too(lab):
    sweep = lab.write(FOUR, "four.yaml")
    # Ten minutes for the small job, as many for the next one that it sends, and two for a trial.
    how = (*_site(lab), *TWO_MINUTES, *_cap(0.39), "--set", "seeds=12")
    assert lab.call("submit", sweep, *how).code == 0
    ours = read_slurm_submissions(lab.layout("four"))
    assert len(ours[0].unsent()) == 6
    wait_for(lambda: _attempts(lab, "four") == [1] * 12, seconds=60)
    lab.await_results("four", 12)
    assert list((lab.layout("four").folder / "helpers").glob("*.hours"))
    assert read_ledger(ours).taken.cpu < 0.39


def test_what_fits_is_sent_though_the_job_that_would_send_the_rest_does_not_fit(lab):
    sweep = lab.write(FOUR, "four.yaml")
    how = (sweep, *_site(lab), *TWO_MINUTES, *_cap(0.1))
    assert lab.call("submit", *how).code == 0
    assert len(read_slurm_submissions(lab.layout("four"))[0].unsent()) == 1
    lab.await_results("four", 3)
    said = lab.call("status", "four").out
    assert "the study's cap of hours leaves no room for it" in said
    assert "`thermolion submit` sends them" in said
    assert lab.call("submit", *how).code == 0
    lab.await_results("four", 4)
    assert not (lab.layout("four").folder / "helpers").exists()


def test_at_the_cap_the_study_is_held_until_it_is_raised(lab):
    sweep = lab.write(FOUR, "four.yaml")
    how = (sweep, *_site(lab, sbatch_on_nodes=False), *TWO_MINUTES)
    # One fits; what it takes leaves no room for a second one.
    said = lab.call("run", *how, *_cap(0.033334))
    assert said.code == 1, said.out
    assert "trials without a result: 3" in said.err
    status = lab.call("status", "four").out
    assert "held at the cap: " in status
    assert "of 0.033334 CPU hours are spent; a job may take 0.0333 CPU hours: raise it" in status
    again = lab.call("submit", *how, *_cap(0.033334))
    assert again.code == 1
    assert again.out.startswith("held at the cap")
    assert len(read_submissions(lab.layout("four"))) == 1
    assert lab.squeue() == []
    assert lab.call("submit", *how, *_cap(1)).code == 0
    lab.await_results("four", 4)
    assert "held at the cap" not in lab.call("status", "four").out
    assert _attempts(lab, "four") == [1] * 4


def test_a_requeued_job_reserves_again_and_leaves_if_that_passes_the_cap(lab):
    waiting(lab)
    how = ("waiting.yaml", *_site(lab, sbatch_on_nodes=False), "--set", "resources.time=10min")
    assert lab.call("submit", *how, *_cap(0.3334)).code == 0  # two of ten minutes
    lab.await_running("waiting", 2)
    lab.preempt()
    reasons = ("squeue", "-h", "-r", "-o", "%r")
    wait_for(lambda: lab.cluster.ask(*reasons).split() == ["BeginTime"] * 2)
    lab.call("submit", *how, *_cap(0.3334))  # has them start now
    wait_for(lambda: lab.squeue() == [], seconds=60)
    assert set(_attempts(lab, "waiting")) == {1}
    logs = (lab.layout("waiting").submission("0001") / "output").glob("*.log")
    assert all("held at its cap of hours" in log.read_text() for log in logs)
    (lab.folder / "go").touch()
    assert lab.call("submit", *how, *_cap(1)).code == 0
    lab.await_results("waiting", 2)
    assert set(_attempts(lab, "waiting")) == {2}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--set", "resources.time=1h"), ["1 of 0.5 CPU hours", "not even one fits the cap"]),
        ((), ["limits.cpu_hours", "set resources.time"]),
    ],
)
def test_a_cap_that_no_job_can_keep_is_refused_before_anything_is_sent(lab, more, expected):
    sweep = lab.write(FOUR, "four.yaml")
    said = lab.call("submit", sweep, *_site(lab), *_cap(0.5), *more)
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 1
    for words in expected:
        assert words in said.err
    assert lab.squeue() == []


def test_a_cap_means_nothing_on_this_machine_and_plan_says_so(lab):
    sweep = lab.write(FOUR.replace("backend: slurm\n", ""), "four.yaml")
    said = lab.call("plan", sweep, "--json", *_cap(0.5))
    assert "limits.gpu_hours or limits.cpu_hours" in " ".join(json.loads(said.out)["notes"])
