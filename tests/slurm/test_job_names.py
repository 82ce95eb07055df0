"""Sites whose rules change the name of every job: jobs are ours all the same."""

import signal

import pytest
from processes import wait_for
from slurm_lab import ONE_A_TASK, Lab

from orchestrator.backends.records import read_submissions
from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

SWEEP = ONE_A_TASK + "failures: {never_started: {backoff: 0s}}\n"
PREFIX = 'job.name = "site_" .. job.name'
RULES = {"a prefix": PREFIX, "a name for all": 'job.name = "job"'}


@pytest.mark.parametrize("rule", RULES)
def test_trials_run_once_and_the_job_that_sends_the_rest_is_sent_once(lab: Lab, rule: str) -> None:
    sweep, filler = lab.write(SWEEP), lab.occupy()
    wait_for(lambda: lab.cluster.ask("squeue", "-h", "-o", "%T").strip() == "RUNNING")
    site = lab.site(limits={"submit": 4})  # two of four trials, beside a job for the rest
    with lab.submit_plugin(RULES[rule]):
        for _ in range(2):
            said = lab.call("submit", sweep, "--set", "seeds=2", "--site", site)
            assert said.code == 0, said.err
            assert len(lab.squeue()) == 4
        lab.cluster.ask("scancel", filler)
        wait_for(lambda: not lab.squeue(), 120)
    outcomes = read_outcomes(lab.layout().events).values()
    assert [(outcome.state, outcome.attempts) for outcome in outcomes] == [("completed", 1)] * 4
    assert len(read_submissions(lab.layout())) == 1


def test_cancel_finds_every_job_by_what_it_runs(lab: Lab) -> None:
    sweep, filler = lab.write(SWEEP), lab.occupy()
    with lab.submit_plugin(RULES["a name for all"]):
        site = lab.site(limits={"submit": 4})
        assert lab.call("submit", sweep, "--set", "seeds=2", "--site", site).code == 0
        assert len(lab.squeue()) == 4
        assert lab.call("cancel", "small").code == 0
    assert lab.squeue() == ["filler"]
    lab.cluster.ask("scancel", filler)


def test_a_job_with_a_prefix_is_found_though_its_sender_had_no_answer(lab: Lab) -> None:
    sweep, later = lab.write(SWEEP), lab.site(options={"begin": "now+1hour"})
    with lab.submit_plugin(PREFIX):
        path = lab.stand_in("sbatch", 'REAL "$@"; kill -9 $PPID')
        assert lab.call("submit", sweep, "--site", later, PATH=path).code == -signal.SIGKILL
        assert lab.call("submit", sweep, "--site", later).code == 0
        assert len(lab.squeue()) == 2
        (found,) = ArrayJobs(lab.layout(), "0001").read()
        assert found.id is not None
        assert lab.call("cancel", "small").code == 0
