"""Sites without job arrays: every pack is a job of its own, and all else is as usual."""

import json
import os
import signal

from processes import wait_for
from slurm_lab import FOUR, ONE_A_TASK, Lab
from slurm_trainings import WAITS, odd, waiting

from orchestrator.backends.records import read_submissions
from slurm.submission import ArrayJobs
from tracking.outcomes import read_outcomes

FORBIDS = 'if job.array_inx then slurm.log_user("no job arrays here"); return slurm.ERROR end'
LATER = {"begin": "now+1hour"}


def _ids(lab: Lab, study: str, submission: str = "0001") -> list[int]:
    sent = ArrayJobs(lab.layout(study), submission).read()
    assert all(one.is_single and one.count == 1 for one in sent)
    return [one.id for one in sent if one.id is not None]


def test_a_sweep_runs_as_single_jobs_that_heed_how_many_may_run_at_once(lab):
    sweep = lab.write(FOUR + "limits: {concurrent: 2}\n")
    with lab.submit_plugin(FORBIDS):
        refused = lab.call("submit", sweep)
        assert (refused.code, "no job arrays here" in refused.err) == (1, True)
        doctor = lab.call("doctor")
        assert "-> arrays = false in the site profile" in doctor.out
        site = lab.site(arrays=False)
        assert "export THERMOLION_PACK=0" in lab.call("plan", sweep, "--site", site).out
        said = lab.call("submit", sweep, "--site", site)
        assert said.code == 0, said.err
    first, second, third, fourth = _ids(lab, "four", "0002")
    sent = {
        job: (lab.layout("four").submissions / f"0002/scripts/{job}_submission.sh").read_text()
        for job in (first, second, third, fourth)
    }
    assert [f"afterany:{first}\n" in sent[third], f"afterany:{second}\n" in sent[fourth]] == [
        True
    ] * 2
    assert "afterany" not in sent[first] + sent[second]
    lab.await_results("four", 4)
    outcomes = read_outcomes(lab.layout("four").events).values()
    assert [(outcome.state, outcome.attempts) for outcome in outcomes] == [("completed", 1)] * 4
    logs = (lab.layout("four").submission("0002") / "output").glob("*.log")
    assert sorted(path.name for path in logs) == ["0.log", "1.log", "2.log", "3.log"]


def _says(lab: Lab, size: int) -> str:
    """Return the PATH of a cluster with another MaxArraySize."""
    says = f'REAL "$@" | sed "s/^MaxArraySize .*/MaxArraySize = {size}/"'
    return lab.stand_in("scontrol", says)


def test_arrays_of_one_job_are_none(lab):
    assert "export THERMOLION_PACK=0" in lab.call("plan", lab.write(FOUR), PATH=_says(lab, 1)).out


def test_a_cluster_that_allows_no_arrays_says_so_itself(lab):
    path, site = _says(lab, 0), lab.site(options=LATER)
    sweep = lab.write(ONE_A_TASK)
    assert "MaxArraySize is 0: none; every pack is a job of its own" in (
        lab.call("doctor", "--site", site, PATH=path).out
    )
    assert lab.call("submit", sweep, "--site", site, PATH=path).code == 0
    assert len(read_submissions(lab.layout())) == 1
    assert sorted(_ids(lab, "small")) == _jobs(lab)
    assert lab.call("hold", "small").out.startswith("2 ")
    held = lab.cluster.ask("squeue", "-h", "-o", "%r").split()
    assert [reason[:7] for reason in held] == ["JobHeld"] * 2  # by its user, or by root
    assert lab.call("release", "small").out.startswith("2 ")
    assert lab.call("cancel", "small", "--candidate", "adam").code == 0
    assert len(_jobs(lab)) == 1
    assert lab.call("cancel", "small").code == 0
    assert lab.squeue() == []


def _jobs(lab: Lab) -> list[int]:
    """Return the ids of the jobs in the queue; an array would be one of several tasks."""
    tasks = lab.cluster.ask("squeue", "-h", "-r", "-o", "%F %K").splitlines()
    assert all(line.endswith("N/A") for line in tasks)
    return sorted(int(line.split()[0]) for line in tasks)


def test_a_single_job_that_has_to_leave_goes_back_into_the_queue(lab):
    sweep, go = odd(lab, WAITS, "resources: {time: 10min}\n")
    assert lab.call("submit", sweep, "--site", lab.site(arrays=False)).code == 0
    lab.await_running("odd", 1)
    (job,) = _ids(lab, "odd")
    lab.cluster.ask("scancel", "--batch", "--signal=USR2", str(job))
    wait_for(lambda: lab.cluster.ask("squeue", "-h", "-o", "%T").strip() == "PENDING")
    go.touch()
    assert lab.call("submit", "odd").code == 0  # it need not wait any longer
    lab.await_results("odd", 1)
    (outcome,) = read_outcomes(lab.layout("odd").events).values()
    assert (outcome.attempts, len(read_submissions(lab.layout("odd")))) == (2, 1)


def test_a_single_job_is_lost_only_if_slurm_says_that_it_is(lab):
    sweep, go = waiting(lab)
    assert lab.call("submit", sweep, "--site", lab.site(arrays=False)).code == 0
    lab.await_running("waiting", 2)
    hides = 'case "$*" in *--user*) REAL "$@" | head -n 1;; *) REAL "$@";; esac'
    silent = lab.stand_in("squeue", hides)
    for path in (lab.environment["PATH"], silent):
        assert _states(lab, PATH=path) == {"running"}
    log = min(lab.layout("waiting").events.glob("*.jsonl"))
    os.kill(json.loads(log.read_text().splitlines()[0])["pid"], signal.SIGKILL)
    wait_for(lambda: _states(lab) == {"running", "lost"})
    go.touch()
    assert "1 trial in 1 pack," in lab.call("submit", sweep).out
    lab.await_results("waiting", 2)


def _states(lab: Lab, **variables: str) -> set[str]:
    status = json.loads(lab.call("status", "waiting", "--json", **variables).out)
    return {trial["state"] for trial in status["trials"]}


def test_of_single_jobs_the_rest_goes_by_itself(lab):
    sweep = lab.write(FOUR)
    site = lab.site(arrays=False, limits={"submit": 3})  # two packs, and the job for the rest
    assert lab.call("submit", sweep, "--site", site).code == 0
    lab.await_results("four", 4)
    assert len(_ids(lab, "four")) == 4
